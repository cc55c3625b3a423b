"""The probe's own health: through the real collector, and without one."""

import asyncio
import json
import threading
import time

import pytest
from a_collector import collector
from prometheus_client.parser import text_string_to_metric_families
from some_windows import PATHS, make_batch, make_window

from netslo import metrics
from netslo.app.floors import read_floors
from probes.flows import FlowFigures
from probes.health import ProbeHealth

LONG_S = 3600.0  # only the last report, at shutdown


async def samples(room) -> dict:
    text = await room.text("/metrics")
    return {
        sample.name: (sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("netslo_probe")
    }


def report(url: str, fill) -> ProbeHealth:
    health = ProbeHealth("london", "i-1", url, interval_s=LONG_S)
    fill(health)
    health.shutdown()
    return health


async def test_every_instrument_reaches_prometheus(tmp_path) -> None:
    def fill(health: ProbeHealth) -> None:
        health.record_lateness([0.001, 0.005, 0.002])
        health.record_lateness(0.003)
        health.set_spool_depth(4, 1)
        health.set_notices(["no luck"])
        health.set_flows([FlowFigures("p", "a#0", 0.02, 0.5)])
        health.set_clock_error(0.01)
        health.set_noise_floor({"0.99": 2e-6, "0.999": None})
        health.note_certificates({"gone": 1.0})
        health.keep_certificates(["s"])
        health.note_certificates({"s": 1_900_000_000.0})
        health.count_discarded("bad length", 3)
        health.count_discarded("bad length")
        health.count_trace("reached")

    async with collector(tmp_path / "store.sqlite") as room:
        health = await asyncio.to_thread(report, room.url, fill)
        assert (health.reports, health.failures) == (1, 0)
        probe = {"site": "london", "instance": "i-1"}
        found = await samples(room)
        assert found == {
            metrics.PROM_PROBE_LATENESS: (probe, 0.005),
            metrics.PROM_PROBE_SPOOL: (probe, 4.0),
            metrics.PROM_PROBE_HELD: (probe, 1.0),
            metrics.PROM_PROBE_LACKS: ({**probe, "notice": "no luck"}, 1.0),
            metrics.PROM_PROBE_FLOW_RTT: ({**probe, "path": "p", "flow": "a#0"}, 0.02),
            metrics.PROM_PROBE_FLOW_LOSS: ({**probe, "path": "p", "flow": "a#0"}, 0.5),
            metrics.PROM_PROBE_CLOCK_ERROR: (probe, 0.01),
            metrics.PROM_PROBE_NOISE_FLOOR: ({**probe, "quantile": "0.99"}, 2e-6),
            metrics.PROM_PROBE_CERTIFICATE: ({**probe, "path": "s"}, 1_900_000_000.0),
            metrics.PROM_PROBE_DISCARDED: ({**probe, "reason": "bad length"}, 4.0),
            metrics.PROM_PROBE_TRACES: ({**probe, "result": "reached"}, 1.0),
        }


async def test_the_noise_floor_stands_beside_the_figures_it_could_explain(tmp_path) -> None:
    def fill(health: ProbeHealth) -> None:
        health.set_noise_floor({"0.5": 0.004, "0.99": 0.002, "0.999": None})

    async with collector(tmp_path / "store.sqlite") as room:
        rtts = [0.010] * 1000 + [0.011] * 15
        await room.send(make_batch(make_window(rtts=rtts)))
        await room.send(make_batch(make_window(path=PATHS[2], rtts=rtts), instance="two"))
        _, before = await room.get("/api/v1/paths")
        await asyncio.to_thread(report, room.url, fill)
        _, after = await room.get("/api/v1/paths")
        _, probes = await room.get("/api/v1/probes")
        assert (await room.get("/api/v1/probes", x="1"))[0] == 400
    floor = {"0.5": 0.004, "0.9": None, "0.99": 0.002, "0.999": None}
    nothing = dict.fromkeys(floor)
    assert [path["noise_floor"] for path in before["paths"]] == [None, None]
    assert before["paths"][0]["could_be_floor"] == nothing
    found = {path["src_site"]: path for path in after["paths"]}
    assert found["london"]["noise_floor"] == floor
    assert found["london"]["could_be_floor"] == {**nothing, "0.5": True, "0.99": False}
    assert found[PATHS[2].src]["noise_floor"] is None
    [said] = probes["probes"]
    assert (said["site"], said["instance"], said["noise_floor"]) == ("london", "i-1", floor)
    assert said["clock_error"] is None
    assert read_floors(json.dumps(probes).encode()) == {"london": floor}


async def test_what_is_not_known_is_not_said(tmp_path) -> None:
    async with collector(tmp_path / "store.sqlite") as room:
        await asyncio.to_thread(report, room.url, lambda health: health.set_clock_error(None))
        assert await samples(room) == {}


async def test_the_lateness_is_that_of_the_last_interval(tmp_path) -> None:
    async with collector(tmp_path / "store.sqlite") as room:

        def two_reports() -> None:
            health = ProbeHealth("london", "i-1", room.url, interval_s=LONG_S)
            health.record_lateness(0.5)
            health.report()
            health.record_lateness(0.001)
            health.shutdown()

        await asyncio.to_thread(two_reports)
        assert (await samples(room))[metrics.PROM_PROBE_LATENESS][1] == 0.001


async def test_reports_go_out_by_themselves(tmp_path) -> None:
    async with collector(tmp_path / "store.sqlite") as room:
        health = ProbeHealth("london", "i-1", room.url, interval_s=0.05)
        health.set_spool_depth(1)
        async with asyncio.timeout(60):
            while health.reports < 2:  # noqa: ASYNC110 - another thread counts
                await asyncio.sleep(0.01)
        await asyncio.to_thread(health.shutdown)


async def test_a_probe_of_another_estate_is_refused(tmp_path) -> None:
    async with collector(tmp_path / "store.sqlite") as room:

        def other() -> None:
            health = ProbeHealth("atlantis", "i-1", room.url, interval_s=LONG_S)
            health.set_spool_depth(4, 1)
            health.shutdown()

        await asyncio.to_thread(other)
        assert await samples(room) == {}
        assert 'refused_points_total{reason="unknown-site"} 2.0' in await room.text("/metrics")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid:4318"])
def test_without_a_collector_a_failure_is_counted_in_silence(url, caplog, monkeypatch) -> None:
    def no_name(*_args, **_kwargs):
        raise OSError("no such name")

    if "invalid" in url:
        monkeypatch.setattr("socket.getaddrinfo", no_name)
    began_s = time.monotonic()
    health = report(url, lambda health: health.set_spool_depth(1))
    assert time.monotonic() - began_s < 20  # not the minute of an SDK that tries again
    assert (health.reports, health.failures) == (0, 1)
    assert caplog.records == []


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    report("http://127.0.0.1:9", lambda health: None)
    assert threading.active_count() <= before  # those of other tests may end
