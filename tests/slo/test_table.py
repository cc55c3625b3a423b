from __future__ import annotations

import io

import pytest
from rich.console import Console

from netslo.model import Path
from slo.ranges import Ranges
from slo.status import evaluate
from slo.table import QUIET_ROWS_MAX, by_trouble, status_table

NOW_S = 1_800_000_000
NORTH = Path("london", "leeds", "ef")


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
        "PAGE", "national-latency", "london:leeds/ef", "99.9", "100.0", "100", "1,000",
        "░░░░░░░░░░", "-9900.0", "%", "100.00", "100.00", "100.00", "100.00",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [80, 100, 150])
def test_no_line_is_wider_than_the_terminal_and_no_name_is_cut(statuses, width):
    lines = draw(statuses, width)
    assert max(map(len, lines)) <= width
    assert "london:leeds/ef" in lines[1]
    assert not any("…" in line for line in lines[:-2])


def test_only_a_screenful_of_what_is_well_is_shown_unless_all_is_asked_for(statuses):
    assert f"and {36 - QUIET_ROWS_MAX} more" in draw(statuses)[-2]
    assert len(draw(statuses, everything=True)) == 1 + 36 + 1


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
