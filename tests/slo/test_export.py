"""Written and read again, an objective is the same; so are the standard's own shapes."""

from __future__ import annotations

import pathlib
from dataclasses import replace
from fractions import Fraction

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.readings import METHODS
from netslo.errors import ConfigurationError
from netslo.model import Direction, Measure, Path, Scope
from slo.budget import MissingData
from slo.burn import PAIRS, BurnPair, Guard, Severity
from slo.exclusion import Covers, Exclusion
from slo.export import as_written, document_of, to_yaml
from slo.objective import CalendarWindow, Indicator, Objective, PathSelector
from slo.policy import AlertPolicy, NotificationTarget
from slo.slices import LENGTHS_S, TimeSlices
from slo.spec import load_objectives, load_openslo

DATA = pathlib.Path(__file__).parent / "data"
NORTH = Path("london", "leeds", "ef")

SELECTORS = st.sampled_from([
    PathSelector(),
    PathSelector(scopes=frozenset({Scope.NATIONAL, Scope.EDGE})),
    PathSelector(classes=frozenset({"ef"}), sources=frozenset({"london"})),
    PathSelector(destinations=frozenset({"leeds"})),
    PathSelector(paths=frozenset({NORTH, NORTH.reverse})),
])  # fmt: skip
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=9)
TARGETS = st.integers(99 * 10**6, 10**8 - 1).map(lambda n: f"0.{n:08d}".rstrip("0"))
PAIR = st.builds(
    lambda severity, share, long_s, divisor: BurnPair(severity, share, long_s, long_s // divisor),
    st.sampled_from(Severity),
    st.fractions(Fraction(1, 1000), Fraction(1, 2), max_denominator=10**6),
    st.sampled_from([3600, 6 * 3600, 86400, 3 * 86400]),
    st.sampled_from([2, 6, 12]),
)
EXCLUSIONS = st.lists(
    st.builds(
        lambda start, length, sites: Exclusion(
            f"x{start}", start * 300, (start + length) * 300, "alice", "CHG-1: é", 5,
            Covers(frozenset({"it"}), frozenset({NORTH}), frozenset(sites)),
        ),
        st.integers(0, 10**8), st.integers(1, 10**5), st.sets(st.sampled_from(["leeds"])),
    ),
    max_size=3, unique_by=lambda exclusion: exclusion.id,
)  # fmt: skip


@st.composite
def objectives(draw: st.DrawFn) -> Objective:
    indicator = draw(st.sampled_from(Indicator))
    by_slice = indicator in {Indicator.AVAILABILITY, Indicator.BANDWIDTH}
    slices = None
    if by_slice or (indicator is not Indicator.LOSS and draw(st.booleans())):
        ratio = draw(st.none() | st.integers(1, 1000).map(lambda n: Fraction(n, 1000)))
        ratio = Fraction(1) if indicator is Indicator.BANDWIDTH else ratio
        packets_min = 1 if indicator is Indicator.BANDWIDTH else draw(st.integers(1, 9))
        slices = TimeSlices(draw(st.sampled_from(LENGTHS_S[:2])), ratio, packets_min)
    limit = draw(st.floats(0.0001, 0.99))
    if indicator in {Indicator.LOSS, Indicator.AVAILABILITY}:
        limit = None
    elif indicator is Indicator.BANDWIDTH:
        limit = draw(st.floats(1, 1e12))
    measure, direction = Measure.DELAY, Direction.ROUND_TRIP
    if indicator is Indicator.JITTER:
        measure = draw(st.sampled_from([Measure.PDV, Measure.IPDV]))
        direction = draw(st.sampled_from(Direction))
    elif indicator in {Indicator.DELAY, Indicator.BANDWIDTH}:
        direction = draw(st.sampled_from([Direction.FORWARD, Direction.REVERSE]))
    method = draw(st.sampled_from(METHODS)) if indicator is Indicator.BANDWIDTH else None
    calendar = draw(st.none() | st.just(CalendarWindow("1Q", "2026-04-01 00:00:00", "UTC")))
    pairs = draw(
        st.just(PAIRS) | st.lists(PAIR, max_size=4, unique_by=lambda p: (p.long_s, p.short_s))
    )
    severities = list(Severity)
    target_text = draw(TARGETS)
    window_s = 28 * 86400 if calendar else draw(st.sampled_from([7, 28, 30])) * 86400
    possible = [pair for pair in pairs if pair.error_ratio_min(Fraction(target_text), window_s) < 1]
    return Objective(
        name="it",
        display_name=draw(TEXTS),
        description=draw(st.just("") | TEXTS),
        service=draw(TEXTS),
        indicator=indicator,
        limit=limit,
        target_text=target_text,
        selector=draw(SELECTORS),
        window_s=window_s,
        calendar=calendar,
        owner=draw(st.none() | TEXTS),
        runbook=draw(st.none() | st.just("https://runbooks.example/a?b=c#d")),
        measure=measure,
        direction=direction,
        method=method,
        slices=slices,
        alerts=AlertPolicy(
            pairs=tuple(sorted(possible, key=lambda p: (severities.index(p.severity), p.long_s))),
            guard=Guard(draw(st.integers(1, 50)), draw(st.none() | st.just(0.95))),
            targets=draw(
                st.just(()) | st.just((NotificationTarget("noc", "email", "NOC", "By mail"),))
            ),
            escalation=draw(st.none() | st.just("managers")),
        ),
        missing_data=draw(st.sampled_from(MissingData)),
        coverage_min=draw(st.fractions(Fraction(1, 100), 1, max_denominator=1000)),
        exclusions=tuple(draw(EXCLUSIONS)),
    )


@settings(deadline=None)
@given(objective=objectives())
def test_reading_what_was_written_gives_the_same_objective(objective, estate, tmp_path_factory):
    same_again(objective, estate, tmp_path_factory)


def test_a_text_that_looks_like_a_number_stays_a_text(latency, estate, tmp_path_factory):
    for text in ("0E0", "1e9", "12", "1.5"):
        same_again(replace(latency, service=text), estate, tmp_path_factory)


def same_again(objective, estate, tmp_path_factory):
    directory = tmp_path_factory.getbasetemp() / "written"
    (directory / "slos").mkdir(parents=True, exist_ok=True)
    file = directory / "slos" / "it.yaml"
    file.write_text(to_yaml([document_of(objective)]))
    (found,) = load_objectives(directory, estate)
    assert found == objective
    assert to_yaml([document_of(found)]) == file.read_text()


def test_the_shapes_of_the_standard_survive_reading_and_writing(tmp_path):
    """All kinds, by reference and inline, of other people's data sources."""
    documents = load_openslo([DATA / "openslo-v1.yaml"])
    assert {document.kind for document in documents} == {
        "DataSource", "SLO", "SLI", "AlertPolicy", "AlertCondition",
        "AlertNotificationTarget", "Service",
    }  # fmt: skip
    again = tmp_path / "again.yaml"
    again.write_text(to_yaml(map(as_written, documents)))
    assert load_openslo([again]) == documents
    with (DATA / "openslo-v1.yaml").open() as stream:
        original = [d for part in yaml.safe_load_all(stream) for d in _documents(part)]
    assert list(yaml.safe_load_all(again.read_text())) == original


def _documents(part):
    return part if isinstance(part, list) else [part]


def test_every_fault_of_the_standards_documents_is_named(tmp_path):
    text = (DATA / "openslo-v1.yaml").read_text()
    file = tmp_path / "bad.yaml"
    file.write_text(
        text.replace("lookbackWindow: 1h", "lookback: 1h")
        .replace("alertWhenBreaching: true", "alertWhenBreaching: perhaps")
        .replace("targetRef: on-call-mail", "target: on-call-mail")
    )
    with pytest.raises(ConfigurationError) as caught:
        load_openslo([file])
    said = str(caught.value)
    assert "lookback = 1h: is no known field; did you mean lookbackWindow?" in said
    assert "alertWhenBreaching = perhaps: must be true or false" in said
    assert "did you mean targetRef?" in said
    assert all(problem.line for problem in caught.value.problems)


def test_an_objective_that_is_all_defaults_says_no_more_than_it_must(latency):
    document = document_of(replace(latency, owner=None, runbook=None))
    assert "annotations" not in document["metadata"]
    assert "alertPolicies" not in document["spec"]
