"""Counters that never go back, whatever is excluded and whenever."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netslo.model import Path
from slo.exclusion import Covers, Exclusion
from slo.exclusion_log import Revocation, in_force, taken_back
from slo.ranges import Ranges
from slo.totals import PersistentTotals

T0 = 1_800_000_000
NORTH, SOUTH = Path("london", "leeds", "ef"), Path("leeds", "london", "ef")
KEYS = [("national-latency", NORTH), ("national-latency", SOUTH)]


def planned(start_s: int, end_s: int, path: Path = NORTH, name: str = "x1", **changes) -> Exclusion:
    return Exclusion(
        name,
        start_s,
        end_s,
        "alice",
        "CHG-1",
        changes.get("declared_s", start_s - 60),
        Covers(paths=frozenset({path})),
    )


@dataclass
class Clock:
    now_s: float = T0

    def __call__(self) -> float:
        return self.now_s


def test_planned_times_are_not_counted_and_later_ones_stay_counted(store, latency) -> None:
    for start_s, path in ((T0 - 600, NORTH), (T0 - 300, NORTH), (T0 - 300, SOUTH)):
        store.add(start_s, path, latency, good=90, bad=10)
    off = planned(T0 - 300, T0)
    totals = PersistentTotals(store, exclusions=[off], clock=Clock())
    assert {path: spend.bad for (_, path), spend in totals.read().items()} == {NORTH: 10, SOUTH: 10}
    late = planned(T0 - 600, T0, declared_s=T0)
    assert PersistentTotals(store, exclusions=[late], clock=Clock()).read()[KEYS[0]].bad == 20


def test_burn_rates_leave_out_both_kinds(store, latency) -> None:
    store.add(T0 - 300, NORTH, latency, good=90, bad=10)
    store.add(T0 - 300, SOUTH, latency, good=90, bad=10)
    store.add(T0 - 290, NORTH, latency, good=90, bad=1)
    for declared_s in (T0 - 9000, T0):
        off = planned(T0 - 300, T0, declared_s=declared_s)
        found = Ranges(store, [off]).read(T0, [3600])[3600]
        assert set(found) == {KEYS[1]}
        assert found[KEYS[1]].bad == 10


def test_what_was_excluded_stays_so_when_its_windows_have_expired(
    store, latency, tmp_path, new_store
) -> None:
    store.add(T0 - 600, NORTH, latency, good=90, bad=10)
    store.add(T0 - 300, NORTH, latency, good=90, bad=10)
    clock, file = Clock(), tmp_path / "excluded.json"
    totals = PersistentTotals(store, file, [planned(T0 - 300, T0)], clock)
    assert totals.read()[KEYS[0]].bad == 10
    totals.note()
    clock.now_s += 90 * 86_400
    expired = new_store()
    expired.slo_totals = store.slo_totals
    again = PersistentTotals(expired, file, [planned(T0 - 300, T0)], clock)
    assert again.read()[KEYS[0]].bad == 10


def test_a_file_that_is_lost_is_made_anew_of_the_windows(store, latency, tmp_path, caplog) -> None:
    store.add(T0 - 600, NORTH, latency, good=90, bad=10)
    store.add(T0 - 300, NORTH, latency, good=90, bad=10)
    clock, file, off = Clock(), tmp_path / "excluded.json", [planned(T0 - 300, T0)]
    before = PersistentTotals(store, file, off, clock)
    assert before.read()[KEYS[0]].bad == 10
    before.note()
    file.unlink()
    again = PersistentTotals(store, file, off, clock)
    assert again.read()[KEYS[0]].bad == 10
    assert not caplog.text
    again.note()
    assert file.exists()


@pytest.mark.parametrize("content", [None, "{"])
def test_a_file_that_is_lost_is_made_anew_of_what_was_taken_back_too(
    store, latency, tmp_path, content
) -> None:
    clock, file = Clock(T0 - 3600), tmp_path / "excluded.json"
    off = planned(T0 - 3000, T0 + 3000, declared_s=T0 - 3700)
    totals, key = PersistentTotals(store, file, [off], clock), KEYS[0]
    for at_s in range(T0 - 3600, T0 + 3600, 300):
        clock.now_s = at_s + 20
        if at_s == T0 - 600:
            totals.exclude([])  # it was put off
        store.add(at_s, NORTH, latency, good=90, bad=1)
        totals.read()
    before = totals.read()[key]
    clock.now_s += 10
    assert (before.bad, totals.read()[key]) == (24 - 9, before)
    log = [off, Revocation("x1", "bob", "put off", T0 - 580)]
    file.unlink() if content is None else file.write_text(content)
    again = PersistentTotals(store, file, in_force(log), clock, taken_back=taken_back(log))
    assert again.read()[key] == before
    assert PersistentTotals(store, file, in_force(log), clock).read()[key] == before


def test_what_was_taken_back_before_it_began_was_never_left_out() -> None:
    off, other = planned(T0, T0 + 600), planned(T0 - 900, T0 - 300, name="x2")
    never = Revocation("x1", "bob", "put off", T0 - 30)
    late = Revocation("x2", "bob", "it was Reading", T0 + 9000)
    assert taken_back([off, never]) == ()
    assert taken_back([off, other, never, late]) == (other,)
    assert taken_back([off, Revocation("x1", "bob", "done", T0 + 1)]) == (planned(T0, T0 + 300),)


def test_a_file_that_is_lost_with_figures_that_have_expired_is_said(
    store, latency, tmp_path, caplog
) -> None:
    store.add(T0 - 300, NORTH, latency, bad=1)
    old = [planned(T0 - 410 * 86_400, T0 - 409 * 86_400, name="CHG-7")]
    file = tmp_path / "excluded.json"
    totals = PersistentTotals(store, file, old, Clock())
    assert totals.read()[KEYS[0]].bad == 1
    totals.note()
    assert caplog.text.count("CHG-7") == 1


@pytest.mark.parametrize("content", ["", "[1]", '[[0, 1, [["a", "b", 1, 1, 1, "0", "0"]]]]'])
def test_a_file_that_cannot_be_read_is_said_and_not_fatal(
    store, latency, tmp_path, content, caplog
) -> None:
    file = tmp_path / "excluded.json"
    file.write_text(content)
    store.add(T0 - 300, NORTH, latency, bad=1)
    assert PersistentTotals(store, file, clock=Clock()).read()[KEYS[0]].bad == 1
    assert "cannot be read" in caplog.text


def test_an_exclusion_that_a_restart_reads_late_neither_takes_back_nor_stands_still(
    store, latency, tmp_path
) -> None:
    clock, file, key = Clock(), tmp_path / "excluded.json", KEYS[0]

    def lose(start_s: int, end_s: int) -> None:
        for at_s in range(start_s, end_s, 300):
            store.add(at_s, NORTH, latency, good=1000, bad=500)

    lose(T0 - 7200, T0)
    assert PersistentTotals(store, file, clock=clock).read()[key].bad == 12_000
    off = planned(T0 - 3600, T0 + 3600)
    assert PersistentTotals(store, file, [off], clock).read()[key].bad == 12_000
    lose(T0, T0 + 3900)
    clock.now_s = T0 + 3900
    assert PersistentTotals(store, file, [off], clock).read()[key].bad == 12_500
    # Nor does taking it back make what is over look as if it were now.
    assert PersistentTotals(store, file, [], clock).read()[key].bad == 12_500


def test_what_a_collector_missed_while_it_was_down_is_left_out(store, latency, tmp_path) -> None:
    clock, file = Clock(), tmp_path / "excluded.json"
    store.add(T0 - 10, NORTH, latency, bad=1)
    assert PersistentTotals(store, file, clock=clock).read()[KEYS[0]].bad == 1
    clock.now_s = T0 + 7200
    again = PersistentTotals(store, file, [planned(T0, T0 + 3600)], clock)
    store.add(T0 + 600, NORTH, latency, bad=1)  # a probe's spool
    assert again.read()[KEYS[0]].bad == 1


@pytest.mark.parametrize(("late_s", "bad"), [(-1, 0), (1, 1), (301, 2), (7200, 24)])
def test_what_is_declared_when_it_has_begun_is_left_out_from_the_next_boundary(
    store, latency, late_s, bad
) -> None:
    for at_s in range(T0, T0 + 7200, 300):
        store.add(at_s, NORTH, latency, bad=1)
    off = planned(T0, T0 + 7200, declared_s=T0 + late_s)
    totals = PersistentTotals(store, exclusions=[off], clock=Clock(T0 + 7200))
    assert totals.read()[KEYS[0]].bad == bad


def test_a_file_without_times_is_taken_to_know_all_that_is_declared(
    store, latency, tmp_path
) -> None:
    file = tmp_path / "excluded.json"
    rows = [["national-latency", NORTH.id, 9, 4, 0, "9/1000", "0"]]
    file.write_text(json.dumps([[T0 - 300, T0, rows]]))
    store.add(T0 - 600, NORTH, latency, good=15, bad=5)
    totals = PersistentTotals(store, file, [planned(T0 - 300, T0)], Clock())
    assert totals.read()[KEYS[0]].bad == 1


_SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8), st.booleans()), max_size=3)


@settings(deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 400),
            st.integers(0, 20),
            st.sampled_from([NORTH, SOUTH]),
            st.integers(0, 9),
            st.one_of(st.none(), st.tuples(st.booleans(), _SPANS)),
        ),
        max_size=20,
    ),
)
def test_a_counter_never_goes_back_whatever_is_declared_when(
    steps, new_store, latency, tmp_path_factory
) -> None:
    """Time goes on, windows come late, exclusions come and go, read in time or by a restart."""
    store, clock = new_store(), Clock()
    file = tmp_path_factory.mktemp("totals") / "excluded.json"
    totals, before, ever = PersistentTotals(store, file, clock=clock), {}, []
    for passes_s, ago, path, bad, change in steps:
        clock.now_s += passes_s
        if change is not None:
            restart, spans = change
            off = [
                planned(
                    T0 + 300 * (at - 10),
                    T0 + 300 * (at - 10 + length),
                    name=f"x{n}",
                    declared_s=T0 - 9000 if early else int(clock.now_s),
                )
                for n, (at, length, early) in enumerate(spans)
            ]
            ever += off
            if restart:  # as after a kill: nothing is noted
                totals = PersistentTotals(store, file, off, clock)
            else:
                totals.exclude(off)
        at_s = int(clock.now_s) // 10 * 10 - 120 * ago
        store.add(at_s, path, latency, good=5, bad=bad)
        clock.now_s += 5
        now = totals.read()
        for key, spend in before.items():
            assert now[key].at_least(spend) == now[key]
        before = dict(now)
    for _, path in KEYS:
        all_of_it = [row for row in store.rows if row[1] == path]
        if all_of_it:
            never = [
                row for row in all_of_it
                if path != NORTH or not any(x.start_s <= row[0] < x.end_s for x in ever)
            ]  # fmt: skip
            found = before[latency.name, path].bad
            assert sum(r[4].bad for r in never) <= found <= sum(r[4].bad for r in all_of_it)


@settings(deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 20), st.sampled_from([NORTH, SOUTH]), st.integers(0, 9)),
        max_size=25,
    ),
    spans=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 8)), max_size=4),
    restarts=st.sets(st.integers(0, 25)),
)
def test_a_counter_never_goes_back(
    steps, spans, restarts, new_store, latency, tmp_path_factory
) -> None:
    store, clock = new_store(), Clock()
    file = tmp_path_factory.mktemp("totals") / "excluded.json"
    off = [
        planned(T0 + 300 * at, T0 + 300 * (at + length), name=f"x{n}")
        for n, (at, length) in enumerate(spans)
    ]
    totals, before = PersistentTotals(store, file, off, clock), {}
    for number, (at, path, bad) in enumerate(steps):
        clock.now_s = T0 + 300 * 21 + 10 * number
        store.add(T0 + 300 * at + 10, path, latency, good=5, bad=bad)
        if number in restarts:
            totals.note()
            totals = PersistentTotals(store, file, off, clock)
        now = totals.read()
        for key, spend in before.items():
            assert now[key].bad >= spend.bad
            assert now[key].events >= spend.events
            assert now[key].budget >= spend.budget
        before = dict(now)
    counted = [
        (path, bad)
        for at, path, bad in steps
        if path != NORTH or not any(a <= at < a + length for a, length in spans)
    ]
    for _, path in KEYS:
        if any(p == path for _, p, _ in steps):
            assert before[latency.name, path].bad == sum(b for p, b in counted if p == path)
