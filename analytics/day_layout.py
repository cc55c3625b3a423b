"""What a series counted on one day, by 5 min, as few octets from which any column is soon read.

Most steps of a column count the same, and columns of a series differ from what is usual alike:
what one SLO calls bad, another does too, and it is missing from what is good. So each column says
what is usual, and which *residue* is added to it or taken away, and residues which are the same
are kept once. Layout, numbers with their lowest octet first:

    4 octets: 2, the layout (`analytics.older_days` has the others)
    4 octets: how many columns
    4 octets: how many residues
    of each column 4 octets: its stream
                   4 octets: what is usual
                   4 octets: twice the number of its residue; 1 more where that is taken away
    of each residue 1 octet: how many bits its greatest number has
                    1 octet: 1 where there is a plane of steps without a window, 2 where there is
                        one of numbers below zero, or both together
                    those planes, then one for each bit of the numbers, the lowest first
    4 octets: CRC-32 of all of that

A plane is 288 bits, those of one octet of the lowest first: 5 octets say which of its 36 octets
are not 0, and those follow. Sums are modulo 2^64.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.blobs import DamagedBlob
from analytics.tables import Numbers
from netslo.errors import NetsloError

STEP_S: Final = 300
STEPS: Final = 288
STREAM_MAX: Final = 2**31 - 1
LAYOUT: Final = 2
HEAD: Final = np.dtype([("layout", "<u4"), ("columns", "<u4"), ("residues", "<u4")])
COLUMN: Final = np.dtype([("stream", "<u4"), ("usual", "<u4"), ("residue", "<u4")])
ABSENT, BELOW = 1, 2  # planes of a residue besides those of bits
TAKEN_AWAY: Final = 1  # of a column's residue

_PLANE: Final = STEPS // 8  # octets
_MASK: Final = -(-_PLANE // 8)  # octets
_BITS_MAX: Final = 64
_CHECKED: Final = 0x2144DF1C  # CRC-32 of anything with its own CRC-32 behind it
_USUAL_MAX: Final = 2**32 - 1


class DamagedDay(DamagedBlob, NetsloError):
    """The octets are not what `pack` wrote; a store that has them is damaged."""

    def __init__(self) -> None:
        super().__init__("the store is damaged: what it copied of a day is not as it was written")


class Day(NamedTuple):
    """The columns of a day: what each stream counted in each of 288 steps."""

    streams: NDArray[np.int32]  # (columns,)
    present: NDArray[np.bool_]  # (columns, 288): whether there is a window
    values: NDArray[np.uint64]  # (columns, 288)

    @classmethod
    def of(cls, counters: Numbers, start_s: int) -> Day:
        """Return the day that begins at `start_s`, Unix seconds, of 5 min windows in it."""
        streams, index = np.unique(counters.stream, return_inverse=True)
        at = index, (counters.start_s - start_s) // STEP_S
        present = np.zeros((len(streams), STEPS), dtype=np.bool_)
        values = np.zeros((len(streams), STEPS), dtype=np.uint64)
        present[at], values[at] = True, counters.value
        return cls(streams, present, values)

    def counters(self, start_s: int) -> Numbers:
        """Return those windows."""
        column, step = np.nonzero(self.present)
        value = self.values[column, step]
        return Numbers(self.streams[column], start_s + step * STEP_S, value)


def is_sound(octets: bytes) -> bool:
    """Whether a packed day is as it was written."""
    return zlib.crc32(octets) == _CHECKED


def column_count(octets: bytes) -> int:
    """Return how many columns a packed day says it has, or all for which it has room."""
    return min(int.from_bytes(octets[4:8], "little"), len(octets) // COLUMN.itemsize)


def pack(day: Day, owners: NDArray[np.int32], series: Sequence[int]) -> list[bytes]:
    """Return the columns of each series, packed; `owners` says whose a column is."""
    usual, flipped, residues = _residues(day.present, day.values)
    found = []
    for number in series:
        rows = np.flatnonzero(owners == number)
        numbers: dict[bytes, int] = {}
        own = [numbers.setdefault(residues[row], len(numbers)) for row in rows.tolist()]
        columns = np.empty(len(rows), dtype=COLUMN)
        columns["stream"], columns["usual"] = day.streams[rows], usual[rows]
        columns["residue"] = 2 * np.array(own, dtype=np.uint32) + flipped[rows]
        head = np.array((LAYOUT, len(rows), len(numbers)), dtype=HEAD).tobytes()
        octets = b"".join([head, columns.tobytes(), *numbers])
        found.append(octets + zlib.crc32(octets).to_bytes(4, "little"))
    return found


def _residues(
    present: NDArray[np.bool_], values: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.bool_], list[bytes]]:
    """Return of each column what is usual, whether its residue is taken away, and that residue."""
    rows = np.arange(len(values))
    ranked = np.sort(np.where(present, values, np.uint64(2**64 - 1)), axis=1)
    middle = np.maximum(np.count_nonzero(present, axis=1) - 1, 0) // 2
    usual = np.minimum(ranked[rows, middle], np.uint64(_USUAL_MAX))
    more = np.where(present, values - usual[:, None], np.uint64(0)).view(np.int64)
    flipped = more[rows, (more != 0).argmax(axis=1)] < 0  # so that r and -r are one
    more[flipped] = -more[flipped]
    below = more < 0
    size = np.where(below, -more, more).view(np.uint64)
    most = [int(each).bit_length() for each in size.max(axis=1, initial=0)]
    planes = [_packed(~present), _packed(below)]
    planes += [
        _packed((size >> np.uint64(bit)) & np.uint64(1)) for bit in range(max(most, default=0))
    ]
    return usual, flipped, list(map(_residue, most, zip(*planes, strict=True)))


def _packed(bits: NDArray[np.bool_] | NDArray[np.uint64]) -> list[bytes]:
    """Return a plane of each row; b"" where it has no bit."""
    octets = np.packbits(bits.astype(np.bool_), axis=1, bitorder="little")
    filled = octets != 0
    masks = np.packbits(filled, axis=1, bitorder="little").tobytes()
    flat, ends = octets[filled].tobytes(), np.count_nonzero(filled, axis=1).cumsum().tolist()
    return [
        masks[_MASK * row : _MASK * (row + 1)] + flat[begin:end] if begin < end else b""
        for row, (begin, end) in enumerate(pairwise([0, *ends]))
    ]


def _residue(bits: int, planes: Sequence[bytes]) -> bytes:
    absent, below, *ones = planes
    flags = (ABSENT if absent else 0) | (BELOW if below else 0)
    every = (plane or bytes(_MASK) for plane in ones[:bits])
    return b"".join([bytes((bits, flags)), absent, below, *every])


def unpack(octets: bytes) -> Day:
    """Return the columns of a packed day, without a kernel.

    Raises:
        DamagedDay: it is none.
    """
    try:
        return _unpacked(octets)
    except (ValueError, IndexError) as error:
        raise DamagedDay from error


def _unpacked(octets: bytes) -> Day:
    layout, columns, residues = np.frombuffer(octets, dtype=HEAD, count=1)[0].tolist()
    rest = np.frombuffer(octets, dtype=np.uint8)[HEAD.itemsize : -4]
    table, at = rest[: columns * COLUMN.itemsize].view(COLUMN), columns * COLUMN.itemsize
    if layout != LAYOUT or len(table) != columns or not is_sound(octets):
        raise ValueError
    found = []
    for _ in range(residues):
        there, number, at = _read_residue(rest, at)
        found.append((there, number))
    present = np.array([there for there, _ in found], dtype=np.bool_).reshape(-1, STEPS)
    more = np.array([number for _, number in found], dtype=np.uint64).reshape(-1, STEPS)
    if at != len(rest):
        raise ValueError
    which, away = table["residue"] >> 1, (table["residue"] & TAKEN_AWAY).astype(np.bool_)
    if table["stream"].max(initial=0) > STREAM_MAX:
        raise ValueError
    present, more = present[which], more[which]
    more[away] = -more[away]
    values = np.where(present, table["usual"].astype(np.uint64)[:, None] + more, np.uint64(0))
    return Day(table["stream"].astype(np.int32), present, values)


def _read_residue(
    octets: NDArray[np.uint8], at: int
) -> tuple[NDArray[np.bool_], NDArray[np.uint64], int]:
    """Return where a residue has windows, its numbers modulo 2^64, and where it ends."""
    bits, flags = octets[at : at + 2].tolist()
    if bits > _BITS_MAX or flags > ABSENT | BELOW:
        raise ValueError
    at += 2
    absent = below = np.zeros(STEPS, dtype=np.bool_)
    if flags & ABSENT:
        absent, at = _read_plane(octets, at)
    if flags & BELOW:
        below, at = _read_plane(octets, at)
    number = np.zeros(STEPS, dtype=np.uint64)
    for bit in range(bits):
        ones, at = _read_plane(octets, at)
        number |= ones.astype(np.uint64) << np.uint64(bit)
    number[below] = -number[below]
    return ~absent, number, at


def _read_plane(octets: NDArray[np.uint8], at: int) -> tuple[NDArray[np.bool_], int]:
    mask = np.unpackbits(octets[at : at + _MASK], bitorder="little").astype(np.bool_)
    end = at + _MASK + int(np.count_nonzero(mask))
    plane = np.zeros(_PLANE, dtype=np.uint8)
    plane[np.flatnonzero(mask)] = octets[at + _MASK : end]
    return np.unpackbits(plane, bitorder="little").astype(np.bool_), end
