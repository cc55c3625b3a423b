from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.store import SloTotals
from analytics.windows import SloCounts
from netslo.model import Path
from slo.budget import Spend
from slo.exclusion import Exclusion
from slo.forecast.days import DailySpends
from slo.ranges import Ranges, add_up, cuts_at

NOW_S = 1_800_000_000  # on a 5 min boundary
HOUR_S, DAY_S = 3600, 86400
NORTH = Path("london", "leeds", "ef")
KEY = ("national-latency", NORTH)


def bad_over(ranges, now_s, length_s):
    return ranges.read(now_s, [length_s])[length_s].get(KEY, Spend()).bad


@settings(deadline=None)
@given(
    ages_s=st.lists(st.integers(-60, 3000).map(lambda n: n * 300), max_size=30),
    into_s=st.integers(0, 299),
    lengths_s=st.sets(st.sampled_from([60, 300, HOUR_S, 6 * HOUR_S, DAY_S, 7 * DAY_S]), min_size=1),
)
def test_nested_ranges_are_what_each_would_be_alone(ages_s, into_s, lengths_s, new_store, latency):
    store = new_store()
    for age_s in ages_s:
        store.add(NOW_S - age_s, NORTH, latency, bad=1)
    found = Ranges(store).read(NOW_S + into_s, lengths_s)
    end_s = NOW_S + into_s // 10 * 10
    for length_s in lengths_s:
        start_s = (end_s if length_s <= 6 * HOUR_S else NOW_S) - length_s
        expected = sum(start_s <= NOW_S - age_s < end_s for age_s in ages_s)
        assert found[length_s].get(KEY, Spend()).bad == expected


def test_each_moment_is_read_once(store):
    Ranges(store).read(NOW_S, [300, HOUR_S, DAY_S, 28 * DAY_S])
    asked = sorted(store.asked)
    assert asked[0][0] == NOW_S - 28 * DAY_S
    assert asked[-1][1] == NOW_S
    assert all(before[1] == after[0] for before, after in pairwise(asked))


def test_what_is_settled_is_read_again_only_after_a_5_min_boundary(store, latency):
    ranges = Ranges(store)
    assert bad_over(ranges, NOW_S, DAY_S) == 0
    store.add(NOW_S - 7 * HOUR_S, NORTH, latency, bad=1)  # seven hours late
    store.add(NOW_S - 5 * HOUR_S, NORTH, latency, bad=10)
    assert bad_over(ranges, NOW_S + 290, DAY_S) == 10
    assert bad_over(Ranges(store), NOW_S + 290, DAY_S) == 11
    assert bad_over(ranges, NOW_S + 300, DAY_S) == 11


def test_no_lengths_ask_for_nothing(store):
    assert Ranges(store).read(NOW_S, []) == {}
    assert store.queries == 0


def test_totals_of_several_targets_add_up_each_under_its_own():
    totals = [
        SloTotals(NORTH, "a", "0.9", SloCounts(90, 10, 1)),
        SloTotals(NORTH, "a", "0.99", SloCounts(100, 0, 2)),
        SloTotals(NORTH, "b", "0.9", SloCounts(1, 0, 0)),
    ]
    found = add_up(totals)
    more = Fraction("0.12")  # one unmeasured under 0.9, two under 0.99
    assert found["a", NORTH] == Spend(200, 10, unmeasured=3, budget=11, unmeasured_budget=more)
    assert found["b", NORTH].budget == pytest.approx(0.1)


LENGTHS = (300, HOUR_S, 6 * HOUR_S, DAY_S, 3 * DAY_S, 28 * DAY_S)


@settings(deadline=None, max_examples=40)
@given(
    ages_s=st.lists(st.integers(0, 29 * 288).map(lambda n: n * 300), max_size=40),
    into_s=st.integers(0, 86399),
)
def test_days_and_nested_ranges_of_one_moment_share_what_is_read(
    ages_s, into_s, new_store, latency, estate
):
    store, now_s = new_store(), NOW_S + into_s // 10 * 10
    for age_s in ages_s:
        store.add(NOW_S - age_s, NORTH, latency, bad=1)
    alone = Ranges(store), DailySpends(Ranges(store), [latency], estate)
    expected = alone[0].read(now_s, LENGTHS), alone[1].read(now_s - 28 * DAY_S, now_s)
    before = len(store.asked)
    shared = Ranges(store, cuts=cuts_at(now_s, LENGTHS))
    course = DailySpends(shared, [latency], estate).read(now_s - 28 * DAY_S, now_s)
    assert shared.read(now_s, LENGTHS) == expected[0]
    assert (course.bad == expected[1].bad).all()
    assert course.budget == pytest.approx(expected[1].budget)
    asked = store.asked[before:]
    # Beside a whole day the part of it in which a range begins; else each moment once.
    assert len(set(asked)) == len(asked)
    whole = sorted(span for span in asked if span[1] - span[0] == DAY_S)
    parts = sorted(span for span in asked if span[1] - span[0] < DAY_S)
    for spans in (whole, parts):
        assert all(before[1] <= after[0] for before, after in pairwise(spans))


@settings(deadline=None, max_examples=40)
@given(
    ages_s=st.lists(st.integers(0, 29 * 288).map(lambda n: n * 300), max_size=40),
    into_s=st.integers(0, 86399),
    off=st.lists(st.tuples(st.integers(1, 29 * 288), st.integers(1, 400)), max_size=3),
)
def test_what_is_read_as_if_nothing_was_excluded_is_read_again_where_something_was(
    ages_s, into_s, off, new_store, latency
):
    store, now_s = new_store(), NOW_S + into_s // 10 * 10
    for age_s in ages_s:
        store.add(NOW_S - age_s, NORTH, latency, bad=1)
    exclusions = [
        Exclusion(str(n), NOW_S - 300 * age, NOW_S - 300 * (age - length), "alice", "CHG-1", 0)
        for n, (age, length) in enumerate(off)
    ]
    ranges = Ranges(store, exclusions, cuts=cuts_at(now_s, LENGTHS))
    assert ranges.read(now_s, LENGTHS) == Ranges(store, exclusions).read(now_s, LENGTHS)
    expected, before = Ranges(store).read(now_s, LENGTHS), len(store.asked)
    assert ranges.whole().read(now_s, LENGTHS) == expected
    if not exclusions:
        assert len(store.asked) == before
