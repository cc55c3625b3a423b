"""Numbers in network byte order, and NTP time, in arrays of octets. Callers check the length."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled
from probes._kernels.libc import NS_PER_S

Octets = NDArray[np.uint8]

NTP_UNIX_OFFSET_S: Final = 2_208_988_800  # RFC 5905 §6
_ERA_S: Final = 1 << 32
_LOW: Final = (1 << 32) - 1


@compiled
def get2(octets: Octets, at: int) -> int:
    return np.int64(octets[at]) << 8 | np.int64(octets[at + 1])


@compiled
def get4(octets: Octets, at: int) -> int:
    return get2(octets, at) << 16 | get2(octets, at + 2)


@compiled
def get8(octets: Octets, at: int) -> int:
    """Return 64 bits, as a signed number: what is compared are the bits."""
    return get4(octets, at) << 32 | get4(octets, at + 4)


@compiled
def put2(octets: Octets, at: int, value: int) -> None:
    octets[at] = value >> 8 & 0xFF
    octets[at + 1] = value & 0xFF


@compiled
def put4(octets: Octets, at: int, value: int) -> None:
    put2(octets, at, value >> 16)
    put2(octets, at + 2, value)


@compiled
def put8(octets: Octets, at: int, value: int) -> None:
    put4(octets, at, value >> 32)
    put4(octets, at + 4, value)


@compiled
def ntp_from_unix(unix_ns: int) -> int:
    """Return the bits of an NTP timestamp, as `probes.ntp.ntp_from_unix_ns` does."""
    seconds = unix_ns // NS_PER_S
    ns = unix_ns - seconds * NS_PER_S
    return ((seconds + NTP_UNIX_OFFSET_S) & _LOW) << 32 | ((ns << 32) // NS_PER_S)


@compiled
def unix_from_ntp(bits: int, near_ns: int) -> int:
    """Return the Unix time of an NTP timestamp in the era closest to `near_ns`."""
    seconds = (bits >> 32 & _LOW) - NTP_UNIX_OFFSET_S
    # The product of 32 bits and 10^9 has 62, and a half of 2^32 is added to round.
    ns = ((bits & _LOW) * NS_PER_S + (1 << 31)) >> 32
    return _nearest(seconds, ns, near_ns)


@compiled
def unix_from_ptp(bits: int, near_ns: int) -> int:
    """Return the time of a truncated PTPv2 timestamp; -1 where it is none."""
    ns = bits & _LOW
    if ns >= NS_PER_S:
        return -1
    return _nearest(bits >> 32 & _LOW, ns, near_ns)


@compiled
def _nearest(seconds: int, ns: int, near_ns: int) -> int:
    """Move a time by whole eras, counted in seconds since an era has more ns than 62 bits."""
    near_s = near_ns // NS_PER_S
    eras = (near_s - seconds + _ERA_S // 2) // _ERA_S
    return (seconds + eras * _ERA_S) * NS_PER_S + ns
