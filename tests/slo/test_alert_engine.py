"""The engine of a real collector tells an Alertmanager what it must, once, and not what is over."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from unittest.mock import patch

import pytest
from a_collector import make_estate
from a_house import OBJECTIVE, PATH, PER_WINDOW, T0, house
from aiohttp import web

from analytics.store.sqlite import SqliteStore
from analytics.windows import Batch
from netslo.errors import ConfigurationError
from netslo.model import NS_PER_S
from netslo.route import Hop, Route, RouteObservation, TraceProtocol
from slo.engine.alertmanager import Alertmanagers, alerts_url
from slo.engine.book import Alert, labels_of
from slo.engine.observing import Observer, Surroundings
from slo.engine.verdicts import Judged
from slo.exclusion import Covers, Exclusion
from slo.slices import TimeSlices


async def test_a_fault_pages_once_with_its_evidence_and_resolves_when_it_is_over(tmp_path) -> None:
    async with house(tmp_path) as it:
        await it.deliver(T0 - 3600, 0.0, windows=354)
        assert it.look(T0) == []
        await it.deliver(T0 - 60, 1.0, windows=6)
        assert ("SLOBurnPage", "1h/5m") in it.look(T0)
        alert = next(a for a in it.engine.to_json()["alerts"] if a["labels"].get("pair") == "1h/5m")
        assert alert["labels"] == {
            "alertname": "SLOBurnPage",
            "severity": "page",
            "slo": "loss",
            "path": PATH.id,
            "src_site": PATH.src,
            "dst_site": PATH.dst,
            "class": PATH.traffic_class,
            "scope": "national",
            "pair": "1h/5m",
        }
        said = alert["annotations"]
        assert "300 of 18,000 bad" in said["pair"]
        assert said["owner"] == "noc"
        assert "loss now 20.00 %" in said["evidence"]
        assert said["runbook_url"].endswith("SLOBurnPage.md")
        started = alert["starts"]
        assert ("SLOBurnPage", "1h/5m") in it.look(T0 + 10)
        again = next(a for a in it.engine.to_json()["alerts"] if a["labels"].get("pair") == "1h/5m")
        assert again["starts"] == started
        it.now_s = T0 + 330
        await it.deliver(T0, 0.0, windows=33)
        assert ("SLOBurnPage", "1h/5m") not in it.look(T0 + 330)


async def test_a_page_says_what_changed_of_the_route_and_where(tmp_path) -> None:
    async with house(tmp_path) as it:
        await it.deliver(T0 - 3600, 0.0, windows=354)
        before, after = (
            Route(1, TraceProtocol.UDP, tuple(map(Hop, hops)), reached=True)
            for hops in (
                ("10.0.0.1", None, "10.0.2.1", "10.9.9.9"),
                ("10.0.0.1", "10.0.1.1", "10.0.3.1", "10.9.9.9"),
            )
        )
        changes = [
            RouteObservation(PATH.reverse, after, ago_ns, before, ago_ns - NS_PER_S)
            for ago_ns in ((T0 - 7200) * NS_PER_S, (T0 - 900) * NS_PER_S, (T0 - 70) * NS_PER_S)
        ]
        batch = Batch(PATH.dst, PATH.dst, 1, (), routes=tuple(changes))
        assert (await it.room.send(batch)).refused_points == 0
        await it.deliver(T0 - 60, 1.0, windows=6)
        assert ("SLOBurnPage", "1h/5m") in it.look(T0)
        alert = next(a for a in it.engine.to_json()["alerts"] if a["labels"].get("pair") == "1h/5m")
        assert alert["annotations"]["evidence"].endswith(
            f"; the route of {PATH.reverse} changed at 2027-01-15 07:58:50 UTC, 2 changes in the "
            "hour, at hop 3 from 10.0.2.1 to 10.0.3.1"
        )


async def test_an_alert_is_told_whose_evidence_cannot_be_read(
    tmp_path, monkeypatch, caplog
) -> None:
    def damaged(*_: object) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    async with house(tmp_path) as it:
        await it.deliver(T0 - 3600, 0.0, windows=354)
        await it.deliver(T0 - 60, 1.0, windows=6)
        monkeypatch.setattr(SqliteStore, "latest_readings", damaged)
        assert ("SLOBurnPage", "1h/5m") in it.look(T0)
        alert = next(a for a in it.engine.to_json()["alerts"] if a["labels"].get("pair") == "1h/5m")
    assert "p99" in alert["annotations"]["evidence"]
    assert f"evidence of {PATH} cannot be read: database disk image is malformed" in caplog.text


async def test_nothing_is_resolved_because_data_stop(tmp_path) -> None:
    async with house(tmp_path) as it:
        await it.deliver(T0 - 3600, 0.0, windows=354)
        await it.deliver(T0 - 60, 1.0, windows=6)
        assert ("SLOBurnPage", "1h/5m") in it.look(T0)
        assert ("SLOBurnPage", "1h/5m") in it.look(T0 + 280)
        much_later = it.look(T0 + 3000)
        assert ("SLOBurnPage", "1h/5m") in much_later
        (alert,) = (a for a in it.engine.to_json()["alerts"] if a["labels"].get("pair") == "1h/5m")
        assert "nobody knows whether it is over" in alert["annotations"]["unknown"]
        it.look(T0 + 3000 + 601)
        assert "SLOProbeDown" in {name for name, _ in it.told()}


async def test_a_backlog_pages_nobody_and_is_in_the_budget_in_its_own_time(tmp_path) -> None:
    """Two hours of partition, all of them lost up to the moment at which the spool arrives."""
    async with house(tmp_path, T0 - 7200) as it:
        await it.deliver(T0 - 10_800, 0.0, windows=360)
        assert it.look(T0 - 7200) == []
        it.now_s = T0
        await it.deliver(T0 - 7200, 1.0, windows=720, late=True)
        for at_s in range(T0, T0 + 3600, 60):
            assert not {name for name, _ in it.look(at_s)} & {"SLOBurnPage", "SLOSiteBurnPage"}
            await it.deliver(at_s, 0.0, windows=6)
        it.now_s = T0 + 3600
        standing = it.standings.standing()
        spend = standing.spend(OBJECTIVE.window_s, standing.rows["loss", PATH])
        assert spend.bad == 720 * PER_WINDOW
        assert spend.events == (360 + 720 + 360) * PER_WINDOW
        two_hours = standing.spend(7200, standing.rows["loss", PATH])  # pane of 60 s
        assert two_hours.bad == pytest.approx(3600 * PER_WINDOW / 10, rel=1 / 28)


async def test_a_backlog_pages_nobody_through_a_restart_of_the_collector(tmp_path) -> None:
    async with house(tmp_path, T0 - 7200) as it:
        await it.deliver(T0 - 10_800, 0.0, windows=360)
        it.now_s = T0
        await it.deliver(T0 - 7200, 1.0, windows=720, late=True)
    with closing(SqliteStore.open(tmp_path / "store.sqlite")) as store:
        store.maintain(T0 + 3600)  # the bodies are gone, and when they came
    async with house(tmp_path, T0 + 10) as again:
        assert not {name for name, _ in again.look(T0 + 10)} & {"SLOBurnPage", "SLOSiteBurnPage"}
        assert again.spent(PATH, 7200).bad > 0
        again.sequence = 1000
        await again.deliver(T0 + 10, 1.0, windows=90)  # and what is not over pages
        assert ("SLOBurnPage", "1h/5m") in again.look(T0 + 910)


async def test_what_fired_before_the_backlog_goes_on_until_that_is_known_to_be_over(
    tmp_path,
) -> None:
    async with house(tmp_path) as it:
        await it.deliver(T0 - 3600, 0.0, windows=354)
        await it.deliver(T0 - 60, 1.0, windows=6)
        assert ("SLOBurnPage", "1h/5m") in it.look(T0)
        it.now_s = T0 + 600
        await it.deliver(
            T0, 0.0, windows=60, late=True
        )  # ten minutes at once, and all is well in them
        assert ("SLOBurnPage", "1h/5m") in it.look(T0 + 600)
        it.now_s = T0 + 1020
        await it.deliver(T0 + 600, 0.0, windows=42)
        assert ("SLOBurnPage", "1h/5m") not in it.look(T0 + 1020)


async def test_a_probe_whose_clock_was_ahead_is_missed_when_it_falls_silent(tmp_path) -> None:
    async with house(tmp_path) as it:
        it.look(T0)
        await it.deliver(T0 + 50, 0.0)  # ends a minute from now
        it.look(T0 + 80)
        it.look(T0 + 100)
        assert ("SLOProbeDown", "") in it.look(T0 + 160)


async def test_young_series_and_single_losses_page_nobody(tmp_path) -> None:
    async with house(tmp_path) as it:
        await it.deliver(T0 - 20, 1.0, windows=2)  # twenty seconds of a path that is new
        assert it.look(T0) == []
    async with house(tmp_path, T0 + 7200) as it:
        await it.deliver(T0 + 3600, 0.0, windows=359)
        await it.deliver(T0 + 7190, 0.04)  # two packets
        assert it.look(T0 + 7200) == []


async def test_a_dead_site_is_one_matter(tmp_path) -> None:
    estate = make_estate()
    to_leeds = [path for path in estate.paths if "leeds" in (path.src, path.dst)]
    others = [path for path in estate.paths if path not in to_leeds]
    async with house(tmp_path) as it:
        await it.deliver(T0 - 3600, 0.0, *estate.paths, windows=330)
        await it.deliver(T0 - 300, 1.0, *to_leeds, windows=30)
        await it.deliver(T0 - 300, 0.0, *others, windows=30)
        told = it.look(T0)
        assert ("SLOSiteBurnPage", "leeds") in told
        assert [site for name, site in told if name == "SLOSiteBurnPage"] == ["leeds"]


async def test_what_is_excluded_alerts_nobody(tmp_path) -> None:
    off = Exclusion(
        "x", T0 - 300, T0 + 3600, "alice", "CHG-1", T0 - 600, Covers(sites=frozenset({PATH.dst}))
    )
    async with house(tmp_path, off=[off]) as it:
        await it.deliver(T0 - 3600, 0.0, windows=330)
        await it.deliver(T0 - 300, 1.0, windows=30)
        assert it.look(T0) == []
        it.look(T0 + 700)
        shown = it.engine.to_json()["alerts"]
        low = {a["labels"]["path"] for a in shown if a["labels"]["alertname"] == "SLOCoverageLow"}
        assert PATH.id not in low
        assert low  # of the paths that are not excluded


@pytest.mark.parametrize(
    ("slices", "lacking_s"), [(None, 300), (TimeSlices(3600, Fraction(1, 2)), 300 + 3660)]
)
def test_what_an_exclusion_left_out_is_no_lack_of_coverage(slices, lacking_s) -> None:
    objective, estate = replace(OBJECTIVE, slices=slices), make_estate()
    off = Exclusion("x", T0 - 3600, T0, "alice", "CHG-1", T0 - 7200)
    observer = Observer([objective], estate)
    judged = Judged(T0, (), frozenset({(objective.name, PATH)}))
    for after_s, told in ((0, False), (lacking_s - 1, False), (lacking_s, True)):
        around = Surroundings(T0 + after_s, T0, T0 + after_s, {}, exclusions=[off])
        seen = {dict(each.labels)["alertname"] for each in observer.observe(judged, around)}
        assert ("SLOCoverageLow" in seen) == told


async def test_a_site_that_is_off_as_a_whole_does_not_page_that_its_probe_is_silent(
    tmp_path,
) -> None:
    whole, part = Covers(sites=frozenset({PATH.src})), Covers(paths=frozenset({PATH}))
    for covers, pages in ((whole, False), (part, True)):
        off = Exclusion("x", T0 - 300, T0 + 900, "alice", "CHG-1", T0 - 600, covers)
        folder = tmp_path / str(pages)
        folder.mkdir()
        async with house(folder, off=[off]) as it:
            await it.deliver(T0 - 60, 0.0, windows=6)
            it.look(T0)
            it.look(T0 + 400)
            assert pages == (PATH.src in silent_probes(it, T0 + 800))
            it.look(T0 + 910)  # the work is over, and the probe is still away
            assert PATH.src in silent_probes(it, T0 + 1300)


def silent_probes(it, at_s: float) -> set[str]:
    it.look(at_s)
    found = [alert["labels"] for alert in it.engine.to_json()["alerts"]]
    return {each["src_site"] for each in found if each["alertname"] == "SLOProbeDown"}


async def test_a_restart_tells_of_the_same_alert(tmp_path) -> None:
    async with house(tmp_path) as it:
        await it.deliver(T0 - 3600, 0.0, windows=354)
        await it.deliver(T0 - 60, 1.0, windows=6)
        it.look(T0)
    async with house(tmp_path, T0 + 60) as it:
        it.look(T0 + 60)
        (alert,) = (a for a in it.engine.to_json()["alerts"] if a["labels"].get("pair") == "1h/5m")
        assert alert["starts"] == T0


async def test_an_end_that_nobody_took_is_told_after_a_start(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("slo.engine.engine.LOOK_S", 3600.0)  # this test looks itself
    page = ("SLOBurnPage", "1h/5m")
    async with house(tmp_path) as it:
        await it.deliver(T0 - 3600, 0.0, windows=354)
        await it.deliver(T0 - 60, 1.0, windows=6)
        assert page in it.look(T0)
        it.now_s = T0 + 330
        await it.deliver(T0, 0.0, windows=33)
        assert page not in it.look(T0 + 330)
        # Here it is killed, before Alertmanager is told.
    async with house(tmp_path, T0 + 340) as it:
        ended = {(each.name, dict(each.labels).get("pair")) for each in it.engine.look().ended}
        assert page in ended
        assert page not in it.told()


@pytest.mark.parametrize("content", ["", "[1]", '[{"labels": 1}]', "{}"])
async def test_a_file_of_alerts_that_cannot_be_read_is_said(tmp_path, content, caplog) -> None:
    (tmp_path / "alerts.json").write_text(content)
    async with house(tmp_path) as it:
        assert it.look(T0) == []
    assert content == "{}" or "cannot be read" in caplog.text


async def test_alerts_are_shown_by_the_api(tmp_path) -> None:
    async with house(tmp_path) as it:
        shape = it.engine.to_json()
        assert shape["alerts"] == []
        assert shape["evaluated"] is None
        json.dumps(shape)


@dataclass
class FakeAlertmanager:
    posts: list[list[dict]] = field(default_factory=list)
    status: int = 200

    async def handle(self, request: web.Request) -> web.Response:
        self.posts.append(await request.json())
        return web.Response(status=self.status)


@asynccontextmanager
async def alertmanager() -> AsyncIterator[tuple[FakeAlertmanager, str]]:
    fake = FakeAlertmanager()
    app = web.Application()
    app.router.add_post("/api/v2/alerts", fake.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        with patch("slo.engine.alertmanager._TIMEOUT_S", 60.0):  # of a busy machine
            yield fake, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def alert(**changes) -> Alert:
    return replace(Alert(labels_of(alertname="SLOBurnPage", path="a:b/c"), 90.0, 100.0), **changes)


async def test_alertmanager_is_told_again_and_that_it_is_over() -> None:
    async with alertmanager() as (fake, url):
        tell = Alertmanagers([url], source="http://collector", interval_s=30)
        await tell.tell([alert()], [], 200.0)
        await tell.tell([], [alert(ends_s=230.0)], 230.0)
        await tell.tell([], [], 260.0)
        await tell.tell([], [], 900.0)
        first, *over = [post[0] for post in fake.posts]
        assert datetime.fromisoformat(first["startsAt"]).timestamp() == 100
        assert datetime.fromisoformat(first["endsAt"]).timestamp() == 200 + 86_400
        assert first["labels"] == {"alertname": "SLOBurnPage", "path": "a:b/c"}
        assert [datetime.fromisoformat(each["endsAt"]).timestamp() for each in over] == [230, 230]


async def test_a_collector_that_dies_ends_the_heartbeat_and_nothing_else() -> None:
    async with alertmanager() as (fake, url):
        watchdog = Alert(labels_of(alertname="SLOWatchdog"), 90.0, 100.0)
        await Alertmanagers([url], interval_s=30).tell([alert(), watchdog], [], 200.0)
        last = [datetime.fromisoformat(each["endsAt"]).timestamp() for each in fake.posts[0]]
        assert last == [200 + 86_400, 200 + 6 * 30]


async def test_that_it_is_over_is_told_until_it_is_taken() -> None:
    async with alertmanager() as (fake, url):
        tell = Alertmanagers([url])
        fake.status = 503
        for now_s in (230.0, 900.0):
            await tell.tell([], [alert(ends_s=230.0)] if now_s == 230 else [], now_s)
            assert [each.ends_s for each in tell.untaken] == [230.0]
        fake.status = 200
        for now_s in (930.0, 960.0):
            await tell.tell([], [], now_s)
            assert not tell.untaken
        assert [len(post) for post in fake.posts] == [1, 1, 1]


async def test_one_that_is_down_delays_none_of_the_others_and_is_said_once(caplog) -> None:
    async with alertmanager() as (fake, url):
        tell = Alertmanagers(["http://127.0.0.1:1", url])
        for _ in range(2):
            await tell.tell([alert()], [], 200.0)
        assert len(fake.posts) == 2
        assert (tell.told, tell.failed) == (2, 2)
        assert caplog.text.count("does not take alerts") == 1
        fake.status = 400
        await tell.tell([alert()], [], 200.0)
        assert tell.trouble[f"{url}/api/v2/alerts"] == "HTTP 400"


async def test_many_alerts_go_in_several_requests() -> None:
    async with alertmanager() as (fake, url):
        many = [alert(labels=labels_of(alertname="a", path=str(n))) for n in range(1100)]
        await Alertmanagers([url]).tell(many, [], 0.0)
        assert [len(post) for post in fake.posts] == [500, 500, 100]


@pytest.mark.parametrize("url", ["", "alertmanager:9093", "ftp://a", "http://", "http://a:x"])
def test_what_is_no_url_is_said(url) -> None:
    with pytest.raises(ConfigurationError, match="must be a URL"):
        alerts_url(url)


def kept(**changes) -> str:
    """Return the file of one alert, with some of its figures changed."""
    labels = {"alertname": "SLOBurnPage", "slo": "loss", "path": PATH.id, "pair": "1h/5m"}
    shape = {
        "labels": {**labels, "scope": "national", **changes.pop("labels", {})},
        "annotations": {},
        "since": T0,
        "starts": T0,
        "ends": None,
        "value": 20.0,
        "unknown_since": None,
    }
    return json.dumps([{**shape, **changes}])


@pytest.mark.parametrize(
    "content",
    [
        kept(since=1e300),
        kept(starts=float("nan")),
        kept(unknown_since=-1),
        kept(labels={"path": "nowhere"}),
        json.dumps([{**json.loads(kept())[0], "labels": {"alertname": "SLOBurnPage"}}]),
        "[" * 100_000,
    ],
)
async def test_alerting_goes_on_after_a_file_that_says_what_cannot_be(
    tmp_path, content, caplog
) -> None:
    (tmp_path / "alerts.json").write_text(content)
    async with house(tmp_path) as it:
        await it.deliver(T0 - 3600, 0.0, windows=354)
        await it.deliver(T0 - 60, 1.0, windows=6)
        assert ("SLOBurnPage", "1h/5m") in it.look(T0)
    assert "alerts begin anew" in caplog.text


@pytest.mark.parametrize("make", ["directory", "binary"])
async def test_a_file_of_alerts_that_is_none_stops_nothing(tmp_path, make, caplog) -> None:
    file = tmp_path / "alerts.json"
    file.mkdir() if make == "directory" else file.write_bytes(bytes(range(128, 256)))
    async with house(tmp_path) as it:
        await it.deliver(T0 - 3600, 0.0, windows=354)
        await it.deliver(T0 - 60, 1.0, windows=6)
        assert ("SLOBurnPage", "1h/5m") in it.look(T0)
    assert "cannot be read" in caplog.text
    assert ("cannot be written" in caplog.text) == (make == "directory")


async def test_a_clock_that_was_a_month_ahead_leaves_no_month_without_alerts(
    tmp_path, caplog
) -> None:
    async with house(tmp_path) as it:
        await it.deliver(T0 - 3600, 0.0, windows=354)
        await it.deliver(T0 - 60, 1.0, windows=6)
        assert ("SLOBurnPage", "1h/5m") in it.look(T0)
        it.look(T0 + 30 * 86_400)
        ends_s = time.monotonic() + 60
        while time.monotonic() < ends_s:  # until the ledger is made anew, nothing ends
            assert ("SLOBurnPage", "1h/5m") in it.look(T0)
            if it.engine.to_json()["evaluated"] == T0:
                break
            await asyncio.sleep(0.02)
        assert it.engine.to_json()["evaluated"] == T0
        burns = [a for a in it.engine.to_json()["alerts"] if a["labels"].get("pair") == "1h/5m"]
        assert all(a["starts"] == T0 and a["unknown_since"] is None for a in burns)
        it.now_s = T0 + 330
        await it.deliver(T0, 0.0, windows=33)
        assert ("SLOBurnPage", "1h/5m") not in it.look(T0 + 330)
    assert caplog.text.count("burn rates and budgets are worked out anew") == 1


async def test_what_one_request_brought_to_grief_keeps_no_other_from_being_told() -> None:
    async with alertmanager() as (fake, url):
        fake.status = 400
        many = [alert(labels=labels_of(alertname="a", path=str(n))) for n in range(1100)]
        tell = Alertmanagers([url])
        await tell.tell(many, [], 0.0)
        assert [len(post) for post in fake.posts] == [500, 500, 100]
        fake.status = 302
        await tell.tell([alert()], [], 0.0)
        assert tell.trouble[f"{url}/api/v2/alerts"] == "HTTP 302"
        assert (tell.told, tell.failed) == (0, 4)
