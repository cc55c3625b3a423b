"""The host's own noise: its shape against an exact computation, and how it is told."""

import asyncio
import threading
from array import array
from dataclasses import replace

import numpy as np
import pytest
from a_collector import collector

from analytics.sketch import Sketch
from analytics.windows import PathWindow, SketchKey
from netslo.errors import NetsloError
from netslo.metrics import RTT
from netslo.model import Quality, Window
from probes import floor_report, noise_floor
from probes.agent import ProbeAgent
from probes.channel import Report
from probes.floor_report import reporting_noise_floor
from probes.noise_floor import QUANTILES, Figure, NoiseFloor, figures_of, measure_noise_floor

A, B, C = Quality
RNG = np.random.default_rng(3)
RTT_S = RNG.lognormal(np.log(2e-6), 0.3, 5000)
LATE_S = RNG.exponential(1e-4, 5001)


class Canned:
    """An engine that reports what is laid down here instead of measuring."""

    def __init__(self, on_report, rtt_s, late_s=LATE_S) -> None:
        self._on_report = on_report
        self._rtt_s = rtt_s  # by quality
        self._late_s = late_s

    def measure(self, plan, target, *, phase_ns, count) -> None:
        self._key = plan.key

    def run(self) -> None:
        window = PathWindow(self._key, Window(0))
        for quality, values in self._rtt_s.items():
            window.packets.answered += len(values)
            sketch = Sketch()
            sketch.add(values)
            window.sketches[SketchKey(RTT, quality)] = sketch
        window.packets.lost = 2
        window.packets.unmeasured = 1
        report = Report(windows=[window], lateness_s=array("d", self._late_s))
        report.discarded["late"] = 3
        self._on_report({"here": report})

    def stop(self) -> None:
        pass


def canned(monkeypatch, rtt_s, late_s=LATE_S) -> NoiseFloor:
    monkeypatch.setattr(noise_floor, "new_engine", lambda take: Canned(take, rtt_s, late_s))
    return measure_noise_floor()


def test_percentiles_are_those_of_the_samples(monkeypatch) -> None:
    floor = canned(monkeypatch, {A: RTT_S})
    exact = np.sort(RTT_S)
    for q in QUANTILES:
        figure = floor.rtt[f"{q:g}"]
        assert figure.value == pytest.approx(np.quantile(exact, q, method="lower"), rel=0.003)
        assert figure.low <= figure.value <= figure.high
        late = floor.lateness[f"{q:g}"]
        assert late.value == np.quantile(LATE_S, q, method="lower")  # without a sketch
    # By order statistics: 2.5 % of binomial(5000, 0.99) lie at 4935 and below, 4964 and above.
    assert floor.rtt["0.99"].low == pytest.approx(exact[4935], rel=0.003, abs=0)
    assert floor.rtt["0.99"].high == pytest.approx(exact[4964], rel=0.003, abs=0)
    assert (floor.answered, floor.lost, floor.unmeasured, floor.due) == (5000, 2, 1, 5003)
    assert floor.lost_in_prober == 3
    assert floor.discarded == {"late": 3}


def test_the_json_has_a_stable_shape(monkeypatch) -> None:
    shape = canned(monkeypatch, {A: RTT_S, B: RTT_S[:7]}).to_json()
    assert list(shape["rtt"]) == list(shape["lateness"]) == ["0.5", "0.9", "0.99", "0.999"]
    assert set(shape["rtt"]["0.5"]) == {"value", "low", "high"}
    assert shape["samples"] == {"A": 5000, "B": 7, "C": 0}
    assert (shape["quality"], shape["count"]) == ("A", 5000)
    assert shape["engine"] in {"compiled", "plain"}


def test_classes_are_not_mixed_and_most_samples_decide(monkeypatch) -> None:
    floor = canned(monkeypatch, {A: [1e-9] * 3, C: RTT_S})
    assert floor.quality is C
    assert floor.count == 5000
    assert floor.rtt["0.5"].low > 1e-6


@pytest.mark.parametrize("samples", [{}, {A: []}], ids=["no sketch", "an empty one"])
def test_of_nothing_nothing_is_said(monkeypatch, samples) -> None:
    floor = canned(monkeypatch, samples, late_s=[])
    assert floor.quality is None
    assert floor.count == 0
    assert set(floor.rtt.values()) == {Figure()}
    assert floor.explains("0.5", 1.0) is None
    assert set(floor.figures.values()) == {None}


def test_the_largest_of_few_is_no_percentile(monkeypatch) -> None:
    floor = canned(monkeypatch, {A: RTT_S[:200]})
    assert floor.rtt["0.99"].value is not None
    assert floor.rtt["0.999"] == Figure()
    assert canned(monkeypatch, {A: RTT_S[:1000]}).rtt["0.999"].value is not None


@pytest.mark.parametrize(
    ("figure", "value_s", "expected"),
    [
        (Figure(2.0, 1.0, 4.0), 11.9, True),  # the upper end counts
        (Figure(2.0, 1.0, 4.0), 12.0, False),
        (Figure(2.0, 1.0, None), 5.9, True),
        (Figure(2.0, 1.0, None), 6.0, False),
        (Figure(2.0, 1.0, 4.0), None, None),
        (Figure(), 1.0, None),
    ],
)
def test_what_the_floor_explains(monkeypatch, figure, value_s, expected) -> None:
    floor = replace(canned(monkeypatch, {A: RTT_S}), rtt={"0.99": figure})
    assert floor.explains("0.99", value_s) is expected
    assert floor.explains("0.5", value_s) is None


def test_figures_of_an_empty_distribution_are_unknown() -> None:
    shape = {"count": 0, "quantiles": {"0.5": {"value": None, "low": None, "high": None}}}
    assert figures_of(shape) == {"0.5": Figure()}


@pytest.mark.parametrize("plain", [False, True], ids=["as it comes", "plain engine"])
def test_this_host_measures_itself_and_leaves_nothing_behind(monkeypatch, plain) -> None:
    if plain:
        monkeypatch.setattr("probes.engines.warm_up", lambda: False)
    before = set(threading.enumerate())
    floor = measure_noise_floor(seconds=0.2, rate=500)
    assert set(threading.enumerate()) <= before
    assert floor.due == 100
    assert floor.due == floor.answered + floor.lost + floor.unmeasured
    assert sum(floor.samples.values()) == floor.answered > 0
    assert floor.rtt["0.5"].value > 0
    assert not (plain and floor.compiled)


def test_it_ends_early_when_told_to() -> None:
    stop = threading.Event()
    stop.set()
    floor = measure_noise_floor(seconds=500, rate=100, stop=stop)
    assert floor.due < 1000


@pytest.mark.parametrize(
    "arguments",
    [{"seconds": 0}, {"seconds": 601}, {"rate": 0}, {"rate": 10_001}, {"seconds": 0.1, "rate": 1}],
    ids=str,
)
def test_what_cannot_be_measured_is_refused(arguments) -> None:
    with pytest.raises(ValueError, match="cannot measure"):
        measure_noise_floor(**arguments)


def test_a_host_without_sockets_gets_a_sentence(monkeypatch) -> None:
    def refuse(*_arguments, **_options):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(noise_floor, "ReflectorServer", refuse)
    with pytest.raises(NetsloError, match="the self-test cannot run: Operation not permitted"):
        measure_noise_floor()


class Told:
    """Stands for a probe's health."""

    def __init__(self) -> None:
        self.floor = None

    def set_noise_floor(self, quantiles) -> None:
        self.floor = quantiles


async def test_a_probe_states_the_floor_once_it_is_known() -> None:
    sites = [Told(), Told()]
    async with reporting_noise_floor(sites, seconds=0.1, rate=100), asyncio.timeout(60):
        while sites[-1].floor is None:  # noqa: ASYNC110 - a thread measures
            await asyncio.sleep(0.01)
    assert sites[0].floor == sites[1].floor
    assert sites[0].floor["0.5"] > 0
    assert sites[0].floor["0.999"] is None


async def test_what_is_cut_short_is_not_stated() -> None:
    told = Told()
    async with asyncio.timeout(60), reporting_noise_floor([told], seconds=500):
        pass
    assert told.floor is None


async def test_a_floor_that_cannot_be_measured_stops_no_probe(monkeypatch, caplog) -> None:
    def fail(**_options):
        raise NetsloError("no loopback")

    monkeypatch.setattr(floor_report, "measure_noise_floor", fail)
    told = Told()
    async with reporting_noise_floor([told]):
        pass
    assert told.floor is None
    assert "noise floor is not known: no loopback" in caplog.text


async def test_the_floor_of_an_agents_host_stands_at_the_collector(monkeypatch, tmp_path) -> None:
    floor = replace(
        canned(monkeypatch, {A: RTT_S}), rtt={"0.5": Figure(1e-6), "0.99": Figure(2e-6)}
    )
    monkeypatch.setattr(floor_report, "measure_noise_floor", lambda **_: floor)
    async with collector(tmp_path / "store.sqlite") as room:
        agent, stop = ProbeAgent(["london"], [], room.url, tmp_path / "spool"), asyncio.Event()
        running = asyncio.create_task(agent.run(stop))
        async with asyncio.timeout(60):
            while not agent._outboxes or not agent._outboxes["london"].health._floor_s:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            stop.set()
            await running
        _, said = await room.get("/api/v1/probes")
        text = await room.text("/metrics")
    assert said["probes"][0]["noise_floor"] == {
        "0.5": 1e-6,
        "0.9": None,
        "0.99": 2e-6,
        "0.999": None,
    }
    assert "netslo_probe_noise_floor_seconds{" in text
    assert 'quantile="0.99",site="london"} 2e-06' in text
