"""OTLP requests from the network: every number checked, every refusal counted with its reason."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Metric,
    ResourceMetrics,
)

from analytics.otlp.fields import (
    TEXT_MAX,
    Refused,
    data_points,
    read_attributes,
    read_count,
    read_health_value,
    read_number,
    read_series,
    read_site,
    read_text,
    read_window,
    without_numbers,
)
from analytics.otlp.histogram import read_point
from analytics.otlp.instruments import COUNTS, GAUGE, GAUGES, HISTOGRAM, INSTRUMENTS, SIGNED
from analytics.otlp.now_and_then import is_now_and_then, read_told
from analytics.otlp.subjects import (
    count_subject,
    events_subject,
    gauge_subject,
    packets_subject,
    sketch_subject,
)
from analytics.readings import Reading, Told
from analytics.sketch import COUNT_MAX, Sketch
from analytics.streams import GAUGE_FIELDS
from analytics.windows import Batch, PathWindow, SeriesKey, SloCounts
from netslo import metrics
from netslo.model import Window
from netslo.route import RouteObservation

DELTA: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
_HEALTH: Final = frozenset(
    {
        metrics.SEND_LATENESS,
        metrics.SPOOL_BATCHES,
        metrics.SPOOL_HELD,
        metrics.DISCARDED,
        metrics.TRACES,
        metrics.CLOCK_ERROR,
        metrics.LACKS,
        metrics.TESTS,
        metrics.BUDGET,
        metrics.BUDGET_USED,
        metrics.FLOW_RTT,
        metrics.FLOW_LOSS,
        metrics.NOISE_FLOOR,
        metrics.CERTIFICATE_EXPIRY,
    }
)


class MalformedRequest(ValueError):
    """The octets are no OTLP metrics request; nothing of them was used."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may hold."""

    resources_max: int = 256
    metrics_max: int = 4096  # of all resources
    points_max: int = 100_000
    attributes_max: int = 32
    slos_per_series_max: int = 64
    told_max: int = 20_000  # routes and readings


@dataclass(frozen=True, slots=True)
class Rejection:
    """Data points that were refused, and why."""

    points: int
    reason: str


@dataclass(frozen=True, slots=True)
class HealthPoint:
    """The latest value of an instrument of a probe's own health."""

    name: str
    site: str
    instance: str
    attributes: tuple[tuple[str, str], ...]
    value: float


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a request said. Its points are in a batch, among the health points, or refused."""

    batches: tuple[Batch, ...]
    rejected: tuple[Rejection, ...]
    health: tuple[HealthPoint, ...]


def decode_request(body: bytes, limits: Limits | None = None) -> Decoded:
    """Read a request; any octets give either a result or `MalformedRequest`.

    A resource without instance and sequence, as other people's tools send it, becomes a batch
    identified by the digest of the body: sent again, it is recognised all the same.

    Raises:
        MalformedRequest: not protobuf, truncated, or nested too deeply.
    """
    limits = limits or Limits()
    try:
        request = ExportMetricsServiceRequest.FromString(body)
    except DecodeError as error:
        raise MalformedRequest("not an OTLP metrics request (protobuf)") from error
    reader = _Reader(limits, body)
    for number, resource in enumerate(request.resource_metrics):
        if number == limits.resources_max:
            reader.rejected["too many resources in one request"] += 1
            break
        reader.read(number, resource)
    rejected = tuple(Rejection(n, reason) for reason, n in sorted(reader.rejected.items()))
    return Decoded(reader.batches(), rejected, tuple(reader.health))


_Windows = dict[tuple[SeriesKey, Window], PathWindow]
_Identity = tuple[str, str, int]  # site, instance, sequence


@dataclass(slots=True)
class _Contents:
    """What is read of one batch."""

    windows: _Windows = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)


@dataclass(slots=True)
class _Reader:
    limits: Limits
    body: bytes
    points: int = 0
    metrics: int = 0
    told: int = 0
    digest: str = ""
    contents: dict[_Identity, _Contents] = field(default_factory=dict)
    health: list[HealthPoint] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)

    def batches(self) -> tuple[Batch, ...]:
        """Return what was read; resources of one identity are one batch."""
        return tuple(
            Batch(
                *identity,
                tuple(window for _, window in sorted(each.windows.items())),
                tuple(told for told in each.told if isinstance(told, RouteObservation)),
                tuple(told for told in each.told if isinstance(told, Reading)),
            )
            for identity, each in self.contents.items()
            if each.windows or each.told
        )

    def read(self, number: int, resource: ResourceMetrics) -> None:
        """Take in one resource: a batch of windows, and perhaps health points."""
        try:
            attributes = read_attributes(resource.resource.attributes, self.limits.attributes_max)
            site = read_site(attributes)
            speaker = read_text(attributes, metrics.ATTR_INSTANCE, default="")
            identity = (site, *self._identity(number, attributes))
        except Refused as refusal:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    self.rejected[str(refusal)] += max(1, len(data_points(metric)))
            return
        contents = self.contents.setdefault(identity, _Contents())
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                self._read_metric(metric, contents, site, speaker)

    def _identity(self, number: int, attributes: Mapping[str, Any]) -> tuple[str, int]:
        sequence = attributes.get(metrics.ATTR_SEQUENCE)
        if sequence is None:
            self.digest = self.digest or f"sha256:{hashlib.sha256(self.body).hexdigest()}"
            return self.digest, number
        if isinstance(sequence, bool) or not isinstance(sequence, int) or sequence < 0:
            raise Refused("netslo.batch.sequence is not a number from 0")
        instance = read_text(attributes, metrics.ATTR_INSTANCE)
        if not instance:  # probes without a name would take each other's batches for their own
            raise Refused(f"attribute {metrics.ATTR_INSTANCE} is empty")
        return instance, sequence

    def _read_metric(
        self,
        metric: Metric,
        contents: _Contents,
        site: str,
        instance: str,
    ) -> None:
        self.metrics += 1
        if self.metrics > self.limits.metrics_max:
            self.rejected["too many metrics in one request"] += 1
            return
        points = data_points(metric)
        self.points += len(points)
        if self.points > self.limits.points_max:
            self.rejected["too many data points in one request"] += len(points)
            return
        if metric.name in _HEALTH:
            self._read_health(metric, points, site, instance)
            return
        for point in points:
            try:
                if is_now_and_then(metric.name):
                    contents.told.append(self._read_told(metric, point))
                else:
                    self._read_point(metric, point, contents.windows)
            except Refused as refusal:
                self.rejected[str(refusal)] += 1
            except ValueError as error:  # of a histogram that contradicts itself
                self.rejected[f"histogram: {without_numbers(str(error))}"] += 1

    def _read_point(self, metric: Metric, point: Any, windows: _Windows) -> None:
        read = _READERS.get(metric.name)
        if read is None:
            raise Refused("unknown metric")
        kind = INSTRUMENTS[metric.name].kind
        if metric.WhichOneof("data") != kind:
            raise Refused(f"{metric.name} is not of type {kind}")
        if kind != GAUGE and getattr(metric, kind).aggregation_temporality != DELTA:
            raise Refused("only delta temporality adds up; cumulative is refused")
        attributes = read_attributes(point.attributes, self.limits.attributes_max)
        key, window = read_series(attributes), read_window(point)
        place = windows.get((key, window)) or PathWindow(key, window)
        read(place, metric.name, point, attributes, self.limits)
        windows[(key, window)] = place

    def _read_told(self, metric: Metric, point: Any) -> Told:
        if self.told >= self.limits.told_max:
            raise Refused("too many routes and readings in one request")
        self.told += 1
        return read_told(metric, point, self.limits.attributes_max)

    def _read_health(self, metric: Metric, points: Iterable[Any], site: str, instance: str) -> None:
        for point in points:
            try:
                attributes = read_attributes(point.attributes, self.limits.attributes_max)
                value = read_health_value(metric.WhichOneof("data"), point)
            except Refused as refusal:
                self.rejected[str(refusal)] += 1
                continue
            labels = tuple(sorted((k, str(v)[:TEXT_MAX]) for k, v in attributes.items()))
            self.health.append(HealthPoint(metric.name, site, instance, labels, value))


def _read_sketch(
    place: PathWindow, name: str, point: Any, attributes: Mapping[str, Any], _: Limits
) -> None:
    key = sketch_subject(name, attributes)
    sketch = read_point(point)
    known = place.sketches.get(key)
    if known is None:
        place.sketches[key] = sketch
        return
    _added(_values(known), _values(sketch))  # counters of 64 bits must not wrap
    known.merge(sketch)


def _added(counted: int, more: int) -> int:
    """Add two counts of one window, which a flood of large points must not make endless."""
    if counted + more > COUNT_MAX:
        raise Refused("a count is larger than 2**53")
    return counted + more


def _values(sketch: Sketch) -> int:
    """Return the number of values of any kind."""
    specials = sketch.nan_count + sketch.positive_infinity_count + sketch.negative_infinity_count
    return sketch.count + specials


def _read_packets(
    place: PathWindow, name: str, point: Any, attributes: Mapping[str, Any], _: Limits
) -> None:
    count, field = read_count(point), packets_subject(name, attributes).field
    setattr(place.packets, field, _added(getattr(place.packets, field), count))


def _read_other_count(
    place: PathWindow, name: str, point: Any, attributes: Mapping[str, Any], _: Limits
) -> None:
    key, count = count_subject(name, attributes), read_count(point)
    place.counts[key] = _added(place.counts[key], count)


def _read_slo_events(
    place: PathWindow, name: str, point: Any, attributes: Mapping[str, Any], limits: Limits
) -> None:
    subject = events_subject(name, attributes)
    slo = subject.slo
    if slo not in place.slo and len(place.slo) >= limits.slos_per_series_max:
        raise Refused("too many objectives on one path")
    count = read_count(point)
    counts = place.slo.setdefault(slo, SloCounts())
    setattr(counts, subject.field, _added(getattr(counts, subject.field), count))


def _read_gauge(
    place: PathWindow, name: str, point: Any, attributes: Mapping[str, Any], _: Limits
) -> None:
    value = read_number(point)
    if value < 0 and name not in SIGNED:
        raise Refused(f"{name} is negative")
    setattr(place, GAUGE_FIELDS[gauge_subject(name, attributes)], value)


_Read = Callable[[PathWindow, str, Any, Mapping[str, Any], Limits], None]
_READERS: Final[Mapping[str, _Read]] = {
    **{name: _read_sketch for name, it in INSTRUMENTS.items() if it.kind == HISTOGRAM},
    **dict.fromkeys(COUNTS, _read_other_count),
    **dict.fromkeys(GAUGES, _read_gauge),
    metrics.PACKETS: _read_packets,
    metrics.DUPLICATES: _read_packets,
    metrics.REORDERED: _read_packets,
    metrics.SLO_EVENTS: _read_slo_events,
}
