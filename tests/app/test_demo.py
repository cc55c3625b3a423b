"""The demo is the product's promise: what it measures is what its own network did."""

import contextlib
import http.client
import json
import math
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import datetime

import pytest
from own_networks import lack_of_networks, require_networks
from processes import complaints
from real_prometheus import binary

DURATION_S = 90


class Onlooker(threading.Thread):
    """Has the page open as a browser does, and notes when a path is first said to burn there."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen_s: dict[str, float] = {}  # by path, Unix time
        self.events = 0
        self._url = ""

    def open(self, url: str) -> None:
        self._url = url
        self.start()

    def run(self) -> None:
        with (
            contextlib.suppress(OSError, http.client.HTTPException),  # the demo is over
            urllib.request.urlopen(f"{self._url}events?view=/", timeout=60) as stream,
        ):
            for line in stream:
                if line.startswith(b"data: "):
                    self.events += 1
                    self._note(json.loads(line[6:]).get("news", ""))

    def _note(self, news: str) -> None:
        for path in re.findall(r'<a href="/paths/([^"]+)">[^<]*</a> burns ', news):
            self.seen_s.setdefault(path, time.time())


@pytest.fixture(scope="module")
def onlooker():
    return Onlooker()


@pytest.fixture(scope="module")
def demo(tmp_path_factory, onlooker):
    """One run of the demo for all tests here: its final state, its output, its folder.

    Prometheus judges it too where it is installed, and somebody looks at its page.
    """
    directory = tmp_path_factory.mktemp("demo")
    state, errors = directory / "state.json", directory / "stderr"
    both = all(map(shutil.which, ("prometheus", "prometheus-alertmanager")))
    command = [
        *(sys.executable, "-P", "-m", "netslo", "demo", "--duration", str(DURATION_S)),
        *("--json", str(state), "--data", str(directory / "data")),
        *(["--prometheus"] if both else []),
    ]
    output = []
    with (
        errors.open("w") as complained,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complained, text=True) as running,
    ):
        too_long = threading.Timer(DURATION_S + 300, running.kill)
        too_long.start()
        try:
            for line in running.stdout:
                output.append(line)
                if page := re.match(r"Page at (http://\S+)$", line):
                    onlooker.open(page[1])
            running.wait()
        finally:
            too_long.cancel()
            running.kill()
    said, wrong = "".join(output), errors.read_text()
    assert running.returncode == 0, said + wrong
    assert not complaints(wrong)
    return json.loads(state.read_text()), said, directory


pytestmark = pytest.mark.quiet


def test_every_path_is_measured_and_its_ledger_adds_up(demo) -> None:
    state, _, _ = demo
    assert len(state["paths"]) == 144
    for path in state["paths"]:
        assert path["due"] == path["answered"] + path["lost"] + path["unmeasured"]
        assert path["due"] == pytest.approx(DURATION_S * 5, abs=15)
        # Nobody follows up the last answer: it is a sample of another quality.
        assert path["answered"] - 1 <= path["rtt"]["count"] <= path["answered"]


def deviation(path, q: str) -> tuple[float, float]:
    """Return |measured - true| and the truth, in seconds."""
    measured, true = path["rtt"]["quantiles"][q], path["truth"]["rtt"]["quantiles"][q]
    return abs(measured["value"] - true["value"]), true["value"]


def test_the_median_of_every_path_is_the_networks_own(demo) -> None:
    for path in demo[0]["paths"]:
        error_s, true_s = deviation(path, "0.5")
        assert error_s <= 0.02 * true_s + 0.0003, path["path"]


def test_p99_is_the_networks_own_on_95_percent_of_the_paths(demo) -> None:
    near = 0
    for path in demo[0]["paths"]:
        error_s, true_s = deviation(path, "0.99")
        near += error_s <= 0.05 * true_s + 0.001
    print(f"p99 within 5 % + 1 ms on {near} of 144 paths")
    assert near >= 0.95 * 144


def test_loss_is_the_networks_own_within_three_standard_errors(demo) -> None:
    for path in demo[0]["paths"]:
        true = path["truth"]["lost"]
        assert abs(path["lost"] - true) <= 3 * math.sqrt(max(true, 1)), path["path"]
    lost = sum(path["lost"] for path in demo[0]["paths"])
    true = sum(path["truth"]["lost"] for path in demo[0]["paths"])
    assert abs(lost - true) <= 3 * math.sqrt(max(true, 1))


def test_the_incident_burns_its_budget_and_nobody_elses(demo) -> None:
    state, output, _ = demo
    incident = state["incident"]
    assert incident["path"] == "london:edinburgh/ef"
    assert 0 < incident["visible_after"] <= 25
    hit = next(
        slo
        for slo in state["slos"]
        if slo["path"] == incident["path"] and slo["slo"] == "national-latency"
    )
    assert hit["bad_events"] > 50
    # Its page is over by then, and of longer windows too little is measured to say anything.
    assert hit["severity"] != "ticket"
    assert hit["burn_rate"]["1h"] is None
    assert hit["budget_remaining_ratio"] < 0
    assert 0 < hit["coverage"] < 0.001
    assert "burns its budget" in output
    assert re.search(r"^Page at http://127\.0\.0\.1:\d+/$", output, re.MULTILINE)


def test_the_incident_is_on_the_page_within_fifteen_seconds(demo, onlooker) -> None:
    incident = demo[0]["incident"]
    assert onlooker.events > 3
    after_s = onlooker.seen_s[incident["path"]] - incident["started"]
    print(f"on the page {after_s:.1f} s after its start")
    assert 0 < after_s <= 15


def test_the_engine_pages_for_the_incident_and_for_nobody_without_bad_packets(demo) -> None:
    state, output, _ = demo
    told = [alert for alert in state["alerts"] if alert["labels"]["severity"] == "page"]
    bad = {(s["slo"], s["path"]) for s in state["slos"] if s["bad_events"] >= 3}
    paged = [(a["labels"]["slo"], a["labels"]["path"]) for a in told if "path" in a["labels"]]
    assert set(paged) <= bad  # a busy machine is late on healthy paths, too
    page = [a for a in told if "path" in a["labels"]][
        paged.index(("national-latency", "london:edinburgh/ef"))
    ]
    assert page["labels"]["pair"] == "1m/10s"
    assert page["annotations"]["runbook_url"].endswith("SLOBurnPage.md")
    assert f"PAGE SLOBurnPage: {page['annotations']['summary'].partition(' burns ')[0]}" in output
    assert "evidence: p99 RTT now" in output


def test_prometheus_and_alertmanager_page_for_it_too(demo) -> None:
    binary("prometheus")
    binary("prometheus-alertmanager", "alertmanager")
    state, output, _ = demo
    path = state["incident"]["path"]
    told = [
        each
        for each in state["notices"]
        if each["labels"]["alertname"] == "SLOBurnPage" and each["receiver"] != "escalation"
    ]
    bad = {(s["slo"], s["path"]) for s in state["slos"] if s["bad_events"] >= 3}
    paged = [(each["labels"]["slo"], each["labels"]["path"]) for each in told]
    assert set(paged) <= bad
    first = told[paged.index(("national-latency", path))]
    assert first["receiver"] == "network-operations"
    assert first["labels"]["pair"] == "1m/10s"
    assert f"Alertmanager to network-operations: PAGE SLOBurnPage: national-latency on {path}" in (
        output
    )
    assert path in {each["labels"].get("path") for each in state["alerts"]}  # so says the engine


def test_one_path_goes_over_a_real_link_whose_taps_agree(demo) -> None:
    require_networks()
    state, output, _ = demo
    lab = state["lab"]
    assert (lab["path"], lab["lack"]) == ("london:edinburgh/be", None)
    path = next(each for each in state["paths"] if each["path"] == lab["path"])
    # Of the same packets, but for those that had no answer within their time-out.
    assert abs(path["truth"]["rtt"]["count"] - path["answered"]) <= 2
    assert 0 < path["rtt"]["quantiles"]["0.5"]["value"] < path["truth"]["rtt"]["max"]
    assert path["set_aside"]["capacity_test"]  # what a test loaded is no evidence
    assert f"Real link under {lab['path']} (50 Mbit/s or 20 Mbit/s): p50 " in " ".join(
        output.split()
    )


def test_its_better_branch_fails_with_the_incident(demo) -> None:
    require_networks()
    state, output, _ = demo
    lab, incident = state["lab"], state["incident"]
    assert lab["primary_failed"] == pytest.approx(incident["started"], abs=2)
    assert lab["primary_mended"] == pytest.approx(incident["ended"], abs=2)
    assert f"the better branch under {lab['path']} fails" in output


def test_the_route_is_seen_to_leave_the_branch_that_fails_and_to_return(demo) -> None:
    require_networks()
    state, output, _ = demo
    lab = state["lab"]
    better = ["10.1.0.1", "10.2.1.2", "10.2.2.1", "10.4.0.2"]
    worse = ["10.1.0.1", "10.3.1.2", "10.3.2.2", "10.3.3.1", "10.4.0.2"]
    gone, back = lab["route_changes"]
    assert (gone["before"]["hops"], gone["after"]["hops"]) == (better, worse)
    assert (back["before"]["hops"], back["after"]["hops"]) == (worse, better)
    assert 0 <= lab["change_seen_after"] <= 20  # traced every 5 s
    assert back["time"] - lab["primary_mended"] <= 20
    assert f"{lab['path']} takes another way: seen after" in output
    assert [route["hops"] for route in lab["routes"]] == [better]


def test_the_capacity_is_that_of_the_token_bucket(demo) -> None:
    require_networks()
    lab = demo[0]["lab"]
    assert lab["failures"] == []
    assert {each["method"] for each in lab["bandwidth"]} == {"tcp", "train"}
    for each in lab["bandwidth"]:
        if each["truth"] is not None:
            assert each["bits_per_second"] == pytest.approx(each["truth"], rel=0.05)
    told = {(each["state"], each["quantile"]) for each in lab["loaded_rtt"]}
    assert told == {(s, q) for s in ("idle", "loaded") for q in ("0.5", "0.99")}


def test_where_there_can_be_no_real_link_it_says_why(demo) -> None:
    if lack_of_networks() is None:
        pytest.skip("there is one here")
    assert demo[0]["lab"]["path"] is None
    assert f"Real link: not shown: {demo[0]['lab']['lack']}" in " ".join(demo[1].split())


def test_json_has_the_stable_shape_and_no_nan(demo) -> None:
    state, _, directory = demo
    text = (directory / "state.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert {"started", "ended", "paths", "slos", "incident", "lab"} <= state.keys()
    assert {"path", "scope", "due", "answered", "lost", "unmeasured", "rtt", "truth"} <= state[
        "paths"
    ][0].keys()
    assert {"slo", "path", "objective", "threshold", "events", "bad_events"} <= state["slos"][
        0
    ].keys()


def test_the_store_that_stays_says_the_same_as_the_demo(demo, netslo) -> None:
    state, _, directory = demo
    uk = pathlib.Path(__file__).parents[2] / "examples" / "uk"
    store = directory / "data" / "store.sqlite"
    # `slo status` looks back from the last 10 s boundary: let the last window lie behind it.
    ended_s = datetime.fromisoformat(state["ended"]).timestamp()
    time.sleep(max(0.0, ended_s // 10 * 10 + 10.1 - time.time()))
    done = netslo("slo", "status", "-c", uk, "--store", store, "--all", "--json")
    assert done.returncode == 1  # a budget burns, which is bad news
    listed = json.loads(done.stdout)["slos"]
    assert {(s["slo"], s["path"]): s["bad_events"] for s in listed} == {
        (s["slo"], s["path"]): s["bad_events"] for s in state["slos"]
    }


def test_no_spooled_batch_is_left_behind(demo) -> None:
    left = [f for f in (demo[2] / "data" / "spool").rglob("*") if f.suffix == ".zst"]
    assert not left
