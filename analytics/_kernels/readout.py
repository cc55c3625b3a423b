"""Values at ranks, and counts up to buckets, of many rows of filled buckets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled
from analytics.layouts import Counts

_ONE = np.uint64(1)
_BLOCK = np.uint64(8)
_FITS = np.int64(2**32 - 1)  # a row of so many values: no sum of its counts needs more than 32 bits


@compiled
def row_totals(
    offsets: NDArray[np.int64],  # (rows + 1,)
    counts: Counts,
    totals: NDArray[np.int64],  # (rows,) written
) -> None:
    for row in range(totals.shape[0]):
        total = np.uint64(0)
        for entry in range(np.uint64(offsets[row]), np.uint64(offsets[row + 1])):
            total += np.uint64(counts[entry])
        totals[row] = np.int64(total)


@compiled
def entries_at_ranks(
    offsets: NDArray[np.int64],  # (rows + 1,)
    counts: Counts,
    totals: NDArray[np.int64],  # (rows,) the sum of each row
    ranks: NDArray[np.int64],  # (rows, n) ascending; below 0 and from the total on: none
    out: NDArray[np.int64],  # (rows, n) the entry that holds the rank; -1: none; written
) -> None:
    for row in range(totals.shape[0]):
        entry, passed = offsets[row], np.int64(0)  # so many values lie before `entry`
        for k in range(ranks.shape[1]):
            rank = ranks[row, k]
            out[row, k] = -1
            if 0 <= rank < totals[row]:
                while passed + np.int64(counts[entry]) <= rank:
                    passed += np.int64(counts[entry])
                    entry += 1
                out[row, k] = entry


@compiled
def row_quantiles(
    offsets: NDArray[np.int64],  # (rows + 1,)
    index: NDArray[np.uint16],
    counts: Counts,
    table: NDArray[np.float64],  # the representative of each index
    totals: NDArray[np.int64],  # (rows,) zeros and positive values
    zeros: NDArray[np.uint64],  # (rows,)
    lost: NDArray[np.int64],  # (rows,)
    low: NDArray[np.float64],  # (rows,) the smallest value
    high: NDArray[np.float64],  # (rows,) the largest value
    qs: NDArray[np.float64],  # (n,) ascending
    out: NDArray[np.float64],  # (rows, n) written
) -> None:
    for row in range(totals.shape[0]):
        total, due, zero = totals[row], totals[row] + lost[row], np.int64(zeros[row])
        # Forward only: memory is read in the order in which the next row goes on.
        entry, end, passed = np.uint64(offsets[row]), np.uint64(offsets[row + 1]), zero
        span = np.float64(due - 1)
        for k in range(qs.shape[0]):
            rank = min(np.int64(qs[k] * span), due - 1)
            if due == 0:
                out[row, k] = np.nan
            elif rank >= total:
                out[row, k] = np.inf
            elif rank == total - 1:
                out[row, k] = high[row]
            elif rank == 0:
                out[row, k] = low[row]
            elif rank < zero:  # what counts as zero may lie a little beside it
                out[row, k] = min(max(0.0, low[row]), high[row])
            else:
                while total <= _FITS and entry + _BLOCK <= end:  # several at once, by SIMD
                    block = np.uint32(0)
                    for i in range(_BLOCK):
                        block = np.uint32(block + counts[entry + np.uint64(i)])
                    if passed + np.int64(block) > rank:
                        break
                    passed += np.int64(block)
                    entry += _BLOCK
                while passed + np.int64(counts[entry]) <= rank:
                    passed += np.int64(counts[entry])
                    entry += _ONE
                out[row, k] = min(max(table[np.uint64(index[entry])], low[row]), high[row])


@compiled
def counts_below(
    offsets: NDArray[np.int64],  # (rows + 1,)
    index: NDArray[np.uint16],
    counts: Counts,
    limits: NDArray[np.int64],  # (n,) ascending, relative to the rows' base
    out: NDArray[np.int64],  # (rows, n) how many values lie in buckets below each; written
) -> None:
    n = limits.shape[0]
    for row in range(offsets.shape[0] - 1):
        entry, end, passed = offsets[row], offsets[row + 1], np.int64(0)
        for k in range(n):
            while entry < end and np.int64(index[entry]) < limits[k]:
                passed += np.int64(counts[entry])
                entry += 1
            out[row, k] = passed
