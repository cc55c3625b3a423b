"""Adding up runs of buckets, and turning runs into pairs and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled
from analytics.layouts import Counts


@compiled
def add_runs(
    offsets: NDArray[np.int64],  # (rows + 1,)
    counts: Counts,
    target: NDArray[np.int64],  # (rows,) where in `out` a row's first bucket is; < 0: left out
    out: Counts,  # changed in place; every row falls inside
) -> None:
    for row in range(target.shape[0]):
        if target[row] >= 0:
            begin, end = offsets[row], offsets[row + 1]
            source, place = counts[begin:end], out[target[row] : target[row] + end - begin]
            for i in range(source.shape[0]):
                place[i] += source[i]


@compiled
def fill_pairs(
    first: NDArray[np.int64],  # (rows,) relative to the pairs' base
    offsets: NDArray[np.int64],  # (rows + 1,) of the runs
    counts: Counts,
    pair_offsets: NDArray[np.int64],  # (rows + 1,) written
    index: NDArray[np.uint16],  # one longer than there are filled buckets; written
    pair_counts: Counts,  # likewise
    totals: NDArray[np.int64],  # (rows,) the sum of each row; written
) -> None:
    at = 0
    pair_offsets[0] = 0
    for row in range(first.shape[0]):
        begin, total = offsets[row], np.uint64(0)
        for i in range(offsets[row + 1] - begin):
            count = counts[begin + i]
            index[at] = first[row] + i  # overwritten by the next one where it is empty
            pair_counts[at] = count
            at += count != 0
            total += np.uint64(count)
        totals[row] = np.int64(total)
        pair_offsets[row + 1] = at


@compiled
def fill_runs(
    pair_offsets: NDArray[np.int64],  # (rows + 1,)
    index: NDArray[np.uint16],
    pair_counts: Counts,
    offsets: NDArray[np.int64],  # (rows + 1,) of the runs
    counts: Counts,  # zeros; written
) -> None:
    for row in range(pair_offsets.shape[0] - 1):
        begin, end = pair_offsets[row], pair_offsets[row + 1]
        if begin < end:
            shift = offsets[row] - np.int64(index[begin])
            for entry in range(begin, end):
                counts[shift + np.int64(index[entry])] = pair_counts[entry]
