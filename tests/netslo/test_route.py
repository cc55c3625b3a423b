"""Routes: their text, their fingerprints, and when two are the same."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from analytics.otlp import encode_batch
from analytics.windows import Batch
from netslo import metrics
from netslo.model import Path
from netslo.route import (
    HOP_TEXT_MAX,
    Hop,
    Label,
    Route,
    RouteObservation,
    TraceProtocol,
    same_route,
)

LABELS = st.builds(
    Label,
    st.integers(0, (1 << 20) - 1),
    st.integers(0, 7),
    st.booleans(),
    st.integers(0, 255),
)
ADDRESSES = st.one_of(
    st.none(),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).filter(lambda each: each.ipv4_mapped is None).map(str),
)
HOPS = st.builds(Hop, ADDRESSES, st.lists(LABELS, max_size=3).map(tuple))
ROUTES = st.builds(
    Route,
    st.just(0),
    st.sampled_from(TraceProtocol),
    st.lists(HOPS, max_size=12).map(tuple),
    st.booleans(),
)

busy = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def route(*hops: str, reached: bool = True) -> Route:
    return Route(0, TraceProtocol.UDP, tuple(map(Hop.parse, hops)), reached)


@busy
@given(HOPS)
def test_a_hop_is_read_back_from_its_text(hop: Hop) -> None:
    assert len(str(hop)) <= HOP_TEXT_MAX
    assert Hop.parse(str(hop)) == hop


@busy
@given(st.text(max_size=200))
def test_any_text_is_a_hop_or_refused(text: str) -> None:
    try:
        hop = Hop.parse(text)
    except ValueError:
        return
    assert str(hop) == text
    assert hop.address is None or ipaddress.ip_address(hop.address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "router",
        "10.0.0.1 ",
        "10.0.0.1[L=1,E=0,S=1,T=1]",
        "10.0.0.1 [L=1048576,E=0,S=1,T=1]",
        "10.0.0.1 [L=1,E=0,S=1,T=256]",
        "10.0.0.1 [L=1,E=8,S=1,T=1]",
        "fd00:0::1",
        "* " + "[L=1,E=0,S=1,T=1]" * 4,
    ],
)
def test_what_no_hop_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"hop|address|label"):
        Hop.parse(text)


def test_unknown_hops_match_any_and_nothing_else_does() -> None:
    known = route("10.0.0.1", "10.0.1.1", "10.0.2.1")
    assert same_route(known, route("10.0.0.1", "*", "10.0.2.1"))
    assert not same_route(known, route("10.0.0.1", "10.0.9.1", "10.0.2.1"))
    assert not same_route(known, route("10.0.0.1", "10.0.2.1"))
    assert not same_route(known, route("10.0.0.1", "10.0.1.1", "10.0.2.1", reached=False))
    assert not same_route(known, route("10.0.0.1", "10.0.1.1 [L=16001,E=0,S=1,T=1]", "10.0.2.1"))


def test_a_route_that_ends_in_silence_may_go_on() -> None:
    short, longer = route("10.0.0.1", reached=False), route("10.0.0.1", "10.0.1.1", reached=False)
    assert same_route(short, longer)
    assert not same_route(route("10.0.9.1", reached=False), longer)


def test_labels_differ_by_their_value_alone() -> None:
    a, b = route("10.0.0.1 [L=16,E=0,S=1,T=1]"), route("10.0.0.1 [L=16,E=5,S=1,T=9]")
    assert same_route(a, b)
    assert a.fingerprint == b.fingerprint
    assert a.fingerprint != route("10.0.0.1 [L=17,E=0,S=1,T=1]").fingerprint


@busy
@given(ROUTES, ROUTES)
def test_sameness_is_mutual_and_equal_hops_have_one_fingerprint(a: Route, b: Route) -> None:
    assert same_route(a, a)
    assert same_route(a, b) == same_route(b, a)
    assert len(a.fingerprint) == 16
    assert (a.fingerprint == b.fingerprint) == (
        [hop.key for hop in a.hops] == [hop.key for hop in b.hops] and a.reached == b.reached
    )


@busy
@given(ROUTES, st.data())
def test_what_was_known_completes_what_is_seen(known: Route, data: st.DataObject) -> None:
    hidden = data.draw(st.sets(st.integers(0, max(0, len(known.hops) - 1))))
    hops = tuple(Hop(None) if i in hidden else hop for i, hop in enumerate(known.hops))
    seen = replace(known, hops=hops)
    assert same_route(seen, known)
    assert [x.address for x in seen.completed(known).hops] == [x.address for x in known.hops]


def test_an_observation_is_one_data_point() -> None:
    path = Path("london", "leeds", "voice")
    before, now = route("10.0.0.1", "10.0.1.1"), route("10.0.0.1", "*", "10.0.2.1")
    now = replace(now, flow=3, path_mtu=1400)
    seen = RouteObservation(path, now, 1_700_000_000_000_000_000, before, 1_699_999_000_000_000_000)
    body = encode_batch(Batch("london", "one", 0, (), (seen,)))
    request = ExportMetricsServiceRequest.FromString(body)
    (metric,) = request.resource_metrics[0].scope_metrics[0].metrics
    (point,) = metric.gauge.data_points
    assert (metric.name, metric.unit) == ("network.path.hops", "{hop}")
    assert (point.as_int, point.time_unix_nano) == (3, 1_700_000_000_000_000_000)
    told = {pair.key: pair.value for pair in point.attributes}
    assert told[metrics.ATTR_PROBE].string_value == "trace"
    assert told[metrics.ATTR_PROTOCOL].string_value == "udp"
    assert (told[metrics.ATTR_FLOW].int_value, told[metrics.ATTR_PATH_MTU].int_value) == (3, 1400)
    assert told[metrics.ATTR_REACHED].bool_value
    assert told[metrics.ATTR_FINGERPRINT].string_value == now.fingerprint
    assert told[metrics.ATTR_PREVIOUS_FINGERPRINT].string_value == before.fingerprint
    assert told[metrics.ATTR_PREVIOUS_SEEN].int_value == 1_699_999_000_000_000_000
    texts = [value.string_value for value in told[metrics.ATTR_HOPS].array_value.values]
    assert texts == ["10.0.0.1", "*", "10.0.2.1"]
    earlier = [v.string_value for v in told[metrics.ATTR_PREVIOUS_HOPS].array_value.values]
    assert earlier == ["10.0.0.1", "10.0.1.1"]
