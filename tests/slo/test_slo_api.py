from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from netslo.model import Path
from slo.api import routes
from slo.judge import Judge
from slo.ranges import Ranges

NOW_S = 1_800_000_000
NORTH = Path("london", "leeds", "ef")


@pytest.fixture
async def client(store, estate, latency, loss):
    app = web.Application()
    app.add_routes(routes(Judge(Ranges(store), [latency, loss], estate, lambda: NOW_S)))
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        yield client


async def get(client, query=""):
    response = await client.get(f"/api/v1/slos{query}")
    return response.status, await response.json()


async def test_all_statuses_come_with_the_time_they_are_of(client, store, latency):
    store.add(NOW_S - 60, NORTH, latency, good=999, bad=1)
    status, body = await get(client)
    assert status == 200
    assert body["evaluated"] == NOW_S
    assert len(body["slos"]) == 36
    mine = [s for s in body["slos"] if (s["slo"], s["path"]) == (latency.name, NORTH.id)]
    assert mine[0]["budget_remaining_ratio"] == 0
    assert mine[0]["burn_rate"]["5m"] == 1


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("?slo=loss", 24),
        ("?slo=national-latency", 12),
        ("?slo=loss&slo=national-latency", 36),
        ("?path=london:leeds/ef", 2),
        ("?path=london:leeds/ef&path=london:reading/ef&slo=loss", 2),
        ("?path=london:reading/ef&slo=national-latency", 0),
    ],
)
async def test_filters_select(client, query, count):
    status, body = await get(client, query)
    assert (status, len(body["slos"])) == (200, count)


@pytest.mark.parametrize(
    ("query", "status", "names"),
    [
        ("?slo=speed", 404, "speed"),
        ("?path=london:atlantis/ef", 404, "atlantis"),
        ("?path=london", 400, "src:dst/class"),
        ("?slos=loss", 400, "slos"),
        ("?path=%00%ff", 400, "src:dst/class"),
    ],
)
async def test_a_refusal_says_why(client, query, status, names):
    found, body = await get(client, query)
    assert found == status
    assert names in body["error"]
