"""Alertmanager's configuration against amtool: who is told of what."""

from __future__ import annotations

import json
import pathlib
import shlex
import shutil
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from real_prometheus import alertmanager as running_alertmanager
from real_prometheus import run, wait_until

from netslo.model import Path
from slo.commands.prometheus import alertmanager
from slo.exclusion import Covers, Exclusion
from slo.policy import AlertPolicy
from slo.rules.alertmanager import Receivers, Waits, configuration
from slo.rules.mutes import time_intervals
from slo.rules.yaml_text import to_yaml

UK = pathlib.Path(__file__).parents[2] / "examples" / "uk"
DAY = 1_800_057_600  # 2027-01-16T00:00:00Z


@pytest.fixture
def objectives(latency, loss):
    escalated = AlertPolicy(escalation="director")
    return [latency, replace(loss, owner="carrier-desk", alerts=escalated)]


@pytest.fixture
def write(tmp_path):
    def write(config: dict):
        file = tmp_path / "alertmanager.yml"
        file.write_text(to_yaml(config, "test"))
        done = run("amtool", "check-config", file)
        assert done.returncode == 0, done.stdout + done.stderr
        return file

    return write


def routed(file, **labels: str) -> list[str]:
    """Ask amtool which receivers hear of an alert."""
    given = [f"{name}={value}" for name, value in labels.items()]
    done = run("amtool", "config", "routes", "test", f"--config.file={file}", *given)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().split(",")


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ({"alertname": "SLOBurnPage", "severity": "page", "slo": "national-latency"},
         ["escalation", "noc"]),
        ({"alertname": "SLOBurnTicket", "severity": "ticket", "slo": "national-latency"}, ["noc"]),
        ({"alertname": "SLOBurnPage", "severity": "page", "slo": "loss", "scope": "national"},
         ["director", "carrier-desk"]),
        ({"alertname": "SLOSiteBurnPage", "severity": "page", "scope": "site"},
         ["escalation", "operations"]),
        ({"alertname": "SLOBurnPage", "severity": "page", "slo": "nobodys"},
         ["escalation", "operations"]),
        ({"alertname": "SLOProbeDown", "severity": "page"}, ["escalation", "operations"]),
        ({"alertname": "SLOCoverageLow", "severity": "ticket", "slo": "loss"}, ["carrier-desk"]),
        ({"alertname": "SLOWatchdog", "severity": "none"}, ["heartbeat"]),
        ({"alertname": "SomebodyElses", "severity": "warning"}, ["operations"]),
    ],
    ids=[
        "page", "ticket", "own escalation", "site", "no owner", "probe", "coverage", "heartbeat",
        "foreign",
    ],
)  # fmt: skip
def test_alerts_reach_who_must_hear_of_them(objectives, write, labels, receivers) -> None:
    assert routed(write(configuration(objectives)), **labels) == receivers


def test_national_pages_escalate_sooner(objectives) -> None:
    route = configuration(objectives)["route"]
    waiting = [r for r in route["routes"] if r["receiver"] in {"escalation", "director"}]
    assert len(waiting) == 2
    for one in waiting:
        assert one["group_wait"] == "900s"
        assert one["routes"][0]["group_wait"] == "300s"
        assert one["continue"] is True


def test_the_heartbeat_is_due_each_time_it_is_looked_at(objectives) -> None:
    (heartbeat,) = (
        r for r in configuration(objectives)["route"]["routes"] if "heartbeat" in str(r)
    )
    every_s, after_s = (float(heartbeat[f"{n}_interval"][:-1]) for n in ("group", "repeat"))
    assert every_s / 2 < after_s < every_s == 60  # as long as it would be told every other time


def test_receivers_have_the_addresses_that_were_given(objectives) -> None:
    made = configuration(objectives, Receivers({"noc": "http://pager/", "heartbeat": "http://h/"}))
    by_name = {receiver["name"]: receiver for receiver in made["receivers"]}
    assert by_name["noc"]["webhook_configs"] == [{"url": "http://pager/", "send_resolved": True}]
    assert by_name["heartbeat"]["webhook_configs"][0]["send_resolved"] is False
    assert by_name["director"] == {"name": "director"}


def test_an_address_without_a_name_is_for_all_others() -> None:
    everywhere = ("--webhook", "http://others/?a=http://b", "--webhook", "heartbeat=http://h/")
    done = CliRunner().invoke(alertmanager, [*everywhere, "-c", str(UK)])
    assert done.exit_code == 0, done.output
    assert "has no address" not in done.stderr
    made = yaml.safe_load(done.stdout)["receivers"]
    urls = {each["name"]: each["webhook_configs"][0]["url"] for each in made}
    assert urls.pop("heartbeat") == "http://h/"
    assert urls.keys() >= {"operations", "escalation"}
    assert set(urls.values()) == {"http://others/?a=http://b"}
    twice = CliRunner().invoke(alertmanager, [*everywhere[:2] * 2, "-c", str(UK)])
    assert twice.exit_code == 2
    assert "names the others twice" in twice.stderr


def test_an_owner_of_several_words_has_an_address(tmp_path) -> None:
    shutil.copytree(UK, tmp_path / "uk")
    for file in (tmp_path / "uk" / "slos").glob("*.yaml"):
        file.write_text(file.read_text().replace("network-operations", "Network Operations"))
    config = ["-c", str(tmp_path / "uk")]
    told = CliRunner().invoke(alertmanager, config).stderr
    (note,) = [line for line in told.splitlines() if "Network" in line]
    *_, option, value = shlex.split(note)
    given = value.replace("URL", "https://pager/?a=http://b")
    made = yaml.safe_load(CliRunner().invoke(alertmanager, [*config, option, given]).stdout)
    hooks = {each["name"]: each.get("webhook_configs") for each in made["receivers"]}
    assert hooks["Network Operations"][0]["url"] == "https://pager/?a=http://b"


@pytest.mark.parametrize("url", ["http://:99999999/", "http://host:99999/", "http:///x"])
def test_an_address_that_nobody_can_reach_is_refused(url) -> None:
    done = CliRunner().invoke(alertmanager, ["--webhook", f"operations={url}", "-c", str(UK)])
    assert done.exit_code == 2
    assert "is not of the form" in done.stderr


def test_an_address_of_no_receiver_is_refused() -> None:
    slip = CliRunner().invoke(alertmanager, ["--webhook", "opertions=http://pager/", "-c", str(UK)])
    assert slip.exit_code == 2
    assert "opertions=: is no receiver; they are operations, escalation" in slip.stderr


def test_a_planned_exclusion_mutes_its_burns_and_nothing_else(objectives, write) -> None:
    work = Exclusion(
        "x1", DAY + 7200, DAY + 10800, "alice", "CHG-1", DAY,
        Covers(sites=frozenset({"leeds"}), slos=frozenset({"loss"})),
    )  # fmt: skip
    done = replace(work, id="x0", start_s=DAY - 7200, end_s=DAY - 3600, declared_s=DAY - 9000)
    late = replace(work, id="x2", declared_s=DAY + 8000)
    made = configuration(objectives, exclusions=[work, done, late], now_s=DAY)
    assert [each["name"] for each in made["time_intervals"]] == ["exclusion-x1", "exclusion-x2"]
    file = write(made)
    muted = [r for r in made["route"]["routes"] if "mute_time_intervals" in r]
    assert len(muted) == 2  # leeds as source, leeds as destination
    leaves = [leaf for route in muted for leaf in route["routes"]]
    both = ["exclusion-x1", "exclusion-x2"]  # also one that was declared when it had begun
    assert all(leaf["mute_time_intervals"] == both for leaf in leaves)
    # Outside of its time who hears of it is who always does.
    of_leeds = {"alertname": "SLOBurnPage", "severity": "page", "slo": "loss", "dst_site": "leeds"}
    assert routed(file, **of_leeds) == ["director", "carrier-desk"]


@pytest.mark.parametrize("longer_s", [0, 3600])
def test_documents_may_give_their_exclusions_the_same_id(objectives, write, longer_s) -> None:
    """One change, declared for each objective: each has its own time, and is muted by it."""
    made = [
        replace(o, exclusions=(
            Exclusion("CHG-7", DAY, DAY + 7200 + n * longer_s, "alice", "CHG-7", DAY - 60,
                      Covers(slos=frozenset({o.name}))),
        ))
        for n, o in enumerate(objectives)
    ]  # fmt: skip
    config = configuration(made, now_s=DAY - 60)
    write(config)
    by_name = {each["name"]: each["time_intervals"] for each in config["time_intervals"]}
    assert len(by_name) == (2 if longer_s else 1)
    muted = {
        route["matchers"][1]: [by_name[name] for name in route["mute_time_intervals"]]
        for route in config["route"]["routes"] if "mute_time_intervals" in route
    }  # fmt: skip
    assert muted == {f'slo=~"{o.name}"': [time_intervals(*o.exclusions[0].interval)] for o in made}


@contextmanager
def web_hook() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Yield a web hook's address and the labels of all alerts that it was told of."""
    told: list[dict[str, str]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.extend(alert["labels"] for alert in said["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


LEEDS, LEEDS_LOSS = Covers(sites=frozenset({"leeds"})), Covers(
    slos=frozenset({"loss"}), sites=frozenset({"leeds", "london"})
)  # fmt: skip
EF = Covers(paths=frozenset({Path("leeds", "london", "ef")}))


@pytest.mark.parametrize(
    ("over", "in_force"),
    [(LEEDS, LEEDS), (LEEDS_LOSS, LEEDS), (LEEDS, LEEDS_LOSS), (EF, LEEDS), (Covers(), EF)],
    ids=["same", "wider", "narrower", "path", "everything"],
)
def test_an_exclusion_mutes_behind_one_that_is_over(objectives, tmp_path, over, in_force) -> None:
    """In a real Alertmanager, which reads a file that was made when both were to come."""
    now_s = int(time.time()) // 300 * 300
    excluded = [
        Exclusion("a", now_s - 7200, now_s - 3600, "alice", "CHG-1", now_s - 90_000, over),
        Exclusion("b", now_s - 300, now_s + 7200, "alice", "CHG-2", now_s - 90_000, in_force),
    ]
    page = {"alertname": "SLOBurnPage", "severity": "page", "slo": "loss", "scope": "national"}
    off = page | {"path": "leeds:london/ef", "src_site": "leeds", "dst_site": "london"}
    on = page | {"path": "reading:bath/ef", "src_site": "reading", "dst_site": "bath"}
    alerts = [off, {"alertname": "SLOProbeDown", "severity": "page", "src_site": "leeds"}, on]
    if in_force is not LEEDS:  # then the probe is not off
        del alerts[1]
    with web_hook() as (url, told):
        names = [r["name"] for r in configuration(objectives)["receivers"]]
        config = configuration(
            objectives,
            Receivers(dict.fromkeys(names, url)),
            Waits(scale=300),
            excluded,
            now_s=now_s - 86_400,
        )
        file = tmp_path / "alertmanager.yml"
        file.write_text(to_yaml(config, "test"))
        with running_alertmanager(tmp_path, file) as server:
            for alert in alerts:  # the one to be told last: by then the others would have been
                body = json.dumps([{"labels": alert}]).encode()
                request = urllib.request.Request(
                    server.url + "/api/v2/alerts", body, {"Content-Type": "application/json"}
                )
                with urllib.request.urlopen(request, timeout=60) as answer:
                    assert answer.status == 200
            wait_until(lambda: told.count(on) >= 2, "owner and escalation hear of the other path")
    assert all(labels == on for labels in told)


def test_a_site_that_is_off_as_a_whole_mutes_its_probe(objectives, write) -> None:
    work = Exclusion("x1", DAY, DAY + 3600, "alice", "CHG-1", DAY - 60, LEEDS)
    part = replace(work, id="x2", covers=LEEDS_LOSS)
    made = configuration(objectives, exclusions=[work, part], now_s=DAY)
    write(made)
    of_probes = [
        route for route in made["route"]["routes"]
        if "mute_time_intervals" in route and "SLOProbeDown" in route["matchers"][0]
    ]  # fmt: skip
    assert [route["matchers"][1:] for route in of_probes] == [['src_site=~"leeds"']]
    assert of_probes[0]["mute_time_intervals"] == ["exclusion-x1"]


def test_times_are_cut_at_midnight() -> None:
    assert time_intervals(DAY - 3600, DAY + 90 * 60) == [
        {"times": [{"start_time": "23:00", "end_time": "24:00"}],
         "days_of_month": ["15"], "months": ["1"], "years": ["2027"]},
        {"times": [{"start_time": "00:00", "end_time": "01:30"}],
         "days_of_month": ["16"], "months": ["1"], "years": ["2027"]},
    ]  # fmt: skip


@given(st.integers(0, 2 * 366 * 288), st.integers(1, 366 * 288))
def test_intervals_hold_all_of_an_exclusion_and_nothing_else(start, length) -> None:
    """Against days and minutes counted one by one, in few entries."""
    start_s, end_s = DAY + 300 * start, DAY + 300 * (start + length)
    found = time_intervals(start_s, end_s)
    assert len(found) <= 2 + 13
    spans = []
    for each in found:
        first, _, last = each["days_of_month"][0].partition(":")
        (times,) = each["times"]
        for day in range(int(first), int(last or first) + 1):
            midnight = datetime(int(each["years"][0]), int(each["months"][0]), day, tzinfo=UTC)
            low, high = (
                int(midnight.timestamp()) + 3600 * int(text[:2]) + 60 * int(text[3:])
                for text in (times["start_time"], times["end_time"])
            )
            spans.append((low, high))
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert (spans[0][0], spans[-1][1]) == (start_s, end_s)


def test_a_year_is_a_configuration_that_alertmanager_takes(objectives, write) -> None:
    year = Exclusion("x1", DAY - 300, DAY + 365 * 86_400, "alice", "CHG-1", DAY - 600)
    write(configuration(objectives, exclusions=[year], now_s=DAY))


def test_an_exclusion_of_paths_and_the_file_are_the_same_each_time(objectives, write) -> None:
    covers = Covers(paths=frozenset({Path("leeds", "london", "ef"), Path("leeds", "london", "be")}))
    work = Exclusion("x1", DAY, DAY + 3600, "alice", "CHG-1", DAY - 60, covers)
    made = [configuration(objectives, exclusions=[work], now_s=DAY) for _ in range(2)]
    assert to_yaml(made[0], "x") == to_yaml(made[1], "x")
    assert 'path=~"leeds:london/be|leeds:london/ef"' in to_yaml(made[0], "x")
    write(made[0])


def test_what_inhibits_what() -> None:
    rules = yaml.safe_load(to_yaml(configuration([]), "x"))["inhibit_rules"]
    said = {
        (rule["source_matchers"][0], rule["target_matchers"][0], *rule.get("equal", ()))
        for rule in rules
    }
    assert ('alertname="SLOBurnPage"', 'alertname="SLOBurnTicket"', "slo", "path") in said
    assert ('alertname="SLOProbeDown"', 'alertname="SLOCoverageLow"', "src_site") in said
    assert (
        'alertname="SLOCollectorDown"', 'alertname!~"SLOCollectorDown|SLOWatchdog"',
    ) in said  # fmt: skip
