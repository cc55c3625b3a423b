"""Requests as columns against the careful way, on sound, odd and broken octets."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from some_windows import PATHS, T0, make_batch, make_window, windows

from analytics import _kernels
from analytics.frame import Frame
from analytics.otlp import MalformedRequest, decode_request, encode_batch
from analytics.otlp.frames import FrameReader
from analytics.otlp.keys import KeyTable
from analytics.sketch import Sketch
from analytics.streams import Streams
from analytics.windows import SketchKey
from netslo.metrics import RTT
from netslo.model import Quality

pytestmark = pytest.mark.skipif(not _kernels.load(), reason="numba is not installed")


def reader(streams: Streams | None = None) -> FrameReader:
    return FrameReader(
        Streams() if streams is None else streams, lambda _site, _series, _about: True
    )


def agree(body: bytes, fast: FrameReader, streams: Streams) -> bool:
    """Check that what the fast way says is what the careful one says; whether it said anything."""
    received = fast.read(body)
    if received is None:
        return False
    decoded = decode_request(body)
    assert not decoded.rejected
    assert not decoded.health
    (batch,) = decoded.batches
    identity = (received.site, received.instance, received.sequence)
    assert identity == (batch.site, batch.instance_id, batch.sequence)
    expected = Frame.of(batch.windows, streams).windows(streams)
    assert received.frame.windows(streams) == expected
    return True


def plain(window):
    """Return a window without counts of NaN and infinities, which take the careful way."""
    for sketch in window.sketches.values():
        sketch.nan_count = sketch.positive_infinity_count = sketch.negative_infinity_count = 0
    return window


@settings(deadline=None)
@given(st.lists(windows().map(plain), min_size=1, max_size=6))
def test_what_probes_send_is_plain(contents) -> None:
    distinct = {(w.key, w.window): w for w in contents}
    streams = Streams()
    assert agree(encode_batch(make_batch(*distinct.values())), reader(streams), streams)


@settings(deadline=None)
@given(st.lists(windows(), min_size=1, max_size=6))
def test_counts_of_nan_and_infinities_are_never_lost(contents) -> None:
    distinct = {(w.key, w.window): w for w in contents}
    body = encode_batch(make_batch(*distinct.values()))
    streams = Streams()
    agree(body, reader(streams), streams)
    again = reader(streams).read_again(body).frame.windows(streams)
    assert again == Frame.of(distinct.values(), streams).windows(streams)


def test_known_attributes_are_known_by_their_octets() -> None:
    streams = Streams()
    fast = reader(streams)
    for k in range(3):
        batch = make_batch(*(make_window(T0 + 10 * k, path) for path in PATHS), sequence=k)
        assert agree(encode_batch(batch), fast, streams)
    assert len(streams) == 3 * 5  # rtt, answered, good, bad and jitter of each path


def test_many_keys_are_told_apart() -> None:
    streams = Streams()
    fast = reader(streams)
    contents = []
    for k in range(3000):
        window = make_window(path=PATHS[0], rtts=())
        window.slo = {f"slo{k}": window.slo["latency"]}
        contents.append(window)
    for k in range(0, 3000, 60):
        body = encode_batch(make_batch(*contents[k : k + 60], sequence=k))
        assert fast.read(body) is not None
        assert agree(body, fast, streams)


def test_what_is_not_known_is_left_to_the_careful_way() -> None:
    asked = []

    def known(site, series, about) -> bool:
        asked.append((site, series.path, about))
        return series.path != PATHS[1]

    fast = FrameReader(Streams(), known)
    assert fast.read(encode_batch(make_batch(make_window(path=PATHS[0])))) is not None
    assert fast.read(encode_batch(make_batch(make_window(path=PATHS[1])))) is None
    assert {(site, path) for site, path, _ in asked} == {("london", PATHS[0]), ("london", PATHS[1])}


def test_the_same_words_of_another_site_are_asked_about_again() -> None:
    fast = FrameReader(Streams(), lambda site, series, _about: site == series.path.src)
    batch = make_batch(make_window())
    assert fast.read(encode_batch(batch)) is not None
    from dataclasses import replace

    assert fast.read(encode_batch(replace(batch, site="leeds"))) is None


def edited(change) -> bytes:
    """Return a request after a change to it."""
    request = ExportMetricsServiceRequest.FromString(
        encode_batch(make_batch(make_window(lost=1), make_window(T0 + 10)))
    )
    change(request, request.resource_metrics[0].scope_metrics[0].metrics)
    return request.SerializeToString()


def _point(metrics, name="network.probe.rtt"):
    return next(m for m in metrics if m.name == name).exponential_histogram.data_points[0]


ODD = {
    "two resources": lambda r, m: r.resource_metrics.add().CopyFrom(r.resource_metrics[0]),
    "an unknown metric": lambda r, m: m.add(name="other"),
    "cumulative": lambda r, m: setattr(m[0].exponential_histogram, "aggregation_temporality", 2),
    "a count that is not the sum": lambda r, m: setattr(_point(m), "count", 77),
    "no minimum": lambda r, m: _point(m).ClearField("min"),
    "an infinite sum": lambda r, m: setattr(_point(m), "sum", float("inf")),
    "a minimum that is NaN": lambda r, m: setattr(_point(m), "min", float("nan")),
    "minimum above maximum": lambda r, m: setattr(_point(m), "min", 1e9),
    "a finer scale": lambda r, m: setattr(_point(m), "scale", 8),
    "a wild scale": lambda r, m: setattr(_point(m), "scale", -(2**31)),
    "a zero threshold": lambda r, m: (
        setattr(_point(m), "zero_threshold", 1.0),
        setattr(_point(m), "zero_count", 1),
        setattr(_point(m), "count", _point(m).count + 1),
    ),
    "buckets beyond 64 bits": lambda r, m: setattr(_point(m).positive, "offset", 2**31 - 500),
    "a large count": lambda r, m: _point(m).positive.bucket_counts.append(2**40),
    "an exemplar": lambda r, m: _point(m).exemplars.add(as_double=1.0),
    "no time": lambda r, m: _point(m).ClearField("time_unix_nano"),
    "no start": lambda r, m: _point(m).ClearField("start_time_unix_nano"),
    "a window too long": lambda r, m: setattr(_point(m), "time_unix_nano", (T0 + 20) * 10**9),
    "far in time": lambda r, m: setattr(_point(m), "time_unix_nano", 2**64 - 1),
    "a health metric": lambda r, m: m.add(name="netslo.probe.spool.batches").gauge.data_points.add(
        as_int=3
    ),
    "no instance": lambda r, m: r.resource_metrics[0].resource.attributes.pop(1),
    "no sequence": lambda r, m: r.resource_metrics[0].resource.attributes.pop(3),
    "no attributes": lambda r, m: _point(m).ClearField("attributes"),
    "an unknown quality": lambda r, m: setattr(_point(m).attributes[4].value, "string_value", "Z"),
    "a negative count": lambda r, m: setattr(m[1].sum.data_points[0], "as_int", -1),
    "a broken count": lambda r, m: setattr(m[1].sum.data_points[0], "as_double", 1.5),
    "no value": lambda r, m: m[1].sum.data_points[0].ClearField("as_int"),
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_what_is_odd_is_left_to_the_careful_way(change) -> None:
    assert reader().read(edited(change)) is None


@pytest.mark.parametrize("octets", [b"", b"\x0a", b"\xff" * 40, bytes(100), b"\x0a\x00"])
def test_what_is_no_request_is_nothing(octets) -> None:
    assert reader().read(octets) is None


def test_counts_that_are_not_packed_are_read_or_left() -> None:
    streams = Streams()
    request = ExportMetricsServiceRequest.FromString(encode_batch(make_batch(make_window())))
    body = request.SerializeToString()
    agree(body.replace(b"\x12", b"\x10", 1), reader(streams), streams)


def mutated(rng: random.Random, body: bytes) -> bytes:
    octets = bytearray(body)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(octets))
        match rng.randrange(6):
            case 0:
                octets[at] = rng.randrange(256)
            case 1:
                octets[at] ^= 1 << rng.randrange(8)
            case 2:
                del octets[at : at + rng.randrange(1, 12)]
            case 3:
                octets[at:at] = octets[at : at + rng.randrange(1, 40)]
            case 4:
                octets[at : at + 8] = struct.pack("<Q", rng.choice([0, 2**63, 2**64 - 1, 10**18]))
            case 5:  # a number in more octets than it needs
                more = [0x80] * rng.randrange(10)
                octets[at : at + 1] = bytes([octets[at] | 0x80, *more, rng.choice([0, 0, 1, 0x7F])])
        if not octets:
            return b""
    return bytes(octets[: rng.randrange(len(octets))] if rng.random() < 0.1 else octets)


def test_mutations_never_say_anything_else_than_the_careful_way() -> None:
    rng = random.Random(8)
    window = make_window(rtts=[0.01, 0.02, -0.5, 0.0], lost=2)
    other = Sketch()
    other.add(np.array([1.0, 2.0]))
    window.sketches[SketchKey(RTT, Quality.A)] = other
    body = encode_batch(make_batch(window, make_window(T0 + 10, PATHS[1])))
    streams = Streams()
    fast, said = reader(streams), 0
    for _ in range(6000):
        octets = mutated(rng, body)
        try:
            said += agree(octets, fast, streams)
        except MalformedRequest:
            pytest.fail("the fast way understood what is no request")
        fast._read(octets)  # even without protobuf's own check nothing is read out of bounds
    assert 100 < said < 5900


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=12)), max_size=40), st.data())
def test_keys_are_found_in_any_order_as_a_dictionary_finds_them(spelt, data) -> None:
    table, expected = KeyTable(), {}
    for stream, key in enumerate(dict.fromkeys(spelt)):
        expected[key] = stream
        table.enter_all([(*key, stream)])
    asked = data.draw(st.lists(st.sampled_from(spelt), max_size=60)) if spelt else []
    asked += [(3, b""), (0, b"never entered")]
    ends = np.cumsum([0] + [len(octets) for _, octets in asked])
    rows = np.array([(kind, *ends[n : n + 2]) for n, (kind, _) in enumerate(asked)])
    octets = np.frombuffer(b"".join(octets for _, octets in asked), dtype=np.uint8)
    found, unknown = table.look_up(octets, rows, np.arange(4))
    assert found.tolist() == [expected.get(key, -1) for key in asked]
    assert unknown == found.tolist().count(-1)


def test_keys_are_found_after_the_table_has_grown() -> None:
    table = KeyTable()
    names = [str(n).encode() for n in range(3000)]
    for stream, name in enumerate(names):
        table.enter_all([(0, name, stream)])
    ends = np.cumsum([0] + [len(name) for name in names])
    rows = np.stack([np.zeros(3000, dtype=np.int64), ends[:-1], ends[1:]], axis=1)
    octets = np.frombuffer(b"".join(names), dtype=np.uint8)
    for order in (slice(None), slice(None, None, -1)):
        found, _ = table.look_up(octets, np.ascontiguousarray(rows[order]), np.zeros(1, np.int64))
        assert found.tolist() == list(range(3000))[order]
