"""Dates at which budgets are used up, against simulated futures and sums by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from netslo.model import Path
from slo.calendar_period import period_at
from slo.exclusion import Exclusion
from slo.forecast.days import Course, DailySpends
from slo.forecast.exhaustion import forecast
from slo.forecast.forecaster import Forecaster
from slo.objective import CalendarWindow, PathSelector
from slo.ranges import Ranges

DAY_S = 86_400
NOW_S = 1_790_000_000 // DAY_S * DAY_S
EVENTS = 10_000  # a day; budget of 10 at 99.9 %


class SomeDays:
    """The past as a test has it: bad and budget events by day, the last one yesterday."""

    def __init__(
        self, name: str, bad, budget=None, now_s: int = NOW_S, counts_from_s: int = 0
    ) -> None:
        bad = np.atleast_2d(np.asarray(bad, dtype=float))
        budget = np.full(bad.shape, 10.0) if budget is None else np.atleast_2d(budget)
        self.keys = tuple((name, Path("london", f"s{row}", "ef")) for row in range(len(bad)))
        self.edges_s = now_s + DAY_S * np.arange(-bad.shape[1], 1)
        self.counts_from_s = counts_from_s
        self.sums = [
            np.concatenate([np.zeros((len(bad), 1)), np.cumsum(each, axis=1)], axis=1)
            for each in (bad, budget)
        ]

    def kept_from_s(self) -> int:
        return self.counts_from_s

    def read(self, start_s: int, now_s: int, cuts_s=()) -> Course:
        del start_s, cuts_s
        assert now_s == self.edges_s[-1]
        return Course(self.keys, self.edges_s, *self.sums)


def of(objective, bad, budget=None, now_s: int = NOW_S, counts_from_s: int = 0):
    days = SomeDays(objective.name, bad, budget, now_s, counts_from_s)
    return list(forecast(days, [objective], now_s, pytest.fail).values())


def days_from_now(unix_s, now_s: int = NOW_S):
    return None if unix_s is None else (unix_s - now_s) / DAY_S


def test_a_path_that_loses_nothing_never_uses_its_budget_up(latency) -> None:
    (found,) = of(latency, np.zeros(28))
    assert (found.rolling.p10, found.rolling.p50, found.rolling.p90) == (None, None, None)
    assert found.rolling.chance == 0
    assert found.rolling.end_s == NOW_S + latency.window_s


def test_an_even_rate_above_the_budget_uses_up_what_is_left(latency) -> None:
    """Bad were 0 a day for 18 days and 26 for 10: 20 are left, and 26 more come a day."""
    (found,) = of(latency, [0.0] * 18 + [26.0] * 10)
    fastest = days_from_now(found.rolling.p10)
    assert 20 / 26 - 1e-6 <= fastest <= 2  # no future is worse than 26 a day from the first on
    assert found.rolling.chance > 0.9


def test_what_leaves_the_period_comes_back(latency) -> None:
    """An incident of 270 leaves tomorrow; nothing else was ever bad."""
    old, new = np.zeros(28), np.zeros(28)
    old[0] = new[-1] = 270.0
    (leaving,), (fresh,) = of(latency, old), of(latency, new)
    # The same draws from the same days: only the roll-off differs.
    assert leaving.rolling.chance < fresh.rolling.chance


def test_an_overspent_budget_is_used_up_now(latency) -> None:
    (found,) = of(latency, np.full(28, 11.0))
    assert found.rolling.p10 == found.rolling.p50 == found.rolling.p90 == NOW_S
    assert found.rolling.chance == 1


def test_of_two_days_nothing_is_said(latency) -> None:
    budget = np.zeros(28)
    budget[-2:] = 10
    assert of(latency, np.zeros(28), budget) == []
    budget[-3:] = 10
    assert len(of(latency, np.zeros(28), budget)) == 1


def test_the_same_past_has_the_same_futures(latency) -> None:
    bad = np.random.default_rng(2).gamma(0.5, 18, (5, 28))
    assert of(latency, bad) == of(latency, bad)
    assert of(latency, bad)[2:3] != of(latency, bad[2:3])  # another path, another row


def simulate(rng, rows: int):
    """Return pasts and the day at which each future, of the same kind, uses its budget up.

    How bad a path is lies anywhere: were all alike, those that were lucky so far would get
    worse, which no past of theirs can tell. Days are bad in bursts, by a gamma distribution, and
    every other one is like the day before.
    """
    mean = np.exp(rng.uniform(np.log(2), np.log(40), (rows, 1)))
    fresh = mean * rng.gamma(0.6, 1 / 0.6, (rows, 56))
    for day in range(1, 56):
        same = rng.random(rows) < 0.5
        fresh[same, day] = 0.7 * fresh[same, day - 1] + 0.3 * fresh[same, day]
    past, future = fresh[:, :28], fresh[:, 28:]
    left = 280 - past.sum(axis=1, keepdims=True) - np.cumsum(future - past, axis=1)
    after = np.where((left <= 0).any(axis=1), (left <= 0).argmax(axis=1) + 1.0, np.inf)
    sound = past.sum(axis=1) < 280
    return past[sound], after[sound]


def test_four_of_five_simulated_dates_lie_in_the_band(latency) -> None:
    """Dates are to a day, as the simulation is; never is later than any date."""
    past, after = simulate(np.random.default_rng(3), 6000)
    dates = [each.rolling for each in of(latency, past)]
    low, middle, high = (
        np.array([math.inf if d is None else days_from_now(d) for d in ends])
        for ends in zip(*((d.p10, d.p50, d.p90) for d in dates), strict=True)
    )
    asked = np.isfinite(low)  # of the others nine in ten futures are without an end
    assert asked.sum() > 500
    early, late = after < np.floor(low), after > np.ceil(high)
    assert 0.06 < early[asked].mean() < 0.15
    assert late[np.isfinite(high)].mean() < 0.2
    assert (~early & ~late)[asked].mean() > 0.75
    some = np.isfinite(middle)
    assert (after[some] <= middle[some] + 0.5).mean() == pytest.approx(0.5, abs=0.12)
    chances = np.array([d.chance for d in dates])
    for least in (0.3, 0.5, 0.7):  # and chances come true, about: no past has had all that can come
        near = (least <= chances) & (chances < least + 0.2)
        assert np.isfinite(after[near]).mean() == pytest.approx(chances[near].mean(), abs=0.17)


LONDON = CalendarWindow("1Q", "2026-01-01 00:00:00", "Europe/London")


def test_a_quarter_has_the_hours_it_has(latency) -> None:
    """Q1 2026 has 2,159 h in London; at an even rate the date is a division."""
    start_s, end_s = period_at(LONDON, 1_770_000_000)
    assert end_s - start_s == 2159 * 3600
    now_s = start_s + 30 * DAY_S
    quarter = replace(latency, calendar=LONDON)
    (found,) = of(quarter, np.full(30, 20.0), now_s=now_s)
    # Budget of it all: 10 a day. 20 a day use that up in half of its 2,159 h, to the second.
    wanted_s = start_s + (end_s - start_s) / 2
    for date_s in (found.calendar.p10, found.calendar.p50, found.calendar.p90):
        assert date_s == pytest.approx(wanted_s, abs=1)
    assert found.calendar.end_s == end_s
    (found,) = of(quarter, np.full(30, 9.9), now_s=now_s)
    assert found.calendar.p50 is None
    assert found.calendar.chance == 0


def test_days_of_a_quarter_that_are_no_longer_kept_are_like_the_others(latency) -> None:
    start_s, end_s = period_at(LONDON, 1_770_000_000)
    now_s = start_s + 80 * DAY_S
    quarter = replace(latency, calendar=LONDON)
    (found,) = of(quarter, np.full(40, 10.5), now_s=now_s, counts_from_s=now_s - 34 * DAY_S)
    assert (found.so_far.start_s, found.so_far.since_s) == (start_s, now_s - 34 * DAY_S)
    assert found.calendar.p50 == pytest.approx(start_s + (end_s - start_s) / 1.05, abs=1)


def test_a_young_store_has_no_days_that_are_gone(latency) -> None:
    """Nothing before ten days ago: the quarter is judged by what there is of it."""
    now_s = period_at(LONDON, 1_770_000_000)[0] + 80 * DAY_S
    bad, budget = np.zeros(40), np.zeros(40)
    bad[-10:], budget[-10:] = 15, 10
    (found,) = of(replace(latency, calendar=LONDON), bad, budget, now_s=now_s)
    left_days = 10 * (10 + (2159 / 24 - 80)) / 15 - 10  # all of its budget at 15 a day
    assert days_from_now(found.calendar.p50, now_s) == pytest.approx(left_days, abs=1e-4)


def test_days_are_read_from_a_store_with_targets_and_exclusions(latency, estate, store) -> None:
    path = Path("london", "leeds", "ef")
    objective = replace(latency, selector=PathSelector(paths=frozenset({path})))
    for day in range(1, 6):
        store.add(NOW_S - day * DAY_S + 3600, path, objective, good=990, bad=10)
    store.add(NOW_S + 600, path, objective, good=500, bad=0, target="0.99")
    days = DailySpends(Ranges(store), [objective], estate)
    course = days.read(NOW_S - 3 * DAY_S, NOW_S + 3600)
    assert course.bad.tolist() == [[0, 10, 20, 30, 30]]
    assert course.budget.tolist() == [[0, 1, 2, 3, 8]]
    asked = store.queries
    days.read(NOW_S - 3 * DAY_S, NOW_S + 3600)
    assert store.queries - asked == 3  # what is over for days is not read again
    bad, _ = course.between(np.array([NOW_S - 1.5 * DAY_S, NOW_S - 0.5 * DAY_S]))
    assert bad.tolist() == [[10.0]]


def test_a_year_before_the_days_is_read_in_a_few_parts_that_stay(latency, estate, store) -> None:
    path = Path("london", "leeds", "ef")
    objective = replace(latency, selector=PathSelector(paths=frozenset({path})))
    for day in range(1, 331):
        store.add(NOW_S - day * DAY_S + 3600, path, objective, good=1000 - day, bad=day)
    days = DailySpends(Ranges(store), [objective], estate)
    begin_s = NOW_S - 300 * DAY_S + 3601  # behind what was counted of its day
    cuts_s = {begin_s, begin_s + 3 * DAY_S}
    course = days.read(NOW_S - 28 * DAY_S, NOW_S, cuts_s)
    assert store.queries < 28 + 300 / 28 + 4
    bad, budget = course.between(np.array([begin_s, begin_s + 3 * DAY_S, NOW_S]))
    assert bad.tolist() == [[299 + 298 + 297, sum(range(1, 297))]]
    assert budget.tolist() == [[3, 296]]
    recent, _ = course.between(NOW_S - DAY_S * np.arange(28.0, -1, -1))
    assert recent.tolist() == [[float(day) for day in range(28, 0, -1)]]
    before = store.queries
    days.read(NOW_S - 27 * DAY_S, NOW_S + DAY_S, cuts_s)
    # The part up to the days is a day longer; the rest is what is always read.
    assert store.queries - before == 1 + 3


def test_a_collector_works_the_dates_out_beside_it(latency, estate, store) -> None:
    path = Path("london", "leeds", "ef")
    for day in range(1, 9):
        store.add(NOW_S - day * DAY_S, path, latency, good=980, bad=20)
    kept = Forecaster(store, [latency], estate, clock=lambda: NOW_S)
    assert kept.current() == {}
    kept.work_out()
    ((key, found),) = kept.current().items()
    assert (key, found.rolling.p50) == ((latency.name, path), NOW_S)
    # Without the days on which it was bad there are not enough to tell.
    kept.exclude([Exclusion("x", NOW_S - 6 * DAY_S, NOW_S, "alice", "fibre", NOW_S)])
    kept.work_out()
    assert kept.current() == {}


@pytest.mark.parametrize(
    ("duration", "zone", "said"),
    [("1Q", "Nowhere/X", "Nowhere/X"), ("8000Y", "UTC", "no period of 8000Y")],
)
def test_a_calendar_that_cannot_be_costs_its_own_date_and_nothing_else(
    latency, loss, estate, store, caplog, duration, zone, said
) -> None:
    path = Path("london", "leeds", "ef")
    calendar = CalendarWindow(duration, "2026-01-01 00:00:00", zone)
    nowhere = replace(latency, calendar=calendar)
    for day in range(1, 9):
        for objective in (nowhere, loss):
            store.add(NOW_S - day * DAY_S, path, objective, good=980, bad=20)
    kept = Forecaster(store, [nowhere, loss], estate, clock=lambda: NOW_S)
    kept.work_out()
    assert {slo for slo, _ in kept.current()} == {latency.name, "loss"}
    assert kept.current()[latency.name, path].calendar is None
    assert f"{latency.name}: " in caplog.text
    assert said in caplog.text
