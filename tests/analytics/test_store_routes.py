"""Routes and capacity at rest: once, in their own time, bounded, and there after a kill."""

from __future__ import annotations

import copy
import pathlib
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_routes import A, B, C, batch_of, make_change, make_loaded, make_reading, make_seen
from some_windows import PATHS, T0, make_window

from analytics.store import readings, routes
from analytics.store.sqlite import SqliteStore
from netslo.metrics import BANDWIDTH, LOADED_RTT

HOT_S, WARM_S = 1800, 7200
RETENTIONS = {"hot_retention_s": HOT_S, "warm_retention_s": WARM_S, "counts_retention_s": 0}
EVER = (0.0, 2.0**33)


@pytest.fixture
def file(tmp_path) -> pathlib.Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(file):
    with closing(SqliteStore.open(file, **RETENTIONS)) as store:
        yield store


def send(store, *points, sequence=0, windows=(), received_s=T0):
    return store.append(batch_of(*points, sequence=sequence, windows=windows), received_s)


def changes(store, path=None, start_s=0.0, end_s=2.0**33, at_most=1000):
    return store.path_changes(path, start_s, end_s, at_most)


def test_a_batch_that_comes_twice_is_kept_once(store) -> None:
    points = (make_change(), make_reading(), make_loaded())
    assert not send(store, *points, windows=[make_window()]).duplicate
    assert send(store, *points, windows=[make_window()]).duplicate
    assert changes(store) == [points[0]]
    assert store.path_change_totals() == {PATHS[0]: 1}
    assert store.readings(BANDWIDTH, None, *EVER, 100) == [points[1]]
    assert store.readings(LOADED_RTT, None, *EVER, 100) == [points[2]]


def test_a_batch_without_windows_is_known_again(store) -> None:
    assert not send(store, make_change()).duplicate
    assert send(store, make_change()).duplicate
    assert len(changes(store)) == 1


def test_a_late_route_is_no_current_one_and_a_late_change_has_its_own_time(store) -> None:
    now, late = make_seen(T0 + 600, hops=(A, C)), make_change(T0, hops=(B, C))
    send(store, now, sequence=0, received_s=T0 + 600)
    send(store, late, sequence=1, received_s=T0 + 600)
    assert [latest.told for latest in store.routes()] == [now]
    assert changes(store) == [late]
    assert changes(store, end_s=T0 + 1.0) == [late]
    assert changes(store, start_s=T0 + 1.0) == []


def test_what_is_asked_for_is_what_comes(store) -> None:
    given = [make_change(T0 + k, path=PATHS[k % 2], flow=k) for k in range(6)]
    send(store, *given)
    assert changes(store) == given[::-1]
    assert changes(store, PATHS[1]) == given[::-1][::2]
    assert changes(store, at_most=2) == given[:3:-1]
    assert changes(store, start_s=T0 + 2, end_s=T0 + 4) == [given[3], given[2]]
    assert [latest.told.route.flow for latest in store.routes(PATHS[1])] == [1, 3, 5]
    send(store, *(make_reading(T0 + k, k) for k in range(4)), sequence=1)
    found = store.readings(BANDWIDTH, PATHS[0], T0 + 1.0, T0 + 3.0, 10)
    assert [reading.value for reading in found] == [2.0, 1.0]
    assert store.readings(BANDWIDTH, PATHS[1], *EVER, 10) == []


SEENS = st.builds(
    make_seen,
    st.integers(0, 300).map(lambda k: T0 + k),
    st.sampled_from(PATHS),
    hops=st.sampled_from([(A, C), (B, C), ("*",)]),
    flow=st.integers(0, 2),
    protocol=st.sampled_from(["udp", "icmp"]),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(SEENS, max_size=20, unique_by=lambda s: s.seen_ns))
def test_the_latest_of_each_flow_stands_whatever_the_order(tmp_path_factory, seen) -> None:
    file = tmp_path_factory.mktemp("any") / "store.sqlite"
    expected: dict = {}
    for each in sorted(seen, key=lambda s: s.seen_ns):
        expected[each.path, each.route.protocol, each.route.flow] = each
    with closing(SqliteStore.open(file)) as store:
        for sequence, each in enumerate(seen):
            send(store, each, sequence=sequence)
        found = [latest.told for latest in store.routes()]
    assert found == [each for _, each in sorted(expected.items())]


def test_a_path_mtu_holds_while_the_route_does(store) -> None:
    def mtu() -> int | None:
        return store.routes()[0].told.route.path_mtu

    send(store, make_seen(T0, path_mtu=1400), sequence=0)
    send(store, make_seen(T0 + 60, hops=(A, "*"), path_mtu=None), sequence=1)
    assert mtu() == 1400
    send(store, make_change(T0 + 120, hops=(B, C), path_mtu=None), sequence=2)
    assert mtu() is None


def test_what_is_not_seen_for_three_intervals_is_stale(store) -> None:
    def stale_after() -> float:
        (latest,) = store.routes()
        return latest.stale_s - latest.told.seen_ns / 1e9

    send(store, make_seen(T0), sequence=0)
    assert stale_after() == routes.STALE_S  # nobody knows the interval yet
    send(store, make_seen(T0 + 3600), sequence=1)
    assert stale_after() == 3 * 3600
    send(store, make_seen(T0 + 3660), sequence=2)  # a trace out of turn
    assert stale_after() == 3 * 1800
    send(store, make_reading(T0), sequence=3)
    send(store, make_reading(T0 + 20 * 86_400), sequence=4)  # after a long silence
    (latest,) = store.latest_readings()
    assert latest.stale_s - latest.told.seen_ns / 1e9 == 3 * 86_400


def test_the_newest_of_a_path_are_kept_and_all_are_counted(store, monkeypatch) -> None:
    monkeypatch.setattr(routes, "CHANGES_MAX", 5)
    monkeypatch.setattr(readings, "READINGS_MAX", 5)
    for sequence in range(4):
        points = [make_change(T0 + 3 * sequence + k, flow=k) for k in range(3)]
        more = [make_reading(T0 + 3 * sequence + k, k) for k in range(3)]
        send(store, *points, *more, sequence=sequence)
    send(store, make_change(T0, path=PATHS[1]), sequence=9)
    assert [c.seen_ns // 10**9 - T0 for c in changes(store, PATHS[0])] == [11, 10, 9, 8, 7]
    assert store.path_change_totals() == {PATHS[0]: 12, PATHS[1]: 1}
    assert len(store.readings(BANDWIDTH, PATHS[0], *EVER, 100)) == 5
    assert len(changes(store, PATHS[1])) == 1


def test_what_is_past_the_retention_goes_but_for_the_count(store) -> None:
    send(store, make_change(T0), make_reading(T0), windows=[make_window(T0)], sequence=0)
    later_s = T0 + WARM_S + 900
    send(store, windows=[make_window(later_s)], sequence=1, received_s=later_s)
    store.maintain(later_s)
    assert changes(store) == store.routes() == store.latest_readings() == []
    assert store.readings(BANDWIDTH, None, *EVER, 10) == []
    assert store.path_change_totals() == {PATHS[0]: 1}
    too_late = send(store, make_change(T0), make_reading(later_s), sequence=2, received_s=later_s)
    assert too_late.expired_points == 1
    assert store.path_change_totals() == {PATHS[0]: 1}
    assert len(store.latest_readings()) == 1


def test_windows_beside_points_are_compacted_as_ever(store) -> None:
    send(store, make_change(), windows=[make_window()])
    before = copy.deepcopy(store.count_totals())
    store.maintain(T0 + 900)
    assert store.count_totals() == before
    assert changes(store) == [make_change()]


def test_a_reader_sees_what_a_writer_commits_meanwhile(store, file) -> None:
    with closing(SqliteStore.open(file, readonly=True)) as reader:
        assert reader.routes() == []
        send(store, make_change())
        assert changes(reader) == [make_change()]
        assert reader.path_change_totals() == {PATHS[0]: 1}


@pytest.mark.parametrize(
    ("version", "missing"), [(2, ["ever", "late_arrivals"]), (3, ["late_arrivals"]), (4, [])]
)
def test_an_older_store_learns_of_routes(store, file, version, missing) -> None:
    send(store, windows=[make_window()])
    store.close()
    new = ["routes", "path_changes", "path_change_totals", "readings", "latest_readings"]
    new.append("warm_days")
    with closing(sqlite3.connect(file)) as connection:
        for table in [*missing, *new]:
            connection.execute(f"DROP TABLE {table}")
        connection.execute(f"PRAGMA user_version = {version}")
    with closing(SqliteStore.open(file)) as upgraded:
        send(upgraded, make_change(), make_reading(), sequence=1)
        assert changes(upgraded) == [make_change()]
        assert len(upgraded.latest_readings()) == 1
        assert sum(p.answered for p in upgraded.packet_totals().values()) == 3


KILLED = """
    import pathlib, sys
    from some_routes import batch_of, make_change, make_reading
    from some_windows import T0, make_window
    from analytics.store.sqlite import SqliteStore
    store = SqliteStore.open(pathlib.Path(sys.argv[1]))
    for k in range(10_000):
        told = (make_change(T0 + 10 * k), make_reading(T0 + 10 * k))
        batch = batch_of(*told, windows=[make_window(T0 + 10 * k)], sequence=k)
        store.append(batch, T0 + 10 * k)
        print(k, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 12])
def test_what_was_acknowledged_survives_kill_9_once(file, lines) -> None:
    support = pathlib.Path(__file__).parents[1] / "support"
    code = f"import sys; sys.path.insert(0, {str(support)!r})\n" + textwrap.dedent(KILLED)
    command = [sys.executable, "-P", "-c", code, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        acknowledged = [int(child.stdout.readline()) for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in child.stdout.read().split()]
    with closing(SqliteStore.open(file)) as store:
        kept = len(changes(store))
        # Of each batch all or nothing: windows, changes, their count and the readings.
        assert kept >= len(acknowledged)
        assert store.path_change_totals() == {PATHS[0]: kept}
        assert len(store.readings(BANDWIDTH, None, *EVER, 10_000)) == kept
        assert sum(p.answered for p in store.packet_totals().values()) == 3 * kept
        for k in acknowledged:
            again = batch_of(make_change(T0 + 10 * k), sequence=k)
            assert store.append(again, T0).duplicate
