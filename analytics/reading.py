"""What can be read from the counts of a sketch: values at ranks, and ranks of values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.buckets import SignedBuckets
from analytics.mapping import SMALLEST_NORMAL, bucket_index, lower_bound, representative


@dataclass(frozen=True, slots=True)
class Reading:
    """All buckets of a sketch from the smallest value up, for any number of questions."""

    values: NDArray[np.float64]  # (buckets,) representatives, ascending
    cumulative: NDArray[np.int64]  # (buckets,) how many values lie in it or before it
    min: float
    max: float

    @classmethod
    def of(cls, buckets: SignedBuckets, zero_count: int, min_: float, max_: float) -> Reading:
        """Read the buckets of a sketch that has counted at least one value."""
        down, up = buckets.negative, buckets.positive
        below = np.arange(down.offset, down.end, dtype=np.int64)[::-1]
        above = np.arange(up.offset, up.end, dtype=np.int64)
        values = [
            -representative(below, buckets.scale),
            np.zeros(1),
            representative(above, buckets.scale),
        ]
        counts = [down.counts[::-1], np.array([zero_count], dtype=np.uint64), up.counts]
        cumulative = np.cumsum(np.concatenate(counts), dtype=np.uint64).astype(np.int64)
        return cls(np.concatenate(values), cumulative, min_, max_)

    @property
    def count(self) -> int:
        return int(self.cumulative[-1])

    def at_ranks(self, ranks: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the value at each rank, 0 to count - 1, in the shape of `ranks`."""
        bucket = np.searchsorted(self.cumulative, ranks, side="right")
        found: NDArray[np.float64] = np.clip(self.values[bucket], self.min, self.max)
        found[ranks == 0] = self.min  # both ends are known better than to a bucket
        found[ranks == self.count - 1] = self.max
        return found

    def at_quantiles(self, qs: NDArray[np.float64], lost: int = 0) -> NDArray[np.float64]:
        """Return the value at rank floor(q (n - 1)) of the values and `lost` further infinities."""
        due = self.count + lost
        # In doubles a rank above 2**53 may round up to the one behind the last.
        ranks = np.minimum(np.floor(qs * (due - 1)).astype(np.int64), due - 1)
        result = np.full(qs.shape, np.inf)
        delivered = ranks < self.count
        result[delivered] = self.at_ranks(ranks[delivered])
        return result


def count_up_to(buckets: SignedBuckets, zero_count: int, x: float) -> tuple[int, int]:
    """Return how many values are at most `x`, certainly and possibly; `x` finite.

    The two differ by what lies in the bucket of `x`, unless `x` is its upper end.
    """
    if abs(x) < SMALLEST_NORMAL:
        negative = buckets.negative.total()
        return (negative + (zero_count if x >= 0 else 0), negative + zero_count)
    after = math.nextafter(x, math.inf)
    index, next_up = bucket_index(np.abs([x, after]), buckets.scale).tolist()
    if x > 0:
        before = buckets.negative.total() + zero_count + buckets.positive.below(index)
        possible = before + buckets.positive.at(index)
        # Upper ends are inclusive: when the next double is in another bucket, all of it counts.
        return (possible if next_up > index else before, possible)
    larger = buckets.negative.total() - buckets.negative.below(index + 1)
    return (larger, larger + buckets.negative.at(index))


def outer_bounds(buckets: SignedBuckets, zero_count: int) -> tuple[float, float]:
    """Return the ends of the outermost buckets, between which every counted value lies."""
    ends = [0.0, 0.0] if zero_count else []
    for side, sign in ((buckets.negative, -1), (buckets.positive, 1)):
        used = side.used()
        if used is not None:
            ends += (sign * lower_bound(np.array([used[0], used[1] + 1]), buckets.scale)).tolist()
    return min(ends), max(ends)
