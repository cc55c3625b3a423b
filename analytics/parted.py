"""Pairs of key and value, those of 256 neighbouring keys together: then a key at a time is counted.

The counters of many keys fit no cache, so pairs are first parted by key. What a part holds does:
its values lie together, are counted key by key in one row, and each key's filled buckets follow.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.layouts import Pairs
from analytics.mapping import EXPONENT_BIAS, MANTISSA_BITS, slice_table

KEYS_TOGETHER: Final = 256  # of one part: its values fit the L2 cache, its keys an octet
INDEX_SPAN: Final = 1 << 16  # buckets that an index of 16 bits tells apart

Keys = NDArray[np.int32]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Parted:
    """Pairs, part by part; within a part in their order."""

    starts: NDArray[np.int64]  # (parts + 1,) where each part begins
    keys: NDArray[np.uint8]  # (n,) within the part
    values: Values  # (n,)
    bits: NDArray[np.int64]  # (2,) of the smallest and the largest value, as integers


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted of each key: filled buckets, and the statistics beside them."""

    pairs: Pairs
    sum: Values  # (keys,)
    min: Values  # +inf where nothing was counted
    max: Values  # -inf where nothing was counted


def part(keys: Keys, values: Values, count: int) -> Parted | None:
    """Part n > 0 pairs, by kernel; None where a key is not from 0 to `count` - 1."""
    from analytics._kernels import keyed as kernel

    parts = -(-count // KEYS_TOGETHER)
    starts, extremes = np.zeros(parts + 2, dtype=np.int64), np.empty(2, dtype=np.int64)
    kernel.count_keys(keys, starts, extremes)
    if extremes[0] < 0 or extremes[1] >= count:
        return None
    parted = Parted(
        starts[:-1], np.empty(len(keys), dtype=np.uint8), np.empty_like(values), extremes
    )
    kernel.partition(keys, values, parted.starts, parted.bits, parted.keys, parted.values)
    return parted


def count_parted(parted: Parted, count: int, scale: int, base: int, threads: int) -> Counted:
    """Count the values of each of `count` keys; positive ones inside the index range from `base`.

    The result does not depend on the number of threads.
    """
    from analytics._kernels import keyed as kernel

    starts, parts = parted.starts, len(parted.starts) - 1
    ends, totals = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    sums, low, high = np.zeros(count), np.full(count, np.inf), np.full(count, -np.inf)
    table = slice_table(scale)
    carry = (table.first.astype(np.uint64) << np.uint64(MANTISSA_BITS)) + (
        np.uint64(1 << MANTISSA_BITS) - table.boundary.astype(np.uint64)
    )
    biased_base = np.uint64(base + (EXPONENT_BIAS << scale))

    def counted(span: tuple[int, int]) -> tuple[NDArray[np.uint16], NDArray[np.uint32]]:
        room = int(starts[span[1]] - starts[span[0]])
        index, counts = np.empty(room, dtype=np.uint16), np.empty(room, dtype=np.uint32)
        size = kernel.count_partitions(
            parted.keys,
            parted.values,
            starts,
            np.array(span, dtype=np.int64),
            carry,
            np.array([scale, table.shift], dtype=np.uint64),
            biased_base,
            np.zeros(INDEX_SPAN, dtype=np.uint32),
            index,
            counts,
            ends,
            totals,
            sums,
            low,
            high,
        )
        return index[:size], counts[:size]

    edges = [parts * k // threads for k in range(threads + 1)]
    spans_of_threads = list(itertools.pairwise(edges))
    if threads == 1:
        found = [counted(span) for span in spans_of_threads]
    else:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(counted, spans_of_threads))
    done = 0
    for (first, last), (index, _) in zip(spans_of_threads, found, strict=True):
        ends[first * KEYS_TOGETHER : last * KEYS_TOGETHER] += done
        done += len(index)
    index, counts = found[0]
    if len(found) > 1:
        index, counts = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), ends])
    return Counted(Pairs(scale, base, offsets, index, counts, totals), sums, low, high)
