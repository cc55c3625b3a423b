"""Adding up points of one stream and window: counters, gauges, and distributions as runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analytics.layouts import Runs, Statistics
from analytics.merging import merge_groups
from analytics.sketch import BUCKET_LIMIT
from analytics.tables import (
    Distributions,
    Numbers,
    Order,
    Side,
    distributions_of,
    joined_distributions,
)

LARGEST: Final = float(np.finfo(np.float64).max)

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Groups:
    """Rows of one stream and window belong together."""

    order: Order  # of the rows, by group; within one as they came
    begins: NDArray[np.int64]  # of each group, in `order`
    stream: NDArray[np.int32]
    start_s: NDArray[np.int64]

    @classmethod
    def of(cls, table: Distributions | Numbers, length_s: int) -> _Groups:
        start_s = table.start_s - table.start_s % length_s
        order = np.lexsort((start_s, table.stream))
        stream, start_s = table.stream[order], start_s[order]
        fresh = np.ones(len(order), dtype=np.bool_)
        fresh[1:] = (stream[1:] != stream[:-1]) | (start_s[1:] != start_s[:-1])
        begins = np.flatnonzero(fresh)
        return cls(order, begins, stream[begins], start_s[begins])

    def __len__(self) -> int:
        return len(self.begins)

    def reduced(self, operation: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
        """Return one number per group."""
        if not len(self.begins):
            return values[:0]
        reduced: NDArray[Any] = operation.reduceat(values[self.order], self.begins)
        return reduced

    def of_rows(self) -> NDArray[np.int32]:
        """Return the group of each row, in the rows' own order."""
        groups = np.empty(len(self.order), dtype=np.int32)
        sizes = np.diff(self.begins, append=len(self.order))
        groups[self.order] = np.repeat(np.arange(len(self.begins), dtype=np.int32), sizes)
        return groups


def merged_counters(table: Numbers, length_s: int) -> Numbers:
    """Add up what lies in one stream and window of `length_s`."""
    groups = _Groups.of(table, length_s)
    return Numbers(groups.stream, groups.start_s, groups.reduced(np.add, table.value))


def merged_gauges(table: Numbers, length_s: int) -> Numbers:
    """Keep the latest of each stream and window of `length_s`."""
    if not len(table.stream):
        return table
    in_time = table.taken(np.argsort(table.start_s, kind="stable"))
    groups = _Groups.of(in_time, length_s)
    last = np.append(groups.begins[1:], len(groups.order)) - 1
    return Numbers(groups.stream, groups.start_s, in_time.value[groups.order[last]])


def merged_distributions(table: Distributions, length_s: int) -> Distributions:
    """Merge what lies in one stream and window of `length_s`, exactly as sketches do."""
    groups = _Groups.of(table, length_s)
    if len(groups) == len(table.stream):
        alone = table.taken(groups.order)
        return Distributions(
            alone.stream, groups.start_s, alone.scale, alone.positive, alone.negative,
            alone.statistics,
        )  # fmt: skip
    scale = groups.reduced(np.minimum, table.scale)
    of_rows = groups.of_rows()
    plain = scale == groups.reduced(np.maximum, table.scale)
    for side in (table.positive, table.negative):
        plain &= _spans(groups, side) <= BUCKET_LIMIT
    statistics = _merged_statistics(groups, table.statistics)
    sides = [
        _merged_side(side, np.where(plain[of_rows], of_rows, -1), len(groups))
        for side in (table.positive, table.negative)
    ]
    merged = Distributions(groups.stream, groups.start_s, scale, sides[0], sides[1], statistics)
    return merged if plain.all() else _with_sketches(merged, table, groups, ~plain)


def _spans(groups: _Groups, side: Side) -> NDArray[np.int64]:
    """Return how many buckets the rows of each group span together."""
    lengths = np.diff(side.offsets)
    far = np.int64(2**62)
    low = groups.reduced(np.minimum, np.where(lengths > 0, side.first, far))
    high = groups.reduced(np.maximum, np.where(lengths > 0, side.first + lengths, -far))
    spans: NDArray[np.int64] = np.maximum(high - low, 0)
    return spans


def _merged_statistics(groups: _Groups, statistics: Statistics) -> Statistics:
    with np.errstate(over="ignore"):
        total = groups.reduced(np.add, statistics.sum)
    return Statistics(
        groups.reduced(np.add, statistics.zero_count),
        groups.reduced(np.add, statistics.nan_count),
        groups.reduced(np.add, statistics.positive_infinity_count),
        groups.reduced(np.add, statistics.negative_infinity_count),
        np.clip(total, -LARGEST, LARGEST),
        groups.reduced(np.minimum, statistics.min),
        groups.reduced(np.maximum, statistics.max),
    )


def _merged_side(side: Side, groups: NDArray[np.int32], count: int) -> Side:
    """Add up the rows of each group; rows of one group share a scale, -1 leaves a row out."""
    if not len(side.counts):
        return Side(
            np.zeros(count, dtype=np.int64), np.zeros(count + 1, dtype=np.int64), side.counts
        )
    # Groups do not interfere, so rows of any scale may go through one merge.
    merged = merge_groups(Runs(0, side.first, side.offsets, side.counts), groups, count)
    return Side(merged.first, merged.offsets, merged.counts.astype(np.uint64, copy=False))


def _with_sketches(
    merged: Distributions, table: Distributions, groups: _Groups, odd: Mask
) -> Distributions:
    """Merge the groups whose scales differ or must fall the slow way, as sketches do."""
    ends = np.append(groups.begins[1:], len(groups.order))
    kept = np.flatnonzero(~odd)
    places, sketches = [], []
    for group in np.flatnonzero(odd).tolist():
        rows = groups.order[groups.begins[group] : ends[group]].tolist()
        whole = table.sketch(rows[0])
        for row in rows[1:]:
            whole.merge(table.sketch(row))
        places.append((int(groups.stream[group]), int(groups.start_s[group])))
        sketches.append(whole)
    joined = joined_distributions([merged.taken(kept), distributions_of(places, sketches)])
    return joined.taken(np.lexsort((joined.start_s, joined.stream)))
