"""The two timestamp formats of STAMP: NTP 32.32 and truncated PTPv2, to and from Unix time.

Everything is integer arithmetic: a double cannot hold today's wall time to better than 240 ns.
"""

from __future__ import annotations

from typing import Final

from netslo.model import NS_PER_S

NTP_UNIX_OFFSET_S: Final = 2_208_988_800  # 1900-01-01 to 1970-01-01, RFC 5905 §6
_ERA: Final = 1 << 32  # seconds in one era of either format
_HALF: Final = 1 << 31


def ntp_from_unix_ns(unix_ns: int) -> int:
    """Return the 64-bit NTP timestamp (RFC 5905 §6) of a Unix time; the era is dropped.

    The fraction is rounded down, by less than 0.24 ns, so it never carries into the second.
    """
    seconds, ns = divmod(unix_ns, NS_PER_S)
    return ((seconds + NTP_UNIX_OFFSET_S) % _ERA) << 32 | (ns << 32) // NS_PER_S


def unix_ns_from_ntp(ntp: int, *, near_ns: int) -> int:
    """Return the Unix time of a 64-bit NTP timestamp, in the era closest to `near_ns`.

    Rounded to the nearest nanosecond, which undoes `ntp_from_unix_ns` exactly. The next era
    begins on 2036-02-07; a timestamp within 68 years of `near_ns` is understood.
    """
    ns = ((ntp & (_ERA - 1)) * NS_PER_S + _HALF) >> 32
    return _unwrapped((ntp >> 32) - NTP_UNIX_OFFSET_S, ns, near_ns)


def unix_ns_from_ptp(ptp: int, *, near_ns: int) -> int:
    """Return the time of a truncated PTPv2 timestamp: 32 bits of seconds, 32 of nanoseconds.

    PTP's own time scale is TAI, some seconds ahead of UTC, and the packet does not say by how
    much: differences of two such timestamps are exact, a comparison with UTC is not.

    Raises:
        ValueError: the nanoseconds are not below one second.
    """
    ns = ptp & (_ERA - 1)
    if ns >= NS_PER_S:
        raise ValueError(f"PTP timestamp has {ns} nanoseconds, must be below {NS_PER_S}")
    return _unwrapped(ptp >> 32, ns, near_ns)


def _unwrapped(seconds: int, ns: int, near_ns: int) -> int:
    """Move a time by whole eras until it is closest to `near_ns`."""
    era_ns = _ERA * NS_PER_S
    unix_ns = seconds * NS_PER_S + ns
    return unix_ns + (near_ns - unix_ns + era_ns // 2) // era_ns * era_ns
