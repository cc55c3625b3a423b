"""Routes and capacity at the collector's door: both ways of reading, and every refusal."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from some_routes import (
    MPLS,
    A,
    C,
    any_value,
    make_change,
    make_loaded,
    make_reading,
    make_seen,
    request_of,
)
from some_windows import T0, make_batch, make_window

from analytics import _kernels
from analytics.otlp import decode_request, encode_batch
from analytics.otlp.decode import Limits
from analytics.otlp.frames import FrameReader
from analytics.streams import Streams

ALL_KINDS = [
    make_seen(hops=(A, "*", MPLS, "2001:db8::1"), flow=15, protocol="icmp"),
    make_seen(T0 + 1, hops=(), reached=False, path_mtu=None),
    make_change(T0 + 2, before=(A, "*"), hops=(A, C), protocol="tcp"),
    make_reading(T0 + 3.5, 123456789.25, direction="reverse", method="iperf3"),
    make_loaded(T0 + 4, 0.025, state="idle", quantile="0.5"),
]


def fast_reader() -> FrameReader:
    return FrameReader(Streams(), lambda _site, _series, _about: True)


def test_the_careful_way_reads_what_was_sent() -> None:
    window = make_window()
    decoded = decode_request(request_of(*ALL_KINDS, windows=[window]))
    assert not decoded.rejected
    (batch,) = decoded.batches
    assert list(batch.told) == ALL_KINDS
    assert [w.window for w in batch.windows] == [window.window]


@pytest.mark.skipif(not _kernels.load(), reason="numba is not installed")
class TestFastWay:
    def test_it_reads_points_beside_windows(self) -> None:
        windows = [make_window(T0), make_window(T0 + 10)]
        body = request_of(*ALL_KINDS, windows=windows)
        received = fast_reader().read(body)
        (batch,) = decode_request(body).batches
        assert received is not None
        assert received.told == batch.told
        assert received.frame.points == len(windows) * 5

    def test_it_reads_points_alone(self) -> None:
        received = fast_reader().read(request_of(*ALL_KINDS))
        assert received is not None
        assert len(received.told) == len(ALL_KINDS)
        assert not received.frame.points

    def test_a_kept_body_is_read_again_without_its_points(self) -> None:
        body = request_of(*ALL_KINDS, windows=[make_window()])
        again = fast_reader().read_again(body)
        assert again is not None
        assert again.frame.points == 5

    def test_other_metrics_of_paths_are_left_to_the_careful_way(self) -> None:
        body = request_of(ALL_KINDS[0], windows=[make_window()])
        request = ExportMetricsServiceRequest.FromString(body)
        metrics = request.resource_metrics[0].scope_metrics[0].metrics
        metrics.add(name="network.path.colour").gauge.data_points.add(as_int=1)
        octets = request.SerializeToString()
        assert fast_reader().read(octets) is None
        assert [r.reason for r in decode_request(octets).rejected] == ["unknown metric"]

    @settings(deadline=None, max_examples=300)
    @given(st.data())
    def test_damage_never_says_anything_else_than_the_careful_way(self, data) -> None:
        octets = bytearray(request_of(*ALL_KINDS, windows=[make_window()]))
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(octets) - 1))
            octets[at] = data.draw(st.integers(0, 255))
        fast = fast_reader().read(bytes(octets))
        if fast is not None:
            decoded = decode_request(bytes(octets))
            assert not decoded.rejected
            assert sorted(map(repr, fast.told)) == sorted(
                repr(told) for batch in decoded.batches for told in batch.told
            )


def change_attribute(key, value):
    def edit(data) -> None:
        kept = [pair for pair in data.attributes if pair.key != key]
        del data.attributes[:]
        data.attributes.extend(kept)
        if value is not None:
            data.attributes.append(KeyValue(key=key, value=any_value(value)))

    return edit


SEEN, CHANGE = make_seen(), make_change()
READING, LOADED = make_reading(), make_loaded()
REFUSED = [
    (SEEN, "flow", 16, "attribute flow is missing or no whole number from 0 to 15"),
    (SEEN, "flow", -1, "attribute flow is missing or no whole number"),
    (SEEN, "flow", True, "attribute flow is missing or no whole number"),
    (SEEN, "flow", "1", "attribute flow is missing or no whole number"),
    (SEEN, "flow", None, "attribute flow is missing or no whole number"),
    (SEEN, "protocol", "sctp", "attribute protocol is none of icmp, udp, tcp"),
    (SEEN, "probe", "stamp", "attribute probe of network.path.hops is not trace"),
    (SEEN, "fingerprint", "0" * 16, "attribute fingerprint is not that of the hops"),
    (SEEN, "fingerprint", None, "attribute fingerprint is missing or no text"),
    (SEEN, "reached", False, "attribute fingerprint is not that of the hops"),
    (SEEN, "reached", 1, "attribute reached is missing or no boolean"),
    (SEEN, "path_mtu", 67, "attribute path_mtu is missing or no whole number from 68"),
    (SEEN, "path_mtu", 2**40, "attribute path_mtu is missing or no whole number from 68"),
    (SEEN, "src_site", "London", "src_site, dst_site or class is not a name"),
    (SEEN, "hops", None, "attribute hops is missing or no list"),
    (SEEN, "hops", "10.0.0.1", "attribute hops is missing or no list"),
    (SEEN, "hops", [1, 2], "attribute hops is no list of texts"),
    (SEEN, "hops", [A], "network.path.hops is not the number of its hops"),
    (SEEN, "hops", [A, "router"], "attribute hops: hop has no address"),
    (SEEN, "hops", [A, ""], "attribute hops: hop has no address"),
    (SEEN, "hops", [A, "fe80::1%\x07"], "attribute hops: hop has other characters than printable"),
    (SEEN, "hops", [A, "1" * 129], "attribute hops: hop has N characters, at most N"),
    (SEEN, "hops", ["*"] * 65, "attribute hops has more than 64 hops"),
    (SEEN, "hops", [A, A + " [L=1]"], "attribute hops: hop has labels not of the form"),
    (
        SEEN,
        "hops",
        [A, A + " [L=1048576,E=0,S=1,T=1]"],
        "attribute hops: label N with TTL N at most",
    ),
    (SEEN, "hops", [A, A + " "], "attribute hops: hop has labels not of the form"),
    (CHANGE, "previous_hops", None, "attribute previous_hops is missing or no list"),
    (CHANGE, "previous_hops", ["*"] * 65, "attribute previous_hops has more than 64 hops"),
    (CHANGE, "previous_fingerprint", "0" * 16, "previous_fingerprint is not that of the hops"),
    (CHANGE, "previous_fingerprint", None, "attribute previous_fingerprint is missing"),
    (CHANGE, "previous_seen", 2**62, "previous_seen is missing or no whole number before the"),
    (CHANGE, "previous_seen", None, "previous_seen is missing or no whole number before the"),
    (READING, "direction", "up", "attribute direction is none of forward, reverse"),
    (READING, "method", "ftp", "attribute method is none of train, tcp, iperf3"),
    (READING, "probe", "trace", "attribute probe of network.path.bandwidth is not bandwidth"),
    (LOADED, "state", "busy", "attribute state is none of idle, loaded"),
    (LOADED, "quantile", "0.9", "attribute quantile is none of 0.5, 0.99"),
]


@pytest.mark.parametrize(("point", "key", "value", "reason"), REFUSED)
def test_a_wrong_attribute_is_refused_by_name(point, key, value, reason) -> None:
    body = request_of(point, windows=[make_window()], edit=change_attribute(key, value))
    assert fast_reader().read(body) is None
    decoded = decode_request(body)
    (rejection,) = decoded.rejected
    assert rejection.points == 1
    assert reason in rejection.reason
    assert not decoded.batches[0].told
    assert len(decoded.batches[0].windows) == 1  # the rest is kept


@pytest.mark.parametrize(
    ("point", "value"),
    [
        (READING, -1.0),
        (READING, float("inf")),
        (READING, float("nan")),
        (READING, 1e16),
        (LOADED, -0.1),
        (LOADED, 4000.0),
        (SEEN, 1.5),
        (SEEN, 65.0),
    ],
)
def test_a_value_that_cannot_be_is_refused(point, value) -> None:
    body = request_of(point, edit=lambda data: setattr(data, "as_double", value))
    assert fast_reader().read(body) is None
    assert [r.points for r in decode_request(body).rejected] == [1]


@pytest.mark.parametrize("time_ns", [0, 2**64 - 1])
def test_a_time_that_cannot_be_is_refused(time_ns) -> None:
    body = request_of(SEEN, edit=lambda data: setattr(data, "time_unix_nano", time_ns))
    assert fast_reader().read(body) is None
    assert [r.reason for r in decode_request(body).rejected] == ["time is missing or out of range"]


def test_a_sum_is_no_gauge() -> None:
    request = ExportMetricsServiceRequest.FromString(request_of(SEEN))
    (metric,) = request.resource_metrics[0].scope_metrics[0].metrics
    points = list(metric.gauge.data_points)
    metric.sum.data_points.extend(points)
    body = request.SerializeToString()
    assert fast_reader().read(body) is None
    assert "is not of type gauge" in decode_request(body).rejected[0].reason


def test_points_of_one_request_are_bounded() -> None:
    body = request_of(*(make_seen(T0 + k) for k in range(5)))
    decoded = decode_request(body, Limits(told_max=3))
    assert len(decoded.batches[0].told) == 3
    assert [r.points for r in decoded.rejected] == [2]


@given(
    st.lists(
        st.builds(
            make_seen,
            st.integers(1, 10**6),
            hops=st.lists(st.sampled_from([A, "*", MPLS, "2001:db8::1"]), max_size=64),
            flow=st.integers(0, 15),
            protocol=st.sampled_from(["udp", "icmp", "tcp"]),
            reached=st.booleans(),
            path_mtu=st.one_of(st.none(), st.integers(68, 2**16)),
        ),
        max_size=3,
    ),
    st.sampled_from([(), ALL_KINDS[2:3]]),
    st.sampled_from([(), ALL_KINDS[3:]]),
)
def test_what_probes_encode_is_what_is_read(seen, changes, readings) -> None:
    batch = replace(make_batch(), routes=(*seen, *changes), readings=tuple(readings))
    decoded = decode_request(encode_batch(batch))
    assert not decoded.rejected
    assert decoded.batches == ((batch,) if batch.told else ())


def test_a_flood_of_metrics_of_paths_is_left_to_the_careful_way() -> None:
    piece = struct.pack("BB", 0x12, 15) + b"\x0a\x0dnetwork.path."
    assert fast_reader().read(b"\x0a\x00" + piece * 100) is None
