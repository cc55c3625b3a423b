"""The sizes of signed values, from a sketch of both signs."""

from __future__ import annotations

from analytics.buckets import Buckets
from analytics.sketch import Sketch


def magnitudes(sketch: Sketch) -> Sketch:
    """Return the sketch of |x|: the counters of either sign added up, exactly.

    The sum of |x| is not known to a sketch of x: `sum` is NaN, so that nobody takes it for one.
    The minimum is the lower end of its bucket, the maximum is exact.
    """
    sizes = Sketch.from_parts(
        scale=sketch.scale,
        positive=sketch.positive.trimmed(),
        negative=Buckets(),
        zero_count=sketch.zero_count,
        sum_=0.0,
        min_=None,
        max_=None,
    )
    opposite = Sketch.from_parts(
        scale=sketch.scale,
        positive=sketch.negative.trimmed(),
        negative=Buckets(),
        zero_count=0,
        sum_=0.0,
        min_=None,
        max_=None,
    )
    sizes.merge(opposite)
    if sketch.min is not None and sketch.max is not None:
        largest = max(-sketch.min, sketch.max)
        sizes = Sketch.from_parts(
            scale=sizes.scale,
            positive=sizes.positive,
            negative=Buckets(),
            zero_count=sizes.zero_count,
            sum_=0.0,
            min_=min(sizes.min or 0.0, largest),
            max_=largest,
        )
    sizes.sum = float("nan")
    return sizes
