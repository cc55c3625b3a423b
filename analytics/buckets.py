"""The counters of a sketch: two windows of buckets, one per sign, which share a scale."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analytics import _kernels
from analytics.mapping import bucket_index, window_table

_WINDOW_MAX = 4096  # buckets: a number of twelve bits
_EXPONENT_MIN = -1022  # of a normal double
_FIRST_BLOCK = 1 << 11  # values: the first look at what has no counter yet
_WIDE_BLOCK = 1 << 16  # values that have no window: every pass finds them in the L2 cache
_EMPTY = np.zeros(0, dtype=np.uint64)


@dataclass(slots=True)
class Buckets:
    """Counts of the buckets `offset`, `offset + 1`, ...; in OpenTelemetry's indexes."""

    offset: int = 0
    counts: NDArray[np.uint64] = field(default_factory=_EMPTY.copy)

    @property
    def end(self) -> int:
        """The index behind the last counter."""
        return self.offset + len(self.counts)

    def copy(self) -> Buckets:
        return Buckets(self.offset, self.counts.copy())

    def total(self) -> int:
        return int(self.counts.sum())

    def at(self, index: int) -> int:
        """Return the count of one bucket; 0 outside the window."""
        return int(self.counts[index - self.offset]) if self.offset <= index < self.end else 0

    def below(self, index: int) -> int:
        """Return the count of all buckets before `index`."""
        return int(self.counts[: max(0, index - self.offset)].sum())

    def used(self) -> tuple[int, int] | None:
        """Return the first and the last index with a count; None when all are empty."""
        if not len(self.counts):
            return None
        filled = self.counts != 0
        first = int(filled.argmax())
        if not filled[first]:
            return None
        return self.offset + first, self.end - 1 - int(filled[::-1].argmax())

    def trimmed(self) -> Buckets:
        """Return the same counts without empty buckets at either end; a copy."""
        return self.core().copy()

    def core(self) -> Buckets:
        """Return the same counts without empty buckets at either end; the same memory."""
        used = self.used()
        if used is None:
            return Buckets()
        first, last = used
        return Buckets(first, self.counts[first - self.offset : last + 1 - self.offset])

    def cover(self, first: int, last: int, align: int) -> None:
        """Grow so that buckets `first` to `last` have counters, by whole multiples of `align`."""
        if self.offset <= first and last < self.end:
            return
        low, high = first, last + 1
        if len(self.counts):
            low, high = min(low, self.offset), max(high, self.end)
        low, high = low // align * align, -(-high // align) * align
        grown = np.zeros(high - low, dtype=np.uint64)
        grown[self.offset - low : self.end - low] = self.counts
        self.offset, self.counts = low, grown

    def count(self, indexes: NDArray[np.int64], first: int) -> None:
        """Add one for each index; all of them are covered and none is below `first`."""
        self.add(Buckets(first, np.bincount(indexes - first).astype(np.uint64)))

    def add(self, other: Buckets) -> None:
        """Add the counts of `other`; its buckets are covered."""
        start = other.offset - self.offset
        self.counts[start : start + len(other.counts)] += other.counts

    def halve_scale(self) -> None:
        """Merge pairs of buckets: index i becomes i >> 1, losslessly."""
        if not len(self.counts):
            return
        first, last = self.offset >> 1, (self.end - 1) >> 1
        padded = np.zeros(2 * (last - first + 1), dtype=np.uint64)
        start = self.offset - 2 * first
        padded[start : start + len(self.counts)] = self.counts
        self.offset, self.counts = first, padded.reshape(-1, 2).sum(axis=1, dtype=np.uint64)


@dataclass(slots=True)
class SignedBuckets:
    """Counts of positive values, and of negative ones by magnitude, at one scale.

    The scale falls, losslessly, as far as neither side spans more than `limit` buckets. How far
    depends on the values alone, so the counts do not depend on the order they came in.
    """

    scale: int
    limit: int
    positive: Buckets = field(default_factory=Buckets)
    negative: Buckets = field(default_factory=Buckets)

    def copy(self) -> SignedBuckets:
        return SignedBuckets(self.scale, self.limit, self.positive.copy(), self.negative.copy())

    def total(self) -> int:
        return self.positive.total() + self.negative.total()

    def count(self, side: Buckets, magnitudes: NDArray[np.float64], *, by_kernel: bool) -> None:
        """Count positive normal doubles, shape (n,) with n > 0, on one of the two sides."""
        if by_kernel:
            extremes = np.array([magnitudes.min(), magnitudes.max()])
            first, last = bucket_index(extremes, self.scale).tolist()
            self._make_room(side, first, last)
            _kernels.count_values(magnitudes, self.scale, side.offset, side.counts)
            return
        index = bucket_index(magnitudes, self.scale)
        first, last = int(index.min()), int(index.max())
        fell = self._make_room(side, first, last)
        side.count(index >> fell, first >> fell)

    def count_run(self, values: NDArray[np.float64], total: NDArray[np.float64]) -> _kernels.Run:
        """Count values of any kind that have a counter, by kernel; return what was seen of others.

        Shape (n,), n below 2**32. Finite ones are added to `total`, shape (1,).
        """
        offset, size = self._window()
        if not size:
            filled = len(self.positive.counts) or len(self.negative.counts)
            room = _WIDE_BLOCK if filled else _FIRST_BLOCK
            return _kernels.count_run(values, None, np.zeros(3, dtype=np.uint32), total, room)
        scale = self.scale
        counts = np.zeros(2 * size + 1, dtype=np.uint32)
        run = _kernels.count_run(values, window_table(scale, offset, size), counts, total)
        sides = [(self.positive, counts[:size])] if run.positive else []
        if run.negative:
            sides.append((self.negative, counts[size + 1 :]))
        for side, more in sides:
            if scale == self.scale and side.offset == offset and len(side.counts) == size:
                side.counts += more
            else:
                self._absorb_side(side, Buckets(offset, more.astype(np.uint64)).core(), scale)
        return run

    def absorb(self, other: SignedBuckets) -> None:
        """Add the counts of `other`, at the coarser scale of the two or a coarser one still."""
        while self.scale > other.scale:
            self.halve_scale()
        for ours, theirs in ((self.positive, other.positive), (self.negative, other.negative)):
            if not len(theirs.counts):
                continue
            if self.scale == other.scale and self._has_room(ours, theirs.offset, theirs.end - 1):
                ours.add(theirs)  # the common case: a further window of one path
                continue
            self._absorb_side(ours, theirs.core(), other.scale)

    def halve_scale(self) -> None:
        """Halve the scale of both sides."""
        self.positive.halve_scale()
        self.negative.halve_scale()
        self.scale -= 1

    def _window(self) -> tuple[int, int]:
        """Return offset and size of the buckets that are counted by their table; 0: none are."""
        sides = [side for side in (self.positive, self.negative) if len(side.counts)]
        if self.scale <= 0 or not sides:
            return 0, 0
        low, high = min(side.offset for side in sides), max(side.end for side in sides)
        if high - low > _WINDOW_MAX:
            low, high = sides[0].offset, sides[0].end
        # Subnormal values have no binades: what a window of theirs would count is not theirs.
        normal = low >= _EXPONENT_MIN << self.scale
        return (low, high - low) if normal and high - low <= _WINDOW_MAX else (0, 0)

    def _absorb_side(self, ours: Buckets, incoming: Buckets, scale: int) -> None:
        if not len(incoming.counts):
            return
        for _ in range(scale - self.scale):
            incoming.halve_scale()
        for _ in range(self._make_room(ours, incoming.offset, incoming.end - 1)):
            incoming.halve_scale()
        ours.add(incoming)

    def _has_room(self, side: Buckets, first: int, last: int) -> bool:
        return side.offset <= first and last < side.end and len(side.counts) <= self.limit

    def _make_room(self, side: Buckets, first: int, last: int) -> int:
        """Cover buckets `first` to `last` of one side; return by how much the scale fell."""
        if self._has_room(side, first, last):
            return 0
        used = side.used()
        if used is not None:
            first, last = min(first, used[0]), max(last, used[1])
        fell = 0
        while last - first >= self.limit:
            self.halve_scale()
            first, last, fell = first >> 1, last >> 1, fell + 1
        side.cover(first, last, align=1 << max(self.scale, 0))  # whole binades: grow seldom
        return fell
