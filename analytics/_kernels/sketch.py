"""Counting values into buckets. Each kernel equals `analytics.mapping.bucket_index`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled

_MANTISSA_MASK = np.int64((1 << 52) - 1)
_BIAS = np.int64(1023)


@compiled
def count_fine(
    values: NDArray[np.float64],  # (n,) positive, normal, finite
    scale: int,  # > 0
    shift: int,
    first: NDArray[np.int64],  # (2N,) analytics.mapping.SliceTable
    boundary: NDArray[np.int64],  # (2N,)
    offset: int,
    counts: NDArray[np.uint64],  # (buckets,) changed in place; every value falls inside
) -> None:
    bits = values.view(np.int64)
    for i in range(bits.shape[0]):
        below = bits[i] - 1
        mantissa = below & _MANTISSA_MASK
        part = mantissa >> shift
        index = ((below >> 52) - _BIAS << scale) + first[part]
        if mantissa >= boundary[part]:
            index += 1
        counts[index - offset] += np.uint64(1)


@compiled
def count_coarse(
    values: NDArray[np.float64],  # (n,) positive, normal, finite
    shift: int,  # -scale, >= 0
    offset: int,
    counts: NDArray[np.uint64],  # (buckets,) changed in place; every value falls inside
) -> None:
    bits = values.view(np.int64)
    for i in range(bits.shape[0]):
        index = ((bits[i] - 1 >> 52) - _BIAS) >> shift
        counts[index - offset] += np.uint64(1)
