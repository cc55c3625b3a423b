"""What sloth and pyrra would alert on, and what the imported documents alert on, are the same."""

from __future__ import annotations

import pathlib
from fractions import Fraction

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from netslo.errors import ConfigurationError
from slo.burn import PAIRS, Severity
from slo.cli import slo
from slo.imports.pyrra import import_pyrra
from slo.imports.sloth import import_sloth, read_windows
from slo.objective import Indicator
from slo.spec import load_objectives, load_openslo

DATA = pathlib.Path(__file__).parent / "data"
FILES = {tool: (DATA / f"{tool}.yaml").read_text() for tool in ("sloth", "pyrra")}
DAY_S = 86400
PAGE, TICKET = Severity.PAGE, Severity.TICKET

SLI = """\
apiVersion: openslo/v1
kind: SLI
metadata: {name: answered}
spec:
  ratioMetric:
    good:
      metricSource: {type: netslo, spec: {metric: network.probe.packets, outcome: answered}}
    total:
      metricSource: {type: netslo, spec: {metric: network.probe.packets}}
"""


def burn_rates(pairs, period_s):
    """What an alert rule says: severity, factor, long and short window."""
    return [(p.severity, p.threshold(period_s), p.long, p.short) for p in pairs]


def run(*arguments):
    return CliRunner().invoke(slo, ["import", *map(str, arguments)])


@pytest.fixture
def take_in(tmp_path, estate):
    """Import a file as a user would, and read the result as netslo does."""

    def import_file(*arguments):
        result = run(*arguments, "--indicator", "answered")
        assert result.exit_code == 0, result.exception
        (tmp_path / "slos").mkdir(exist_ok=True)
        (tmp_path / "slos" / "sli.yaml").write_text(SLI)
        (tmp_path / "slos" / "imported.yaml").write_text(result.stdout)
        return {o.name: o for o in load_objectives(tmp_path, estate)}

    return import_file


def test_sloths_pairs_are_those_of_its_google_30d_windows(take_in):
    found = take_in("sloth", DATA / "sloth.yaml")
    first, second = found["my-service-requests-availability"], found["my-service-raw"]
    assert (first.target, first.window_s) == (Fraction("0.999"), 30 * DAY_S)
    assert burn_rates(first.alerts.pairs, first.window_s) == [
        (PAGE, Fraction("14.4"), "1h", "5m"),
        (PAGE, 6, "6h", "30m"),
        (TICKET, 3, "1d", "2h"),
        (TICKET, 1, "3d", "6h"),
    ]
    assert first.indicator is Indicator.LOSS
    assert (first.owner, first.runbook) == ("myteam", "https://runbooks.example/errors")
    assert second.alerts.pairs == PAIRS[:2]  # its tickets are disabled


def test_sloths_28_days_scale_as_its_google_28d_windows(take_in):
    found = take_in("sloth", DATA / "sloth.yaml", "--period", "28d")
    pairs = found["my-service-requests-availability"].alerts.pairs
    assert [pair.threshold(28 * DAY_S) for pair in pairs] == [
        Fraction(text) for text in ("13.44", "5.6", "2.8", "14/15")
    ]


WINDOWS = """\
sloPeriod: 30d
page:
  quick: {errorBudgetPercent: 1, shortWindow: 2m, longWindow: 30m}
  slow: {errorBudgetPercent: 2, shortWindow: 15m, longWindow: 3h}
ticket:
  quick: {errorBudgetPercent: 5, shortWindow: 1h, longWindow: 12h}
  slow: {errorBudgetPercent: 5.5, shortWindow: 3h, longWindow: 36h}
"""


@pytest.mark.parametrize("kubernetes", [False, True])
def test_sloths_own_windows_are_read_exactly(tmp_path, take_in, kubernetes):
    file = tmp_path / "windows.yaml"
    spec = "".join(f"  {line}\n" for line in WINDOWS.splitlines())
    head = "apiVersion: sloth.slok.dev/v1\nkind: AlertWindows\nspec:\n"
    file.write_text(head + spec if kubernetes else f"version: alertWindows/v1\n{WINDOWS}")
    found = take_in("sloth", DATA / "sloth.yaml", "--windows", file)
    objective = found["my-service-requests-availability"]
    assert burn_rates(objective.alerts.pairs, objective.window_s) == [
        (PAGE, Fraction("14.4"), "30m", "2m"),
        (PAGE, Fraction("4.8"), "3h", "15m"),
        (TICKET, 3, "12h", "1h"),
        (TICKET, Fraction("1.1"), "36h", "3h"),
    ]


@pytest.mark.parametrize(
    ("change", "field", "text"),
    [
        (("sloPeriod: 30d", "sloPeriod: month"), "sloPeriod", "positive duration"),
        (("Percent: 1,", "Percent: 0,"), "errorBudgetPercent", "greater than 0"),
        (("Window: 2m", "Window: 2h"), "quick", "less than 30m"),
        (("longWindow: 30m", "long: 30m"), "longWindow", "is missing"),
        (("1h, longWindow: 12h", "15m, longWindow: 3h"), "", "pairs on 3h and 15m, a page and a"),
    ],
)
def test_a_fault_in_windows_is_named(tmp_path, change, field, text):
    file = tmp_path / "windows.yaml"
    file.write_text(WINDOWS.replace(*change))
    with pytest.raises(ConfigurationError) as caught:
        read_windows(file)
    assert any(p.field.endswith(field) and text in p.expected for p in caught.value.problems)
    assert all(problem.line for problem in caught.value.problems)


# What `pyrra generate` writes for a period: severity, factor, long and short window.
PYRRA = {
    "4w": [
        (PAGE, 14, "1h", "5m"), (PAGE, 7, "6h", "30m"),
        (TICKET, 2, "1d", "2h"), (TICKET, 1, "4d", "6h"),
    ],
    "2w": [  # 2m30s rounds to 3m
        (PAGE, 14, "30m", "3m"), (PAGE, 7, "3h", "15m"),
        (TICKET, 2, "12h", "1h"), (TICKET, 1, "2d", "3h"),
    ],
    "7d": [
        (PAGE, 14, "15m", "1m"), (PAGE, 7, "90m", "8m"),
        (TICKET, 2, "6h", "30m"), (TICKET, 1, "1d", "90m"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("window", "expected"), PYRRA.items(), ids=PYRRA.keys())
def test_pyrras_alerts_keep_their_windows_and_factors(tmp_path, take_in, window, expected):
    file = tmp_path / "pyrra.yaml"
    first = (DATA / "pyrra.yaml").read_text().split("---")[0]
    file.write_text(first.replace("4w", window))
    (objective,) = take_in("pyrra", file).values()
    assert burn_rates(objective.alerts.pairs, objective.window_s) == expected
    assert objective.target == Fraction("0.999")
    assert objective.owner == "platform"


def test_windows_that_netslo_moves_keep_their_factor_and_are_noted(tmp_path):
    file = tmp_path / "pyrra.yaml"
    file.write_text((DATA / "pyrra.yaml").read_text().split("---")[0].replace("4w", "30d"))
    (imported,), notes = import_pyrra(file)
    assert [(p.threshold(30 * DAY_S), p.long) for p in imported.pairs] == [
        (14, "64m"),
        (7, "385m"),  # 386 minutes with pyrra
        (2, "1545m"),
        (1, "6170m"),
    ]
    assert any("a window of 386m: 385m here" in line for line in notes.lines)


def test_what_has_no_counterpart_is_said_with_its_place():
    said = "\n".join(import_sloth(DATA / "sloth.yaml")[1].lines)
    assert "sloth.yaml:6: slo_plugins has no counterpart" in said
    assert "sloth.yaml:23: slos.0.alerting.page_alert.for has no counterpart" in said
    assert "is named my-service-raw here" in said
    said = "\n".join(import_pyrra(DATA / "pyrra.yaml")[1].lines)
    assert "spec.indicator.ratio.grouping has no counterpart" in said
    assert "spec.alerting.burnRateType has no counterpart" in said
    assert "api-latency: the page on 30m and 3m can never fire at 0.9" in said


@pytest.mark.parametrize("tool", ["sloth", "pyrra"])
def test_what_is_written_is_openslo_and_keeps_the_queries(tmp_path, tool):
    result = run(tool, DATA / f"{tool}.yaml")
    assert result.exit_code == 0
    file = tmp_path / "written.yaml"
    file.write_text(result.stdout)
    assert all(document.kind == "SLO" for document in load_openslo([file]))
    original = (DATA / f"{tool}.yaml").read_text()
    queries = [
        source["metricSource"]["spec"]["query"]
        for document in yaml.safe_load_all(result.stdout)
        for source in document["spec"]["indicator"]["spec"]["ratioMetric"].values()
        if isinstance(source, dict)
    ]
    assert queries
    assert all(query in original for query in queries)
    assert "which netslo keeps and does not measure" in result.stderr
    measured = run(tool, DATA / f"{tool}.yaml", "--indicator", "answered")
    assert "note: " in measured.stderr
    assert "does not measure" not in measured.stderr


@pytest.mark.parametrize(
    ("tool", "change", "field", "text"),
    [
        ("sloth", ("objective: 99.9", "objective: 100"), "objective", "less than 100"),
        ("sloth", ("objective: 99.9", "objective: high"), "objective", "must be a number"),
        ("sloth", ("prometheus/v1", "prometheus/v2"), "version", "prometheus/v1"),
        ("sloth", ("      raw:", "      plugin:"), "sli", "must have events or raw"),
        ("sloth", ("        total_query", "        totals"), "total_query", "is missing"),
        ("pyrra", ("'99.9'", "'high'"), "target", "greater than 0"),
        ("pyrra", ("'99.9'", "'100'"), "target", "less than 100"),
        ("pyrra", ("window: 4w", "window: long"), "window", "positive duration"),
        ("pyrra", ("window: 4w", "window: 1h"), "window", "too short"),
        ("pyrra", ("pyrra.dev/v1alpha1", "v1"), "apiVersion", "pyrra.dev/v1alpha1"),
        ("pyrra", ("    ratio:", "    ratios:"), "indicator", "must have ratio"),
    ],
)
def test_a_fault_of_a_foreign_file_is_named(tmp_path, tool, change, field, text):
    file = tmp_path / "foreign.yaml"
    file.write_text((DATA / f"{tool}.yaml").read_text().replace(*change, 1))
    error = run(tool, file).exception
    assert isinstance(error, ConfigurationError)
    assert any(p.field.endswith(field) and text in p.expected for p in error.problems), error
    assert all(problem.line for problem in error.problems)


FAULTS = {
    "sloth": (
        [
            ('service: "My_Service"', "service: [a]"),
            ("objective: 99.9", "objective: high"),
            ("        total_query", "        totals"),
            ("objective: 99\n", "objective: 100\n"),
            ("      raw:", "      plugin:"),
        ],
        [
            (2, "service", "must be text"),
            (11, "slos.0.objective", "must be a number"),
            (14, "slos.0.sli.events.total_query", "is missing"),
            (27, "slos.1.objective", "must be greater than 0 and less than 100"),
            (28, "slos.1.sli", "must have events or raw; a plugin's query is made by sloth alone"),
        ],
    ),
    "pyrra": (
        [
            ("target: '99.9'", "target: '100'"),
            ("window: 4w", "window: [4w]"),
            ("target: '90'", "target: 90"),
            ("window: 2w", "window: 1h"),
            ("    bool_gauge:", "    gauge:"),
        ],
        [
            (10, "spec.target", "must be greater than 0 and less than 100"),
            (11, "spec.window", "must be text"),
            (26, "spec.target", "must be text"),
            (27, "spec.window", "is too short to alert by"),
            (46, "spec.indicator", "must have ratio, latency, latencyNative or bool_gauge"),
        ],
    ),
}


@pytest.mark.parametrize("tool", FAULTS)
def test_all_faults_come_at_once_and_nothing_that_follows_from_one(tmp_path, tool):
    changes, expected = FAULTS[tool]
    text = FILES[tool]
    for change in changes:
        assert change[0] in text
        text = text.replace(*change, 1)
    file = tmp_path / "foreign.yaml"
    file.write_text(text)
    found = {(p.line, p.field): p.expected for p in run(tool, file).exception.problems}
    assert list(found) == sorted(found)
    assert found.keys() == {(line, field) for line, field, _ in expected}
    for line, field, said in expected:
        assert found[line, field].startswith(said)


def test_two_objectives_of_one_name_are_refused(tmp_path):
    file = tmp_path / "foreign.yaml"
    both = FILES["sloth"].replace('name: "raw"', 'name: "requests_availability"')
    file.write_text(both)
    (problem,) = run("sloth", file).exception.problems
    assert (problem.line, problem.field) == (26, "slos.1.name")
    assert "is named my-service-requests-availability here, as is another SLO" in str(problem)
    assert "foreign.yaml:10" in str(problem)


def test_all_faults_of_windows_come_at_once(tmp_path):
    file = tmp_path / "windows.yaml"
    text = WINDOWS.replace("sloPeriod: 30d", "sloPeriod: month").replace(
        "Percent: 1,", "Percent: 0,"
    )
    text = text.replace("longWindow: 3h", "long: 3h").replace("shortWindow: 1h", "shortWindow: 1d")
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read_windows(file)
    assert [(p.line, p.field) for p in caught.value.problems] == [
        (1, "sloPeriod"),
        (3, "page.quick.errorBudgetPercent"),
        (4, "page.slow.longWindow"),
        (6, "ticket.quick"),
    ]


def test_what_is_not_known_deep_inside_is_noted(tmp_path):
    file = tmp_path / "pyrra.yaml"
    file.write_text(FILES["pyrra"].replace("      total:", "      weight: 2\n      total:", 1))
    said = "\n".join(import_pyrra(file)[1].lines)
    assert "pyrra.yaml:17: spec.indicator.ratio.weight has no counterpart" in said


def test_metadata_of_kubernetes_that_are_none_are_no_traceback(tmp_path):
    file = tmp_path / "k8s.yaml"
    file.write_text("apiVersion: sloth.slok.dev/v1\nmetadata: 5\n")
    assert isinstance(run("sloth", file).exception, ConfigurationError)


@pytest.mark.parametrize(
    "arguments",
    [
        ("sloth", "no-such-file.yaml"),
        ("sloth", DATA / "sloth.yaml", "--period", "month"),
        ("pyrra", DATA / "pyrra.yaml", "--windows", DATA / "sloth.yaml"),
        ("pyrra", DATA / "pyrra.yaml", "--period", "28d"),
        ("sloth", DATA / "sloth.yaml", "--period", "28d", "--windows", DATA / "sloth.yaml"),
        ("sloth", DATA / "sloth.yaml", "--windows", DATA / "pyrra.yaml"),
    ],
)
def test_what_cannot_be_done_is_a_usage_error(arguments):
    assert isinstance(run(*arguments).exception, ConfigurationError)


def test_faults_of_options_and_files_come_at_once(tmp_path):
    file = tmp_path / "foreign.yaml"
    file.write_text(FILES["sloth"].replace("objective: 99.9", "objective: 100"))
    said = str(run("sloth", file, "--windows", DATA / "pyrra.yaml").exception)
    assert "pyrra.yaml: must hold one document" in said
    assert "foreign.yaml:11: slos.0.objective" in said
    said = str(run("sloth", file, "--period", "month").exception)
    assert "--period month" in said
    assert "foreign.yaml:11: slos.0.objective" in said


def test_nothing_imported_leaves_nothing_to_say_of_queries(tmp_path):
    file = tmp_path / "none.yaml"
    file.write_text("version: prometheus/v1\nservice: s\nslos: []\n")
    assert "PromQL" not in run("sloth", file).stderr
    assert "PromQL" in run("sloth", DATA / "sloth.yaml").stderr


def test_kubernetes_sloth_is_sloth_too(tmp_path):
    file = tmp_path / "k8s.yaml"
    spec = "\n".join(f"  {line}" for line in (DATA / "sloth.yaml").read_text().splitlines()[1:])
    head = "apiVersion: sloth.slok.dev/v1\nkind: PrometheusServiceLevel\nmetadata:\n  name: x\n"
    file.write_text(f"{head}  namespace: y\nspec:\n{spec}\n")
    imported, notes = import_sloth(file)
    assert [each.pairs for each in imported] == [
        each.pairs for each in import_sloth(DATA / "sloth.yaml")[0]
    ]
    assert any("metadata.namespace has no counterpart" in line for line in notes.lines)


ODD = ["", "null", "0", "-1", ".inf", "1e999", "[]", "{}", "[{}]", "2026-01-01", "&a [*a]", "'%'"]


@settings(deadline=None)
@given(
    tool=st.sampled_from(sorted(FILES)),
    line=st.integers(0, 60),
    value=st.sampled_from(ODD) | st.text(max_size=10),
)
def test_whatever_stands_in_a_foreign_file_is_read_or_refused(tool, line, value, tmp_path_factory):
    lines = FILES[tool].splitlines()
    line %= len(lines)
    lines[line] = f"{lines[line].partition(':')[0]}: {value}"
    file = tmp_path_factory.getbasetemp() / "foreign.yaml"
    file.write_text("\n".join(lines), errors="replace")
    result = run(tool, file)
    assert result.exit_code == 0 or isinstance(result.exception, ConfigurationError)
