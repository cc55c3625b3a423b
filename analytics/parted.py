"""Pairs of key and value, those of 512 neighbouring keys together: then a key at a time is counted.

The counters of many keys fit no cache, so pairs are first parted by key. What a part holds does:
its values lie together, are counted key by key in one row, and each key's filled buckets follow.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.layouts import Pairs
from analytics.mapping import EXPONENT_BIAS, MANTISSA_BITS, slice_table
from analytics.shared import shared

KEYS_TOGETHER: Final = 512  # of one part: its values fit the L2 cache
# Two lines of the L1 cache are written for each part: with parts of 256 keys and 100,000 keys they
# fitted it no more, and parting took two to three times as long.
INDEX_SPAN: Final = 1 << 16  # buckets that an index of 16 bits tells apart

Keys = NDArray[np.int32]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Parted:
    """Pairs, part by part; within a part in their order."""

    starts: NDArray[np.int64]  # (parts + 1,) where each part begins
    keys: NDArray[np.uint16]  # (n,) within the part
    values: Values  # (n,)
    bits: NDArray[np.int64]  # (2,) of the smallest and the largest value, as integers


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted of each key: filled buckets, and the statistics beside them."""

    pairs: Pairs
    sum: Values  # (keys,)
    min: Values  # +inf where nothing was counted
    max: Values  # -inf where nothing was counted


def part(keys: Keys, values: Values, count: int, threads: int = 1) -> Parted | None:
    """Part n > 0 pairs, by kernel; None where a key is not from 0 to `count` - 1.

    Each thread parts a share of the pairs, to places behind those of the shares before it: so all
    lie as one thread would have them.
    """
    from analytics._kernels import keyed as kernel

    parts = -(-count // KEYS_TOGETHER)
    edges = [len(keys) * k // threads for k in range(threads + 1)]
    shares = [slice(low, high) for low, high in itertools.pairwise(edges) if low < high]
    starts = np.zeros((len(shares), parts + 2), dtype=np.int64)
    extremes = np.empty((len(shares), 2), dtype=np.int64)
    shared(kernel.count_keys, [(keys[s], starts[k], extremes[k]) for k, s in enumerate(shares)])
    if extremes[:, 0].min() < 0 or extremes[:, 1].max() >= count:
        return None
    whole = starts.sum(axis=0)[:-1]
    before = np.diff(starts, axis=1, prepend=0)[:, 1:]
    places = whole + np.cumsum(before, axis=0) - before
    parted = Parted(whole, np.empty(len(keys), dtype=np.uint16), np.empty_like(values), extremes[0])
    shared(
        kernel.partition,
        [
            (keys[s], values[s], places[k], extremes[k], parted.keys, parted.values)
            for k, s in enumerate(shares)
        ],
    )
    parted.bits[:] = extremes[:, 0].min(), extremes[:, 1].max()
    return parted


def sorted_out(
    keys: Keys, values: Values, low: float, high: float
) -> tuple[tuple[Keys, Values], tuple[Keys, Values]]:
    """Return the pairs of values in (low, high], and all others, by kernel and each in order."""
    from analytics._kernels import keyed as kernel

    out_keys, out_values = np.empty(len(keys) + 1, dtype=np.int32), np.empty(len(keys) + 1)
    size = kernel.sort_out(keys, values, low, high, out_keys, out_values)
    last_first = slice(None, size, -1)
    return (out_keys[:size], out_values[:size]), (out_keys[last_first], out_values[last_first])


def count_parted(parted: Parted, count: int, scale: int, base: int, threads: int) -> Counted:
    """Count the values of each of `count` keys; positive ones inside the index range from `base`.

    The result does not depend on the number of threads.
    """
    from analytics._kernels import keyed as kernel

    starts, parts = parted.starts, len(parted.starts) - 1
    ends, totals = (np.empty(count, dtype=np.int64) for _ in range(2))
    sums, low, high = (np.empty(count) for _ in range(3))
    table = slice_table(scale)
    carry = (table.first.astype(np.uint64) << np.uint64(MANTISSA_BITS)) + (
        np.uint64(1 << MANTISSA_BITS) - table.boundary.astype(np.uint64)
    )
    biased_base = np.uint64((base + (EXPONENT_BIAS << scale)) % 2**64)  # the kernel wraps back
    index = np.empty(len(parted.keys), dtype=np.uint16)
    counts = np.empty(len(parted.keys), dtype=np.uint32)

    def counted(first: int, last: int) -> int:
        room = slice(starts[first], starts[last])
        return kernel.count_partitions(
            parted.keys,
            parted.values,
            starts,
            np.array([first, last], dtype=np.int64),
            carry,
            np.array([scale, table.shift], dtype=np.uint64),
            biased_base,
            np.zeros(INDEX_SPAN, dtype=np.uint32),
            index[room],
            counts[room],
            ends,
            totals,
            sums,
            low,
            high,
        )

    edges = [parts * k // threads for k in range(threads + 1)]
    spans = list(itertools.pairwise(edges))
    done = 0
    for (first, last), size in zip(spans, shared(counted, spans), strict=True):
        found = slice(starts[first], starts[first] + size)
        for entries in (index, counts):  # down over the room that the shares before it left
            entries[done : done + size] = entries[found]
        ends[first * KEYS_TOGETHER : last * KEYS_TOGETHER] += done
        done += size
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), ends])
    pairs = Pairs(scale, base, offsets, index[:done], counts[:done], totals)
    return Counted(pairs, sums, low, high)
