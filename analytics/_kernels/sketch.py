"""Counting values into buckets. Each kernel equals `analytics.mapping.bucket_index`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled, compiled_for_sums, inlined

_MANTISSA_MASK = np.int64((1 << 52) - 1)
_BIAS = np.int64(1023)


_BLOCK = 128  # values: few enough to find them in the L1 cache on the second pass
_STEP = 8  # values whose places are looked up before any is counted
_LARGEST = np.int64(0x7FFFFFFFFFFFFFFF)
_MANTISSA_BITS = np.uint64(52)


@inlined
def _place(
    bits: np.uint64, shift: np.uint64, first: np.uint64, table: NDArray[np.uint64]
) -> np.uint64:
    """Return the counter of a value in the window: the carry into the exponent compares."""
    place: np.uint64 = (bits + table[(bits >> shift) - first]) >> _MANTISSA_BITS
    return place


@compiled_for_sums
def count_run(
    values: NDArray[np.float64],  # (n,) any doubles
    shift: np.uint64,  # this and the next two: analytics.mapping.WindowTable
    first_slice: np.uint64,
    table: NDArray[np.uint64],
    bounds: NDArray[np.int64],  # (2,) the bits of the first and the last value of the window
    counts: NDArray[np.uint32],  # (buckets,) changed in place
    extremes: NDArray[np.int64],  # (2,) bits of the smallest and the largest value; changed
    total: NDArray[np.float64],  # (1,) changed
) -> int:
    """Count values up to the first block that holds one outside; return how many."""
    signed, unsigned = values.view(np.int64), values.view(np.uint64)
    size = values.shape[0]
    for begin in range(0, size, _BLOCK):
        end = min(begin + _BLOCK, size)
        # NaN, infinities, zeros and negative values lie outside every window, as integers do.
        least, most, subtotal = _LARGEST, -_LARGEST, 0.0
        as_signed, as_values = signed[begin:end], values[begin:end]
        for i in range(as_signed.shape[0]):
            least = min(least, as_signed[i])
            most = max(most, as_signed[i])
            subtotal += as_values[i]
        if least < bounds[0] or most > bounds[1]:
            return begin
        extremes[0] = min(extremes[0], least)
        extremes[1] = max(extremes[1], most)
        total[0] += subtotal
        # Written out, or each look-up would wait for the increment before it: a third slower.
        part = unsigned[begin:end]
        whole = part.shape[0] // _STEP * _STEP
        for i in range(0, whole, _STEP):
            a = _place(part[i], shift, first_slice, table)
            b = _place(part[i + 1], shift, first_slice, table)
            c = _place(part[i + 2], shift, first_slice, table)
            d = _place(part[i + 3], shift, first_slice, table)
            e = _place(part[i + 4], shift, first_slice, table)
            f = _place(part[i + 5], shift, first_slice, table)
            g = _place(part[i + 6], shift, first_slice, table)
            h = _place(part[i + 7], shift, first_slice, table)
            counts[a] += np.uint32(1)
            counts[b] += np.uint32(1)
            counts[c] += np.uint32(1)
            counts[d] += np.uint32(1)
            counts[e] += np.uint32(1)
            counts[f] += np.uint32(1)
            counts[g] += np.uint32(1)
            counts[h] += np.uint32(1)
        for bits in part[whole:]:
            counts[_place(bits, shift, first_slice, table)] += np.uint32(1)
    return len(values)


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
