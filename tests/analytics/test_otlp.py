"""The codec: what goes out comes back, and nothing that comes in can hurt."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    ExponentialHistogramDataPoint,
)
from some_windows import T0, make_batch, make_window, sketch_of, windows

from analytics.otlp import (
    Limits,
    MalformedRequest,
    decode_request,
    encode_batch,
    sketch_from_bytes,
    sketch_to_bytes,
)
from analytics.sketch import Sketch
from analytics.windows import Batch
from netslo import metrics

FLOATS = st.floats(allow_nan=True, allow_infinity=True)


def by_place(contents):
    return {(w.key, w.window): w for w in contents}


@given(st.lists(FLOATS, max_size=30), st.integers(-10, 7))
def test_a_sketch_comes_back_equal(values, scale) -> None:
    sketch = Sketch(scale)
    sketch.add(values)
    assert sketch_from_bytes(sketch_to_bytes(sketch)) == sketch


@given(st.lists(windows(), max_size=5, unique_by=lambda w: (w.key, w.window)))
def test_a_batch_comes_back_equal(contents) -> None:
    decoded = decode_request(encode_batch(Batch("london", "one", 7, tuple(contents))))
    assert not decoded.rejected
    if contents:
        (back,) = decoded.batches
        assert (back.site, back.instance_id, back.sequence) == ("london", "one", 7)
        assert by_place(back.windows) == by_place(contents)


def test_other_tools_read_what_we_write() -> None:
    request = ExportMetricsServiceRequest.FromString(encode_batch(make_batch(make_window(lost=1))))
    names = {m.name: m for m in request.resource_metrics[0].scope_metrics[0].metrics}
    assert set(names) == {
        "network.probe.rtt",
        "network.probe.packets",
        "network.probe.slo_events",
        "network.probe.jitter.interarrival",
    }
    rtt = names["network.probe.rtt"]
    assert rtt.unit == "s"
    delta = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    assert rtt.exponential_histogram.aggregation_temporality == delta
    (point,) = rtt.exponential_histogram.data_points
    assert (point.count, point.min, point.max) == (3, 0.010, 0.020)
    assert point.time_unix_nano - point.start_time_unix_nano == 10 * 10**9
    outcomes = {
        {a.key: a.value.string_value for a in p.attributes}["outcome"]: p.as_int
        for p in names["network.probe.packets"].sum.data_points
    }
    assert outcomes == {"answered": 3, "lost": 1}


def test_a_finer_foreign_histogram_is_downscaled_without_loss() -> None:
    point = ExponentialHistogramDataPoint(scale=20, count=3, sum=3.0)
    point.positive.offset = -1
    point.positive.bucket_counts.extend([1, 0, 2])
    sketch = sketch_from_bytes(point.SerializeToString())
    assert (sketch.scale, sketch.count) == (7, 3)
    assert sketch.positive.counts.tolist() == [1, 2]


def request_with(change) -> bytes:
    """Return a good request after `change` has had its way with it."""
    request = ExportMetricsServiceRequest.FromString(encode_batch(make_batch(make_window(lost=1))))
    change(request)
    return request.SerializeToString()


def metric_of(request, name):
    return next(m for m in request.resource_metrics[0].scope_metrics[0].metrics if m.name == name)


def histogram_of(request):
    return metric_of(request, metrics.RTT).exponential_histogram.data_points[0]


def set_attribute(point, key, text):
    kept = [a for a in point.attributes if a.key != key]
    del point.attributes[:]
    point.attributes.extend([*kept, KeyValue(key=key, value=AnyValue(string_value=text))])


def cumulative(request):
    cumulative_kind = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    metric_of(request, metrics.RTT).exponential_histogram.aggregation_temporality = cumulative_kind


def pairs_that_overflow(point):
    point.scale, point.count, point.positive.offset = 8, 0, 0
    del point.positive.bucket_counts[:]
    point.positive.bucket_counts.extend([2**63, 2**63])


REFUSED = {
    "an unknown metric": (lambda r: setattr(metric_of(r, metrics.RTT), "name", "x"), "unknown"),
    "cumulative temporality": (cumulative, "delta"),
    "a count that is not the buckets'": (
        lambda r: setattr(histogram_of(r), "count", 99),
        "histogram: count is",
    ),
    "a scale from nowhere": (lambda r: setattr(histogram_of(r), "scale", 99), "histogram: scale"),
    "a hundred thousand buckets": (
        lambda r: histogram_of(r).positive.bucket_counts.extend([0] * 100_000),
        "buckets",
    ),
    "counts that overflow": (
        lambda r: histogram_of(r).positive.bucket_counts.extend([2**64 - 1, 2**64 - 1]),
        "histogram:",
    ),
    "counts whose pairs overflow when a fine scale is halved": (
        lambda r: pairs_that_overflow(histogram_of(r)),
        "histogram:",
    ),
    "an offset at the edge": (
        lambda r: setattr(histogram_of(r).positive, "offset", 2**31 - 1),
        None,  # a finite number of enormous values: strange, but harmless
    ),
    "a sum that is NaN": (lambda r: setattr(histogram_of(r), "sum", math.nan), "sum is nan"),
    "a minimum above the maximum": (lambda r: setattr(histogram_of(r), "min", 5.0), "contradict"),
    "no source": (lambda r: set_attribute(histogram_of(r), "src_site", ""), "not a name"),
    "a name that is a script": (
        lambda r: set_attribute(histogram_of(r), "dst_site", "<script>"),
        "not a name",
    ),
    "an unknown quality": (
        lambda r: set_attribute(histogram_of(r), "quality", "Z"),
        "quality is none of",
    ),
    "a negative count of packets": (
        lambda r: setattr(metric_of(r, metrics.PACKETS).sum.data_points[0], "as_int", -1),
        "whole number",
    ),
    "half a packet": (
        lambda r: setattr(metric_of(r, metrics.PACKETS).sum.data_points[0], "as_double", 0.5),
        "whole number",
    ),
    "an unknown outcome": (
        lambda r: set_attribute(
            metric_of(r, metrics.PACKETS).sum.data_points[0], "outcome", "eaten"
        ),
        "outcome is none of",
    ),
    "a time before its start": (
        lambda r: setattr(histogram_of(r), "time_unix_nano", 5),
        "after the start",
    ),
    "a window of an hour": (
        lambda r: setattr(histogram_of(r), "time_unix_nano", (T0 + 3600) * 10**9),
        "more than one 10 s window",
    ),
    "a time in the far future": (
        lambda r: setattr(histogram_of(r), "time_unix_nano", 2**64 - 1),
        "time",
    ),
}


@pytest.mark.parametrize(("change", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_point_is_refused_with_its_reason_and_the_others_are_taken(change, reason) -> None:
    decoded = decode_request(request_with(change))
    (batch,) = decoded.batches
    (window,) = batch.windows
    assert window.packets.lost == 1 or window.packets.answered == 3 or not window.packets.due
    assert window.interarrival_jitter_s == 0.001
    if reason is not None:
        assert [r.points for r in decoded.rejected] == [1]
        assert reason in decoded.rejected[0].reason


def test_a_request_without_a_sequence_is_known_by_its_octets() -> None:
    def strip(request):
        resource = request.resource_metrics[0].resource
        kept = [a for a in resource.attributes if a.key == "netslo.site"]
        del resource.attributes[:]
        resource.attributes.extend(kept)

    body = request_with(strip)
    one, again = decode_request(body).batches[0], decode_request(body).batches[0]
    assert one.instance_id == again.instance_id
    assert one.instance_id.startswith("sha256:")


def test_too_many_points_are_refused() -> None:
    contents = [make_window(T0 + 10 * k) for k in range(10)]
    decoded = decode_request(encode_batch(make_batch(*contents)), Limits(points_max=10))
    assert any("too many data points" in r.reason for r in decoded.rejected)


@given(st.binary(max_size=400))
def test_any_octets_are_read_or_refused(octets) -> None:
    try:
        decode_request(octets)
    except MalformedRequest:
        pass


@given(st.data())
def test_any_damage_to_a_good_request_is_read_or_refused(data) -> None:
    body = bytearray(encode_batch(make_batch(make_window(lost=1, duplicates=2))))
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    for octets in (bytes(body), bytes(body[:cut])):
        try:
            decode_request(octets)
        except MalformedRequest:
            pass


def field(number: int, octets: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    return bytes([number << 3 | 2]) + _varint(len(octets)) + octets


def test_deep_nesting_is_refused() -> None:
    value = b""
    for _ in range(2000):
        value = field(5, field(1, value))  # AnyValue.array_value.values
    attribute = field(1, b"k") + field(2, value)
    resource_metrics = field(1, field(1, attribute))
    with pytest.raises(MalformedRequest):
        decode_request(field(1, resource_metrics))


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 127:
        octets.append(number & 127 | 128)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def test_octets_of_a_store_that_are_none_are_named() -> None:
    with pytest.raises(ValueError, match="data point"):
        sketch_from_bytes(b"\xff\xff")
    assert sketch_of([]) == sketch_from_bytes(sketch_to_bytes(Sketch()))


def test_two_resources_of_one_identity_are_one_batch() -> None:
    one = encode_batch(make_batch(make_window(T0)))
    other = encode_batch(make_batch(make_window(T0 + 10)))
    (batch,) = decode_request(one + other).batches  # protobuf: concatenation appends
    assert [w.window.start_s for w in batch.windows] == [T0, T0 + 10]


def test_a_multitude_of_empty_resources_costs_little_and_is_refused() -> None:
    decoded = decode_request(b"\x0a\x00" * 100_000)
    assert not decoded.batches
    assert any("too many resources" in r.reason for r in decoded.rejected)


def test_a_multitude_of_empty_metrics_is_refused() -> None:
    scope = field(2, b"\x12\x00" * 100_000)
    decoded = decode_request(field(1, scope))
    assert any("too many metrics" in r.reason for r in decoded.rejected)


def test_a_flood_of_large_points_does_not_wrap_the_counters() -> None:
    def flood(request):
        histograms = metric_of(request, metrics.RTT).exponential_histogram.data_points
        point = histograms[0]
        point.CopyFrom(
            ExponentialHistogramDataPoint(
                count=2**53,
                scale=7,
                sum=1.0,
                positive=ExponentialHistogramDataPoint.Buckets(offset=-800, bucket_counts=[2**53]),
                attributes=point.attributes,
                start_time_unix_nano=point.start_time_unix_nano,
                time_unix_nano=point.time_unix_nano,
            )
        )
        histograms.extend([point] * 2047)  # together 2**64
        sums = metric_of(request, metrics.PACKETS).sum.data_points
        sums[0].as_int = 2**53
        sums.extend([sums[0]])

    decoded = decode_request(request_with(flood))
    (window,) = decoded.batches[0].windows
    assert window.rtt().count == window.packets.answered == 2**53
    assert [(r.points, r.reason) for r in decoded.rejected] == [
        (2048, "a count is larger than 2**53")
    ]


BAD_IDENTITIES = {
    "a sequence that is a truth value": (metrics.ATTR_SEQUENCE, AnyValue(bool_value=True)),
    "a sequence below zero": (metrics.ATTR_SEQUENCE, AnyValue(int_value=-1)),
    "a sequence in words": (metrics.ATTR_SEQUENCE, AnyValue(string_value="seven")),
    "an empty instance": (metrics.ATTR_INSTANCE, AnyValue(string_value="")),
    "an instance that is a number": (metrics.ATTR_INSTANCE, AnyValue(int_value=1)),
    "a site that is no name": (metrics.ATTR_SITE, AnyValue(string_value="../etc")),
}


@pytest.mark.parametrize(("key", "value"), BAD_IDENTITIES.values(), ids=BAD_IDENTITIES.keys())
def test_a_batch_that_cannot_be_told_from_others_is_refused_with_all_its_points(key, value):
    def change(request):
        for attribute in request.resource_metrics[0].resource.attributes:
            if attribute.key == key:
                attribute.value.CopyFrom(value)

    body = request_with(change)
    decoded = decode_request(body)
    assert not decoded.batches
    assert [(r.points, key in r.reason) for r in decoded.rejected] == [(points_of(body), True)]


def points_of(body) -> int:
    """Return how many data points a request has."""
    (scope,) = ExportMetricsServiceRequest.FromString(body).resource_metrics[0].scope_metrics
    return sum(len(getattr(m, m.WhichOneof("data")).data_points) for m in scope.metrics)


def test_health_points_are_the_latest_values_and_say_whose_they_are() -> None:
    def add_health(request):
        scope = request.resource_metrics[0].scope_metrics[0]
        lateness = scope.metrics.add(name=metrics.SEND_LATENESS).histogram.data_points.add()
        lateness.max = 0.003
        discarded = scope.metrics.add(name=metrics.DISCARDED).sum.data_points.add(as_int=4)
        discarded.attributes.add(key="reason", value=AnyValue(string_value="too short"))
        scope.metrics.add(name=metrics.CLOCK_ERROR).gauge.data_points.add(as_double=math.nan)

    decoded = decode_request(request_with(add_health))
    assert [(h.name, h.site, h.instance, h.attributes, h.value) for h in decoded.health] == [
        (metrics.SEND_LATENESS, "london", "one", (), 0.003),
        (metrics.DISCARDED, "london", "one", (("reason", "too short"),), 4.0),
    ]
    assert [(r.points, r.reason) for r in decoded.rejected] == [
        (1, "value is missing or not finite")
    ]
