"""Packing without numba: slow, and the same octets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct

import numpy as np

from analytics.blob_columns import Columns

_WORD = Struct("<Q")
_VARINT_BITS_MAX = 63


class Unsound(ValueError):
    """The octets end too early, or go on."""


def pack_plainly(columns: Columns) -> bytes:
    """Return the octets of one blob; the layout is in `analytics.blobs`."""
    out = bytearray()
    for size in columns.sizes:
        _put(out, size)
    last_s = 0
    for row, (stream, start_s, scale) in enumerate(columns.numbers.tolist()):
        for number in (stream, _zigzag(start_s - last_s), _zigzag(scale)):
            _put(out, number)
        last_s = start_s
        for number in columns.specials[row].tolist():
            _put(out, number)
        for word in columns.doubles[row].tolist():
            out += _WORD.pack(word)
        for side, counts in enumerate((columns.positive, columns.negative)):
            begin, end = columns.offsets[row : row + 2, side].tolist()
            _put(out, end - begin)
            if begin < end:
                _put(out, _zigzag(int(columns.first[row, side])))
            for count in counts[begin:end].tolist():
                _put(out, count)
    for rows in (slice(0, columns.counters), slice(columns.counters, None)):
        _put_numbers(out, columns, rows)
    return bytes(out)


def _put_numbers(out: bytearray, columns: Columns, rows: slice) -> None:
    last_s = 0
    values = (columns.stream[rows], columns.start_s[rows], columns.value[rows])
    for stream, start_s, value in zip(*(v.tolist() for v in values), strict=True):
        for number in (stream, _zigzag(start_s - last_s), value):
            _put(out, number)
        last_s = start_s


def unpack_plainly(blobs: Sequence[bytes]) -> Columns:
    """Return the rows of all blobs.

    Raises:
        Unsound: a blob is not whole; its number is the argument.
    """
    distributions: list[tuple[list[int], list[int], list[int], list[int]]] = []
    sides: tuple[list[int], list[int]] = ([], [])
    offsets = [[0, 0]]
    tables: tuple[list[list[int]], list[list[int]]] = ([], [])
    for number, blob in enumerate(blobs):
        cursor = _Cursor(blob)
        try:
            sizes = [cursor.get() for _ in range(3)]
            last_s = 0
            for _ in range(sizes[0]):
                stream, start_s, scale = cursor.get(), cursor.get(), cursor.get()
                last_s += _unzigzag(start_s)
                specials = [cursor.get() for _ in range(4)]
                words = [cursor.word() for _ in range(3)]
                first = []
                for side in sides:
                    length = cursor.get()
                    first.append(_unzigzag(cursor.get()) if length else 0)
                    side.extend(cursor.many(length))
                offsets.append([len(side) for side in sides])
                distributions.append(([stream, last_s, _unzigzag(scale)], specials, words, first))
            for table, size in zip(tables, sizes[1:], strict=True):
                last_s = 0
                for _ in range(size):
                    stream, start_s, value = cursor.get(), cursor.get(), cursor.get()
                    last_s += _unzigzag(start_s)
                    table.append([stream, last_s, value])
        except IndexError:
            raise Unsound(number) from None
        if cursor.at != len(blob):
            raise Unsound(number)
    points = tables[0] + tables[1]
    parts = [[row[k] for row in distributions] for k in range(4)]
    return Columns(
        np.array(parts[0], dtype=np.int64).reshape(-1, 3),
        np.array(parts[1], dtype=np.uint64).reshape(-1, 4),
        np.array(parts[2], dtype=np.uint64).reshape(-1, 3),
        np.array(parts[3], dtype=np.int64).reshape(-1, 2),
        np.array(offsets, dtype=np.int64),
        np.array(sides[0], dtype=np.uint64),
        np.array(sides[1], dtype=np.uint64),
        np.array([point[0] for point in points], dtype=np.int64),
        np.array([point[1] for point in points], dtype=np.int64),
        np.array([point[2] for point in points], dtype=np.uint64),
        len(tables[0]),
    )


class _Cursor:
    """A place in octets; beyond their end there is an IndexError."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.at = 0

    def get(self) -> int:
        number = shift = 0
        while True:
            octet = self._octets[self.at]
            self.at += 1
            number |= (octet & 0x7F) << shift
            if octet < 0x80:  # noqa: PLR2004 - the eighth bit says that more follow
                return number
            shift += 7
            if shift > _VARINT_BITS_MAX:
                raise IndexError

    def word(self) -> int:
        self.at += _WORD.size
        if self.at > len(self._octets):
            raise IndexError
        word: int = _WORD.unpack_from(self._octets, self.at - _WORD.size)[0]
        return word

    def many(self, count: int) -> Iterator[int]:
        return (self.get() for _ in range(count))


def _put(out: bytearray, number: int) -> None:
    while number > 0x7F:  # noqa: PLR2004 - seven bits to an octet
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else (-number << 1) - 1


def _unzigzag(number: int) -> int:
    return number >> 1 if not number & 1 else -(number >> 1) - 1
