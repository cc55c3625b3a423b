from __future__ import annotations

import json
import pathlib
import re
import shutil
import sqlite3
import time
from contextlib import closing

import pytest
from click.testing import CliRunner

from analytics.store.sqlite import SqliteStore
from analytics.windows import Batch, PathWindow, SeriesKey, SloCounts
from netslo.config.estate_file import load_estate
from netslo.errors import ConfigurationError, NetsloError
from netslo.model import Path, Window
from slo.cli import slo
from slo.exclusion import Exclusion
from slo.exclusion_log import append_to_log
from slo.ranges import Ranges
from slo.spec import load_objectives
from slo.status import evaluate

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "uk"
FAST, OTHER = Path("london", "leeds", "ef"), Path("leeds", "london", "ef")


@pytest.fixture
def config(tmp_path):
    """The example, as a user would copy it."""
    shutil.copytree(EXAMPLE, tmp_path / "uk")
    return tmp_path / "uk"


@pytest.fixture
def keep(config):
    """Keep windows in the default store: (path, age in s, good, bad)."""

    def put(*rows: tuple[Path, int, int, int], slo_name: str = "national-latency") -> None:
        (config / "netslo-data").mkdir(exist_ok=True)
        now_s = time.time()
        with closing(SqliteStore.open(config / "netslo-data" / "store.sqlite")) as store:
            objectives = load_objectives(config, load_estate(config))
            store.declare_objectives({o.name: o.target_text for o in objectives}, now_s - 86400)
            windows = tuple(
                PathWindow(
                    SeriesKey(path),
                    Window.containing(int(now_s - age_s) * 10**9),
                    slo={slo_name: SloCounts(good, bad)},
                )
                for path, age_s, good, bad in rows
            )
            store.append(Batch("london", "test", 1, windows), now_s)

    return put


@pytest.fixture
def run(config):
    def invoke(*arguments: str):
        return CliRunner().invoke(slo, [*arguments, "-c", str(config)])

    return invoke


def test_check_says_what_is_promised(run):
    result = run("check")
    assert result.exit_code == 0
    assert "national-latency: 99.9 % of packets answered within 100 ms over 28d" in result.output
    assert "on each of 108 paths" in result.output
    assert "3 SLOs ok" in result.output


def test_check_raises_every_problem_for_the_door_to_print(run, config):
    file = config / "slos" / "loss.yaml"
    file.write_text(file.read_text().replace("target: 0.999", "target: 1.5"))
    result = run("check")
    assert isinstance(result.exception, ConfigurationError)
    assert result.exception.exit_code == 2
    assert "loss.yaml:" in str(result.exception)
    assert "target = 1.5" in str(result.exception)


def test_check_as_json_lists_paths_and_notes(run):
    found = json.loads(run("check", "--json").output)
    by_name = {o["slo"]: o for o in found["slos"]}
    assert by_name["loss"]["threshold"] is None
    assert len(by_name["regional-latency"]["paths"]) == 36
    assert found["notes"] == []


def set_interval(config, interval):
    estate = config / "estate.yaml"
    estate.write_text(estate.read_text().replace("interval: 200ms", f"interval: {interval}"))


def test_check_warns_of_alerts_that_wait_for_the_guard(run, config):
    set_interval(config, "30s")
    result = run("check")
    assert result.exit_code == 0
    assert "national-latency: the page on 1h and 5m is slow: its threshold is 1.61" in result.output
    assert "at least every 9.68 s" in result.output  # 372 packets an hour, five of them bad


def test_the_guard_carries_three_nines_at_one_probe_a_minute(run, config):
    set_interval(config, "60s")
    result = run("check")
    assert result.exit_code == 0
    assert (
        "loss: the page on 1h and 5m is slow: its threshold is 0.806 bad packets" in result.output
    )
    assert "RESTS ON ONE" not in run("explain", "loss").output


def test_check_refuses_alerts_that_wait_for_more_packets_than_there_are(run, config):
    set_interval(config, "30m")
    error = run("check").exception
    assert isinstance(error, ConfigurationError)
    assert (
        "page on 1h and 5m can never fire: it waits for 3 bad packets, and its long window has 2"
        in str(error)
    )
    assert "NEVER fires" in run("explain", "loss").output


def without_guard(file):
    about = "  annotations:\n"
    assert about in file.read_text()
    more = f'{about}    netslo.dev/min-bad-events: "1"\n'
    file.write_text(file.read_text().replace(about, more))


def test_check_refuses_alerts_that_rest_on_one_packet_or_cannot_fire_and_says_where(run, config):
    set_interval(config, "60s")
    for name in ("loss.yaml", "national-latency.yaml"):
        without_guard(config / "slos" / name)
    error = run("check").exception
    assert isinstance(error, ConfigurationError)
    found = [(pathlib.Path(problem.file).name, problem.line) for problem in error.problems]
    assert found == [("loss.yaml", 45), ("national-latency.yaml", 25)]
    assert "page on 1h and 5m rests on a single bad packet" in str(error)
    file = config / "slos" / "loss.yaml"
    file.write_text(file.read_text().replace("target: 0.999", "target: 0.92"))
    error = run("check").exception
    assert "page on 1h and 5m can never fire" in str(error)
    assert "108 % of the events" in str(error)


def test_check_tells_at_once_what_is_wrong_and_what_can_never_fire(run, config):
    for name, before, after in (
        (
            "loss.yaml",
            "  annotations:\n",
            '  annotations:\n    netslo.dev/min-bad-events: "99999999"\n',
        ),
        (
            "national-latency.yaml",
            "  annotations:\n",
            "  annotations:\n    netslo.dev/owners: noc\n",
        ),
    ):
        file = config / "slos" / name
        file.write_text(file.read_text().replace(before, after))
    error = run("check").exception
    assert isinstance(error, ConfigurationError)
    by_file = {}
    for problem in error.problems:
        by_file.setdefault(pathlib.Path(problem.file).name, []).append(str(problem))
    assert len(by_file["loss.yaml"]) == 4
    assert all("can never fire" in text for text in by_file["loss.yaml"])
    (unknown,) = by_file["national-latency.yaml"]
    assert "netslo.dev/owners" in unknown


def test_explain_says_the_same_of_what_cannot_fire_in_table_warning_and_json(run, config):
    file = config / "slos" / "loss.yaml"
    about = "  annotations:\n"
    more = f'{about}    netslo.dev/min-bad-events: "99999999"\n'
    file.write_text(file.read_text().replace(about, more))
    output = run("explain", "loss").output
    assert output.count("NEVER fires") == 4
    assert (
        "warning: loss: the page on 1h and 5m can never fire: it waits for 99999999 bad packets, "
        "and its long window has 18000 packets; netslo.dev/min-bad-events must be less" in output
    )
    assert "is slow" not in output
    (found,) = json.loads(run("explain", "loss", "--json").output)["slos"]
    assert [pair["can_fire"] for pair in found["pairs"]] == [False] * 4
    assert len(found["warnings"]) == 4


def test_explain_warns_of_what_rests_on_one_packet(run, config):
    set_interval(config, "60s")
    without_guard(config / "slos" / "loss.yaml")
    output = run("explain", "loss").output
    assert "RESTS ON ONE" in output
    assert "warning: loss: the page on 1h and 5m rests on a single bad packet" in output
    assert "probe at least every 48.4 s" in output


def test_check_lists_its_problems_as_json(run, config):
    file = config / "slos" / "loss.yaml"
    file.write_text(file.read_text().replace("target: 0.999", "target: 1.5"))
    result = run("check", "--json")
    assert result.exit_code == 2
    (problem,) = json.loads(result.output)["problems"]
    assert (problem["line"], problem["value"]) == (45, "1.5")


AVAILABILITY = """\
apiVersion: openslo/v1
kind: SLO
metadata: {name: up}
spec:
  service: backbone
  indicatorRef: answered-packets
  budgetingMethod: Timeslices
  objectives:
    - {target: 0.999, timeSliceTarget: 0.95, timeSliceWindow: 1m}
"""


def test_one_bad_slice_is_no_chance_so_it_is_a_warning(run, config):
    (config / "slos" / "up.yaml").write_text(AVAILABILITY)
    result = run("check")
    assert result.exit_code == 0
    assert "up: 99.9 % of 1m slices with 95 % of packets answered over 28d" in result.output
    assert "up: the page on 1h and 5m is slow: its threshold is 0.806 bad slices" in result.output
    output = run("explain", "up").output
    assert "40.32 bad slices, or 40.32 minutes of full outage" in output
    assert "RESTS ON ONE" not in output


def test_check_reads_the_log_of_exclusions(run, config):
    (config / "netslo-data").mkdir()
    (config / "netslo-data" / "exclusions.jsonl").write_text("{}\n")
    error = run("check").exception
    assert isinstance(error, ConfigurationError)
    assert "exclusions.jsonl:1: author: is missing" in str(error)


def test_check_tells_faults_of_documents_and_of_the_log_at_once(run, config):
    file = config / "slos" / "national-latency.yaml"
    file.write_text(file.read_text().replace("target: 0.999", "target: 1"))
    (config / "netslo-data").mkdir(exist_ok=True)
    (config / "netslo-data" / "exclusions.jsonl").write_text("{}\n")
    error = run("check").exception
    assert {pathlib.Path(problem.file).name for problem in error.problems} == {
        "national-latency.yaml",
        "exclusions.jsonl",
    }


def test_explain_gives_the_figures_of_the_workbook(run):
    result = run("explain", "national-latency")
    assert result.exit_code == 0
    assert "12,096 bad packets, or 40.32 minutes of full outage" in result.output
    page = next(line for line in result.output.splitlines() if "page" in line and "1h" in line)
    assert " ".join(page.split()) == (
        "page 1h 5m 2 % 13.44 1.344 % 48.4 s 8.06 min never 242 28 48.4 s / 9.68 s 200 ms ok"
    )
    assert "regional-latency" not in result.output
    assert "regional-latency" in run("explain").output


def test_explain_as_json_has_null_for_never(run):
    (found,) = json.loads(run("explain", "loss", "--json").output)["slos"]
    page = found["pairs"][0]
    assert page["burn_rate"] == 13.44
    assert page["detection"] == {"1": 48.384, "0.1": 483.84, "0.01": None}
    assert found["budget_outage"] == 2419.2
    assert found["warnings"] == []


def test_explain_warns_of_what_is_slow(run, config):
    set_interval(config, "40s")
    output = run("explain", "loss").output
    assert "slow" in output
    assert "warning: loss: the page on 1h and 5m is slow" in output


def test_explain_of_a_path_puts_the_numbers_in(run, keep, config):
    keep((FAST, 60, 998_000, 2000))
    output = run("explain", "national-latency", "--path", FAST.id).output
    assert "998,000 good + 2,000 bad = 1,000,000, 0 unmeasured, under a target of 0.999" in output
    assert "may be bad (1 - 0.999) x 1,000,000 = 1,000" in output
    assert "remaining  1 - 2,000 / 1,000 = -100.0000 %" in output
    assert "page       over 13.44: burn 1h 2, 5m 2: silent" in output
    assert "ticket     over 0.9333: burn 3d 2, 6h 2: FIRES" in output
    assert re.search(
        r"coverage   1,000,000 of 12,09\d,\d{3} packets due = 8\.26\d\d %; what", output
    )


def test_a_store_with_little_in_it_covers_little_and_pages_nobody(run, keep):
    keep((FAST, 60, 46, 4))
    output = run("explain", "national-latency", "--path", FAST.id).output
    assert re.search(r"coverage   50 of 12,09\d,\d{3} packets due = 0\.0004 %", output)
    assert "page       over 13.44: burn 1h unknown, 5m unknown: unknown" in output
    (found,) = json.loads(
        run("status", "--slo", "national-latency", "--path", FAST.id, "--json").output
    )["slos"]
    assert (found["severity"], found["firing"]) == (None, [])
    assert found["coverage"] == pytest.approx(50 / 12_096_000, rel=2e-4)
    assert found["burn_rate"]["1h"] is None


def test_explain_shows_what_is_excluded_and_the_figure_without_it(run, keep, config):
    keep((FAST, 7200, 900, 100), (FAST, 60, 9999, 1))
    now_s = int(time.time()) // 300 * 300
    append_to_log(
        config / "netslo-data" / "exclusions.jsonl",
        Exclusion("x1", now_s - 9000, now_s - 3600, "alice", "CHG-1", now_s),
    )
    output = run("explain", "national-latency", "--path", FAST.id).output
    assert "1,000 packets, 100 of them bad, by" in output
    assert "retroactive, alice: CHG-1" in output
    assert "remaining  1 - 1 / 10 = 90.0000 % (-818.1818 % with the excluded times)" in output
    arguments = ("--slo", "national-latency", "--path", FAST.id, "--json")
    (status,) = json.loads(run("status", *arguments).output)["slos"]
    (found,) = json.loads(run("explain", "national-latency", "--path", FAST.id, "--json").output)[
        "slos"
    ]
    assert found["excluded"]["bad_events"] == 100
    assert found["status"]["budget_remaining_ratio"] == status["budget_remaining_ratio"] == 0.9
    assert status["budget_remaining_ratio_with_excluded"] == pytest.approx(1 - 101 / 11)
    table = run("status", "--slo", "national-latency", "--path", FAST.id).output
    assert "90.0 % (-818.2 %)" in table
    assert "with the excluded times" in table
    (other,) = json.loads(run("status", *arguments[:2], "--path", OTHER.id, "--json").output)[
        "slos"
    ]
    assert other["budget_remaining_ratio_with_excluded"] is None
    assert found["with_excluded"]["bad_events"] == 101


def test_explain_of_what_is_not_known_is_a_usage_error(run, keep):
    keep()
    assert isinstance(run("explain", "speed").exception, ConfigurationError)
    assert isinstance(run("explain", "--path", "a:b/c").exception, ConfigurationError)
    assert "No objective covers" not in run("explain", "--path", FAST.id).output
    unseen = run("explain", "loss", "--path", FAST.id).output
    assert "no packet was measured" in unseen


def test_export_writes_what_reads_as_the_same_objectives(run, config):
    estate = load_estate(config)
    before = load_objectives(config, estate)
    for arguments in (["export"], ["export", "--inline"]):
        written = run(*arguments).output
        for file in (config / "slos").iterdir():
            file.unlink()
        (config / "slos" / "all.yaml").write_text(written)
        assert load_objectives(config, estate) == before
        assert run(*arguments).output == written


def test_export_of_files_needs_no_estate(tmp_path):
    data = pathlib.Path(__file__).parent / "data" / "openslo-v1.yaml"
    result = CliRunner().invoke(slo, ["export", str(data), "-c", str(tmp_path)])
    assert result.exit_code == 0
    assert result.output.count("apiVersion: openslo/v1") == 10
    refused = CliRunner().invoke(slo, ["export", str(data), "--inline"])
    assert "--inline" in str(refused.exception)


def test_check_says_that_a_calendar_is_for_reviews(run, config):
    file = config / "slos" / "national-latency.yaml"
    calendar = "calendar: {startTime: 2026-04-01 00:00:00, timeZone: Europe/London}"
    text = file.read_text().replace("28d", "1Q").replace("isRolling: true", calendar)
    file.write_text(text)
    assert "the 1Q calendar window is for reviews" in run("check").output


def test_status_without_a_store_says_so(run):
    result = run("status")
    assert isinstance(result.exception, NetsloError)
    assert "store.sqlite" in str(result.exception)


def test_status_of_an_empty_store_is_no_data_and_no_bad_news(run, keep):
    keep()
    result = run("status")
    assert result.exit_code == 0
    assert "No data" in result.output
    assert "no data" in result.output


def test_status_of_a_healthy_estate_is_good_news(run, keep):
    keep((FAST, 60, 5000, 0))
    result = run("status")
    assert result.exit_code == 0
    assert "Every budget with data holds" in result.output
    assert "more without trouble" in result.output


def test_status_shows_trouble_first_and_exits_with_1(run, keep):
    keep((FAST, 60, 50_000, 0), (OTHER, 60, 9000, 1000))
    result = run("status")
    assert result.exit_code == 1
    row = result.output.splitlines()[1]
    assert row.split()[:3] == ["PAGE", "national-latency", OTHER.id]
    assert "1 of 288 budgets in trouble" in result.output


def test_an_overspent_budget_alone_is_bad_news(run, keep):
    keep((FAST, 60, 500, 1))  # too few to alert
    result = run("status")
    assert result.exit_code == 1
    assert "OVERSPENT" in result.output


def test_status_as_json_is_the_evaluation(run, keep, config):
    keep((FAST, 60, 999, 1))
    result = run("status", "--json", "--slo", "national-latency", "--path", FAST.id)
    (found,) = json.loads(result.output)["slos"]
    assert found["budget_remaining_ratio"] == 0
    assert found["burn_rate"]["5m"] == 1
    assert found["threshold"] == 0.1
    assert result.exit_code == 0
    everything = json.loads(run("status", "--json").output)["slos"]
    assert len(everything) == 288
    assert sum(s["events"] for s in everything) == 1000


def test_all_shows_every_row(run, keep):
    keep((FAST, 60, 999, 0))
    lines = run("status", "--all").output.splitlines()
    assert sum("national-latency" in line for line in lines) == 108


def test_a_store_elsewhere_can_be_named(run, keep, config, tmp_path):
    keep((FAST, 60, 999, 0))
    (config / "netslo-data").rename(tmp_path / "data")
    assert run("status", "--store", str(tmp_path / "data" / "store.sqlite")).exit_code == 0


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["explain", "--path", FAST.id],
        ["backtest", "--slo", "national-latency"],
        ["attribute"],
    ],
    ids=lambda command: command[0],
)
def test_what_cannot_be_read_is_not_taken_for_an_alert(run, tmp_path, command):
    """Status 1 of `slo status` says that an alert fires."""
    letter, theirs, newer = (tmp_path / name for name in ("letter", "theirs", "newer"))
    letter.write_text("root:x:0:0:root:/root:/bin/bash\n" * 99)
    with closing(sqlite3.connect(theirs)) as other:
        other.execute("CREATE TABLE t(x)")
    SqliteStore.open(newer).close()
    with closing(sqlite3.connect(newer)) as other:
        other.execute("PRAGMA user_version = 99")
    for store, said in (
        (letter, "not a netslo store"),
        (theirs, "not a netslo store"),
        (newer, "version 99"),
        (letter / "store", "Not a directory"),
        (tmp_path / "none", "no such store"),
    ):
        found = run(*command, "--store", str(store)).exception
        assert isinstance(found, ConfigurationError), (store, found)
        assert said in str(found)


def test_an_interval_that_is_no_number_is_refused(run):
    for interval in ("nan", "-nan", "inf", "0.5"):
        assert run("rules", "--interval", interval).exit_code == 2


def test_check_says_that_there_are_more_pairs_than_rules_look_at(run, config):
    file = config / "slos" / "national-latency.yaml"
    pairs = ", ".join(f"page 5% {hours}h {minutes}m"
                      for hours in (1, 2, 3, 4) for minutes in (5, 10))  # fmt: skip
    file.write_text(
        file.read_text().replace(
            "netslo.dev/owner:", f"netslo.dev/alert-pairs: {pairs}\n    netslo.dev/owner:", 1
        )
    )
    done = run("check")
    assert done.exit_code == 0, done.exception
    assert "note: the objectives have 11 different pairs of windows (1h/5m, 1h/10m," in done.output
    assert "so let objectives share their windows; `slo rules` refuses them" in done.output
    assert "11 different pairs" in str(run("rules").exception)


def test_counts_of_one_are_singular_and_none_is_said(run, config):
    for file in (config / "slos").glob("*.yaml"):
        if file.name != "national-latency.yaml":
            file.unlink()
    assert "for 1 SLO:" in run("rules", "-o", str(config / "out")).output
    assert ", 1 SLO:" in run("alertmanager", "-o", str(config / "out" / "am.yml")).output
    (config / "slos" / "national-latency.yaml").unlink()
    assert "there is no SLO at all" in str(run("explain", "loss").exception)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--slo", "speed"], "loss, national-latency, regional-latency"),
        (["--path", "london:atlantis/ef"], "src:dst/class"),
    ],
)
def test_a_name_that_is_not_known_is_a_usage_error(run, keep, arguments, text):
    keep()
    result = run("status", *arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert text in str(result.exception)


def test_a_path_without_objectives_has_no_rows(run, keep, config):
    keep()
    for name in ("loss", "national-latency"):
        (config / "slos" / f"{name}.yaml").unlink()
    result = run("status", "--path", FAST.id)
    assert result.exit_code == 0
    assert "No objective covers these paths." in result.output


def test_an_estate_without_objectives_says_that_nothing_is_promised(run, keep, config):
    keep()
    shutil.rmtree(config / "slos")
    result = run("status")
    assert result.exit_code == 0
    assert "nothing is promised" in result.output


def test_the_real_store_and_the_obvious_one_judge_alike(tmp_path, new_store, config):
    now_s = 1_800_000_000
    estate = load_estate(config)
    objectives = load_objectives(config, estate)
    latency = next(o for o in objectives if o.name == "national-latency")
    obvious = new_store()
    windows = []
    for age_s in (20, 600, 7200, 7 * 3600, 30 * 3600, 80 * 3600, 20 * 86400):
        for path, bad in ((FAST, age_s % 7), (OTHER, 1)):
            counts = SloCounts(1000, bad, 5)
            window = Window.containing((now_s - age_s) * 10**9)
            windows.append(PathWindow(SeriesKey(path), window, slo={latency.name: counts}))
            obvious.add(window.start_s, path, latency, 1000, bad, 5)
    with closing(SqliteStore.open(tmp_path / "real.sqlite")) as real:
        real.declare_objectives({latency.name: latency.target_text}, now_s - 30 * 86400)
        for sequence, window in enumerate(windows):
            real.append(Batch("london", "test", sequence, (window,)), now_s)
        expected = evaluate(Ranges(obvious), objectives, estate, now_s)
        assert evaluate(Ranges(real), objectives, estate, now_s) == expected
        real.maintain(now_s)
        assert evaluate(Ranges(real), objectives, estate, now_s) == expected
