"""Counting (key, value) pairs into many sketches: parted by key, then a key at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.bits import trailing_zeros
from analytics._kernels.compilation import compiled, compiled_for_sums, inlined
from analytics.layouts import Counts

_KEY_BITS = np.uint32(9)  # of a key within its part
_KEYS_TOGETHER = 1 << 9
_LOW_KEY = np.int32(_KEYS_TOGETHER - 1)
_STEP = 4  # values whose places are looked up before any is counted
_MANTISSA = np.uint64((1 << 52) - 1)
_MANTISSA_BITS = np.uint64(52)
_ONE = np.uint64(1)
_SIX = np.uint64(6)
_SIX_BITS = np.uint64(63)
_LARGEST = np.int64(0x7FFFFFFFFFFFFFFF)


@compiled
def count_keys(
    keys: NDArray[np.int32],  # (n,) n > 0, any
    starts: NDArray[np.int64],  # (parts + 2,) zeros; where each part begins, if all are known
    found: NDArray[np.int64],  # (2,) the smallest and the largest key; written
) -> None:
    least, most = keys[0], keys[0]
    beyond = np.uint32(starts.shape[0] - 2)  # where keys are counted that are of no part
    for key in keys:
        least = min(least, key)
        most = max(most, key)
        starts[np.uint64(min(np.uint32(key) >> _KEY_BITS, beyond)) + _ONE] += 1
    for part in range(starts.shape[0] - 1):
        starts[part + 1] += starts[part]
    found[0], found[1] = least, most


@compiled
def sort_out(
    keys: NDArray[np.int32],  # (n,)
    values: NDArray[np.float64],  # (n,) any
    low: float,
    high: float,
    out_keys: NDArray[np.int32],  # (n + 1,) written
    out_values: NDArray[np.float64],  # likewise
) -> int:
    """Put pairs of values in (low, high] first, in order, and all others last; how many at first.

    Where none of them goes is one place between, which holds anything.
    """
    at, odd_at = np.uint64(0), np.uint64(keys.shape[0])
    for i in range(keys.shape[0]):
        ordinary = (values[i] > low) & (values[i] <= high)
        place = at if ordinary else odd_at
        out_keys[place] = keys[i]
        out_values[place] = values[i]
        at += np.uint64(ordinary)
        odd_at -= np.uint64(not ordinary)
    return np.int64(at)  # type: ignore[return-value]


@compiled
def partition(
    keys: NDArray[np.int32],  # (n,) n > 0, all of a part
    values: NDArray[np.float64],  # (n,) any
    starts: NDArray[np.int64],  # (parts + 1,) as `count_keys` has it
    extremes: NDArray[np.int64],  # (2,) bits of the smallest and the largest value; written
    out_keys: NDArray[np.uint16],  # (n,) within the part; written
    out_values: NDArray[np.float64],  # (n,) written
) -> None:
    places = starts.copy()
    signed = values.view(np.int64)  # as integers, positive values are in order
    least, most = signed[0], signed[0]
    for i in range(keys.shape[0]):
        part = np.uint32(keys[i]) >> _KEY_BITS
        place = np.uint64(places[part])
        places[part] += 1
        out_keys[place] = np.uint16(keys[i] & _LOW_KEY)
        out_values[place] = values[i]
        least = min(least, signed[i])
        most = max(most, signed[i])
    extremes[0], extremes[1] = least, most


@compiled_for_sums
def count_partitions(
    keys: NDArray[np.uint16],  # (n,) as partitioned
    values: NDArray[np.float64],  # (n,) positive, normal, inside the index range
    starts: NDArray[np.int64],  # (parts + 1,)
    parts: NDArray[np.int64],  # (2,) the first part and the one behind the last
    carry: NDArray[np.uint64],  # see analytics.parted
    scale_and_slice: NDArray[np.uint64],  # (2,) scale, and how far the mantissa is shifted
    base: np.uint64,  # the biased bucket of index 0
    row: NDArray[np.uint32],  # (65536,) zeros; zeros again at the end
    index: NDArray[np.uint16],  # (n of these parts,) written
    counts: NDArray[np.uint32],  # likewise
    ends: NDArray[np.int64],  # (keys,) where the entries of each key end; written
    totals: NDArray[np.int64],  # (keys,) written
    sums: NDArray[np.float64],  # (keys,) written
    least: NDArray[np.float64],  # (keys,) +inf for a key without values; written
    most: NDArray[np.float64],  # (keys,) -inf likewise; written
) -> int:
    scale, slice_shift = scale_and_slice[0], scale_and_slice[1]
    touched = np.zeros(row.shape[0] // 64, dtype=np.uint64)  # a bit for each filled bucket
    begins = np.zeros(_KEYS_TOGETHER + 1, dtype=np.int64)
    extremes = np.zeros(2, dtype=np.int64)
    as_values = extremes.view(np.float64)
    largest: Any = 0
    for part in range(parts[0], parts[1]):
        largest = max(largest, starts[part + 1] - starts[part])
    grouped = np.empty(largest, dtype=np.float64)
    at = np.uint64(0)
    for part in range(parts[0], parts[1]):
        first_key = part * _KEYS_TOGETHER
        low, high = starts[part], starts[part + 1]
        begins[:] = 0
        for i in range(low, high):
            begins[np.uint64(keys[i]) + _ONE] += 1
        for k in range(_KEYS_TOGETHER):
            begins[k + 1] += begins[k]
        for i in range(low, high):  # moves each begin to where the key's values end
            cell = np.uint64(keys[i])
            grouped[np.uint64(begins[cell])] = values[i]
            begins[cell] += 1
        begin = 0
        for k in range(min(_KEYS_TOGETHER, ends.shape[0] - first_key)):
            key, end = first_key + k, begins[k]
            if begin < end:
                mine = grouped[begin:end]
                signed = mine.view(np.int64)
                total, smallest, greatest = 0.0, _LARGEST, np.int64(0)
                for i in range(mine.shape[0]):
                    total += mine[i]
                    smallest = min(smallest, signed[i])
                    greatest = max(greatest, signed[i])
                # Written out as in `sketch.count_run`: no look-up waits for an increment.
                unsigned = mine.view(np.uint64)
                whole = unsigned.shape[0] // _STEP * _STEP
                for i in range(0, whole, _STEP):
                    a = _bucket(unsigned[i], carry, slice_shift, scale) - base
                    b = _bucket(unsigned[i + 1], carry, slice_shift, scale) - base
                    c = _bucket(unsigned[i + 2], carry, slice_shift, scale) - base
                    d = _bucket(unsigned[i + 3], carry, slice_shift, scale) - base
                    row[a] += np.uint32(1)
                    row[b] += np.uint32(1)
                    row[c] += np.uint32(1)
                    row[d] += np.uint32(1)
                    touched[a >> _SIX] |= _ONE << (a & _SIX_BITS)
                    touched[b >> _SIX] |= _ONE << (b & _SIX_BITS)
                    touched[c >> _SIX] |= _ONE << (c & _SIX_BITS)
                    touched[d >> _SIX] |= _ONE << (d & _SIX_BITS)
                for bits in unsigned[whole:]:
                    bucket = _bucket(bits, carry, slice_shift, scale) - base
                    row[bucket] += np.uint32(1)
                    touched[bucket >> _SIX] |= _ONE << (bucket & _SIX_BITS)
                here: Any = (_bucket(np.uint64(smallest), carry, slice_shift, scale) - base) >> _SIX
                last = (_bucket(np.uint64(greatest), carry, slice_shift, scale) - base) >> _SIX
                while here <= last:
                    rest = touched[here]
                    touched[here] = np.uint64(0)
                    while rest:
                        bucket = (here << _SIX) + trailing_zeros(rest)
                        rest &= rest - _ONE
                        index[at] = np.uint16(bucket)
                        counts[at] = row[bucket]
                        row[bucket] = np.uint32(0)
                        at += _ONE
                    here += _ONE
                extremes[0], extremes[1] = smallest, greatest
                totals[key], sums[key] = end - begin, total
                least[key], most[key] = as_values[0], as_values[1]
            else:
                totals[key], sums[key] = 0, 0.0
                least[key], most[key] = np.inf, -np.inf
            ends[key] = np.int64(at)
            begin = end
    return np.int64(at)  # type: ignore[return-value]


@inlined
def _bucket(
    bits: np.uint64, carry: NDArray[np.uint64], slice_shift: np.uint64, scale: np.uint64
) -> np.uint64:
    """Return the biased bucket of a positive normal value, by its bits."""
    below = bits - _ONE
    part = (below >> slice_shift) & np.uint64(carry.shape[0] - 1)
    inside = (below & _MANTISSA) + carry[part]
    return np.uint64(((below >> _MANTISSA_BITS) << scale) + (inside >> _MANTISSA_BITS))


@compiled
def merge_pairs(
    left_offsets: NDArray[np.int64],  # (rows + 1,)
    left_index: NDArray[np.uint16],
    left_counts: Counts,
    right_offsets: NDArray[np.int64],  # (rows + 1,)
    right_index: NDArray[np.uint16],
    right_counts: Counts,
    offsets: NDArray[np.int64],  # (rows + 1,) written
    index: NDArray[np.uint16],  # as long as both together; written
    counts: NDArray[np.uint64],  # likewise
) -> int:
    at = 0
    offsets[0] = 0
    for row in range(offsets.shape[0] - 1):
        i, i_end = left_offsets[row], left_offsets[row + 1]
        j, j_end = right_offsets[row], right_offsets[row + 1]
        while i < i_end or j < j_end:
            take_left = j == j_end or (i < i_end and left_index[i] <= right_index[j])
            take_right = i == i_end or (j < j_end and right_index[j] <= left_index[i])
            count = np.uint64(0)
            if take_left:
                index[at] = left_index[i]
                count += np.uint64(left_counts[i])
            if take_right:
                index[at] = right_index[j]
                count += np.uint64(right_counts[j])
            i += take_left
            j += take_right
            counts[at] = count
            at += 1
        offsets[row + 1] = at
    return at
