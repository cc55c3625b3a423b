from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction

import pytest
from rich.console import Console

from netslo.model import Path
from slo.forecast.exhaustion import Dates, Exhaustion
from slo.ranges import Ranges
from slo.status import evaluate
from slo.table import QUIET_ROWS_MAX, by_trouble, status_table

COVERAGE_MIN = Fraction(0)  # a window says something from its first event on
NOW_S = 1_800_000_000
NORTH = Path("london", "leeds", "ef")


@pytest.fixture(scope="module")
def estate(new_estate):
    return new_estate(600.0)  # few packets, of which few bad ones are news


@pytest.fixture
def statuses(store, estate, latency, loss):
    store.add(NOW_S - 60, NORTH, latency, good=900, bad=100)
    store.add(NOW_S - 60, NORTH.reverse, latency, good=999, bad=2)
    store.add(NOW_S - 60, NORTH, loss, good=1000)
    return evaluate(Ranges(store), [latency, loss], estate, NOW_S)


def draw(statuses, width=160, *, everything=False) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(status_table(statuses, everything=everything, width=width))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_trouble_comes_first_and_the_unknown_last(statuses):
    states = [line.split()[0] for line in draw(statuses)[1:4]]
    assert states == ["PAGE", "OVERSPENT", "ok"]
    assert by_trouble(statuses)[-1].events == 0


def test_a_row_says_in_words_what_its_colour_says(statuses):
    row = draw(statuses)[1].split()
    assert row == [
        "PAGE", "national-latency", "london:leeds/ef", "99.9", "100.0", "ms", "100", "1,000",
        "24.8", "%",
        "░░░░░░░░░░", "-9900.0", "%", "100.00", "100.00", "100.00", "100.00",
    ]  # fmt: skip


def test_how_much_a_budget_rests_on_is_said(statuses):
    assert "budgets rest on less than half a period" in " ".join(draw(statuses))
    whole = [replace(status, coverage=0.5) for status in statuses]
    assert "rest on less" not in " ".join(draw(whole))


def test_no_data_is_not_said_to_be_unmeasured_where_it_is_excluded(store, estate, loss):
    nothing = evaluate(Ranges(store), [loss], estate, NOW_S)
    assert draw(nothing)[-1] == "No data: nothing was measured in the last 28d."
    excluded = [replace(status, remaining_with_excluded=0.5) for status in nothing]
    assert "No data: all that was measured in the last 28d is excluded." in draw(excluded)


def test_a_target_is_never_shown_as_all(store, estate, loss):
    store.add(NOW_S - 60, NORTH, loss, good=1000)
    strict = replace(loss, target_text="0.99999999")
    row = draw(evaluate(Ranges(store), [strict], estate, NOW_S))[1].split()
    assert row[3] == "99.999999"


@pytest.mark.parametrize("width", [80, 100, 150])
def test_no_line_is_wider_than_the_terminal_and_no_name_is_cut(statuses, width):
    lines = draw(statuses, width)
    assert max(map(len, lines)) <= width
    assert "london:leeds/ef" in lines[1]
    assert not any("…" in line for line in lines[:-3])


def test_only_a_screenful_of_what_is_well_is_shown_unless_all_is_asked_for(statuses):
    assert f"and {36 - QUIET_ROWS_MAX} more" in draw(statuses)[-3]
    assert len(draw(statuses, everything=True)) == 1 + 36 + 2


def test_all_in_trouble_is_shown_however_much(store, estate, loss):
    for path in estate.paths:
        store.add(NOW_S - 60, path, loss, bad=10)
    lines = draw(evaluate(Ranges(store), [loss], estate, NOW_S))
    assert sum(line.startswith("PAGE") for line in lines) == 24
    assert lines[-1] == "24 of 24 budgets in trouble."


@pytest.mark.parametrize(
    ("bad", "cells"),
    [(0, 10), (1, 9), (50, 5), (99, 1), (100, 0), (101, 0)],
    ids=str,
)
def test_a_bar_is_full_only_when_whole_and_empty_only_when_spent(store, estate, loss, bad, cells):
    store.add(NOW_S - 60, NORTH, loss, good=10_000 - bad, bad=bad)
    lines = draw(evaluate(Ranges(store), [loss], estate, NOW_S))
    assert lines[1].count("█") == cells
    assert lines[1].count("░") == 10 - cells


@pytest.mark.parametrize(
    ("dates", "said"),
    [
        ((86_400 * 3, 86_400 * 9.2, None), "9 d (3 d - never)"),
        ((5400, 7200, 86_400), "2 h (90 min - 24 h)"),
        ((86_400, None, None), "never (24 h - never)"),
        ((None, None, None), "never, but for 5.0%"),
    ],
)
def test_a_wide_table_says_when_budgets_are_used_up(store, estate, loss, dates, said):
    store.add(NOW_S - 7200, NORTH, loss, good=1000)
    chance = 0.05 if dates[0] is None else 0.6
    ends = (None if after_s is None else NOW_S + after_s for after_s in dates)
    known = Exhaustion(Dates(*ends, chance, NOW_S + loss.window_s))
    found = evaluate(Ranges(store), [loss], estate, NOW_S, exhaustions={("loss", NORTH): known})
    assert draw(found, 200)[1].endswith(said)
    assert draw(found, 200)[2].endswith("-")


def test_in_an_alert_the_present_rate_counts(statuses):
    rows = draw(statuses, 200)
    assert rows[1].endswith("used up")


def test_what_is_left_lasts_as_long_as_it_burns(store, estate, loss):
    store.add(NOW_S - 90_000, NORTH, loss, good=100_000)
    store.add(NOW_S - 60, NORTH, loss, good=90, bad=10)
    (found,) = (s for s in evaluate(Ranges(store), [loss], estate, NOW_S) if s.path == NORTH)
    # 10 of 1,001 are spent, and it goes on at ten times the rate of a period.
    assert found.lasts_s == pytest.approx((1 - 10 / 1001) * loss.window_s / 10)
    assert draw([found], 200)[1].endswith("3 d at burn 1h")
