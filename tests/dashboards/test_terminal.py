"""The terminal view: trouble first, nothing invented, readable without colour."""

import io
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
    burn=0.0,
    burning=False,
)
BURNING = replace(
    GOOD,
    path="london:edinburgh/ef",
    p99_s=0.130,
    loss_ratio=0.02,
    budget_remaining_ratio=-3.5,
    burn=420.0,
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


def test_a_figure_that_the_probes_host_could_explain_is_marked_and_the_mark_explained() -> None:
    near = replace(GOOD, p50_s=0.00002, p99_s=0.00009, near_floor=frozenset({"0.5", "0.999"}))
    shown = text_of(view(near, BURNING))
    assert "~0.02" in shown
    assert "0.09" in shown
    assert "~0.09" not in shown
    assert "~9.00*" in shown
    assert "~ less than three noise floors" in shown
    assert "~" not in text_of(view(GOOD, BURNING))


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


LONG_LOG = tuple(
    f"12:00:0{i}  INCIDENT begins on london:edinburgh/ef: +60 ms one way, 2 % loss, until 12:02"
    for i in range(7)
)


@pytest.mark.parametrize(
    "log", [(), LONG_LOG[:1], LONG_LOG], ids=["no log", "a line", "a long log"]
)
@pytest.mark.parametrize("paths", [0, 1, 30, 144])
@settings(deadline=None)  # a busy machine is no fault
@given(width=st.integers(50, 250), height=st.integers(8, 80))
def test_it_fits_any_terminal(log, paths, width, height) -> None:
    rows = [replace(BURNING, path=f"london:site{i}/ef") for i in range(paths)]
    lines = text_of(view(*rows, log=log), height=height, width=width).splitlines()
    assert len(lines) < height
    assert all(len(line) <= width for line in lines)
    assert not log or any("INCIDENT" in line for line in lines)
    assert sum("▲ " in line for line in lines[1:]) >= min(paths, 1)


@settings(deadline=None)  # a busy machine is no fault
@given(width=st.integers(50, 250), name=st.text("abcdefgh-", min_size=1, max_size=63))
def test_no_figure_is_ever_cut_however_long_the_names_are(width, name) -> None:
    shown = view(replace(BURNING, path=f"{name}:{name}/ef"), GOOD)
    rows = text_of(shown, width=width).splitlines()[2:4]
    for row, p99, loss, budget in zip(
        rows, ("130.00", "7.00"), ("2.00 %", "0.00 %"), ("-350 %", "100 %"), strict=True
    ):
        figures = row.split("/ef")[-1].split("…")[-1]
        assert p99 in figures
        assert loss in figures
        assert budget in figures


def test_a_narrow_terminal_does_without_the_lesser_columns() -> None:
    def headings(width: int) -> str:
        return text_of(view(GOOD), width=width).splitlines()[1]

    assert "jitter" in headings(120)
    assert "scope" in headings(120)
    assert "jitter" not in headings(80)
    assert "p99.9" in headings(80)
    assert {"path", "p99", "loss", "budget"} <= set(headings(50).split())


def test_a_long_title_is_cut_before_the_verdict() -> None:
    shown = replace(view(BURNING), title="netslo demo · nine UK sites over an emulated WAN")
    headline = text_of(shown, width=70).splitlines()[0]
    assert headline.startswith("netslo demo")
    assert headline.endswith("▲ 1 burning")


def test_what_is_left_out_is_not_called_good() -> None:
    many = [replace(BURNING, path=f"a{i}:b/ef") for i in range(20)]
    left = next(line for line in text_of(view(*many), height=15).splitlines() if "more" in line)
    shown = text_of(view(*many), height=15).count("/ef")
    assert left == f"… and {20 - shown} more paths, {20 - shown} of them burning"
    fine = [replace(GOOD, path=f"a{i}:b/ef") for i in range(20)]
    assert "none of them burning" in text_of(view(*fine), height=15)


def test_an_old_entry_of_the_log_gives_way_to_a_new_one() -> None:
    text = text_of(view(GOOD, log=LONG_LOG), height=24, width=80)
    assert "12:00:06" in text
    assert "12:00:00" not in text


def test_plain_lines_have_a_line_per_scope_and_one_per_burning_path() -> None:
    lines = plain_lines(view(GOOD, replace(GOOD, scope="edge", path="a:b/ef"), BURNING))
    assert [line.split()[0] for line in lines[1:]] == ["edge", "national", "BURNING"]
    assert "420.0x" in lines[-1]
    assert "worst p99 130.00 ms (london:edinburgh/ef)" in lines[2]
