"""The tables of a frame as a few arrays of whole numbers, which packing writes and reads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.frame import Frame
from analytics.layouts import Counts, Statistics
from analytics.tables import Distributions, Numbers, Side

Signed = NDArray[np.int64]
Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Columns:
    """All points of a frame; doubles as their bits."""

    numbers: Signed  # (distributions, 3) stream, start, scale
    specials: Words  # (distributions, 4) zeros, NaN, +Inf, -Inf
    doubles: Words  # (distributions, 3) sum, min, max
    first: Signed  # (distributions, 2) first bucket of the positive and the negative side
    offsets: Signed  # (distributions + 1, 2) where in the counts each begins
    positive: Words
    negative: Words
    stream: Signed  # (counters + gauges,)
    start_s: Signed
    value: Words
    counters: int

    @property
    def sizes(self) -> tuple[int, int, int]:
        """How many distributions, counters and gauges."""
        return len(self.numbers), self.counters, len(self.stream) - self.counters

    @classmethod
    def room(cls, sizes: Signed) -> Columns:
        """Return arrays to be filled; sizes are of the three tables and the two sides."""
        rows, counters, gauges, positive, negative = sizes.tolist()
        return cls(
            np.empty((rows, 3), dtype=np.int64),
            np.empty((rows, 4), dtype=np.uint64),
            np.empty((rows, 3), dtype=np.uint64),
            np.empty((rows, 2), dtype=np.int64),
            np.zeros((rows + 1, 2), dtype=np.int64),
            np.empty(positive, dtype=np.uint64),
            np.empty(negative, dtype=np.uint64),
            np.empty(counters + gauges, dtype=np.int64),
            np.empty(counters + gauges, dtype=np.int64),
            np.empty(counters + gauges, dtype=np.uint64),
            counters,
        )

    @classmethod
    def of(cls, frame: Frame) -> Columns:
        table, counters, gauges = frame.tables
        s = table.statistics
        return cls(
            np.stack([table.stream.astype(np.int64), table.start_s, table.scale], axis=1),
            np.stack(
                [
                    s.zero_count,
                    s.nan_count,
                    s.positive_infinity_count,
                    s.negative_infinity_count,
                ],
                axis=1,
            ),
            np.stack([s.sum, s.min, s.max], axis=1).view(np.uint64),
            np.stack([table.positive.first, table.negative.first], axis=1),
            np.stack([table.positive.offsets, table.negative.offsets], axis=1),
            table.positive.counts.astype(np.uint64, copy=False),
            table.negative.counts.astype(np.uint64, copy=False),
            np.concatenate([counters.stream, gauges.stream]).astype(np.int64),
            np.concatenate([counters.start_s, gauges.start_s]),
            np.concatenate([counters.value, gauges.value.view(np.uint64)]),
            len(counters.stream),
        )

    def parts(self, edges: Signed) -> Iterator[Columns]:
        """Yield the rows between one row of `edges`, (parts + 1, 3), and the next."""
        cut = self.counters
        for (a, c, e), (b, d, f) in itertools.pairwise(edges.tolist()):
            stream, start_s, value = (
                np.concatenate([each[c:d], each[cut + e : cut + f]])
                for each in (self.stream, self.start_s, self.value)
            )
            yield Columns(
                self.numbers[a:b],
                self.specials[a:b],
                self.doubles[a:b],
                self.first[a:b],
                self.offsets[a : b + 1],
                self.positive,
                self.negative,
                stream,
                start_s,
                value,
                d - c,
            )

    def frame(self, length_s: int) -> Frame:
        """Return the points as windows of one length."""
        doubles = self.doubles.view(np.float64)
        sides = [
            Side(self.first[:, k].copy(), self.offsets[:, k].copy(), _narrow(counts))
            for k, counts in enumerate((self.positive, self.negative))
        ]
        zeros, nan, positive_infinities, negative_infinities = (
            self.specials[:, k].copy() for k in range(4)
        )
        sums, least, most = (doubles[:, k].copy() for k in range(3))
        statistics = Statistics(
            zeros, nan, positive_infinities, negative_infinities, sums, least, most
        )
        stream, cut = self.stream.astype(np.int32), self.counters
        return Frame(
            Distributions(
                self.numbers[:, 0].astype(np.int32),
                self.numbers[:, 1].copy(),
                self.numbers[:, 2].copy(),
                sides[0],
                sides[1],
                statistics,
            ),
            Numbers(stream[:cut], self.start_s[:cut], self.value[:cut]),
            Numbers(stream[cut:], self.start_s[cut:], self.value[cut:].view(np.float64)),
            length_s,
        )


def _narrow(counts: Words) -> Counts:
    """Return counts in half the memory where all of them fit, as those of one window do."""
    fit = counts.max(initial=0) <= np.iinfo(np.uint32).max
    return counts.astype(np.uint32) if fit else counts
