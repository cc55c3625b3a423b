"""The sketch: tail percentiles of any number of values, in a few hundred counters.

A base-2 exponential histogram with OpenTelemetry's mapping. A quantile it gives is within
`relative_error` of the exact one; two sketches merge by adding their counters, so merging is
exact, associative and commutative, and no value ever disappears.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analytics import _kernels
from analytics.buckets import Buckets, SignedBuckets
from analytics.mapping import (
    SCALE_MAX,
    SCALE_MIN,
    SMALLEST_NORMAL,
    enclosing,
    index_range,
    relative_error,
)
from analytics.order_statistics import enclosing_ranks
from analytics.reading import Reading, count_up_to, outer_bounds
from analytics.real_numbers import real_numbers
from analytics.shared import shared

SCALE_DEFAULT: Final = 7
BUCKET_LIMIT: Final = 4096  # 32 binades at scale 7: from a nanosecond to more than four seconds
COUNT_MAX: Final = 2**53  # what one sketch may bring in; a thousand of them still fit 64 bits
_LARGEST: Final = float(np.finfo(np.float64).max)
_SUM_ERROR: Final = 1e-9  # of count times the largest value: ample for any order of summation
_CHUNK: Final = 1 << 20  # values with a sum of their own, whoever counts them
_NUMPY_BLOCK: Final = 1 << 13  # values: malloc keeps temporaries below 128 KiB, and unmaps none


class Sketch:
    """Counts of finite values by bucket, with their sum, minimum and maximum.

    Counts, minimum, maximum and scale do not depend on the order of `add` and `merge`; the sum
    does in its last bits, as sums of floating-point numbers do. Values below the smallest
    normal double (2**-1022) in size count as zero. NaN and infinities are counted apart and
    are no part of `count`, `sum` or any quantile.
    """

    __slots__ = (
        "_buckets",
        "_max",
        "_min",
        "_reading",
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
        if bucket_limit < 2:  # noqa: PLR2004 - at the coarsest scale all doubles fill two buckets
            raise ValueError(f"bucket_limit is {bucket_limit}, must be at least 2")
        self._buckets = SignedBuckets(scale, bucket_limit)
        self._reading: Reading | None = None  # until the next value
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
        stand in for them, and the smallest and largest quantile may be off by up to twice the
        relative error.

        Raises:
            ValueError: the parts contradict each other or the limits.
        """
        sketch = cls(scale, bucket_limit)
        parts = SignedBuckets(scale, bucket_limit, positive.core(), negative.core())
        specials = (nan_count, positive_infinity_count, negative_infinity_count)
        total = _checked_total(parts, zero_count, *specials)
        if not math.isfinite(sum_):
            raise ValueError(f"the sum is {sum_}")
        sketch._buckets.absorb(parts)
        sketch.zero_count = zero_count
        sketch.nan_count, sketch.positive_infinity_count, sketch.negative_infinity_count = specials
        if total:
            sketch.sum = sum_
            if min_ is None or max_ is None:
                low, high = outer_bounds(sketch._buckets, zero_count)
                min_ = max(low, -_LARGEST) if min_ is None else min_
                max_ = min(high, _LARGEST) if max_ is None else max_
            sketch._min, sketch._max = min_, max_
            if not -math.inf < sketch._min <= sketch._max < math.inf:
                raise ValueError(f"minimum {min_} and maximum {max_} contradict each other")
        return sketch

    @property
    def scale(self) -> int:
        return self._buckets.scale

    @property
    def relative_error(self) -> float:
        """Alpha: no quantile is further off, relatively. 0.271 % at scale 7."""
        return relative_error(self.scale)

    @property
    def count(self) -> int:
        """The number of finite values."""
        return self._buckets.total() + self.zero_count

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
        return self._buckets.positive.trimmed()

    @property
    def negative(self) -> Buckets:
        """The counts of negative values by magnitude, without empty ends; a copy."""
        return self._buckets.negative.trimmed()

    def add(self, values: ArrayLike, *, threads: int = 1) -> None:
        """Count values, shape (n,) or a scalar, in any unit.

        Args:
            values: What to count.
            threads: How many may share the work; 0: as many as this process may use cores.
                What is counted, and the sum to its last bit, does not depend on it.

        Raises:
            ValueError: the shape is neither, or the values are not real numbers.
        """
        array = real_numbers(values)
        if array.ndim > 1:
            raise ValueError(f"values must have shape (n,), got {array.shape}")
        self._reading = None
        if not _kernels.take_on(len(array)):
            for start in range(0, len(array), _NUMPY_BLOCK):
                block = array[start : start + _NUMPY_BLOCK]
                self.sum = _saturated(self.sum + self._add_block(block))
            return
        chunks = [array[start : start + _CHUNK] for start in range(0, len(array), _CHUNK)]
        threads = min(threads or len(os.sched_getaffinity(0)), len(chunks))
        sums = self._add_chunks(chunks) if threads <= 1 else self._add_in_threads(chunks, threads)
        self.sum = _saturated(self.sum + _saturated_sum(sums))

    def merge(self, other: Sketch) -> None:
        """Add the counts of `other`, exactly, at the coarser of the two scales."""
        self._reading = None
        self._buckets.absorb(other._buckets)
        self.zero_count += other.zero_count
        self.nan_count += other.nan_count
        self.positive_infinity_count += other.positive_infinity_count
        self.negative_infinity_count += other.negative_infinity_count
        self.sum = _saturated(self.sum + other.sum)
        self._min, self._max = min(self._min, other._min), max(self._max, other._max)

    def copy(self) -> Sketch:
        """Return a sketch of its own with the same counts."""
        twin = Sketch(self.scale, self._buckets.limit)
        twin.merge(self)
        return twin

    def quantiles(self, qs: ArrayLike) -> NDArray[np.float64]:
        """Return the value at each rank floor(q (n - 1)), as `numpy.quantile(method="lower")`.

        Each is within `relative_error` of the exact one. NaN when nothing was counted.

        Raises:
            ValueError: a q is not from 0 to 1.
        """
        return self.due_quantiles(qs, lost=0)

    def quantile(self, q: float) -> float:
        """Return one quantile; see `quantiles`."""
        return float(self.quantiles(q)[0])

    def due_quantiles(self, qs: ArrayLike, lost: int) -> NDArray[np.float64]:
        """Return quantiles of all due packets: `lost` further values are +Inf (RFC 7679).

        Raises:
            ValueError: a q is not from 0 to 1, or `lost` is negative.
        """
        wanted = np.atleast_1d(np.asarray(qs, dtype=np.float64))
        bad = ~((wanted >= 0) & (wanted <= 1))
        if bad.any():
            raise ValueError(f"quantile {wanted[bad][0]} is not from 0 to 1")
        if lost < 0:
            raise ValueError(f"lost is {lost}, must not be negative")
        if not self.count:
            return np.full(wanted.shape, np.inf if lost else np.nan)
        return self._read().at_quantiles(wanted, lost)

    def interval(self, q: float, level: float = 0.95) -> tuple[float | None, float | None]:
        """Return an order-statistic confidence interval of the quantile of the population.

        It holds for any distribution of independent values, and the sketch's own error is in
        it: each end is moved outwards by `relative_error`, up to the smallest and the largest
        value. `quantile(q)` is never outside. An end is None where the sample is too small to
        bound it.

        Raises:
            ValueError: `q` or `level` is not strictly between 0 and 1.
        """
        low, high = enclosing_ranks(self.count, q, level)
        ends = np.array([self._at_rank(low), self._at_rank(high)])
        below, above = enclosing(ends[:1], ends[1:], self.scale)
        return (
            None if low is None else max(float(below[0]), self._min),
            None if high is None else min(float(above[0]), self._max),
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
        certain, possible = count_up_to(self._buckets, self.zero_count, x)
        return (certain / count, possible / count)

    def __eq__(self, other: object) -> bool:
        """Whether counts, scale, minimum and maximum are the same, and the sum to rounding."""
        if not isinstance(other, Sketch):
            return NotImplemented
        largest = max(abs(self._min), abs(self._max)) * self.count if self.count else 0.0
        return self._identity() == other._identity() and math.isclose(
            self.sum, other.sum, rel_tol=0.0, abs_tol=_saturated(largest) * _SUM_ERROR
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Sketch(scale={self.scale}, count={self.count}, min={self.min}, max={self.max})"

    def _identity(self) -> tuple[object, ...]:
        """Return all that does not depend on the order of the values."""
        sides = [(side.offset, side.counts.tobytes()) for side in (self.positive, self.negative)]
        specials = (self.nan_count, self.positive_infinity_count, self.negative_infinity_count)
        return (*sides, self.scale, self.zero_count, self._min, self._max, *specials)

    def _add_in_threads(self, chunks: list[NDArray[np.float64]], threads: int) -> list[float]:
        """Count each share of the chunks into a sketch of its own, and merge those."""
        edges = [len(chunks) * k // threads for k in range(threads + 1)]
        shares = [chunks[low:high] for low, high in itertools.pairwise(edges)]
        parts = [Sketch(self.scale, self._buckets.limit) for _ in shares]
        sums = shared(Sketch._add_chunks, list(zip(parts, shares, strict=True)))
        for part in parts:
            self.merge(part)
        return list(itertools.chain.from_iterable(sums))

    def _add_chunks(self, chunks: list[NDArray[np.float64]]) -> list[float]:
        """Count chunks by kernel; return the sum of each."""
        return [self._add_chunk(chunk) for chunk in chunks]

    def _add_chunk(self, values: NDArray[np.float64]) -> float:
        """Count values, most of which are expected to have a counter; return their sum."""
        at, total = 0, np.zeros(1)
        while at < len(values):
            run = self._buckets.count_run(values[at:], total)
            self._min, self._max = min(self._min, run.low), max(self._max, run.high)
            self.zero_count += run.zeros
            self.nan_count += run.nans
            if len(run.apart):
                self._count_block(run.apart, by_kernel=True)
            at += run.done
        return float(total[0])

    def _add_block(self, values: NDArray[np.float64]) -> float:
        """Count values of any kind by numpy; return the sum of the finite ones."""
        return _saturated_sum(
            _plain_sum(part) for part in self._count_block(values, by_kernel=False)
        )

    def _count_block(
        self, values: NDArray[np.float64], *, by_kernel: bool
    ) -> list[NDArray[np.float64]]:
        """Count values of any kind, one kind after the other; return the finite ones by kind."""
        positive, negative = self._buckets.positive, self._buckets.negative
        # NaN fails both comparisons.
        if values.min() >= SMALLEST_NORMAL and values.max() < np.inf:
            self._buckets.count(positive, values, by_kernel=by_kernel)
            self._note(values)
            return [values]
        self.nan_count += int(np.isnan(values).sum())
        self.positive_infinity_count += int((values == np.inf).sum())
        self.negative_infinity_count += int((values == -np.inf).sum())
        finite = values[np.isfinite(values)]
        above, below = finite[finite >= SMALLEST_NORMAL], finite[finite <= -SMALLEST_NORMAL]
        zero = finite[np.abs(finite) < SMALLEST_NORMAL]
        self.zero_count += len(zero)
        for side, part in ((positive, above), (negative, below)):
            if len(part):
                self._buckets.count(side, np.abs(part), by_kernel=by_kernel)
        parts = [part for part in (above, below, zero) if len(part)]
        for part in parts:
            self._note(part)
        return parts

    def _note(self, values: NDArray[np.float64]) -> None:
        """Keep the extremes of finite values."""
        self._min = min(self._min, float(values.min()))
        self._max = max(self._max, float(values.max()))

    def _read(self) -> Reading:
        if self._reading is None:
            self._reading = Reading.of(self._buckets, self.zero_count, self._min, self._max)
        return self._reading

    def _at_rank(self, rank: int | None) -> float:
        return math.nan if rank is None else float(self._read().at_ranks(np.array([rank]))[0])


def _checked_total(buckets: SignedBuckets, *others: int) -> int:
    """Return the number of finite values (`others` begins with the zeros) of foreign counters."""
    first, last = index_range(buckets.scale)
    for side in (buckets.positive, buckets.negative):
        if len(side.counts) and not first <= side.offset <= side.end - 1 <= last:
            raise ValueError(
                f"buckets {side.offset} to {side.end - 1} hold no number of 64 bits; "
                f"at scale {buckets.scale} they go from {first} to {last}"
            )
    # Doubles do not wrap around; up to 2**53 they are exact, and so is the sum of whole numbers.
    sides = (buckets.positive.counts, buckets.negative.counts)
    sums = [float(counts.sum(dtype=np.float64)) for counts in sides if len(counts)]
    if max(sums, default=0) > COUNT_MAX or min(others) < 0 or max(others) > COUNT_MAX:
        raise ValueError("a count is negative or larger than 2**53")
    total = sum(map(int, sums)) + others[0]
    if total > COUNT_MAX:
        raise ValueError("a count is negative or larger than 2**53")
    return total


def _saturated_sum(sums: Iterable[float]) -> float:
    """Add finite numbers, exactly rounded."""
    parts = list(sums)
    try:
        return math.fsum(parts)
    except OverflowError:
        return math.copysign(_LARGEST, math.fsum(math.ldexp(part, -64) for part in parts))


def _plain_sum(values: NDArray[np.float64]) -> float:
    with np.errstate(over="ignore"):
        return _saturated(float(values.sum()))


def _saturated(total: float) -> float:
    """Keep a sum of finite values finite."""
    return min(max(total, -_LARGEST), _LARGEST)
