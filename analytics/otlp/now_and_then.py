"""What is told of a path now and then, not in every window: its routes and its capacity.

Such points do not add up and have no window, so that they take another way than all others: they
are read one by one, and kept in tables of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from analytics.otlp.fields import Refused, read_attributes, read_text
from analytics.otlp.instruments import GAUGE
from analytics.otlp.readings import read_reading
from analytics.otlp.routes import read_route
from analytics.readings import Told
from netslo import metrics

_Read = Callable[[str, Any, Mapping[str, Any]], Told]

# By metric: what its points name as their probe, and who reads them. The compiled walk leaves alone
# what is named `network.path.`, whichever these are.
_READERS: Final[dict[str, tuple[str, _Read]]] = {
    metrics.PATH_HOPS: (metrics.PROBE_TRACE, read_route),
    metrics.BANDWIDTH: (metrics.PROBE_BANDWIDTH, read_reading),
    metrics.LOADED_RTT: (metrics.PROBE_BANDWIDTH, read_reading),
}


def is_now_and_then(name: str) -> bool:
    """Whether points of a metric are read here."""
    return name in _READERS


def read_told(metric: Metric, point: Any, attributes_max: int) -> Told:
    """Read one data point of a metric that is.

    Raises:
        Refused: it cannot be used.
    """
    probe, read = _READERS[metric.name]
    if metric.WhichOneof("data") != GAUGE:
        raise Refused(f"{metric.name} is not of type {GAUGE}")
    attributes = read_attributes(point.attributes, attributes_max)
    if read_text(attributes, metrics.ATTR_PROBE, default="") != probe:
        raise Refused(f"attribute {metrics.ATTR_PROBE} of {metric.name} is not {probe}")
    return read(metric.name, point, attributes)
