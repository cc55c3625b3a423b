"""The sum of all distributions of each stream, to which more are added where they lie.

Most of what comes lies within the buckets that a stream has filled before, and is added to these
in place. The rest waits, and is merged with everything as any two frames are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.frame import Frame, concatenated
from analytics.grouping import LARGEST
from analytics.merging import add_runs
from analytics.store.interface import EVER_S
from analytics.tables import Distributions, Side

_WAITING_BYTES: Final = 4 * 2**20  # of points, before they are merged; or as much as is known,
_WAITING_BYTES_MAX: Final = 64 * 2**20  # but not more: merging costs what is known as well
_COUNTS: Final = (
    *("zero_count", "nan_count"),
    *("positive_infinity_count", "negative_infinity_count"),
)

Rows = NDArray[np.int64]


class RunningTotal:
    """A row for each stream, in the order of streams. Not thread-safe."""

    def __init__(self, total: Frame | None = None) -> None:
        """Begin with a sum, a row for each stream, in the order of streams."""
        self._table = _widened((total or Frame.empty(EVER_S)).distributions)
        self._waiting: list[Frame] = []
        self._waiting_bytes = 0

    def add(self, frame: Frame) -> None:
        """Add distributions; a frame's other points are left alone."""
        table = frame.distributions
        covered = self._add_in_place(table)
        if not covered.all():
            rest = table.taken(np.flatnonzero(~covered))
            waiting = replace(frame.only_distributions(), distributions=rest)
            self._waiting.append(waiting)
            self._waiting_bytes += waiting.nbytes
            known = self._table.positive.counts.nbytes + self._table.negative.counts.nbytes
            if self._waiting_bytes > min(max(known, _WAITING_BYTES), _WAITING_BYTES_MAX):
                self.settle()

    def settle(self) -> Distributions:
        """Return the sums of all that was added; later additions change them in place."""
        if self._waiting:
            known = replace(Frame.empty(EVER_S), distributions=self._table)
            whole = concatenated([known, *self._waiting]).summed(0, EVER_S)
            self._table = _widened(whole.distributions)
            self._waiting, self._waiting_bytes = [], 0
        return self._table

    def _add_in_place(self, table: Distributions) -> NDArray[np.bool_]:
        """Add the rows which the sums of their streams cover; return by row whether it was."""
        known = self._table
        if not len(known.stream):
            return np.zeros(len(table.stream), dtype=np.bool_)
        row = np.searchsorted(known.stream, table.stream)
        row[row == len(known.stream)] = 0  # another stream's, as it is told below
        covered: NDArray[np.bool_] = known.stream[row] == table.stream
        covered = covered & (known.scale[row] == table.scale)
        targets = []
        for mine, more in ((known.positive, table.positive), (known.negative, table.negative)):
            target, inside = _targets(mine, more, row)
            covered &= inside
            targets.append(target)
        for side, more, target in zip(
            (known.positive, known.negative),
            (table.positive, table.negative),
            targets,
            strict=True,
        ):
            if len(more.counts):
                out = side.counts.view(np.uint64)
                add_runs(more.offsets, more.counts, np.where(covered, target, -1), out)
        self._add_statistics(table, row, covered)
        return covered

    def _add_statistics(self, table: Distributions, row: Rows, covered: NDArray[np.bool_]) -> None:
        known, more, row = self._table.statistics, table.statistics, row[covered]
        with np.errstate(over="ignore"):
            np.add.at(known.sum, row, more.sum[covered])
        known.sum[row] = np.clip(known.sum[row], -LARGEST, LARGEST)
        np.minimum.at(known.min, row, more.min[covered])
        np.maximum.at(known.max, row, more.max[covered])
        for name in _COUNTS:
            np.add.at(getattr(known, name), row, getattr(more, name)[covered])


def _targets(known: Side, more: Side, row: Rows) -> tuple[Rows, NDArray[np.bool_]]:
    """Return where in the known counts each row's first bucket is, and whether all are there."""
    shift, length = more.first - known.first[row], np.diff(more.offsets)
    target = known.offsets[row] + shift
    inside = (length == 0) | ((shift >= 0) & (target + length <= known.offsets[row + 1]))
    return np.where(length > 0, target, -1), inside


def _widened(table: Distributions) -> Distributions:
    """Return a table whose counts may grow."""
    sides = [
        replace(side, counts=side.counts.astype(np.uint64))
        for side in (table.positive, table.negative)
    ]
    return replace(table, positive=sides[0], negative=sides[1])
