"""The agent across real routers: it tells a change of route, before and after, to the collector."""

from __future__ import annotations

import asyncio
import pathlib
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
import zstandard
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from analytics.otlp import decode_request
from analytics.windows import SeriesKey
from lab.routers import Diamond
from netslo import metrics
from netslo.estate import TraceSettings
from netslo.model import NS_PER_S, Endpoint, Path
from netslo.route import RouteObservation
from probes.agent import ProbeAgent
from probes.plan import PathPlan
from probes.trace.watch import WatchPlan, plan_watch

PATH = Path("london", "leeds", "ef")
FLOWS = 8
INTERVAL_S = 2.0


@dataclass
class Collector:
    """Keeps what it is told of routes."""

    seen: list[RouteObservation] = field(default_factory=list)
    health: set[tuple[str, str]] = field(default_factory=set)

    async def receive(self, request: web.Request) -> web.Response:
        body = zstandard.ZstdDecompressor().decompressobj().decompress(await request.read())
        for batch in decode_request(body).batches:
            self.seen += batch.routes
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == metrics.TRACES:
                        points = metric.sum.data_points
                        results = {a.value.string_value for p in points for a in p.attributes}
                        self.health |= {(metric.name, result) for result in results}
        answer = ExportMetricsServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")

    def of_flow(self, flow: int) -> list[RouteObservation]:
        return [seen for seen in self.seen if seen.route.flow == flow]


def addresses(hops) -> list[str | None]:
    return [hop.address for hop in hops]


def plan_for(diamond: Diamond) -> PathPlan:
    """Return a plan whose flows take both branches, whatever r1's hash is this time."""
    watch = plan_watch(TraceSettings(flows=FLOWS), PATH, 46)
    assert watch is not None
    first = diamond.source_port(4, "udp", watch.trace.port, FLOWS)
    return PathPlan(
        key=SeriesKey(PATH),
        endpoint=Endpoint(diamond.target(4), 862),
        interval_ns=NS_PER_S // 10,
        timeout_ns=NS_PER_S,
        watch=WatchPlan(INTERVAL_S, replace(watch.trace, source_port=first, tries=5)),
    )


@pytest.fixture
def inside(diamond: Diamond):
    """Stand at src: threads that begin here, begin there."""
    with diamond.source.inside():
        yield diamond


async def until(condition, timeout_s: float = 90.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.05)


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[Collector, str]]:
    collector, app = Collector(), web.Application()
    app.router.add_post("/v1/metrics", collector.receive)
    runner = web.AppRunner(app, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield collector, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def probing(plan: PathPlan, url: str, spool: pathlib.Path) -> AsyncIterator[None]:
    stop = asyncio.Event()
    running = asyncio.create_task(ProbeAgent(["london"], [plan], url, spool).run(stop))
    try:
        yield
    finally:
        stop.set()
        await running


@pytest.mark.waits
async def test_a_change_of_route_is_told_within_an_interval(inside: Diamond, tmp_path) -> None:
    plan = plan_for(inside)
    every = range(FLOWS)
    async with collecting() as (collector, url):
        try:
            async with probing(plan, url, tmp_path):
                await until(lambda: all(collector.of_flow(flow) for flow in every))
                await asyncio.to_thread(inside.route_over, "r3")
                told = [len(collector.of_flow(flow)) for flow in every]
                await until(lambda: all(len(collector.of_flow(f)) > told[f] + 6 for f in every))
        finally:
            await asyncio.to_thread(inside.route_over, "r2", "r3")
    ways = {branch: inside.hops(branch, 4) for branch in ("r2", "r3")}
    moved = 0
    for flow in every:
        first, *later = collector.of_flow(flow)
        before = inside.branch(4, "udp", plan.watch.trace.source_port + flow, 33434)
        assert addresses(first.route.hops) == ways[before]
        assert (first.path, first.previous, first.route.path_mtu) == (PATH, None, 1500)
        changes = [seen for seen in later if seen.previous is not None]
        assert addresses(later[-1].route.hops) == ways["r3"]
        if before == "r3":
            assert changes == []
            continue
        moved += 1
        (change,) = changes
        assert addresses(change.previous.hops) == ways["r2"]
        assert addresses(change.route.hops) == ways["r3"]
        # What was seen before the change is the old route, from then on the new one; nothing
        # between, and at the next trace.
        place = later.index(change)
        assert all(addresses(s.route.hops) == ways["r2"] for s in later[:place])
        assert all(addresses(s.route.hops) == ways["r3"] for s in later[place:])
        previous_ns = ([first, *later])[place].seen_ns
        assert change.previous_seen_ns == previous_ns
        assert change.seen_ns > previous_ns
    assert 0 < moved < FLOWS
    assert (metrics.TRACES, "reached") in collector.health
    assert threading.active_count() < 50


@pytest.mark.waits
async def test_a_change_while_the_probe_was_down_is_told_by_its_first_traces(
    inside: Diamond, tmp_path
) -> None:
    plan = plan_for(inside)
    every = range(FLOWS)
    async with collecting() as (collector, url):
        async with probing(plan, url, tmp_path):
            await until(lambda: all(collector.of_flow(flow) for flow in every))
        last = [collector.of_flow(flow)[-1] for flow in every]
        collector.seen.clear()
        try:
            await asyncio.to_thread(inside.route_over, "r3")
            async with probing(plan, url, tmp_path):
                await until(lambda: all(collector.of_flow(flow) for flow in every))
        finally:
            await asyncio.to_thread(inside.route_over, "r2", "r3")
    ways = {branch: inside.hops(branch, 4) for branch in ("r2", "r3")}
    moved = 0
    for flow in every:
        first = collector.of_flow(flow)[0]
        assert addresses(first.route.hops) == ways["r3"]
        if inside.branch(4, "udp", plan.watch.trace.source_port + flow, 33434) == "r3":
            assert first.previous is None
            continue
        moved += 1
        assert addresses(first.previous.hops) == ways["r2"]
        assert first.previous_seen_ns == last[flow].seen_ns
    assert 0 < moved < FLOWS
