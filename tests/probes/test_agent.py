"""The agent from socket to collector: what it counted is what arrives, whatever happens."""

import asyncio
import contextlib
import dataclasses
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import asynccontextmanager

import pytest
import zstandard
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from ports import free_udp_port

import probes.agent
import probes.flows
import probes.health
import probes.names
from analytics.windows import PacketCounts
from netslo.errors import NetsloError
from netslo.estate import Estate, Link, ProbingPlan
from netslo.model import Endpoint, Location, Path, Site, SloThreshold, Tier, TrafficClass
from probes.address import SocketAddress, resolve_all
from probes.agent import ProbeAgent
from probes.bandwidth.bottleneck import names_between
from probes.bandwidth.evidence import shared_loads
from probes.bandwidth.granting import KeptLeases
from probes.bandwidth.keeper import FileKeeper
from probes.bandwidth.state import StateDirectory
from probes.plan import plan_paths
from probes.reflector import ReflectorServer

NAMES = ("london", "leeds", "dundee")
NOWHERE = "http://127.0.0.1:9"  # discard: nothing listens there


def make_estate(interval_s=0.02, timeout_s=0.2) -> Estate:
    sites = {name: Site(name, Tier.NATIONAL, name, "gb", Location(0, 0), ()) for name in NAMES}
    classes = {"ef": TrafficClass("ef", 46), "be": TrafficClass("be", 0)}
    return Estate("test", "GBP", sites, classes, (), ProbingPlan(interval_s, timeout_s))


@pytest.fixture
def reflectors():
    server, stop = ReflectorServer([Endpoint("127.0.0.1", 0)] * len(NAMES)), threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    yield dict(zip(NAMES, server.endpoints, strict=True))
    stop.set()
    thread.join(60)


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


async def started(agent: ProbeAgent) -> tuple[asyncio.Task[None], asyncio.Event]:
    """Return the agent's task and what stops it, once it measures."""
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(agent.run(stop, on_ready=ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return running, stop


async def run_for(
    agent: ProbeAgent, seconds: float, until: Callable[[], bool] = lambda: True
) -> None:
    """Run for so long, and then until something is so: a minute at most."""
    running, stop = await started(agent)
    if not running.done():
        await asyncio.sleep(seconds)
        await wait_until(lambda: running.done() or until())
    stop.set()
    await running


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.02)


def so_far(agent: ProbeAgent, path: Path) -> PacketCounts:
    """Return what has become of a path's packets, while the agent measures."""
    total = PacketCounts()
    for each in agent._flows._paths.values():
        if each.plan.key.path == path:
            for running in each.flows.values():
                total.add(running.measured.totals)
    return total


@pytest.fixture(autouse=True)
def delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine deliver what it has, however long that takes."""
    monkeypatch.setattr(probes.agent, "DRAIN_S", 60.0)


async def test_every_path_of_every_site_arrives_and_adds_up(reflectors, tmp_path):
    estate = make_estate(timeout_s=2.0)  # none is lost, however busy this machine
    async with collecting() as collector:
        agent, began_s = make_agent(estate, reflectors, collector.url, tmp_path), time.monotonic()
        await run_for(agent, 0.6)
        due_max = (time.monotonic() - began_s) / 0.02 + 1
    packets = collector.packets()
    assert {path for path, _ in packets} == {path.id for path in estate.paths}
    for path in estate.paths:
        due = sum(packets[path.id, x] for x in ("answered", "lost", "unmeasured"))
        assert 20 <= due <= due_max
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


async def test_what_a_capacity_test_loads_is_due_and_no_evidence(reflectors, tmp_path, patient):
    """A shell tests the link of london and leeds, whose agents go by their own state folders."""
    estate = dataclasses.replace(
        make_estate(timeout_s=2.0), links=(Link("leeds", "london", 1e9, 0.0),)
    )
    folders = {site: tmp_path / "state" / site for site in NAMES}
    leases = KeptLeases(FileKeeper(StateDirectory(folders["london"])))
    names = names_between("london", "leeds")
    async with collecting() as collector:
        loads = shared_loads(estate, folders)
        agent = make_agent(estate, reflectors, collector.url, tmp_path / "spool", loads=loads)
        with contextlib.ExitStack() as testing:
            testing.callback(leases.grant(names, 120, "a shell").release)
            others = [path for path in estate.paths if path.src != "london"]
            await run_for(agent, 0.5, lambda: all(so_far(agent, x).answered for x in others))
    packets = collector.packets()
    for path in estate.paths:
        measured = packets[path.id, "answered"] + packets[path.id, "lost"]
        # dundee has no link of its own, so what its packets share is not known.
        if path.src == "london":
            assert measured == 0, path
            assert packets[path.id, "unmeasured"] >= 1, path
        else:
            assert packets[path.id, "answered"] >= 1, path
    found = [(path_of(a), a, point) for _, a, point in collector.points()]
    told = {path for path, a, point in found if hasattr(point, "zero_count")}
    assert told == {path.id for path in estate.paths if path.src != "london"}
    judged = {(path, a["result"]) for path, a, point in found if "slo" in a and point.as_int}
    assert {result for path, result in judged if path.startswith("london:")} == {"unmeasured"}
    aside = {path for path, a, point in found if a.get("cause") == "capacity_test"}
    assert aside == {path.id for path in estate.paths if path.src == "london"}


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
    estate = make_estate()
    with monkeypatch.context() as impatient:
        impatient.setattr(probes.agent, "DRAIN_S", 0.2)
        await run_for(make_agent(estate, reflectors, NOWHERE, tmp_path, sites=["leeds"]), 0.3)
    waiting = len(list((tmp_path / "leeds").rglob("*.otlp.zst")))
    assert waiting >= 1
    async with collecting() as collector:
        await run_for(make_agent(estate, reflectors, collector.url, tmp_path, sites=["leeds"]), 0.3)
    assert len({instance for instance, _ in collector.batches}) == 2
    assert len(collector.batches) >= waiting + 1
    assert collector.packets().total() >= 4 * 25


async def test_a_name_that_does_not_resolve_is_unmeasured_until_it_does(
    reflectors, tmp_path, monkeypatch, patient
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
    estate, asked_for = make_estate(), Path("london", "leeds", "ef")
    endpoints = {path: reflectors[path.dst] for path in estate.paths if path.src == "london"}
    endpoints[asked_for] = Endpoint("leeds.invalid", 862)
    async with collecting() as collector:
        agent = make_agent(
            estate, reflectors, collector.url, tmp_path, sites=["london"], endpoints=endpoints
        )
        await run_for(agent, 0.5, lambda: so_far(agent, asked_for).answered >= 5)
    packets = collector.packets()
    assert packets["london:leeds/ef", "unmeasured"] >= 5
    assert packets["london:leeds/ef", "answered"] >= 5
    assert packets["london:leeds/be", "unmeasured"] == 0
    assert len(asked) == 3


async def test_sites_without_paths_wait_for_the_end(tmp_path):
    async with collecting() as collector:
        agent = make_agent(make_estate(), {}, collector.url, tmp_path)
        await asyncio.wait_for(run_for(agent, 0.05), 60)
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
        await asyncio.wait_for(agent.run(asyncio.Event()), 60)
    assert failed.group_contains(ZeroDivisionError)


async def test_dead_targets_and_a_resolver_that_hangs_delay_nobody(
    reflectors, tmp_path, monkeypatch
):
    """200 targets: of each sixth, nothing can be known, reached or heard."""
    hung = threading.Event()

    def resolve(endpoint: Endpoint):
        if endpoint.host.startswith("hangs"):
            hung.wait(60)
        raise OSError(1, "no such name")

    monkeypatch.setattr(probes.names, "resolve_all", resolve)
    monkeypatch.setattr(probes.agent, "RESOLVE_WAIT_S", 0.1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
        hole.bind(("127.0.0.1", 0))
        closed = free_udp_port()
        kinds = {
            "hangs": lambda n: Endpoint(f"hangs-{n}.example", 862),
            "unknown": lambda n: Endpoint(f"unknown-{n}.example", 862),
            "refuses": lambda _: Endpoint("127.0.0.1", closed),
            "hole": lambda _: Endpoint("127.0.0.1", hole.getsockname()[1]),
            "good": lambda _: reflectors["leeds"],
            "fine": lambda _: reflectors["dundee"],
        }
        names = [f"{kind}-{n}" for n in range(34) for kind in kinds][:200]
        sites = {
            name: Site(name, Tier.EDGE, "x", "gb", Location(0, 0), ()) for name in ("home", *names)
        }
        plan = ProbingPlan(0.25, 0.2)
        estate = Estate("many", "GBP", sites, {"be": TrafficClass("be", 0)}, (), plan)
        endpoints = {
            Path("home", name, "be"): kinds[name.partition("-")[0]](name.partition("-")[2])
            for name in names
        }
        async with collecting() as collector:
            agent = make_agent(
                estate, {}, collector.url, tmp_path, sites=["home"], endpoints=endpoints
            )

            def all_tried() -> bool:
                for path in endpoints:
                    kind, found = path.dst.partition("-")[0], so_far(agent, path)
                    if kind in ("refuses", "hole"):
                        tried = found.lost
                    else:
                        tried = found.answered or kind in ("hangs", "unknown")
                    if not tried:
                        return False
                return True

            await run_for(agent, 1.5, all_tried)
    hung.set()
    packets = collector.packets()
    for name in names:
        kind, path = name.partition("-")[0], f"home:{name}/be"
        found = {x: packets[path, x] for x in ("answered", "lost", "unmeasured")}
        assert sum(found.values()) >= 3, name
        if kind in ("hangs", "unknown"):
            assert found["answered"] == found["lost"] == 0, (name, found)
        elif kind in ("refuses", "hole"):
            assert found["lost"] >= 1, (name, found)
            assert found["answered"] == 0, (name, found)
        else:
            assert found["answered"] >= 1, (name, found)


async def test_a_name_that_moves_is_followed_when_its_target_falls_silent(
    reflectors, tmp_path, monkeypatch
):
    """From a hole to two addresses that answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
        hole.bind(("127.0.0.1", 0))
        where = [(SocketAddress(socket.AF_INET, hole.getsockname()),)]
        monkeypatch.setattr(probes.names, "resolve_all", lambda _: where[-1])
        monkeypatch.setattr(probes.names, "ASK_SPACING_S", 0.05)
        monkeypatch.setattr(probes.agent, "LOOK_S", 0.05)
        estate = make_estate()
        path = Path("london", "leeds", "be")
        async with collecting() as collector:
            agent = make_agent(
                estate,
                {},
                collector.url,
                tmp_path,
                sites=["london"],
                endpoints={path: Endpoint("leeds.example", 862)},
            )
            running, stop = await started(agent)
            await wait_until(lambda: so_far(agent, path).lost >= 4)
            where.append(
                tuple(
                    SocketAddress(socket.AF_INET, (reflectors[name].host, reflectors[name].port))
                    for name in ("leeds", "dundee")
                )
            )
            await wait_until(lambda: so_far(agent, path).answered >= 10)
            stop.set()
            await running
    packets = collector.packets()
    assert packets[path.id, "lost"] >= 4
    assert packets[path.id, "answered"] >= 10


async def test_a_reload_keeps_every_packet_and_what_is_the_same(reflectors, tmp_path):
    estate = make_estate()
    kept, changed = Path("london", "leeds", "be"), Path("london", "dundee", "be")
    gone, new = Path("leeds", "london", "be"), Path("leeds", "dundee", "be")

    def plans(slo: str, paths, **options):
        return [
            dataclasses.replace(plan, **options) if plan.key.path == changed else plan
            for plan in plan_paths(
                estate,
                NAMES,
                {path: (SloThreshold(slo if path == changed else "fast", 0.1),) for path in paths},
                {path: reflectors[path.dst] for path in paths},
                {},
            )
            if plan.key.path in paths
        ]

    async with collecting() as collector:
        first = [kept, changed, gone]
        agent = ProbeAgent(NAMES, plans("fast", first), collector.url, tmp_path)
        agent.reload(plans("fast", first))  # before the start, too
        running, stop = await started(agent)
        await asyncio.sleep(0.4)
        agent.reload(plans("strict", [kept, changed, new]))
        await asyncio.sleep(0.4)
        agent.reload(plans("strict", [kept, changed, new], source_ports=1))
        await asyncio.sleep(0.4)
        stop.set()
        await running
    packets = collector.packets()
    due = {
        path: sum(packets[path.id, x] for x in ("answered", "lost", "unmeasured"))
        for path in (kept, changed, gone, new)
    }
    assert due[kept] >= 50
    assert abs(due[changed] - due[kept]) <= 12  # a packet or so at each border and at the ends
    assert 15 <= due[gone] <= due[kept] - 15
    assert 15 <= due[new] <= due[kept] - 5
    events = Counter()
    for name, attributes, point in collector.points():
        if name.endswith("slo_events"):
            events[path_of(attributes), attributes["slo"]] += point.as_int
    assert events[changed.id, "fast"] + events[changed.id, "strict"] == due[changed]
    assert events[changed.id, "fast"] >= 15
    assert events[changed.id, "strict"] >= 25
    assert events[kept.id, "fast"] == due[kept]


async def test_flows_of_a_path_are_one_series_in_a_batch(reflectors, tmp_path):
    estate = make_estate()  # 20 ms: four source ports
    async with collecting() as collector:
        await run_for(make_agent(estate, reflectors, collector.url, tmp_path), 0.3)
    for batch in collector.batches.values():
        single = Collector()
        single.batches = {("", 0): batch}
        seen = Counter(
            (name, tuple(sorted(attributes.items())), point.start_time_unix_nano)
            for name, attributes, point in single.points()
        )
        assert max(seen.values()) == 1


async def test_a_host_says_what_it_lacks_in_its_health(reflectors, tmp_path, monkeypatch):
    said = []
    real = probes.health.ProbeHealth.set_notices

    def set_notices(health, notices):
        said.append(notices)
        real(health, notices)

    monkeypatch.setattr(probes.health.ProbeHealth, "set_notices", set_notices)
    async with collecting() as collector:
        agent = ProbeAgent(["leeds"], [], collector.url, tmp_path, notices=["no luck"])
        await run_for(agent, 0.05)
    assert said == [("no luck",)]
