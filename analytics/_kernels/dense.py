"""Counting (key, value) pairs of a few keys: every key has a row of counters, side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled
from analytics._kernels.sketch import place_of

_STEP = 4  # pairs whose counters are looked up before any is counted


@compiled
def extremes_of(
    keys: NDArray[np.int32],  # (n,) n > 0, any
    values: NDArray[np.float64],  # (n,) any
    found: NDArray[np.int64],  # (4,) least and largest key, then value by its bits; written
) -> None:
    signed = values.view(np.int64)
    low_key, high_key, low, high = keys[0], keys[0], signed[0], signed[0]
    for i in range(keys.shape[0]):
        low_key = min(low_key, keys[i])
        high_key = max(high_key, keys[i])
        low = min(low, signed[i])
        high = max(high, signed[i])
    found[0], found[1], found[2], found[3] = low_key, high_key, low, high


@compiled
def count_dense(
    keys: NDArray[np.int32],  # (n,) all of a row
    values: NDArray[np.float64],  # (n,) all in the window
    window: tuple[np.uint64, np.uint64],  # shift and first slice: analytics.mapping.WindowTable
    table: NDArray[np.uint64],  # likewise
    width: np.uint64,  # buckets of the window
    counts: NDArray[np.uint32],  # (rows * width,) changed in place; none overflows
    sums: NDArray[np.float64],  # (rows,) changed in place
    least: NDArray[np.float64],  # (rows,) likewise
    most: NDArray[np.float64],  # (rows,) likewise
) -> None:
    shift, first = window
    bits = values.view(np.uint64)
    whole = keys.shape[0] // _STEP * _STEP
    for i in range(0, whole, _STEP):
        a = np.uint64(keys[i]) * width + place_of(bits[i], shift, first, table)
        b = np.uint64(keys[i + 1]) * width + place_of(bits[i + 1], shift, first, table)
        c = np.uint64(keys[i + 2]) * width + place_of(bits[i + 2], shift, first, table)
        d = np.uint64(keys[i + 3]) * width + place_of(bits[i + 3], shift, first, table)
        counts[a] += np.uint32(1)
        counts[b] += np.uint32(1)
        counts[c] += np.uint32(1)
        counts[d] += np.uint32(1)
        for k in range(_STEP):
            key, value = np.uint64(keys[i + k]), values[i + k]
            sums[key] += value
            if value < least[key]:  # noqa: PLR1730 - seldom so, and nothing is stored then
                least[key] = value
            if value > most[key]:  # noqa: PLR1730
                most[key] = value
    for i in range(whole, keys.shape[0]):
        key, value = np.uint64(keys[i]), values[i]
        counts[key * width + place_of(bits[i], shift, first, table)] += np.uint32(1)
        sums[key] += value
        least[key] = min(least[key], value)
        most[key] = max(most[key], value)
