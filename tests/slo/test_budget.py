from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slo.budget import MissingData, Spend, budget_events

DAY_TARGETS = st.decimals("0.000001", "0.999999", places=6).map(Fraction)
COUNTS = st.integers(0, 10**12)


@st.composite
def spends(draw: st.DrawFn) -> Spend:
    events = draw(COUNTS)
    return Spend.under(draw(DAY_TARGETS), events, draw(st.integers(0, events)), draw(COUNTS))


def test_budget_events_are_exact_where_floats_are_not():
    assert budget_events(Fraction("0.999"), 1000) == 1
    assert budget_events(Fraction("0.99"), 10) == Fraction(1, 10)
    assert (1 - 0.999) * 1000 != 1  # why it matters


@pytest.mark.parametrize("target", [Fraction(0), Fraction(1), Fraction(2), Fraction(-1, 2)])
def test_a_target_outside_zero_and_one_is_refused(target):
    with pytest.raises(ValueError, match="target"):
        budget_events(target, 1)


def test_negative_events_are_refused():
    with pytest.raises(ValueError, match="events"):
        budget_events(Fraction(1, 2), -1)


def test_a_window_without_events_has_no_burn_rate_rather_than_zero():
    spend = Spend.under(Fraction("0.999"), 0, 0, unmeasured=7)
    assert spend.burn_rate is None
    assert spend.remaining is None


def test_a_budget_spent_to_the_last_event_is_not_overspent():
    spend = Spend.under(Fraction("0.999"), 3000, 3)
    assert spend.burn_rate == 1
    assert spend.remaining == 0


def test_an_overspent_budget_is_negative_and_never_clamped():
    assert Spend.under(Fraction("0.999"), 1000, 10).remaining == -9


@given(DAY_TARGETS, st.integers(1, 10**12), st.data())
def test_burn_rate_is_the_error_ratio_over_the_allowed_one(target, events, data):
    bad = data.draw(st.integers(0, events))
    spend = Spend.under(target, events, bad)
    assert spend.burn_rate == Fraction(bad, events) / (1 - target)
    assert spend.remaining + spend.burn_rate == 1
    assert (spend.remaining < 0) == (bad > (1 - target) * events)
    assert spend.burn_rate <= 1 / (1 - target)


@given(DAY_TARGETS, COUNTS)
def test_every_event_bad_spends_all_that_the_target_leaves_and_more(target, events):
    assert Spend.under(target, events, 0).remaining in (None, 1)
    if events:
        assert Spend.under(target, events, events).remaining == 1 - 1 / (1 - target)


@given(spends(), spends(), spends())
def test_adding_spends_does_not_depend_on_order_or_grouping(a, b, c):
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Spend() == a


@given(spends(), spends())
def test_the_burn_rate_of_two_windows_lies_between_theirs(a, b):
    rates = [s.burn_rate for s in (a, b) if s.burn_rate is not None]
    both = (a + b).burn_rate
    assert both is None if not rates else min(rates) <= both <= max(rates)


@given(spends(), spends(), st.sampled_from(MissingData))
def test_what_is_missing_counts_as_the_policy_says_before_or_after_adding(a, b, missing):
    assert (a + b).taking(missing) == a.taking(missing) + b.taking(missing)


@given(DAY_TARGETS, COUNTS, COUNTS, st.data())
def test_taking_the_missing_for_bad_or_good_is_what_counting_them_so_gives(
    target, events, unmeasured, data
):
    bad = data.draw(st.integers(0, events))
    spend = Spend.under(target, events, bad, unmeasured)
    due = events + unmeasured
    assert spend.taking(MissingData.BAD) == Spend.under(target, due, bad + unmeasured)
    assert spend.taking(MissingData.GOOD) == Spend.under(target, due, bad)
    assert spend.taking(MissingData.IGNORE) is spend
