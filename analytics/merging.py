"""Merging many sketches' buckets at once: adding counters, exactly, in any order.

All rows of one call are of one scale; see `analytics.layouts`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics import _kernels
from analytics.layouts import Counts, Pairs, Runs

_FAR: Final = np.int64(2**62)
_NONE: Final = np.zeros(0, dtype=np.uint64)
_INDEX_SPAN: Final = 1 << 16  # what an index of 16 bits can tell apart


def merge_all(runs: Runs) -> Runs:
    """Return the sum of all rows as one row of 64 bits."""
    lengths = np.diff(runs.offsets)
    filled = lengths > 0
    if not filled.any():
        return Runs(runs.scale, np.zeros(1, dtype=np.int64), np.zeros(2, dtype=np.int64), _NONE)
    first = runs.first.min(where=filled, initial=_FAR)
    size = (runs.first + lengths).max(where=filled, initial=-_FAR) - first
    target = runs.first - first
    if not filled.all():
        target[~filled] = -1
    offsets = np.array([0, size])
    return Runs(runs.scale, np.array([first]), offsets, _added(runs, target, int(size)))


def merge_groups(runs: Runs, groups: NDArray[np.int32], count: int) -> Runs:
    """Return `count` rows of 64 bits: the sum of the rows of each group.

    Args:
        runs: What to add up.
        groups: The group of each row, shape (rows,), below `count`; -1 leaves a row out.
        count: How many groups there are; one without rows is empty.
    """
    ends = runs.first + np.diff(runs.offsets)
    taken = (groups >= 0) & (ends > runs.first)
    low, high = _extents(runs.first, ends, np.where(taken, groups, -1), count)
    lengths = np.where(high > low, high - low, 0)
    offsets = offsets_of(lengths)
    first = np.where(lengths > 0, low, 0)
    # Where a row's first bucket is among all the counters of the result.
    target = np.where(taken, offsets[:-1][groups] + runs.first - first[groups], -1)
    return Runs(runs.scale, first, offsets, _added(runs, target, int(offsets[-1])))


def halved(runs: Runs, steps: int) -> Runs:
    """Return the rows at a scale `steps` lower: bucket i becomes i >> steps, losslessly."""
    if steps == 0:
        return runs
    lengths = np.diff(runs.offsets)
    filled = lengths > 0
    first = np.where(filled, runs.first >> steps, 0)
    last = np.where(filled, (runs.first + lengths - 1) >> steps, -1)
    offsets = offsets_of(np.where(filled, last - first + 1, 0))
    bucket = np.arange(runs.offsets[-1]) + np.repeat(runs.first - runs.offsets[:-1], lengths)
    place = (bucket >> steps) + np.repeat(offsets[:-1] - first, lengths)
    counts = np.zeros(int(offsets[-1]), dtype=np.uint64)
    if len(place):
        begins = np.flatnonzero(np.diff(place, prepend=-1))  # places ascend, row after row
        counts[place[begins]] = np.add.reduceat(runs.counts.astype(np.uint64), begins)
    return Runs(runs.scale - steps, first, offsets, counts)


def pairs_of(runs: Runs) -> Pairs:
    """Return the filled buckets only.

    Raises:
        ValueError: the rows lie more than 65,536 buckets apart.
    """
    lengths = np.diff(runs.offsets)
    filled = lengths > 0
    base = int(runs.first[filled].min()) if filled.any() else 0
    end = int((runs.first + lengths)[filled].max()) if filled.any() else 0
    if end - base > _INDEX_SPAN:
        raise ValueError(f"the rows span {end - base} buckets, at most {_INDEX_SPAN} fit")
    relative = np.where(filled, runs.first - base, 0)
    if _kernels.pays(len(runs.counts)):
        return _pairs_by_kernel(runs, base, relative)
    nonzero = np.flatnonzero(runs.counts)
    row = np.searchsorted(runs.offsets, nonzero, side="right") - 1
    index = (nonzero - runs.offsets[row] + relative[row]).astype(np.uint16)
    per_row = np.bincount(row, minlength=len(runs))
    return Pairs(runs.scale, base, offsets_of(per_row), index, runs.counts[nonzero])


def runs_of(pairs: Pairs) -> Runs:
    """Return the rows as runs, from the first filled bucket of each to the last."""
    filled = np.diff(pairs.offsets) > 0
    begins, ends = pairs.offsets[:-1][filled], pairs.offsets[1:][filled]
    low = np.zeros(len(pairs), dtype=np.int64)
    lengths = np.zeros(len(pairs), dtype=np.int64)
    low[filled] = pairs.index[begins]
    lengths[filled] = pairs.index[ends - 1].astype(np.int64) - low[filled] + 1
    offsets = offsets_of(lengths)
    counts = np.zeros(int(offsets[-1]), dtype=pairs.counts.dtype)
    if _kernels.pays(len(pairs.counts)):
        from analytics._kernels import merging as kernel

        kernel.fill_runs(pairs.offsets, pairs.index, pairs.counts, offsets, counts)
    else:
        shift = np.repeat(offsets[:-1] - low, np.diff(pairs.offsets))
        counts[pairs.index + shift] = pairs.counts
    return Runs(pairs.scale, np.where(filled, low + pairs.base, 0), offsets, counts)


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where rows of these lengths begin, and behind them where the last one ends."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _extents(
    first: NDArray[np.int64], ends: NDArray[np.int64], groups: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lowest bucket and the end of each group; for one without rows, far beyond."""
    low, high = np.full(count, _FAR), np.full(count, -_FAR)
    chosen = groups >= 0
    np.minimum.at(low, groups[chosen], first[chosen])
    np.maximum.at(high, groups[chosen], ends[chosen])
    return low, high


def add_runs(
    offsets: NDArray[np.int64],
    counts: Counts,
    target: NDArray[np.int64],
    out: NDArray[np.uint64],
) -> None:
    """Add rows, which begin at `offsets`, to the counters from `target` on; -1 leaves a row out."""
    if _kernels.pays(len(counts)):
        from analytics._kernels import merging as kernel

        kernel.add_runs(offsets, counts, target, out)
        return
    for row in np.flatnonzero(target >= 0).tolist():
        some = counts[offsets[row] : offsets[row + 1]]
        out[target[row] : target[row] + len(some)] += some.astype(np.uint64, copy=False)


def _added(runs: Runs, target: NDArray[np.int64], size: int) -> NDArray[np.uint64]:
    out = np.zeros(size, dtype=np.uint64)
    add_runs(runs.offsets, runs.counts, target, out)
    return out


def _pairs_by_kernel(runs: Runs, base: int, relative: NDArray[np.int64]) -> Pairs:
    from analytics._kernels import merging as kernel

    size = int(np.count_nonzero(runs.counts))
    offsets, totals = np.empty(len(runs) + 1, dtype=np.int64), np.empty(len(runs), dtype=np.int64)
    index = np.empty(size + 1, dtype=np.uint16)
    counts: Counts = np.empty(size + 1, dtype=runs.counts.dtype)
    kernel.fill_pairs(relative, runs.offsets, runs.counts, offsets, index, counts, totals)
    return Pairs(runs.scale, base, offsets, index[:size], counts[:size], totals)
