"""The agent from socket to collector: what it counted is what arrives, whatever happens."""

import asyncio
import threading
from collections import Counter
from contextlib import asynccontextmanager

import pytest
import zstandard
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

import probes.agent
import probes.flows
import probes.names
from netslo.errors import NetsloError
from netslo.estate import Estate, ProbingPlan
from netslo.model import Endpoint, Location, Path, Site, SloThreshold, Tier, TrafficClass
from probes.address import resolve_all
from probes.agent import ProbeAgent
from probes.plan import plan_paths
from probes.reflector import ReflectorServer

NAMES = ("london", "leeds", "dundee")
NOWHERE = "http://127.0.0.1:9"  # discard: nothing listens there


def make_estate(interval_s=0.02) -> Estate:
    sites = {name: Site(name, Tier.NATIONAL, name, "gb", Location(0, 0), ()) for name in NAMES}
    classes = {"ef": TrafficClass("ef", 46), "be": TrafficClass("be", 0)}
    return Estate("test", "GBP", sites, classes, (), ProbingPlan(interval_s, 0.2))


@pytest.fixture
def reflectors():
    server, stop = ReflectorServer([Endpoint("127.0.0.1", 0)] * len(NAMES)), threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    yield dict(zip(NAMES, server.endpoints, strict=True))
    stop.set()
    thread.join(5)


class Collector:
    """A collector of a few lines: keeps every batch it acknowledged, by identity."""

    def __init__(self) -> None:
        self.batches: dict[tuple[str, int], tuple[str, ExportMetricsServiceRequest]] = {}
        self.health = 0
        self.repeated = 0

    async def receive(self, request: web.Request) -> web.Response:
        body = zstandard.ZstdDecompressor().decompressobj().decompress(await request.read())
        message = ExportMetricsServiceRequest.FromString(body)
        for resource in message.resource_metrics:
            attributes = {a.key: a.value for a in resource.resource.attributes}
            if "netslo.batch.sequence" not in attributes:
                self.health += 1
                continue
            key = (
                attributes["service.instance.id"].string_value,
                attributes["netslo.batch.sequence"].int_value,
            )
            self.repeated += key in self.batches
            self.batches[key] = (attributes["netslo.site"].string_value, message)
        answer = ExportMetricsServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")

    def packets(self) -> Counter[tuple[str, str]]:
        """Packets by path and outcome."""
        found: Counter[tuple[str, str]] = Counter()
        for name, attributes, point in self.points():
            if name == "network.probe.packets":
                found[path_of(attributes), attributes["outcome"]] += point.as_int
        return found

    def points(self):
        for _, message in self.batches.values():
            for resource in message.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        data = getattr(metric, metric.WhichOneof("data"))
                        for point in data.data_points:
                            attributes = {a.key: a.value.string_value for a in point.attributes}
                            yield metric.name, attributes, point


def path_of(attributes: dict[str, str]) -> str:
    return f"{attributes['src_site']}:{attributes['dst_site']}/{attributes['class']}"


@asynccontextmanager
async def collecting():
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/metrics", collector.receive)
    runner = web.AppRunner(app, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()


def make_agent(estate, reflectors, url, spool_dir, sites=NAMES, **options) -> ProbeAgent:
    endpoints = {path: reflectors[path.dst] for path in estate.paths if path.dst in reflectors}
    thresholds = {path: (SloThreshold("fast", 0.1),) for path in estate.paths}
    options = {"endpoints": endpoints, "thresholds": thresholds, "keys": {}} | options
    return ProbeAgent(sites, plan_paths(estate, sites, **options), url, spool_dir)


async def run_for(agent: ProbeAgent, seconds: float) -> None:
    stop = asyncio.Event()
    ready = asyncio.Event()
    running = asyncio.create_task(agent.run(stop, on_ready=ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not running.done():
        await asyncio.sleep(seconds)
    stop.set()
    await running


async def test_every_path_of_every_site_arrives_and_adds_up(reflectors, tmp_path):
    estate = make_estate()
    async with collecting() as collector:
        await run_for(make_agent(estate, reflectors, collector.url, tmp_path), 0.6)
    packets = collector.packets()
    assert {path for path, _ in packets} == {path.id for path in estate.paths}
    for path in estate.paths:
        assert 20 <= sum(packets[path.id, x] for x in ("answered", "lost", "unmeasured")) <= 45
        assert packets[path.id, "lost"] == 0
    slo_events = sum(p.as_int for name, _, p in collector.points() if name.endswith("slo_events"))
    assert slo_events == packets.total()
    assert {site for site, _ in collector.batches.values()} == set(NAMES)
    instances = {instance for instance, _ in collector.batches}
    assert len(instances) == 3
    for instance in instances:
        numbers = sorted(n for i, n in collector.batches if i == instance)
        assert numbers == list(range(len(numbers)))
    assert collector.repeated == 0
    assert collector.health >= 3
    for site in NAMES:
        assert not list((tmp_path / site).glob("*.otlp.zst"))


async def test_a_batch_holds_the_windows_of_its_own_site_only(reflectors, tmp_path):
    estate = make_estate()
    async with collecting() as collector:
        await run_for(make_agent(estate, reflectors, collector.url, tmp_path), 0.1)
    for site, message in collector.batches.values():
        single = Collector()
        single.batches = {("", 0): (site, message)}
        assert {attributes["src_site"] for _, attributes, _ in single.points()} == {site}


async def test_what_an_absent_collector_missed_is_delivered_after_the_next_start(
    reflectors, tmp_path, monkeypatch
):
    monkeypatch.setattr(probes.agent, "DRAIN_S", 0.2)
    estate = make_estate()
    await run_for(make_agent(estate, reflectors, NOWHERE, tmp_path, sites=["leeds"]), 0.3)
    waiting = len(list((tmp_path / "leeds").rglob("*.otlp.zst")))
    assert waiting >= 1
    async with collecting() as collector:
        await run_for(make_agent(estate, reflectors, collector.url, tmp_path, sites=["leeds"]), 0.3)
    assert len({instance for instance, _ in collector.batches}) == 2
    assert len(collector.batches) >= waiting + 1
    assert collector.packets().total() >= 4 * 25


async def test_a_name_that_does_not_resolve_is_unmeasured_until_it_does(
    reflectors, tmp_path, monkeypatch
):
    asked = []

    def resolve(endpoint: Endpoint):
        asked.append(endpoint)
        if len(asked) < 3:
            raise OSError(1, "no such name")
        return resolve_all(reflectors["leeds"])

    monkeypatch.setattr(probes.names, "resolve_all", resolve)
    monkeypatch.setattr(probes.names, "ASK_SPACING_S", 0.05)
    monkeypatch.setattr(probes.names, "RETRY_S", 0.15)
    estate = make_estate()
    endpoints = {path: reflectors[path.dst] for path in estate.paths if path.src == "london"}
    endpoints[Path("london", "leeds", "ef")] = Endpoint("leeds.invalid", 862)
    async with collecting() as collector:
        agent = make_agent(
            estate, reflectors, collector.url, tmp_path, sites=["london"], endpoints=endpoints
        )
        await run_for(agent, 0.9)
    packets = collector.packets()
    assert packets["london:leeds/ef", "unmeasured"] >= 5
    assert packets["london:leeds/ef", "answered"] >= 5
    assert packets["london:leeds/be", "unmeasured"] == 0
    assert len(asked) == 3


async def test_sites_without_paths_wait_for_the_end(tmp_path):
    async with collecting() as collector:
        agent = make_agent(make_estate(), {}, collector.url, tmp_path)
        await asyncio.wait_for(run_for(agent, 0.05), 10)
    assert collector.batches == {}


async def test_a_spool_in_use_stops_the_start(reflectors, tmp_path):
    estate = make_estate()
    (tmp_path / "leeds").write_text("a file where a folder must be")
    agent = make_agent(estate, reflectors, NOWHERE, tmp_path)
    with pytest.raises(NetsloError, match="leeds"):
        await agent.run(asyncio.Event())


async def test_a_fault_in_the_engine_ends_the_agent_and_is_not_swallowed(
    reflectors, tmp_path, monkeypatch
):
    def fault(_engine, *, until_stopped: bool) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(probes.agent, "DRAIN_S", 0.1)
    monkeypatch.setattr(type(probes.flows.new_engine(print)), "run", fault)
    agent = make_agent(make_estate(), reflectors, NOWHERE, tmp_path)
    with pytest.raises(ExceptionGroup) as failed:
        await asyncio.wait_for(agent.run(asyncio.Event()), 20)
    assert failed.group_contains(ZeroDivisionError)
