"""Prometheus' wire formats against protobuf's own library, numpy and a real Prometheus."""

from __future__ import annotations

import asyncio
import math
import struct
from contextlib import ExitStack

import numpy as np
import pytest
from a_collector import collector
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_messages import counts_of, delimited, message, unsnapped
from real_prometheus import prometheus, wait_until
from some_windows import PATHS, make_batch, make_window, sketch_of

from analytics.collector.scrape import preferred
from analytics.mapping import lower_bound
from analytics.prometheus import wire
from analytics.prometheus.exposition import CONTENT_TYPE, encode_exposition
from analytics.prometheus.families import NativeFamily
from analytics.prometheus.native import SCHEMA_MIN, native_histograms
from analytics.prometheus.remote_write import REQUEST_BYTES_MAX, Series, snappy
from analytics.sketch import Sketch
from analytics.tables import distributions_of

SIZES = st.integers(0, 2**64 - 1) | st.sampled_from([0, 127, 128, 2**14, 2**63, 2**64 - 1])
NOW_MS = 1_800_000_000_000
NATIVE = "--enable-feature=native-histograms"


def expected_counts(values, schema: int) -> dict[int, int]:
    """Count into Prometheus' buckets (base**(i - 1), base**i], by logarithm."""
    index = np.ceil(np.log2(np.asarray(values)) * 2.0**schema).astype(int)
    return dict(zip(*(part.tolist() for part in np.unique(index, return_counts=True)), strict=True))


def written(*sketches: Sketch, schema_max: int = 8):
    table = distributions_of([(n, 0) for n in range(len(sketches))], sketches)
    native = tuple(native_histograms(table, schema_max))
    series = tuple(({"path": str(n)}, one) for n, one in enumerate(native) if one is not None)
    body = encode_exposition(CollectorRegistry(), [NativeFamily("rtt_seconds", "RTT", series)])
    return [metric.histogram for metric in delimited(body)["rtt_seconds"].metric]


@given(st.lists(SIZES))
def test_many_varints_are_those_of_one_at_a_time(numbers) -> None:
    octets, begins = wire.varints(np.array(numbers, dtype=np.uint64))
    assert octets.tobytes() == b"".join(map(wire.varint, numbers))
    assert np.diff(begins).tolist() == [len(wire.varint(number)) for number in numbers]


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_zigzag_of_many_is_that_of_one(numbers) -> None:
    assert wire.zigzags(np.array(numbers, dtype=np.int64)).tolist() == list(
        map(wire.zigzag, numbers)
    )


class TestNativeHistograms:
    @pytest.mark.parametrize("schema", [8, 7, 5, 0, -2])
    def test_buckets_are_those_of_a_logarithm_at_any_schema(self, schema) -> None:
        values = np.random.default_rng(7).lognormal(np.log(0.02), 0.8, 5000)
        (found,) = written(sketch_of(values), schema_max=schema)
        assert found.schema == min(schema, 7)
        assert counts_of(found.positive_span, found.positive_delta) == expected_counts(
            values, found.schema
        )
        assert found.sample_count == 5000
        assert found.sample_sum == pytest.approx(values.sum())

    def test_the_index_is_opentelemetrys_plus_one(self) -> None:
        (found,) = written(sketch_of([0.0101]))
        (index,) = counts_of(found.positive_span, found.positive_delta)
        (otel,) = [sketch_of([0.0101]).positive.offset]
        assert index == otel + 1
        assert lower_bound(otel, 7) < 0.0101 <= lower_bound(otel + 1, 7)

    def test_negative_values_and_zeros_have_their_own_buckets(self) -> None:
        values = [0.001, -0.002, -0.002, 0.0, 0.0, 0.0, math.nan, math.inf]
        (found,) = written(sketch_of(values))
        assert found.sample_count == 6
        assert found.zero_count == 3
        assert 0 < found.zero_threshold < 1e-300
        assert counts_of(found.negative_span, found.negative_delta) == expected_counts(
            [0.002, 0.002], 7
        )

    def test_rows_do_not_run_into_each_other(self) -> None:
        rng = np.random.default_rng(3)
        many = [rng.lognormal(-4, s, n) for s, n in ((0.1, 50), (1.5, 900), (0.01, 1), (0.5, 70))]
        empty = Sketch()
        found = written(*map(sketch_of, many[:2]), empty, *map(sketch_of, many[2:]))
        assert [one.sample_count for one in found] == [50, 900, 0, 1, 70]
        for one, values in zip([f for f in found if f.sample_count], many, strict=True):
            assert counts_of(one.positive_span, one.positive_delta) == expected_counts(values, 7)

    def test_what_is_coarser_than_prometheus_knows_is_left_out(self) -> None:
        wide = Sketch(scale=-6)
        wide.add([1e-9, 1e9])
        table = distributions_of([(0, 0), (1, 0)], [wide, sketch_of([0.01])])
        coarse, fine = native_histograms(table)
        assert coarse is None
        assert fine is not None
        with pytest.raises(ValueError, match="schema_max is 9"):
            next(native_histograms(table, 9))
        (found,) = written(Sketch(scale=SCHEMA_MIN))
        assert found.schema == SCHEMA_MIN

    @given(st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=40), st.integers(-4, 8))
    def test_counts_add_up_whatever_the_values(self, values, schema) -> None:
        (found,) = written(sketch_of(values), schema_max=schema)
        counts = counts_of(found.positive_span, found.positive_delta)
        assert sum(counts.values()) == len(values) == found.sample_count
        assert all(counts.values())


class TestExposition:
    def test_every_kind_of_metric_is_read_back(self) -> None:
        registry = CollectorRegistry()
        Counter("asked", "Requests", ["code"], registry=registry).labels("200").inc(5)
        Gauge("depth", "Queue", registry=registry).set(-1.5)
        took = Histogram("took_seconds", "Time", ["of"], registry=registry, buckets=(0.1, 1))
        took.labels("a").observe(0.05)
        took.labels("a").observe(5)
        took.labels("b").observe(0.5)
        Summary("size_bytes", "Size", registry=registry).observe(3)
        found = delimited(encode_exposition(registry, ()))
        assert found["asked_total"].type == 0
        (asked,) = found["asked_total"].metric
        assert {pair.name: pair.value for pair in asked.label} == {"code": "200"}
        assert asked.counter.value == 5
        assert found["depth"].metric[0].gauge.value == -1.5
        assert found["took_seconds"].type == 4
        a, b = found["took_seconds"].metric
        assert [(x.cumulative_count, x.upper_bound) for x in a.histogram.bucket] == [
            (1, 0.1), (1, 1.0), (2, math.inf),
        ]  # fmt: skip
        assert a.histogram.sample_sum == 5.05
        assert b.histogram.sample_count == 1
        assert found["size_bytes"].metric[0].summary.sample_sum == 3
        assert found["asked_created"].type == 1

    @pytest.mark.parametrize(
        ("accept", "kind"),
        [
            (f"{CONTENT_TYPE};q=0.7,application/openmetrics-text;q=0.5", "application/vnd"),
            ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/open"),
            ("application/vnd.google.protobuf;proto=other.Message", "text/plain"),
            ("text/plain;version=0.0.4,application/vnd.google.protobuf", "text/plain"),
            ("*/*", "text/plain"),
            ("", "text/plain"),
            (",,;=;", "text/plain"),
        ],
    )
    def test_the_format_is_what_the_scraper_likes_best(self, accept, kind) -> None:
        assert preferred(accept).startswith(kind)


class TestRemoteWrite:
    def read(self, requests) -> dict[tuple[tuple[str, str], ...], object]:
        found = {}
        for request in requests:
            for series in message("WriteRequest").FromString(unsnapped(snappy(request))).timeseries:
                labels = tuple((pair.name, pair.value) for pair in series.labels)
                assert list(labels) == sorted(labels)  # the receiver insists
                assert labels not in found
                found[labels] = series
        return found

    def test_samples_and_histograms_of_one_moment(self) -> None:
        registry = CollectorRegistry()
        Gauge("depth", "Queue", ["site", "note"], registry=registry).labels("london", "").set(2)
        (native,) = native_histograms(distributions_of([(0, 0)], [sketch_of([0.01, 0.02])]))
        family = NativeFamily("rtt_seconds", "RTT", (({"path": "a"}, native),))
        found = self.read(Series({"job": "netslo"}).requests(registry, [family], NOW_MS))
        depth = found[("__name__", "depth"), ("job", "netslo"), ("site", "london")]
        assert [(s.value, s.timestamp) for s in depth.samples] == [(2, NOW_MS)]
        rtt = found[("__name__", "rtt_seconds"), ("job", "netslo"), ("path", "a")]
        (histogram,) = rtt.histograms
        assert (histogram.count, histogram.timestamp) == (2, NOW_MS)
        assert counts_of(histogram.positive_spans, histogram.positive_deltas) == expected_counts(
            [0.01, 0.02], 7
        )

    def test_a_series_that_has_gone_is_marked_stale_once(self) -> None:
        registry = CollectorRegistry()
        gauge = Gauge("depth", "Queue", ["site"], registry=registry)
        gauge.labels("london").set(1)
        series = Series({})
        list(series.requests(registry, [], NOW_MS))
        gauge.remove("london")
        (gone,) = self.read(series.requests(registry, [], NOW_MS + 1)).values()
        octets = struct.pack("<d", gone.samples[0].value)
        assert octets == (0x7FF0000000000002).to_bytes(8, "little")
        assert not list(series.requests(registry, [], NOW_MS + 2))

    def test_requests_are_bounded_and_lose_nothing(self) -> None:
        registry = CollectorRegistry()
        gauge = Gauge("depth", "Queue", ["site"], registry=registry)
        for number in range(3000):
            gauge.labels("x" * 4000 + str(number)).set(number)
        requests = list(Series({}).requests(registry, [], NOW_MS))
        assert len(requests) > 1
        assert max(map(len, requests)) <= REQUEST_BYTES_MAX
        assert len(self.read(requests)) == 3000

    @given(st.binary(max_size=300) | st.integers(0, 200_000).map(bytes))
    def test_snappy_is_read_back(self, data) -> None:
        assert unsnapped(snappy(data)) == data


ID = PATHS[0].id
RTT_OF_PATH = f'network_probe_rtt_seconds{{path="{ID}"}}'


async def eventually(server, expression: str, value: float) -> None:
    await asyncio.to_thread(wait_until, lambda: server.value(expression) == value, expression)


async def check_quantiles(server, values) -> None:
    """Compare what Prometheus works out of an increase with the exact quantiles."""
    for q in (0.5, 0.99, 0.999):
        expression = f"histogram_quantile({q}, increase({RTT_OF_PATH}[10m]))"
        found = await asyncio.to_thread(server.value, expression)
        assert found == pytest.approx(np.quantile(values, q, method="lower"), rel=0.006)


async def test_a_real_prometheus_scrapes_quantiles_that_are_right(tmp_path) -> None:
    rng = np.random.default_rng(11)
    first, more = (rng.lognormal(np.log(0.012), 0.4, n) for n in (2000, 30_000))
    async with collector(tmp_path / "store.sqlite") as room:
        await room.send(make_batch(make_window(rtts=first)))
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {
                    "job_name": "netslo",
                    "static_configs": [{"targets": [room.url.removeprefix("http://")]}],
                }
            ],
        }
        with ExitStack() as stack:
            running = prometheus(tmp_path, config, NATIVE)
            server = await asyncio.to_thread(stack.enter_context, running)
            await eventually(server, f"histogram_count({RTT_OF_PATH})", 2000)
            await room.send(make_batch(make_window(rtts=more), sequence=1))
            await eventually(server, f"histogram_count({RTT_OF_PATH})", 32_000)
            await check_quantiles(server, more)
            # All that the text formats have is there, too.
            await eventually(server, "netslo_collector_windows_total", 2)
