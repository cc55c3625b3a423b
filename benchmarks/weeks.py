"""28 days of a store read in steps of 5 min, as backtests do: by copies of days, and without.

`python benchmarks/weeks.py [PATHS]`, 100 of them unless told otherwise. The store is made by its
own packing, without the bodies that the windows would have come in.
"""

from __future__ import annotations

import pathlib
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing

import numpy as np
from support.traffic import estate_of, sketches

from analytics import _kernels
from analytics.frame import Frame
from analytics.store import packed_days
from analytics.store.interface import DAY_S, WARM_S
from analytics.store.sqlite import SqliteStore
from analytics.store.tiers import WARM, rows_of
from analytics.tables import Numbers
from analytics.windows import Batch, PacketCounts, PathWindow, SeriesKey, SketchKey, SloCounts
from netslo.metrics import RTT
from netslo.model import Path, Quality, Window
from slo.backtest.history import read_history

DAYS, SLO = 28, "national-latency"
T0 = 1_800_057_600  # midnight, UTC
END_S = T0 + DAYS * DAY_S
DUE = 1500  # packets in 5 min
AT_ONCE = 100  # paths


def main() -> None:
    paths = estate_of(int(sys.argv[1]) if len(sys.argv) > 1 else 100, 1).paths
    _kernels.load()
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "store.sqlite"
        made_s, size = _fill(file, paths)
        print(f"{len(paths):,} paths x {DAYS} days: {len(paths) * DAYS * 288:,} rows of 5 min, "
              f"{size / 1e6:,.0f} MB")  # fmt: skip
        print(f"  copies of days    {made_s:7.2f} CPU-s once, {_copied(file) / 1e6:,.1f} MB")
        _read(file, paths, "warm up")
        by_copies = _read(file, paths, "by copies")
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute(f"DELETE FROM {packed_days.TABLE}")
        assert _read(file, paths, "by rows") == by_copies


def _fill(file: pathlib.Path, paths: Sequence[Path]) -> tuple[float, int]:
    """Make a store; return how much CPU time the copies took, and its size."""
    rng, shapes = np.random.default_rng(1), sketches(8)
    with closing(SqliteStore.open(file)) as store:
        store.declare_objectives({SLO: "0.999"}, T0 - DAY_S)
        # A window of each path, in the last minutes: it makes the series and streams known.
        for number, src in enumerate(dict.fromkeys(path.src for path in paths)):
            own = [_window(path, END_S - 10, 10) for path in paths if path.src == src]
            store.append(Batch(src, src, number, tuple(own)), END_S)
        store.maintain(END_S + 600)
        streams, series_of = store.streams, store.streams.series_of()
        for first in range(0, len(paths), AT_ONCE):
            part = paths[first : first + AT_ONCE]
            one = Frame.of([_window(path, T0, WARM_S) for path in part], streams)
            packed = {row.series: row.sketches for row in _packed(part, shapes, store)}
            steps = np.arange(T0, END_S, WARM_S)
            counters = one.counters
            value = np.tile(counters.value, len(steps))
            value += rng.integers(0, 3, len(value)).astype(np.uint64)
            stream = np.tile(counters.stream, len(steps))
            every = Numbers(stream, np.repeat(steps, len(counters.value)), value)
            frame = Frame(Frame.empty().distributions, every, Frame.empty().gauges, WARM_S)
            rows = rows_of(frame, series_of, WARM)
            with closing(sqlite3.connect(file)) as connection, connection:
                connection.execute("PRAGMA synchronous = OFF")
                connection.executemany(
                    "INSERT OR REPLACE INTO warm(series, start_s, sketches, numbers)"
                    " VALUES (?, ?, ?, ?)",
                    [(row.series, row.start_s, packed[row.series], row.numbers) for row in rows],
                )
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute(
                "INSERT OR REPLACE INTO watermarks VALUES ('packed_from', ?), ('hot_from', ?)",
                (T0, END_S),
            )
        began = time.process_time()
        for _ in range(len(paths) * DAYS // packed_days.IN_ROUND + DAYS):
            store.maintain(END_S + packed_days.SETTLED_S)
        made_s = time.process_time() - began
    return made_s, file.stat().st_size


def _window(path: Path, start_s: int, length_s: int) -> PathWindow:
    packets, events = PacketCounts(DUE, 1), {SLO: SloCounts(DUE, 1)}
    return PathWindow(SeriesKey(path), Window(start_s, length_s), packets, slo=events)


def _packed(paths: Sequence[Path], shapes: list, store: SqliteStore):
    """Return a packed distribution of each path, of the size that they have."""
    windows = [
        PathWindow(
            SeriesKey(path),
            Window(T0, WARM_S),
            sketches={SketchKey(RTT, Quality.A): shapes[number % len(shapes)]},
        )
        for number, path in enumerate(paths)
    ]
    streams = store.streams
    frame = Frame.of(windows, streams)
    return rows_of(frame, streams.series_of(), WARM)


def _copied(file: pathlib.Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        query = f"SELECT sum(length(numbers)) FROM {packed_days.TABLE}"
        return int(connection.execute(query).fetchone()[0] or 0)


def _read(file: pathlib.Path, paths: Sequence[Path], how: str) -> tuple[int, int]:
    with closing(SqliteStore.open(file, readonly=True)) as store:
        began, began_cpu = time.perf_counter(), time.process_time()
        found = read_history(store, [(SLO, path) for path in paths], T0, END_S)
        took_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    if how != "warm up":
        steps = found.events.size
        print(f"  read {how:12} {took_s:7.2f} s, {cpu_s:.2f} CPU-s, "
              f"{cpu_s / steps * 1e6:.2f} us of CPU a step")  # fmt: skip
    return int(found.events.sum()), int(found.bad.sum())


main()
