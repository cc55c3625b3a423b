"""The exact base-2 exponential mapping of OpenTelemetry, in integers.

A value v > 0 belongs to bucket i when base**i < v <= base**(i + 1), base = 2**(2**-scale)
(OpenTelemetry metrics data model, "Exponential Histogram"; upper-inclusive). A logarithm in
floating point errs near the boundaries; here every boundary inside a binade is an integer,
floor(2**(52 + k / 2**scale)), and a double's mantissa is compared with it. So the index is
right at each boundary and one ulp either side.

A binade of 2N equal slices of the mantissa (N = 2**scale) has at most one boundary in each, so
one table look-up and one comparison find the bucket.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

SCALE_MIN: Final = -10
SCALE_MAX: Final = 8
MANTISSA_BITS: Final = 52
EXPONENT_BIAS: Final = 1023
SMALLEST_NORMAL: Final = 2.0**-1022  # below it, a value counts as zero
_IMPLICIT_BIT: Final = 1 << MANTISSA_BITS
_MANTISSA_MASK: Final = _IMPLICIT_BIT - 1
ROUNDING: Final = 8 * float(np.finfo(np.float64).eps)  # of a representative, amply


@dataclass(frozen=True, slots=True)
class SliceTable:
    """One binade at a scale > 0, by slices of the mantissa.

    In slice j the bucket within the binade is `first[j]`, plus 1 where the mantissa
    (without its implicit bit, and one less than the value's) reaches `boundary[j]`.
    """

    shift: int  # mantissa >> shift is the slice
    first: NDArray[np.int64]  # (2N,)
    boundary: NDArray[np.int64]  # (2N,)


def relative_error(scale: int) -> float:
    """Return alpha: no value differs more from its bucket's representative, relatively.

    The representative is the harmonic midpoint 2 l u / (l + u), for which the error is the same
    at both ends: (base - 1) / (base + 1) (Masson et al., DDSketch, VLDB 2019, section 2).
    """
    # The same as tanh(ln(base) / 2), which neither cancels nor overflows.
    return math.tanh(math.log(2) * math.ldexp(0.5, -scale))


def index_range(scale: int) -> tuple[int, int]:
    """Return the first and the last index that a normal positive double can have."""
    if scale > 0:
        return (-1022 << scale) - 1, (1024 << scale) - 1
    return -1023 >> -scale, 1023 >> -scale


@cache
def slice_table(scale: int) -> SliceTable:
    """Return the table of a scale > 0; made once, in a few milliseconds."""
    buckets = 1 << scale
    edges = [_floor_root(scale, k) - _IMPLICIT_BIT for k in range(buckets)]
    shift = MANTISSA_BITS - scale - 1
    first = np.empty(2 * buckets, dtype=np.int64)
    boundary = np.full(2 * buckets, _IMPLICIT_BIT, dtype=np.int64)
    k = 0
    for j in range(2 * buckets):
        low, high = j << shift, (j + 1) << shift
        while k + 1 < buckets and edges[k + 1] <= low:
            k += 1
        first[j] = k
        if k + 1 < buckets and edges[k + 1] < high:
            boundary[j] = edges[k + 1]
    first.setflags(write=False)
    boundary.setflags(write=False)
    return SliceTable(shift, first, boundary)


@dataclass(frozen=True, slots=True)
class WindowTable:
    """A run of whole binades at a scale > 0, by slices of the bits of a double.

    The bucket of a double with the bits b, counted from the first one of the window, is
    (b + table[(b >> shift) - first_slice]) >> 52: exponent, mantissa, comparison and window are
    folded into one number per slice, and the carry of the sum is the comparison. It holds for
    `low` <= b <= `high`.
    """

    shift: np.uint64
    first_slice: np.uint64
    table: NDArray[np.uint64]
    low: int
    high: int

    @property
    def bounds(self) -> NDArray[np.int64]:
        """Return the bits of the first and the last value, shape (2,)."""
        return np.array([self.low, self.high])


@lru_cache(maxsize=64)
def window_table(scale: int, offset: int, buckets: int) -> WindowTable:
    """Return the table of a window of whole binades, of at most 4096 buckets at a scale > 0."""
    per_binade = 1 << scale
    shift = MANTISSA_BITS - scale - 1
    first_slice = (offset // per_binade + EXPONENT_BIAS) << MANTISSA_BITS >> shift
    slices = 2 * buckets
    starts = (np.arange(slices, dtype=np.int64) + first_slice) << shift
    ends = starts + (1 << shift)
    begin = bucket_index(starts.view(np.float64), scale)
    end = bucket_index((ends - 1).view(np.float64), scale)
    edges = np.array([_floor_root(scale, k) - _IMPLICIT_BIT for k in range(per_binade)])
    # The first bits of the next bucket, behind the slice where it has none.
    exponent = starts >> MANTISSA_BITS << MANTISSA_BITS
    threshold = np.where(begin != end, exponent + edges[end % per_binade] + 1, ends)
    carry = (begin - offset + 1).astype(np.uint64) << np.uint64(MANTISSA_BITS)
    table = carry - threshold.astype(np.uint64)
    table.setflags(write=False)
    low = int(starts[0]) + 1  # a power of two is the last value of the bucket before,
    high = int(ends[-1]) - 1  # and at the end of the window has no slice here
    return WindowTable(np.uint64(shift), np.uint64(first_slice), table, low, high)


def _floor_root(scale: int, k: int) -> int:
    """Return floor(2**(52 + k / 2**scale)), exactly: nested integer square roots."""
    value = 1 << (MANTISSA_BITS * (1 << scale) + k)
    for _ in range(scale):
        value = math.isqrt(value)
    return value


def bucket_index(values: NDArray[np.float64], scale: int) -> NDArray[np.int64]:
    """Return the bucket index of each value, shape (n,); the reference for every kernel.

    Args:
        values: Positive normal finite doubles, shape (n,); unchecked.
        scale: From -10 to 8.
    """
    # One less than the value, as an integer, makes the upper end inclusive.
    below = np.ascontiguousarray(values).view(np.int64) - 1
    exponent = (below >> MANTISSA_BITS) - EXPONENT_BIAS
    if scale <= 0:
        coarse: NDArray[np.int64] = exponent >> -scale
        return coarse
    table = slice_table(scale)
    mantissa = below & _MANTISSA_MASK
    part = mantissa >> table.shift
    inside = table.first[part] + (mantissa >= table.boundary[part])
    index: NDArray[np.int64] = (exponent << scale) + inside
    return index


def lower_bound(index: NDArray[np.int64] | int, scale: int) -> NDArray[np.float64]:
    """Return base**index, the exclusive lower end of a bucket, to within rounding."""
    with np.errstate(over="ignore", under="ignore"):
        exponent = np.asarray(index, dtype=np.float64) * math.ldexp(1.0, -scale)
        result: NDArray[np.float64] = np.exp2(exponent)
    return result


def representative(index: NDArray[np.int64], scale: int) -> NDArray[np.float64]:
    """Return the harmonic midpoint of each bucket: within `relative_error` of all it holds."""
    # lower * 2 base / (1 + base), kept finite in the topmost bucket.
    with np.errstate(over="ignore"):
        middle = lower_bound(index, scale) * (1 + relative_error(scale))
    return np.minimum(middle, np.finfo(np.float64).max)


def enclosing(
    low: NDArray[np.float64], high: NDArray[np.float64], scale: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return between what lies whatever representatives from `low` to `high` stand for.

    A bucket's lower end is its representative over 1 + alpha, its upper end that over 1 - alpha.
    NaN stays.
    """
    less = max(1 - relative_error(scale) - ROUNDING, 0.0)
    more = 1 + relative_error(scale) + ROUNDING
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        below = np.where(low == 0, low, low / np.where(low > 0, more, less))
        above = np.where(high == 0, high, high / np.where(high > 0, less, more))
    return below, above
