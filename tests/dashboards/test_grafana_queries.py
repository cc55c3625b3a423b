"""Every query of every dashboard on a real Prometheus, which a real collector fills."""

from __future__ import annotations

import asyncio
import functools
import json
import pathlib
import re
import time

import pytest
from a_browser import PROGRAM, browser
from click.testing import CliRunner
from ports import free_port
from whole_pipeline import BURNING, SCRAPE_S, SHOP_PATH, pipeline

from dashboards.cli import dashboards
from dashboards.grafana.alerting import firing, silence
from dashboards.grafana.build import boards
from dashboards.preview.panels import legend_of
from dashboards.preview.prometheus import Prometheus, Series
from dashboards.preview.values import Shown
from dashboards.preview.variables import Span, choose
from netslo.errors import ConfigurationError
from slo.burn import Severity

PATIENCE_S = 240.0  # a busy machine scrapes seldom
WANTED = {
    "netslo-path": {"path": [BURNING.id]},
    "netslo-slo": {"slo": ["latency"], "path": [BURNING.id]},
    "netslo-site": {"site": [BURNING.src]},
    "netslo-services": {"service": [SHOP_PATH.id]},
}
PLOTTED = {"geomap", "heatmap", "state-timeline", "timeseries"}
EMPTY_AT_FIRST = 2  # plots that say instead why they are empty, such as of remote write
LABEL = re.compile(r"\{\{(\w+)\}\}|__field\.labels\.(\w+)|__data\.fields\.(\w+)")


@functools.cache  # they are the same each time that a query waits for its data
def our_boards():
    return boards(())


def queries():
    """Yield board, name, expression, whether it is instant, and panel and form of the legend."""
    for board in our_boards():
        uid = board["uid"]
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                name = f"{uid}: {panel['title']} {target['refId']}"
                yield uid, name, target["expr"], target["instant"], panel, target["legendFormat"]
        for mark in board["annotations"]["list"]:
            if "expr" in mark:
                name = f"{uid}: {mark['name']}"
                yield uid, name, mark["expr"], False, {"type": "annotation"}, mark["titleFormat"]


def labels_named(panel, legend: str, series: Series) -> set[str]:
    """Return the labels that the legend of a series and the links from it are made of."""
    said = legend + str(Shown.of(panel, legend_of(legend, series)).settings.get("links"))
    if panel["type"] == "table":
        said += str(panel["fieldConfig"]["overrides"])
    return {a or b or c for a, b, c in LABEL.findall(said)}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with pipeline(tmp_path_factory.mktemp("pipeline")) as found:
        yield found


def test_every_target_of_every_panel_returns_data_with_the_labels_it_names(running) -> None:
    server = Prometheus(running.prometheus.url)
    missing = {name: (uid, *rest) for uid, name, *rest in queries()}
    assert len(missing) > 120
    ends_s = time.monotonic() + PATIENCE_S
    while missing and time.monotonic() < ends_s:
        span = Span(running.began_s, time.time(), SCRAPE_S)
        chosen = {}
        try:
            for board in our_boards():
                wanted = WANTED.get(board["uid"], {})
                chosen[board["uid"]] = choose(board, server, span, wanted)
        except ConfigurationError:  # nothing of it yet
            time.sleep(0.5)
            continue
        for name, (uid, expr, instant, panel, legend) in list(missing.items()):
            step_s = span.step_s(400)
            filled = chosen[uid].fill(expr, span.macros(step_s))
            assert not re.search(r"\$[a-z_{]", filled), (name, filled)
            if instant:
                found = server.at(filled, span.end_s)
            else:
                found = server.over(filled, span.start_s, span.end_s, step_s)
            found = [series for series in found if series.has_data]
            if found and all(
                labels_named(panel, legend, each) <= set(each.labels) for each in found
            ):
                del missing[name]
        time.sleep(0.5)
    assert not missing, {name: expr for name, (_, expr, *_) in missing.items()}


def test_grafanas_own_rules_find_what_prometheus_found(running) -> None:
    server = Prometheus(running.prometheus.url)
    ends_s = time.monotonic() + PATIENCE_S
    while True:
        now_s = time.time()
        paged = [each.labels for each in server.at(firing(Severity.PAGE), now_s)]
        burns = [each for each in paged if each.get("path") == BURNING.id]
        # A scrape or an evaluation that is late leaves a moment without.
        if burns and not server.at(silence(), now_s):
            break
        assert time.monotonic() < ends_s, paged
        time.sleep(0.5)
    assert {each["alert"] for each in burns} == {"SLOBurnPage"}
    assert not any({"alertname", "alertstate"} & set(each) for each in paged)
    never = silence().replace("SLOWatchdog", "SLOWatchdogOfNobody")
    assert len(server.at(never, time.time())) == 1


async def test_the_preview_draws_every_board_from_its_own_file(running, tmp_path) -> None:
    uk = pathlib.Path(__file__).parents[2] / "examples" / "uk"
    page = tmp_path / "preview.html"
    await asyncio.to_thread(netslo, "build", "-c", uk, "-o", tmp_path)
    chosen = [f"path={BURNING.id}", "slo=latency", f"service={SHOP_PATH.id}"]

    async def drawn() -> None:
        said = await asyncio.to_thread(
            netslo, "preview", tmp_path, "-o", page, "--prometheus", running.prometheus.url,
            "--last", "2m", "--scrape-interval", f"{SCRAPE_S}s",
            *(word for each in chosen for word in ("--var", each)),
        )  # fmt: skip
        assert said.startswith("7 dashboards, ")

    await drawn()
    text = await asyncio.to_thread(page.read_text)
    assert "preview, not Grafana" in text
    if PROGRAM is None:
        pytest.skip("no chromium; make test installs it as root")
    ends_s = time.monotonic() + PATIENCE_S
    async with browser(tmp_path / "profile") as tab:
        await tab.look(1600)
        await tab.go(page.as_uri())
        # A scrape that took too long leaves a moment without data: that is looked at anew.
        while (empty := await looked_at(tab)) and time.monotonic() < ends_s:
            await drawn()
            await tab.go(page.as_uri())
        assert not empty
        assert tab.complaints == []
        assert all(url.startswith(("file:", "data:")) for url in tab.requests), tab.requests


async def looked_at(tab) -> list[str]:
    """Look at every board; return those of which a panel has no data, or too few are drawn."""
    empty = []
    for board in our_boards():
        await tab.run(f"location.hash = {board['uid']!r}")
        await tab.until(f"document.body.dataset.shown === {board['uid']!r}")
        plots = sum(panel["type"] in PLOTTED for panel in board["panels"])
        drawn = await tab.run("document.querySelectorAll('section:not([hidden]) .main-svg').length")
        words = await tab.run("document.querySelector('section:not([hidden])').innerText")
        assert board["title"] in words
        if "No data" in words or drawn < plots - EMPTY_AT_FIRST:
            empty.append(board["uid"])
    return empty


def netslo(*arguments) -> str:
    done = CliRunner().invoke(dashboards, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.output


def test_the_preview_says_what_is_wrong(tmp_path) -> None:
    def refused(*arguments) -> str:
        done = CliRunner().invoke(dashboards, ["preview", *map(str, arguments), "-o", "x.html"])
        assert done.exception is not None
        return str(done.exception) + done.output

    assert "has no dashboards: netslo dashboards build" in refused(tmp_path)
    (tmp_path / "dashboards").mkdir()
    file = tmp_path / "dashboards" / "a.json"
    file.write_text("{")
    assert "a.json: must be a dashboard" in refused(tmp_path)
    file.write_text(json.dumps({**our_boards()[0], "uid": '"><script>'}))
    assert "uid" in refused(tmp_path)
    file.write_text(json.dumps(our_boards()[0]))
    assert "must be NAME=VALUE" in refused(tmp_path, "--var", "path")
    assert "no dashboard has it; they have class, scope, slo" in refused(tmp_path, "--var", "x=y")
    assert "not a positive duration" in refused(tmp_path, "--last", "yesterday")
    nowhere = f"http://127.0.0.1:{free_port()}"
    assert "does not answer" in refused(tmp_path, "--prometheus", nowhere)


def test_a_preview_without_its_extra_says_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("dashboards.cli.find_spec", lambda _: None)
    done = CliRunner().invoke(dashboards, ["preview", str(tmp_path), "-o", "x.html"])
    assert "needs plotly. Run: pip install 'netslo[preview]'" in str(done.exception)
