"""Observations of routes as data points of `network.path.hops`.

A point's value is the number of hops, its time when the trace ended. Its attributes name the path
as every series', and tell the rest: flow, protocol, fingerprint, reached, hops (texts, as `Hop`
writes them), path_mtu where it is known, and of a change what the route was before.
"""

from __future__ import annotations

from collections.abc import Iterator

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from netslo import metrics
from netslo.route import HOPS_MAX, Hop, RouteObservation


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
