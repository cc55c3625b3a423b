"""Alertmanager's configuration against amtool: who is told of what."""

from __future__ import annotations

import pathlib
from dataclasses import replace

import pytest
import yaml
from click.testing import CliRunner
from real_prometheus import run

from netslo.model import Path
from slo.commands.prometheus import alertmanager
from slo.exclusion import Covers, Exclusion
from slo.policy import AlertPolicy
from slo.rules.alertmanager import Receivers, configuration
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
    assert [interval["name"] for interval in made["time_intervals"]] == ["exclusion-x1"]
    file = write(made)
    muted = [r for r in made["route"]["routes"] if "mute_time_intervals" in r]
    assert len(muted) == 2  # leeds as source, leeds as destination
    leaves = [leaf for route in muted for leaf in route["routes"]]
    assert all(leaf["mute_time_intervals"] == ["exclusion-x1"] for leaf in leaves)
    # Outside of its time who hears of it is who always does.
    of_leeds = {"alertname": "SLOBurnPage", "severity": "page", "slo": "loss", "dst_site": "leeds"}
    assert routed(file, **of_leeds) == ["director", "carrier-desk"]


def test_times_are_cut_at_midnight() -> None:
    night = Exclusion("n", DAY - 3600, DAY + 90 * 60, "bob", "CHG-2", 0)
    assert time_intervals(night) == [
        {"times": [{"start_time": "23:00", "end_time": "24:00"}],
         "days_of_month": ["15"], "months": ["1"], "years": ["2027"]},
        {"times": [{"start_time": "00:00", "end_time": "01:30"}],
         "days_of_month": ["16"], "months": ["1"], "years": ["2027"]},
    ]  # fmt: skip


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
