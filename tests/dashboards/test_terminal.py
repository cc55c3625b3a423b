"""The terminal view: trouble first, nothing invented, readable without colour."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from dashboards.terminal import EstateView, PathRow, plain_lines, render

GOOD = PathRow(
    path="london:leeds/ef",
    scope="national",
    due=900,
    loss_ratio=0.0,
    p50_s=0.005,
    p99_s=0.007,
    p999_s=0.009,
    p999_bounded=False,
    jitter_s=0.001,
    budget_remaining_ratio=1.0,
    burn_5m=0.0,
    burning=False,
)
BURNING = replace(
    GOOD,
    path="london:edinburgh/ef",
    p99_s=0.130,
    loss_ratio=0.02,
    budget_remaining_ratio=-3.5,
    burn_5m=420.0,
    burning=True,
)
UNKNOWN = PathRow("leeds:dundee/be", "national", 0, *(None,) * 4, False, None, None, None, False)


def view(*rows, log=(), remaining_s=60.0) -> EstateView:
    return EstateView("netslo demo", 75.0, remaining_s, rows, 144, log)


def text_of(shown: EstateView, height=40, width=120) -> str:
    console = Console(width=width, height=height, record=True, file=io.StringIO())
    console.print(render(shown, height, width))
    return console.export_text()


def test_the_path_in_trouble_stands_first_with_a_mark() -> None:
    many = [replace(GOOD, path=f"a{i}:b/ef") for i in range(50)]
    lines = text_of(view(*many, BURNING), height=20).splitlines()
    rows = [line for line in lines if "/ef" in line]
    assert "london:edinburgh/ef" in rows[0]
    assert "▲" in rows[0]
    assert len(lines) <= 20
    assert any("more paths" in line for line in lines)


def test_the_headline_says_how_many_burn() -> None:
    assert "▲ 1 burning" in text_of(view(GOOD, BURNING))
    assert "none burning" in text_of(view(GOOD))
    assert "1:15, 1:00 left" in text_of(view(GOOD))


def test_figures_that_are_not_known_are_dashes() -> None:
    row = next(line for line in text_of(view(UNKNOWN)).splitlines() if "leeds:dundee" in line)
    assert row.split()[2:] == ["-"] * 7
    assert "0.00" not in row


def test_a_tail_that_too_few_samples_bound_is_marked() -> None:
    assert "9.00*" in text_of(view(GOOD))
    assert "9.00*" not in text_of(view(replace(GOOD, p999_bounded=True)))


def test_before_the_first_window_it_says_what_it_waits_for() -> None:
    assert "first windows" in text_of(view())


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_it_fits_any_terminal(width: int) -> None:
    shown = view(GOOD, BURNING, UNKNOWN, log=("12:00:00  INCIDENT begins",))
    text = text_of(shown, width=width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "INCIDENT" in text


def test_plain_lines_have_a_line_per_scope_and_one_per_burning_path() -> None:
    lines = plain_lines(view(GOOD, replace(GOOD, scope="edge", path="a:b/ef"), BURNING))
    assert [line.split()[0] for line in lines[1:]] == ["edge", "national", "BURNING"]
    assert "420.0x" in lines[-1]
    assert "worst p99 130.00 ms (london:edinburgh/ef)" in lines[2]
