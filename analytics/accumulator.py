"""Long-lived counters of many streams: windows are added when they come and leave exactly.

Counters are as narrow as the number of values of their stream allows: no counter is larger than
that, so none overflows. Over most horizons of most paths that is 16 bits.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analytics import _kernels
from analytics.layouts import Runs
from analytics.merging import offsets_of
from analytics.shelves import Places, Shelf
from analytics.tables import Side

_ALIGN: Final = 64  # buckets: a stream's counters grow by half a binade of scale 7, so seldom
_FAR: Final = np.int64(2**62)
_WIDTHS: Final = (np.uint16, np.uint32, np.uint64)
_WIDEST: Final = len(_WIDTHS) - 1
_TOTALS_MAX: Final = np.array([np.iinfo(width).max for width in _WIDTHS[:_WIDEST]], dtype=np.int64)
_MANY: Final = 2**40  # values of one row: above any limit, and millions of such rows fit 64 bits


class Accumulator:
    """One side of the sketches of the streams 0 to n - 1, at one scale.

    Each stream has a run of neighbouring counters on the shelf of its width. A run that must
    become longer or wider moves, so growing costs what the stream has, not what all streams have.
    """

    def __init__(self) -> None:
        none = np.zeros(0, dtype=np.int64)
        self._first, self._place, self._length = none, none, none
        self._total = none  # of each stream, or more
        self._width = np.zeros(0, dtype=np.uint8)  # which shelf; never a narrower one again
        self._shelves = [Shelf(np.zeros(0, dtype=width)) for width in _WIDTHS]

    @property
    def nbytes(self) -> int:
        """How much memory the counters take."""
        by_stream = self._first, self._place, self._length, self._total, self._width
        counts = (shelf.counts for shelf in self._shelves)
        return sum(each.nbytes for each in by_stream) + sum(each.nbytes for each in counts)

    def add(self, side: Side, streams: NDArray[np.int32], sign: int) -> None:
        """Add rows to their streams, or take them away, `sign` being 1 or -1.

        What is taken away was added before, in whichever parts.
        """
        lengths = np.diff(side.offsets)
        rows = np.flatnonzero(lengths)
        if not len(rows):
            return
        stream, low = streams[rows].astype(np.int64), side.first[rows]
        self._grow(int(stream.max()) + 1)
        sums = _row_sums(side)[rows]
        # Parts cut off here are no less than the whole cut off: a total never falls short.
        np.add.at(self._total, stream, sign * np.minimum(sums, _MANY).astype(np.int64))
        self._cover(stream, low, low + lengths[rows])
        places = self._place[stream] + low - self._first[stream]
        width = self._width[stream]
        for which in np.unique(width).tolist():
            target = np.full(len(streams), -1, dtype=np.int64)
            target[rows] = np.where(width == which, places, -1)
            self._shelves[which].add(side, target, sign)

    def runs(self, scale: int, streams: int) -> Runs:
        """Return a copy of the counters of so many streams."""
        self._grow(streams)
        offsets = offsets_of(self._length)
        wide = bool((self._width == _WIDEST).any())
        counts: NDArray[Any] = np.zeros(int(offsets[-1]), dtype=np.uint64 if wide else np.uint32)
        self._copy(np.arange(len(self._length)), offsets[:-1], counts)
        return Runs(scale, self._first.copy(), offsets, counts)

    def _cover(self, stream: Places, low: Places, high: Places) -> None:
        """Have counters, wide enough, for the buckets from low to high of each stream."""
        first, length = self._first[stream], self._length[stream]
        short = (low < first) | (high > first + length)
        short |= _width_of(self._total[stream]) > self._width[stream]
        if not short.any():
            return
        growing = np.unique(stream[short])
        kept = self._length[growing] > 0
        begin = np.where(kept, self._first[growing], _FAR)
        end = np.where(kept, self._first[growing] + self._length[growing], -_FAR)
        at = np.searchsorted(growing, stream[short])
        np.minimum.at(begin, at, low[short] // _ALIGN * _ALIGN)
        np.maximum.at(end, at, -(-high[short] // _ALIGN) * _ALIGN)
        width = np.maximum(self._width[growing], _width_of(self._total[growing]))
        for which in np.unique(width).tolist():
            mine = width == which
            self._move(which, growing[mine], begin[mine], (end - begin)[mine])

    def _move(self, which: int, streams: Places, first: Places, length: Places) -> None:
        """Give streams longer or wider runs, at the end of a shelf."""
        offsets = offsets_of(length)
        room = int(offsets[-1])
        if not self._shelves[which].has_room(room):
            self._compact(which, room)
        place = self._shelves[which].take(room) + offsets[:-1]
        shift = np.where(self._length[streams] > 0, self._first[streams] - first, 0)
        self._copy(streams, place + shift, self._shelves[which].counts)
        self._first[streams], self._place[streams] = first, place
        self._length[streams], self._width[streams] = length, which

    def _compact(self, which: int, room: int) -> None:
        """Drop what runs have left behind on a shelf, and have room for more."""
        there = np.flatnonzero(self._width == which)
        offsets = offsets_of(self._length[there])
        used = int(offsets[-1])
        fresh = np.zeros(used + max(room, (used + room) // 4), dtype=_WIDTHS[which])
        self._copy(there, offsets[:-1], fresh)
        self._place[there] = offsets[:-1]
        self._shelves[which] = Shelf(fresh, used)

    def _copy(self, streams: Places, places: Places, out: NDArray[Any]) -> None:
        """Write the runs of streams to these places."""
        for which in np.unique(self._width[streams]).tolist():
            mine = self._width[streams] == which
            some = streams[mine]
            runs = (self._place[some], self._length[some], places[mine])
            self._shelves[which].copy(*runs, out)

    def _grow(self, streams: int) -> None:
        more = streams - len(self._first)
        if more > 0:
            self._first, self._place, self._length, self._total, self._width = (
                np.append(known, np.zeros(more, dtype=known.dtype))
                for known in (
                    self._first, self._place, self._length, self._total, self._width
                )
            )  # fmt: skip


def _row_sums(side: Side) -> NDArray[np.uint64]:
    """Return the sum of each row's counts, 0 of an empty one."""
    if _kernels.pays(len(side.counts)):
        from analytics._kernels import readout as kernel

        totals = np.empty(len(side.first), dtype=np.int64)
        kernel.row_totals(side.offsets, side.counts, totals)
        return totals.view(np.uint64)
    found = np.zeros(len(side.first), dtype=np.uint64)
    filled = np.flatnonzero(np.diff(side.offsets))
    counts = side.counts[: side.offsets[-1]]
    found[filled] = np.add.reduceat(counts, side.offsets[:-1][filled], dtype=np.uint64)
    return found


def _width_of(totals: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the shelf on which counters of streams with so many values belong."""
    return np.searchsorted(_TOTALS_MAX, totals, side="left")
