"""Many sketches of one scale, by key: a million of them from a stream of (key, value) pairs.

What a table says of a key is what a `Sketch` of that key's values says. One value that lies far
out costs its own key only: the scale of the others does not fall.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analytics import _kernels
from analytics.dense import DenseCounters, Extent
from analytics.layouts import Pairs, Statistics
from analytics.mapping import SMALLEST_NORMAL, bucket_index, relative_error
from analytics.merging import pairs_of
from analytics.pairs import (
    added,
    extended,
    no_pairs,
    pairs_of_entries,
    regrouped,
    spans,
)
from analytics.parted import (
    INDEX_SPAN,
    Counted,
    Keys,
    Parted,
    Values,
    count_parted,
    part,
    sorted_out,
)
from analytics.readout import Rows, cdf, intervals, quantiles
from analytics.real_numbers import real_numbers
from analytics.sketch import BUCKET_LIMIT, SCALE_DEFAULT, Sketch

_LARGEST: Final = float(np.finfo(np.float64).max)
_TOGETHER: Final = 1 << 31  # pairs counted at once: kernels have counters of 32 bits


class SketchTable:
    """Sketches of the keys 0 to len - 1. Not thread-safe; `threads` share the work of one call."""

    def __init__(
        self,
        keys: int,
        scale: int = SCALE_DEFAULT,
        bucket_limit: int = BUCKET_LIMIT,
        threads: int = 1,
    ) -> None:
        """Make a table of empty sketches.

        Args:
            keys: How many; `grow` adds more.
            scale: From 1 to 8: 2**scale buckets per binade.
            bucket_limit: The most buckets of either sign; see `Sketch`.
            threads: How many may share the work of `add`; 0: as many as this process may use
                cores. What is counted does not depend on it.

        Raises:
            ValueError: an argument is out of its range.
        """
        if keys < 0 or threads < 0:
            raise ValueError(f"keys = {keys} and threads = {threads} cannot be")
        if not 1 <= scale <= 8:  # noqa: PLR2004 - the coarser ones never need a table
            raise ValueError(f"scale is {scale}, must be from 1 to 8")
        Sketch(scale, bucket_limit)  # which judges the limit
        self.scale = scale
        self._limit = bucket_limit
        self._threads = threads or len(os.sched_getaffinity(0))
        self._base = -(INDEX_SPAN // 2)
        self._sides: tuple[list[Pairs], list[Pairs]] = ([], [])  # the largest run first
        self._dense = DenseCounters(keys, scale)  # positive values of late, where keys are few
        self._outside: dict[int, Sketch] = {}  # values that the window has no bucket for
        self._s = Statistics.none(keys)

    def __len__(self) -> int:
        return len(self._s.sum)

    @property
    def relative_error(self) -> float:
        """Alpha of every key whose values span no more than the bucket limit."""
        return relative_error(self.scale)

    @property
    def count(self) -> NDArray[np.int64]:
        """The number of finite values of each key, shape (keys,)."""
        return self._with_outside("count", self._rows().counts())

    @property
    def sum(self) -> Values:
        """The sum of the finite values of each key."""
        return self._with_outside("sum", self._s.sum.copy())

    @property
    def min(self) -> Values:
        """The smallest finite value of each key; NaN where there is none."""
        return self._extremes(0)

    @property
    def max(self) -> Values:
        """The largest finite value of each key; NaN where there is none."""
        return self._extremes(1)

    @property
    def zero_count(self) -> NDArray[np.uint64]:
        return self._s.zero_count.copy()

    @property
    def nan_count(self) -> NDArray[np.uint64]:
        return self._s.nan_count.copy()

    @property
    def infinite_count(self) -> NDArray[np.uint64]:
        """Values that are infinite, of either sign."""
        return self._s.positive_infinity_count + self._s.negative_infinity_count

    def grow(self, keys: int) -> None:
        """Have at least so many keys."""
        more = keys - len(self)
        if more <= 0:
            return
        self._settle()
        self._dense = DenseCounters(keys, self.scale)
        extra = Statistics.none(more)
        self._s = Statistics(
            *(np.append(getattr(self._s, f.name), getattr(extra, f.name)) for f in fields(extra))
        )
        for side in self._sides:
            side[:] = [extended(pairs, more) for pairs in side]

    def add(self, keys: ArrayLike, values: ArrayLike) -> None:
        """Count pairs: `keys`, whole numbers, and `values` float64, both of shape (n,).

        Raises:
            ValueError: the shapes differ, a key is no whole number or not of this table, or
                the values are not real numbers.
        """
        key_array = _narrowed(keys, "key", 0, len(self) - 1)
        array = real_numbers(values)
        if key_array.shape != array.shape or array.ndim != 1:
            raise ValueError(f"keys {key_array.shape} and values {array.shape} must be alike, (n,)")
        if len(array) > _TOGETHER:  # nothing is counted where any key is wrong
            self._check(key_array)
        for begin in range(0, len(array), _TOGETHER):
            portion = slice(begin, begin + _TOGETHER)
            self._add_portion(key_array[portion], array[portion])

    def merge(self, other: SketchTable) -> None:
        """Add the counts of another table of the same scale, key by key.

        Raises:
            ValueError: the scales differ.
        """
        if other.scale != self.scale:
            raise ValueError(f"a table of scale {other.scale} does not add to one of {self.scale}")
        self.grow(len(other))
        other._settle()
        more = len(self) - len(other)
        for mine, theirs in zip(self._sides, other._sides, strict=True):
            for pairs in list(theirs):  # which are mine if a table is added to itself
                _push(mine, extended(pairs, more))
        _add_statistics(self._s, np.arange(len(other)), other._s)
        for key, sketch in other._outside.items():
            self._outside.setdefault(key, Sketch(self.scale, self._limit)).merge(sketch)

    def merged_by(self, groups: ArrayLike, count: int) -> SketchTable:
        """Return the sum of the sketches of each group, below `count`; -1 leaves a key out.

        Raises:
            ValueError: a group is not from -1 to count - 1, or they are not one to a key.
        """
        group = _narrowed(groups, "group", -1, count - 1)
        sound = group.min(initial=0) >= -1 and group.max(initial=-1) < count
        if group.shape != (len(self),) or not sound:
            raise ValueError(f"groups must be {len(self)} numbers from -1 to {count - 1}")
        self._settle()
        whole = SketchTable(count, self.scale, self._limit, self._threads)
        for mine, theirs in zip(whole._sides, self._sides, strict=True):
            mine.extend(regrouped(pairs, group, count) for pairs in theirs)
        kept = np.flatnonzero(group >= 0)
        parts = Statistics(*(getattr(self._s, f.name)[kept] for f in fields(self._s)))
        _add_statistics(whole._s, group[kept], parts)
        for key, sketch in self._outside.items():
            if group[key] >= 0:
                place = whole._outside.setdefault(int(group[key]), Sketch(self.scale, self._limit))
                place.merge(sketch)
        return whole

    def quantiles(self, qs: ArrayLike) -> Values:
        """Return the quantiles of every key, shape (keys, len(qs)); NaN for an empty one.

        Raises:
            ValueError: a q is not from 0 to 1.
        """
        found = quantiles(self._rows(), qs)
        for key in self._odd_keys():
            found[key] = self.sketch(key).quantiles(qs)
        return found

    def cdf(self, xs: ArrayLike) -> tuple[Values, Values]:
        """Return bounds of the fraction of values at most x, low and high, each (keys, len(xs))."""
        low, high = cdf(self._rows(), xs)
        for key in self._odd_keys():
            sketch = self.sketch(key)
            bounds = [sketch.cdf(x) for x in np.atleast_1d(np.asarray(xs, dtype=np.float64))]
            low[key], high[key] = np.array(bounds).T
        return low, high

    def intervals(self, q: float, level: float = 0.95) -> tuple[Values, Values]:
        """Return a confidence interval of a quantile of each key: low and high, each (keys,).

        NaN where a sample is too small; see `Sketch.interval`.
        """
        low, high = intervals(self._rows(), q, level)
        for key in self._odd_keys():
            ends = self.sketch(key).interval(q, level)
            low[key], high[key] = (np.nan if end is None else end for end in ends)
        return low, high

    def relative_errors(self) -> Values:
        """Return alpha of each key: larger where its values span more than the bucket limit."""
        found = np.full(len(self), self.relative_error)
        for key in self._odd_keys():
            found[key] = self.sketch(key).relative_error
        return found

    def sketch(self, key: int) -> Sketch:
        """Return the sketch of one key, on its own.

        Raises:
            ValueError: the key is not of this table.
        """
        if not 0 <= key < len(self):
            raise ValueError(f"key {key} is not from 0 to {len(self) - 1}")
        sketch = self._rows().sketch(key, self._limit)
        if key in self._outside:
            sketch.merge(self._outside[key])
        return sketch

    def _bounds(self) -> tuple[float, float]:
        """Return between which positive values there is a bucket for each."""
        binades = INDEX_SPAN // 2 >> self.scale
        low = max(SMALLEST_NORMAL, math.ldexp(1.0, -binades))
        return low, _LARGEST if binades >= sys.float_info.max_exp else math.ldexp(1.0, binades)

    def _check(self, keys: Keys) -> None:
        if keys.min() < 0 or keys.max() >= len(self):
            raise _out_of_range(keys, "key", 0, len(self) - 1)

    def _add_portion(self, keys: Keys, values: Values) -> None:
        """Count n > 0 pairs, or raise ValueError before any is."""
        parted = None
        if _kernels.pays_for_pairs(len(values)):
            if self._add_densely(keys, values):
                return
            parted = part(keys, values, len(self), self._threads)
        if parted is None:
            self._check(keys)
        least, most = _extremes(values if parted is None else parted.bits.view(np.float64))
        low, high = self._bounds()
        if low < least and most <= high:
            self._count(0, keys, values, parted)
            return
        if parted is not None:  # by kernel all but the odd ones, however many these are
            ordinary, (keys, values) = sorted_out(keys, values, low, high)
            if len(ordinary[0]) and not self._add_densely(*ordinary):
                self._count(0, *ordinary)
        self._add_odd(keys, values, low, high)

    def _add_odd(self, keys: Keys, values: Values, low: float, high: float) -> None:
        """Count values of any kind, one kind after the other."""
        s, magnitude = self._s, np.abs(values)
        zero = magnitude < SMALLEST_NORMAL
        inside = (magnitude > low) & (magnitude <= high)
        for counts, mask in (
            (s.zero_count, zero),
            (s.nan_count, np.isnan(values)),
            (s.positive_infinity_count, values == np.inf),
            (s.negative_infinity_count, values == -np.inf),
        ):
            np.add.at(counts, keys[mask], np.uint64(1))
        np.minimum.at(s.min, keys[zero], values[zero])
        np.maximum.at(s.max, keys[zero], values[zero])
        np.add.at(s.sum, keys[zero], values[zero])
        for side, mask in enumerate((inside & (values > 0), inside & (values < 0))):
            if mask.any():
                self._count(side, keys[mask], magnitude[mask])
        rest = np.flatnonzero(np.isfinite(values) & ~zero & ~inside)
        order = rest[np.argsort(keys[rest], kind="stable")]
        for mine in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
            if len(mine):
                key = int(keys[mine[0]])
                sketch = self._outside.setdefault(key, Sketch(self.scale, self._limit))
                sketch.add(values[mine])

    def _count(
        self, side: int, keys: Keys, magnitudes: Values, parted: Parted | None = None
    ) -> None:
        """Count magnitudes between the bounds on one side, with their statistics."""
        if parted is None and _kernels.loaded():
            parted = part(keys, magnitudes, len(self), self._threads)
        if parted is not None:
            found = count_parted(parted, len(self), self.scale, self._base, self._threads)
        else:
            found = self._count_plainly(keys, magnitudes)
        sums, low, high = found.sum, found.min, found.max
        self._note(*((-sums, -high, -low) if side else (sums, low, high)))
        _push(self._sides[side], found.pairs)

    def _note(self, sums: Values, low: Values, high: Values) -> None:
        """Take in the statistics of all keys."""
        with np.errstate(over="ignore"):
            np.add(self._s.sum, sums, out=self._s.sum)
        np.clip(self._s.sum, -_LARGEST, _LARGEST, out=self._s.sum)
        np.minimum(self._s.min, low, out=self._s.min)
        np.maximum(self._s.max, high, out=self._s.max)

    def _add_densely(self, keys: Keys, values: Values) -> bool:
        """Count pairs where counters for all keys side by side are worth it; whether they are."""
        size, dense = len(values), self._dense
        if not dense.possible:
            return False
        extent = Extent.of(keys, values)
        least, most = _extremes(extent.bits.view(np.float64))
        low, high = self._bounds()
        sound = extent.least_key >= 0 and extent.most_key < len(self)
        if not sound or least <= low or most > high:
            return False
        window = dense.window_for(extent)
        if window is None or not dense.worth(window, size):
            return False
        if not dense.holds(window, size):
            self._settle()
        self._note(*dense.count(keys, values, window, self._threads))
        return True

    def _settle(self) -> None:
        """Put what was counted densely to the other counts."""
        runs = self._dense.taken()
        if runs is not None:
            pairs = pairs_of(runs)
            index = (pairs.index.astype(np.int64) + (pairs.base - self._base)).astype(np.uint16)
            _push(self._sides[0], replace(pairs, base=self._base, index=index))

    def _count_plainly(self, keys: Keys, magnitudes: Values) -> Counted:
        index = bucket_index(magnitudes, self.scale) - self._base
        empty = no_pairs(len(self), self.scale, self._base)
        pairs = pairs_of_entries(keys.astype(np.int64), index, None, empty)
        sums = np.zeros(len(self))
        low, high = np.full(len(self), np.inf), np.full(len(self), -np.inf)
        with np.errstate(over="ignore"):
            np.add.at(sums, keys, magnitudes)
        np.minimum.at(low, keys, magnitudes)
        np.maximum.at(high, keys, magnitudes)
        return Counted(pairs, sums, low, high)

    def _rows(self) -> Rows:
        """Return all counts of the window as one run for each side."""
        self._settle()
        empty = no_pairs(len(self), self.scale, self._base)
        for side in self._sides:
            while len(side) > 1:
                side.append(added(side.pop(), side.pop()))
        positive, negative = self._sides
        return Rows(positive[0] if positive else empty, negative[0] if negative else None, self._s)

    def _odd_keys(self) -> list[int]:
        """Return the keys of which the rows alone do not tell the whole."""
        rows = self._rows()
        wide = spans(rows.positive) > self._limit
        if rows.negative is not None:
            wide |= spans(rows.negative) > self._limit
        return sorted({*np.flatnonzero(wide).tolist(), *self._outside})

    def _extremes(self, which: int) -> Values:
        found = np.stack([self._s.min, self._s.max])
        for key, sketch in self._outside.items():
            found[0, key] = min(found[0, key], sketch.min)
            found[1, key] = max(found[1, key], sketch.max)
        return np.where(found[0] <= found[1], found[which], np.nan)

    def _with_outside(self, what: str, values: NDArray[Any]) -> NDArray[Any]:
        for key, sketch in self._outside.items():
            values[key] += getattr(sketch, what)
        return values


def _narrowed(numbers: ArrayLike, what: str, low: int, high: int) -> Keys:
    """Return whole numbers as int32; those that are none before are held to the range first."""
    array = np.asarray(numbers)
    if array.dtype != np.int32 and array.size:
        if array.dtype.kind not in "iu":
            raise ValueError(f"a {what} must be a whole number, these are {array.dtype}")
        if int(array.min()) < low or int(array.max()) > high:
            raise _out_of_range(array, what, low, high)
    return np.ascontiguousarray(array, dtype=np.int32)


def _out_of_range(numbers: NDArray[Any], what: str, low: int, high: int) -> ValueError:
    """Return the error that names the first number outside its range."""
    wrong = next(number for number in numbers.ravel().tolist() if not low <= number <= high)
    return ValueError(f"{what} {wrong} is not from {low} to {high}")


def _extremes(values: Values) -> tuple[float, float]:
    """Return the smallest and the largest value; one that is none of a delay shows."""
    bits = values.view(np.int64)
    # Negative values and NaN lie outside the positive numbers as integers, too.
    found = np.array([bits.min(), bits.max()])
    low, high = found.view(np.float64).tolist()
    return low if found[0] >= 0 else -np.inf, _or_inf(high)


def _or_inf(value: float) -> float:
    return value if value <= _LARGEST else np.inf


def _add_statistics(mine: Statistics, keys: NDArray[Any], theirs: Statistics) -> None:
    """Add the statistics of rows to those of keys, which may repeat."""
    for name in ("zero_count", "nan_count", "positive_infinity_count", "negative_infinity_count"):
        np.add.at(getattr(mine, name), keys, getattr(theirs, name))
    with np.errstate(over="ignore"):
        np.add.at(mine.sum, keys, theirs.sum)
    np.clip(mine.sum, -_LARGEST, _LARGEST, out=mine.sum)
    np.minimum.at(mine.min, keys, theirs.min)
    np.maximum.at(mine.max, keys, theirs.max)


def _push(runs: list[Pairs], pairs: Pairs) -> None:
    """Keep a run; runs of like size become one, so that each entry is moved few times."""
    runs.append(pairs)
    while len(runs) > 1 and len(runs[-2].index) < 2 * len(runs[-1].index):
        last = runs.pop()
        runs.append(added(runs.pop(), last))
