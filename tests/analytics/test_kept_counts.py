"""What is counted outlives the windows it was counted in: by copies of days, whatever happens."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_windows import PATHS, counters_of, make_batch, make_window

from analytics.blobs import pack
from analytics.day_columns import Days, unpack_days
from analytics.store.connection import Connection
from analytics.store.interface import DAY_S
from analytics.store.packed_days import SETTLED_S, TABLE
from analytics.store.sqlite import SqliteStore
from analytics.windows import ALL
from netslo.model import Path

T0 = 1_800_057_600  # midnight, UTC
WARM_DAYS, COUNTS_DAYS = 3, 20
RETENTIONS = {
    "hot_retention_s": 2 * 3600,
    "warm_retention_s": WARM_DAYS * DAY_S,
    "counts_retention_s": COUNTS_DAYS * DAY_S,
}
TARGETS = {"latency": "0.99", "loss": "0.999"}
FAR_S = T0 + 500 * DAY_S


def opened(file) -> SqliteStore:
    store = SqliteStore.open(file, **RETENTIONS)
    store.declare_objectives(TARGETS, T0 - DAY_S)
    return store


@pytest.fixture
def file(tmp_path):
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(file):
    with closing(opened(file)) as store:
        yield store


Counts = Counter[tuple[str, str, str, int]]  # of path, objective and field, by 5 min


def of_windows(windows, start_s=0, end_s=FAR_S) -> Counts:
    """Return what windows count, by adding up a list."""
    found: Counts = Counter()
    for window in windows:
        at_s = window.window.start_s
        for slo, counts in window.slo.items():
            for field in ("good", "bad", "unmeasured"):
                if start_s <= at_s < end_s:
                    found[window.key.path.id, slo, field, at_s // 300] += getattr(counts, field)
    return +found


def of_store(store, start_s=0, end_s=FAR_S) -> Counts:
    """Return what a store says was counted, step by step."""
    found: Counts = Counter()
    for stream, at_s, value in counters_of(store, start_s, end_s):
        about = store.streams[stream].about
        if hasattr(about, "slo"):
            path = store.streams[stream].series.path.id
            found[path, about.slo, about.field, at_s // 300] += value
    return +found


def summed(counts: Counts) -> Counts:
    """Return the sums over time."""
    found: Counter = Counter()
    for (*who, _), value in counts.items():
        found[tuple(who)] += value
    return found


def asked(store, start_s, end_s):
    """Return the sums by the way that status and budgets have."""
    found: Counter = Counter()
    for each in store.slo_counts(ALL, start_s, end_s):
        for field in ("good", "bad", "unmeasured"):
            found[each.path.id, each.slo, field] += getattr(each.counts, field)
    return +found


def rows(file, table: str = "warm") -> set[int]:
    """Return the days of which a table has rows."""
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute(f"SELECT DISTINCT start_s FROM {table}")
        return {(start_s - T0) // DAY_S for (start_s,) in found}


def fill(store, days, *, maintained: bool = True):
    """Give a store two windows a day of two paths; return all of them."""
    everything = []
    for day in days:
        at_s = T0 + day * DAY_S
        windows = [
            make_window(at_s + n * 3600, path, lost=day % 7 + n) for n in (1, 5) for path in PATHS
        ]
        everything += windows
        store.append(make_batch(*windows, sequence=day), at_s + 6 * 3600)
        if maintained:
            store.maintain(at_s + DAY_S + SETTLED_S)
    return everything


def test_counts_stay_when_their_windows_go(store, file) -> None:
    everything = fill(store, range(12))
    assert rows(file) == {8, 9, 10, 11}
    assert rows(file, TABLE) == set(range(12))
    assert store.kept_from().distributions_s == T0 + 8 * DAY_S
    assert store.kept_from().counts_s <= T0
    assert of_store(store) == of_windows(everything)
    # Cut anywhere, in steps of 5 min.
    for start_s, end_s in ((T0 + 3600, T0 + 5 * DAY_S + 3900), (T0 + DAY_S + 300, FAR_S)):
        wanted = of_windows(everything, start_s, end_s)
        assert of_store(store, start_s, end_s) == wanted
        assert asked(store, start_s, end_s) == summed(wanted)
    # Whole windows are only as old as they were: no figure of some counts and no distribution.
    known = store.aggregate(ALL, 0, FAR_S)
    assert {w.slo["latency"].events + w.slo["latency"].unmeasured for w in known.values()} == {
        sum(3 + day % 7 + n for day in (8, 9, 10, 11) for n in (1, 5))
    }
    with closing(sqlite3.connect(file)) as connection:
        bare = connection.execute("SELECT start_s FROM day WHERE length(sketches) = 0").fetchall()
    assert {(start_s - T0) // DAY_S for (start_s,) in bare} == set(range(8))


def test_counts_go_when_they_are_past_their_own_retention(store, file) -> None:
    everything = fill(store, range(COUNTS_DAYS + 5))
    from_s = store.kept_from().counts_s
    assert from_s == T0 + 4 * DAY_S
    assert min(rows(file, TABLE)) == min(rows(file, "day")) == 4
    assert of_store(store) == of_windows(everything, from_s)
    assert asked(store, 0, FAR_S) == summed(of_windows(everything, from_s))


def test_rows_wait_for_their_copy_however_late_it_is(store, file, monkeypatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("analytics.store.sqlite.make_copies", lambda *_: None)
        everything = fill(store, range(10))
        assert rows(file) == set(range(10))
    now_s = T0 + 10 * DAY_S + SETTLED_S
    store.maintain(now_s)
    assert of_store(store) == of_windows(everything)
    store.maintain(now_s)
    assert rows(file) == {6, 7, 8, 9}
    assert of_store(store) == of_windows(everything)


def test_what_comes_late_is_copied_before_its_rows_go(store, file, monkeypatch) -> None:
    everything = fill(store, range(6))
    at_s, now_s = T0 + 3 * DAY_S + 600, T0 + 6 * DAY_S
    strange = Path("dundee", "leeds", "ef")  # without a copy of that day
    late = [make_window(at_s), make_window(at_s, strange), make_window(at_s + DAY_S, strange)]
    assert store.append(make_batch(*late, sequence=99), now_s).windows == 3
    with monkeypatch.context() as patched:
        patched.setattr("analytics.store.sqlite.make_copies", lambda *_: None)
        everything += [*late, *fill(store, range(6, 12))]
        assert rows(file) == {3, 4, 5, *range(6, 12)}
    for _ in range(3):
        store.maintain(T0 + 12 * DAY_S + SETTLED_S)
        assert of_store(store) == of_windows(everything)
    assert rows(file) == {8, 9, 10, 11}


def test_a_clock_that_jumps_ahead_loses_no_counts(store, file) -> None:
    everything = fill(store, range(5))
    store.maintain(T0 + 300 * DAY_S)
    assert of_store(store) == of_windows(everything)
    # Even where windows come by that clock: only what is past the longest retention goes.
    ahead = make_window(T0 + 18 * DAY_S)
    store.append(make_batch(ahead, sequence=50), T0 + 18 * DAY_S + 60)
    for _ in range(3):
        store.maintain(T0 + 18 * DAY_S + 900)
        assert of_store(store) == of_windows([*everything, ahead])


@contextmanager
def killed_at(number: int) -> Iterator[None]:
    """Fail in the transaction of a number, before it is committed: all that a kill leaves."""
    with pytest.MonkeyPatch.context() as patched:
        count = 0
        writing = Connection.writing

        @contextmanager
        def counted(self):
            nonlocal count
            with writing(self) as connection:
                yield connection
                count += 1
                if count == number:
                    raise KeyboardInterrupt

        patched.setattr(Connection, "writing", counted)
        yield


def test_a_kill_between_any_two_steps_loses_nothing(store, file, tmp_path) -> None:
    everything = fill(store, range(7))
    late = make_window(T0 + 4 * DAY_S + 7200)
    everything += [late, *fill(store, range(7, 9), maintained=False)]
    store.append(make_batch(late, sequence=99), T0 + 7 * DAY_S)
    store.close()
    now_s, number, kills = T0 + 9 * DAY_S + SETTLED_S, 0, 0
    for number in range(1, 100):
        copy = tmp_path / f"copy-{number}.sqlite"
        shutil.copy(file, copy)
        with closing(opened(copy)) as again, killed_at(number):
            try:
                for _ in range(3):
                    again.maintain(now_s)
            except KeyboardInterrupt:
                kills += 1
            else:
                break
        with closing(opened(copy)) as again:
            assert of_store(again) == of_windows(everything), number
            assert asked(again, 0, FAR_S) == summed(of_windows(everything))
            for _ in range(3):
                again.maintain(now_s)
            assert of_store(again) == of_windows(everything), number
            assert asked(again, 0, FAR_S) == summed(of_windows(everything))
            assert rows(copy) == {5, 6, 7, 8}
    assert kills == number - 1 > 8


def test_a_store_of_version_6_is_taken_over_with_what_it_has(store, file, monkeypatch) -> None:
    everything = fill(store, range(6))
    store.close()
    cut_s = T0 + 3 * DAY_S + 4 * 3600  # it dropped rows by the 5 min, and copies with them
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DELETE FROM watermarks WHERE name IN ('counts_from', 'stripped_from')")
        connection.execute("UPDATE watermarks SET unix_s = ? WHERE name = 'warm_from'", (cut_s,))
        connection.execute("DELETE FROM warm WHERE start_s < ?", (cut_s,))
        for table in (TABLE, "day"):
            connection.execute(f"DELETE FROM {table} WHERE start_s < ?", (T0 + 3 * DAY_S,))
        # A series that came late to a day had no copy there.
        connection.execute(
            f"DELETE FROM {TABLE} WHERE start_s = ? AND series = 1", (T0 + 4 * DAY_S,)
        )
        rows_of = connection.execute(f"SELECT series, start_s, numbers FROM {TABLE}").fetchall()
        for series, start_s, numbers in rows_of:
            connection.execute(  # it packed them as frames
                f"UPDATE {TABLE} SET numbers = ? WHERE series = ? AND start_s = ?",
                (pack(unpack_days(Days([start_s], [numbers]))), series, start_s),
            )
        connection.execute("PRAGMA user_version = 6")
    with closing(opened(file)) as upgraded:
        assert upgraded.kept_from().counts_s == cut_s
        assert of_store(upgraded) == of_windows(everything, cut_s)
        everything += fill(upgraded, range(6, 14))
        upgraded.maintain(T0 + 14 * DAY_S + SETTLED_S)
        assert rows(file) == {10, 11, 12, 13}
        assert of_store(upgraded) == of_windows(everything, cut_s)
        assert asked(upgraded, 0, FAR_S) == summed(of_windows(everything, cut_s))


ARRIVALS = st.lists(
    st.tuples(
        st.integers(0, 9 * 288).map(lambda n: T0 + n * 300),
        st.sampled_from([*PATHS, Path("dundee", "leeds", "ef")]),
        st.integers(0, 5),
        st.sampled_from([0, 0, 3600, DAY_S, 2 * DAY_S]),  # how much later it comes
        st.sampled_from(["", "", "maintained", "maintained", "without copies"]),
    ),
    min_size=1,
    max_size=25,
)
EDGES = st.integers(-1, 11 * 288).map(lambda n: T0 + n * 300)


@settings(max_examples=40, deadline=None)
@given(ARRIVALS, st.lists(st.tuples(EDGES, EDGES).map(sorted), min_size=1, max_size=4))
def test_any_split_between_copies_and_rows_counts_the_same(tmp_path_factory, came, ranges) -> None:
    file = tmp_path_factory.mktemp("counts") / "store.sqlite"
    with closing(opened(file)) as store:
        everything = []
        order = sorted((at_s + late_s + 300, n) for n, (at_s, _, _, late_s, _) in enumerate(came))
        for sequence, (now_s, n) in enumerate(order):
            at_s, path, lost, _, then = came[n]
            window = make_window(at_s, path, lost=lost)
            if store.append(make_batch(window, sequence=sequence), now_s).windows:
                everything.append(window)
            if then == "without copies":
                store._maintain(now_s + SETTLED_S)
            elif then:
                store.maintain(now_s + SETTLED_S)
        assert of_store(store) == of_windows(everything)
        for _ in range(2):
            store.maintain(T0 + 11 * DAY_S)
        assert of_store(store) == of_windows(everything)
        for start_s, end_s in ranges:
            wanted = of_windows(everything, start_s, end_s)
            assert of_store(store, start_s, end_s) == wanted
            assert asked(store, start_s, end_s) == summed(wanted)
