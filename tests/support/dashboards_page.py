"""A collector with its page, over a small estate whose strings may be hostile."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from fractions import Fraction

import aiohttp
from some_routes import (
    MPLS,
    A,
    B,
    C,
    batch_of,
    make_change,
    make_loaded,
    make_reading,
    make_seen,
)
from some_windows import make_batch, make_window

from analytics.collector.server import create_app, serve
from analytics.otlp import encode_batch
from analytics.store.sqlite import SqliteStore
from analytics.windows import Batch
from dashboards.page.routes import Pages
from dashboards.page.source import Source
from netslo.estate import Estate, Link, ProbingPlan
from netslo.model import Location, Path, Site, Tier, TrafficClass
from slo.judge import Judge
from slo.objective import Indicator, Objective, PathSelector
from slo.standings import Standings

T0 = 1_800_000_000
NO_ALERTS = {"evaluated": None, "alerts": [], "pending": [], "alertmanagers": {}}
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\"'"
PLACES = {
    "london": (51.5, -0.1),
    "leeds": (53.8, -1.5),
    "dundee": (56.5, -3.0),
    "cardiff": (51.5, -3.2),
}


def make_estate(sites=PLACES, name="test") -> Estate:
    made = {
        each: Site(each, Tier.NATIONAL, each, "gb", Location(*place), ())
        for each, place in dict(sites).items()
    }
    classes = {"ef": TrafficClass("ef", 46)}
    first, second = list(made)[:2]
    return Estate(name, "GBP", made, classes, (Link(first, second, 1e9, 0.0),), ProbingPlan(2.5, 1))


def make_objective(**changes) -> Objective:
    given = {
        "name": "latency",
        "display_name": "Latency",
        "description": "",
        "service": "net",
        "indicator": Indicator.LATENCY,
        "limit": 0.015,
        "target_text": "0.99",
        "selector": PathSelector(),
        "coverage_min": Fraction(0),  # a few windows are enough
    }
    return Objective(**{**given, **changes})


def hostile_alerts():
    """Return an alert whose every text would run, and whose runbook must not be a link."""
    alert = {
        "labels": {"alertname": HOSTILE, "severity": "page", "path": "london:leeds/ef"},
        "annotations": {
            "summary": HOSTILE,
            "description": HOSTILE,
            "runbook_url": "javascript:alert(1)",
        },
        "since": 1.0,
        "starts": 1.0,
        "ends": None,
        "value": 1.0,
        "unknown_since": None,
    }
    return {"evaluated": 1.0, "alerts": [alert], "pending": [], "alertmanagers": {}}


class Room:
    """The page, a client of it, and the clock."""

    def __init__(self, url, client, source) -> None:
        self.url, self.client, self.source = url, client, source
        self.sequence = 0

    async def send(self, *windows) -> None:
        by_site = {}
        for window in windows:
            by_site.setdefault(window.key.path.src, []).append(window)
        for contents in by_site.values():
            await self._post(make_batch(*contents, sequence=self.sequence))

    async def tell(self, *told) -> None:
        """Send routes and readings of one site."""
        site = told[0].path.src
        await self._post(batch_of(*told, sequence=self.sequence, site=site))

    async def _post(self, batch: Batch) -> None:
        self.sequence += 1
        headers = {"Content-Type": "application/x-protobuf"}
        url, body = f"{self.url}/v1/metrics", encode_batch(batch)
        async with self.client.post(url, data=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            assert not await answer.read()  # nothing was refused

    async def get(self, path: str, **headers: str):
        async with self.client.get(self.url + path, headers=headers) as answer:
            return answer.status, answer.headers, await answer.text()


@asynccontextmanager
async def a_page(
    folder: pathlib.Path, *, estate=None, objectives=None, alerts=NO_ALERTS, clock=None
) -> AsyncIterator[Room]:
    """Run it; its clock stands at T0 + 100 unless one is given."""
    estate = estate or make_estate()
    objectives = [make_objective()] if objectives is None else objectives
    clock = clock or (lambda: T0 + 100.0)
    with closing(SqliteStore.open(folder / "store.sqlite")) as store:
        store.declare_objectives({o.name: o.target_text for o in objectives}, T0 - 86_400)
        standings = Standings(store, objectives, estate, clock=clock)
        judge = Judge(standings, objectives, estate, clock)
        source = Source(store, judge, lambda: alerts, clock, standings.standing)
        pages = Pages(source)
        app = create_app(
            store, estate, routes=pages.routes(), companions=[standings, source], clock=clock
        )
        app.on_shutdown.append(pages.close)
        async with (
            serve(app, "127.0.0.1", 0) as (host, port),
            aiohttp.ClientSession() as client,
        ):
            yield Room(f"http://{host}:{port}", client, source)


def bad_and_good():
    """Return windows in which london:leeds loses and is slow, and all others are well."""
    estate = make_estate()
    for start_s in range(T0 - 200, T0 + 90, 10):
        for path in estate.paths:
            if path == Path("london", "leeds", "ef"):
                yield make_window(start_s, path, rtts=(0.010, 0.150, 0.190), lost=1)
            else:
                yield make_window(start_s, path, rtts=[0.010] * 50)


def ways():
    """Return what is told of london:leeds: four flows, two changes of one, and a capacity test."""
    path, at_s = Path("london", "leeds", "ef"), T0 + 60.0
    yield make_change(at_s - 90, path, before=(A, C), hops=(A, B, C))
    yield make_change(at_s, path, before=(A, B, C), hops=(A, MPLS, "*", C))
    yield make_seen(at_s, path, hops=(A, B, C), flow=1, path_mtu=1400)
    yield make_seen(at_s, path, hops=(A, "*"), flow=2, reached=False, path_mtu=None)
    yield make_reading(at_s, 9.42e8, path, method="tcp")
    yield make_reading(at_s, 5e8, path, direction="reverse")
    for state, p50, p99 in (("idle", 0.0102, 0.012), ("loaded", 0.044, 0.081)):
        for quantile, value in (("0.5", p50), ("0.99", p99)):
            yield make_loaded(at_s, value, state, quantile, path=path, method="tcp")
