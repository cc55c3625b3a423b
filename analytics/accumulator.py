"""Long-lived counters of many streams: windows are added when they come and leave exactly."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics import _kernels
from analytics.layouts import Runs
from analytics.merging import offsets_of
from analytics.tables import Side

_ALIGN: Final = 64  # buckets: a stream's counters grow by half a binade of scale 7, so seldom
_FAR: Final = np.int64(2**62)


class Accumulator:
    """One side of the sketches of the streams 0 to n - 1, at one scale.

    Each stream has a run of neighbouring counters somewhere in one long array. A run that must
    grow moves to the end of it, and what it leaves is dropped when the array is full: so
    growing costs what the stream has, not what all streams have.
    """

    def __init__(self) -> None:
        self._first = np.zeros(0, dtype=np.int64)
        self._place = np.zeros(0, dtype=np.int64)
        self._length = np.zeros(0, dtype=np.int64)
        self._counts = np.zeros(0, dtype=np.int64)
        self._used = 0  # of the long array; behind it all is zero

    @property
    def nbytes(self) -> int:
        """How much memory the counters take."""
        return self._counts.nbytes + 24 * len(self._first)

    def add(self, side: Side, streams: NDArray[np.int32], sign: int) -> None:
        """Add rows to their streams, or take them away, `sign` being 1 or -1."""
        lengths = np.diff(side.offsets)
        rows = np.flatnonzero(lengths)
        if not len(rows):
            return
        stream, low = streams[rows].astype(np.int64), side.first[rows]
        self._cover(stream, low, low + lengths[rows])
        target = np.full(len(streams), -1, dtype=np.int64)
        target[rows] = self._place[stream] + low - self._first[stream]
        _add(side, target, sign, self._counts)

    def runs(self, scale: int, streams: int) -> Runs:
        """Return a copy of the counters of so many streams."""
        self._grow(streams)
        offsets = offsets_of(self._length)
        counts = np.zeros(int(offsets[-1]), dtype=np.int64)
        self._copy(np.arange(len(self._length)), offsets[:-1], counts)
        return Runs(scale, self._first.copy(), offsets, counts.view(np.uint64))

    def _cover(
        self, stream: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]
    ) -> None:
        """Have counters for the buckets from low to high of each stream."""
        self._grow(int(stream.max()) + 1)
        first, length = self._first[stream], self._length[stream]
        short = (low < first) | (high > first + length)
        if not short.any():
            return
        growing = np.unique(stream[short])
        kept = self._length[growing] > 0
        begin = np.where(kept, self._first[growing], _FAR)
        end = np.where(kept, self._first[growing] + self._length[growing], -_FAR)
        at = np.searchsorted(growing, stream[short])
        np.minimum.at(begin, at, low[short] // _ALIGN * _ALIGN)
        np.maximum.at(end, at, -(-high[short] // _ALIGN) * _ALIGN)
        self._move(growing, begin, end - begin)

    def _move(
        self, streams: NDArray[np.int64], first: NDArray[np.int64], length: NDArray[np.int64]
    ) -> None:
        """Give streams longer runs, at the end of the long array."""
        room = int(length.sum())
        if self._used + room > len(self._counts):
            self._compact(room)
        offsets = offsets_of(length)
        place = self._used + offsets[:-1]
        shift = np.where(self._length[streams] > 0, self._first[streams] - first, 0)
        self._copy(streams, place + shift, self._counts)
        self._used += room
        self._first[streams], self._place[streams] = first, place
        self._length[streams] = length

    def _compact(self, room: int) -> None:
        """Drop what runs have left behind, and have room for more."""
        offsets = offsets_of(self._length)
        used = int(offsets[-1])
        counts = np.zeros(used + max(room, (used + room) // 4), dtype=np.int64)
        self._copy(np.arange(len(self._length)), offsets[:-1], counts)
        self._place, self._counts, self._used = offsets[:-1].copy(), counts, used

    def _copy(
        self, streams: NDArray[np.int64], places: NDArray[np.int64], out: NDArray[np.int64]
    ) -> None:
        """Write the runs of streams to these places."""
        if _kernels.pays(int(self._length[streams].sum())):
            from analytics._kernels import sliding as kernel

            kernel.copy_runs(self._counts, self._place[streams], self._length[streams], places, out)
            return
        for stream, place in zip(streams.tolist(), places.tolist(), strict=True):
            begin, length = self._place[stream], self._length[stream]
            out[place : place + length] = self._counts[begin : begin + length]

    def _grow(self, streams: int) -> None:
        more = streams - len(self._first)
        if more > 0:
            none = np.zeros(more, dtype=np.int64)
            self._first, self._place, self._length = (
                np.append(known, none) for known in (self._first, self._place, self._length)
            )


def _add(side: Side, target: NDArray[np.int64], sign: int, out: NDArray[np.int64]) -> None:
    if _kernels.pays(len(side.counts)):
        from analytics._kernels import sliding as kernel

        kernel.add_signed(side.offsets, side.counts, target, sign, out)
        return
    for row in np.flatnonzero(target >= 0).tolist():
        counts = side.counts[side.offsets[row] : side.offsets[row + 1]].astype(np.int64)
        out[target[row] : target[row] + len(counts)] += sign * counts
