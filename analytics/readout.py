"""What can be read from many sketches at once: quantiles, CDF bounds, confidence intervals.

Row by row it is what `Sketch` says of the same counters.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analytics import _kernels
from analytics.buckets import Buckets
from analytics.layouts import Pairs, Statistics
from analytics.mapping import SMALLEST_NORMAL, bucket_index, enclosing, representative
from analytics.order_statistics import enclosing_ranks
from analytics.pairs import buckets_of
from analytics.row_sketch import sketch_of
from analytics.sketch import BUCKET_LIMIT, Sketch

_INDEX_SPAN: Final = 1 << 16
_NO_RANK: Final = 2**62


@dataclass(frozen=True, slots=True)
class Rows:
    """Many sketches of one scale; `negative` by magnitude, None where nothing is negative."""

    positive: Pairs
    negative: Pairs | None
    statistics: Statistics

    def __len__(self) -> int:
        return len(self.positive)

    def counts(self) -> NDArray[np.int64]:
        """Return the number of finite values of each row."""
        total = row_sums(self.positive) + self.statistics.zero_count.astype(np.int64)
        return total if self.negative is None else total + row_sums(self.negative)

    def some(self, which: NDArray[np.int64]) -> Rows:
        """Return these rows by themselves."""
        statistics = Statistics(
            *(getattr(self.statistics, f.name)[which] for f in fields(self.statistics))
        )
        negative = None if self.negative is None else _some_pairs(self.negative, which)
        return Rows(_some_pairs(self.positive, which), negative, statistics)

    def sketch(self, row: int, bucket_limit: int = BUCKET_LIMIT) -> Sketch:
        """Return one row as a sketch of its own."""
        negative = Buckets() if self.negative is None else buckets_of(self.negative, row)
        positive = buckets_of(self.positive, row)
        return sketch_of(
            self.statistics, row, self.positive.scale, positive, negative, bucket_limit
        )


def _some_pairs(pairs: Pairs, which: NDArray[np.int64]) -> Pairs:
    """Return these rows by themselves."""
    sizes = np.diff(pairs.offsets)[which]
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes)])
    entries = np.arange(offsets[-1]) + np.repeat(pairs.offsets[which] - offsets[:-1], sizes)
    totals = None if pairs.totals is None else pairs.totals[which]
    return replace(
        pairs,
        offsets=offsets,
        index=pairs.index[entries],
        counts=pairs.counts[entries],
        totals=totals,
    )


def row_sums(pairs: Pairs) -> NDArray[np.int64]:
    """Return the sum of the counts of each row, shape (rows,)."""
    if pairs.totals is not None:
        return pairs.totals
    sums = np.zeros(len(pairs), dtype=np.int64)
    if _kernels.pays(len(pairs.counts)):
        from analytics._kernels import readout as kernel

        kernel.row_totals(pairs.offsets, pairs.counts, sums)
        return sums
    filled = np.diff(pairs.offsets) > 0
    if filled.any():
        begins = pairs.offsets[:-1][filled]
        sums[filled] = np.add.reduceat(pairs.counts, begins, dtype=np.int64)
    return sums


def quantiles(
    rows: Rows,
    qs: ArrayLike,
    lost: NDArray[np.uint64] | None = None,
    totals: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Return the value at rank floor(q (n - 1)) of each row, shape (rows, len(qs)).

    Args:
        rows: The sketches.
        qs: From 0 to 1, in any order.
        lost: For each row, further values that are +Inf (RFC 7679), shape (rows,).
        totals: `rows.counts()`, from a caller that knows them.

    NaN where a row has no value at all.

    Raises:
        ValueError: a q is not from 0 to 1.
    """
    wanted = np.atleast_1d(np.asarray(qs, dtype=np.float64))
    bad = ~((wanted >= 0) & (wanted <= 1))
    if bad.any():
        raise ValueError(f"quantile {wanted[bad][0]} is not from 0 to 1")
    totals = rows.counts() if totals is None else totals
    due = totals if lost is None else totals + lost.astype(np.int64)
    if _kernels.pays(len(rows.positive.counts)):
        order = np.argsort(wanted, kind="stable")
        result = np.empty((len(rows), len(wanted)))
        odd = np.zeros(len(rows), dtype=bool)
        if rows.negative is not None:
            odd = np.diff(rows.negative.offsets) > 0
        sound, lacking = np.where(odd, 0, totals), np.where(odd, 0, due - totals)
        found = _quantiles_by_kernel(rows, wanted[order], sound, lacking)
        if (order[1:] > order[:-1]).all():
            result = found  # not copied: that takes a tenth as long as finding them
        else:
            result[:, order] = found
        if odd.any():
            some = np.flatnonzero(odd)
            result[some] = _quantiles_by_ranks(rows.some(some), wanted, totals[some], due[some])
        return result
    return _quantiles_by_ranks(rows, wanted, totals, due)


def _quantiles_by_ranks(
    rows: Rows, wanted: NDArray[np.float64], totals: NDArray[np.int64], due: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the quantiles of rows of any values."""
    order = np.argsort(wanted, kind="stable")
    result = np.empty((len(rows), len(wanted)))
    # In doubles a rank above 2**53 may round up to the one behind the last.
    last = (due - 1)[:, None]
    ranks = np.minimum((wanted[order] * last).astype(np.int64), last)
    found = at_ranks(rows, ranks, totals)
    found[ranks >= totals[:, None]] = np.inf
    found[due == 0] = np.nan
    result[:, order] = found
    return result


def intervals(
    rows: Rows, q: float, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return order-statistic confidence intervals of a quantile: low and high, each (rows,).

    The sketches' own error is in them. NaN where the sample of a row is too small to bound that
    side; see `Sketch.interval`.

    Raises:
        ValueError: `q` or `level` is not strictly between 0 and 1.
    """
    totals = rows.counts()
    distinct, which = np.unique(totals, return_inverse=True)
    ends = [enclosing_ranks(count, q, level) for count in distinct.tolist()] or [(None, None)]
    said = [(-1 if low is None else low, _NO_RANK if high is None else high) for low, high in ends]
    ranks = np.array(said, dtype=np.int64)[which]
    found = at_ranks(rows, ranks, totals)
    found[(ranks < 0) | (ranks >= totals[:, None])] = np.nan
    low, high = enclosing(found[:, 0], found[:, 1], rows.positive.scale)
    return np.maximum(low, rows.statistics.min), np.minimum(high, rows.statistics.max)


def cdf(rows: Rows, xs: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return bounds of the fraction of values at most x, low and high, each (rows, len(xs)).

    They differ by what lies in the bucket of x. NaN for empty rows and where x is NaN.
    """
    wanted = np.atleast_1d(np.asarray(xs, dtype=np.float64))
    totals = rows.counts()
    certain, possible = _counts_up_to(rows, wanted)
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = certain / totals[:, None], possible / totals[:, None]
    statistics = rows.statistics
    for bounds in (low, high):  # outside the extremes all is known
        bounds[wanted[None, :] >= statistics.max[:, None]] = 1.0
        bounds[wanted[None, :] < statistics.min[:, None]] = 0.0
        bounds[:, np.isnan(wanted)] = np.nan
        bounds[totals == 0] = np.nan
    return low, high


def at_ranks(
    rows: Rows, ranks: NDArray[np.int64], totals: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the value at each rank, ascending within a row, in the shape of `ranks`.

    Anything for ranks below 0 or from the total of the row on.
    """
    statistics = rows.statistics
    below = ranks
    found = np.zeros(ranks.shape)
    if rows.negative is not None:
        negatives = row_sums(rows.negative)
        # The largest magnitude is the smallest value: ranks from the other end.
        mirrored = (negatives[:, None] - 1 - ranks)[:, ::-1]
        values = -_side_at(rows.negative, np.ascontiguousarray(mirrored), negatives)[:, ::-1]
        inside = (ranks >= 0) & (ranks < negatives[:, None])
        found[inside] = values[inside]
        below = ranks - negatives[:, None]
    zeros = statistics.zero_count.astype(np.int64)
    above = below - zeros[:, None] if zeros.any() or rows.negative is not None else below
    positives = totals - zeros if rows.negative is None else row_sums(rows.positive)
    values = _side_at(rows.positive, np.ascontiguousarray(above), positives)
    found = np.where(above >= 0, values, found)
    np.clip(found, statistics.min[:, None], statistics.max[:, None], out=found)
    found = np.where(ranks == 0, statistics.min[:, None], found)
    return np.where(ranks == totals[:, None] - 1, statistics.max[:, None], found)


def _quantiles_by_kernel(
    rows: Rows, qs: NDArray[np.float64], totals: NDArray[np.int64], lost: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the quantiles of rows without negative values; `qs` ascending."""
    from analytics._kernels import readout as kernel

    pairs, statistics = rows.positive, rows.statistics
    found = np.empty((len(rows), len(qs)))
    kernel.row_quantiles(
        pairs.offsets,
        pairs.index,
        pairs.counts,
        _table(pairs),
        totals,
        statistics.zero_count,
        lost,
        statistics.min,
        statistics.max,
        qs,
        found,
    )
    return found


def _table(pairs: Pairs) -> NDArray[np.float64]:
    """Return the representative of every index that occurs; of all, if finding out takes longer."""
    size = _INDEX_SPAN
    if len(pairs.index) < _INDEX_SPAN:
        size = int(pairs.index.max(initial=0)) + 1
    return _representatives(pairs.scale, pairs.base, size)


@lru_cache(maxsize=64)
def _representatives(scale: int, base: int, size: int) -> NDArray[np.float64]:
    """Return the representative of each bucket from `base` on."""
    return representative(np.arange(base, base + size, dtype=np.int64), scale)


def _side_at(
    pairs: Pairs, ranks: NDArray[np.int64], totals: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the representative magnitude at each rank; 0 where a rank is out of range."""
    if not len(pairs.index):
        return np.zeros(ranks.shape)
    table = _table(pairs)
    entries = np.empty(ranks.shape, dtype=np.int64)
    if _kernels.pays(len(pairs.counts)):
        from analytics._kernels import readout as kernel

        kernel.entries_at_ranks(pairs.offsets, pairs.counts, totals, ranks, entries)
    else:
        _entries_at_ranks(pairs, totals, ranks, entries)
    return np.where(entries >= 0, table[pairs.index[np.maximum(entries, 0)]], 0.0)


def _entries_at_ranks(
    pairs: Pairs,
    totals: NDArray[np.int64],
    ranks: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    """Do what the kernel of this name does."""
    cumulative = np.cumsum(pairs.counts, dtype=np.int64)
    before = np.concatenate(([0], cumulative))[pairs.offsets[:-1]]
    inside = (ranks >= 0) & (ranks < totals[:, None])
    found = np.searchsorted(cumulative, (ranks + before[:, None])[inside], side="right")
    out[:] = -1
    out[inside] = found


def _counts_up_to(
    rows: Rows, xs: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many values of each row are at most x, certainly and possibly."""
    scale = rows.positive.scale
    usable = np.isfinite(xs)
    x = np.where(usable, xs, 0.0)
    tiny = np.abs(x) < SMALLEST_NORMAL
    index = bucket_index(np.where(tiny, 1.0, np.abs(x)), scale)
    with np.errstate(over="ignore"):  # infinity follows the largest double, in a bucket of its own
        after = np.nextafter(x, np.inf)
    following = bucket_index(np.where(tiny, 1.0, np.abs(after)), scale)
    zeros = rows.statistics.zero_count.astype(np.int64)[:, None]
    negatives = np.zeros((len(rows), 1), dtype=np.int64)
    larger = at_bucket = np.zeros((len(rows), len(x)), dtype=np.int64)
    if rows.negative is not None:
        negatives = row_sums(rows.negative)[:, None]
        larger = negatives - _below(rows.negative, index + 1)
        at_bucket = _below(rows.negative, index + 1) - _below(rows.negative, index)
    before = negatives + zeros + _below(rows.positive, index)
    with_bucket = negatives + zeros + _below(rows.positive, index + 1)
    # Upper ends are inclusive: when the next double is in another bucket, all of it counts.
    positive_certain = np.where(following > index, with_bucket, before)
    certain = np.where(x > 0, positive_certain, larger)
    possible = np.where(x > 0, with_bucket, larger + at_bucket)
    certain = np.where(tiny, negatives + np.where(x >= 0, zeros, 0), certain)
    return certain, np.where(tiny, negatives + zeros, possible)


def _below(pairs: Pairs, limits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many values of each row lie in buckets before each limit."""
    order = np.argsort(limits, kind="stable")
    relative = np.clip(limits[order] - pairs.base, 0, _INDEX_SPAN)
    found = np.empty((len(pairs), len(limits)), dtype=np.int64)
    if _kernels.pays(len(pairs.counts)):
        from analytics._kernels import readout as kernel

        kernel.counts_below(pairs.offsets, pairs.index, pairs.counts, relative, found)
    else:
        cumulative = np.concatenate(([0], np.cumsum(pairs.counts, dtype=np.int64)))
        row = np.repeat(np.arange(len(pairs), dtype=np.int64), np.diff(pairs.offsets))
        keys = row * (_INDEX_SPAN + 1) + pairs.index
        sought = np.arange(len(pairs))[:, None] * (_INDEX_SPAN + 1) + relative
        at = np.searchsorted(keys, sought)
        found[:] = cumulative[at] - cumulative[pairs.offsets[:-1]][:, None]
    result = np.empty_like(found)
    result[:, order] = found
    return result
