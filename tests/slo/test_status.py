from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.windows import Selector
from netslo.model import Path
from slo.burn import PAIRS, Severity
from slo.ranges import Ranges
from slo.status import WINDOWS, evaluate

COVERAGE_MIN = Fraction(0)  # a window says something from its first event on
NOW_S = 1_800_000_000  # on a 5 min boundary
NORTH = Path("london", "leeds", "ef")
LOCAL = Path("london", "reading", "be")
HOUR_S, DAY_S = 3600, 86400


@pytest.fixture
def status_of(estate, latency):
    def judge(store, slo=latency, path=NORTH, now_s=NOW_S, **changes):
        statuses = evaluate(Ranges(store), [slo], estate, now_s, **changes)
        return next(status for status in statuses if status.path == path)

    return judge


def test_every_covered_path_has_a_status_even_without_data(store, estate, latency, loss):
    statuses = evaluate(Ranges(store), [latency, loss], estate, NOW_S)
    assert [(s.slo, s.path) for s in statuses] == [
        *(("national-latency", p) for p in estate.paths if estate.scope(p) == "national"),
        *(("loss", p) for p in estate.paths),
    ]
    assert {s.events for s in statuses} == {0}
    assert {s.budget_remaining_ratio for s in statuses} == {None}
    assert {burn for s in statuses for burn in s.burn_rate.values()} == {None}
    assert not any(s.burning or s.overspent for s in statuses)


def test_the_store_is_asked_once_per_window_whatever_the_number_of_paths(
    store, estate, latency, loss
):
    evaluate(Ranges(store), [latency, loss], estate, NOW_S)
    assert store.queries == len(WINDOWS) + 1


def test_the_default_windows_are_those_of_the_pairs():
    assert WINDOWS == ("5m", "30m", "1h", "2h", "6h", "1d", "3d")


def test_figures_of_one_window_are_what_paper_says(store, status_of, latency):
    store.add(NOW_S - 60, NORTH, latency, good=1996, bad=4, unmeasured=500)
    status = status_of(store)
    assert (status.events, status.bad_events, status.unmeasured_events) == (2000, 4, 500)
    assert status.budget_events == 2
    assert status.budget_remaining_ratio == -1
    assert status.overspent
    assert status.due_events == 28 * DAY_S * 5
    assert status.coverage == 2000 / status.due_events
    assert set(status.burn_rate.values()) == {2.0}
    assert status.objective == 0.999
    assert status.threshold_s == 0.1


def test_a_range_is_half_open_and_ends_before_the_window_that_is_still_open(
    store, status_of, latency
):
    store.add(NOW_S - 310, NORTH, latency, bad=1)
    store.add(NOW_S - 300, NORTH, latency, bad=10)
    store.add(NOW_S - 10, NORTH, latency, bad=100)
    store.add(NOW_S, NORTH, latency, bad=1000)
    for now_s in (NOW_S, NOW_S + 9.999):
        assert status_of(store, now_s=now_s).bad_events == 111
    store.rows.pop(0)
    store.add(NOW_S - 300, NORTH, latency, good=890)
    assert status_of(store).burn_rate["5m"] == pytest.approx(110 / 1.0)


def test_a_changed_target_keeps_the_history_under_the_old_one(store, status_of, latency):
    store.add(NOW_S - 2 * DAY_S, NORTH, latency, good=990, bad=10, target="0.99")
    store.add(NOW_S - 60, NORTH, latency, good=999, bad=1)
    status = status_of(store)
    assert status.budget_events == 11
    assert status.budget_remaining_ratio == 0
    assert status.burn_rate["5m"] == 1


def test_an_incident_pages_first_and_then_asks_for_a_ticket(store, status_of, latency):
    for age_s in range(10, 3 * DAY_S, 600):
        store.add(NOW_S - age_s, NORTH, latency, good=3000)
    for age_s in range(10, 10 * 60, 10):
        store.add(NOW_S - age_s, NORTH, latency, bad=50)
    status = status_of(store)
    assert status.severity is Severity.PAGE
    assert status.burning
    assert PAIRS[0] in status.firing
    later = status_of(store, now_s=NOW_S + 2 * HOUR_S)  # the short windows have recovered
    assert not later.burning


def test_alerts_are_judged_by_their_own_windows_whichever_are_reported(store, status_of, latency):
    store.add(NOW_S - 60, NORTH, latency, bad=1000)
    status = status_of(store, windows=("10m",))
    assert list(status.burn_rate) == ["10m"]
    assert status.firing == PAIRS


def test_a_window_that_is_no_multiple_of_ten_seconds_is_refused(store, status_of):
    with pytest.raises(ValueError, match="15s"):
        status_of(store, windows=("15s",))


def test_the_budget_is_over_the_objectives_own_period(store, status_of, latency):
    store.add(NOW_S - 8 * DAY_S, NORTH, latency, bad=5)
    store.add(NOW_S - 60, NORTH, latency, good=1000)
    assert status_of(store).overspent
    assert status_of(store, replace(latency, window_s=7 * DAY_S)).budget_remaining_ratio == 1


def test_json_has_the_stable_keys_and_null_for_what_cannot_be_said(store, status_of, loss):
    found = json.loads(json.dumps(status_of(store, loss).to_json(), allow_nan=False))
    assert found == {
        "slo": "loss",
        "path": "london:leeds/ef",
        "objective": 0.99,
        "threshold": None,
        "rate": None,
        "period": "28d",
        "events": 0,
        "bad_events": 0,
        "unmeasured_events": 0,
        "due_events": 12_096_000.0,
        "budget_events": 0.0,
        "coverage": 0.0,
        "budget_remaining_ratio": None,
        "budget_remaining_ratio_with_excluded": None,
        "burn_rate": dict.fromkeys(WINDOWS),
        "lasts_at_burn_1h": None,
        "exhaustion": None,
        "severity": None,
        "firing": [],
    }


def test_json_says_which_pairs_fire(store, status_of, latency):
    store.add(NOW_S - 60, NORTH, latency, bad=50)
    found = status_of(store).to_json()
    assert found["severity"] == "page"
    assert found["firing"][0] == {
        "severity": "page",
        "long": "1h",
        "short": "5m",
        "threshold": 13.44,
    }


ROWS = st.lists(
    st.tuples(
        st.integers(0, 30 * DAY_S // 300).map(lambda n: NOW_S + 600 - n * 300),
        st.sampled_from([NORTH, NORTH.reverse, LOCAL]),
        st.booleans(),  # latency, not loss
        st.integers(0, 50),
        st.integers(0, 5),
        st.integers(0, 5),
        st.sampled_from(["0.9", "0.999"]),
    ),
    max_size=25,
)


@settings(max_examples=100, deadline=None)
@given(rows=ROWS)
def test_an_evaluation_agrees_with_counting_events_one_by_one(
    rows, estate, latency, loss, new_store
):
    store = new_store()
    for start_s, path, is_latency, good, bad, unmeasured, target in rows:
        store.add(start_s, path, latency if is_latency else loss, good, bad, unmeasured, target)
    for status in evaluate(Ranges(store), [latency, loss], estate, NOW_S):
        mine = [r for r in rows if r[1] == status.path and r[2] == (status.slo == latency.name)]
        for length_s, burn in [
            (300, status.burn_rate["5m"]),
            (HOUR_S, status.burn_rate["1h"]),
            (3 * DAY_S, status.burn_rate["3d"]),
        ]:
            assert burn == naive_burn(mine, length_s)
        remaining = naive_burn(mine, 28 * DAY_S)
        if remaining is None:
            assert status.budget_remaining_ratio is None
        else:
            assert status.budget_remaining_ratio == pytest.approx(1 - remaining)


def naive_burn(rows, length_s):
    bad, budget = 0, Fraction(0)
    for start_s, _, _, good, bad_here, _, target in rows:
        if NOW_S - length_s <= start_s < NOW_S:
            bad += bad_here
            for _ in range(good + bad_here):
                budget += 1 - Fraction(target)
    return float(bad / budget) if budget else None


def test_one_path_is_judged_as_among_all_and_read_alone(store, estate, latency, loss):
    for number, path in enumerate(estate.paths):
        store.add(NOW_S - 60, path, loss, good=100, bad=number)
        store.add(NOW_S - 60, path, latency, good=100, bad=2 * number)
    every, objectives = evaluate(Ranges(store), [latency, loss], estate, NOW_S), [latency, loss]
    path = latency.paths(estate)[1]
    alone = Ranges(store, selector=Selector(path=path.id))
    found = evaluate(alone, objectives, estate, NOW_S, paths={path})
    assert found == [status for status in every if status.path == path]
    assert len(found) == 2
    assert {key[1] for of_one in alone.read(NOW_S, [3600]).values() for key in of_one} == {path}
