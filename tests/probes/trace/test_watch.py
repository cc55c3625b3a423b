"""The agent's traces: when they happen and what is told of them, without a network."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from some_windows import PATHS, make_window

from analytics.windows import SeriesKey
from netslo.estate import TraceSettings
from netslo.model import Endpoint
from netslo.route import Hop, Route, TraceProtocol
from probes.address import SocketAddress
from probes.trace import watch
from probes.trace.memory import Remembered
from probes.trace.once import TraceResult
from probes.trace.tracing import TracePlan
from probes.trace.watch import RouteWatch, TraceReport, WatchPlan, plan_watch

HOST = Endpoint("192.0.2.9", 862)
ADDRESS = SocketAddress(socket.AF_INET, ("192.0.2.9", 862))
KEY = SeriesKey(PATHS[0])
HOUR = WatchPlan(3600.0, TracePlan())


@dataclass
class Traces:
    """Traces that were asked for, and what each of them finds."""

    find: Callable[[], TraceResult | None]
    begun: list[tuple[float, SocketAddress, object]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def __call__(self, plan, target, differs, lengths, mtus) -> Traces:  # as PathTrace is made
        del plan, differs, lengths
        self.begun.append((time.monotonic(), target, mtus))
        return self

    def run(self) -> TraceResult | None:
        return self.find()

    def stop(self) -> None:
        self.stopped.set()


def result(*hops: str, reached: bool = True, searched: bool = True) -> TraceResult:
    found = Route(0, TraceProtocol.UDP, tuple(map(Hop, hops)), reached, 1500)
    return TraceResult((found,), time.time_ns(), {0: len(hops)}, Counter(x=1), searched)


@asynccontextmanager
async def watching(
    monkeypatch: pytest.MonkeyPatch,
    traces: Traces,
    plan: WatchPlan = HOUR,
    known: dict[SeriesKey, Remembered] | None = None,
) -> AsyncIterator[tuple[RouteWatch, list[TraceReport]]]:
    monkeypatch.setattr(watch, "PathTrace", traces)
    monkeypatch.setattr(watch, "FIRST_S", 0.01)
    monkeypatch.setattr(watch, "SETTLE_S", 0.01)
    reports: list[TraceReport] = []

    def note(site: str, report: TraceReport) -> None:
        if site == "london":
            reports.append(report)

    routes = RouteWatch(note, known)
    routes.arrange({KEY: (plan, HOST)}, {HOST: (ADDRESS,)})
    task = asyncio.create_task(routes.run())
    try:
        yield routes, reports
    finally:
        task.cancel()
        await routes.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.005)


async def test_a_path_is_traced_soon_and_then_at_its_interval(monkeypatch) -> None:
    traces = Traces(lambda: result("10.0.0.1", "192.0.2.9"))
    async with watching(monkeypatch, traces, WatchPlan(0.2, TracePlan())) as (_, reports):
        await until(lambda: len(reports) >= 4)
    times = [at for at, _, _ in traces.begun]
    assert times[3] - times[0] > 0.4  # three intervals; a busy machine may begin one late
    assert all(report.result == "reached" for report in reports)
    assert all(len(report.observations) == 1 for report in reports)
    assert reports[0].discarded == {"x": 1}
    # The path MTU is searched once, and kept for an hour.
    assert [mtus for _, _, mtus in traces.begun][:3] == [None, {0: 1500}, {0: 1500}]


async def test_windows_that_say_so_bring_a_trace_at_once_but_not_a_flood(monkeypatch) -> None:
    monkeypatch.setattr(watch, "AGAIN_S", 0.5)
    traces = Traces(lambda: result("10.0.0.1", "192.0.2.9"))
    async with watching(monkeypatch, traces) as (routes, reports):
        await until(lambda: len(reports) == 1)
        for _ in range(20):  # answers, silence, answers ...
            routes.look([make_window(path=PATHS[0])])
            routes.look([make_window(path=PATHS[0], rtts=(), lost=5)])
        routes.look([make_window(path=PATHS[1], rtts=(), lost=5)])  # nobody watches that
        await until(lambda: len(reports) == 2)
        began = [at for at, _, _ in traces.begun]
        assert began[1] - began[0] >= 0.45
        await asyncio.sleep(0.1)
        assert len(reports) == 2


async def test_a_change_is_told_with_what_was_before(monkeypatch) -> None:
    ways = iter([("10.0.0.1", "192.0.2.9"), ("10.0.7.1", "192.0.2.9")])
    last: list[tuple[str, ...]] = []

    def find() -> TraceResult:
        last[:] = [next(ways, (last or [()])[0])]
        return result(*last[0])

    async with watching(monkeypatch, Traces(find), WatchPlan(0.05, TracePlan())) as (_, reports):
        await until(lambda: len(reports) >= 3)
    previous = [report.observations[0].previous for report in reports]
    assert previous[0] is None
    assert previous[1] is not None
    assert [hop.address for hop in previous[1].hops] == ["10.0.0.1", "192.0.2.9"]
    assert previous[2] is None


async def test_a_change_during_a_restart_is_told(monkeypatch) -> None:
    async with watching(monkeypatch, Traces(lambda: result("10.0.0.1", "192.0.2.9"))) as one:
        await until(lambda: len(one[1]) == 1)
        known = one[0].known("london")
        assert one[0].known("leeds") == {}
    (seen,) = one[1][0].observations
    traces = Traces(lambda: result("10.0.7.1", "192.0.2.9"))
    async with watching(monkeypatch, traces, known=known) as (_, reports):
        await until(lambda: len(reports) == 1)
    (changed,) = reports[0].observations
    assert changed.previous is not None
    assert changed.previous.hops == seen.route.hops
    assert changed.previous_seen_ns == seen.seen_ns


@pytest.mark.parametrize("other", ["target", "port"])
async def test_another_target_or_flow_after_a_restart_is_no_change(monkeypatch, other) -> None:
    async with watching(monkeypatch, Traces(lambda: result("10.0.0.1", "192.0.2.9"))) as one:
        await until(lambda: len(one[1]) == 1)
        ((key, found),) = one[0].known("london").items()
    way = replace(found.way, **{other: "192.0.2.8" if other == "target" else 443})
    known = {key: replace(found, way=way)}
    traces = Traces(lambda: result("10.0.7.1", "192.0.2.9"))
    async with watching(monkeypatch, traces, known=known) as (_, reports):
        await until(lambda: len(reports) == 1)
    assert reports[0].observations[0].previous is None


async def test_a_name_that_resolves_late_is_remembered_and_a_path_that_goes_is_not(
    monkeypatch,
) -> None:
    async with watching(monkeypatch, Traces(lambda: result("10.0.0.1", "192.0.2.9"))) as one:
        await until(lambda: len(one[1]) == 1)
        known = one[0].known("london")
    late = RouteWatch(lambda _site, _report: None, known)
    late.arrange({KEY: (HOUR, HOST)}, {})
    late.redirect(HOST, (ADDRESS,))
    assert late._watched[KEY].memory.sights == known[KEY].sights
    late.arrange({}, {})
    assert late.known("london") == {}
    await late.close()


async def test_failures_are_counted_and_traces_go_on(monkeypatch) -> None:
    answers = iter([PermissionError(1, "not allowed"), OSError(101, "Network is unreachable")])

    def find() -> TraceResult:
        failure = next(answers, None)
        if failure is not None:
            raise failure
        return result("10.0.0.1", reached=False)

    async with watching(monkeypatch, Traces(find), WatchPlan(0.05, TracePlan())) as (_, reports):
        await until(lambda: len(reports) >= 3)
    assert [report.result for report in reports[:3]] == ["failed", "failed", "not_reached"]


async def test_another_address_begins_anew_and_no_address_is_a_failure(monkeypatch) -> None:
    traces = Traces(lambda: result("10.0.0.1", "192.0.2.9"))
    moved = SocketAddress(socket.AF_INET, ("192.0.2.10", 862))
    plan = WatchPlan(0.05, TracePlan())
    async with watching(monkeypatch, traces, plan) as (routes, reports):
        await until(lambda: len(reports) >= 2)
        traces.find = lambda: result("10.0.0.1", "192.0.2.10")
        before = len(reports)
        routes.redirect(HOST, (moved,))
        await until(lambda: len(reports) >= before + 2)
        assert traces.begun[-1][1] == moved
        assert all(not seen.previous for report in reports for seen in report.observations)
        routes.redirect(HOST, ())
        await until(lambda: reports[-1].result == "failed")


async def test_what_nobody_wants_any_more_is_ended_and_not_told(monkeypatch) -> None:
    let_go = threading.Event()

    def find() -> TraceResult:
        let_go.wait(60)
        return result("10.0.0.1", "192.0.2.9")

    traces = Traces(find)
    async with watching(monkeypatch, traces) as (routes, reports):
        await until(lambda: bool(traces.begun))
        routes.arrange({}, {})
        assert traces.stopped.is_set()
        let_go.set()
        await asyncio.sleep(0.05)
    assert reports == []


def test_flows_keep_their_ports_and_paths_have_their_own() -> None:
    settings = TraceSettings(60.0, TraceProtocol.TCP, None, 8)
    plans = [plan_watch(settings, path, 46) for path in PATHS]
    assert plans == [plan_watch(settings, path, 46) for path in PATHS]
    for plan in plans:
        assert plan is not None
        assert (plan.interval_s, plan.trace.flows, plan.trace.dscp) == (60.0, 8, 46)
        assert (plan.trace.protocol, plan.trace.port) == (TraceProtocol.TCP, 443)
        assert 49_152 <= plan.trace.source_port <= 65_535 - 16
    assert len({plan.trace.source_port for plan in plans if plan}) > 1
    assert plan_watch(None, PATHS[0], 0) is None
