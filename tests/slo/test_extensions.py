"""Indicators beside latency and loss, alert policies and our annotations, as documents."""

from __future__ import annotations

import pathlib
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netslo.errors import ConfigurationError
from netslo.model import Direction, Measure, Path, SloThreshold
from slo.annotations import format_pairs, parse_pairs
from slo.budget import MissingData
from slo.burn import PAIRS, BurnPair, Severity
from slo.exclusion import ExclusionKind
from slo.objective import Indicator
from slo.policy import NotificationTarget
from slo.slices import TimeSlices
from slo.spec import load_objectives, load_specification, thresholds_by_path

HEAD = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: it
  annotations:
    other.example/x: y
spec:
  service: backbone
  indicator:
    spec:
"""
TAIL = """\
  budgetingMethod: Occurrences
  objectives:
    - op: lte
      value: 0.005
      target: 0.999
"""
SLICED = """\
  budgetingMethod: Timeslices
  objectives:
    - target: 0.999
      timeSliceTarget: 0.95
      timeSliceWindow: 5
"""
BANDWIDTH = """\
  budgetingMethod: Timeslices
  objectives:
    - op: gte
      value: 1.0e+9
      target: 0.99
      timeSliceTarget: 1.0
      timeSliceWindow: 5m
"""
PACKETS = """\
      ratioMetric:
        good:
          metricSource: {type: netslo, spec: {metric: network.probe.packets, outcome: answered}}
        total:
          metricSource: {type: netslo, spec: {metric: network.probe.packets}}
"""


def threshold(query: str) -> str:
    return f"      thresholdMetric:\n        metricSource: {{type: netslo, spec: {query}}}\n"


JITTER = HEAD + threshold("{metric: network.probe.jitter}") + TAIL


def annotated(**ours: str) -> str:
    lines = "".join(f"    netslo.dev/{k.replace('_', '-')}: {v}\n" for k, v in ours.items())
    return JITTER.replace("    other.example/x: y\n", lines)


@pytest.fixture
def read(tmp_path, estate):
    def load(*texts: str):
        (tmp_path / "slos").mkdir(exist_ok=True)
        (tmp_path / "slos" / "a.yaml").write_text("---\n".join(texts))
        return load_specification(tmp_path, estate)

    return load


@pytest.fixture
def objective(read):
    return lambda *texts: read(*texts).objectives[0]


@pytest.fixture
def refused(read):
    def find(*texts: str) -> list:
        with pytest.raises(ConfigurationError) as caught:
            read(*texts)
        return list(caught.value.problems)

    return find


@pytest.mark.parametrize(
    ("query", "indicator", "measure", "direction"),
    [
        ("{metric: network.probe.rtt}", "latency", "delay", "round-trip"),
        ("{metric: network.probe.jitter}", "jitter", "pdv", "round-trip"),
        ("{metric: network.probe.jitter, variation: ipdv}", "jitter", "ipdv", "round-trip"),
        ("{metric: network.probe.jitter, direction: reverse}", "jitter", "pdv", "reverse"),
        ("{metric: network.probe.delay, direction: forward}", "delay", "delay", "forward"),
    ],
)
def test_a_threshold_is_on_any_time_that_a_packet_has(
    objective, query, indicator, measure, direction
):
    found = objective(HEAD + threshold(query) + TAIL)
    assert found.indicator is Indicator(indicator)
    assert found.threshold == SloThreshold("it", 0.005, Measure(measure), Direction(direction))


def test_packets_by_slice_are_availability_and_the_probe_still_counts_them(objective, estate):
    found = objective(HEAD + PACKETS + SLICED)
    assert found.indicator is Indicator.AVAILABILITY
    assert found.slices == TimeSlices(300, Fraction("0.95"))
    assert found.threshold == SloThreshold("it", None)


def test_latency_may_be_judged_by_slice_too(objective):
    text = HEAD + threshold("{metric: network.probe.rtt}") + TAIL
    text = text.replace("Occurrences", "RatioTimeslices")
    found = objective(text + "      timeSliceWindow: 1m\n")
    assert found.indicator is Indicator.LATENCY
    assert found.slices == TimeSlices(60, None)


def test_bandwidth_is_no_affair_of_the_probes_packets(objective, estate):
    found = objective(HEAD + threshold("{metric: network.path.bandwidth}") + BANDWIDTH)
    assert (found.indicator, found.limit, found.limit_s) == (Indicator.BANDWIDTH, 1e9, None)
    assert found.threshold is None
    assert set(thresholds_by_path([found], estate).values()) == {()}


BAD = {
    "delay of no direction": (
        HEAD + threshold("{metric: network.probe.delay}") + TAIL,
        ("direction", "must be forward or reverse"),
    ),
    "direction of a round trip": (
        HEAD + threshold("{metric: network.probe.rtt, direction: forward}") + TAIL,
        ("direction", "is only for network.probe.jitter and network.probe.delay"),
    ),
    "variation of a delay": (
        HEAD + threshold("{metric: network.probe.rtt, variation: pdv}") + TAIL,
        ("variation", "is only for network.probe.jitter"),
    ),
    "unknown variation": (
        HEAD + threshold("{metric: network.probe.jitter, variation: mad}") + TAIL,
        ("variation", "must be 'pdv' or 'ipdv'"),
    ),
    "slice of three minutes": (
        HEAD + PACKETS + SLICED.replace("Window: 5", "Window: 3m"),
        ("timeSliceWindow", "must be one of 1m, 5m"),
    ),
    "slice of no time": (
        HEAD + PACKETS + SLICED.replace("Window: 5", "Window: 0m"),
        ("timeSliceWindow", "must be one of"),
    ),
    "slice without a length": (
        HEAD + PACKETS + SLICED.replace("      timeSliceWindow: 5\n", ""),
        ("timeSliceWindow", "must be one of"),
    ),
    "slice without a target": (
        HEAD + PACKETS + SLICED.replace("      timeSliceTarget: 0.95\n", ""),
        ("timeSliceTarget", "share of good packets"),
    ),
    "slice target above one": (
        HEAD + PACKETS + SLICED.replace("0.95", "95"),
        ("timeSliceTarget", "at most 1"),
    ),
    "ratio with a target": (
        HEAD + PACKETS + SLICED.replace("Timeslices", "RatioTimeslices"),
        ("timeSliceTarget", "only for Timeslices"),
    ),
    "slice longer than a short window": (
        HEAD + PACKETS + SLICED.replace("Window: 5", "Window: 10"),
        ("objectives.0", "the page on 1h and 5m is shorter than a slice of 600 s"),
    ),
    "bandwidth by packet": (
        HEAD + threshold("{metric: network.path.bandwidth}") + TAIL.replace("lte", "gte"),
        ("budgetingMethod", "must be Timeslices"),
    ),
    "bandwidth at most": (
        HEAD + threshold("{metric: network.path.bandwidth}") + BANDWIDTH.replace("gte", "lte"),
        ("op", "must be gte"),
    ),
    "share of a bandwidth": (
        HEAD + threshold("{metric: network.path.bandwidth}") + BANDWIDTH.replace("1.0\n", "0.9\n"),
        ("timeSliceTarget", "must be 1"),
    ),
    "alert that cannot fire": (
        JITTER.replace("0.999", "0.9"),
        ("objectives.0", "can never fire: at a target of 0.9 it needs more than 134 %"),
    ),
    "window of zero": (
        JITTER.replace("  budg", "  timeWindow: [{duration: 0d, isRolling: true}]\n  budg"),
        ("duration", "28d"),
    ),
    "alert pair that is none": (
        annotated(alert_pairs="page 2 1h"),
        ("alert-pairs", "must be greater than 0 and at most 1"),
    ),
    "alert pair of two words": (annotated(alert_pairs="page 2%"), ("alert-pairs", "page 2% 1h 5m")),
    "alert of no severity": (annotated(alert_pairs="sms 2% 1h"), ("alert-pairs", "page or ticket")),
    "alert window of zero": (
        annotated(alert_pairs="page 2% 0h"), ("alert-pairs", "positive duration"),
    ),
    "short window longer": (
        annotated(alert_pairs="page 2% 1h 2h"), ("alert-pairs", "less than 1h"),
    ),
    "two pairs alike": (
        annotated(alert_pairs="page 2% 1h, page 3% 1h"), ("alert-pairs", "two pairs"),
    ),
    "a page and a ticket on the same windows": (
        annotated(alert_pairs="page 5% 1h 5m, ticket 2% 60m 300s"),
        ("alert-pairs", "two pairs on 1h and 5m, a page and a ticket"),
    ),
    "alert pair past the period": (
        annotated(alert_pairs="page 100% 30d 1d"), ("alert-pairs", "further than the period"),
    ),
    "pair of the annotation that cannot fire": (
        annotated(alert_pairs="page 100% 5m 1m"), ("alert-pairs", "can never fire"),
    ),
    "missing data": (annotated(missing_data="drop"), ("missing-data", "ignore, bad, good")),
    "coverage": (annotated(min_coverage="half"), ("min-coverage", "no share")),
    "coverage of nothing": (annotated(min_coverage="'0'"), ("min-coverage", "greater than 0")),
    "guard": (annotated(min_bad_events="'0'"), ("min-bad-events", "whole number")),
    "confidence": (annotated(confidence="'1'"), ("confidence", "less than 1")),
    "runbook": (annotated(runbook="see wiki"), ("runbook", "https://")),
    "owner": (annotated(owner="'  '"), ("owner", "one line")),
    "owner that hears the watchdog": (
        annotated(owner="heartbeat"), ("owner", "hears SLOWatchdog alone"),
    ),
    "escalation to who hears the watchdog": (
        annotated(escalation="heartbeat"), ("escalation", "hears SLOWatchdog alone"),
    ),
    "runbook of no host": (annotated(runbook="http://:99999999/"), ("runbook", "https://")),
    "escalation": (annotated(escalation="The Boss"), ("escalation", "name of a receiver")),
    "packets of slices without slices": (
        annotated(min_slice_packets="'5'"), ("min-slice-packets", "only for Timeslices"),
    ),
    "exclusions that are none": (annotated(exclusions="maybe"), ("exclusions", "YAML list")),
    "exclusion without an end": (
        annotated(exclusions="'[{id: x, start: 2026-12-01T01:00:00Z, declared: "
                  "2026-11-01T01:00:00Z, author: a, reason: r}]'"),
        ("exclusions", "is missing"),
    ),
    "exclusion of another SLO": (annotated(exclusions="'[{slos: [x]}]'"), ("exclusions", "absent")),
    "annotation of a number": (annotated(min_bad_events="5"), ("min-bad-events", "must be text")),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD.keys())
def test_a_fault_is_named_with_its_field(refused, text, said):
    field, expected = said
    found = refused(text)
    assert any(p.field.endswith(field) and expected in p.expected for p in found), found
    assert all(p.line for p in found)


def test_annotations_say_what_the_standard_has_no_field_for(objective):
    found = objective(
        annotated(
            owner="noc",
            escalation="managers",
            alert_pairs="'ticket 10% 3d, page 1/48 1h 10m'",
            missing_data="bad",
            min_coverage="80%",
            min_bad_events="'5'",
            confidence="'0.95'",
            exclusions="|\n      - id: x1\n        start: 2026-12-01T01:00:00Z\n"
            "        end: 2026-12-01T05:00:00Z\n        declared: 2026-11-01T00:00:00Z\n"
            "        author: alice\n        reason: CHG-1\n        sites: [leeds]",
        )
    )
    assert found.owner == "noc"
    assert found.alerts.escalation == "managers"
    assert found.alerts.pairs == (
        BurnPair(Severity.PAGE, Fraction(1, 48), 3600, 600),
        BurnPair(Severity.TICKET, Fraction(1, 10), 3 * 86400, 6 * 3600),
    )
    assert found.missing_data is MissingData.BAD
    assert found.coverage_min == Fraction(4, 5)
    assert (found.alerts.guard.bad_events_min, found.alerts.guard.confidence) == (5, 0.95)
    (exclusion,) = found.exclusions
    assert exclusion.kind is ExclusionKind.PLANNED
    assert exclusion.covers.matches("it", Path("leeds", "london", "ef"))
    assert not exclusion.covers.matches("other", Path("leeds", "london", "ef"))


def test_no_pairs_alert_nobody(objective):
    assert objective(annotated(alert_pairs="none")).alerts.pairs == ()


PAIR = st.builds(
    BurnPair,
    st.sampled_from(Severity),
    st.fractions(Fraction(1, 10**6), 1, max_denominator=10**6),
    st.integers(12, 72).map(lambda n: n * 300),
    st.integers(6, 300).map(lambda n: n * 10),
)


@given(st.lists(PAIR, max_size=8, unique_by=lambda p: (p.long_s, p.short_s)))
def test_pairs_written_are_the_pairs_read(pairs):
    found = parse_pairs(format_pairs(tuple(pairs)))
    assert sorted(map(repr, found)) == sorted(map(repr, pairs))
    assert parse_pairs(format_pairs(PAIRS)) == PAIRS


POLICY = """\
apiVersion: openslo/v1
kind: AlertPolicy
metadata: {name: fast}
spec:
  alertWhenBreaching: true
  conditions:
    - conditionRef: fast-burn
  notificationTargets:
    - targetRef: noc
"""
CONDITION = """\
apiVersion: openslo/v1
kind: AlertCondition
metadata:
  name: fast-burn
  annotations: {netslo.dev/short-window: 10m}
spec:
  severity: page
  condition: {kind: burnrate, op: gt, threshold: 13.44, lookbackWindow: 1h, alertAfter: 0m}
"""
TARGET = """\
apiVersion: openslo/v1
kind: AlertNotificationTarget
metadata: {name: noc, displayName: NOC}
spec: {description: By mail, target: email}
"""
INLINE = """\
  alertPolicies:
    - alertPolicyRef: fast
    - kind: AlertPolicy
      metadata: {name: slow}
      spec:
        alertWhenBreaching: true
        conditions:
          - kind: AlertCondition
            metadata: {name: slow-burn}
            spec:
              severity: ticket
              condition: {kind: burnrate, threshold: 1, lookbackWindow: 3d}
        notificationTargets:
          - kind: AlertNotificationTarget
            metadata: {name: chat}
            spec: {target: slack}
"""
WHOLE = (JITTER + INLINE, POLICY, CONDITION, TARGET)


def test_policies_by_reference_and_inline_are_pairs_and_targets(objective):
    found = objective(*WHOLE).alerts
    assert found.pairs == (
        BurnPair(Severity.PAGE, Fraction(2, 100), 3600, 600),
        BurnPair(Severity.TICKET, Fraction(3, 28), 3 * 86400, 6 * 3600),
    )
    assert [pair.threshold(28 * 86400) for pair in found.pairs] == [Fraction("13.44"), 1]
    assert found.targets == (
        NotificationTarget("noc", "email", "NOC", "By mail"),
        NotificationTarget("chat", "slack"),
    )


def test_the_annotation_says_when_and_the_policies_whom(read):
    text = annotated(alert_pairs="page 2% 1h") + INLINE
    found = read(text, *WHOLE[1:])
    assert len(found.objectives[0].alerts.pairs) == 1
    assert len(found.objectives[0].alerts.targets) == 2
    assert any("says whom to tell" in note for note in found.notes)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("alertAfter: 0m", "alertAfter: 5m"), "the short window of the pair does its work"),
        (("alertWhenBreaching: true\n  cond", "alertWhenBreaching: false\n  cond"), "never says"),
        (
            ("  conditions:\n    - con", "  alertWhenNoData: true\n  conditions:\n    - con"),
            "SLOCoverageLow",
        ),
        (
            ("  conditions:\n    - con", "  alertWhenResolved: false\n  conditions:\n    - con"),
            "told when it is over",
        ),
    ],
)  # fmt: skip
def test_what_has_no_effect_is_said_with_its_place(read, change, text):
    notes = read(*(part.replace(*change) for part in WHOLE)).notes
    assert any(text in note and "a.yaml:" in note for note in notes), notes


@pytest.mark.parametrize(
    ("change", "field", "text"),
    [
        (("alertPolicyRef: fast", "alertPolicyRef: quick"), "alertPolicies.0", "AlertPolicy of"),
        (("conditionRef: fast-burn", "conditionRef: x"), "conditionRef", "(fast-burn)"),
        (("targetRef: noc", "targetRef: x"), "targetRef", "(noc)"),
        (("severity: page", "severity: sev1"), "severity", "must be page or ticket"),
        (("op: gt", "op: lte"), "op", "must be gt"),
        (("threshold: 13.44", "threshold: 0"), "threshold", "burn rate"),
        (("threshold: 13.44", "threshold: 1000"), "alertPolicies", "can never fire"),
        (("threshold: 13.44", "threshold: .inf"), "threshold", "burn rate"),
        (("Window: 1h", "Window: 1w2d"), "lookbackWindow", "positive duration"),
        (("Window: 1h", "Window: 0h"), "lookbackWindow", "positive duration"),
        (("Window: 1h", "Window: 5m"), "lookbackWindow", "less than 5m"),
        (("short-window: 10m", "short: 10m"), "netslo.dev/short", "is not known"),
        (("    - targetRef: noc", "    - {}"), "notificationTargets.0", "either targetRef"),
        (("    - conditionRef: fast-burn", "    - {}"), "conditions.0", "either conditionRef"),
        (("    - alertPolicyRef: fast", "    - {}"), "alertPolicies.0", "either alertPolicyRef"),
    ],
)  # fmt: skip
def test_a_fault_in_a_policy_is_named(refused, change, field, text):
    found = refused(*(part.replace(*change, 1) for part in WHOLE))
    assert any(p.field.endswith(field) and text in p.expected for p in found), found
    assert all(p.line for p in found)


def test_policies_on_the_same_windows_are_refused_where_the_slo_names_them(refused):
    slo = f"{JITTER}  alertPolicies:\n    - fast\n    - slow\n"
    policy = POLICY.replace("fast", "slow")
    ticket = CONDITION.replace("fast", "slow").replace("page", "ticket").replace("13.44", "5")
    (problem,) = refused(slo, POLICY, policy, CONDITION, ticket, TARGET)
    assert problem.expected.startswith("has two pairs on 1h and 10m, a page and a ticket")
    assert problem.field == "spec.alertPolicies.1"
    assert slo.splitlines()[problem.line - 1] == "    - slow"


def test_a_fault_of_a_condition_that_two_slos_share_is_said_once(refused):
    twice = JITTER.replace("name: it", "name: other") + INLINE
    found = refused(*WHOLE[:2], CONDITION.replace("page", "sev1"), TARGET, twice)
    assert len([p for p in found if p.field.endswith("severity")]) == 1


def test_a_data_source_of_ours_may_be_named(objective, refused):
    source = "apiVersion: openslo/v1\nkind: DataSource\nmetadata: {name: probes}\nspec: {type: T}\n"
    text = JITTER.replace("type: netslo", "metricSourceRef: probes")
    assert objective(text, source.replace("T", "netslo")).indicator is Indicator.JITTER
    (found,) = refused(text, source)
    assert found.field.endswith("metricSourceRef")
    (found,) = refused(text)
    assert "name of a DataSource" in found.expected


def test_the_folder_of_the_example_is_read_as_before(new_estate):
    example = pathlib.Path(__file__).parents[2] / "examples" / "uk"
    assert all(o.alerts.pairs == PAIRS for o in load_objectives(example, new_estate()))


EVERYTHING = "---\n".join([
    annotated(
        owner="noc", escalation="boss", runbook="https://a.example/b", missing_data="bad",
        min_coverage="80%", min_bad_events="'5'", confidence="'0.95'", min_slice_packets="'2'",
        exclusions="|\n      - id: x1\n        start: 2026-12-01T01:00:00Z\n"
        "        end: 2026-12-01T05:00:00Z\n        declared: 2026-11-01T00:00:00Z\n"
        "        author: alice\n        reason: CHG-1\n        sites: [leeds]",
    ).replace("Occurrences", "RatioTimeslices") + "      timeSliceWindow: 1m\n" + INLINE,
    POLICY, CONDITION, TARGET,
])  # fmt: skip
ODD = ["", "null", "0", "-1", ".inf", ".nan", "1e999", "[]", "{}", "[{}]", "'[[]]'", "2026-01-01",
       "'0%'", "1/0", "99999999999999999999d", "page", "none", "&a [*a]", "'http://['",
       "~"]  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(line=st.integers(0, EVERYTHING.count("\n") - 1), value=st.sampled_from(ODD) | st.text())
def test_whatever_stands_in_a_field_is_read_or_refused(line, value, estate, tmp_path_factory):
    directory = tmp_path_factory.getbasetemp() / "anything"
    (directory / "slos").mkdir(parents=True, exist_ok=True)
    lines = EVERYTHING.splitlines()
    lines[line] = f"{lines[line].partition(':')[0]}: {value}"
    (directory / "slos" / "a.yaml").write_text("\n".join(lines), errors="replace")
    refused = None
    try:
        load_objectives(directory, estate)
    except ConfigurationError as error:
        refused = error
    assert refused is None or all(problem.expected for problem in refused.problems)
