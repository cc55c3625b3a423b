"""The sketch: tail percentiles of any number of values, in a few hundred counters.

A base-2 exponential histogram with OpenTelemetry's mapping. A quantile it gives is within
`relative_error` of the exact one; two sketches merge by adding their counters, so merging is
exact, associative and commutative, and no value ever disappears.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analytics import _kernels
from analytics.buckets import Buckets
from analytics.mapping import (
    SCALE_MAX,
    SCALE_MIN,
    SMALLEST_NORMAL,
    bucket_index,
    lower_bound,
    relative_error,
    representative,
)
from analytics.order_statistics import interval_ranks

SCALE_DEFAULT: Final = 7
BUCKET_LIMIT: Final = 4096  # 32 binades at scale 7: from a nanosecond to more than four seconds
_COUNT_MAX: Final = 2**63 - 1
_LARGEST: Final = float(np.finfo(np.float64).max)


class Sketch:
    """Counts of finite values by bucket, with their sum, minimum and maximum.

    Counts, minimum, maximum and scale do not depend on the order of `add` and `merge`; the sum
    does in its last bits, as sums of floating-point numbers do. Values below the smallest
    normal double (2**-1022) in size count as zero. NaN and infinities are counted apart and
    are no part of `count`, `sum` or any quantile.
    """

    __slots__ = (
        "_bucket_limit",
        "_max",
        "_min",
        "_negative",
        "_positive",
        "_scale",
        "nan_count",
        "negative_infinity_count",
        "positive_infinity_count",
        "sum",
        "zero_count",
    )

    def __init__(self, scale: int = SCALE_DEFAULT, bucket_limit: int = BUCKET_LIMIT) -> None:
        """Make an empty sketch.

        Args:
            scale: From -10 to 8: 2**scale buckets per binade. Halved, losslessly, when the
                values span more than `bucket_limit` buckets.
            bucket_limit: The most buckets of either sign, at least 2.

        Raises:
            ValueError: an argument is out of its range.
        """
        if not SCALE_MIN <= scale <= SCALE_MAX:
            raise ValueError(f"scale is {scale}, must be from {SCALE_MIN} to {SCALE_MAX}")
        if bucket_limit < 2:  # noqa: PLR2004 - one halving always fits two buckets
            raise ValueError(f"bucket_limit is {bucket_limit}, must be at least 2")
        self._scale = scale
        self._bucket_limit = bucket_limit
        self._positive, self._negative = Buckets(), Buckets()
        self._min, self._max = math.inf, -math.inf
        self.sum: float = 0.0
        self.zero_count: int = 0
        self.nan_count: int = 0
        self.positive_infinity_count: int = 0
        self.negative_infinity_count: int = 0

    @classmethod
    def from_parts(
        cls,
        *,
        scale: int,
        positive: Buckets,
        negative: Buckets,
        zero_count: int,
        sum_: float,
        min_: float | None,
        max_: float | None,
        nan_count: int = 0,
        positive_infinity_count: int = 0,
        negative_infinity_count: int = 0,
        bucket_limit: int = BUCKET_LIMIT,
    ) -> Sketch:
        """Rebuild a sketch from its counters, such as those of an OTLP data point.

        Without `min_` and `max_` (they are optional in OTLP) the ends of the outermost buckets
        stand in for them.

        Raises:
            ValueError: the parts contradict each other or the limits.
        """
        sketch = cls(scale, bucket_limit)
        for buckets in (positive, negative):
            if abs(buckets.offset) > 2**40 or len(buckets.counts) > 2**20:
                raise ValueError(
                    f"{len(buckets.counts)} buckets from {buckets.offset} are out of range"
                )
        scalars = (zero_count, nan_count, positive_infinity_count, negative_infinity_count)
        total = zero_count + sum(sum(map(int, b.counts.tolist())) for b in (positive, negative))
        if min(scalars) < 0 or total > _COUNT_MAX or max(scalars) > _COUNT_MAX:
            raise ValueError("a count is negative or larger than 2**63 - 1")
        sketch._absorb_buckets(positive.trimmed(), negative.trimmed(), scale)
        sketch.zero_count = zero_count
        sketch.nan_count = nan_count
        sketch.positive_infinity_count = positive_infinity_count
        sketch.negative_infinity_count = negative_infinity_count
        if math.isnan(sum_):
            raise ValueError("the sum is NaN")
        sketch.sum = _saturated(sum_) if total else 0.0
        if total:
            if min_ is None or max_ is None:
                low, high = sketch._outer_bounds()
                min_, max_ = low if min_ is None else min_, high if max_ is None else max_
            sketch._min, sketch._max = min_, max_
            if not -math.inf < sketch._min <= sketch._max < math.inf:
                raise ValueError(f"minimum {min_} and maximum {max_} contradict each other")
        return sketch

    @property
    def scale(self) -> int:
        return self._scale

    @property
    def relative_error(self) -> float:
        """Alpha: no quantile is further off, relatively. 0.271 % at scale 7."""
        return relative_error(self._scale)

    @property
    def count(self) -> int:
        """The number of finite values."""
        return self._positive.total() + self._negative.total() + self.zero_count

    @property
    def min(self) -> float | None:
        """The smallest finite value, exactly; None when there is none."""
        return None if math.isinf(self._min) else self._min

    @property
    def max(self) -> float | None:
        """The largest finite value, exactly; None when there is none."""
        return None if math.isinf(self._max) else self._max

    @property
    def positive(self) -> Buckets:
        """The counts of positive values, without empty ends; a copy."""
        return self._positive.trimmed()

    @property
    def negative(self) -> Buckets:
        """The counts of negative values by magnitude, without empty ends; a copy."""
        return self._negative.trimmed()

    def add(self, values: ArrayLike) -> None:
        """Count values, shape (n,) or a scalar, in any unit.

        Raises:
            ValueError: the shape is neither, or the values are not real numbers.
        """
        array = np.ascontiguousarray(values, dtype=np.float64)
        if array.ndim > 1:
            raise ValueError(f"values must have shape (n,), got {array.shape}")
        array = np.atleast_1d(array)
        if not len(array):
            return
        if not _all_positive_normal(array):
            array = self._count_specials(array)
            if not len(array):
                return
        self._count_positive(self._positive, array)
        self._note_extremes(array)

    def merge(self, other: Sketch) -> None:
        """Add the counts of `other`, exactly, at the coarser of the two scales."""
        self._absorb_buckets(other._positive, other._negative, other._scale)
        self.zero_count += other.zero_count
        self.nan_count += other.nan_count
        self.positive_infinity_count += other.positive_infinity_count
        self.negative_infinity_count += other.negative_infinity_count
        self.sum = _saturated(self.sum + other.sum)
        self._min, self._max = min(self._min, other._min), max(self._max, other._max)

    def copy(self) -> Sketch:
        """Return a sketch of its own with the same counts."""
        twin = Sketch(self._scale, self._bucket_limit)
        twin.merge(self)
        return twin

    def quantiles(self, qs: ArrayLike) -> NDArray[np.float64]:
        """Return the value at each rank floor(q (n - 1)), as `numpy.quantile(method="lower")`.

        Each is within `relative_error` of the exact one. NaN when nothing was counted.

        Raises:
            ValueError: a q is not from 0 to 1.
        """
        wanted = _checked_quantiles(qs)
        count = self.count
        if not count:
            return np.full(wanted.shape, np.nan)
        return self._at_ranks(_ranks(wanted, count))

    def quantile(self, q: float) -> float:
        """Return one quantile; see `quantiles`."""
        return float(self.quantiles([q])[0])

    def due_quantiles(self, qs: ArrayLike, lost: int) -> NDArray[np.float64]:
        """Return quantiles of all due packets: `lost` further values are +Inf (RFC 7679)."""
        wanted = _checked_quantiles(qs)
        count = self.count
        if not count + lost:
            return np.full(wanted.shape, np.nan)
        ranks = _ranks(wanted, count + lost)
        result = np.full(wanted.shape, np.inf)
        delivered = ranks < count
        if delivered.any():
            result[delivered] = self._at_ranks(ranks[delivered])
        return result

    def interval(self, q: float, level: float = 0.95) -> tuple[float | None, float | None]:
        """Return an order-statistic confidence interval of the quantile of the population.

        It holds for any continuous distribution of independent values. An end is None where the
        sample is too small to bound it. The sketch's own error comes on top.

        Raises:
            ValueError: `q` or `level` is not strictly between 0 and 1.
        """
        low, high = interval_ranks(self.count, q, level)
        ranks = [rank for rank in (low, high) if rank is not None]
        values = iter(self._at_ranks(np.array(ranks, dtype=np.int64)).tolist() if ranks else ())
        return (
            None if low is None else next(values),
            None if high is None else next(values),
        )

    def cdf(self, x: float) -> tuple[float, float]:
        """Return bounds of the fraction of values which are at most `x`; NaN when empty.

        They differ by what lies in the bucket of `x`; at a bucket's end, and outside the
        smallest and largest value, they are equal.
        """
        count = self.count
        if not count or math.isnan(x):
            return (math.nan, math.nan)
        if x >= self._max:
            return (1.0, 1.0)
        if x < self._min:
            return (0.0, 0.0)
        certain, possible = self._count_up_to(x)
        return (certain / count, possible / count)

    def __eq__(self, other: object) -> bool:
        """Whether all counts, scale, minimum and maximum are the same; the sum to rounding."""
        if not isinstance(other, Sketch):
            return NotImplemented
        return self._identity() == other._identity() and math.isclose(
            self.sum, other.sum, rel_tol=1e-9, abs_tol=1e-12 * max(1.0, abs(self._largest()))
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Sketch(scale={self._scale}, count={self.count}, min={self.min}, max={self.max})"

    def _identity(self) -> tuple[object, ...]:
        sides = [(side.offset, side.counts.tobytes()) for side in (self.positive, self.negative)]
        return (
            self._scale,
            *sides,
            self.zero_count,
            self.nan_count,
            self.positive_infinity_count,
            self.negative_infinity_count,
            self._min,
            self._max,
        )

    def _largest(self) -> float:
        return _saturated(max(abs(self._min), abs(self._max)) * self.count) if self.count else 0.0

    def _count_specials(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Count all that is not positive and normal; return the rest."""
        nan = np.isnan(array)
        self.nan_count += int(nan.sum())
        self.positive_infinity_count += int((array == np.inf).sum())
        self.negative_infinity_count += int((array == -np.inf).sum())
        finite = array[np.isfinite(array)]
        magnitude = np.abs(finite)
        zero = magnitude < SMALLEST_NORMAL
        self.zero_count += int(zero.sum())
        negative = finite[(finite < 0) & ~zero]
        if len(negative):
            self._count_positive(self._negative, -negative)
        rest = finite[(finite > 0) & ~zero]
        others = finite[(finite <= 0) | zero]
        if len(others):
            self._note_extremes(others)
        return rest

    def _count_positive(self, side: Buckets, values: NDArray[np.float64]) -> None:
        """Count positive normal values on one side."""
        ends = bucket_index(np.array([values.min(), values.max()]), self._scale)
        self._make_room(side, int(ends[0]), int(ends[1]))
        if _kernels.worthwhile(len(values)):
            _kernels.count_values(values, self._scale, side.offset, side.counts)
        else:
            side.count(bucket_index(values, self._scale))

    def _note_extremes(self, values: NDArray[np.float64]) -> None:
        self._min = min(self._min, float(values.min()))
        self._max = max(self._max, float(values.max()))
        with np.errstate(over="ignore"):
            self.sum = _saturated(self.sum + _saturated(float(values.sum())))

    def _make_room(self, side: Buckets, first: int, last: int) -> int:
        """Cover buckets `first` to `last` of one side; return by how much the scale fell."""
        fell = 0
        used = side.trimmed()
        if len(used.counts):
            first, last = min(first, used.offset), max(last, used.end - 1)
        while last - first >= self._bucket_limit:
            self._halve_scale()
            first, last, fell = first >> 1, last >> 1, fell + 1
        align = 1 << self._scale if self._scale > 0 else 1  # whole binades: grow seldom
        side.cover(first, last, align)
        return fell

    def _halve_scale(self) -> None:
        self._positive.halve_scale()
        self._negative.halve_scale()
        self._scale -= 1

    def _absorb_buckets(self, positive: Buckets, negative: Buckets, scale: int) -> None:
        while self._scale > scale:
            self._halve_scale()
        if scale == self._scale and self._positive.covers(positive) and not len(negative.counts):
            self._positive.add(positive)  # the common case: a further window of one path
            return
        incoming = [positive.trimmed(), negative.trimmed()]
        theirs = scale
        for number in (0, 1):
            while theirs > self._scale:
                for buckets in incoming:
                    buckets.halve_scale()
                theirs -= 1
            buckets, side = incoming[number], (self._positive, self._negative)[number]
            if len(buckets.counts):
                fell = self._make_room(side, buckets.offset, buckets.end - 1)
                for _ in range(fell):
                    for each in incoming:
                        each.halve_scale()
                theirs -= fell
                side.add(buckets)

    def _outer_bounds(self) -> tuple[float, float]:
        """Return the ends of the outermost buckets, for a sketch that came without extremes."""
        positive, negative = self._positive.trimmed(), self._negative.trimmed()
        low = high = 0.0
        if len(negative.counts):
            low = -float(lower_bound(negative.end, self._scale))
            high = -float(lower_bound(negative.offset, self._scale))
        if self.zero_count:
            high = 0.0
        if len(positive.counts):
            if not len(negative.counts) and not self.zero_count:
                low = float(lower_bound(positive.offset, self._scale))
            high = float(lower_bound(positive.end, self._scale))
        return _saturated(low), _saturated(high)

    def _at_ranks(self, ranks: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the value at each zero-based rank, clamped to the exact extremes."""
        values, counts = self._ascending()
        cumulative = np.cumsum(counts, dtype=np.uint64).astype(np.int64)
        found = np.clip(
            values[np.searchsorted(cumulative, ranks, side="right")], self._min, self._max
        )
        found[ranks == 0] = self._min  # both ends are known exactly
        found[ranks == int(cumulative[-1]) - 1] = self._max
        return found

    def _ascending(self) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
        """Return representatives and counts of all buckets, from the smallest value up."""
        positive, negative = self._positive, self._negative
        up = np.arange(positive.offset, positive.end, dtype=np.int64)
        down = np.arange(negative.offset, negative.end, dtype=np.int64)[::-1]
        values = np.concatenate(
            [-representative(down, self._scale), [0.0], representative(up, self._scale)]
        )
        zero = np.array([self.zero_count], dtype=np.uint64)
        return values, np.concatenate([negative.counts[::-1], zero, positive.counts])

    def _count_up_to(self, x: float) -> tuple[int, int]:
        """Return how many values are at most `x`, certainly and possibly."""
        below = self._negative.total() + self.zero_count
        if abs(x) < SMALLEST_NORMAL:
            return (below if x >= 0 else below - self.zero_count, below)
        index = int(bucket_index(np.array([abs(x)]), self._scale)[0])
        if x > 0:
            side = self._positive
            # The whole bucket counts when x is its (inclusive) upper end.
            full = int(bucket_index(np.nextafter([x], np.inf), self._scale)[0]) > index
            under = below + int(side.counts[: max(0, index - side.offset)].sum())
            within = _count_at(side, index)
            return (under + (within if full else 0), under + within)
        side = self._negative
        over = int(side.counts[max(0, index + 1 - side.offset) :].sum())
        return (over, over + _count_at(side, index))


def _saturated(total: float) -> float:
    """Keep a sum of finite values finite."""
    return min(max(total, -_LARGEST), _LARGEST)


def _count_at(side: Buckets, index: int) -> int:
    return int(side.counts[index - side.offset]) if side.offset <= index < side.end else 0


def _all_positive_normal(array: NDArray[np.float64]) -> bool:
    # NaN fails both comparisons.
    return bool(array.min() >= SMALLEST_NORMAL and array.max() < np.inf)


def _checked_quantiles(qs: ArrayLike | Sequence[float]) -> NDArray[np.float64]:
    wanted = np.atleast_1d(np.asarray(qs, dtype=np.float64))
    bad = ~((wanted >= 0) & (wanted <= 1))
    if bad.any():
        raise ValueError(f"quantile {wanted[bad][0]} is not from 0 to 1")
    return wanted


def _ranks(qs: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    return np.floor(qs * (count - 1)).astype(np.int64)
