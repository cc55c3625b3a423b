"""`netslo slo backtest` as a user has it."""

from __future__ import annotations

import json
import pathlib
import shutil
from contextlib import closing
from fractions import Fraction

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from analytics.store.sqlite import SqliteStore
from analytics.windows import Batch, PathWindow, SeriesKey, SloCounts
from netslo.errors import NetsloError
from netslo.model import Path, Window
from slo.backtest.changes import Change, changed, read_pair, read_target
from slo.cli import slo

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "uk"
BURNT, SOUND = Path("london", "leeds", "ef"), Path("leeds", "london", "ef")
END_S = 1_790_000_000 // 86_400 * 86_400
SPAN = ("--from", "6h", "--to", "2026-09-21T00:00:00Z")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The example with six hours of two paths: one of them lost a fifth for half an hour."""
    folder = tmp_path_factory.mktemp("backtest") / "uk"
    shutil.copytree(EXAMPLE, folder)
    (folder / "netslo-data").mkdir()
    windows = []
    for start_s in range(END_S - 6 * 3600, END_S, 300):
        burning = -7200 <= start_s - END_S < -5400
        for path, bad in ((BURNT, 300 if burning else 0), (SOUND, 0)):
            counts = {"national-latency": SloCounts(1500 - bad, bad)}
            windows.append(PathWindow(SeriesKey(path), Window(start_s), slo=counts))
    with closing(SqliteStore.open(folder / "netslo-data" / "store.sqlite")) as store:
        store.declare_objectives({"national-latency": "0.999"}, END_S - 86_400)
        store.append(Batch("london", "test", 1, tuple(windows)), END_S)
    return folder


@pytest.fixture
def run(config):
    def invoke(*arguments: str):
        words = ["backtest", "-c", str(config), "--slo", "national-latency", *arguments]
        return CliRunner().invoke(slo, words)

    return invoke


def test_it_tells_budgets_and_alerts_now_and_changed(run) -> None:
    result = run(*SPAN, "--target", "90%")
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "target 90 % instead of 99.9 %" in said
    assert "may be bad 216 21,600 bad 1,800 1,800" in said
    assert f"{BURNT.id} -1566.7 % 83.3 %" in said
    assert "… and 98 more (--all)" in said
    assert "No alert would have fired, changed." in said


def test_json_has_all_of_it(run) -> None:
    found = json.loads(run(*SPAN, "--pair", "page:1h/5m:14.4", "--json").output)
    assert len(found["now"]["paths"]) == 108
    burnt = {each["path"]: each for each in found["changed"]["paths"]}[BURNT.id]
    assert (burnt["events"], burnt["bad_events"], burnt["budget_events"]) == (108_000, 1800, 108)
    (page,) = found["changed"]["alerts"]
    assert (page["path"], page["long"], page["short"]) == (BURNT.id, "1h", "5m")
    assert page["threshold"] == 14.4
    # One step of 20 % is 16.7 times the budget of an hour, and it takes as long to go.
    assert (page["start"] - END_S, page["end"] - END_S) == (-6900, -5100)


def test_a_document_may_say_what_is_changed(run, config, tmp_path) -> None:
    text = (config / "slos" / "national-latency.yaml").read_text()
    file = tmp_path / "stricter.yaml"
    file.write_text(text.replace("target: 0.999", "target: 0.9995"))
    result = run(*SPAN, "--spec", str(file))
    assert "target 99.95 % instead of 99.9 %" in result.output
    file.write_text((config / "slos" / "loss.yaml").read_text())
    result = run("--spec", str(file))
    assert isinstance(result.exception, NetsloError)
    assert "only that was counted" in str(result.exception)


def test_pairs_are_said_in_per_cent_and_kept_exactly(run) -> None:
    words = (*SPAN, "--pair", "page:1h/5m:14.4", "--pair", "ticket 1/48 1d 2h")
    said = run(*words).output
    assert "page on 1h and 5m: over a burn rate of 14.4, 2.143 % of the budget" in said
    assert "ticket on 1d and 2h: over a burn rate of 0.5833, 2.083 % of the budget" in said
    found = json.loads(run(*words, "--json").output)
    assert found["changed"]["pairs"] == "page 3/140 1h 5m, ticket 1/48 1d 2h"


def test_what_can_never_fire_is_said_rather_than_that_nothing_did(run) -> None:
    words = (*SPAN, "--target", "90%")
    assert "warning: national-latency: the page on 1h and 5m can never fire" in run(*words).output
    (text,) = json.loads(run(*words, "--json").output)["warnings"]
    assert "more than 134.4 % of the packets to be bad" in text
    assert json.loads(run(*SPAN, "--json").output)["warnings"] == []


ANNOTATIONS = """\
    netslo.dev/min-bad-events: "9"
    netslo.dev/min-coverage: 60%
    netslo.dev/exclusions: |
      - {id: x1, start: "2026-09-20T22:00:00Z", end: "2026-09-20T22:15:00Z",
         declared: "2026-09-21T00:00:00Z", author: bob, reason: fibre}
"""


def test_a_document_brings_its_guard_coverage_exclusions_and_paths(run, config, tmp_path) -> None:
    text = (config / "slos" / "national-latency.yaml").read_text()
    file = tmp_path / "other.yaml"
    text = text.replace("  annotations:\n", f"  annotations:\n{ANNOTATIONS}", 1)
    text = text.replace("scope: national", "scope: national\n              class: ef")
    file.write_text(text.replace("name: national-latency", "name: other", 1))
    said = run(*SPAN, "--spec", str(file)).output
    assert "guard at least 9 bad packets in the long window\n" in said
    assert "a burn rate is unknown below a coverage of 60% instead of 50%" in said
    assert "other times excluded by its document" in said
    assert "its document selects 54 paths; judged are the 108 of national-latency" in said
    found = json.loads(run(*SPAN, "--spec", str(file), "--json").output)
    bad = {
        when: sum(each["bad_events"] for each in found[when]["paths"])
        for when in ("now", "changed")
    }
    assert bad == {"now": 1800, "changed": 900}  # half of the half hour is excluded
    found = json.loads(run(*SPAN, "--spec", str(file), "--with-excluded", "--json").output)
    assert sum(each["bad_events"] for each in found["changed"]["paths"]) == 1800


def test_of_one_path_and_without_data(run) -> None:
    result = run(*SPAN, "--path", SOUND.id)
    assert "1 path," in result.output
    assert "No alert would have fired." in result.output
    result = run("--from", "1d", "--to", "2026-01-01T00:00:00Z")
    assert "No data: nothing was measured" in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "1"], "above 0 and below 1"),
        (["--threshold", "2s"], "less than the probes' time-out"),
        (["--threshold", "0ms"], "is not a positive duration"),
        (["--pair", "page:1h/5m:9999"], "at most 672"),
        (["--pair", "page:1h/2h:3"], "the short window"),
        (["--pair", "page:1h/5m:high"], "must be severity, windows and burn rate"),
        (["--pair", "night:1h/5m:3"], "must begin with page or ticket"),
        (
            ["--pair", "page:1h/5m:1", "--pair", "page:1h/5m:2"],
            "two pairs on 1h and 5m",
        ),
        (["--pair", "page:1h/5m:9, ticket:1h/5m:2"], "a page and a ticket: each"),
        (["--missing-data", "maybe"], "must be one of ignore, bad, good"),
        (["--from", "yesterday"], "must be a time with its offset"),
        (["--from", "2026-11-01T00:00:00Z", "--to", "2026-10-01T00:00:00Z"], "before the end"),
        (["--to", "1960-01-01T00:00:00Z"], "after 1970"),
        (["--from", "9000d"], "at most 400d back"),
        (["--path", "london"], "must be a path of the estate"),
    ],
)
def test_what_cannot_be_is_said(run, words, said) -> None:
    result = run(*words)
    assert isinstance(result.exception, NetsloError), result.output
    assert said in str(result.exception)


def test_all_faults_come_at_once(latency) -> None:
    with pytest.raises(NetsloError) as raised:
        changed(latency, Change("2", "1h", ["page"], "no"), 1.0)
    assert len(str(raised.value).splitlines()) == 4


@given(st.integers(1, 999_999))
def test_a_target_is_read_exactly(millionths) -> None:
    exact = Fraction(millionths, 1_000_000)
    assert Fraction(read_target(f"{millionths / 10_000:.4f}%")) == exact
    assert Fraction(read_target(f"{millionths / 1_000_000:.6f}")) == exact


def test_a_pair_by_burn_rate_is_that_of_the_workbook() -> None:
    (pair,) = read_pair("page:1h/5m:14.4", 30 * 86_400)
    assert pair.budget_share == Fraction(2, 100)
    assert read_pair("page 2% 1h 5m", 30 * 86_400) == (pair,)
    assert read_pair("page:1h:14.4", 30 * 86_400) == (pair,)


def test_attribute_says_what_burnt_the_budget(config) -> None:
    words = ["attribute", "-c", str(config), *SPAN]
    result = CliRunner().invoke(slo, [*words, "--slo", "national-latency"])
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "1,800 bad of 216,000, on 2 paths with data" in said
    assert f"{BURNT.id} page 1,800 100.0 % 1666.7 %" in said
    assert "in no incident 0 0.0 %" in said
    result = CliRunner().invoke(slo, [*words, "--path", SOUND.id, "--slo", "national-latency"])
    assert "Nothing was bad." in result.output
    found = json.loads(CliRunner().invoke(slo, [*words, "--json"]).output)
    assert [each["bad_events"] for each in found["slos"]] == [0, 1800, 0]
    result = CliRunner().invoke(slo, [*words, "--slo", "nothing"])
    assert isinstance(result.exception, NetsloError)
