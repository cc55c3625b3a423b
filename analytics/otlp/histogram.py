"""A sketch as an OTLP ExponentialHistogramDataPoint, and back.

OpenTelemetry has no place for NaN and infinities: their counts travel as attributes of the data
point, so that a sketch comes back equal, and another receiver still reads a valid histogram.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint

from analytics.buckets import Buckets
from analytics.mapping import SCALE_MIN, SMALLEST_NORMAL
from analytics.sketch import SCALE_DEFAULT, Sketch

NAN_COUNT: Final = "netslo.nan_count"
POSITIVE_INFINITY_COUNT: Final = "netslo.positive_infinity_count"
NEGATIVE_INFINITY_COUNT: Final = "netslo.negative_infinity_count"
SPECIAL_COUNTS: Final = (NAN_COUNT, POSITIVE_INFINITY_COUNT, NEGATIVE_INFINITY_COUNT)

WIRE_SCALE_MAX: Final = 20  # what OpenTelemetry's SDKs produce
BUCKETS_MAX: Final = 65_536  # of one sign, as they come; then downscaled to our own limit
_COUNT_MAX: Final = 2**63 - 1


def fill_point(point: ExponentialHistogramDataPoint, sketch: Sketch) -> None:
    """Write a sketch's counts into a data point."""
    point.scale = sketch.scale
    point.count = sketch.count
    point.zero_count = sketch.zero_count
    point.zero_threshold = SMALLEST_NORMAL
    point.sum = sketch.sum
    if sketch.min is not None and sketch.max is not None:
        point.min, point.max = sketch.min, sketch.max
    for buckets, side in ((sketch.positive, point.positive), (sketch.negative, point.negative)):
        if len(buckets.counts):
            side.offset = buckets.offset
            side.bucket_counts.extend(buckets.counts.tolist())
    specials = (
        sketch.nan_count,
        sketch.positive_infinity_count,
        sketch.negative_infinity_count,
    )
    for key, count in zip(SPECIAL_COUNTS, specials, strict=True):
        if count:
            point.attributes.append(KeyValue(key=key, value=AnyValue(int_value=count)))


def read_point(point: ExponentialHistogramDataPoint) -> Sketch:
    """Return the sketch of a data point; scales finer than ours are halved, losslessly.

    Raises:
        ValueError: the point contradicts itself or the limits.
    """
    if not SCALE_MIN <= point.scale <= WIRE_SCALE_MAX:
        raise ValueError(f"scale {point.scale} is not from {SCALE_MIN} to {WIRE_SCALE_MAX}")
    scale = point.scale
    positive, negative = _read_side(point.positive), _read_side(point.negative)
    if point.zero_threshold > SMALLEST_NORMAL and point.zero_count:
        raise ValueError(
            f"zero threshold {point.zero_threshold} hides values above {SMALLEST_NORMAL}"
        )
    total = point.zero_count + _total(positive) + _total(negative)  # before pairs could overflow
    while scale > SCALE_DEFAULT:
        positive.halve_scale()
        negative.halve_scale()
        scale -= 1
    if total != point.count:
        raise ValueError(f"count is {point.count}, but the buckets hold {total}")
    if total and not math.isfinite(point.sum):
        raise ValueError(f"sum is {point.sum}")
    specials = {kv.key: kv.value.int_value for kv in point.attributes if kv.key in SPECIAL_COUNTS}
    return Sketch.from_parts(
        scale=scale,
        positive=positive,
        negative=negative,
        zero_count=point.zero_count,
        sum_=point.sum,
        min_=point.min if point.HasField("min") else None,
        max_=point.max if point.HasField("max") else None,
        nan_count=specials.get(NAN_COUNT, 0),
        positive_infinity_count=specials.get(POSITIVE_INFINITY_COUNT, 0),
        negative_infinity_count=specials.get(NEGATIVE_INFINITY_COUNT, 0),
    )


def sketch_to_bytes(sketch: Sketch) -> bytes:
    """Return a sketch as the octets of a data point, for a store."""
    point = ExponentialHistogramDataPoint()
    fill_point(point, sketch)
    octets: bytes = point.SerializeToString()
    return octets


def sketch_from_bytes(octets: bytes) -> Sketch:
    """Return the sketch that `sketch_to_bytes` wrote.

    Raises:
        ValueError: the octets are no data point.
    """
    try:
        return read_point(ExponentialHistogramDataPoint.FromString(octets))
    except DecodeError as error:
        raise ValueError(f"not a data point: {error}") from error


def _read_side(side: ExponentialHistogramDataPoint.Buckets) -> Buckets:
    if len(side.bucket_counts) > BUCKETS_MAX:
        raise ValueError(f"{len(side.bucket_counts)} buckets, at most {BUCKETS_MAX} are taken")
    counts = np.array(side.bucket_counts, dtype=np.uint64)
    return Buckets(side.offset, counts).trimmed()


def _total(buckets: Buckets) -> int:
    """Return the sum of the counts, without the wrap-around of 64 bits."""
    total: int = sum(buckets.counts.tolist())
    if total > _COUNT_MAX:
        raise ValueError(f"{total} values are more than 2**63 - 1")
    return total
