from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from fractions import Fraction

import pytest

from analytics.store.sqlite import SqliteStore
from analytics.windows import Batch, PathWindow, SeriesKey, SloCounts
from netslo.model import Path, Window
from slo.budget import Spend
from slo.exclusion import Covers, Exclusion
from slo.objective import Indicator
from slo.slice_totals import SliceTotals
from slo.slices import TimeSlices

T0 = 1_800_000_000
HOUR_S = 3600
NORTH = Path("london", "leeds", "ef")
KEY = ("up", NORTH)


@pytest.fixture
def up(loss):
    return replace(
        loss,
        name="up",
        indicator=Indicator.AVAILABILITY,
        target_text="0.9",
        slices=TimeSlices(60, Fraction(1, 2)),
    )


class Bench:
    """A store, a clock and a file; what a process would hold is made anew by `restart`."""

    def __init__(self, folder, objective):
        self.store = SqliteStore.open(folder / "store.sqlite")
        self.store.declare_objectives({"up": objective.target_text}, T0 - 86400)
        self.objective, self.file = objective, folder / "slices.json"
        self.now_s, self.sequence, self.exclusions = float(T0), 0, ()
        self.restart()

    def restart(self):
        self.totals = SliceTotals(
            self.store, [self.objective], self.file, self.exclusions, lambda: self.now_s
        )

    def keep(self, start_s, good, bad):
        self.sequence += 1
        window = PathWindow(SeriesKey(NORTH), Window(start_s), slo={"up": SloCounts(good, bad)})
        self.store.append(Batch("london", "t", self.sequence, (window,)), self.now_s)

    def read(self, now_s):
        self.now_s = now_s
        return self.totals.read().get(KEY, Spend())


@pytest.fixture
def bench(tmp_path, up):
    bench = Bench(tmp_path, up)
    with closing(bench.store):
        yield bench


def test_counters_that_begin_anew_for_a_lost_file_are_said(bench, caplog):
    bench.keep(T0, 5, 0)
    bench.read(T0 + 120)
    bench.restart()
    assert "begin anew" not in caplog.text
    bench.file.unlink()
    bench.restart()
    assert "slices.json is not there: the counters of up in /metrics begin anew" in caplog.text


def test_slices_are_counted_once_through_settling_and_restarts(bench):
    for n in range(10):
        bench.keep(T0 + 60 * n, 0 if n < 2 else 5, 5 if n < 2 else 0)
    for now_s in (T0 + 600, T0 + 700, T0 + 8 * HOUR_S, T0 + 9 * HOUR_S, T0 + 30 * HOUR_S):
        assert bench.read(now_s) == Spend.under(Fraction("0.9"), 10, 2)
        bench.restart()
        assert bench.read(now_s) == Spend.under(Fraction("0.9"), 10, 2)


def test_what_has_settled_outlives_its_windows(bench):
    bench.keep(T0, 0, 5)
    bench.read(T0 + 8 * HOUR_S)
    later_s = T0 + 40 * 86400
    bench.keep(later_s - 3600, 5, 0)
    bench.store.maintain(later_s)
    bench.restart()
    assert bench.read(later_s).bad == 1


def test_a_slice_that_a_late_window_makes_better_is_not_taken_back_even_by_a_restart(bench):
    bench.keep(T0, 0, 5)
    assert bench.read(T0 + 100).bad == 1
    bench.keep(T0 + 10, 50, 0)
    assert bench.read(T0 + 200).bad == 1
    bench.restart()  # as after a kill: nothing was said to be closed
    assert bench.read(T0 + 300).bad == 1


@pytest.mark.parametrize(("declared_s", "bad"), [(T0 - 1000, 0), (T0 + 1, 1), (T0 + 1000, 2)])
def test_exclusions_count_from_the_boundary_after_they_were_declared(bench, declared_s, bad):
    for start_s in (T0, T0 + 300):
        bench.keep(start_s, 0, 5)
    covers = Covers(paths=frozenset({NORTH}))
    bench.exclusions = (Exclusion("x", T0, T0 + 600, "a", "r", declared_s, covers),)
    bench.restart()
    assert bench.read(T0 + 700).bad == bad


def test_an_exclusion_that_a_restart_reads_late_neither_takes_back_nor_stands_still(bench):
    for start_s in range(T0, T0 + 3600, 60):
        bench.keep(start_s, 0, 5)
    assert bench.read(T0 + 3600).bad == 60
    covers = Covers(paths=frozenset({NORTH}))
    bench.exclusions = (Exclusion("x", T0, T0 + 4200, "a", "r", T0 - 60, covers),)
    bench.restart()
    for start_s in range(T0 + 3600, T0 + 4800, 60):
        bench.keep(start_s, 0, 5)
    assert bench.read(T0 + 4800).bad == 70  # 60 as before, and 10 after the end
    bench.exclusions = ()
    bench.restart()
    assert bench.read(T0 + 4800).bad == 70


def test_an_exclusion_planned_while_it_runs_counts_from_then_on(bench):
    bench.keep(T0, 0, 5)
    assert bench.read(T0 + 100).bad == 1
    covers = Covers(paths=frozenset({NORTH}))
    bench.totals.exclude([Exclusion("x", T0 + 600, T0 + 900, "a", "r", T0 + 200, covers)])
    bench.keep(T0 + 600, 0, 5)
    assert bench.read(T0 + 800).bad == 1


def test_packets_never_stand_in_for_slices(bench):
    packets = {KEY: Spend(events=1000), ("loss", NORTH): Spend(events=7)}
    assert bench.totals.over(packets) == {("loss", NORTH): Spend(events=7)}


def test_a_file_that_cannot_be_read_is_said_and_not_fatal(bench, caplog):
    bench.file.write_text("{")
    bench.restart()
    assert "slices are counted anew" in caplog.text
    assert bench.read(T0 + 60) == Spend()


@pytest.mark.parametrize(
    "content",
    [
        '{"until": Infinity, "totals": [], "held": []}',
        '{"until": 0, "totals": [["up", "london:leeds/ef", 1, 1, 0, "1/0", "0"]], "held": []}',
        '{"until": 0, "totals": [["up", "london:leeds/ef", -1, 1, 0, "1", "0"]], "held": []}',
        "[" * 100_000,
    ],
)
def test_a_file_that_says_what_cannot_be_is_not_fatal(bench, content, caplog):
    bench.file.write_text(content)
    bench.restart()
    assert "slices are counted anew" in caplog.text
    bench.keep(T0, 0, 5)
    assert bench.read(T0 + 60).bad == 1


def test_a_clock_that_was_a_month_ahead_ends_the_counting_for_an_hour_at_most(bench):
    bench.keep(T0, 0, 5)
    assert bench.read(T0 + 60).bad == 1
    assert bench.read(T0 + 30 * 86400).bad == 1
    assert bench.read(T0 + 120).bad == 1
    bench.restart()
    bench.keep(T0 + 2 * HOUR_S, 0, 5)
    assert bench.read(T0 + 2 * HOUR_S + 60).bad == 2


def test_without_such_objectives_nothing_is_asked(store, latency):
    assert SliceTotals(store, [latency]).read() == {}
    assert store.queries == 0
