"""Counters of a few keys side by side: pairs are counted where they come, without being parted."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.layouts import Runs
from analytics.mapping import EXPONENT_BIAS, MANTISSA_BITS, bucket_index, window_table
from analytics.merging import offsets_of
from analytics.shared import shared

COUNTERS_MAX: Final = 1 << 21  # 8 MB: beyond, each pair waits for memory, and parting is faster
_WORTH: Final = 32  # counters to a pair from which on looking through them would cost more
_BUCKETS_MAX: Final = 4096  # of a window that has a table
_BLOCK: Final = 1 << 20  # pairs of which one sum is formed, whoever forms it
_PENDING_MAX: Final = 2**32 - 1  # then a counter of 32 bits might overflow

Keys = NDArray[np.int32]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Extent:
    """Between which keys and values all pairs of a portion lie."""

    least_key: int
    most_key: int
    bits: NDArray[np.int64]  # (2,) of the smallest and the largest value, as integers

    @classmethod
    def of(cls, keys: Keys, values: Values) -> Extent:
        """Look at n > 0 pairs, by kernel."""
        from analytics._kernels import dense as kernel

        found = np.empty(4, dtype=np.int64)
        kernel.extremes_of(keys, values, found)
        return cls(int(found[0]), int(found[1]), found[2:])


class DenseCounters:
    """What was counted of the keys 0 to `keys` - 1 since it was last taken out. Not thread-safe."""

    def __init__(self, keys: int, scale: int) -> None:
        self._keys = keys
        self._scale = scale
        self._offset, self._width = 0, 0  # the window: its first bucket, and how many
        self._counts = np.zeros(0, dtype=np.uint32)  # (keys * width,)
        self._pending = 0
        self._asked = 0  # pairs for which it was to be decided

    @property
    def possible(self) -> bool:
        """Whether there is room at all: no window is narrower than a binade."""
        return self._keys << self._scale <= COUNTERS_MAX

    def window_for(self, extent: Extent) -> tuple[int, int] | None:
        """Return the window that would hold these values, too; None where it is too wide."""
        (first,) = bucket_index(extent.bits[:1].view(np.float64), self._scale).tolist()
        low = first >> self._scale << self._scale
        # A power of two is of the bucket before its binade, but has a slice of the table in it.
        last_binade = (int(extent.bits[1]) >> MANTISSA_BITS) - EXPONENT_BIAS
        high = (last_binade + 1) << self._scale
        if self._width:
            low, high = min(low, self._offset), max(high, self._offset + self._width)
        width = high - low
        fits = width <= _BUCKETS_MAX and self._keys * width <= COUNTERS_MAX
        return (low, width) if fits else None

    def worth(self, window: tuple[int, int], pairs: int) -> bool:
        """Whether to look through all counters once is worth it for so many pairs.

        Also for all those that were not worth it since that was last done.
        """
        self._asked += pairs
        return self._width > 0 or self._keys * window[1] <= _WORTH * self._asked

    def holds(self, window: tuple[int, int], pairs: int) -> bool:
        """Whether so many pairs of this window can be counted before it is taken out."""
        same = not self._pending or window == (self._offset, self._width)
        return same and self._pending + pairs <= _PENDING_MAX

    def count(
        self, keys: Keys, values: Values, window: tuple[int, int], threads: int
    ) -> tuple[Values, Values, Values]:
        """Count pairs of these keys and of a window that `holds`, by kernel.

        Returns the sum, the smallest (+inf) and the largest value (-inf) of each key, (keys,).
        None of it depends on the number of threads.
        """
        if window != (self._offset, self._width):
            self._offset, self._width = window
            self._counts = np.zeros(self._keys * self._width, dtype=np.uint32)
        edges = [*range(0, len(keys), _BLOCK), len(keys)]
        blocks = [slice(low, high) for low, high in itertools.pairwise(edges)]
        shares = [blocks[n::threads] for n in range(min(threads, len(blocks)))]
        counters = [self._counts, *(np.zeros_like(self._counts) for _ in shares[1:])]
        sums = np.zeros((len(blocks), self._keys))
        low = np.full((len(shares), self._keys), np.inf)
        high = np.full((len(shares), self._keys), -np.inf)

        def work(number: int) -> None:
            for block, total in zip(shares[number], sums[number::threads], strict=True):
                found = counters[number], total, low[number], high[number]
                self._count_block(keys[block], values[block], *found)

        shared(work, [(number,) for number in range(len(shares))])
        for more in counters[1:]:
            self._counts += more
        self._pending += len(keys)
        return sums.sum(axis=0), low.min(axis=0), high.max(axis=0)

    def _count_block(
        self,
        keys: Keys,
        values: Values,
        counts: NDArray[np.uint32],
        sums: Values,
        low: Values,
        high: Values,
    ) -> None:
        from analytics._kernels import dense as kernel

        table = window_table(self._scale, self._offset, self._width)
        window = table.shift, table.first_slice
        width = np.uint64(self._width)
        kernel.count_dense(keys, values, window, table.table, width, counts, sums, low, high)

    def taken(self) -> Runs | None:
        """Return what was counted, a row for each key, and forget it; None where nothing was."""
        self._asked = 0
        if not self._pending:
            return None
        counts, self._counts, self._pending = self._counts, np.zeros(0, dtype=np.uint32), 0
        first = np.full(self._keys, self._offset, dtype=np.int64)
        offsets = offsets_of(np.full(self._keys, self._width, dtype=np.int64))
        self._width = 0
        return Runs(self._scale, first, offsets, counts)
