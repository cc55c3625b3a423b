"""The store against a list of windows in memory, and through what can happen to a disk."""

import copy
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_windows import PATHS, T0, make_batch, make_window, windows

from analytics.store import StoreFull
from analytics.store.sqlite import SqliteStore
from analytics.windows import PathWindow, Selector, SeriesKey, SloCounts
from netslo.errors import NetsloError
from netslo.model import Window

HOT_S, WARM_S = 1800, 7200


@pytest.fixture
def file(tmp_path) -> pathlib.Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(file):
    store = SqliteStore.open(file, hot_retention_s=HOT_S, warm_retention_s=WARM_S)
    store.declare_objectives({"latency": "0.99", "loss": "0.999"}, T0 - 3600)
    yield store
    store.close()


def merged(contents, start_s, end_s) -> dict[SeriesKey, PathWindow]:
    """The naive oracle: add up a list."""
    whole: dict[SeriesKey, PathWindow] = {}
    for window in contents:
        if start_s <= window.window.start_s < end_s:
            span = PathWindow(window.key, Window(start_s, end_s - start_s))
            whole.setdefault(window.key, span).absorb(window)
    return whole


def same(found: dict[SeriesKey, PathWindow], expected: dict[SeriesKey, PathWindow]) -> bool:
    return found.keys() == expected.keys() and all(
        found[key].packets == expected[key].packets
        and found[key].sketches == expected[key].sketches
        and found[key].slo == expected[key].slo
        for key in found
    )


def test_a_batch_is_kept_and_counted_once(store) -> None:
    batch = make_batch(make_window(lost=1), make_window(T0 + 10))
    assert store.append(batch, T0 + 20).windows == 2
    assert store.append(batch, T0 + 30).duplicate
    (window,) = store.aggregate(Selector(), T0, T0 + 300).values()
    assert (window.packets.answered, window.packets.lost) == (6, 1)
    assert store.packet_totals()[window.key].due == 7


def test_windows_come_back_as_they_were(store) -> None:
    contents = [make_window(T0 + 10 * k, lost=k) for k in range(5)]
    store.append(make_batch(*contents), T0 + 60)
    assert list(store.windows(Selector(), T0 + 10, T0 + 40)) == contents[1:4]


def test_a_selector_selects(store) -> None:
    store.append(make_batch(*(make_window(path=path) for path in PATHS)), T0)
    only = Selector(dst="leeds", traffic_class="be")
    assert [k.path for k in store.aggregate(only, T0, T0 + 10)] == [PATHS[1]]
    assert len(store.series()) == 3


def test_five_minutes_are_the_sum_of_their_windows(store) -> None:
    contents = [make_window(T0 + 10 * k, rtts=[0.01 * (k + 1)]) for k in range(60)]
    store.append(make_batch(*contents), T0 + 600)
    found = list(store.windows(Selector(), T0, T0 + 600, 300))
    assert [w.window for w in found] == [Window(T0, 300), Window(T0 + 300, 300)]
    assert [w.packets.answered for w in found] == [30, 30]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_it_agrees_with_a_list_whatever_the_order_and_the_maintenance(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("store") / "store.sqlite"
    retentions = {"hot_retention_s": HOT_S, "warm_retention_s": 10 * WARM_S}
    with closing(SqliteStore.open(file, **retentions)) as store:
        agree_with_a_list(store, data)


def agree_with_a_list(store, data) -> None:
    store.declare_objectives({"latency": "0.99", "loss": "0.999"}, T0)
    kept, now_s = [], T0 + 1000
    for sequence in range(data.draw(st.integers(1, 6))):
        contents = data.draw(st.lists(windows(), max_size=4))
        batch = make_batch(*contents, sequence=sequence)
        for _ in range(data.draw(st.integers(1, 2))):  # now and then it comes twice
            store.append(batch, now_s)
        kept += copy.deepcopy(contents)
        now_s += data.draw(st.sampled_from([0, 10, 400, 2500]))
        if data.draw(st.booleans()):
            store.maintain(now_s)
    assert same(store.aggregate(Selector(), T0 - 300, T0 + 1200), merged(kept, T0 - 300, T0 + 1200))
    sums: dict[tuple[str, str], SloCounts] = {}
    for window in kept:
        for slo, counts in window.slo.items():
            sums.setdefault((window.key.path.id, slo), SloCounts()).add(counts)
    for totals in (store.slo_counts(Selector(), T0, T0 + 1200), store.slo_totals()):
        assert {(t.path.id, t.slo): t.counts for t in totals} == sums


def test_ranges_that_begin_within_an_interval_are_exact_while_it_is_hot(store) -> None:
    contents = [make_window(T0 + 10 * k, lost=1) for k in range(120)]
    store.append(make_batch(*contents), T0 + 1200)
    store.maintain(T0 + 1200)
    for start_s, end_s in [(T0 + 10, T0 + 1190), (T0 + 290, T0 + 310), (T0 + 20, T0 + 30)]:
        found = store.aggregate(Selector(), start_s, end_s)
        assert same(found, merged(contents, start_s, end_s))
        (totals,) = store.slo_counts(Selector(), start_s, end_s)
        assert totals.counts.events == 4 * (end_s - start_s) // 10


def test_a_late_window_lands_in_its_own_time_even_where_10_s_windows_are_gone(store) -> None:
    store.append(make_batch(make_window(T0)), T0 + 20)
    store.maintain(T0 + 2 * HOT_S)
    late = make_batch(make_window(T0 + 10, lost=2), sequence=1)
    assert store.append(late, T0 + 2 * HOT_S).windows == 1
    store.maintain(T0 + 2 * HOT_S + 600)
    (window,) = store.aggregate(Selector(), T0, T0 + 300).values()
    assert (window.packets.answered, window.packets.lost) == (6, 2)


def test_what_is_older_than_every_retention_is_refused_and_said(store) -> None:
    appended = store.append(make_batch(make_window(T0), make_window(T0 + WARM_S)), T0 + WARM_S + 60)
    assert (appended.windows, appended.expired) == (1, 1)
    assert store.packet_totals()[make_window().key].due == 3


def test_totals_outlive_the_windows(store) -> None:
    store.append(make_batch(make_window(T0, lost=1)), T0)
    store.maintain(T0 + 2 * WARM_S)
    assert not store.aggregate(Selector(), T0, T0 + 300)
    (totals,) = store.slo_totals()
    assert totals.counts == SloCounts(good=2, bad=2)


def test_a_changed_target_holds_from_the_next_interval_and_history_keeps_the_old_one(store):
    contents = [make_window(T0 + 300 * k) for k in range(4)]
    store.declare_objectives({"latency": "0.999"}, T0 + 310)  # in force from T0 + 600
    store.append(make_batch(*contents), T0 + 1200)
    counts = {t.target: t.counts.events for t in store.slo_counts(Selector(), T0, T0 + 1200)}
    assert counts == {"0.99": 6, "0.999": 6}
    beta = sum((t.budget_events for t in store.slo_totals()), Fraction(0))
    assert beta == 6 * Fraction(1, 100) + 6 * Fraction(1, 1000)


def test_declaring_the_same_target_again_changes_nothing(store, file) -> None:
    for now_s in (T0, T0 + 1000):
        store.declare_objectives({"latency": "0.99"}, now_s)
    store.append(make_batch(make_window(T0 + 2000)), T0 + 2000)
    assert [t.target for t in store.slo_totals()] == ["0.99"]


def test_a_reader_reads_while_the_writer_writes(store, file) -> None:
    reader = SqliteStore.open(file, readonly=True)
    for k in range(3):
        store.append(make_batch(make_window(T0 + 10 * k), sequence=k), T0)
        (window,) = reader.aggregate(Selector(), T0, T0 + 300).values()
        assert window.packets.answered == 3 * (k + 1)
    reader.close()


def test_everything_is_there_after_opening_again(store, file) -> None:
    store.append(make_batch(make_window()), T0)
    store.close()
    again = SqliteStore.open(file)
    assert again.append(make_batch(make_window()), T0).duplicate
    assert len(again.aggregate(Selector(), T0, T0 + 10)) == 1
    again.close()


KILLED = """
    import pathlib, sys
    from some_windows import T0, make_batch, make_window
    from analytics.store.sqlite import SqliteStore
    store = SqliteStore.open(pathlib.Path(sys.argv[1]))
    for sequence in range(10_000):
        batch = make_batch(make_window(T0 + 10 * sequence), sequence=sequence)
        store.append(batch, T0 + 10 * sequence)
        print(sequence, flush=True)
"""


def run_child(script: str, file: pathlib.Path, **options) -> subprocess.Popen:
    support = pathlib.Path(__file__).parents[1] / "support"
    code = f"import sys; sys.path.insert(0, {str(support)!r})\n" + textwrap.dedent(script)
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(file)], stdout=subprocess.PIPE, text=True, **options
    )


@pytest.mark.parametrize("lines", [1, 7, 40])
def test_what_was_acknowledged_survives_kill_9(file, lines) -> None:
    with run_child(KILLED, file) as child:
        acknowledged = [int(child.stdout.readline()) for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in child.stdout.read().split()]
    store = SqliteStore.open(file)
    answered = sum(p.answered for p in store.packet_totals().values())
    assert answered >= 3 * len(acknowledged)
    for sequence in acknowledged:
        batch = make_batch(make_window(T0 + 10 * sequence), sequence=sequence)
        assert store.append(batch, T0 + 10 * sequence).duplicate
    assert sum(p.answered for p in store.packet_totals().values()) == answered
    store.close()


FULL = """
    import pathlib, resource, signal, sys
    from some_windows import T0, make_batch, make_window
    from analytics.store import StoreFull
    from analytics.store.sqlite import SqliteStore
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = SqliteStore.open(pathlib.Path(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    for sequence in range(10_000):
        batch = make_batch(make_window(T0 + 10 * sequence), sequence=sequence)
        try:
            store.append(batch, T0 + 10 * sequence)
        except StoreFull:
            break
    kept = sum(p.answered for p in store.packet_totals().values())
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    again = store.append(batch, T0 + 10 * sequence)
    print(sequence, kept, again.duplicate, sum(p.answered for p in store.packet_totals().values()))
"""


def test_a_full_disk_refuses_the_batch_whole_and_goes_on_when_there_is_room(file) -> None:
    with run_child(FULL, file) as child:
        sequence, kept, duplicate, after = child.stdout.read().split()
    assert child.returncode == 0
    assert int(kept) == 3 * int(sequence)
    assert duplicate == "False"
    assert int(after) == int(kept) + 3


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
def test_the_ballast_lets_a_full_file_system_recover(tmp_path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"a small file system needs root: {made.stderr.strip()}")
    try:
        store = SqliteStore.open(disk / "store.sqlite", hot_retention_s=HOT_S)
        ballast = disk / "store.sqlite.ballast"
        ballast.write_bytes(b"\0" * 4 * 1024 * 1024)
        now_s, sequence = T0, 0
        with pytest.raises(StoreFull):
            while True:
                contents = [make_window(now_s + 10 * k) for k in range(50)]
                store.append(make_batch(*contents, sequence=sequence), now_s)
                now_s, sequence = now_s + 500, sequence + 1
        assert not ballast.exists()
        store.maintain(now_s + 3600)  # everything hot goes, in the room the ballast left
        assert store.append(make_batch(make_window(now_s), sequence=sequence), now_s).windows == 1
        assert sum(p.answered for p in store.packet_totals().values()) == 150 * sequence + 3
        store.close()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_missing_store_cannot_be_read(file) -> None:
    with pytest.raises(NetsloError, match="no such store"):
        SqliteStore.open(file, readonly=True)


def test_a_missing_folder_is_named(tmp_path) -> None:
    with pytest.raises(NetsloError, match=r"folder .* does not exist"):
        SqliteStore.open(tmp_path / "none" / "store.sqlite")


def test_a_file_of_something_else_is_left_alone(file) -> None:
    file.write_bytes(b"hello, I am a letter" * 100)
    with pytest.raises(NetsloError, match="not a netslo store"):
        SqliteStore.open(file)
    assert file.read_bytes().startswith(b"hello")


def test_somebody_elses_database_is_left_alone(file) -> None:
    with sqlite3.connect(file) as other:
        other.execute("CREATE TABLE theirs(x)")
    other.close()
    with pytest.raises(NetsloError, match="not a netslo store"):
        SqliteStore.open(file)


def test_a_newer_store_says_so(store, file) -> None:
    store.close()
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(NetsloError, match="version 99"):
        SqliteStore.open(file)


def test_a_resolution_that_is_none_is_refused(store) -> None:
    with pytest.raises(ValueError, match="multiple of 10"):
        store.windows(Selector(), T0, T0 + 10, 7)
