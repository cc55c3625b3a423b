"""Rows of filled buckets: made from single values, added, regrouped."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics import _kernels
from analytics.buckets import Buckets
from analytics.layouts import Counts, Pairs
from analytics.merging import merge_groups, offsets_of, pairs_of, runs_of

_INDEX_BITS = 16
_SPARSE: Final = 8  # buckets to a filled one from which on rows are not merged as runs


def no_pairs(rows: int, scale: int, base: int) -> Pairs:
    """Return rows without counts."""
    nothing = np.zeros(0, dtype=np.uint16), np.zeros(0, dtype=np.uint32)
    totals = np.zeros(rows, dtype=np.int64)
    return Pairs(scale, base, np.zeros(rows + 1, dtype=np.int64), *nothing, totals)


def pairs_of_entries(
    rows: NDArray[np.int64], index: NDArray[np.int64], counts: Counts | None, empty: Pairs
) -> Pairs:
    """Return rows from entries in any order; those of one row and bucket add up.

    Args:
        rows: The row of each entry, shape (n,).
        index: Its bucket, from the base of `empty`, below 65,536.
        counts: Its count; None: 1 each.
        empty: Rows of the same number, scale and base.
    """
    keys = (rows << _INDEX_BITS) | index
    distinct, inverse = np.unique(keys, return_inverse=True)
    sums = np.zeros(len(distinct), dtype=np.uint64)
    np.add.at(sums, inverse, np.uint64(1) if counts is None else counts.astype(np.uint64))
    lengths = np.bincount(distinct >> _INDEX_BITS, minlength=len(empty))
    low_bits = (distinct & ((1 << _INDEX_BITS) - 1)).astype(np.uint16)
    return Pairs(empty.scale, empty.base, offsets_of(lengths), low_bits, sums)


def extended(pairs: Pairs, more: int) -> Pairs:
    """Return the rows with so many empty ones behind them."""
    offsets = np.append(pairs.offsets, np.full(more, pairs.offsets[-1]))
    totals = (
        None if pairs.totals is None else np.append(pairs.totals, np.zeros(more, dtype=np.int64))
    )
    return Pairs(pairs.scale, pairs.base, offsets, pairs.index, pairs.counts, totals)


def added(left: Pairs, right: Pairs) -> Pairs:
    """Return the sums, row by row, of rows of the same scale, base and number."""
    if not (_kernels.pays_for_pairs(len(left.index) + len(right.index))):
        rows = np.concatenate([_row_numbers(left), _row_numbers(right)])
        index = np.concatenate([left.index, right.index]).astype(np.int64)
        counts = np.concatenate([left.counts.astype(np.uint64), right.counts.astype(np.uint64)])
        return pairs_of_entries(rows, index, counts, no_pairs(len(left), left.scale, left.base))
    from analytics._kernels import keyed as kernel

    room = len(left.index) + len(right.index)
    offsets = np.empty(len(left) + 1, dtype=np.int64)
    index16, sums = np.empty(room, dtype=np.uint16), np.empty(room, dtype=np.uint64)
    size = kernel.merge_pairs(
        left.offsets,
        left.index,
        left.counts,
        right.offsets,
        right.index,
        right.counts,
        offsets,
        index16,
        sums,
    )
    totals = None
    if left.totals is not None and right.totals is not None:
        totals = left.totals + right.totals
    return Pairs(left.scale, left.base, offsets, index16[:size], sums[:size], totals)


def regrouped(pairs: Pairs, groups: NDArray[np.int32], count: int) -> Pairs:
    """Return `count` rows, each the sum of the rows of its group; -1 leaves a row out.

    As runs the rows are merged by kernel and without sorting, unless so many empty buckets lie
    between the filled ones that these would cost more.
    """
    span = int(spans(pairs).sum() + _group_spans(pairs, groups, count).sum())
    sparse = span > _SPARSE * len(pairs.index)
    if sparse or not (groups >= 0).any() or not _kernels.pays_for_pairs(len(pairs.index)):
        return _regrouped_sparsely(pairs, groups, count)
    merged = pairs_of(merge_groups(runs_of(pairs), groups, count))
    index = (merged.index.astype(np.int64) + (merged.base - pairs.base)).astype(np.uint16)
    return replace(merged, base=pairs.base, index=index)


def _group_spans(pairs: Pairs, groups: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Return how many buckets the sum of each group spans."""
    taken = (np.diff(pairs.offsets) > 0) & (groups >= 0)
    low = np.full(count, 1 << _INDEX_BITS, dtype=np.int64)
    high = np.full(count, -1, dtype=np.int64)
    np.minimum.at(low, groups[taken], pairs.index[pairs.offsets[:-1][taken]].astype(np.int64))
    np.maximum.at(high, groups[taken], pairs.index[pairs.offsets[1:][taken] - 1].astype(np.int64))
    lengths: NDArray[np.int64] = np.maximum(high - low + 1, 0)
    return lengths


def _regrouped_sparsely(pairs: Pairs, groups: NDArray[np.int32], count: int) -> Pairs:
    """Do the same entry by entry, whatever lies between them."""
    group = groups[_row_numbers(pairs)].astype(np.int64)
    kept = group >= 0
    empty = no_pairs(count, pairs.scale, pairs.base)
    index = pairs.index[kept].astype(np.int64)
    return pairs_of_entries(group[kept], index, pairs.counts[kept], empty)


def buckets_of(pairs: Pairs, row: int) -> Buckets:
    """Return one row as the buckets of a sketch."""
    begin, end = pairs.offsets[row], pairs.offsets[row + 1]
    if begin == end:
        return Buckets()
    index = pairs.index[begin:end].astype(np.int64)
    counts = np.zeros(int(index[-1] - index[0]) + 1, dtype=np.uint64)
    counts[index - index[0]] = pairs.counts[begin:end]
    return Buckets(pairs.base + int(index[0]), counts)


def spans(pairs: Pairs) -> NDArray[np.int64]:
    """Return how many buckets each row spans, empty ones among them."""
    filled = np.diff(pairs.offsets) > 0
    found = np.zeros(len(pairs), dtype=np.int64)
    first = pairs.index[pairs.offsets[:-1][filled]].astype(np.int64)
    found[filled] = pairs.index[pairs.offsets[1:][filled] - 1] - first + 1
    return found


def _row_numbers(pairs: Pairs) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(pairs), dtype=np.int64), np.diff(pairs.offsets))
