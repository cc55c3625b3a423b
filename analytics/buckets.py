"""The counters of one side of a sketch: a contiguous window of buckets which grows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


def _no_counts() -> NDArray[np.uint64]:
    return np.zeros(0, dtype=np.uint64)


@dataclass(slots=True)
class Buckets:
    """Counts of the buckets `offset`, `offset + 1`, ...; in OpenTelemetry's indexes."""

    offset: int = 0
    counts: NDArray[np.uint64] = field(default_factory=_no_counts)

    @property
    def end(self) -> int:
        """The index behind the last counter."""
        return self.offset + len(self.counts)

    def copy(self) -> Buckets:
        return Buckets(self.offset, self.counts.copy())

    def total(self) -> int:
        return int(self.counts.sum())

    def trimmed(self) -> Buckets:
        """Return the same counts without empty buckets at either end."""
        if not len(self.counts):
            return Buckets()
        if self.counts[0] and self.counts[-1]:
            return self.copy()
        used = self.counts.nonzero()[0]
        if not len(used):
            return Buckets()
        first, last = int(used[0]), int(used[-1])
        return Buckets(self.offset + first, self.counts[first : last + 1].copy())

    def covers(self, other: Buckets) -> bool:
        """Whether every bucket of `other` has a counter here."""
        return self.offset <= other.offset and other.end <= self.end

    def cover(self, first: int, last: int, align: int) -> None:
        """Grow so that buckets `first` to `last` have counters, by whole multiples of `align`."""
        if len(self.counts) and self.offset <= first and last < self.end:
            return
        low, high = first, last + 1
        if len(self.counts):
            low, high = min(low, self.offset), max(high, self.end)
        low, high = low // align * align, -(-high // align) * align
        grown = np.zeros(high - low, dtype=np.uint64)
        grown[self.offset - low : self.end - low] = self.counts
        self.offset, self.counts = low, grown

    def count(self, indexes: NDArray[np.int64]) -> None:
        """Add one for each index; all of them are covered."""
        self.counts += np.bincount(indexes - self.offset, minlength=len(self.counts)).astype(
            np.uint64
        )

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
