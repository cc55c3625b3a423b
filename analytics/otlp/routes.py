"""Observations of routes as data points of `network.path.hops`.

A point's value is the number of hops, its time when the trace ended. Its attributes name the path
as every series', and tell the rest: flow, protocol, fingerprint, reached, hops (texts, as `Hop`
writes them), path_mtu where it is known, and of a change what the route was before.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from analytics.otlp.fields import (
    Refused,
    read_count,
    read_member,
    read_path,
    read_text,
    read_time_ns,
    without_numbers,
)
from netslo import metrics
from netslo.route import FLOWS_MAX, HOPS_MAX, Hop, Route, RouteObservation, TraceProtocol

_MTU_MIN: Final = 68  # RFC 791
_MTU_MAX: Final = 2**16  # of a loopback
_HOPS_KNOWN: Final = 16_384  # routers of a large estate, told of again and again


@functools.lru_cache(_HOPS_KNOWN)
def known_hop(text: str) -> Hop:
    """Read a hop, once for all who meet it; raises as `Hop.parse` does."""
    return Hop.parse(text)


def write_route(metric: Metric, seen: RouteObservation) -> None:
    """Add an observation to the metric `network.path.hops`."""
    point = metric.gauge.data_points.add()
    point.time_unix_nano = seen.seen_ns
    point.as_int = len(seen.route.hops)
    point.attributes.extend(KeyValue(key=k, value=v) for k, v in _attributes(seen))


def _attributes(seen: RouteObservation) -> Iterator[tuple[str, AnyValue]]:
    path, route = seen.path, seen.route
    yield metrics.ATTR_SRC, AnyValue(string_value=path.src)
    yield metrics.ATTR_DST, AnyValue(string_value=path.dst)
    yield metrics.ATTR_CLASS, AnyValue(string_value=path.traffic_class)
    yield metrics.ATTR_PROBE, AnyValue(string_value=metrics.PROBE_TRACE)
    yield metrics.ATTR_FLOW, AnyValue(int_value=route.flow)
    yield metrics.ATTR_PROTOCOL, AnyValue(string_value=route.protocol.value)
    yield metrics.ATTR_FINGERPRINT, AnyValue(string_value=route.fingerprint)
    yield metrics.ATTR_REACHED, AnyValue(bool_value=route.reached)
    yield metrics.ATTR_HOPS, _texts(route.hops)
    if route.path_mtu is not None:
        yield metrics.ATTR_PATH_MTU, AnyValue(int_value=route.path_mtu)
    if seen.previous is not None and seen.previous_seen_ns is not None:
        yield metrics.ATTR_PREVIOUS_HOPS, _texts(seen.previous.hops)
        fingerprint = seen.previous.fingerprint
        yield metrics.ATTR_PREVIOUS_FINGERPRINT, AnyValue(string_value=fingerprint)
        yield metrics.ATTR_PREVIOUS_SEEN, AnyValue(int_value=seen.previous_seen_ns)


def _texts(hops: tuple[Hop, ...]) -> AnyValue:
    texts = [AnyValue(string_value=str(hop)) for hop in hops[:HOPS_MAX]]
    return AnyValue(array_value=ArrayValue(values=texts))


def read_route(name: str, point: Any, attributes: Mapping[str, Any]) -> RouteObservation:
    """Read a data point, whose attributes without lists are given.

    Raises:
        Refused: it cannot be used.
    """
    hops = _read_hops(point.attributes, metrics.ATTR_HOPS)
    if hops is None:
        raise Refused(f"attribute {metrics.ATTR_HOPS} is missing or no list")
    if read_count(point) != len(hops):
        raise Refused(f"{name} is not the number of its hops")
    reached = attributes.get(metrics.ATTR_REACHED)
    if not isinstance(reached, bool):
        raise Refused(f"attribute {metrics.ATTR_REACHED} is missing or no boolean")
    mtu = None
    if metrics.ATTR_PATH_MTU in attributes:
        mtu = _read_whole(attributes, metrics.ATTR_PATH_MTU, _MTU_MIN, _MTU_MAX)
    route = Route(
        _read_whole(attributes, metrics.ATTR_FLOW, 0, FLOWS_MAX - 1),
        read_member(TraceProtocol, attributes, metrics.ATTR_PROTOCOL),
        hops,
        reached,
        mtu,
    )
    if read_text(attributes, metrics.ATTR_FINGERPRINT) != route.fingerprint:
        raise Refused(f"attribute {metrics.ATTR_FINGERPRINT} is not that of the hops")
    path, seen_ns = read_path(attributes), read_time_ns(point)
    return RouteObservation(
        path, route, seen_ns, *_read_previous(route, seen_ns, point, attributes)
    )


def _read_previous(
    route: Route, seen_ns: int, point: Any, attributes: Mapping[str, Any]
) -> tuple[Route, int] | tuple[None, None]:
    hops = _read_hops(point.attributes, metrics.ATTR_PREVIOUS_HOPS)
    if hops is None:
        if metrics.ATTR_PREVIOUS_FINGERPRINT in attributes:
            raise Refused(f"attribute {metrics.ATTR_PREVIOUS_HOPS} is missing or no list")
        return None, None
    fingerprint = read_text(attributes, metrics.ATTR_PREVIOUS_FINGERPRINT)
    for reached in (True, False):  # only the fingerprint says which
        previous = Route(route.flow, route.protocol, hops, reached)
        if previous.fingerprint == fingerprint:
            return previous, _read_whole(attributes, metrics.ATTR_PREVIOUS_SEEN, 1, seen_ns)
    raise Refused(f"attribute {metrics.ATTR_PREVIOUS_FINGERPRINT} is not that of the hops")


def _read_whole(attributes: Mapping[str, Any], key: str, least: int, most: int) -> int:
    value = attributes.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        bounds = f"from {least} to {most}" if most <= _MTU_MAX else "before the point's time"
        raise Refused(f"attribute {key} is missing or no whole number {bounds}")
    return value


def _read_hops(pairs: Iterable[KeyValue], key: str) -> tuple[Hop, ...] | None:
    for pair in pairs:
        if pair.key == key and pair.value.WhichOneof("value") == "array_value":
            values = pair.value.array_value.values
            if len(values) > HOPS_MAX:
                raise Refused(f"attribute {key} has more than {HOPS_MAX} hops")
            return tuple(_read_hop(value, key) for value in values)
    return None


def _read_hop(value: Any, key: str) -> Hop:
    if value.WhichOneof("value") != "string_value":
        raise Refused(f"attribute {key} is no list of texts")
    try:
        return known_hop(value.string_value)
    except ValueError as error:
        raise Refused(f"attribute {key}: {_reason(error)}") from None


def _reason(error: ValueError) -> str:
    """Return what is wrong with a hop, without what varies."""
    text = str(error)
    return without_numbers(text) if text.startswith(("hop ", "label ")) else "hop has no address"
