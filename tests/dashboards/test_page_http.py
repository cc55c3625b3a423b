"""The page over HTTP, and in a real browser where there is one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib

import axe_core_python
import pytest
from a_browser import PROGRAM, browser
from dashboards_page import T0, a_page, bad_and_good, hostile_alerts, make_estate, ways
from some_windows import make_window

from dashboards.page.streams import STREAMS_MAX, Broadcast, TooManyStreams
from dashboards.page.views import Overview

AXE = pathlib.Path(axe_core_python.__file__).parent / "axe.min.js"
ADDRESSES = ("/", "/paths", "/paths/london:leeds/ef", "/paths/london:leeds/ef?span=1d")


@pytest.mark.parametrize("address", ADDRESSES)
async def test_every_page_says_how_it_stands_under_a_strict_policy(tmp_path, address) -> None:
    async with a_page(tmp_path) as room:
        await room.send(*bad_and_good())
        status, headers, text = await room.get(address)
        assert status == 200
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert "burning" in text
        assert " style=" not in text
        assert 'http-equiv="refresh"' in text  # without scripts


async def test_a_path_shows_its_routes_their_changes_and_what_they_carry(tmp_path) -> None:
    now_s = [T0 + 100.0]
    async with a_page(tmp_path, clock=lambda: now_s[0]) as room:
        _, _, text = await room.get("/paths/london:leeds/ef")
        assert "No route of this path was traced yet." in text
        assert "No change of a route is known." in text
        assert "The estate says 1 Gbit/s of its link." in text
        await room.send(*bad_and_good())
        await room.tell(*ways())
        now_s[0] += 2
        now = await asyncio.to_thread(room.source.snapshot)
        (incident,) = now.incidents
        assert incident.change is not None
        assert incident.change.at_s == T0 + 60
        text = " ".join((await room.get("/paths/london:leeds/ef"))[2].split())
        for said in (
            "udp, flow 0",
            "MPLS label 16001",
            "not reached",
            "1,400",
            "2 of 4 hops differ",
            "1 of 3 hops differs",
            "942 Mbit/s",
            "94 %",
            "10.2, 12.0",
            "44.0, 81.0",
        ):
            assert said in text, said
        assert "its route changed at" in (await room.get("/"))[2]
        _, _, other = await room.get("/paths/leeds:dundee/ef")
        assert "No route of this path was traced yet." in other


async def test_what_is_not_there_is_said_and_escaped(tmp_path) -> None:
    async with a_page(tmp_path) as room:
        for address in ("/paths/%3Cscript%3E", "/paths?site=%3Cscript%3E", "/paths?page=x"):
            status, _, text = await room.get(address)
            assert status in {400, 404}
            assert "<script>" not in text
        assert (await room.get("/events?view=/nowhere"))[0] == 404
        assert (await room.get("/events?view=http://elsewhere/"))[0] == 400
        assert (await room.get("/static/0/page.js"))[0] == 404


async def test_an_open_page_is_told_what_changed_and_resumes(tmp_path) -> None:
    now_s = [T0 + 100.0]
    async with (
        a_page(tmp_path, clock=lambda: now_s[0]) as room,
        room.client.get(f"{room.url}/events?view=/") as stream,
    ):
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        first = await _event(stream)
        assert "No figures yet" in first["data"]["verdict"]
        await room.send(*bad_and_good())
        now_s[0] += 2
        while "burn" not in (told := await _event(stream))["data"].get("verdict", ""):
            pass
        assert "matrix" in told["data"]
        headers = {"Last-Event-ID": "another-7"}
        async with room.client.get(f"{room.url}/events?view=/", headers=headers) as again:
            assert set((await _event(again))["data"]) == {*first["data"]}


async def _event(stream):
    found = {}
    async with asyncio.timeout(60):
        async for line in stream.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "" and "data" in found:
                return found
            found[name] = json.loads(value) if name == "data" else value
    raise AssertionError("the stream ended")


async def test_what_begins_to_burn_is_news_and_more_of_the_same_is_not(tmp_path) -> None:
    async with a_page(tmp_path) as room:

        async def trouble():
            return await asyncio.to_thread(room.source.trouble)

        windows = list(bad_and_good())
        ill = [window for window in windows if window.packets.lost]
        well = [window for window in windows if not window.packets.lost]
        await room.send(*well[: len(well) // 2])
        before = await trouble()
        assert before is not None
        await room.send(*well[len(well) // 2 :])
        assert await trouble() == before
        await room.send(*ill)
        assert await trouble() != before


async def test_a_thousand_paths_make_a_page_of_a_bounded_size(tmp_path) -> None:
    places = {f"site{n:02}": (50 + n / 8, n / 9) for n in range(32)}
    estate = make_estate(places)
    assert len(estate.paths) == 992
    async with a_page(tmp_path, estate=estate) as room:
        await room.send(*(make_window(T0, path) for path in estate.paths))
        for address in ("/", "/paths"):
            _, _, text = await room.get(address)
            assert len(text) < 500_000
            assert "992" in text


async def test_many_readers_cost_one_rendering_and_their_number_is_bounded() -> None:
    rendered = []

    def fragments(view):
        rendered.append(view)
        return {"part": "x"}

    broadcast = Broadcast(fragments, lambda: 0)
    readers = [broadcast.events(Overview(), "") for _ in range(STREAMS_MAX)]
    assert len({await anext(reader) for reader in readers}) == 1
    assert len(rendered) == 1
    with pytest.raises(TooManyStreams):
        await anext(broadcast.events(Overview(), ""))
    await broadcast.close()
    for reader in readers:
        with contextlib.suppress(StopAsyncIteration):
            await anext(reader)
    assert broadcast.streams == 0


@pytest.mark.skipif(PROGRAM is None, reason="no chromium; make test installs it as root")
async def test_a_browser_finds_nothing_wrong(tmp_path) -> None:
    async with a_page(tmp_path, alerts=hostile_alerts()) as room, browser(tmp_path / "b") as tab:
        await room.send(*bad_and_good())
        await room.tell(*ways())
        looks = ((360, "light"), (1280, "dark"), (2560, "light"))
        for address, (width, scheme) in zip(("/", *ADDRESSES[:3]), (*looks, looks[0]), strict=True):
            await tab.look(width, scheme=scheme)
            await tab.go(room.url + address)
            await tab.until("document.getElementById('live').textContent.startsWith('live')")
            assert await tab.run("document.documentElement.scrollWidth") <= width
            assert "owned" not in await tab.run("document.title")
            await tab.run(f"{await asyncio.to_thread(AXE.read_text)};0")
            found = await tab.run(
                "axe.run().then(r => r.violations.map(v => [v.id, v.impact, v.nodes[0].html]))"
            )
            assert not [each for each in found if each[1] in {"serious", "critical"}], found
        assert tab.complaints == []
        assert all(url.startswith(room.url) for url in tab.requests), tab.requests
