"""Counters that never go back, whatever is excluded and whenever."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netslo.model import Path
from slo.exclusion import Covers, Exclusion
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


def test_a_file_that_is_lost_with_figures_that_have_expired_is_said(
    store, latency, tmp_path, caplog
) -> None:
    store.add(T0 - 300, NORTH, latency, bad=1)
    old = [planned(T0 - 50 * 86_400, T0 - 49 * 86_400, name="CHG-7")]
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
