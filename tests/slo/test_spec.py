from __future__ import annotations

import pathlib
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netslo.errors import ConfigurationError
from netslo.model import Path, Scope, SloThreshold
from slo.objective import CalendarWindow, Indicator
from slo.spec import load_objectives, load_specification, thresholds_by_path

GOOD = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: fast
  displayName: Fast enough
  labels: {team: network, tags: [a, b]}
  annotations:
    netslo.dev/owner: noc
    netslo.dev/runbook: https://runbooks.example/fast
    other.example/anything: goes
spec:
  description: A promise.
  service: backbone
  indicator:
    metadata: {name: rtt}
    spec:
      thresholdMetric:
        metricSource:
          type: netslo
          spec:
            metric: network.probe.rtt
            selector:
              scope: national
  objectives:
    - op: lte
      value: 0.1
      target: 0.999
  timeWindow:
    - duration: 4w
      isRolling: true
  budgetingMethod: Occurrences
"""

QUIET = GOOD.replace(
    "    other.", "    netslo.dev/alert-pairs: none\n    other."
)  # any target will do
RATIO = """\
      ratioMetric:
        counter: true
        bad:
          metricSource: {type: netslo, spec: {metric: network.probe.packets, outcome: lost}}
        total:
          metricSource: {type: netslo, spec: {metric: network.probe.packets}}
"""
THRESHOLD = GOOD[GOOD.index("      thresholdMetric") : GOOD.index("  objectives")]
LOSS = GOOD.replace(THRESHOLD, RATIO).replace("op: lte\n      value: 0.1\n      ", "")
SLI = """\
apiVersion: openslo/v1
kind: SLI
metadata: {name: answered}
spec:
""" + RATIO.replace("      ", "  ", 1).replace("\n      ", "\n  ")


@pytest.fixture
def write(tmp_path):
    def put(*texts: str, **files: str) -> pathlib.Path:
        folder = tmp_path / "slos"
        folder.mkdir(exist_ok=True)
        for name, text in {**{f"f{i}": t for i, t in enumerate(texts)}, **files}.items():
            (folder / f"{name}.yaml").write_text(text)
        return tmp_path

    return put


@pytest.fixture
def problems(write, estate):
    def find(*texts: str) -> list:
        with pytest.raises(ConfigurationError) as caught:
            load_objectives(write(*texts), estate)
        return list(caught.value.problems)

    return find


def test_a_latency_objective_is_read_whole(write, estate):
    (found,) = load_objectives(write(GOOD), estate)
    assert found.name == "fast"
    assert found.display_name == "Fast enough"
    assert found.description == "A promise."
    assert found.service == "backbone"
    assert found.indicator is Indicator.LATENCY
    assert found.threshold == SloThreshold("fast", 0.1)
    assert found.target == Fraction("0.999")
    assert found.window_s == 28 * 86400
    assert (found.owner, found.runbook) == ("noc", "https://runbooks.example/fast")


def test_a_loss_objective_has_no_threshold_and_any_answer_is_good(write, estate):
    (found,) = load_objectives(write(LOSS), estate)
    assert found.indicator is Indicator.LOSS
    assert found.threshold.is_good(59.0)


def test_an_sli_of_another_file_can_be_referred_to(write, estate):
    start, end = LOSS.index("  indicator:"), LOSS.index("  objectives:")
    slo = LOSS[:start] + "  indicatorRef: answered\n" + LOSS[end:]
    (found,) = load_objectives(write(slo, SLI), estate)
    assert found.indicator is Indicator.LOSS


def test_documents_come_by_file_and_then_as_they_stand(write, estate):
    twice = "---\n".join(GOOD.replace("name: fast", f"name: {n}") for n in ("z", "y"))
    directory = write(b=GOOD.replace("name: fast", "name: b"), a=twice)
    (directory / "slos" / "README.md").write_text("not a document")
    assert [o.name for o in load_objectives(directory, estate)] == ["z", "y", "b"]


def test_no_folder_and_an_empty_folder_promise_nothing(tmp_path, estate):
    assert load_objectives(tmp_path, estate) == ()
    (tmp_path / "slos").mkdir()
    found = load_specification(tmp_path, estate)
    assert found.objectives == ()
    assert "nothing is promised" in found.notes[0]


def test_the_example_promises_what_its_readme_says(new_estate):
    example = pathlib.Path(__file__).parents[2] / "examples" / "uk"
    found = {o.name: o for o in load_objectives(example, new_estate())}
    assert {(n, o.target_text, o.limit) for n, o in found.items()} == {
        ("regional-latency", "0.99", 0.009),
        ("national-latency", "0.999", 0.1),
        ("loss", "0.999", None),
    }
    assert found["regional-latency"].selector.scopes == {Scope.EDGE, Scope.REGIONAL}


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("target: 0.999", "0.999"),
        ("target: 0.9990", "0.999"),
        ("target: 1.0e-3", "0.001"),
        ("target: 0.12345678", "0.12345678"),
        ("targetPercent: 99.9", "0.999"),
        ("targetPercent: 99", "0.99"),
        ("targetPercent: 0.1", "0.001"),
    ],
)
def test_a_target_is_exactly_what_is_written(write, estate, line, text):
    (found,) = load_objectives(write(QUIET.replace("target: 0.999", line)), estate)
    assert found.target_text == text
    assert found.target == Fraction(text)


@settings(deadline=None)
@given(digits=st.integers(1, 10**8 - 1))
def test_any_target_survives_as_a_fraction(digits, estate, tmp_path_factory):
    directory = tmp_path_factory.getbasetemp() / "one"
    (directory / "slos").mkdir(parents=True, exist_ok=True)
    text = f"0.{digits:08d}"
    (directory / "slos" / "a.yaml").write_text(QUIET.replace("0.999", text))
    (found,) = load_objectives(directory, estate)
    assert found.target == Fraction(digits, 10**8)


@pytest.mark.parametrize(
    ("selector", "count"),
    [
        ("{}", 24),
        ("{scope: edge}", 8),
        ("{scope: [edge, regional], class: ef}", 6),
        ("{src_site: london, dst_site: [leeds, reading]}", 4),
        ("{path: ['london:leeds/ef']}", 1),
        ("{path: 'london:leeds/ef', scope: national}", 1),
    ],
)
def test_a_selector_covers_the_paths_that_match_every_key(write, estate, selector, count):
    text = GOOD.replace("selector:\n              scope: national", f"selector: {selector}")
    (found,) = load_objectives(write(text), estate)
    covered = [path for path in estate.paths if found.covers(path, estate)]
    assert len(covered) == count
    assert found.paths(estate) == tuple(covered)
    assert not found.covers(Path("london", "atlantis", "ef"), estate)


def test_a_calendar_window_is_kept_while_the_budget_rolls(write, estate):
    window = """\
    - duration: 1Q
      calendar: {startTime: 2026-04-01 00:00:00, timeZone: Europe/London}
"""
    text = GOOD.replace("    - duration: 4w\n      isRolling: true\n", window)
    (found,) = load_objectives(write(text), estate)
    assert found.calendar == CalendarWindow("1Q", "2026-04-01 00:00:00", "Europe/London")
    assert found.window_s == 28 * 86400


def test_the_period_is_28_days_unless_said(write, estate):
    text = GOOD.replace("  timeWindow:\n    - duration: 4w\n      isRolling: true\n", "")
    assert load_objectives(write(text), estate)[0].window_s == 28 * 86400


def test_a_prober_learns_every_threshold_of_its_path(write, estate):
    objectives = load_objectives(write(GOOD, LOSS.replace("name: fast", "name: loss")), estate)
    found = thresholds_by_path(objectives, estate)
    assert list(found) == list(estate.paths)
    assert found[Path("london", "leeds", "ef")] == (
        SloThreshold("fast", 0.1),
        SloThreshold("loss", None),
    )
    assert found[Path("london", "reading", "ef")] == (SloThreshold("loss", None),)


RTT_LINE, SCOPE_LINE = "metric: network.probe.rtt", "scope: national"
TWO = "    - op: lte\n      value: 0.2\n      target: 0.9\n  timeWindow"
BAD = {  # (what is replaced, by what) -> line, field, part of what is said
    "unknown field": (
        ("  service: backbone", "  service: backbone\n  servise: x"),
        (14, "spec.servise", "did you mean service"),
    ),
    "target of one": (("0.999", "1"), (27, "spec.objectives.0.target", "less than 1")),
    "target of zero": (("0.999", "0.0"), (27, "spec.objectives.0.target", "greater than 0")),
    "target above one": (("0.999", "99.9"), (27, "spec.objectives.0.target", "less than 1")),
    "target not a number": (("0.999", ".nan"), (27, "spec.objectives.0.target", "greater")),
    "target of text": (("0.999", "high"), (27, "spec.objectives.0.target", "a number")),
    "target too long": (
        ("0.999", "0.1234567890123456789"),
        (27, "spec.objectives.0.target", "decimal places"),
    ),
    "percent of a hundred": (
        ("target: 0.999", "targetPercent: 100"),
        (27, "spec.objectives.0.targetPercent", "less than 100"),
    ),
    "two targets": (
        ("target: 0.999", "target: 0.999\n      targetPercent: 99.9"),
        (25, "spec.objectives.0", "either target or targetPercent"),
    ),
    "no target": (("      target: 0.999\n", ""), (25, "spec.objectives.0", "either target")),
    "threshold past the time-out": (
        ("value: 0.1", "value: 1"),
        (26, "spec.objectives.0.value", "time-out"),
    ),
    "threshold of zero": (("value: 0.1", "value: 0"), (26, "spec.objectives.0.value", "greater")),
    "no threshold": (("      value: 0.1\n", ""), (25, "spec.objectives.0.value", "seconds")),
    "op the wrong way": (("op: lte", "op: gte"), (25, "spec.objectives.0.op", "must be lte")),
    "no op": (("op: lte\n      value", "value"), (25, "spec.objectives.0.op", "must be lte")),
    "op that is none": (("op: lte", "op: le"), (25, "spec.objectives.0.op", "lte")),
    "second objective": (("  timeWindow", TWO), (28, "spec.objectives.1", "one SLO for each")),
    "method that is none": (("Occurrences", "Occurences"), (31, "spec.budgetingMethod", "must be")),
    "slice target": (
        ("target: 0.999", "target: 0.999\n      timeSliceTarget: 0.9"),
        (28, "spec.objectives.0.timeSliceTarget", "only for Timeslices"),
    ),
    "unknown scope": (
        (SCOPE_LINE, "scope: global"),
        (23, "spec.indicator.spec.thresholdMetric.metricSource.spec.selector.scope", "national"),
    ),
    "unknown class": ((SCOPE_LINE, "class: gold"), (23, "selector.class", "ef, be")),
    "unknown site": ((SCOPE_LINE, "src_site: atlantis"), (23, "selector.src_site", "london")),
    "unknown path": ((SCOPE_LINE, "path: 'a:b/c'"), (23, "selector.path", "src:dst/class")),
    "selector of nothing": (
        (SCOPE_LINE, "{src_site: leeds, dst_site: leeds}"),
        (22, "selector", "selects no path"),
    ),
    "empty list": ((SCOPE_LINE, "scope: []"), (23, "selector.scope", "at least 1")),
    "other metric": (
        (RTT_LINE, "metric: network.probe.packets"),
        (21, "spec.metric", "must be one of network.probe.rtt"),
    ),
    "other data source": (
        ("type: netslo", "type: Prometheus"),
        (19, "metricSource.type", "must be netslo"),
    ),
    "name with capitals": (("name: fast", "name: Fast"), (4, "metadata.name", "RFC 1123")),
    "unknown annotation of ours": (
        ("netslo.dev/owner", "netslo.dev/owners"),
        (8, "metadata.annotations.netslo.dev/owners", "netslo.dev/owner"),
    ),
    "older OpenSLO": (("openslo/v1", "openslo/v1alpha"), (1, "apiVersion", "openslo/v1")),
    "unknown kind": (("kind: SLO", "kind: Slo"), (2, "kind", "must be one of SLO")),
    "window too long": (("4w", "90d"), (29, "spec.timeWindow.0.duration", "a calendar, such as")),
    "window too short": (("4w", "1d"), (29, "spec.timeWindow.0.duration", "7d to 35d")),
    "rolling months": (("4w", "1M"), (29, "spec.timeWindow.0.duration", "m, h, d or w")),
    "window that is none": (("4w", "long"), (29, "spec.timeWindow.0.duration", "such as 28d")),
    "not rolling": (
        ("isRolling: true", "isRolling: false"),
        (29, "spec.timeWindow.0", "isRolling: true, or a calendar"),
    ),
    "no indicator": (("indicator:", "indicatorx:"), (14, "spec.indicatorx", "did you mean")),
    "reference to nothing": (
        (GOOD[GOOD.index("  indicator:") : GOOD.index("  objectives")], "  indicatorRef: rtt\n"),
        (14, "spec.indicatorRef", "name of an SLI"),
    ),
    "list instead of a mapping": ((GOOD, "[1]"), (1, "0", "OpenSLO document")),
    "no spec": ((GOOD[GOOD.index("spec:") :], ""), (1, "spec", "is missing")),
    "broken YAML": (("kind: SLO", "kind: [SLO"), (3, "", "not YAML")),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), BAD.values(), ids=BAD.keys())
def test_a_fault_is_named_with_file_line_and_field(problems, tmp_path, change, said):
    line, field, text = said
    found = problems(GOOD.replace(*change, 1))
    matching = [p for p in found if p.field.endswith(field) and text in p.expected]
    assert matching, found
    assert matching[0].line == line
    assert matching[0].file == str(tmp_path / "slos" / "f0.yaml")
    assert len(found) == 1 or "did you mean" in text, found


RATIO_BAD = {
    "raw ratio": (
        ("bad:", "rawType: success\n        bad:"),
        ("ratioMetric.rawType", "not supported"),
    ),
    "gauge": (("counter: true", "counter: false"), ("ratioMetric.counter", "must be true")),
    "other outcome": (("lost}", "answered}"), ("bad.metricSource.spec.outcome", "must be lost")),
    "no outcome": ((", outcome: lost", ""), ("bad.metricSource.spec.outcome", "must be lost")),
    "total of one outcome": (
        ("network.probe.packets}", "network.probe.packets, outcome: lost}"),
        ("total.metricSource.spec.outcome", "answered and lost"),
    ),
    "round trips as packets": (
        ("network.probe.packets}", "network.probe.rtt}"),
        ("total.metricSource.spec.metric", "network.probe.packets"),
    ),
    "selectors that differ": (
        ("outcome: lost", "outcome: lost, selector: {class: ef}"),
        ("bad.metricSource.spec.selector", "the same as that of total"),
    ),
    "threshold for loss": (("- target", "- op: lte\n      target"), ("objectives.0.op", "loss")),
    "no numerator": (("bad:", "total:"), ("ratioMetric.total", "second time")),
    "both kinds": (
        ("ratioMetric:", THRESHOLD.lstrip() + "      ratioMetric:"),
        ("spec.indicator.spec", "either thresholdMetric"),
    ),
}


@pytest.mark.parametrize(("change", "said"), RATIO_BAD.values(), ids=RATIO_BAD.keys())
def test_a_fault_in_a_ratio_is_named(problems, change, said):
    field, text = said
    (found,) = problems(LOSS.replace(*change, 1))
    assert found.field.endswith(field)
    assert text in found.expected
    assert found.line


def test_good_needs_answered_and_good_and_bad_exclude_each_other(problems, write, estate):
    good = LOSS.replace("bad:", "good:").replace("outcome: lost", "outcome: answered")
    assert load_objectives(write(good), estate)[0].indicator is Indicator.LOSS
    part = RATIO[RATIO.index("        bad:") : RATIO.index("        total:")]
    (found,) = problems(good.replace("        total:", part + "        total:"))
    assert "either good or bad" in found.expected


@pytest.mark.parametrize(
    ("calendar", "field", "text"),
    [
        ("{startTime: someday, timeZone: UTC}", "calendar.startTime", "without a zone"),
        ("{startTime: 5, timeZone: UTC}", "calendar.startTime", "without a zone"),
        (
            "{startTime: 2026-01-01T00:00:00Z, timeZone: UTC}",
            "calendar.startTime",
            "without a zone",
        ),
        ("{startTime: 2026-01-01, timeZone: Mars/Olympus}", "calendar.timeZone", "IANA"),
        ("{startTime: 2026-01-01, timeZone: ../etc}", "calendar.timeZone", "IANA"),
        ("{startTime: 2026-01-01}", "calendar.timeZone", "missing"),
    ],
)
def test_a_fault_in_a_calendar_is_named(problems, calendar, field, text):
    text_of = GOOD.replace("4w", "1Q").replace("isRolling: true", f"calendar: {calendar}")
    (found,) = problems(text_of)
    assert found.field.endswith(field)
    assert text in found.expected


@pytest.mark.parametrize("duration", ["11Y", "8000Y", "41Q", "121M", "523w", "999999d"])
def test_a_calendar_period_of_more_than_ten_years_is_refused(problems, duration):
    calendar = "calendar: {startTime: 2026-01-01, timeZone: UTC}"
    (found,) = problems(GOOD.replace("4w", duration).replace("isRolling: true", calendar))
    assert found.field == "spec.timeWindow.0.duration"
    assert "at most ten years" in found.expected


def test_a_calendar_excludes_rolling_and_minutes(problems):
    calendar = "isRolling: true\n      calendar: {startTime: 2026-01-01, timeZone: UTC}"
    found = problems(GOOD.replace("4w", "5m").replace("isRolling: true", calendar))
    assert [p.field for p in found] == ["spec.timeWindow.0.duration", "spec.timeWindow.0.isRolling"]


def test_a_name_used_twice_is_found_across_files(problems):
    (found,) = problems(GOOD, LOSS)
    assert found.file.endswith("f1.yaml")
    assert found.line == 4
    assert "f0.yaml:4" in found.expected


def test_all_problems_of_all_files_come_at_once(problems):
    worst = GOOD.replace("0.999", "1").replace("0.1", "9").replace("national", "global")
    found = problems(worst, "kind: [", LOSS.replace("Occurrences", "Timeslices"))
    assert [(p.file[-7:], p.line) for p in found] == [
        ("f0.yaml", 23),
        ("f0.yaml", 26),
        ("f0.yaml", 27),
        ("f1.yaml", 1),
        ("f2.yaml", 4),
        ("f2.yaml", 24),
        ("f2.yaml", 24),
    ]


def test_an_indicator_shared_by_two_slos_reports_its_fault_once(problems):
    start, end = LOSS.index("  indicator:"), LOSS.index("  objectives:")
    slo = LOSS[:start] + "  indicatorRef: answered\n" + LOSS[end:]
    sli = SLI.replace("outcome: lost", "outcome: answered")
    found = problems(slo, slo.replace("name: fast", "name: other"), sli)
    assert len(found) == 1


def test_an_indicator_that_nothing_refers_to_is_checked_too(problems):
    (found,) = problems(SLI.replace("outcome: lost", "outcome: answered"))
    assert found.field.endswith("outcome")


def test_slos_that_is_a_file_is_one_message(tmp_path, estate):
    (tmp_path / "slos").write_text("")
    with pytest.raises(ConfigurationError, match="slos: cannot be read"):
        load_objectives(tmp_path, estate)


SCALARS = ["", "null", "0", "-1", ".inf", "yes", "[]", "{}", "[{}]", "2026-01-01", "'x'", "1e999"]


@settings(deadline=None)
@given(
    line=st.integers(0, GOOD.count("\n") - 1),
    value=st.sampled_from(SCALARS) | st.text(max_size=10),
    source=st.sampled_from([GOOD, LOSS]),
)
def test_whatever_stands_in_a_field_is_read_or_refused(
    line, value, source, estate, tmp_path_factory
):
    directory = tmp_path_factory.getbasetemp() / "any"
    (directory / "slos").mkdir(parents=True, exist_ok=True)
    lines = source.splitlines()
    line = min(line, len(lines) - 1)
    lines[line] = f"{lines[line].partition(':')[0]}: {value}"
    (directory / "slos" / "a.yaml").write_text("\n".join(lines), errors="replace")
    refused = None
    try:
        load_objectives(directory, estate)
    except ConfigurationError as error:
        refused = error
    assert refused is None or (
        refused.problems and all(problem.expected for problem in refused.problems)
    )


def test_an_unknown_field_hides_no_other_fault(tmp_path, estate) -> None:
    text = GOOD.replace("  service: backbone", "  service: backbone\n  servise: x")
    text = text.replace("target: 0.999", "target: 1").replace("duration: 4w", "duration: 0d")
    text = text.replace("scope: national", "src_site: narnia")
    folder = tmp_path / "slos"
    folder.mkdir()
    (folder / "a.yaml").write_text(f"{text}---\n{GOOD}")
    with pytest.raises(ConfigurationError) as caught:
        load_objectives(tmp_path, estate)
    found = [(problem.line, problem.field.rpartition(".")[2]) for problem in caught.value.problems]
    assert found == [
        (14, "servise"),
        (24, "src_site"),
        (28, "target"),
        (30, "duration"),
        (37, "name"),
    ]


def test_a_field_of_another_type_hides_no_other_fault(problems) -> None:
    wrong = (
        GOOD.replace("name: fast", "name: Fast Enough", 1)
        .replace("target: 0.999", "target: [1]")
        .replace("value: 0.1", "value: 90")
        .replace("displayName: Fast enough", "displayName: 7")
    )
    assert wrong.count("[1]") == wrong.count("value: 90") == wrong.count(": 7\n") == 1
    found = {problem.field: problem.expected for problem in problems(wrong)}
    assert found.keys() == {
        "metadata.name", "metadata.displayName", "spec.objectives.0.target",
        "spec.objectives.0.value",
    }  # fmt: skip
    # Without a target there is neither target nor targetPercent, which is no fault of its own.
    assert found["spec.objectives.0.target"] == "must be a number"


def test_what_only_follows_from_a_fault_is_not_said(problems) -> None:
    (problem,) = problems(GOOD.replace("op: lte", "op: [lte]"))
    assert problem.field == "spec.objectives.0.op"
    (problem,) = problems(GOOD.replace("service: backbone", "service: 5"))
    assert problem.field == "spec.service"


SLICED = GOOD.replace("budgetingMethod: Occurrences", "budgetingMethod: Timeslices").replace(
    "target: 0.999", "target: 0.999\n      timeSliceTarget: 0.5\n      timeSliceWindow: 5m"
)
_REQUIRED = {
    "name": "  name: fast\n",
    "service": "  service: backbone\n",
    "method": "  budgetingMethod: Timeslices\n",
    "duration": "    - duration: 4w\n",
    "query": SLICED[SLICED.index("          spec:\n") : SLICED.index("  objectives")],
    "source": SLICED[SLICED.index("        metricSource:") : SLICED.index("  objectives")],
    "metadata": SLICED[SLICED.index("metadata:") : SLICED.index("spec:\n")],
    "objectives": SLICED[SLICED.index("  objectives:") : SLICED.index("  timeWindow")],
}
_FIELDS = {
    "name": "metadata.name",
    "service": "spec.service",
    "method": "spec.budgetingMethod",
    "duration": "spec.timeWindow.0.duration",
    "query": "spec.indicator.spec.thresholdMetric.metricSource.spec",
    "source": "spec.indicator.spec.thresholdMetric.metricSource",
    "metadata": "metadata",
    "objectives": "spec.objectives",
}


@settings(max_examples=60, deadline=None)
@given(
    broken=st.dictionaries(
        st.sampled_from(sorted(_REQUIRED)),
        st.sampled_from(["", "[3]", "7", "{}", "{what: 1}", "null", "true"]),
        max_size=4,
    )
)
def test_required_fields_of_any_type_or_none_hide_no_other_fault(
    tmp_path_factory, estate, broken
) -> None:
    """What is broken is told, and the fault beside it, and nothing that only follows."""
    text = SLICED
    for part in sorted(broken, key=lambda name: -len(_REQUIRED[name])):
        was, now = _REQUIRED[part], broken[part]
        if part == "source" and now in ("", "null"):
            now = "7"  # an empty thresholdMetric is none, which is another fault
        if was not in text:
            continue  # it was in something that is broken
        key, _, _ = was.partition(":")
        indent = key if now or part != "duration" else "    - isRolling"
        line = f"{indent}: {now}\n" if now else ""
        if part == "duration" and not now:
            line = "    -\n"
        text = text.replace(was, line, 1)
    text = text.replace("  description: A promise.", "  description: A promise.\n  extra: 1")
    directory = tmp_path_factory.mktemp("broken")
    (directory / "slos").mkdir()
    (directory / "slos" / "a.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_objectives(directory, estate)
    told = {problem.field for problem in caught.value.problems}
    assert "spec.extra" in told
    places = [_FIELDS[part] for part in broken] + ["spec.extra"]
    for field in told:
        assert any(field == place or field.startswith(f"{place}.") for place in places), (
            field,
            text,
        )
    outermost = [p for p in places if not any(p != q and p.startswith(f"{q}.") for q in places)]
    for place in outermost:
        assert any(field == place or field.startswith(f"{place}.") for field in told), (place, text)
