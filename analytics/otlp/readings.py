"""Readings of capacity tests as data points of `network.path.bandwidth` and `.loaded_rtt`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from analytics.otlp.fields import Refused, read_number, read_path, read_text, read_time_ns
from analytics.readings import CHOICES, Reading
from netslo import metrics

_MOST: Final = {metrics.BANDWIDTH: 1e15, metrics.LOADED_RTT: 3600.0}  # bit/s, s


def write_reading(metric: Metric, reading: Reading) -> None:
    """Add a reading to its metric."""
    point = metric.gauge.data_points.add()
    point.time_unix_nano = reading.seen_ns
    point.as_double = reading.value
    attributes = {
        metrics.ATTR_SRC: reading.path.src,
        metrics.ATTR_DST: reading.path.dst,
        metrics.ATTR_CLASS: reading.path.traffic_class,
        metrics.ATTR_PROBE: metrics.PROBE_BANDWIDTH,
        **{key: getattr(reading, key) for key in CHOICES[reading.metric]},
    }
    point.attributes.extend(
        KeyValue(key=key, value=AnyValue(string_value=text)) for key, text in attributes.items()
    )


def read_reading(name: str, point: Any, attributes: Mapping[str, Any]) -> Reading:
    """Read a data point.

    Raises:
        Refused: it cannot be used.
    """
    value = read_number(point)
    if not 0 <= value <= _MOST[name]:
        raise Refused(f"{name} is negative, or larger than any path's")
    chosen = {}
    for key, choices in CHOICES[name].items():
        chosen[key] = read_text(attributes, key)
        if chosen[key] not in choices:
            raise Refused(f"attribute {key} is none of {', '.join(choices)}")
    return Reading(read_path(attributes), read_time_ns(point), name, value=value, **chosen)
