"""Routes and capacity figures, and requests that tell of them, for tests of any floor.

The requests are written by hand, field by field: a witness against the probes' own encoding.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from some_windows import PATHS, T0, make_batch

from analytics.otlp import encode_batch
from analytics.readings import Reading, Told
from analytics.windows import Batch
from netslo.model import Path
from netslo.route import Hop, Route, RouteObservation, TraceProtocol

A, B, C = "10.0.0.1", "10.0.1.1", "10.0.2.1"
MPLS = "10.0.3.1 [L=16001,E=0,S=1,T=1]"


def make_route(hops=(A, C), flow=0, protocol="udp", *, reached=True, path_mtu=1500) -> Route:
    found = tuple(map(Hop.parse, hops))
    return Route(flow, TraceProtocol(protocol), found, reached, path_mtu)


def make_seen(at_s: float = T0, path: Path = PATHS[0], **route: Any) -> RouteObservation:
    return RouteObservation(path, make_route(**route), _ns(at_s))


def make_change(
    at_s: float = T0, path: Path = PATHS[0], before=(A, C), hops=(B, C), **route: Any
) -> RouteObservation:
    after = make_route(hops, **route)
    previous = Route(after.flow, after.protocol, tuple(map(Hop.parse, before)), reached=True)
    return RouteObservation(path, after, _ns(at_s), previous, _ns(at_s - 60))


def make_reading(at_s: float = T0, value: float = 50e6, path: Path = PATHS[0], **more: Any):
    given = {"metric": "network.path.bandwidth", "direction": "forward", "method": "train"} | more
    return Reading(path, _ns(at_s), value=value, **given)


def make_loaded(at_s: float = T0, value: float = 0.02, state="loaded", quantile="0.99", **more):
    given = {"metric": "network.path.loaded_rtt", "state": state, "quantile": quantile} | more
    return make_reading(at_s, value, **given)


def batch_of(*told: Told, windows=(), site="london", **named: Any) -> Batch:
    """Return a batch that tells of windows, routes and readings."""
    return replace(
        make_batch(*windows, **named),
        site=site,
        routes=tuple(each for each in told if isinstance(each, RouteObservation)),
        readings=tuple(each for each in told if isinstance(each, Reading)),
    )


def request_of(*points: Told, windows=(), sequence=0, site="london", edit=None) -> bytes:
    """Return the request that tells of windows and points; `edit` gets each point's message."""
    batch = batch_of(windows=windows, sequence=sequence, site=site)
    request = ExportMetricsServiceRequest.FromString(encode_batch(batch))
    scope = request.resource_metrics[0].scope_metrics[0]
    for point in points:
        is_route = isinstance(point, RouteObservation)
        name = "network.path.hops" if is_route else point.metric
        metric = next((m for m in scope.metrics if m.name == name), None)
        if metric is None:
            metric = scope.metrics.add(name=name)
        data = metric.gauge.data_points.add(time_unix_nano=point.seen_ns)
        attributes = {
            "src_site": point.path.src,
            "dst_site": point.path.dst,
            "class": point.path.traffic_class,
        }
        if isinstance(point, RouteObservation):
            data.as_int = len(point.route.hops)
            attributes |= _of_route(point)
        else:
            data.as_double = point.value
            attributes |= {"probe": "bandwidth", "direction": point.direction}
            attributes |= {"method": point.method}
            if point.state:
                attributes |= {"state": point.state, "quantile": point.quantile}
        data.attributes.extend(KeyValue(key=k, value=any_value(v)) for k, v in attributes.items())
        if edit is not None:
            edit(data)
    octets: bytes = request.SerializeToString()
    return octets


def _ns(unix_s: float) -> int:
    return round(unix_s * 1000) * 10**6


def _of_route(seen: RouteObservation) -> dict[str, Any]:
    attributes = {
        "probe": "trace",
        "flow": seen.route.flow,
        "protocol": seen.route.protocol.value,
        "fingerprint": seen.route.fingerprint,
        "reached": seen.route.reached,
        "hops": [str(hop) for hop in seen.route.hops],
    }
    if seen.route.path_mtu is not None:
        attributes["path_mtu"] = seen.route.path_mtu
    if seen.previous is not None:
        attributes["previous_hops"] = [str(hop) for hop in seen.previous.hops]
        attributes["previous_fingerprint"] = seen.previous.fingerprint
        attributes["previous_seen"] = seen.previous_seen_ns
    return attributes


def any_value(value: Any) -> AnyValue:
    """Return a value as OTLP spells it."""
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case list():
            found = AnyValue()
            found.array_value.values.extend(map(any_value, value))
            if not value:
                found.array_value.SetInParent()
            return found
    return AnyValue(string_value=value)
