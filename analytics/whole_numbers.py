"""Whole numbers out of a sketch: lengths of bursts come back exactly."""

from __future__ import annotations

from typing import Final

import numpy as np

from analytics.mapping import bucket_index, lower_bound
from analytics.sketch import SCALE_DEFAULT, Sketch

# Up to here every whole number has a bucket of its own at the default scale: (n + 1) / n > base.
EXACT_MAX: Final = 186


def counts_by_number(sketch: Sketch) -> dict[int, int]:
    """Return how often each whole number was counted, ascending; of positive ones.

    Exact up to EXACT_MAX (at the default scale); beyond, neighbours share a bucket and are counted
    as the largest of it, which is at most 0.55 % more.
    """
    found: dict[int, int] = {}
    buckets = sketch.positive
    for place in np.flatnonzero(buckets.counts).tolist():
        number = _largest(buckets.offset + place, sketch.scale)
        found[number] = found.get(number, 0) + int(buckets.counts[place])
    if sketch.max is not None and found:  # known exactly, and nothing is larger
        last = max(found)
        if last > sketch.max:
            found[int(sketch.max)] = found.get(int(sketch.max), 0) + found.pop(last)
    return found


def _largest(index: int, scale: int) -> int:
    """Return the largest whole number of a bucket; bounds are rounded, so neighbours are tried."""
    near = int(lower_bound(index + 1, scale))
    candidates = np.arange(max(1, near - 1), near + 2, dtype=np.float64)
    inside = candidates[bucket_index(candidates, scale) == index]
    return int(inside[-1]) if len(inside) else near


assert SCALE_DEFAULT == 7  # noqa: PLR2004 - EXACT_MAX is of this scale
