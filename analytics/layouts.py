"""How the counters of many sketches lie in memory, so that kernels can run over all of them.

A row is one sketch's buckets of one sign; all rows of a layout share one scale. Both layouts
are plain arrays: whoever holds one may hand it to a kernel, which trusts it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.uint32] | NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Runs:
    """Each row is a run of neighbouring buckets, empty ones among them: quick to merge.

    Row k counts the buckets `first[k]`, `first[k] + 1`, ... in
    `counts[offsets[k]:offsets[k + 1]]`; in OpenTelemetry's indexes.
    """

    scale: int
    first: NDArray[np.int64]  # (rows,)
    offsets: NDArray[np.int64]  # (rows + 1,) ascending, offsets[0] == 0
    counts: Counts  # (offsets[-1],)

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Each row is its filled buckets only, ascending: compressed sparse rows, quick to read.

    Entry e of row k, offsets[k] <= e < offsets[k + 1], says that bucket `base + index[e]` (in
    OpenTelemetry's indexes) counts `counts[e]` > 0.
    """

    scale: int
    base: int
    offsets: NDArray[np.int64]  # (rows + 1,) ascending, offsets[0] == 0
    index: NDArray[np.uint16]  # (offsets[-1],) ascending within a row
    counts: Counts  # (offsets[-1],)
    totals: NDArray[np.int64] | None = None  # (rows,) the sum of each row, where it is known

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True, slots=True)
class Statistics:
    """What each row knows besides its buckets; as the attributes of `Sketch` of these names."""

    zero_count: NDArray[np.uint64]  # (rows,)
    nan_count: NDArray[np.uint64]
    positive_infinity_count: NDArray[np.uint64]
    negative_infinity_count: NDArray[np.uint64]
    sum: NDArray[np.float64]
    min: NDArray[np.float64]  # +inf where nothing was counted
    max: NDArray[np.float64]  # -inf where nothing was counted

    @classmethod
    def none(cls, rows: int) -> Statistics:
        """Return those of rows without values."""
        return cls(
            np.zeros(rows, dtype=np.uint64),
            np.zeros(rows, dtype=np.uint64),
            np.zeros(rows, dtype=np.uint64),
            np.zeros(rows, dtype=np.uint64),
            np.zeros(rows),
            np.full(rows, np.inf),
            np.full(rows, -np.inf),
        )
