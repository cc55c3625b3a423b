"""A batch of windows as one OTLP request (OTLP 1.x, ExportMetricsServiceRequest)."""

from __future__ import annotations

from collections.abc import Iterator

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    ExponentialHistogramDataPoint,
    Metric,
    NumberDataPoint,
    ScopeMetrics,
)

from analytics.otlp.histogram import fill_point
from analytics.otlp.instruments import COUNTS, GAUGE, GAUGES, HISTOGRAM, INSTRUMENTS, SECONDS
from analytics.otlp.readings import write_reading
from analytics.otlp.routes import write_route
from analytics.streams import GAUGE_FIELDS
from analytics.windows import Batch, CountKey, PathWindow, SketchKey
from netslo import __version__, metrics
from netslo.model import NS_PER_S, Outcome, Window

DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA

Attributes = dict[str, str]


def encode_batch(batch: Batch) -> bytes:
    """Return the request's octets: delta temporality, one data point per series and window."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.extend(
        [
            *_strings(
                {
                    metrics.ATTR_SERVICE_NAME: metrics.SERVICE_NAME,
                    metrics.ATTR_INSTANCE: batch.instance_id,
                    metrics.ATTR_SITE: batch.site,
                }
            ),
            KeyValue(key=metrics.ATTR_SEQUENCE, value=AnyValue(int_value=batch.sequence)),
        ]
    )
    scope = resource.scope_metrics.add()
    scope.scope.name, scope.scope.version = "netslo", __version__
    writer = _Writer(scope)
    for window in batch.windows:
        writer.write(window)
    if batch.routes:
        hops = scope.metrics.add(name=metrics.PATH_HOPS, unit="{hop}")
        for seen in batch.routes:
            write_route(hops, seen)
    for name, unit in ((metrics.BANDWIDTH, "bit/s"), (metrics.LOADED_RTT, SECONDS)):
        readings = [reading for reading in batch.readings if reading.metric == name]
        if readings:
            gauge = scope.metrics.add(name=name, unit=unit)
            for reading in readings:
                write_reading(gauge, reading)
    octets: bytes = request.SerializeToString()
    return octets


class _Writer:
    """Puts windows into the metrics of one scope, each metric made when first needed."""

    def __init__(self, scope: ScopeMetrics) -> None:
        self._scope = scope
        self._metrics: dict[str, Metric] = {}

    def write(self, window: PathWindow) -> None:
        path = window.key.path
        series = {
            metrics.ATTR_SRC: path.src,
            metrics.ATTR_DST: path.dst,
            metrics.ATTR_CLASS: path.traffic_class,
            metrics.ATTR_PROBE: window.key.probe.value,
        }
        for key, sketch in window.sketches.items():
            histogram = self._metric(key.metric).exponential_histogram.data_points.add()
            fill_point(histogram, sketch)
            histogram.attributes.extend(_strings(series | _sketch_attributes(key)))
            _set_times(histogram, window.window)
        for name, attributes, value in _sums(window):
            point = self._metric(name).sum.data_points.add()
            point.as_int = value
            point.attributes.extend(_strings(series | attributes))
            _set_times(point, window.window)
        for name, about in GAUGES.items():
            state = getattr(window, GAUGE_FIELDS[about])
            if state is not None:
                gauge = self._metric(name).gauge.data_points.add()
                gauge.as_double = state
                gauge.attributes.extend(_strings(series))
                _set_times(gauge, window.window)

    def _metric(self, name: str) -> Metric:
        metric = self._metrics.get(name)
        if metric is None:
            kind, unit = INSTRUMENTS[name].kind, INSTRUMENTS[name].unit
            metric = self._metrics[name] = self._scope.metrics.add(name=name, unit=unit)
            if kind == GAUGE:
                metric.gauge.SetInParent()
            elif kind == HISTOGRAM:
                metric.exponential_histogram.aggregation_temporality = DELTA
            else:
                metric.sum.aggregation_temporality = DELTA
                metric.sum.is_monotonic = True
        return metric


def _sketch_attributes(key: SketchKey) -> Attributes:
    attributes = {metrics.ATTR_QUALITY: key.quality.value} if key.quality else {}
    if key.direction:
        attributes[metrics.ATTR_DIRECTION] = key.direction
    return attributes


def _count_attributes(key: CountKey) -> Attributes:
    attribute, _ = COUNTS[key.metric]
    attributes = {attribute: key.what} if attribute else {}
    if key.direction:
        attributes[metrics.ATTR_DIRECTION] = key.direction
    return attributes


def _sums(window: PathWindow) -> Iterator[tuple[str, Attributes, int]]:
    """Yield the counts of a window; zeros say nothing, but `answered` marks the window itself."""
    packets = window.packets
    outcomes = (
        (Outcome.ANSWERED, packets.answered),
        (Outcome.LOST, packets.lost),
        (Outcome.UNMEASURED, packets.unmeasured),
    )
    for outcome, count in outcomes:
        if count or outcome is Outcome.ANSWERED:
            yield metrics.PACKETS, {metrics.ATTR_OUTCOME: outcome.value}, count
    if packets.duplicates:
        yield metrics.DUPLICATES, {}, packets.duplicates
    if packets.reordered:
        yield metrics.REORDERED, {}, packets.reordered
    for slo, counts in window.slo.items():
        results = (("good", counts.good), ("bad", counts.bad), ("unmeasured", counts.unmeasured))
        for result, count in results:
            if count or result == "good":
                attributes = {metrics.ATTR_SLO: slo, metrics.ATTR_RESULT: result}
                yield metrics.SLO_EVENTS, attributes, count
    for key, count in window.counts.items():
        if count:
            yield key.metric, _count_attributes(key), count


def _set_times(point: NumberDataPoint | ExponentialHistogramDataPoint, window: Window) -> None:
    point.start_time_unix_nano = window.start_s * NS_PER_S
    point.time_unix_nano = window.end_s * NS_PER_S


def _strings(attributes: Attributes) -> list[KeyValue]:
    return [KeyValue(key=k, value=AnyValue(string_value=v)) for k, v in attributes.items()]
