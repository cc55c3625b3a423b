"""Adding runs of buckets to long-lived counters, and taking them away again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled
from analytics.layouts import Counts

Counters = NDArray[np.uint16] | NDArray[np.uint32] | NDArray[np.uint64]


@compiled
def add_signed(
    offsets: NDArray[np.int64],  # (rows + 1,)
    counts: Counts,
    target: NDArray[np.int64],  # (rows,) where in `out` a row's first bucket is; < 0: left out
    sign: int,  # 1 or -1
    out: Counters,  # changed in place; every row falls inside, and no counter overflows
) -> None:
    for row in range(target.shape[0]):
        if target[row] >= 0:
            begin, end = offsets[row], offsets[row + 1]
            source, place = counts[begin:end], out[target[row] : target[row] + end - begin]
            if sign > 0:
                for i in range(source.shape[0]):
                    place[i] += source[i]
            else:
                for i in range(source.shape[0]):
                    place[i] -= source[i]


@compiled
def copy_runs(
    source: Counters,
    begins: NDArray[np.int64],  # (runs,) in `source`
    lengths: NDArray[np.int64],  # (runs,)
    places: NDArray[np.int64],  # (runs,) in `out`; every run falls inside
    out: Counters,  # no narrower; may be `source` where no run overlaps a place; changed in place
) -> None:
    for row in range(begins.shape[0]):
        begin, place = begins[row], places[row]
        for i in range(lengths[row]):
            out[place + i] = source[begin + i]
