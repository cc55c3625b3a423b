from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slo.budget import Spend
from slo.burn import (
    GUARD,
    PAIRS,
    WINDOWS_S,
    BurnPair,
    Guard,
    Severity,
    chance_of_at_least,
    firing,
)

DAY_S = 86400
HOUR_S = 3600
TARGET = Fraction("0.999")
PAGE_1H, PAGE_6H, TICKET_1D, TICKET_3D = PAIRS


@pytest.mark.parametrize(
    ("period_d", "expected"),
    [
        (30, ["14.4", "6", "3", "1"]),  # the Workbook's own table, chapter 5
        (28, ["13.44", "5.6", "2.8", "14/15"]),
        (7, ["3.36", "1.4", "0.7", "7/30"]),
    ],
    ids=lambda value: f"{value} d" if isinstance(value, int) else "",
)
def test_thresholds_are_the_workbooks_scaled_to_the_period(period_d, expected):
    found = [pair.threshold(period_d * DAY_S) for pair in PAIRS]
    assert found == [Fraction(text) for text in expected]


def test_pairs_have_the_workbooks_windows():
    assert [(p.severity, p.long, p.short) for p in PAIRS] == [
        (Severity.PAGE, "1h", "5m"),
        (Severity.PAGE, "6h", "30m"),
        (Severity.TICKET, "1d", "2h"),
        (Severity.TICKET, "3d", "6h"),
    ]
    assert [s // 60 for s in WINDOWS_S] == [5, 30, 60, 120, 360, 1440, 4320]


@pytest.mark.parametrize(
    ("error_ratio", "seconds"),
    [
        # the Workbook's detection times at 30 d and 99.9 %: 14.4 * 0.001 * 1 h / error ratio
        ("1", "51.84"),
        ("0.1", "518.4"),
        ("0.0144", None),  # strictly greater is needed
        ("0.001", None),
    ],
)
def test_detection_time_follows_from_the_threshold(error_ratio, seconds):
    found = PAGE_1H.detection_s(TARGET, 30 * DAY_S, Fraction(error_ratio))
    assert found == (None if seconds is None else Fraction(seconds))


@pytest.mark.parametrize(
    ("pair", "burn_rate", "share", "detected_s"),
    [  # chapter 5 at 30 d and 99.9 %: at 100 %, 10 % and 1 % of errors
        (PAGE_1H, "14.4", "0.02", ["51.84", "518.4", None]),
        (PAGE_6H, "6", "0.05", ["129.6", "1296", "12960"]),
        (TICKET_1D, "3", "0.1", ["259.2", "2592", "25920"]),
        (TICKET_3D, "1", "0.1", ["259.2", "2592", "25920"]),
    ],
    ids=["1 h", "6 h", "1 d", "3 d"],
)
def test_the_workbooks_table_is_exact(pair, burn_rate, share, detected_s):
    period_s = 30 * DAY_S
    assert pair.threshold(period_s) == Fraction(burn_rate)
    assert pair.threshold(period_s) * pair.long_s / period_s == Fraction(share)
    found = [pair.detection_s(TARGET, period_s, Fraction(1, n)) for n in (1, 10, 100)]
    assert found == [None if text is None else Fraction(text) for text in detected_s]


@given(
    st.sampled_from(PAIRS),
    st.integers(7, 35),
    st.decimals("0.5", "0.9999", places=4).map(Fraction),
    st.fractions(Fraction(1, 10**6), 1),
)
def test_when_detected_the_long_window_holds_its_share_of_the_periods_budget(
    pair, period_d, target, error_ratio
):
    period_s = period_d * DAY_S
    found = pair.detection_s(target, period_s, error_ratio)
    if found is None:
        assert error_ratio <= pair.error_ratio_min(target, period_s)
    else:
        assert 0 < found < pair.long_s
        spent = found * error_ratio  # bad events at one packet a second
        assert spent == pair.budget_share * (1 - target) * period_s


def test_a_threshold_just_reached_does_not_fire_and_one_more_bad_event_does():
    # 13.44 * 0.001 of 312,500 events is 4,200 bad ones exactly
    reached = Spend.under(TARGET, 312_500, 4200)
    above = Spend.under(TARGET, 312_500, 4201)
    assert reached.burn_rate == PAGE_1H.threshold(28 * DAY_S)
    assert not PAGE_1H.fires(28 * DAY_S, reached, above)
    assert not PAGE_1H.fires(28 * DAY_S, above, reached)
    assert PAGE_1H.fires(28 * DAY_S, above, above)


@pytest.mark.parametrize("bad", range(GUARD.bad_events_min + 2))
def test_few_packets_lost_by_chance_wake_nobody(bad):
    spend = Spend.under(TARGET, 60, bad)  # one packet a minute
    assert PAGE_1H.fires(28 * DAY_S, spend, spend) == (bad >= GUARD.bad_events_min)


def test_a_window_without_events_is_unknown_and_does_not_fire():
    burning = Spend.under(TARGET, 1000, 1000)
    assert not PAGE_1H.fires(28 * DAY_S, burning, Spend())
    assert not PAGE_1H.fires(28 * DAY_S, Spend(), burning)


def test_firing_names_the_most_urgent_first_and_skips_what_it_cannot_judge():
    burning = Spend.under(TARGET, 1000, 1000)
    assert firing(28 * DAY_S, dict.fromkeys(WINDOWS_S, burning)) == PAIRS
    known = {6 * HOUR_S: burning, 1800: burning, HOUR_S: burning}
    assert firing(28 * DAY_S, known) == (PAGE_6H,)


def test_an_alert_ends_when_its_short_window_recovers():
    burning, clean = Spend.under(TARGET, 1000, 1000), Spend.under(TARGET, 1000, 0)
    spends = {**dict.fromkeys(WINDOWS_S, burning), 300: clean}
    assert PAGE_1H not in firing(28 * DAY_S, spends)


def test_a_loose_target_can_need_more_bad_events_than_there_are():
    assert PAGE_1H.error_ratio_min(Fraction("0.9"), 28 * DAY_S) == Fraction("1.344")
    assert isinstance(PAGE_1H, BurnPair)


def test_a_pair_may_have_a_short_window_of_its_own():
    pair = BurnPair(Severity.PAGE, Fraction(2, 100), 3600, 600)
    assert (pair.long, pair.short) == ("1h", "10m")


@given(st.integers(0, 300), st.floats(0.01, 300))
def test_the_chance_of_a_count_is_the_sum_of_poissons_terms(count, mean):
    expected = 1 - math.fsum(
        math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count)
    )
    assert chance_of_at_least(count, mean) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("count", "lower"),  # half the 5 % quantile of chi-squared with 2 * count degrees of freedom
    [(1, 0.0513), (3, 0.8177), (10, 5.4254), (100, 84.139)],
)
def test_the_chance_of_a_count_has_garwoods_lower_bound(count, lower):
    assert (
        chance_of_at_least(count, lower * 0.999) < 0.05 < chance_of_at_least(count, lower * 1.001)
    )


@pytest.mark.parametrize("per_hour", [6, 60, 360, 3600, 18_000])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.long)
@pytest.mark.parametrize("confidence", [0.9, 0.99, 0.9999])
def test_a_guard_asks_for_what_chance_makes_rare_enough_and_for_no_more(per_hour, pair, confidence):
    budget = Fraction(per_hour, 1000) * pair.long_s / 3600
    threshold, windows = pair.threshold(28 * DAY_S), pair.windows(28 * DAY_S)
    least = Guard(1, confidence).least(budget, threshold, windows)
    mean = float(budget) * min(0.5, float(threshold) / 2)

    def false_alerts(count: int) -> float:
        """Return how many bad events of a period find so many others in the window before them."""
        others = 1 - math.fsum(
            math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count - 1)
        )
        return mean * float(windows) * others

    assert false_alerts(least) <= (1 - confidence) * (1 + 1e-9)
    assert least == 1 or false_alerts(least - 1) > (1 - confidence) * (1 - 1e-9)
    assert Guard(least + 1, confidence).least(budget, threshold, windows) == least + 1


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.long)
@pytest.mark.parametrize("per_hour", [360, 3600, 18_000])
def test_a_guard_costs_nothing_where_packets_are_many(pair, per_hour):
    budget = Fraction(per_hour, 1000) * pair.long_s / 3600
    threshold, windows = pair.threshold(28 * DAY_S), pair.windows(28 * DAY_S)
    needed = int(threshold * budget) + 1
    allowed = 29 if (pair, per_hour) == (TICKET_3D, 360) else needed  # burns at less than 1
    assert GUARD.least(budget, threshold, windows) <= allowed


def test_a_guard_counts_whole_events_where_counters_have_parts_of_them():
    pair, million = PAGE_1H, 1_000_000
    arguments = pair.threshold(28 * DAY_S), pair.windows(28 * DAY_S)
    whole = GUARD.least(Fraction("0.36"), *arguments)
    in_parts = replace(GUARD, parts=million)
    assert in_parts.least(Fraction(360_000), *arguments) == whole * million


def test_no_mean_makes_any_event_more_than_chance():
    assert chance_of_at_least(0, 0.0) == 1
    assert chance_of_at_least(1, 0.0) == 0
    assert chance_of_at_least(10**6, 10.0) == 0
