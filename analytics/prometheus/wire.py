"""The protobuf wire format, as much of it as Prometheus' messages take.

Prometheus' own .proto files have no package for Python that is kept up, and what is written here
is five kinds of field (protobuf.dev, "Encoding"). Arrays of varints are written as arrays: a
scrape of ten thousand histograms has a million of them.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

_VARINT, _FIXED64, _LENGTH = 0, 1, 2
_SEVEN: Final = np.uint64(7)
_LOW: Final = np.uint64(0x7F)
_MORE: Final = np.uint8(0x80)
_OCTETS_MAX: Final = 10  # of 64 bits, seven in each
_OF_ONE_OCTET: Final = tuple(bytes((number,)) for number in range(0x80))  # most: tags and lengths


def varint(number: int) -> bytes:
    """Encode a whole number of at most 64 bits; a negative one as its two's complement."""
    if 0 <= number <= 0x7F:  # noqa: PLR2004 - what one octet holds
        return _OF_ONE_OCTET[number]
    number &= 2**64 - 1
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - what one octet holds
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number: int) -> int:
    """Map a signed number to an unsigned one, small to small."""
    return number << 1 if number >= 0 else (-number << 1) - 1


def uint(field: int, number: int) -> bytes:
    """Encode a field of type uint32, uint64, int64 or enum."""
    return varint(field << 3 | _VARINT) + varint(number)


def sint(field: int, number: int) -> bytes:
    """Encode a field of type sint32 or sint64."""
    return uint(field, zigzag(number))


def double(field: int, number: float) -> bytes:
    """Encode a field of type double."""
    return varint(field << 3 | _FIXED64) + struct.pack("<d", number)


def octets(field: int, value: bytes) -> bytes:
    """Encode a field of type bytes, an embedded message or a packed repeated field."""
    return varint(field << 3 | _LENGTH) + varint(len(value)) + value


def text(field: int, value: str) -> bytes:
    """Encode a field of type string."""
    return octets(field, value.encode())


def zigzags(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Map many signed numbers to unsigned ones, shape (n,)."""
    mapped: NDArray[np.uint64] = ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)
    return mapped


def varints(numbers: NDArray[np.uint64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Encode many numbers one behind the other.

    Returns the octets, and where the varint of each number begins, shape (n + 1,): the last
    entry is the length of all.
    """
    lengths = np.ones(len(numbers), dtype=np.int64)
    for octet in range(1, _OCTETS_MAX):
        lengths += numbers >= np.uint64(1 << 7 * octet)
    begins = np.zeros(len(numbers) + 1, dtype=np.int64)
    np.cumsum(lengths, out=begins[1:])
    out = np.zeros(int(begins[-1]), dtype=np.uint8)
    rest, place, left = numbers, begins[:-1], lengths
    while len(rest):
        more = left > 1
        low = (rest & _LOW).astype(np.uint8)
        out[place] = np.where(more, low | _MORE, low)
        rest, place, left = rest[more] >> _SEVEN, place[more] + 1, left[more] - 1
    return out, begins
