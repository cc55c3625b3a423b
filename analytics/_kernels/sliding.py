"""Adding runs of buckets to long-lived counters, and taking them away again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled
from analytics.layouts import Counts


@compiled
def add_signed(
    offsets: NDArray[np.int64],  # (rows + 1,)
    counts: Counts,
    target: NDArray[np.int64],  # (rows,) where in `out` a row's first bucket is; < 0: left out
    sign: int,  # 1 or -1
    out: NDArray[np.int64],  # changed in place; every row falls inside
) -> None:
    for row in range(target.shape[0]):
        if target[row] >= 0:
            begin, end = offsets[row], offsets[row + 1]
            source, place = counts[begin:end], out[target[row] : target[row] + end - begin]
            if sign > 0:
                for i in range(source.shape[0]):
                    place[i] += np.int64(source[i])
            else:
                for i in range(source.shape[0]):
                    place[i] -= np.int64(source[i])
