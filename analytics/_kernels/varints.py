"""Variable-length integers as protobuf has them: seven bits to an octet, the lowest first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import inlined

_MORE = np.uint8(0x80)
_LOW = np.uint8(0x7F)
_LAST_SHIFT = 63
_OCTETS_MAX = 10
_OCTETS_32 = 5


@inlined
def put(octets: NDArray[np.uint8], at: int, number: np.uint64) -> int:
    """Write a number at a place with room for ten octets; return the place behind it."""
    while number > np.uint64(0x7F):
        octets[at] = np.uint8(number & np.uint64(0x7F)) | _MORE
        number >>= np.uint64(7)
        at += 1
    octets[at] = np.uint8(number)
    return at + 1


@inlined
def get(octets: NDArray[np.uint8], at: int, end: int) -> tuple[np.uint64, int]:
    """Read a number; return it and the place behind it, -1 where there is none before `end`."""
    number, shift = np.uint64(0), np.uint64(0)
    while 0 <= at < end:
        octet = octets[at]
        at += 1
        number |= np.uint64(octet & _LOW) << shift
        if octet < _MORE:
            return number, at
        shift += np.uint64(7)
        if shift > np.uint64(_LAST_SHIFT):
            break
    return np.uint64(0), -1


@inlined
def get_32(octets: NDArray[np.uint8], at: int, end: int) -> tuple[np.uint64, int]:
    """Read a number of 32 bits in no more octets than it can need, as `get` does others."""
    number, behind = get(octets, at, min(end, at + _OCTETS_32))
    return number, behind if number <= np.uint64(0xFFFFFFFF) else -1


@inlined
def get_many(octets: NDArray[np.uint8], at: int, out: NDArray[np.uint64]) -> int:
    """Read as many numbers as `out` takes; all are known to be there. Return the place behind."""
    for i in range(out.shape[0]):
        octet = octets[at]
        at += 1
        number = np.uint64(octet & _LOW)
        shift = np.uint64(7)
        while octet >= _MORE:
            octet = octets[at]
            at += 1
            number |= np.uint64(octet & _LOW) << shift
            shift += np.uint64(7)
        out[i] = number
    return at


@inlined
def skip_many(octets: NDArray[np.uint8], at: int, end: int, count: np.int64) -> int:
    """Return the place behind so many numbers of at most ten octets, -1 if they do not fit."""
    last = at
    while count > 0 and at < end:
        if octets[at] < _MORE:
            count -= np.int64(1)
            if at - last >= _OCTETS_MAX:
                return -1
            last = at + 1
        at += 1
    return -1 if count > 0 else at


@inlined
def zigzag(number: np.int64) -> np.uint64:
    """Return a signed number as an unsigned one, small where it is near zero."""
    return np.uint64(number << 1) ^ np.uint64(number >> 63)


@inlined
def unzigzag(number: np.uint64) -> np.int64:
    return np.int64(number >> np.uint64(1)) ^ -np.int64(number & np.uint64(1))
