"""All that dashboards look at, in half a minute: a whole collector and a real Prometheus.

The collector is the product's own, with rules, exclusions and probes' health; windows come as OTLP
and have everything that a probe can tell. One path burns, so that all that tells of trouble does.
Windows are ten seconds long and come each second: alerts' windows are shortened as in the demo.
"""

from __future__ import annotations

import asyncio
import pathlib
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace

import numpy as np
from ports import free_port
from real_prometheus import Server, prometheus, wait_until
from some_routes import A, B, C, batch_of, make_change, make_loaded, make_reading, make_seen
from some_windows import make_batch, sketch_of

from analytics.collector.remote_writer import RemoteWrite
from analytics.otlp import encode_batch
from analytics.readings import Told
from analytics.store.sqlite import SqliteStore
from analytics.warm_up import warm_up
from analytics.windows import (
    DIRECTIONS,
    PHASES,
    TRANSITION_NAMES,
    CountKey,
    PacketCounts,
    PathWindow,
    SeriesKey,
    SketchKey,
    SloCounts,
)
from netslo import metrics
from netslo.app.parts.collector import run_collector
from netslo.estate import Estate, Link, ProbingPlan
from netslo.model import (
    Endpoint,
    Location,
    Path,
    ProbeKind,
    Quality,
    Scope,
    Site,
    Tier,
    TrafficClass,
    Window,
)
from netslo.service import Phase, Service, TlsRequest, Where
from probes.flows import FlowFigures
from probes.health import ProbeHealth
from slo.exclusion import Covers, Exclusion
from slo.exclusion_log import FILE_NAME as EXCLUSIONS
from slo.exclusion_log import append_to_log
from slo.objective import Indicator, Objective, PathSelector
from slo.policy import DEFAULT_POLICY, accelerated
from slo.rules.layout import Timing
from slo.rules.rules import rule_file
from slo.rules.yaml_text import to_yaml

BURNING = Path("london", "leeds", "ef")
SCRAPE_S = 1
NATIVE = "--enable-feature=native-histograms"
_PLACES = {
    "london": ("england", 51.5, -0.1),
    "leeds": ("england", 53.8, -1.5),
    "dundee": ("scotland", 56.5, -3.0),
}
_PACKETS = 60  # of a window
_REQUESTS = 20
_BEFORE_S = 3600
_MINUTE = 6  # windows: of the past, one has the packets of a whole minute, so that much is known
SHOP = Service(
    "shop", TlsRequest(Where("shop.example", 443), "shop.example"), "be", tuple(_PLACES), 0.5, 5.0
)
SHOP_PATH = Path("london", "shop", "be")
FATES = ("good", "slow", "lost")


def make_estate(name: str = "test") -> Estate:
    sites = {
        each: Site(each, Tier.NATIONAL, region, "gb", Location(*place), ())
        for each, (region, *place) in _PLACES.items()
    }
    classes = {"ef": TrafficClass("ef", 46), "be": TrafficClass("be", 0)}
    return Estate(
        name,
        "GBP",
        sites,
        classes,
        (Link("london", "leeds", 1e9, 0),),
        ProbingPlan(0.2, 1),
        services={SHOP.name: SHOP},
    )


def make_objectives(**changes: str) -> tuple[Objective, ...]:
    """Return an objective of latency, of loss and of a service; `changes` are of all."""
    common = {"service": "net", "selector": PathSelector(), "description": "", **changes}
    latency = Objective(
        name="latency",
        display_name="Latency",
        indicator=Indicator.LATENCY,
        limit=0.03,
        target_text="0.99",
        **common,
    )
    loss = Objective(
        name="loss",
        display_name="Loss",
        indicator=Indicator.LOSS,
        limit=None,
        target_text="0.999",
        **common,
    )
    of_services = PathSelector(scopes=frozenset({Scope.SERVICE}))
    shop = replace(latency, name="shop", display_name="Shop", limit=0.5, selector=of_services)
    return tuple(replace(o, alerts=accelerated(DEFAULT_POLICY, 60)) for o in (latency, loss, shop))


def window_of(
    path: Path,
    start_s: int,
    random: np.random.Generator,
    *,
    ill: bool = False,
    packets: int = _PACKETS,
) -> PathWindow:
    """Return a window with everything that a probe can tell."""
    rtts = random.lognormal(np.log(0.012), 0.2, packets)
    lost = 0
    if ill:
        rtts[: packets // 2] += 0.06
        lost = 4
    rtts = rtts[lost:]
    bad = int((rtts > 0.03).sum())
    key = {name: SketchKey(name, Quality.A) for name in (metrics.RTT, metrics.JITTER, metrics.IPDV)}
    found = PathWindow(
        SeriesKey(path),
        Window(start_s),
        PacketCounts(len(rtts), lost, 0, duplicates=1, reordered=1),
        {
            key[metrics.RTT]: sketch_of(rtts),
            key[metrics.JITTER]: sketch_of(rtts - rtts.min()),
            key[metrics.IPDV]: sketch_of(np.diff(rtts)),
        },
        {
            "latency": SloCounts(len(rtts) - bad, bad + lost, 0),
            "loss": SloCounts(len(rtts), lost, 0),
        },
        interarrival_jitter_s=0.002,
        delay_error_s=0.0001,
        clock_offset_s=-0.002,
        clock_offset_error_s=0.006,
    )
    for direction, share in zip(DIRECTIONS, (0.45, 0.55), strict=True):
        found.sketches[SketchKey(metrics.DELAY, Quality.A, direction)] = sketch_of(rtts * share)
        variation = sketch_of(rtts * share - (rtts * share).min())
        found.sketches[SketchKey(metrics.DELAY_VARIATION, Quality.A, direction)] = variation
        found.counts[CountKey(metrics.DIRECTED_LOSS, "", direction)] = lost
        found.counts[CountKey(metrics.TTL_CHANGES, "", direction)] = int(ill)
    if lost:
        found.sketches[SketchKey(metrics.LOSS_PERIOD)] = sketch_of([1, 3])
        for name, count in zip(TRANSITION_NAMES, (50, 2, 2, 2), strict=True):
            found.counts[CountKey(metrics.TRANSITIONS, name)] = count
        found.counts[CountKey(metrics.REMARKED, "0")] = 2
    return found


def told_of(path: Path, at_s: float, number: int) -> Iterator[Told]:
    """Tell of a route that changes each time, of one that stays, and of a capacity test."""
    one, other = (A, C), (A, B, C)
    before, after = (one, other) if number % 2 else (other, one)
    if number:
        yield make_change(at_s, path, before=before, hops=after)
    else:
        yield make_seen(at_s, path, hops=after)
    yield make_seen(at_s, path, hops=other, flow=1)
    for direction in DIRECTIONS:
        yield make_reading(at_s, 9.4e8, path, direction=direction)
        for state, rtt_s in (("idle", 0.012), ("loaded", 0.05)):
            yield make_loaded(at_s, rtt_s, state, path=path, direction=direction)


def shop_window_of(
    path: Path, start_s: int, random: np.random.Generator, count: int = _REQUESTS
) -> PathWindow:
    """Return a window of requests to a service, of which one fails."""
    phases = {
        phase: random.lognormal(np.log(mean_s), 0.3, count)
        for phase, mean_s in zip(Phase, (0.002, 0.01, 0.02, 0.05, 0.01), strict=True)
    }
    whole = sum(phases.values())
    found = PathWindow(
        SeriesKey(path, ProbeKind.TLS),
        Window(start_s),
        PacketCounts(count, 1, 0),
        {SketchKey(metrics.RTT, Quality.C): sketch_of(whole)},
        {"shop": SloCounts(count, 1, 0)},
    )
    for phase, took_s in phases.items():
        found.sketches[SketchKey(PHASES[phase], Quality.C)] = sketch_of(took_s)
    for result, number in (("ok", count), ("certificate_untrusted", 1)):
        found.counts[CountKey(metrics.RESULTS, result)] = number
    return found


@dataclass
class Pipeline:
    """Both servers."""

    collector: str
    prometheus: Server
    estate: Estate
    objectives: tuple[Objective, ...]
    began_s: float


@contextmanager
def pipeline(
    folder: pathlib.Path,
    estate: Estate | None = None,
    objectives: tuple[Objective, ...] | None = None,
) -> Iterator[Pipeline]:
    """Run all of it; new windows go on coming."""
    estate, objectives = estate or make_estate(), objectives or make_objectives()
    warm_up()  # so that no compiler takes the time of what is waited for
    began_s = time.time()
    _prepare(folder, estate, objectives, int(began_s))
    with ExitStack() as stack:
        url = stack.enter_context(_collector(folder, estate, objectives))
        (folder / "rules.yml").write_text(to_yaml(rule_file(objectives, Timing(1, 1)), "test"))
        config = {
            "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {
                    "job_name": "netslo",
                    "static_configs": [{"targets": [url.removeprefix("http://")]}],
                }
            ],
        }
        server = stack.enter_context(prometheus(folder, config, NATIVE))
        stack.enter_context(_feeding(url, estate, int(began_s)))
        yield Pipeline(url, server, estate, objectives, began_s)


def _prepare(folder: pathlib.Path, estate: Estate, objectives, now_s: int) -> None:
    """Put an hour behind us into the store, and an exclusion beside it."""
    random = np.random.default_rng(1)
    with closing(SqliteStore.open(folder / "store.sqlite")) as store:
        store.declare_objectives({o.name: o.target_text for o in objectives}, now_s - 86_400)
        for site in estate.sites:
            starts = range(now_s - _BEFORE_S, now_s - 120, 60)
            windows = [
                window_of(path, start_s // 10 * 10, random, packets=_MINUTE * _PACKETS)
                for start_s in starts
                for path in estate.paths
                if path.src == site
            ]
            windows += [
                shop_window_of(path, start_s // 10 * 10, random, _MINUTE * _REQUESTS)
                for start_s in starts
                for path in estate.service_paths
                if path.src == site
            ]
            store.append(make_batch(*windows, instance=f"before-{site}"), now_s - 120)
    for number, (slo, path) in enumerate((("loss", BURNING), ("shop", SHOP_PATH)), 1):
        append_to_log(
            folder / EXCLUSIONS,
            Exclusion(
                f"x{number}",
                now_s // 300 * 300 - 300,
                now_s // 300 * 300 + 1800,
                "alice",
                f"CHG-{number}",
                now_s - 600,
                Covers(slos=frozenset({slo}), paths=frozenset({path})),
            ),
        )


@contextmanager
def _collector(folder: pathlib.Path, estate: Estate, objectives) -> Iterator[str]:
    """Run the product's collector in a thread of its own."""
    loop = asyncio.new_event_loop()
    stop, bound = asyncio.Event(), []

    async def run() -> None:
        # Nobody takes what it writes remotely: what waits is seen.
        nowhere = RemoteWrite(f"http://127.0.0.1:{free_port()}/api/v1/write", 5.0)
        await run_collector(
            estate, objectives, folder / "store.sqlite", Endpoint("127.0.0.1", 0), stop,
            bound.append, nowhere,
        )  # fmt: skip

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), name="collector")
    thread.start()
    try:
        wait_until(lambda: bound or not thread.is_alive(), "the collector listens")
        yield f"http://{bound[0]}"
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@contextmanager
def _feeding(url: str, estate: Estate, now_s: int) -> Iterator[None]:
    """Send a window of each path each second, and health."""
    done = threading.Event()
    thread = threading.Thread(target=_feed, args=(url, estate, now_s, done), name="feeding")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _feed(url: str, estate: Estate, now_s: int, done: threading.Event) -> None:
    random = np.random.default_rng(2)
    health = {site: ProbeHealth(site, f"{site}-1", url, interval_s=3600) for site in estate.sites}
    number = 0
    while not done.is_set():
        start_s = (now_s - 60) // 10 * 10 + number % 6 * 10  # neither late nor of the future
        start_s += int(time.time() - now_s) // 10 * 10
        for site in estate.sites:
            windows = [
                window_of(path, start_s, random, ill=path == BURNING)
                for path in estate.paths
                if path.src == site
            ]
            windows += [
                shop_window_of(path, start_s, random)
                for path in estate.service_paths
                if path.src == site
            ]
            batch = make_batch(*windows, sequence=number, instance=site)
            if site == BURNING.src:
                told = told_of(BURNING, time.time() - 1, number)
                batch = batch_of(*told, windows=windows, sequence=number, site=site, instance=site)
            _post(url, encode_batch(batch))
            _report(health[site], site, number)
        stranger = window_of(Path("london", "nowhere", "ef"), start_s, random)
        _post(url, encode_batch(make_batch(stranger, sequence=number, instance="stranger")))
        number += 1
        done.wait(1.0)
    for each in health.values():
        each.shutdown()


def _report(health: ProbeHealth, site: str, number: int) -> None:
    health.record_lateness([0.001, 0.002])
    health.set_spool_depth(2, 1)
    health.set_clock_error(0.0002)
    health.set_noise_floor({"0.5": 0.00002, "0.99": 0.0001})
    health.count_discarded("late", 1 + number % 2)
    health.set_notices(["no-transmit-stamps"])
    health.set_flows(
        [
            FlowFigures(BURNING.id, f"port {port}", 0.01 + port / 1e7, 0.01)
            for port in (40000, 40001)
        ]
    )
    health.note_certificates({f"{site}:shop/be": time.time() + 90 * 86_400})
    health.report()


def _post(url: str, body: bytes) -> None:
    headers = {"Content-Type": "application/x-protobuf"}
    request = urllib.request.Request(f"{url}/v1/metrics", body, headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        assert answer.status == 200
