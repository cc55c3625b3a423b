"""Rules and engine agree within one step on what fires, what is over and what is held.

Prometheus' own rule engine judges the very counters that the collector publishes beside the
engine: see tests/support/both_modes.py.
"""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction

import pytest
from both_modes import PATHS, PER_WINDOW, T0, Counted, History, Judged, disagreements, judge

from netslo.model import Direction, Path
from slo.budget import MissingData
from slo.burn import PAIRS, BurnPair, Guard, Severity
from slo.exclusion import Covers, Exclusion
from slo.objective import Indicator, Objective, PathSelector
from slo.policy import AlertPolicy
from slo.slices import TimeSlices

MINUTE, HOUR = 60, 3600
LONG_S = HOUR // 3  # a shorter hour, with the same burn rates, is judged in fewer steps
WARM_S = LONG_S + 5 * MINUTE  # then the long window is no young one
PAGE = replace(PAIRS[0], budget_share=PAIRS[0].budget_share / 3, long_s=LONG_S)
TICKET = BurnPair(Severity.TICKET, Fraction(10, 300), LONG_S, 10 * MINUTE)  # by `offset`, both
LOSS = Objective(
    name="loss",
    display_name="Loss",
    description="",
    service="backbone",
    indicator=Indicator.LOSS,
    limit=None,
    target_text="0.999",
    selector=PathSelector(classes=frozenset({"ef"})),
    owner="noc",
    alerts=AlertPolicy(pairs=(PAGE, TICKET)),
)
ALL = Counted(bad=PER_WINDOW)
NONE = Counted()
ONE, OTHER, THIRD = (
    Path(*ends, "ef") for ends in (("london", "leeds"), ("leeds", "dundee"), ("dundee", "london"))
)


def during(at_s: int, start_s: int, minutes: float) -> bool:
    return start_s <= at_s < start_s + minutes * MINUTE


def check(judged: Judged, *, steps: int = 1, late: bool = False, backtest: bool = False) -> None:
    """Both modes and the status say the same, within so many steps.

    `late`: windows came late, of which only the modes know. `backtest`: the store judged again
    says so as well, wherever it looks.
    """
    assert not disagreements(judged.engine, judged.rules, steps)
    assert not disagreements(judged.rules, judged.engine, steps)
    assert not disagreements(judged.engine_holds, judged.rules_hold, steps)
    assert not disagreements(judged.rules_hold, judged.engine_holds, steps)
    if not late:
        assert not disagreements(judged.engine_fresh, judged.status, steps)
        assert not disagreements(judged.status, judged.engine_fresh, steps)
    if backtest:
        assert judged.backtest
        for step in judged.marks:
            near = slice(max(0, step - steps), step + steps + 1)
            for key in judged.backtest.keys() | judged.status.keys():
                silent = [False] * judged.steps
                said = judged.backtest.get(key, silent)[step]
                assert said in judged.status.get(key, silent)[near], (step, key)


def pages(judged: Judged, path: Path) -> list[int]:
    found = judged.fired(judged.engine, alertname="SLOBurnPage", path=path.id)
    assert bool(found) == bool(judged.fired(judged.rules, alertname="SLOBurnPage", path=path.id))
    return found


async def test_a_fast_fault_a_slow_one_a_trickle_and_a_restart_in_the_midst(tmp_path) -> None:
    def happens(path: Path, at_s: int) -> Counted:
        if path == ONE and during(at_s, WARM_S, 9):
            return Counted(bad=PER_WINDOW // 2)
        if path == OTHER and at_s >= WARM_S + 16 * MINUTE:
            return Counted(bad=3)  # 6 %: four times what the page needs
        if path == THIRD and at_s >= WARM_S and at_s % 120 == 0:
            return Counted(bad=1)  # a sixth of what it needs
        return NONE

    restart_s = WARM_S + 5 * MINUTE
    judged = await judge(
        History(LOSS, WARM_S + 24 * MINUTE, happens, restarts_s=[restart_s]), tmp_path
    )
    check(judged, backtest=True)
    assert pages(judged, ONE)
    assert pages(judged, OTHER)
    assert not pages(judged, THIRD)
    assert pages(judged, ONE)[-1] * 30 < WARM_S + 15 * MINUTE
    assert judged.fired(judged.engine, alertname="SLOBurnTicket", path=ONE.id)
    assert not judged.fired(judged.engine, alertname="SLOSiteBurnPage")


async def test_a_probe_that_falls_silent_in_a_fault(tmp_path) -> None:
    silent_s, back_s = WARM_S + 5 * MINUTE, WARM_S + 25 * MINUTE

    def happens(path: Path, at_s: int) -> Counted:
        return ALL if path == ONE and WARM_S <= at_s < silent_s else NONE

    def reaches(path: Path, at_s: int) -> int | None:
        return None if path.src == ONE.src and silent_s <= at_s < back_s else at_s + 10

    judged = await judge(History(LOSS, back_s + 8 * MINUTE, happens, reaches), tmp_path)
    check(judged)
    fired = pages(judged, ONE)
    assert fired[-1] * 30 > back_s  # nothing resolved because data stopped
    assert fired == list(range(fired[0], fired[-1] + 1))
    assert judged.engine_holds
    assert judged.fired(judged.engine, alertname="SLOProbeDown", src_site=ONE.src)
    assert judged.fired(judged.engine, alertname="SLOCoverageLow", path=ONE.id)


async def test_two_hours_of_backlog_page_nobody_for_what_is_over(tmp_path) -> None:
    start_s, back_s = 20 * MINUTE, 140 * MINUTE

    def happens(path: Path, at_s: int) -> Counted:
        if path == OTHER and during(at_s, back_s - 5 * MINUTE, 12):
            return ALL  # which is no backlog
        return ALL if path.src == "london" and start_s <= at_s < back_s else NONE

    def reaches(path: Path, at_s: int) -> int:
        return back_s if path.src == "london" and start_s <= at_s < back_s else at_s + 10

    # A pair that is looked at every minute is as blind as one of every half a minute.
    longer = BurnPair(Severity.PAGE, Fraction(1, 100), 2 * HOUR, 5 * MINUTE)
    objective = replace(LOSS, alerts=AlertPolicy(pairs=(PAGE, longer, TICKET)))
    history = History(objective, back_s + 25 * MINUTE, happens, reaches, step_s=MINUTE)
    judged = await judge(history, tmp_path)
    check(judged, late=True)
    for series in (judged.engine, judged.rules):
        assert not judged.fired(series, alertname="SLOBurnPage", src_site="london")
        assert not judged.fired(series, alertname="SLOBurnTicket", src_site="london")
        assert judged.fired(series, alertname="SLOBurnPage", path=OTHER.id, pair="2h/5m")


@pytest.mark.parametrize(("before", "after"), [("0.999", "0.99"), ("0.99", "0.999")])
async def test_a_target_that_changes_counts_from_then_on(tmp_path, before, after) -> None:
    changed_s = WARM_S + 8 * MINUTE
    objective = replace(LOSS, target_text=before)

    def happens(path: Path, at_s: int) -> Counted:
        if path == ONE and at_s >= WARM_S:
            return Counted(bad=10)
        if path == OTHER and at_s >= changed_s + 5 * MINUTE:
            return Counted(bad=25)
        return NONE

    history = History(objective, changed_s + 16 * MINUTE, happens, targets=[(changed_s, after)])
    judged = await judge(history, tmp_path)
    check(judged)
    assert pages(judged, ONE)
    assert pages(judged, OTHER)


@pytest.mark.parametrize("taken", [MissingData.BAD, MissingData.GOOD, MissingData.IGNORE])
async def test_missing_data_are_taken_for_the_same(tmp_path, taken) -> None:
    def happens(path: Path, at_s: int) -> Counted:
        if path == ONE and during(at_s, WARM_S, 15):
            return Counted(unmeasured=PER_WINDOW)
        if path == OTHER and during(at_s, WARM_S, 15):
            return Counted(bad=10, unmeasured=20)
        return NONE

    objective = replace(LOSS, missing_data=taken)
    judged = await judge(History(objective, WARM_S + 24 * MINUTE, happens), tmp_path)
    check(judged, backtest=True)
    assert bool(pages(judged, ONE)) == (taken is MissingData.BAD)
    assert pages(judged, OTHER)


async def test_what_was_excluded_beforehand_alerts_nobody(tmp_path) -> None:
    off_s = WARM_S + 5 * MINUTE
    off = Exclusion(
        "x",
        T0 + off_s,
        T0 + off_s + 20 * MINUTE,
        "alice",
        "CHG-1",
        T0,
        Covers(sites=frozenset({"leeds"})),
    )

    def happens(path: Path, at_s: int) -> Counted:
        if path == THIRD:
            return ALL if at_s >= off_s else NONE
        at_leeds = "leeds" in (path.src, path.dst)
        return ALL if at_leeds and during(at_s, off_s, 15) else NONE

    judged = await judge(History(LOSS, off_s + 28 * MINUTE, happens, exclusions=[off]), tmp_path)
    check(judged)
    assert pages(judged, THIRD)
    assert not pages(judged, ONE)
    assert not pages(judged, OTHER)


async def test_slices_of_a_minute(tmp_path) -> None:
    def happens(path: Path, at_s: int) -> Counted:
        if path == ONE and during(at_s, WARM_S + 30, 9):
            return ALL
        if path == OTHER and at_s % MINUTE == 0:
            return Counted(bad=2)  # of 300 in a slice: all of them are good
        return NONE

    slices = TimeSlices(MINUTE, Fraction(95, 100))
    history = History(replace(LOSS, slices=slices), WARM_S + 20 * MINUTE, happens)
    judged = await judge(history, tmp_path)
    check(judged, steps=2)  # slices are read every 30 s, and so is what is said of them
    assert pages(judged, ONE)
    assert not pages(judged, OTHER)
    assert not judged.fired(judged.rules, alertname="SLOCoverageLow", path=OTHER.id)


async def test_a_bandwidth_that_falls_and_one_that_nobody_tests_any_more(tmp_path) -> None:
    def tested(path: Path, at_s: int) -> float | None:
        if at_s % (5 * MINUTE) != 2 * MINUTE or path == THIRD:
            return None
        if path == OTHER and at_s >= WARM_S:
            return None
        low = path == ONE and during(at_s, WARM_S, 12)
        return 9e6 if low else 40e6

    pair = BurnPair(Severity.PAGE, Fraction(2, 300), LONG_S, 5 * MINUTE)
    objective = replace(
        LOSS,
        name="bandwidth",
        indicator=Indicator.BANDWIDTH,
        limit=10e6,
        target_text="0.99",
        direction=Direction.FORWARD,
        method="train",
        slices=TimeSlices(5 * MINUTE, Fraction(1)),
        alerts=AlertPolicy(pairs=(pair,), guard=Guard(bad_events_min=2)),
    )
    history = History(objective, WARM_S + 50 * MINUTE, lambda *_: NONE, tested=tested)
    judged = await judge(history, tmp_path)
    check(judged, steps=2)
    fired = pages(judged, ONE)
    # Two bad slices, the second of which ends ten minutes on, and a minute for what comes late.
    assert WARM_S + 11 * MINUTE <= fired[0] * 30 <= WARM_S + 13 * MINUTE
    assert fired[-1] * 30 < WARM_S + 30 * MINUTE
    for nobody in (OTHER, THIRD):
        assert not pages(judged, nobody)
        for series in (judged.engine, judged.rules):
            assert judged.fired(series, alertname="SLOCoverageLow", path=nobody.id)
    for series in (judged.engine, judged.rules):
        assert not judged.fired(series, alertname="SLOCoverageLow", path=ONE.id)


async def test_a_pair_of_the_group_of_days(tmp_path) -> None:
    """It is looked at every four minutes, has longer panes, and a backlog does not blind it.

    A day of seven hours, with the same burn rate: windows above six are of that group.
    """
    long_s = 7 * HOUR
    fault_s = long_s + 5 * MINUTE
    end_s = fault_s + HOUR
    day = replace(PAIRS[2], budget_share=PAIRS[2].budget_share * 7 / 24, long_s=long_s)
    assert day.short == "2h"

    def happens(path: Path, at_s: int) -> Counted:
        if fault_s <= at_s < end_s:
            return ALL if path == ONE else Counted(bad=2)  # 4 %: half an hour in, enough
        return NONE

    def reaches(path: Path, at_s: int) -> int | None:
        return at_s + 10 if path in {ONE, OTHER} else None

    objective = replace(
        LOSS,
        alerts=AlertPolicy(pairs=(day,)),
        selector=PathSelector(paths=frozenset({ONE, OTHER})),
    )
    history = History(objective, end_s + 130 * MINUTE, happens, reaches, step_s=240)
    judged = await judge(history, tmp_path)
    check(judged)
    for path in (ONE, OTHER):
        fired = judged.fired(judged.rules, alertname="SLOBurnTicket", path=path.id, pair="7h/2h")
        assert fired == list(range(fired[0], fired[-1] + 1))
        assert fault_s < fired[0] * 240 < end_s < fired[-1] * 240
        assert fired[-1] < judged.steps - 1  # and was over in the end


@pytest.mark.parametrize("seed", [1, 2])
async def test_any_history(tmp_path, seed) -> None:
    chance = random.Random(seed)
    faults = [
        (
            chance.choice(PATHS),
            WARM_S + 10 * chance.randrange(150),
            chance.choice([2, 5, 10, 30]),
            chance.choice([2, 10, 50]),
        )
        for _ in range(8)
    ]
    silences = [
        (
            chance.choice(["london", "leeds", "dundee"]),
            WARM_S + 10 * chance.randrange(150),
            chance.choice([1, 4, 12]),
        )
        for _ in range(3)
    ]

    def happens(path: Path, at_s: int) -> Counted:
        bad = [
            b for p, start_s, minutes, b in faults if p == path and during(at_s, start_s, minutes)
        ]
        return Counted(bad=max(bad, default=0))

    def reaches(path: Path, at_s: int) -> int | None:
        silent = any(s == path.src and during(at_s, start_s, m) for s, start_s, m in silences)
        return None if silent else at_s + 10

    judged = await judge(History(LOSS, WARM_S + 35 * MINUTE, happens, reaches), tmp_path)
    check(judged)
    assert judged.fired(judged.engine, alertname="SLOBurnPage")
