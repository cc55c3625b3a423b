"""Counting (key, value) pairs into many sketches: partition by key, then a key at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled
from analytics.layouts import Counts

_MANTISSA = np.uint64((1 << 52) - 1)
_MANTISSA_BITS = np.uint64(52)
_ONE = np.uint64(1)
_SIX = np.uint64(6)
_SIX_BITS = np.uint64(63)
_TOP_SIX = np.uint64(58)
# Which bit a power of two is: its product with this number has another six highest bits for each.
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
_BIT_OF = np.zeros(64, dtype=np.uint64)
for _bit in range(64):
    _BIT_OF[(int(_DE_BRUIJN) << _bit & 0xFFFFFFFFFFFFFFFF) >> 58] = _bit


@compiled
def extremes(
    keys: NDArray[np.int32],  # (n,) n > 0
    bits: NDArray[np.int64],  # (n,) of the values: as integers, positive ones are in order
    found: NDArray[np.int64],  # (4,) smallest and largest key, then bits; written
) -> None:
    least_key, most_key = keys[0], keys[0]
    least, most = bits[0], bits[0]
    for key in keys:
        least_key = min(least_key, key)
        most_key = max(most_key, key)
    for each in bits:
        least = min(least, each)
        most = max(most, each)
    found[0], found[1], found[2], found[3] = least_key, most_key, least, most


@compiled
def partition(
    keys: NDArray[np.int32],  # (n,) from 0
    values: NDArray[np.float64],  # (n,)
    shift: np.uint32,  # key >> shift is the partition
    starts: NDArray[np.int64],  # (partitions + 1,) zeros; written
    out_keys: NDArray[np.int32],  # (n,) written
    out_values: NDArray[np.float64],  # (n,) written
) -> None:
    for key in keys:
        starts[(np.uint32(key) >> shift) + _ONE] += 1
    for part in range(starts.shape[0] - 1):
        starts[part + 1] += starts[part]
    places = starts.copy()
    for i in range(keys.shape[0]):
        cell = np.uint32(keys[i]) >> shift
        place = np.uint64(places[cell])
        places[cell] += 1
        out_keys[place] = keys[i]
        out_values[place] = values[i]


@compiled
def count_partitions(
    keys: NDArray[np.int32],  # (n,) as partitioned
    values: NDArray[np.float64],  # (n,) positive, normal, inside the index range
    starts: NDArray[np.int64],  # (partitions + 1,)
    parts: NDArray[np.int64],  # (2,) the first partition and the one behind the last
    shift: int,
    carry: NDArray[np.uint64],  # see analytics.table
    scale_and_slice: NDArray[np.uint64],  # (2,) scale, and how far the mantissa is shifted
    base: np.uint64,  # the biased bucket of index 0
    row: NDArray[np.uint32],  # (65536,) zeros; zeros again at the end
    index: NDArray[np.uint16],  # (n of these partitions,) written
    counts: NDArray[np.uint32],  # likewise
    ends: NDArray[np.int64],  # (keys,) where the entries of each key end; written
    totals: NDArray[np.int64],  # (keys,) changed
    sums: NDArray[np.float64],  # (keys,) changed
    least: NDArray[np.float64],  # (keys,) changed
    most: NDArray[np.float64],  # (keys,) changed
) -> int:
    scale, slice_shift = scale_and_slice[0], scale_and_slice[1]
    mask = np.uint64(carry.shape[0] - 1)
    per = 1 << shift
    touched = np.zeros(row.shape[0] // 64, dtype=np.uint64)
    begins = np.zeros(per + 1, dtype=np.int64)
    largest: Any = 0
    for part in range(parts[0], parts[1]):
        largest = max(largest, starts[part + 1] - starts[part])
    grouped = np.empty(largest, dtype=np.float64)
    at = np.uint64(0)
    for part in range(parts[0], parts[1]):
        first_key = part * per
        low, high = starts[part], starts[part + 1]
        begins[:] = 0
        for i in range(low, high):
            begins[np.uint64(keys[i] - first_key) + _ONE] += 1
        for k in range(per):
            begins[k + 1] += begins[k]
        for i in range(low, high):  # moves each begin to where the key's values end
            cell = np.uint64(keys[i] - first_key)
            grouped[np.uint64(begins[cell])] = values[i]
            begins[cell] += 1
        begin = 0
        for k in range(min(per, ends.shape[0] - first_key)):
            key, end = first_key + k, begins[k]
            mine = grouped[begin:end]
            total, smallest, greatest = 0.0, least[key], most[key]
            first_word, last_word = np.uint64(touched.shape[0]), np.uint64(0)
            for value in mine:
                total += value
                smallest = min(smallest, value)
                greatest = max(greatest, value)
            for bits in mine.view(np.uint64):
                below = bits - _ONE
                inside = (below & _MANTISSA) + carry[(below >> slice_shift) & mask]
                bucket = ((below >> _MANTISSA_BITS) << scale) + (inside >> _MANTISSA_BITS) - base
                row[bucket] += np.uint32(1)
                word = bucket >> _SIX
                touched[word] |= _ONE << (bucket & _SIX_BITS)
                first_word = min(first_word, word)
                last_word = max(last_word, word)
            here: Any = first_word
            while here <= last_word:
                rest = touched[here]
                touched[here] = np.uint64(0)
                while rest:
                    lowest = rest & (~rest + _ONE)
                    rest ^= lowest
                    bucket = (here << _SIX) + _BIT_OF[(lowest * _DE_BRUIJN) >> _TOP_SIX]
                    index[at] = np.uint16(bucket)
                    counts[at] = row[bucket]
                    row[bucket] = np.uint32(0)
                    at += _ONE
                here += _ONE
            totals[key] += end - begin
            sums[key] += total
            least[key] = smallest
            most[key] = greatest
            ends[key] = np.int64(at)
            begin = end
    return np.int64(at)  # type: ignore[return-value]


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
