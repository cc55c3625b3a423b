"""One row of many sketches as a sketch of its own."""

from __future__ import annotations

from analytics.buckets import Buckets
from analytics.layouts import Statistics
from analytics.sketch import BUCKET_LIMIT, Sketch


def sketch_of(
    statistics: Statistics,
    row: int,
    scale: int,
    positive: Buckets,
    negative: Buckets,
    bucket_limit: int = BUCKET_LIMIT,
) -> Sketch:
    """Return the sketch of a row's buckets and of what it knows besides.

    Raises:
        ValueError: they contradict each other.
    """
    s = statistics
    counted = s.min[row] <= s.max[row]
    return Sketch.from_parts(
        scale=scale,
        positive=positive,
        negative=negative,
        zero_count=int(s.zero_count[row]),
        sum_=float(s.sum[row]),
        min_=float(s.min[row]) if counted else None,
        max_=float(s.max[row]) if counted else None,
        nan_count=int(s.nan_count[row]),
        positive_infinity_count=int(s.positive_infinity_count[row]),
        negative_infinity_count=int(s.negative_infinity_count[row]),
        bucket_limit=bucket_limit,
    )
