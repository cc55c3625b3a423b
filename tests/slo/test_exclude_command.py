"""`netslo slo exclude`, as somebody before or after a maintenance uses it."""

from __future__ import annotations

import json
import pathlib
import shutil
import threading
import time
from datetime import UTC, datetime, timedelta

import click
import pytest
from click.testing import CliRunner, Result

from netslo.errors import ConfigurationError
from slo.cli import slo
from slo.exclusion import Exclusion
from slo.exclusion_log import append_to_log, load_exclusions, only_author

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "uk"
SOON = (datetime.now(UTC) + timedelta(days=1)).replace(minute=2, second=3, microsecond=0)
WHEN = ("--from", SOON.isoformat(), "--to", (SOON + timedelta(hours=3)).isoformat())
WHO = ("--reason", "CHG-1: fibre replaced", "--author", "alice")


@pytest.fixture
def config(tmp_path):
    shutil.copytree(EXAMPLE, tmp_path / "uk")
    return tmp_path / "uk"


@pytest.fixture
def run(config):
    def invoke(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(
            slo, ["exclude", "-c", str(config), *arguments], standalone_mode=False
        )
        if result.exception is not None:
            raise result.exception
        assert result.exit_code == code
        return result.output

    return invoke


def test_a_planned_time_is_widened_to_whole_five_minutes_and_kept(run, config) -> None:
    output = run(*WHEN, *WHO, "--site", "leeds", "--slo", "loss", "--path", "london:leeds/ef")
    (found,) = load_exclusions(config / "netslo-data" / "exclusions.jsonl")
    assert found.start_s == int(SOON.timestamp()) - 123
    assert found.end_s == int(SOON.timestamp()) + 3 * 3600 + 177
    assert abs(found.declared_s - time.time()) < 60
    assert found.covers.sites == {"leeds"}
    assert "planned, to come, SLO loss, path london:leeds/ef, site leeds, by alice" in output


def test_all_that_is_wrong_is_said_at_once(run, config) -> None:
    with pytest.raises(ConfigurationError) as caught:
        run(
            *("--from", "noon", "--to", "one", "--reason", "r" * 501, "--author", "a" * 101),
            *("--site", "atlantis", "--site", "mu", "--slo", "x", "--path", "p", "--path", "q"),
        )
    said = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in said] == [
        "--slo x", "--path p", "--path q", "--site atlantis", "--site mu", "--from noon",
        "--to one", "exclusion",
    ]  # fmt: skip
    assert "author must say who" in said[-1]
    assert "reason must say why" in said[-1]
    assert not (config / "netslo-data" / "exclusions.jsonl").exists()


def test_what_no_objective_is_about_is_refused(run, config) -> None:
    """Each that is named must match, so these together match nothing."""
    with pytest.raises(ConfigurationError, match="no SLO has a path that is of all that is named"):
        run(*WHEN, *WHO, "--path", "london:leeds/ef", "--site", "brighton")
    assert not (config / "netslo-data" / "exclusions.jsonl").exists()
    run(*WHEN, *WHO, "--path", "london:leeds/ef", "--site", "leeds")


def test_a_store_that_is_not_there_is_said(run, tmp_path) -> None:
    elsewhere = tmp_path / "elsewhere" / "store.sqlite"
    assert f"there is no {elsewhere}" in run(*WHEN, *WHO, "--store", str(elsewhere))
    elsewhere.touch()
    assert "note" not in run(*WHEN, *WHO, "--store", str(elsewhere))


def test_who_declares_waits_for_another_author(run, config) -> None:
    """Else both would take the same id, and nobody could read the log any more."""
    file = config / "netslo-data" / "exclusions.jsonl"
    first = Exclusion("x1-1", 0, 300, "bob", "CHG-2", 0)
    with only_author(file):
        other = threading.Thread(target=run, args=(*WHEN, *WHO))
        other.start()
        other.join(0.5)
        append_to_log(file, first)
    other.join()
    assert [each.id.partition("-")[0] for each in load_exclusions(file)] == ["x1", "x2"]


def test_a_reason_of_several_lines_is_listed_in_one(run) -> None:
    reason = "CHG-1:\nfibre\x1b[2J\treplaced"
    assert len(run(*WHEN, "--author", "alice", "--reason", reason).splitlines()) == 1
    (line,) = run("--list").splitlines()
    assert line.endswith("by alice: CHG-1: fibre [2J replaced")


def test_who_says_nothing_of_the_author_is_it(run, monkeypatch) -> None:
    monkeypatch.delenv("NETSLO_AUTHOR", raising=False)
    monkeypatch.setattr("getpass.getuser", lambda: "carol")
    assert "by carol" in run(*WHEN, "--reason", "CHG-2")

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", nameless)
    with pytest.raises(click.UsageError, match="--author"):
        run(*WHEN, "--reason", "CHG-2")


def test_one_declared_afterwards_is_said_to_be(run) -> None:
    assert "retroactive, over, everything, by alice: CHG-1" in run(
        "--from", "2026-01-01T01:00:00+01:00", "--to", "2026-01-01T05:00:00Z", *WHO
    )


def test_one_declared_while_it_runs_says_which_part_stays_raw(run) -> None:
    begun = datetime.now(UTC) - timedelta(minutes=20)
    said = run("--from", begun.isoformat(timespec="seconds"), "--to", WHEN[3], *WHO)
    (note,) = (line for line in said.splitlines() if line.startswith("note: "))
    until = datetime.fromisoformat(note.split("raw history up to ")[1].split(",")[0])
    assert -5 < (until - datetime.now(UTC)).total_seconds() <= 300
    assert until.timestamp() % 300 == 0
    assert "note" not in run(*WHEN, *WHO)


def test_one_is_taken_back_and_stays_on_record(run, config) -> None:
    name = run(*WHEN, *WHO).split(":")[0]
    assert "counts again" in run("--revoke", name, "--reason", "put off", "--author", "bob")
    assert load_exclusions(config / "netslo-data" / "exclusions.jsonl") == ()
    assert "taken back" in run("--list")
    (listed,) = json.loads(run("--list", "--json"))["exclusions"]
    assert listed["revoked"]
    assert listed["kind"] == "planned"
    with pytest.raises(ConfigurationError, match="no exclusion in force"):
        run("--revoke", name, "--reason", "again", "--author", "bob")


def test_what_is_declared_beside_another_store_mutes_and_is_checked(run, config) -> None:
    store = config / "other" / "windows.db"
    name = run(*WHEN, *WHO, "--store", str(store)).split(":")[0]

    def ask(command: str, *more: str) -> Result:
        return CliRunner().invoke(slo, [command, "-c", str(config), *more])

    assert f"exclusion-{name}" in ask("alertmanager", "--store", str(store)).output
    assert name not in ask("alertmanager").output
    (store.parent / "exclusions.jsonl").write_text("{")
    assert ask("check").exit_code == 0
    faulty = ask("check", "--store", str(store), "--json")
    assert faulty.exit_code == 2
    (problem,) = json.loads(faulty.stdout)["problems"]
    assert problem["file"] == str(store.parent / "exclusions.jsonl")


def test_without_any_the_list_says_so(run) -> None:
    assert "nothing is excluded" in run("--list")
    assert json.loads(run("--list", "--json")) == {"exclusions": []}


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ((), click.UsageError, "--reason"),
        ((*WHEN, "--author", "alice"), click.UsageError, "--reason"),
        ((*WHO, "--from", "2026-01-01"), click.UsageError, "--to"),
        ((*WHO, "--from", "noon", "--to", "one"), ConfigurationError, "must be a time"),
        ((*WHO, "--from", "2026-01-01T01:00:00", "--to", "2026-01-02T01:00:00"), ConfigurationError,
         "with its offset"),
        ((*WHO, "--from", "2026-01-02T00:00:00Z", "--to", "2026-01-01T00:00:00Z"),
         ConfigurationError, "later than start"),
        ((*WHO, "--from", "9999-12-31T23:59:00Z", "--to", "9999-12-31T23:59:59Z"),
         ConfigurationError, "--from 9999-12-31T23:59:00Z: must be from 1970-01-01T00:00:00Z to "),
        ((*WHO, "--from", "1969-12-31T23:00:00Z", "--to", "2026-01-01T00:00:00Z"),
         ConfigurationError, "--from 1969-12-31T23:00:00Z: must be from 1970-01-01T00:00:00Z to "),
        ((*WHO, "--from", "2026-01-01T00:00:00Z", "--to", "9999-12-31T00:00:00Z"),
         ConfigurationError, "end must be at most 366 days after start"),
        ((*WHEN, *WHO, "--site", "atlantis"), ConfigurationError, "must be one of"),
        ((*WHEN, *WHO, "--slo", "x"), ConfigurationError, "must be one of"),
        ((*WHEN, *WHO, "--path", "x"), ConfigurationError, "must be a path"),
        ((*WHEN, *WHO, "--revoke", "x1"), click.UsageError, "takes back all"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_and_nothing_is_written(run, config, arguments, kind, text) -> None:
    with pytest.raises(kind, match=text):
        run(*arguments)
    assert not (config / "netslo-data" / "exclusions.jsonl").exists()
