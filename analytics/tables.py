"""Points as columns: the tables that a frame is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics import _kernels
from analytics.buckets import Buckets
from analytics.layouts import Counts, Statistics
from analytics.row_sketch import sketch_of
from analytics.sketch import Sketch

Order = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Side:
    """The buckets of one sign, a run of neighbours per row; see `analytics.layouts.Runs`."""

    first: NDArray[np.int64]  # (rows,) OpenTelemetry's index
    offsets: NDArray[np.int64]  # (rows + 1,)
    counts: Counts  # (offsets[-1],)

    def row(self, number: int) -> Buckets:
        start, end = self.offsets[number], self.offsets[number + 1]
        return Buckets(int(self.first[number]), self.counts[start:end].astype(np.uint64))

    def taken(self, rows: Order) -> Side:
        """Return these rows, in this order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = _offsets(lengths)
        if not offsets[-1]:
            return Side(self.first[rows], offsets, self.counts[:0])
        begins = self.offsets[:-1][rows]
        if _kernels.loaded():
            from analytics._kernels import sliding as kernel

            counts: Counts = np.empty(int(offsets[-1]), dtype=self.counts.dtype)
            kernel.copy_runs(self.counts, begins, lengths, offsets[:-1], counts)
            return Side(self.first[rows], offsets, counts)
        # Each row's counts lie together: the place of an entry is its row's begin plus its rank.
        shift = np.repeat(begins - offsets[:-1], lengths)
        return Side(self.first[rows], offsets, self.counts[np.arange(offsets[-1]) + shift])


@dataclass(frozen=True, slots=True)
class Distributions:
    """Sketches, a row each."""

    stream: NDArray[np.int32]
    start_s: NDArray[np.int64]
    scale: NDArray[np.int64]
    positive: Side
    negative: Side
    statistics: Statistics

    def sketch(self, row: int) -> Sketch:
        """Return one row as a sketch of its own."""
        sides = self.positive.row(row), self.negative.row(row)
        return sketch_of(self.statistics, row, int(self.scale[row]), *sides)

    def taken(self, rows: Order) -> Distributions:
        """Return these rows, in this order."""
        return Distributions(
            self.stream[rows],
            self.start_s[rows],
            self.scale[rows],
            self.positive.taken(rows),
            self.negative.taken(rows),
            Statistics(*(getattr(self.statistics, f.name)[rows] for f in fields(Statistics))),
        )


@dataclass(frozen=True, slots=True)
class Numbers:
    """Counters or gauges, a row each."""

    stream: NDArray[np.int32]
    start_s: NDArray[np.int64]
    value: NDArray[Any]  # uint64 for counters, float64 for gauges

    def taken(self, rows: Order) -> Numbers:
        """Return these rows, in this order."""
        return Numbers(self.stream[rows], self.start_s[rows], self.value[rows])


def distributions_of(
    places: Sequence[tuple[int, int]], sketches: Sequence[Sketch]
) -> Distributions:
    """Return sketches as rows; a place is (stream, start in seconds)."""
    place = np.array(places, dtype=np.int64).reshape(-1, 2)
    counted = [sketch.min is not None for sketch in sketches]
    return Distributions(
        place[:, 0].astype(np.int32),
        place[:, 1].copy(),
        np.array([sketch.scale for sketch in sketches], dtype=np.int64),
        _side([sketch.positive for sketch in sketches]),
        _side([sketch.negative for sketch in sketches]),
        Statistics(
            np.array([s.zero_count for s in sketches], dtype=np.uint64),
            np.array([s.nan_count for s in sketches], dtype=np.uint64),
            np.array([s.positive_infinity_count for s in sketches], dtype=np.uint64),
            np.array([s.negative_infinity_count for s in sketches], dtype=np.uint64),
            np.array([s.sum for s in sketches], dtype=np.float64),
            np.array(
                [s.min if ok else np.inf for s, ok in zip(sketches, counted, strict=True)],
                dtype=np.float64,
            ),
            np.array(
                [s.max if ok else -np.inf for s, ok in zip(sketches, counted, strict=True)],
                dtype=np.float64,
            ),
        ),
    )


def _side(rows: Sequence[Buckets]) -> Side:
    counts = [row.counts for row in rows]
    return Side(
        np.array([row.offset for row in rows], dtype=np.int64),
        _offsets(np.array([len(row) for row in counts], dtype=np.int64)),
        np.concatenate(counts) if counts else np.zeros(0, dtype=np.uint64),
    )


def numbers_of(rows: Sequence[tuple[int, int, Any]], dtype: type) -> Numbers:
    """Return rows of (stream, start in seconds, value)."""
    return Numbers(
        np.array([row[0] for row in rows], dtype=np.int32),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=dtype),
    )


def _joined(sides: Sequence[Side]) -> Side:
    lengths = [np.diff(side.offsets) for side in sides]
    return Side(
        np.concatenate([side.first for side in sides]),
        _offsets(np.concatenate(lengths)),
        np.concatenate([side.counts for side in sides]),
    )


def joined_distributions(parts: Sequence[Distributions]) -> Distributions:
    """Return the rows of all parts, in order."""
    statistics = [part.statistics for part in parts]
    return Distributions(
        np.concatenate([part.stream for part in parts]),
        np.concatenate([part.start_s for part in parts]),
        np.concatenate([part.scale for part in parts]),
        _joined([part.positive for part in parts]),
        _joined([part.negative for part in parts]),
        Statistics(
            *(
                np.concatenate([getattr(each, f.name) for each in statistics])
                for f in fields(Statistics)
            )
        ),
    )


def joined_numbers(parts: Sequence[Numbers]) -> Numbers:
    """Return the rows of all parts, in order."""
    return Numbers(
        np.concatenate([part.stream for part in parts]),
        np.concatenate([part.start_s for part in parts]),
        np.concatenate([part.value for part in parts]),
    )


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
