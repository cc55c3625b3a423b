"""The page of a path to a service: results, parts of requests, and the certificate."""

from __future__ import annotations

import asyncio
import pathlib
import re
from dataclasses import replace

import axe_core_python
import numpy as np
import pytest
from a_browser import PROGRAM, browser
from dashboards_page import T0, a_page, make_estate, make_objective
from some_windows import make_window
from whole_pipeline import SHOP, shop_window_of

from netslo.model import Path, Scope
from probes.health import ProbeHealth
from slo.objective import PathSelector

SHOP_PATH = Path("london", "shop", "ef")
ADDRESS = f"/paths/{SHOP_PATH}"
DAY_S = 86_400
AXE = pathlib.Path(axe_core_python.__file__).parent / "axe.min.js"


def a_house(folder):
    sources = ("london", "leeds")
    estate = replace(
        make_estate(), services={"shop": replace(SHOP, traffic_class="ef", sources=sources)}
    )
    shop = make_objective(
        name="shop", limit=0.5, selector=PathSelector(scopes=frozenset({Scope.SERVICE}))
    )
    return a_page(folder, estate=estate, objectives=[make_objective(), shop])


def windows():
    random = np.random.default_rng(3)
    return [shop_window_of(SHOP_PATH, T0 + start_s, random) for start_s in range(-200, 90, 10)]


async def report(room, **expiries_s: float) -> None:
    """Tell of certificates as a probe does, by the name of the site that sees them."""
    for site, expiry_s in expiries_s.items():
        health = ProbeHealth(site, f"{site}-1", room.url, interval_s=3600)
        health.note_certificates({f"{site}:shop/ef": expiry_s})
        await asyncio.to_thread(health.report)
        await asyncio.to_thread(health.shutdown)


def words(text: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


async def test_it_says_how_requests_ended_and_what_their_parts_took(tmp_path) -> None:
    async with a_house(tmp_path) as room:
        await room.send(*windows())
        status, _, text = await room.get(ADDRESS)
        assert status == 200
        said = words(text)
        assert "Requests by TLS" in said
        assert "How 609 requests ended over the last 1h" in said
        assert re.search(r"ok 580 95\.24 % ▲ certificate_untrusted 29 4\.76 %", said)
        whole = room.source.whole(SHOP_PATH, SHOP.kind, 3600)
        for name, phase in (("DNS", "dns"), ("first byte", "first_byte")):
            p50 = float(whole.phase(phase).quantile(0.5)) * 1e3
            assert re.search(rf"{name} 580 {p50:#.3g}".replace(".", r"\."), said), said


@pytest.mark.parametrize(
    ("left_s", "said", "mark"),
    [
        (90 * DAY_S, "Its certificate expires in 90 d,", None),
        (10 * DAY_S, "△ Its certificate expires in 10 d ,", "warn"),
        (2 * DAY_S + 60, "▲ Its certificate expires in 2 d ,", "bad"),
        (-DAY_S * 2, "▲ Its certificate expired 2 d ago,", "bad"),
    ],
)
async def test_it_says_when_the_certificate_ends(tmp_path, left_s, said, mark) -> None:
    async with a_house(tmp_path) as room:
        await room.send(*windows())
        await report(room, london=T0 + 100 + left_s, leeds=T0 + DAY_S)
        _, _, text = await room.get(ADDRESS)
        assert said in words(text)
        found = re.search(r'<p class="certificate">(<strong class="(\w+)">)?', text)
        assert found[2] == mark


async def test_a_service_without_requests_or_certificate_says_so(tmp_path) -> None:
    async with a_house(tmp_path) as room:
        _, _, text = await room.get(ADDRESS)
        said = words(text)
        assert "No request was made." in said
        assert "Nothing was answered." in said
        assert "certificate" not in said


@pytest.mark.skipif(PROGRAM is None, reason="no chromium; make test installs it as root")
async def test_a_browser_finds_nothing_wrong_on_a_phone_and_in_the_dark(tmp_path) -> None:
    async with a_house(tmp_path) as room, browser(tmp_path / "b") as tab:
        await room.send(*windows())
        await report(room, london=T0 + 5 * DAY_S)
        for width, scheme in ((360, "light"), (1280, "dark")):
            await tab.look(width, scheme=scheme)
            await tab.go(room.url + ADDRESS)
            await tab.until("document.getElementById('live').textContent.startsWith('live')")
            assert await tab.run("document.documentElement.scrollWidth") <= width
            await tab.run(f"{await asyncio.to_thread(AXE.read_text)};0")
            found = await tab.run(
                "axe.run().then(r => r.violations.map(v => [v.id, v.impact, v.nodes[0].html]))"
            )
            assert not [each for each in found if each[1] in {"serious", "critical"}], found
        assert tab.complaints == []


async def test_the_page_of_another_path_has_no_such_part(tmp_path) -> None:
    async with a_house(tmp_path) as room:
        await room.send(make_window(T0, Path("london", "leeds", "ef")))
        _, _, text = await room.get("/paths/london:leeds/ef")
        assert "Requests by" not in text
        assert 'id="service"' not in text
