"""OTLP requests from the network: every number checked, every refusal counted with its reason."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Metric,
    ResourceMetrics,
)

from analytics.otlp.histogram import read_point
from analytics.windows import Batch, PathWindow, SeriesKey, SketchKey, SloCounts
from netslo import metrics
from netslo.model import (
    NS_PER_S,
    WINDOW_S,
    Outcome,
    Path,
    ProbeKind,
    Quality,
    Window,
    is_name,
)

DELTA: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
_TIME_S_MAX: Final = 2**33  # the year 2242: beyond it, a time is a mistake
_COUNT_MAX: Final = 2**53
_TEXT_MAX: Final = 200
_DIRECTIONS: Final = ("forward", "reverse")
_HEALTH: Final = frozenset(
    {metrics.SEND_LATENESS, metrics.SPOOL_BATCHES, metrics.DISCARDED, metrics.CLOCK_ERROR}
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


class _Refused(ValueError):
    """One data point cannot be used; the message is the reason, without values that vary."""


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
class _Reader:
    limits: Limits
    body: bytes
    points: int = 0
    metrics: int = 0
    digest: str = ""
    windows: dict[_Identity, _Windows] = field(default_factory=dict)
    health: list[HealthPoint] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)

    def batches(self) -> tuple[Batch, ...]:
        """Return what was read; resources of one identity are one batch."""
        return tuple(
            Batch(*identity, tuple(window for _, window in sorted(windows.items())))
            for identity, windows in self.windows.items()
            if windows
        )

    def read(self, number: int, resource: ResourceMetrics) -> None:
        """Take in one resource: a batch of windows, and perhaps health points."""
        try:
            attributes = _attributes(resource.resource.attributes, self.limits)
            site = _site(attributes)
            speaker = _text(attributes, metrics.ATTR_INSTANCE, default="")
            identity = (site, *self._identity(number, attributes))
        except _Refused as refusal:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    self.rejected[str(refusal)] += max(1, len(_points(metric)))
            return
        windows = self.windows.setdefault(identity, {})
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                self._read_metric(metric, windows, site, speaker)

    def _identity(self, number: int, attributes: Mapping[str, Any]) -> tuple[str, int]:
        sequence = attributes.get(metrics.ATTR_SEQUENCE)
        if sequence is None:
            self.digest = self.digest or f"sha256:{hashlib.sha256(self.body).hexdigest()}"
            return self.digest, number
        if not isinstance(sequence, int) or sequence < 0:
            raise _Refused("netslo.batch.sequence is not a number from 0")
        return _text(attributes, metrics.ATTR_INSTANCE), sequence

    def _read_metric(
        self,
        metric: Metric,
        windows: _Windows,
        site: str,
        instance: str,
    ) -> None:
        self.metrics += 1
        if self.metrics > self.limits.metrics_max:
            self.rejected["too many metrics in one request"] += 1
            return
        points = _points(metric)
        self.points += len(points)
        if self.points > self.limits.points_max:
            self.rejected["too many data points in one request"] += len(points)
            return
        if metric.name in _HEALTH:
            self._read_health(metric, points, site, instance)
            return
        for point in points:
            try:
                self._read_point(metric, point, windows)
            except _Refused as refusal:
                self.rejected[str(refusal)] += 1
            except ValueError as error:  # of a histogram that contradicts itself
                self.rejected[f"histogram: {_first_words(str(error))}"] += 1

    def _read_point(self, metric: Metric, point: Any, windows: _Windows) -> None:
        reader = _READERS.get(metric.name)
        if reader is None:
            raise _Refused("unknown metric")
        kind, read = reader
        if metric.WhichOneof("data") != kind:
            raise _Refused(f"{metric.name} is not of type {kind}")
        if kind != "gauge" and getattr(metric, kind).aggregation_temporality != DELTA:
            raise _Refused("only delta temporality adds up; cumulative is refused")
        attributes = _attributes(point.attributes, self.limits)
        key, window = _series(attributes), _window(point)
        place = windows.get((key, window)) or PathWindow(key, window)
        read(place, metric.name, point, attributes, self.limits)
        windows[(key, window)] = place

    def _read_health(self, metric: Metric, points: Iterable[Any], site: str, instance: str) -> None:
        for point in points:
            try:
                attributes = _attributes(point.attributes, self.limits)
                value = _health_value(metric.WhichOneof("data"), point)
            except _Refused as refusal:
                self.rejected[str(refusal)] += 1
                continue
            labels = tuple(sorted((k, str(v)[:_TEXT_MAX]) for k, v in attributes.items()))
            self.health.append(HealthPoint(metric.name, site, instance, labels, value))


def _read_sketch(
    place: PathWindow, name: str, point: Any, attributes: Mapping[str, Any], _: Limits
) -> None:
    quality = _member(Quality, attributes, metrics.ATTR_QUALITY, default=Quality.C)
    direction = _text(attributes, metrics.ATTR_DIRECTION, default="")
    if (name == metrics.DELAY) != (direction in _DIRECTIONS):
        raise _Refused(f"direction {'missing' if name == metrics.DELAY else 'not expected'}")
    key = SketchKey(name, quality, direction)
    sketch = read_point(point)
    if key in place.sketches:
        place.sketches[key].merge(sketch)
    else:
        place.sketches[key] = sketch


def _read_packets(
    place: PathWindow, name: str, point: Any, attributes: Mapping[str, Any], _: Limits
) -> None:
    count = _count(point)
    if name == metrics.DUPLICATES:
        place.packets.duplicates += count
    elif name == metrics.REORDERED:
        place.packets.reordered += count
    else:
        outcome = _member(Outcome, attributes, metrics.ATTR_OUTCOME)
        current = getattr(place.packets, outcome.value)
        setattr(place.packets, outcome.value, current + count)


def _read_slo_events(
    place: PathWindow, _name: str, point: Any, attributes: Mapping[str, Any], limits: Limits
) -> None:
    slo, result = _text(attributes, metrics.ATTR_SLO), _text(attributes, metrics.ATTR_RESULT)
    if not is_name(slo):
        raise _Refused("slo is not an objective's name")
    if result not in ("good", "bad", "unmeasured"):
        raise _Refused("result is not good, bad or unmeasured")
    if slo not in place.slo and len(place.slo) >= limits.slos_per_series_max:
        raise _Refused("too many objectives on one path")
    count = _count(point)
    counts = place.slo.setdefault(slo, SloCounts())
    setattr(counts, result, getattr(counts, result) + count)


def _read_interarrival_jitter(
    place: PathWindow, _name: str, point: Any, _attributes: Mapping[str, Any], _: Limits
) -> None:
    value = _number(point)
    if value < 0:
        raise _Refused("jitter is negative")
    place.interarrival_jitter_s = value


_Read = Callable[[PathWindow, str, Any, Mapping[str, Any], Limits], None]
_READERS: Final[Mapping[str, tuple[str, _Read]]] = {
    metrics.RTT: ("exponential_histogram", _read_sketch),
    metrics.DELAY: ("exponential_histogram", _read_sketch),
    metrics.JITTER: ("exponential_histogram", _read_sketch),
    metrics.PACKETS: ("sum", _read_packets),
    metrics.DUPLICATES: ("sum", _read_packets),
    metrics.REORDERED: ("sum", _read_packets),
    metrics.SLO_EVENTS: ("sum", _read_slo_events),
    metrics.INTERARRIVAL_JITTER: ("gauge", _read_interarrival_jitter),
}


def _points(metric: Metric) -> Any:
    kind = metric.WhichOneof("data")
    return () if kind is None else getattr(metric, kind).data_points


def _attributes(pairs: Iterable[KeyValue], limits: Limits) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        if len(found) >= limits.attributes_max:
            raise _Refused("too many attributes")
        kind = pair.value.WhichOneof("value")
        if kind in ("string_value", "int_value", "bool_value", "double_value"):
            found[pair.key] = getattr(pair.value, kind)
    return found


def _text(attributes: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = attributes.get(key, default)
    if not isinstance(value, str):
        raise _Refused(f"attribute {key} is missing or no text")
    if len(value) > _TEXT_MAX:
        raise _Refused(f"attribute {key} is too long")
    return value


def _site(attributes: Mapping[str, Any]) -> str:
    """Return the site that speaks; other people's tools name none."""
    site = _text(attributes, metrics.ATTR_SITE, default="")
    if site and not is_name(site):
        raise _Refused("netslo.site is not a site's name")
    return site


def _member(enum: Any, attributes: Mapping[str, Any], key: str, default: Any = None) -> Any:
    try:
        return enum(_text(attributes, key, default))
    except _Refused:
        raise
    except ValueError:
        raise _Refused(f"attribute {key} is none of {', '.join(enum)}") from None


def _series(attributes: Mapping[str, Any]) -> SeriesKey:
    src, dst = _text(attributes, metrics.ATTR_SRC), _text(attributes, metrics.ATTR_DST)
    traffic_class = _text(attributes, metrics.ATTR_CLASS)
    if not (is_name(src) and is_name(dst) and is_name(traffic_class)):
        raise _Refused("src_site, dst_site or class is not a name")
    probe = _member(ProbeKind, attributes, metrics.ATTR_PROBE, default=ProbeKind.STAMP)
    return SeriesKey(Path(src, dst, traffic_class), probe)


def _window(point: Any) -> Window:
    """Return the window of a point: whole, aligned, 10 s; a gauge of others may lack its start."""
    end_ns, start_ns = point.time_unix_nano, point.start_time_unix_nano
    if not 0 < end_ns <= _TIME_S_MAX * NS_PER_S or start_ns >= end_ns:
        raise _Refused("time is missing, or does not lie after the start")
    if not start_ns:
        return Window.containing(end_ns - 1)
    window = Window.containing(start_ns)
    if end_ns > window.end_s * NS_PER_S:
        raise _Refused(f"the point spans more than one {WINDOW_S} s window")
    return window


def _number(point: Any) -> float:
    kind = point.WhichOneof("value")
    value = float(getattr(point, kind)) if kind else math.nan
    if not math.isfinite(value):
        raise _Refused("value is missing or not finite")
    return value


def _count(point: Any) -> int:
    value = _number(point)
    if value < 0 or value != int(value) or value > _COUNT_MAX:
        raise _Refused("count is not a whole number from 0")
    return int(value)


def _health_value(kind: str | None, point: Any) -> float:
    if kind in ("sum", "gauge"):
        return _number(point)
    if kind in ("histogram", "exponential_histogram"):
        value = float(point.max) if point.HasField("max") else math.nan
        if math.isfinite(value):
            return value
    raise _Refused("health value is missing or not finite")


def _first_words(text: str) -> str:
    """Return a message without its numbers, so that reasons stay few."""
    return " ".join(word for word in text.split() if not any(c.isdigit() for c in word))[:_TEXT_MAX]
