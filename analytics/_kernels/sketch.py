"""Counting values into buckets. Each kernel equals `analytics.mapping.bucket_index`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.bits import prefetch
from analytics._kernels.compilation import called, compiled, compiled_for_sums, inlined

_MANTISSA_MASK = np.int64((1 << 52) - 1)
_BIAS = np.int64(1023)
BLOCK = 256  # values: few enough to find them in the L1 cache on the second pass
_STEP = 8  # values whose places are looked up before any is counted, and of one line of the cache
_AHEAD = np.int64(512)  # values: what is counted after next, so that memory works meanwhile
_SIGN = np.int64(-0x8000000000000000)
_LARGEST = np.int64(0x7FFFFFFFFFFFFFFF)
_MAGNITUDE = np.uint64(0x7FFFFFFFFFFFFFFF)
_INFINITY = np.uint64(0x7FF0000000000000)
_MANTISSA_BITS = np.uint64(52)
_SIGN_BIT = np.uint64(63)
_NOTHING, _ONE = np.uint64(0), np.uint64(1)
_LARGEST_VALUE = float(np.finfo(np.float64).max)
_SMALLER, _LARGER = 2.0**-64, 2.0**64


@inlined
def place_of(
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
    counts: NDArray[np.uint32],  # (2 w + 1,) positive; anything; negative; changed in place
    extremes: NDArray[np.int64],  # (4,) least and most bits of positive ones, and of negative
    # ones by magnitude; changed
    total: NDArray[np.float64],  # (1,) the sum of finite ones, wherever they are; changed
    specials: NDArray[np.int64],  # (2,) zeros and NaN; changed
    apart: NDArray[np.float64],  # (more than 256,) whatever else is outside the window; written
) -> tuple[int, int]:
    """Count values up to the block that `apart` may be too small for; how many, how many apart.

    The sum depends on the values alone, not on what was counted before.
    """
    signed, unsigned = values.view(np.int64), values.view(np.uint64)
    size, odd = values.shape[0], 0
    cells = np.empty(BLOCK, dtype=np.uint32)
    for begin in range(0, size, BLOCK):
        if odd + BLOCK > apart.shape[0]:
            return begin, odd
        end = min(begin + BLOCK, size)
        # NaN, infinities, zeros and negative values lie outside every window, as integers do.
        least, most, subtotal = _LARGEST, -_LARGEST, 0.0
        as_signed, as_values = signed[begin:end], values[begin:end]
        for i in range(as_signed.shape[0]):
            least = min(least, as_signed[i])
            most = max(most, as_signed[i])
            subtotal += as_values[i]
        if not abs(subtotal) <= _LARGEST_VALUE:
            subtotal = _sum_of_finite(as_values)
        total[0] = min(max(total[0] + subtotal, -_LARGEST_VALUE), _LARGEST_VALUE)
        part = unsigned[begin:end]
        if least < bounds[0] or most > bounds[1]:
            _note_extremes(as_signed, bounds, extremes)
            window = (shift, first_slice, table)
            odd = _count_any(part, as_values, window, bounds, counts, specials, cells, apart, odd)
            continue
        extremes[0] = min(extremes[0], least)
        extremes[1] = max(extremes[1], most)
        # Written out, or each look-up would wait for the increment before it: a third slower.
        whole = part.shape[0] // _STEP * _STEP
        for i in range(0, whole, _STEP):
            prefetch(unsigned, begin + i + _AHEAD)
            a = place_of(part[i], shift, first_slice, table)
            b = place_of(part[i + 1], shift, first_slice, table)
            c = place_of(part[i + 2], shift, first_slice, table)
            d = place_of(part[i + 3], shift, first_slice, table)
            e = place_of(part[i + 4], shift, first_slice, table)
            f = place_of(part[i + 5], shift, first_slice, table)
            g = place_of(part[i + 6], shift, first_slice, table)
            h = place_of(part[i + 7], shift, first_slice, table)
            counts[a] += np.uint32(1)
            counts[b] += np.uint32(1)
            counts[c] += np.uint32(1)
            counts[d] += np.uint32(1)
            counts[e] += np.uint32(1)
            counts[f] += np.uint32(1)
            counts[g] += np.uint32(1)
            counts[h] += np.uint32(1)
        for bits in part[whole:]:
            counts[place_of(bits, shift, first_slice, table)] += np.uint32(1)
    return size, odd


@called
def _sum_of_finite(values: NDArray[np.float64]) -> float:
    """Add at most 2**60 values; what is too large is the largest double."""
    total = 0.0
    for value in values:
        if abs(value) <= _LARGEST_VALUE:
            total += value * _SMALLER
    most = _LARGEST_VALUE * _SMALLER
    return min(max(total, -most), most) * _LARGER


@called
def _note_extremes(
    signed: NDArray[np.int64], bounds: NDArray[np.int64], extremes: NDArray[np.int64]
) -> None:
    """Note the extremes of the values in the window, of either sign."""
    low, high = bounds[0], bounds[1]
    least, most, negative_least, negative_most = extremes[0], extremes[1], extremes[2], extremes[3]
    for i in range(signed.shape[0]):
        bits, flipped = signed[i], signed[i] ^ _SIGN
        inside, mirrored = (low <= bits) & (bits <= high), (low <= flipped) & (flipped <= high)
        least = min(least, bits if inside else _LARGEST)
        most = max(most, bits if inside else np.int64(0))
        negative_least = min(negative_least, flipped if mirrored else _LARGEST)
        negative_most = max(negative_most, flipped if mirrored else np.int64(0))
    extremes[0], extremes[1], extremes[2], extremes[3] = least, most, negative_least, negative_most


@called
def _count_any(
    bits: NDArray[np.uint64],
    values: NDArray[np.float64],
    window: tuple[np.uint64, np.uint64, NDArray[np.uint64]],
    bounds: NDArray[np.int64],
    counts: NDArray[np.uint32],
    specials: NDArray[np.int64],
    cells: NDArray[np.uint32],  # (256,) scratch
    apart: NDArray[np.float64],
    odd: int,
) -> int:
    """Count a block of any values without a branch, since none could be foreseen."""
    shift, first_slice, table = window
    low, high = np.uint64(bounds[0]), np.uint64(bounds[1])
    nowhere = np.uint64(counts.shape[0] >> 1)
    zeros, nans, others = 0, 0, 0
    for i in range(bits.shape[0]):
        magnitude = bits[i] & _MAGNITUDE
        held = min(max(magnitude, low), high)
        place = place_of(held, shift, first_slice, table)
        place += (nowhere + _ONE) * (bits[i] >> _SIGN_BIT)
        cells[i] = place if held == magnitude else nowhere
        zero, nan = magnitude == _NOTHING, magnitude > _INFINITY
        zeros += zero
        nans += nan
        others += (held != magnitude) & (not zero) & (not nan)
    for cell in cells[: bits.shape[0]]:
        counts[np.uint64(cell)] += np.uint32(1)
    specials[0] += zeros
    specials[1] += nans
    if not others:
        return odd
    at = np.uint64(odd)
    for i in range(bits.shape[0]):
        magnitude = bits[i] & _MAGNITUDE
        apart[at] = values[i]  # overwritten by the next one where it is not
        ordinary = (magnitude < low) | (magnitude > high)
        at += np.uint64(ordinary & (magnitude != _NOTHING) & (magnitude <= _INFINITY))
    return np.int64(at)  # type: ignore[return-value]


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
