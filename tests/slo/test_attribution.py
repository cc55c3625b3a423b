"""Attribution adds up to every bad event, and finds the incidents that were put in."""

from __future__ import annotations

import io
import json
from contextlib import closing
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from analytics.store.sqlite import SqliteStore
from analytics.windows import Batch, PathWindow, SeriesKey, SloCounts
from netslo.model import Path, Window
from slo.attribution.attribution import attribute
from slo.attribution.incidents import GAP_S, Run, group, runs_in
from slo.attribution.report import report, to_json
from slo.backtest.sums import Sums
from slo.budget import MissingData
from slo.burn import Severity
from slo.exclusion import Covers, Exclusion
from slo.objective import PathSelector

STEP_S, DAY_S = 300, 86_400
END_S = 1_790_000_000 // DAY_S * DAY_S
START_S = END_S - 8 * 3600
DEAD = "leeds"
PATHS = (
    Path("london", DEAD, "ef"),
    Path("reading", DEAD, "ef"),
    Path("london", "reading", "ef"),
    Path("brighton", "reading", "ef"),
)
PACKETS = 300


def lost_in(path: Path, at_s: int) -> int:
    """A site dies for half an hour; elsewhere one path is poor for an hour; some get lost."""
    hour = (at_s - START_S) / 3600
    if DEAD in (path.src, path.dst) and 4 <= hour < 4.5:
        return PACKETS
    if path == PATHS[3] and 6 <= hour < 7:
        return 12
    return int(at_s % 7200 == 0)


@pytest.fixture(scope="module")
def objective(latency):
    return replace(latency, selector=PathSelector(paths=frozenset(PATHS)), window_s=7 * DAY_S)


@pytest.fixture(scope="module")
def store(tmp_path_factory, objective):
    windows = tuple(
        PathWindow(
            SeriesKey(path),
            Window(at_s),
            slo={objective.name: SloCounts(PACKETS - lost_in(path, at_s), lost_in(path, at_s), 2)},
        )
        for path in PATHS
        for at_s in range(START_S, END_S, STEP_S)
    )
    with closing(SqliteStore.open(tmp_path_factory.mktemp("attribution") / "s.db")) as kept:
        kept.declare_objectives({objective.name: "0.999"}, START_S)
        kept.append(Batch("london", "one", 1, windows), END_S)
        yield kept


@pytest.fixture
def estate(new_estate):
    return new_estate(STEP_S / PACKETS)


def found_in(store, objective, estate, exclusions=()):
    return attribute(store, objective, estate, PATHS, (START_S, END_S), [(0, "0.999")], exclusions)


def test_every_bad_event_belongs_somewhere(store, objective, estate) -> None:
    found = found_in(store, objective, estate)
    burnt = sum(lost_in(p, at_s) for p in PATHS for at_s in range(START_S, END_S, STEP_S))
    assert found.total.bad == burnt
    assert sum(found.by_path().values()) == burnt
    assert sum(found.by_source().values()) == sum(found.by_destination().values()) == burnt
    assert sum(each.bad for each in found.incidents) + found.scattered == burnt
    assert found.scattered == sum(
        lost_in(p, at_s) == 1 for p in PATHS for at_s in range(START_S, END_S, STEP_S)
    )
    assert next(iter(found.by_destination())) == DEAD


def test_a_dead_site_is_one_incident_and_another_fault_is_another(store, objective, estate) -> None:
    dead, poor = found_in(store, objective, estate).incidents
    assert (dead.site, dead.severity) == (DEAD, Severity.PAGE)
    assert set(dead.paths) == set(PATHS[:2])
    assert (dead.start_s, dead.end_s) == (START_S + 4 * 3600, START_S + 4 * 3600 + 1800)
    assert dead.bad == 2 * 6 * PACKETS
    assert (poor.site, poor.paths) == (None, PATHS[3:])
    assert (poor.start_s, poor.end_s) == (START_S + 6 * 3600, START_S + 7 * 3600)
    assert poor.bad == 12 * 12


def test_what_is_excluded_belongs_to_nothing(store, objective, estate) -> None:
    covers = Covers(sites=frozenset({DEAD}))
    times = START_S + 4 * 3600, START_S + 5 * 3600
    exclusion = Exclusion("x", *times, "alice", "fibre", 0, covers)
    found = found_in(store, objective, estate, [exclusion])
    assert [each.paths for each in found.incidents] == [PATHS[3:]]
    assert found.total.bad == sum(each.bad for each in found.incidents) + found.scattered


def test_missing_data_that_is_bad_adds_up_too(store, objective, estate) -> None:
    found = found_in(store, replace(objective, missing_data=MissingData.BAD), estate)
    assert found.total.bad == sum(each.bad for each in found.incidents) + found.scattered
    assert found.total.bad > found_in(store, objective, estate).total.bad


def test_the_report_and_json_have_all_of_it(store, objective, estate) -> None:
    found = found_in(store, objective, estate)
    shape = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert shape["bad_events"] == shape["in_no_incident"] + sum(
        each["bad_events"] for each in shape["incidents"]
    )
    for part in ("paths", "source_sites", "destination_sites"):
        assert sum(each["bad_events"] for each in shape[part]) == shape["bad_events"]
    console = Console(width=200, file=io.StringIO(), color_system=None)
    console.print(report(found))
    assert isinstance(console.file, io.StringIO)
    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    assert any(line.endswith("leeds, 2 paths page 3,600 95.8 % 6250.0 %") for line in lines), lines
    assert "in no incident 13 0.3 %" in lines


_STEP = st.tuples(st.integers(0, 50), st.sampled_from([0, 0, 0, 1, 3, 50]))


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(st.lists(_STEP, min_size=24, max_size=24), min_size=1, max_size=3),
    shares=st.sampled_from(
        [((0, Fraction(1, 1000)),), ((0, Fraction(1, 10)), (10, Fraction(1, 100)))]
    ),
)
def test_runs_are_those_found_step_by_step(rows, shares) -> None:
    events, bad = np.array(rows, dtype=np.uint32).transpose(2, 0, 1)
    bad = np.minimum(events, bad)
    sums = Sums.of(events, bad, np.zeros_like(bad), shares)
    paths = [Path("a", f"b{row}", "ef") for row in range(len(rows))]
    found = runs_in(sums, paths, 0, STEP_S, 1)
    for row, path in enumerate(paths):
        mine = [run for run in found if run.path == path]
        covered = {
            step for run in mine for step in range(run.start_s // STEP_S, run.end_s // STEP_S)
        }
        assert len(covered) == sum(run.end_s - run.start_s for run in mine) // STEP_S  # disjoint
        for run in mine:
            low, high = run.start_s // STEP_S, run.end_s // STEP_S
            assert run.bad == bad[row, low:high].sum()
            burns = [
                bool(bad[row, at] > share_at(shares, at) * int(events[row, at]))
                for at in range(low, high)
            ]
            assert burns[0]
            assert burns[-1]
            # Never a longer pause inside, nor a burning step close by outside.
            pauses = "".join("x" if b else "." for b in burns).split("x")
            assert max(map(len, pauses)) <= GAP_S // STEP_S
            near = [*range(max(0, low - GAP_S // STEP_S - 1), low)]
            assert not any(
                bad[row, at] > share_at(shares, at) * int(events[row, at]) for at in near
            )


def share_at(shares, step: int) -> Fraction:
    return [share for first, share in shares if first <= step][-1]


def test_runs_that_begin_apart_or_share_no_site_are_not_one() -> None:
    def run(src: str, dst: str, start_s: int) -> Run:
        return Run(Path(src, dst, "ef"), start_s, start_s + 86_400, 5, Fraction(1))

    together = [run("a", "b", 0), run("c", "b", 600), run("b", "d", 1200)]
    apart = [run("e", "f", 0), run("a", "b", 9000)]
    found = group([*apart, *together])
    assert sorted(len(each.runs) for each in found) == [1, 1, 3]
    assert found[0].site == "b"
