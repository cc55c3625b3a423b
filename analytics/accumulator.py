"""Long-lived counters of many streams: windows are added when they come and leave exactly."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics import _kernels
from analytics.layouts import Runs
from analytics.merging import offsets_of
from analytics.tables import Side

_ALIGN: Final = 128  # buckets: a binade at scale 7, so that windows grow seldom


class Accumulator:
    """One side of the sketches of the streams 0 to n - 1, at one scale."""

    def __init__(self) -> None:
        self._first = np.zeros(0, dtype=np.int64)
        self._offsets = np.zeros(1, dtype=np.int64)
        self._counts = np.zeros(0, dtype=np.int64)

    def add(self, side: Side, streams: NDArray[np.int32], sign: int) -> None:
        """Add rows to their streams, or take them away, `sign` being 1 or -1."""
        lengths = np.diff(side.offsets)
        rows = np.flatnonzero(lengths)
        if not len(rows):
            return
        stream, low = streams[rows].astype(np.int64), side.first[rows]
        self._cover(stream, low, low + lengths[rows])
        target = np.full(len(streams), -1, dtype=np.int64)
        target[rows] = self._offsets[stream] + low - self._first[stream]
        _add(side, target, sign, self._counts)

    def runs(self, scale: int, streams: int) -> Runs:
        """Return the counters of so many streams."""
        self._grow(streams)
        return Runs(scale, self._first, self._offsets, self._counts.view(np.uint64))

    def _cover(
        self, stream: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]
    ) -> None:
        """Have counters for the buckets from low to high of each stream."""
        self._grow(int(stream.max()) + 1)
        ends = self._first + np.diff(self._offsets)
        if (low >= self._first[stream]).all() and (high <= ends[stream]).all():
            return
        empty = ends == self._first
        first = np.where(empty, np.int64(2**62), self._first)
        last = np.where(empty, -np.int64(2**62), ends)
        np.minimum.at(first, stream, low // _ALIGN * _ALIGN)
        np.maximum.at(last, stream, -(-high // _ALIGN) * _ALIGN)
        filled = last > first
        first, lengths = np.where(filled, first, 0), np.where(filled, last - first, 0)
        offsets = offsets_of(lengths)
        counts = np.zeros(int(offsets[-1]), dtype=np.int64)
        kept = np.where(empty, -1, offsets[:-1] + self._first - first)
        _add(Side(self._first, self._offsets, self._counts.view(np.uint64)), kept, 1, counts)
        self._first, self._offsets, self._counts = first, offsets, counts

    def _grow(self, streams: int) -> None:
        more = streams - len(self._first)
        if more > 0:
            self._first = np.append(self._first, np.zeros(more, dtype=np.int64))
            self._offsets = np.append(self._offsets, np.full(more, self._offsets[-1]))


def _add(side: Side, target: NDArray[np.int64], sign: int, out: NDArray[np.int64]) -> None:
    if _kernels.pays(len(side.counts)):
        from analytics._kernels import sliding as kernel

        kernel.add_signed(side.offsets, side.counts, target, sign, out)
        return
    for row in np.flatnonzero(target >= 0).tolist():
        counts = side.counts[side.offsets[row] : side.offsets[row + 1]].astype(np.int64)
        out[target[row] : target[row] + len(counts)] += sign * counts
