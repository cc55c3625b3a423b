"""Objectives of bandwidth, judged by readings in a real store."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from two_sites import link_estate

from analytics.readings import Reading
from analytics.store.sqlite import SqliteStore
from analytics.windows import Batch
from netslo.estate import Estate
from netslo.metrics import BANDWIDTH, LOADED_RTT
from netslo.model import NS_PER_S, Direction, Path
from slo.attribution.attribution import attribute
from slo.backtest.backtest import Question, run
from slo.budget import MissingData, Spend
from slo.burn import BurnPair, Guard, Severity
from slo.cli import slo as commands
from slo.exclusion import Covers, Exclusion
from slo.objective import Indicator, Objective, PathSelector
from slo.policy import AlertPolicy
from slo.ranges import Ranges
from slo.rates import GRACE_S
from slo.slice_reader import spends_by_slice
from slo.slice_totals import SliceTotals
from slo.slices import TimeSlices
from slo.status import evaluate

HOUR, DAY = 3600, 86_400
T0 = 1_800_057_600  # midnight, UTC
NORTH, SOUTH, NEVER = (
    Path(*ends, "be") for ends in (("london", "leeds"), ("leeds", "london"), ("london", "reading"))
)
LIMIT = 400e6
PAIR = BurnPair(Severity.PAGE, Fraction(5, 100), 6 * HOUR, HOUR)


@pytest.fixture(scope="module")
def rate(loss: Objective) -> Objective:
    """An hour is good when 400 Mbit/s go forward; 95 % of hours are."""
    return replace(
        loss,
        name="rate",
        indicator=Indicator.BANDWIDTH,
        limit=LIMIT,
        target_text="0.95",
        direction=Direction.FORWARD,
        method="train",
        selector=PathSelector(paths=frozenset({NORTH, SOUTH, NEVER})),
        slices=TimeSlices(HOUR, Fraction(1)),
        alerts=AlertPolicy(pairs=(PAIR,), guard=Guard(bad_events_min=2)),
    )


@pytest.fixture
def store(tmp_path, rate):
    with closing(SqliteStore.open(tmp_path / "store.sqlite")) as store:
        store.declare_objectives({rate.name: rate.target_text}, T0 - 30 * DAY)
        yield store


Keep = Callable[..., None]


@pytest.fixture
def keep(store) -> Keep:
    sequence = 0

    def keep(path: Path, readings: Sequence[tuple[float, float]], **other: str) -> None:
        nonlocal sequence
        sequence += 1
        kind = {"metric": BANDWIDTH, "direction": "forward", "method": "train", **other}
        told = [
            Reading(path, seen_ns=round(at_s * NS_PER_S), value=value, **kind)
            for at_s, value in readings
        ]
        store.append(Batch(path.src, "test", sequence, (), readings=tuple(told)), T0 + DAY)

    return keep


def test_an_hour_is_judged_by_each_of_its_readings_and_unmeasured_without_any(store, keep, rate):
    keep(
        NORTH,
        [
            (T0 + 10, 500e6),  # good
            (T0 + HOUR + 10, LIMIT),  # good: at the limit
            (T0 + 2 * HOUR + 10, LIMIT * (1 - 1e-12)),  # bad: just below
            (T0 + 3 * HOUR + 10, 500e6), (T0 + 3 * HOUR + 20, 100e6),  # bad: one of them is
            # nothing in the fifth
            (T0 + 5 * HOUR, 500e6),  # good: the first moment of the sixth
        ],
    )  # fmt: skip
    keep(SOUTH, [(T0 + 4 * HOUR + 10, 100e6)])  # tested from the fifth hour on
    found = spends_by_slice(store, [rate], T0, T0 + 6 * HOUR + GRACE_S)
    target = Fraction("0.95")
    assert found["rate", NORTH] == Spend.under(target, 5, 2, 1)
    assert found["rate", SOUTH] == Spend.under(target, 1, 1, 1)
    assert ("rate", NEVER) not in found


def test_figures_of_other_tests_say_nothing(store, keep, rate):
    keep(NORTH, [(T0 + 10, 500e6)])
    keep(NORTH, [(T0 + 20, 1e6)], direction="reverse")
    keep(NORTH, [(T0 + 30, 1e6)], method="tcp")
    keep(NORTH, [(T0 + 40, 0.01)], metric=LOADED_RTT, state="idle", quantile="0.5")
    found = spends_by_slice(store, [rate], T0, T0 + HOUR + GRACE_S)
    assert found["rate", NORTH] == Spend.under(Fraction("0.95"), 1, 0)
    back = replace(rate, direction=Direction.REVERSE)
    found = spends_by_slice(store, [back], T0, T0 + HOUR + GRACE_S)
    assert found["rate", NORTH] == Spend.under(Fraction("0.95"), 1, 1)


def test_an_hour_counts_a_minute_after_it_is_over_for_its_last_reading_to_come(store, keep, rate):
    keep(NORTH, [(T0 + 10, 500e6)])
    assert not spends_by_slice(store, [rate], T0, T0 + HOUR + GRACE_S - 1)
    assert spends_by_slice(store, [rate], T0, T0 + HOUR + GRACE_S)
    # Ranges that follow each other have each slice once.
    cuts = [T0, T0 + HOUR, T0 + HOUR + GRACE_S, T0 + 2 * HOUR, T0 + 2 * HOUR + GRACE_S]
    parts = [
        spends_by_slice(store, [rate], low_s, high_s).get(("rate", NORTH), Spend())
        for low_s, high_s in pairwise(cuts)
    ]
    assert sum(parts, Spend()) == Spend.under(Fraction("0.95"), 1, 0, 1)


def test_targets_and_exclusions_are_those_of_their_time(store, keep, rate):
    keep(NORTH, [(T0 + n * HOUR + 10, 1e6) for n in range(6)])
    store.declare_objectives({rate.name: "0.9"}, T0 + 3 * HOUR - 10)
    off = Exclusion("x", T0 + HOUR, T0 + HOUR + 300, "me", "works", T0, Covers())
    found = spends_by_slice(store, [rate], T0, T0 + 6 * HOUR + GRACE_S, [off])["rate", NORTH]
    assert found == Spend.under(Fraction("0.95"), 2, 2) + Spend.under(Fraction("0.9"), 3, 3)


ROWS = st.lists(st.tuples(st.integers(0, 12 * HOUR - 1), st.sampled_from([1e6, LIMIT, 9e9])))


@settings(max_examples=30, deadline=None)
@given(ROWS, st.sampled_from([300, HOUR, 2 * HOUR]))
def test_any_readings_are_judged_as_one_by_one(tmp_path_factory, rate, rows, length_s):
    rate = replace(rate, slices=TimeSlices(length_s, Fraction(1)))
    readings = [
        Reading(NORTH, (T0 + at_s) * NS_PER_S, BANDWIDTH, "forward", "train", value)
        for at_s, value in rows
    ]
    good = bad = unmeasured = 0
    for begin_s in range(0, 12 * HOUR, length_s):
        inside = [value for at_s, value in rows if begin_s <= at_s < begin_s + length_s]
        before = any(at_s < begin_s + length_s for at_s, _ in rows)
        good += bool(inside) and all(value >= LIMIT for value in inside)
        bad += any(value < LIMIT for value in inside)
        unmeasured += not inside and before
    file = tmp_path_factory.mktemp("rates") / "store.sqlite"
    with closing(SqliteStore.open(file)) as store:
        store.append(Batch("london", "test", 1, (), readings=tuple(readings)), T0 + DAY)
        found = spends_by_slice(store, [rate], T0, T0 + 12 * HOUR + GRACE_S)
    expected = Spend.under(Fraction("0.95"), good + bad, bad, unmeasured)
    assert found.get(("rate", NORTH), Spend()) == expected


def falls(keep: Keep, hours: int = 24, low: int = 4) -> int:
    """Keep a day of readings, of which the last hours are below; return when it is over."""
    keep(
        NORTH, [(T0 + n * HOUR + 1800, 100e6 if n >= hours - low else 900e6) for n in range(hours)]
    )
    keep(SOUTH, [(T0 + n * HOUR + 1800, 900e6) for n in range(hours)])
    return T0 + hours * HOUR + GRACE_S


def test_a_rate_that_falls_burns_and_pages(store, keep, rate, estate):
    now_s = falls(keep)
    by_path = {s.path: s for s in evaluate(Ranges(store, (), [rate]), [rate], estate, now_s)}
    north, south, never = (by_path[path] for path in (NORTH, SOUTH, NEVER))
    assert (north.events, north.bad_events, north.unmeasured_events) == (24, 4, 0)
    assert north.burn_rate["1h"] == pytest.approx(1 / 0.05)
    assert north.burn_rate["6h"] == pytest.approx(4 / 6 / 0.05)
    assert north.severity is Severity.PAGE
    assert north.overspent
    assert (south.severity, south.budget_remaining_ratio) == (None, 1)
    assert (never.events, never.coverage, never.burn_rate["6h"]) == (0, 0, None)
    assert north.to_json()["rate"] == LIMIT


@pytest.mark.parametrize(
    ("policy", "burn"),
    [(MissingData.IGNORE, None), (MissingData.BAD, 1 / 0.05), (MissingData.GOOD, 0)],
)
def test_tests_that_stop_are_what_the_document_takes_them_for(
    store, keep, rate, estate, policy, burn
):
    keep(NORTH, [(T0 + n * HOUR + 1800, 900e6) for n in range(12)])
    taken = replace(rate, missing_data=policy)
    now_s = T0 + DAY + GRACE_S
    found = evaluate(Ranges(store, (), [taken]), [taken], estate, now_s, ["6h"])
    (north,) = (s for s in found if s.path == NORTH)
    assert north.burn_rate["6h"] == burn
    assert (north.severity is Severity.PAGE) == (policy is MissingData.BAD)
    assert north.coverage == pytest.approx(12 / 673)


def test_counters_never_go_back_and_outlive_the_readings(tmp_path, store, keep, rate):
    now_s = float(falls(keep, hours=12))
    file = tmp_path / "slices.json"
    key = "rate", NORTH
    with_clock = SliceTotals(store, [rate], file, clock=lambda: now_s)
    before = with_clock.read()[key]
    assert (before.events, before.bad) == (12, 4)
    now_s += 12 * HOUR
    again = SliceTotals(store, [rate], file, clock=lambda: now_s)
    later = again.read()[key]
    assert (later.events, later.bad, later.unmeasured) == (12, 4, 12)
    store.maintain(now_s + 60 * DAY)
    now_s += HOUR
    assert SliceTotals(store, [rate], file, clock=lambda: now_s).read()[key].bad == 4


def ask(rate: Objective, estate: Estate, changed: Objective | None = None) -> Question:
    span = T0, T0 + DAY
    return Question(rate, changed, estate, [NORTH, SOUTH, NEVER], *span, [(0, rate.target_text)])


def test_a_backtest_says_exactly_what_another_rate_would_have_meant(store, keep, rate, estate):
    falls(keep)
    found = run(store, ask(rate, estate, replace(rate, limit=50e6)))
    assert found.now.spends[NORTH].bad == 4
    assert found.now.spends[NEVER] == Spend()
    assert [e.key[1] for e in found.now.episodes] == [NORTH]
    assert found.now.episodes[0].start_s == T0 + 22 * HOUR  # two bad hours are over
    (changed,) = found.changed
    assert (changed.spends[NORTH].bad, changed.episodes) == (0, [])
    assert found.first_s == T0 + 1800


def test_what_burnt_it_adds_up(store, keep, rate, estate):
    falls(keep)
    span = T0, T0 + DAY
    found = attribute(store, rate, estate, [NORTH, SOUTH, NEVER], span, [(0, "0.95")])
    assert found.by_path()[NORTH] == 4
    (incident,) = found.incidents
    assert (incident.bad, incident.severity) == (4, Severity.PAGE)
    assert (incident.start_s, incident.end_s) == (T0 + 20 * HOUR, T0 + 24 * HOUR)


DOCUMENT = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: rate
  annotations:
    netslo.dev/alert-pairs: page 5%% 6h 1h
    netslo.dev/min-bad-events: "2"
spec:
  service: backbone
  indicator:
    metadata: {name: rate}
    spec:
      thresholdMetric:
        metricSource:
          type: netslo
          spec: {metric: network.path.bandwidth, selector: {class: be}%s}
  objectives: [{op: gte, value: 400e+6, target: 0.95, timeSliceTarget: 1, timeSliceWindow: %s}]
  budgetingMethod: Timeslices
"""


def write(folder, *, plan: str = "", kind: str = "", slices: str = "1h") -> None:
    (folder / "slos").mkdir(exist_ok=True)
    (folder / "estate.yaml").write_text(
        link_estate("[{name: ef, dscp: 46}, {name: be, dscp: 0}]", plan)
    )
    (folder / "slos" / "rate.yaml").write_text(DOCUMENT % (kind, slices))


def invoke(folder, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(commands, [*arguments, "-c", str(folder)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("given_", "warning"),
    [
        ({}, None),
        ({"slices": "30m"}, "50% of its slices will be unmeasured: one is 30m, and a test comes "),
        ({"plan": ", bandwidth: {interval: 4h}"}, "75% of its slices will be unmeasured"),
        ({"plan": ", bandwidth: {interval: 10m}"}, None),
        ({"plan": ", bandwidth: {method: tcp}"}, None),  # which is then the default
        (
            {"plan": ", bandwidth: {method: tcp}", "kind": ", method: train"},
            "tests forward and reverse by tcp, not forward by train",
        ),
        (
            {"plan": ", bandwidth: {direction: reverse}"},
            "tests reverse by train, not forward by train",
        ),
        ({"plan": ", bandwidth: none"}, "is unmeasured on all paths"),
    ],
)
def test_check_warns_of_slices_that_no_test_will_tell(tmp_path, given_, warning):
    write(tmp_path, **given_)
    code, said = invoke(tmp_path, "check")
    assert code == 0
    notes = [line for line in said.splitlines() if line.startswith("note: rate: ")]
    if warning is None:
        assert not any("unmeasured" in note for note in notes)
    else:
        assert any(warning in note for note in notes), said
        assert f"warning: {notes[0].removeprefix('note: ')}" in invoke(tmp_path, "explain")[1]


@pytest.mark.parametrize(
    ("given_", "fault"),
    [
        ({"kind": ", direction: round-trip"}, "must be forward or reverse: a test loads one way"),
        ({"kind": ", method: ping"}, "must be 'train', 'tcp' or 'iperf3'"),
        ({"kind": ", variation: pdv"}, "is only for network.probe.jitter"),
        ({"slices": "90m"}, "must be one of 1m, 5m, 10m, 15m, 30m, 60m, 2h, 3h, 4h, 6h, 8h, 12h"),
        ({"slices": "2h"}, "the page on 6h and 1h is shorter than a slice of 7200 s"),
    ],
)
def test_what_makes_no_sense_of_a_bandwidth_is_a_fault(tmp_path, given_, fault):
    write(tmp_path, **given_)
    code, said = invoke(tmp_path, "check", "--json")
    assert code == 2
    assert fault in " ".join(problem["expected"] for problem in json.loads(said)["problems"])


def test_the_commands_tell_of_a_rate_that_fell(tmp_path):
    write(tmp_path)
    hour_s = int(time.time() - GRACE_S) // HOUR * HOUR
    (tmp_path / "netslo-data").mkdir()
    with closing(SqliteStore.open(tmp_path / "netslo-data" / "store.sqlite")) as store:
        store.declare_objectives({"rate": "0.95"}, hour_s - 40 * DAY)
        readings = tuple(
            Reading(
                NORTH, (hour_s - n * HOUR - 1800) * NS_PER_S, BANDWIDTH, "forward", "train",
                120e6 if n < 3 else 940e6,
            )
            for n in range(20 * 24)
        )  # fmt: skip
        store.append(Batch("london", "test", 1, (), readings=readings), hour_s)
    code, said = invoke(tmp_path, "status")
    assert code == 1
    assert "PAGE" in said
    assert "400 Mbit/s" in said
    code, said = invoke(tmp_path, "status", "--json")
    by_path = {each["path"]: each for each in json.loads(said)["slos"]}
    north = by_path[NORTH.id]
    assert (north["events"], north["bad_events"], north["rate"]) == (480, 3, 400e6)
    assert north["burn_rate"]["6h"] == pytest.approx(10)
    assert by_path[SOUTH.id]["events"] == 0
    said = invoke(tmp_path, "explain", "--path", NORTH.id)[1]
    assert "480 forward by train, 3 of them below 400 Mbit/s; from 120 Mbit/s to 940 Mbit/s" in said
    assert "slices     477 good + 3 bad = 480, 0 unmeasured, under a target of 0.95" in said
    assert "may be bad (1 - 0.95) x 480 = 24" in said
    said = invoke(tmp_path, "backtest", "--slo", "rate", "--threshold", "100Mbit/s")[1]
    assert "threshold 100 Mbit/s instead of 400 Mbit/s" in said
    assert invoke(tmp_path, "attribute", "--slo", "rate")[0] == 0
    assert (
        "forward by train; the plan tests 2 of 2 by train every 1h"
        in invoke(tmp_path, "explain")[1]
    )
