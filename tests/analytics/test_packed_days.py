"""Copies of days say what the 5 min windows say, however late something comes."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_windows import PATHS, counters_of, make_batch, make_window

from analytics.store import packed_days
from analytics.store.interface import DAY_S
from analytics.store.packed_days import SETTLED_S, TABLE
from analytics.store.sqlite import SqliteStore
from analytics.windows import Selector
from netslo.model import Path

T0 = 1_800_057_600  # midnight, UTC
HOT_S = 2 * 3600


@pytest.fixture
def file(tmp_path):
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(file):
    with closing(SqliteStore.open(file, hot_retention_s=HOT_S)) as store:
        store.declare_objectives({"latency": "0.99", "loss": "0.999"}, T0 - 30 * DAY_S)
        yield store


def counted(store, start_s=T0 - 5 * DAY_S, end_s=T0 + 30 * DAY_S) -> Counter:
    """Return the sum of each counter by stream and 5 minutes, as whoever reads weeks sees it."""
    found: Counter = Counter()
    for stream, at_s, value in counters_of(store, start_s, end_s):
        found[stream, at_s // 300] += value
    return found


def expected(store, start_s=T0 - 5 * DAY_S, end_s=T0 + 30 * DAY_S) -> Counter:
    """Return the same by the way that knows of no copies."""
    found: Counter = Counter()
    with closing(store.history()) as history:
        for frame in history.frames(start_s, end_s, 300):
            numbers = frame.counters
            rows = (each.tolist() for each in (numbers.stream, numbers.start_s, numbers.value))
            for stream, at_s, value in zip(*rows, strict=True):
                found[stream, at_s // 300] += value
    return found


def copies(file) -> dict[int, list[bool]]:
    """Return by day whether each copy is made."""
    found: dict[int, list[bool]] = {}
    with closing(sqlite3.connect(file)) as connection:
        query = f"SELECT start_s, numbers FROM {TABLE} ORDER BY start_s, series"
        for day_s, numbers in connection.execute(query):
            found.setdefault((day_s - T0) // DAY_S, []).append(numbers != b"")
    return found


def test_a_day_that_is_over_is_copied_and_read_by_its_copies(store, file) -> None:
    for day in range(3):
        starts = [T0 + day * DAY_S + n * 1800 for n in range(48)]
        windows = [make_window(at_s, path) for at_s in starts for path in PATHS[:2]]
        store.append(make_batch(*windows, sequence=day), T0 + (day + 1) * DAY_S + 10)
        store.maintain(T0 + (day + 1) * DAY_S + SETTLED_S - 1)
        assert set(copies(file)) == set(range(day))
    store.maintain(T0 + 3 * DAY_S + SETTLED_S)
    assert copies(file) == {day: [True, True] for day in range(3)}
    assert counted(store) == expected(store)
    inside = T0 + 3600, T0 + 2 * DAY_S + 600
    for selector in (Selector(path=PATHS[0].id), Selector()):
        with closing(store.history()) as history:
            total = sum(
                int(frame.counters.value.sum())
                for frame in history.frames(*inside, 300, distributions=False, selector=selector)
            )
        with closing(store.history()) as history:
            frames = list(history.frames(*inside, 300, selector=selector))
        assert total == sum(int(frame.counters.value.sum()) for frame in frames) > 0
    # They are what is read: without the rows they copy, nothing is missing of whole days.
    before = counted(store, T0, T0 + 3 * DAY_S)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DELETE FROM warm")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(
            "INSERT OR REPLACE INTO watermarks VALUES ('hot_from', ?)", (T0 + 3 * DAY_S,)
        )
    assert counted(store, T0, T0 + 3 * DAY_S) == before


def test_what_comes_late_is_seen_at_once_and_copied_again(store, file) -> None:
    store.append(make_batch(make_window(T0 + 600), make_window(T0 + DAY_S)), T0 + DAY_S + 10)
    now_s = T0 + DAY_S + SETTLED_S
    store.maintain(now_s)
    assert copies(file)[0] == [True]
    strange = Path("dundee", "leeds", "ef")
    late = [make_window(T0 + 600), make_window(T0 + 900), make_window(T0 + 900, strange)]
    store.append(make_batch(*late, sequence=1), now_s)
    assert counted(store) == expected(store)
    store.maintain(now_s + 3600)
    assert counted(store) == expected(store)
    assert copies(file)[0][0]
    with closing(sqlite3.connect(file)) as connection:
        assert not connection.execute(f"SELECT 1 FROM {TABLE} WHERE numbers = x''").fetchall()


def test_a_copy_that_is_not_made_yet_again_is_not_believed(store, file, monkeypatch) -> None:
    store.append(make_batch(make_window(T0 + 600), make_window(T0 + DAY_S)), T0 + DAY_S + 10)
    now_s = T0 + DAY_S + SETTLED_S
    store.maintain(now_s)
    monkeypatch.setattr("analytics.store.sqlite.make_copies", lambda *_: None)
    store.append(make_batch(make_window(T0 + 600), sequence=1), now_s)
    store.maintain(now_s + 3600)
    assert copies(file)[0] == [False]
    assert counted(store) == expected(store)


@pytest.mark.parametrize("hot_s", [2 * DAY_S, HOT_S])
def test_a_damaged_row_costs_no_more_than_itself(file, caplog, hot_s) -> None:
    starts = [T0 + 600, T0 + 900, T0 + 3600]
    windows = [make_window(at_s, path) for at_s in starts for path in PATHS[:2]]
    with closing(SqliteStore.open(file, hot_retention_s=hot_s)) as store:
        store.append(make_batch(*windows, make_window(T0 + DAY_S)), T0 + DAY_S + 10)
        store.maintain(T0 + DAY_S + 600)
        before = counted(store, T0, T0 + DAY_S)
        assert not copies(file)
        with closing(sqlite3.connect(file)) as connection, connection:
            changed = connection.execute(
                "UPDATE warm SET numbers = CAST(substr(numbers, 1, 12) AS BLOB)"
                " WHERE series = 0 AND start_s = ?",
                (T0 + 900,),
            )
            assert changed.rowcount == 1
        store.maintain(T0 + DAY_S + SETTLED_S)
        assert copies(file)[0] == [True, True]
        series = store.streams.series_of()
        lost = {at for at in before if at[1] == (T0 + 900) // 300 and series[at[0]] == 0}
        assert lost
        kept = {at: n for at, n in before.items() if hot_s > DAY_S or at not in lost}
        assert counted(store, T0, T0 + DAY_S) == Counter(kept)
        (said,) = [each.message for each in caplog.records]
        assert said.startswith("a blob of packed points is damaged")
        assert f"what {PATHS[0]} counted in the 300 s from {T0 + 900} on is " in said
        assert said.endswith("taken from its windows of 10 s" if hot_s > DAY_S else "lost")
        # Nor do it and what came after it stay for ever.
        newest = make_window(T0 + 37 * DAY_S)
        store.append(make_batch(newest, sequence=1), T0 + 37 * DAY_S + 9)
        for _ in range(2):
            store.maintain(T0 + 37 * DAY_S + 600)
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("SELECT min(start_s) FROM warm").fetchone()[0] > T0 + DAY_S
        assert counted(store, T0, T0 + DAY_S) == Counter(kept)


def test_copies_outlive_what_they_copy(store, file) -> None:
    store.append(make_batch(*(make_window(T0 + n * DAY_S) for n in range(3))), T0 + 2 * DAY_S + 9)
    store.maintain(T0 + 3 * DAY_S)
    assert set(copies(file)) == {0, 1}
    store.append(make_batch(make_window(T0 + 37 * DAY_S), sequence=1), T0 + 37 * DAY_S + 9)
    before = counted(store, T0, T0 + 40 * DAY_S)
    for _ in range(2):
        store.maintain(T0 + 37 * DAY_S + 600)
    assert set(copies(file)) == {0, 1, 2}
    assert min(at for _, at in expected(store, T0, T0 + 40 * DAY_S)) >= (T0 + 2 * DAY_S) // 300
    assert counted(store, T0, T0 + 40 * DAY_S) == before
    store.append(make_batch(make_window(T0 + 402 * DAY_S), sequence=2), T0 + 402 * DAY_S + 9)
    store.maintain(T0 + 402 * DAY_S + 600)
    assert min(copies(file)) == 2


def test_a_clock_that_is_far_ahead_copies_no_days_to_come(store, file) -> None:
    store.append(make_batch(*(make_window(T0 + n * DAY_S) for n in range(3))), T0 + 2 * DAY_S + 9)
    store.maintain(T0 + 400 * DAY_S)
    assert set(copies(file)) == {0, 1, 2}
    store.append(make_batch(make_window(T0 + 3 * DAY_S), sequence=1), T0 + 3 * DAY_S + 9)
    store.maintain(T0 + 3 * DAY_S + SETTLED_S)
    assert set(copies(file)) == {0, 1, 2}
    assert counted(store) == expected(store)


def test_much_is_copied_over_several_rounds(store, file, monkeypatch) -> None:
    monkeypatch.setattr(packed_days, "AT_ONCE", 2)
    monkeypatch.setattr(packed_days.make_copies, "__defaults__", (3,))
    windows = [make_window(T0 + n * DAY_S, path) for n in range(4) for path in PATHS]
    store.append(make_batch(*windows), T0 + 3 * DAY_S + 9)
    sizes = []
    for _ in range(8):
        store.maintain(T0 + 4 * DAY_S)
        sizes.append(sum(map(len, copies(file).values())))
        assert counted(store) == expected(store)
    assert sizes[0] <= 3
    assert sizes[-1] == 3 * len(PATHS)


LATE = st.lists(
    st.tuples(
        st.integers(0, 4 * 288).map(lambda n: T0 + n * 300),
        st.sampled_from(PATHS),
        st.integers(0, 5),
        st.sampled_from([0, 0, 3600, DAY_S, 2 * DAY_S]),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(LATE)
def test_any_order_of_arrivals_is_read_as_without_copies(tmp_path_factory, rows) -> None:
    file = tmp_path_factory.mktemp("copies") / "store.sqlite"
    with closing(SqliteStore.open(file, hot_retention_s=HOT_S)) as store:
        arrivals = sorted((at_s + late_s + 300, n) for n, (at_s, _, _, late_s) in enumerate(rows))
        for number, (now_s, n) in enumerate(arrivals):
            at_s, path, lost, _ = rows[n]
            store.append(make_batch(make_window(at_s, path, lost=lost), sequence=number), now_s)
            store.maintain(now_s + SETTLED_S)
            assert counted(store) == expected(store)
