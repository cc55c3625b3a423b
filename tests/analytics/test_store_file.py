"""The store's file: kill -9, a full disk, damage, and what else can stand in its place."""

import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing

import numpy as np
import pytest
from some_windows import T0, make_batch, make_window

from analytics import _kernels
from analytics.store import StoreFull
from analytics.store.files import BALLAST_BYTES, Ballast
from analytics.store.sqlite import SqliteStore
from analytics.windows import Selector
from netslo.errors import NetsloError

HOT_S, WARM_S = 1800, 7200
RETENTIONS = {"hot_retention_s": HOT_S, "warm_retention_s": WARM_S, "counts_retention_s": 0}


@pytest.fixture
def file(tmp_path) -> pathlib.Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(file):
    store = SqliteStore.open(file, **RETENTIONS)
    yield store
    store.close()


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


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """A file system of 12 MiB, and no kernels, which would be compiled in the middle of a test."""
    monkeypatch.setattr(_kernels, "_enabled", False)
    monkeypatch.setattr(_kernels, "_loaded", False)
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("needs mount")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"a small file system needs root: {made.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


VALUES = 1000  # of a window: their buckets take room, also packed


def fill(store, sequence: int) -> int:
    """Append until there is no room; return the sequence of the batch that found none."""
    while True:
        now_s = T0 + 500 * sequence
        rtts = np.random.default_rng(sequence).lognormal(0, 0.5, (50, VALUES))
        contents = [make_window(now_s + 10 * k, rtts=rtts[k]) for k in range(50)]
        try:
            store.append(make_batch(*contents, sequence=sequence), now_s)
        except StoreFull:
            return sequence
        sequence += 1


def test_the_ballast_lets_a_full_file_system_recover(small_disk) -> None:
    store = SqliteStore.open(small_disk / "store.sqlite", hot_retention_s=HOT_S)
    ballast = small_disk / "store.sqlite.ballast"
    try:
        sequence = fill(store, 0)
        assert fill(store, sequence) == sequence  # batches do not use the reserve up
        assert ballast.stat().st_size == BALLAST_BYTES
        full_s = T0 + 500 * sequence
        store.maintain(full_s + 3600)  # everything hot goes, in the room the ballast left
        assert not ballast.exists()
        assert store.append(make_batch(make_window(full_s), sequence=sequence), full_s).windows == 1
        answered = 50 * VALUES * sequence + 3
        assert sum(p.answered for p in store.packet_totals().values()) == answered
        found = store.aggregate(Selector(), T0, full_s + 300).values()
        assert [w.packets.answered for w in found] == [answered]
    finally:
        store.close()


def test_a_reader_goes_on_while_the_disk_is_full(small_disk) -> None:
    store = SqliteStore.open(small_disk / "store.sqlite")
    reader = SqliteStore.open(small_disk / "store.sqlite", readonly=True)
    try:
        sequence = fill(store, 0)
        (totals,) = reader.packet_totals().values()
        assert totals.answered == 50 * VALUES * sequence
    finally:
        reader.close()
        store.close()


def test_half_a_ballast_is_made_whole(file) -> None:
    ballast = file.with_name("store.sqlite.ballast")
    ballast.write_bytes(b"")
    Ballast(file).keep()
    assert ballast.stat().st_size == BALLAST_BYTES


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


def test_damage_within_is_named_not_traced(store, file) -> None:
    for k in range(200):
        store.append(make_batch(make_window(T0 + 10 * k), sequence=k), T0)
    store.close()
    octets = file.read_bytes()
    kept = len(octets) * 4 // 5
    file.write_bytes(octets[:kept] + b"\x55" * (len(octets) - kept))
    damaged = SqliteStore.open(file)
    with pytest.raises(NetsloError, match=r"store\.sqlite: the store is damaged"):
        damaged.append(
            make_batch(*(make_window(T0 + 10 * k) for k in range(900)), sequence=999), T0
        )
    damaged.close()


def test_a_store_that_another_process_writes_says_so(store, file) -> None:
    other = sqlite3.connect(file, isolation_level=None)
    store._writer._connection.execute("PRAGMA busy_timeout = 1")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(NetsloError, match="another process keeps the store busy"):
        store.append(make_batch(make_window()), T0)
    other.execute("ROLLBACK")
    other.close()
    assert store.append(make_batch(make_window()), T0).windows == 1


def test_a_folder_that_is_a_file_is_named(file) -> None:
    file.write_text("not a folder")
    with pytest.raises(NetsloError, match=r"store\.sqlite is not a folder"):
        SqliteStore.open(file / "inner.sqlite")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter any folder")
def test_a_folder_that_may_not_be_entered_is_an_error_of_one_line(tmp_path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    with pytest.raises(NetsloError, match="Permission denied"):
        SqliteStore.open(closed / "store.sqlite", readonly=True)


def test_a_newer_store_says_so(store, file) -> None:
    store.close()
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(NetsloError, match="version 99"):
        SqliteStore.open(file)


NEWEST = (
    "routes",
    "path_changes",
    "path_change_totals",
    "readings",
    "latest_readings",
    "warm_days",
)


def test_a_store_in_use_is_not_upgraded(store, file) -> None:
    with closing(sqlite3.connect(file)) as connection:
        for table in ("ever", "late_arrivals", *NEWEST):  # as version 2 had it
            connection.execute(f"DROP TABLE {table}")
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(NetsloError, match="another collector is writing this store"):
        SqliteStore.open(file)
    store.close()
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    with closing(SqliteStore.open(file)):
        pass
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (8,)


def test_a_store_of_version_3_learns_of_late_arrivals(store, file) -> None:
    store.close()
    with closing(sqlite3.connect(file)) as connection:
        for table in ("late_arrivals", *NEWEST):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("PRAGMA user_version = 3")
    with closing(SqliteStore.open(file)) as upgraded:
        assert upgraded.late_arrivals() == {}


def test_a_store_has_one_writer_and_any_number_of_readers(store, file) -> None:
    with pytest.raises(NetsloError, match="another collector is writing this store"):
        SqliteStore.open(file)
    with closing(SqliteStore.open(file, readonly=True)) as reader:
        assert reader.series() == []
    store.close()
    SqliteStore.open(file).close()
