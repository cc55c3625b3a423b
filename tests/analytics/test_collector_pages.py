"""What the collector publishes: /metrics, /healthz and the JSON API, against the store itself."""

import contextlib
import json
import math

import pytest
from a_collector import NOW_S, collector, make_estate
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from some_windows import PATHS, T0, make_batch, make_window, sketch_of

from analytics.collector.query import BadQuery, read_duration, read_time
from analytics.collector.scrape import CACHE_S, Scrape
from analytics.collector.state import (
    FLOW_STALE_S,
    FLOWS_MAX,
    HEALTH_STALE_S,
    REASONS_MAX,
    HealthBoard,
    LastWindows,
)
from analytics.frame import Frame
from analytics.otlp import HealthPoint
from analytics.streams import Streams
from analytics.summary import exact_distribution
from analytics.windows import SketchKey
from netslo import metrics
from netslo.metrics import JITTER
from netslo.model import Quality

RTTS = (0.010, 0.012, 0.020, 0.031)
ID = PATHS[0].id


@pytest.fixture
async def room(tmp_path):
    """A collector which has two minutes of one path and a little of another."""
    async with collector(tmp_path / "store.sqlite") as room:
        first, second = make_window(rtts=RTTS, lost=1), make_window(T0 + 10, rtts=RTTS, reordered=2)
        first.sketches[SketchKey(JITTER, Quality.C)] = sketch_of([0.001, 0.002])
        other = make_window(path=PATHS[2], rtts=(), lost=3, unmeasured=2)
        assert (await room.send(make_batch(first, second))).refused_points == 0
        assert (await room.send(make_batch(other, instance="two"))).refused_points == 0
        yield room


async def samples(room, parse=parse_text, **headers) -> dict:
    text = await room.text("/metrics", **headers)
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def labels(path, scope="national", **more):
    given = {
        "path": path.id,
        "src_site": path.src,
        "dst_site": path.dst,
        "class": path.traffic_class,
        "scope": scope,
        "probe": "stamp",
        **more,
    }
    return tuple(sorted(given.items()))


class TestMetrics:
    async def test_quantiles_of_both_conventions(self, room) -> None:
        found = await samples(room)
        window = {"window": "5m", "convention": "delivered"}
        median = found[(metrics.PROM_RTT_QUANTILE, *labels(PATHS[0], quantile="0.5", **window))]
        assert median == pytest.approx(0.012, rel=0.003)  # ranks 0..7 of both windows together
        due = {"window": "5m", "convention": "due"}
        assert found[(metrics.PROM_RTT_QUANTILE, *labels(PATHS[0], quantile="0.5", **due))] < 0.032
        lost = found[(metrics.PROM_RTT_QUANTILE, *labels(PATHS[2], quantile="0.5", **due))]
        assert lost == math.inf
        jitter = found[(metrics.PROM_JITTER, *labels(PATHS[0], quantile="0.99", window="5m"))]
        assert jitter == pytest.approx(0.001, rel=0.003)

    async def test_what_cannot_be_said_has_no_sample(self, room) -> None:
        found = await samples(room)
        said = [key for key in found if ("path", PATHS[2].id) in key]
        assert not [key for key in said if ("convention", "delivered") in key]
        assert not [key for key in said if key[0] == metrics.PROM_JITTER]
        assert not [value for value in found.values() if math.isnan(value)]

    async def test_counters_of_every_outcome(self, room) -> None:
        found = await samples(room)
        counted = {
            outcome: found[(metrics.PROM_PACKETS, *labels(PATHS[0], outcome=outcome))]
            for outcome in ("answered", "lost", "unmeasured")
        }
        assert counted == {"answered": 8, "lost": 1, "unmeasured": 0}
        assert found[(metrics.PROM_REORDERED, *labels(PATHS[0]))] == 2
        assert found[(metrics.PROM_DUPLICATES, *labels(PATHS[0]))] == 0

    async def test_openmetrics_says_the_same(self, room) -> None:
        plain = await samples(room)
        accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
        modern = await samples(room, parse_openmetrics, Accept=accept)
        own = [key for key in plain if key[0].startswith("network_")]
        assert own
        assert {key: plain[key] for key in own} == {key: modern[key] for key in own}

    async def test_an_odd_accept_header_is_borne(self, room) -> None:
        odd = ("text/plain;version=abc", "application/openmetrics-text;version=x;;=", ",,;=;")
        for accept in odd:
            assert "network_probe_packets" in await room.text("/metrics", Accept=accept)

    async def test_the_collector_counts_its_own_work(self, room) -> None:
        await room.send(make_batch(make_window()))  # the first batch's identity again
        await room.send(make_batch(make_window(int(NOW_S) + 1000), sequence=5))
        await room.post(b"garbage")
        found = await samples(room)
        assert found[(metrics.PROM_COLLECTOR_REQUESTS, ("code", "200"))] == 4
        assert found[(metrics.PROM_COLLECTOR_REQUESTS, ("code", "400"))] == 1
        assert found[(metrics.PROM_COLLECTOR_DUPLICATES,)] == 1
        assert found[(metrics.PROM_COLLECTOR_WINDOWS,)] == 3
        assert found[(metrics.PROM_COLLECTOR_REFUSED, ("reason", "future"))] == 5
        assert found[(metrics.PROM_COLLECTOR_REFUSED, ("reason", "unknown-path"))] == 0
        assert found[(metrics.PROM_COLLECTOR_COMMIT + "_count",)] == 3
        assert found[(metrics.PROM_COLLECTOR_LAST_COMMIT,)] == NOW_S

    async def test_other_floors_add_their_families(self, tmp_path) -> None:
        class Other:
            def collect(self):
                yield GaugeMetricFamily("slo_of_somebody", "A gauge", 0.5)

        async with collector(tmp_path / "store.sqlite", collectors=[Other()]) as room:
            assert "slo_of_somebody 0.5" in await room.text("/metrics")

    async def test_a_scrape_is_computed_once_for_all_who_ask_at_the_time(self) -> None:
        computed, now_s = [], 100.0

        class Counting:
            def collect(self):
                computed.append(now_s)
                return ()

        registry = CollectorRegistry()
        registry.register(Counting())
        computed.clear()
        scrape = Scrape(registry, monotonic=lambda: now_s)

        for _ in range(3):
            await scrape.handle(make_mocked_request("GET", "/metrics"))
        now_s += CACHE_S
        await scrape.handle(make_mocked_request("GET", "/metrics"))
        assert len(computed) == 2


class TestPaths:
    async def test_a_path_with_all_its_figures(self, room) -> None:
        status, answer = await room.get("/api/v1/paths")
        assert status == 200
        assert (answer["start"], answer["end"], answer["range"]) == (T0 - 180, T0 + 120, "5m")
        by_id = {path["path"]: path for path in answer["paths"]}
        path = by_id[ID]
        expected = {
            "src_site": "london",
            "dst_site": "leeds",
            "class": "ef",
            "scope": "national",
            "probe": "stamp",
            "last_window_end": T0 + 20,
            "due": 9,
            "answered": 8,
            "lost": 1,
            "unmeasured": 0,
            "duplicates": 0,
            "reordered": 2,
            "quality": {"A": 0, "B": 0, "C": 8},
        }
        assert {key: path[key] for key in expected} == expected
        exact = exact_distribution(sketch_values())
        for q, said in path["rtt"]["quantiles"].items():
            assert said["value"] == pytest.approx(exact["quantiles"][q]["value"], rel=0.0028)
        assert path["jitter"]["rfc3550"] == 0.001
        assert path["jitter"]["pdv"]["count"] == 2

    async def test_a_figure_that_cannot_be_said_is_null(self, room) -> None:
        _, answer = await room.get("/api/v1/paths")
        silent = next(path for path in answer["paths"] if path["path"] == PATHS[2].id)
        assert (silent["due"], silent["lost"], silent["unmeasured"]) == (5, 3, 2)
        assert silent["rtt"]["min"] is None
        assert silent["rtt"]["quantiles"]["0.99"] == {"value": None, "low": None, "high": None}

    async def test_a_range_without_windows_is_an_empty_list(self, room) -> None:
        assert (await room.get("/api/v1/paths", range="10s"))[1]["paths"] == []

    async def test_the_last_windows_are_known_again_after_a_restart(self, tmp_path) -> None:
        async with collector(tmp_path / "store.sqlite") as room:
            await room.send(make_batch(make_window(), make_window(T0 + 10)))
        async with collector(tmp_path / "store.sqlite") as again:
            _, answer = await again.get("/api/v1/paths")
            assert {path["last_window_end"] for path in answer["paths"]} == {T0 + 20}


class TestWindows:
    async def test_each_window_of_a_path(self, room) -> None:
        status, answer = await room.get("/api/v1/windows", path=ID, start=str(T0), end=str(NOW_S))
        assert status == 200
        assert (answer["path"], answer["resolution"]) == (ID, "10s")
        first, second = answer["windows"]
        assert (first["start"], first["end"], first["lost"]) == (T0, T0 + 10, 1)
        assert (second["start"], second["reordered"], second["lost"]) == (T0 + 10, 2, 0)
        assert first["rtt"]["count"] == 4

    async def test_a_coarser_resolution_adds_up(self, room) -> None:
        _, answer = await room.get("/api/v1/windows", path=ID, resolution="5m")
        [whole] = answer["windows"]
        assert (whole["start"], whole["end"], whole["due"]) == (T0, T0 + 300, 9)

    @pytest.mark.parametrize(
        ("start", "end"),
        [
            ("2027-01-15T08:00:00Z", "2027-01-15T08:00:10Z"),
            ("2027-01-15T09:00:00+01:00", "2027-01-15T09:00:10+01:00"),
            ("2027-01-15T09:00:00 01:00", "1800000010"),  # the plus sign was not escaped
        ],
    )
    async def test_times_in_rfc_3339(self, room, start, end) -> None:
        _, answer = await room.get("/api/v1/windows", path=ID, start=start, end=end)
        assert [window["start"] for window in answer["windows"]] == [T0]

    @pytest.mark.parametrize(
        ("params", "status", "reason"),
        [
            ({}, 400, "path is missing"),
            ({"path": "london"}, 400, "src:dst/class"),
            ({"path": "london:atlantis/ef"}, 404, "no path of the estate"),
            ({"path": ID, "resolution": "15s"}, 400, "multiple of 10s"),
            ({"path": ID, "resolution": "never"}, 400, "duration"),
            ({"path": ID, "resolution": "9" * 500 + "d"}, 400, "longer than 31 years"),
            ({"path": ID, "start": "yesterday"}, 400, "RFC 3339"),
            ({"path": ID, "start": "2027-01-15T08:00:00"}, 400, "with an offset"),
            ({"path": ID, "start": "nan"}, 400, "RFC 3339"),
            ({"path": ID, "end": "1e300"}, 400, "RFC 3339"),
            ({"path": ID, "start": "20", "end": "10"}, 400, "before end"),
            ({"path": ID, "start": "0"}, 400, "more than 5000 windows"),
            ({"path": ID, "satrt": "0"}, 400, "unknown parameter 'satrt'"),
        ],
    )
    async def test_a_wrong_query_gets_a_sentence(self, room, params, status, reason) -> None:
        got, answer = await room.get("/api/v1/windows", **params)
        assert got == status
        assert list(answer) == ["error"]
        assert reason in answer["error"]

    async def test_a_parameter_that_stands_there_twice_is_refused(self, room) -> None:
        status, answer = await room.get("/api/v1/paths?range=5m&range=10m")
        assert (status, answer) == (400, {"error": "parameter 'range' stands there twice"})


async def test_healthz_tells_the_last_commit(room) -> None:
    assert await room.get("/healthz") == (
        200,
        {"status": "ok", "last_commit": NOW_S, "waiting": 0},
    )


async def test_paths_which_the_estate_has_given_up_are_not_published(tmp_path, monkeypatch) -> None:
    async with collector(tmp_path / "store.sqlite") as room:
        await room.send(make_batch(make_window()))
        await room.send(make_batch(make_window(path=PATHS[2]), instance="two"))
    smaller = make_estate()
    monkeypatch.setattr(
        "a_collector.make_estate",
        lambda: type(smaller)(
            smaller.name,
            smaller.currency,
            {name: smaller.sites[name] for name in ("london", "leeds")},
            smaller.classes,
            (),
            smaller.plan,
        ),
    )
    async with collector(tmp_path / "store.sqlite") as room:
        _, answer = await room.get("/api/v1/paths")
        assert [path["path"] for path in answer["paths"]] == [ID]
        assert "dundee" not in await room.text("/metrics")


class TestHealthBoard:
    def point(self, number=0, name=metrics.SPOOL_BATCHES, value=1.0, **attributes) -> HealthPoint:
        return HealthPoint(name, "london", f"i-{number}", tuple(attributes.items()), value)

    def test_the_latest_value_stands(self) -> None:
        board = HealthBoard(10)
        board.note(self.point(value=1.0), 100)
        board.note(self.point(value=2.0), 110)
        [report] = board.reports(110)
        assert report.values == {(metrics.SPOOL_BATCHES,): 2.0}

    def test_a_silent_probe_is_forgotten_after_a_while(self) -> None:
        board = HealthBoard(10)
        board.note(self.point(), 100)
        assert board.reports(100 + HEALTH_STALE_S)
        assert not board.reports(101 + HEALTH_STALE_S)

    def test_probes_and_reasons_are_bounded(self) -> None:
        board = HealthBoard(10)
        for number in range(100):
            board.note(self.point(number), 100)
            board.note(self.point(99, metrics.DISCARDED, reason=f"r{number}"), 100)
        reports = board.reports(100)
        assert len(reports) == 10
        assert max(len(report.values) for report in reports) == REASONS_MAX + 1  # and its spool

    def test_flows_are_bounded_and_forgotten_when_they_have_gone(self) -> None:
        board = HealthBoard(10)
        board.note(self.point(), 100)
        for number in range(2 * FLOWS_MAX):
            board.note(self.point(name=metrics.FLOW_RTT, path="p", flow=f"a#{number}"), 100)
        assert len(board.reports(100)[0].values) == FLOWS_MAX + 1
        board.note(self.point(name=metrics.FLOW_RTT, path="p", flow="b#0"), 101 + FLOW_STALE_S)
        [report] = board.reports(101 + FLOW_STALE_S)
        assert report.values == {
            (metrics.SPOOL_BATCHES,): 1.0,
            (metrics.FLOW_RTT, "p", "b#0"): 1.0,
        }

    def test_a_noise_floor_has_room_beside_the_reasons(self) -> None:
        board = HealthBoard(10)
        for number in range(100):
            board.note(self.point(0, metrics.DISCARDED, reason=f"r{number}"), 100)
        board.note(self.point(0, metrics.NOISE_FLOOR, 1e-6, quantile="0.5"), 100)
        for number in range(100):
            board.note(self.point(0, metrics.NOISE_FLOOR, 0.5, quantile=f"odd {number}"), 100)
        [report] = board.reports(100)
        assert report.noise_floor == {"0.5": 1e-6, "0.9": None, "0.99": None, "0.999": None}
        assert len(report.values) == 2 * REASONS_MAX

    def test_of_a_sites_probes_the_latest_that_knows_its_floor_says_it(self) -> None:
        board = HealthBoard(10)
        board.note(self.point(0, metrics.NOISE_FLOOR, 1e-6, quantile="0.5"), 100)
        board.note(self.point(2, metrics.NOISE_FLOOR, 3e-6, quantile="0.5"), 120)
        board.note(self.point(1, metrics.NOISE_FLOOR, 2e-6, quantile="0.5"), 110)
        board.note(self.point(3), 130)  # has just started, and does not know it yet
        assert board.noise_floors(130)["london"]["0.5"] == 3e-6
        assert not board.noise_floors(130 + HEALTH_STALE_S)

    def test_a_late_window_does_not_make_a_path_look_stale(self) -> None:
        streams = Streams()
        last = LastWindows(streams)
        for start_s in (T0 + 50, T0):
            last.note_frame(Frame.of([make_window(start_s)], streams))
        assert set(last.ends().values()) == {T0 + 60}


@given(st.text(max_size=30))
def test_any_time_is_read_or_refused(text) -> None:
    with contextlib.suppress(BadQuery):
        assert 0 <= read_time("start", text) < 2**34


@given(st.text(max_size=10) | st.from_regex(r"[0-9.]{1,30}(ms|[smhdw])", fullmatch=True))
def test_any_duration_is_read_or_refused(text) -> None:
    with contextlib.suppress(BadQuery):
        assert read_duration("range", text) % 10 == 0


def test_json_never_holds_what_json_does_not_know() -> None:
    from analytics.collector.api import _dump

    with pytest.raises(ValueError):
        _dump({"x": math.inf})
    assert json.loads(_dump({"x": None})) == {"x": None}


def sketch_values():
    import numpy as np

    return np.array(RTTS * 2)
