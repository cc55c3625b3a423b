"""A backtest of 90 days from a real store: reading what was counted, and judging it twice.

And the dates at which budgets are used up, as a collector works them out when it has started and
then every quarter of an hour. `python benchmarks/quarter.py [PATHS]`, 1,000 of them unless told
otherwise. Days are written as maintenance leaves them, without the windows of 5 min that they
would have been copied from.
"""

from __future__ import annotations

import itertools
import pathlib
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from support.objective import loss_objective
from support.traffic import estate_of

from analytics import _kernels
from analytics.day_columns import pack_days
from analytics.day_layout import STEP_S, STEPS
from analytics.frame import Frame
from analytics.store import packed_days
from analytics.store.interface import DAY_S
from analytics.store.sqlite import SqliteStore
from analytics.store.tiers import DAY, put_rows, rows_of
from analytics.tables import Numbers
from analytics.windows import Batch, PacketCounts, PathWindow, Selector, SeriesKey, SloCounts
from netslo.estate import Estate, ProbingPlan
from netslo.model import Path, Scope, Window
from slo.backtest.backtest import Question, run
from slo.backtest.history import read_history
from slo.backtest.replay import THREADS
from slo.forecast.days import DailySpends
from slo.forecast.exhaustion import forecast
from slo.objective import CalendarWindow
from slo.ranges import Ranges

DAYS, JUDGED = 93, 90  # windows of three days reach back before what is judged
SLOS = ("loss", "latency", "national-latency")
T0 = 1_800_057_600  # midnight, UTC
END_S = T0 + DAYS * DAY_S
DUE = 1500  # packets in 5 min
BACKGROUND = 0.0002  # a fifth of the budget of 99.9 %
INCIDENT, INCIDENT_STEPS = 0.2, 24
AT_ONCE = 500  # series in memory
OBJECTIVE = loss_objective(Scope)


def main() -> None:
    network = estate_of(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, 1)
    network = replace(network, plan=ProbingPlan(STEP_S / DUE, 1.0))
    paths = network.paths
    _kernels.load()
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "store.sqlite"
        began = time.perf_counter()
        size = _fill(file, paths)
        print(f"{len(paths):,} paths x {DAYS} days, {len(paths) * DAYS * STEPS:,} steps: "
              f"{size / len(paths) / DAYS:,.0f} octets a path and day, "
              f"store of {file.stat().st_size / 1e6:,.0f} MB "
              f"(made in {time.perf_counter() - began:.0f} s)")  # fmt: skip
        with closing(SqliteStore.open(file, readonly=True)) as store:
            read_history(store, [(SLOS[0], path) for path in paths[:1]], T0, END_S)  # kernels
            _read(store, paths)
            _judge(store, network, paths)
            _forecast(store, network)
    print(f"  memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB at most")


def _fill(file: pathlib.Path, paths: Sequence[Path]) -> int:
    """Make a store; return how many octets its copies have."""
    rng = np.random.default_rng(1)
    with closing(SqliteStore.open(file)) as store:
        store.declare_objectives(dict.fromkeys(SLOS, "0.999"), T0 - DAY_S)
        for number, src in enumerate(dict.fromkeys(path.src for path in paths)):
            own = [_window(path) for path in paths if path.src == src]
            store.append(Batch(src, src, number, tuple(own)), END_S)
        store.maintain(END_S + 600)
        streams, series_of = store.streams, store.streams.series_of()
        one = Frame.of([_window(path) for path in paths], streams).counters
        is_bad = np.array([getattr(s.about, "field", "") in ("bad", "lost") for s in streams])
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("PRAGMA synchronous = OFF")
            for day_s in range(T0, END_S, DAY_S):
                for low in range(0, len(paths), AT_ONCE):
                    series = list(range(low, min(low + AT_ONCE, len(paths))))
                    mine = np.isin(series_of[one.stream], series)
                    streams_of = one.stream[mine]
                    value = _values(rng, streams_of, is_bad, series_of, series)
                    steps_s = np.tile(day_s + STEP_S * np.arange(STEPS), len(streams_of))
                    counters = Numbers(np.repeat(streams_of, STEPS), steps_s, value.reshape(-1))
                    days = pack_days(counters, series_of, day_s, series)
                    connection.executemany(
                        f"INSERT OR REPLACE INTO {packed_days.TABLE} VALUES (?, ?, ?)",
                        zip(series, itertools.repeat(day_s), days),
                    )
                    whole = Numbers(streams_of, np.full(len(streams_of), day_s), value.sum(axis=1))
                    frame = replace(Frame.empty(DAY_S), counters=whole)
                    put_rows(connection, DAY, rows_of(frame, series_of, DAY))
            marks = {"packed_from": END_S, "hot_from": END_S, "warm_from": END_S - 35 * DAY_S}
            connection.executemany("INSERT OR REPLACE INTO watermarks VALUES (?, ?)", marks.items())
            query = f"SELECT sum(length(numbers)) FROM {packed_days.TABLE}"
            return int(connection.execute(query).fetchone()[0])


def _values(rng, streams, is_bad, series_of, series: Sequence[int]):
    """Return (streams, steps) with a little loss all the time, and an incident now and then."""
    owner = series_of[streams] - series[0]
    bad = rng.poisson(DUE * BACKGROUND, (len(series), STEPS))
    for row in np.flatnonzero(rng.random(len(series)) < 1 / 900):
        at = int(rng.integers(0, STEPS - INCIDENT_STEPS))
        bad[row, at : at + INCIDENT_STEPS] = rng.binomial(DUE, INCIDENT, INCIDENT_STEPS)
    return np.where(is_bad[streams][:, None], bad[owner], DUE - bad[owner]).astype(np.uint64)


def _window(path: Path) -> PathWindow:
    events = {slo: SloCounts(DUE, 1) for slo in SLOS}
    return PathWindow(SeriesKey(path), Window(END_S - 10), PacketCounts(DUE, 1), slo=events)


def _read(store: SqliteStore, paths: Sequence[Path]) -> None:
    by_site: dict[str, list[Path]] = {}
    for path in paths:
        by_site.setdefault(path.src, []).append(path)
    began, began_cpu, steps, bad = time.perf_counter(), time.process_time(), 0, 0
    for src, own in by_site.items():
        keys = [(SLOS[0], path) for path in own]
        history = read_history(store, keys, T0, END_S, selector=Selector(src=src))
        assert history.events.min() == DUE or history.events[:, :-1].min() == DUE
        steps += history.events.size
        bad += int(history.bad.sum())
    _say("read", began, began_cpu, steps)


def _judge(store: SqliteStore, network: Estate, paths: Sequence[Path]) -> None:
    changed = replace(OBJECTIVE, target_text="0.9995")
    for what, other in (("backtest", None), ("--target 99.95%", changed)):
        span, eras = (END_S - JUDGED * DAY_S, END_S), [(0, OBJECTIVE.target_text)]
        question = Question(OBJECTIVE, other, network, paths, *span, eras)
        began, began_cpu = time.perf_counter(), time.process_time()
        found = run(store, question)
        last = found.changed[-1] if found.changed else found.now
        _say(f"{what}", began, began_cpu, len(paths) * DAYS * STEPS)
        print(
            f"    {last.total.bad:,} bad events, {len(last.episodes):,} alerts, {THREADS} threads"
        )


def _forecast(store: SqliteStore, network: Estate) -> None:
    """Work dates out for objectives with a calendar period that has all of the days behind it."""
    begin = datetime.fromtimestamp(T0, UTC).replace(tzinfo=None).isoformat()
    calendar = CalendarWindow(f"{DAYS + 1}d", begin, "UTC")
    objectives = [replace(OBJECTIVE, name=name, calendar=calendar) for name in SLOS]
    days = DailySpends(Ranges(store, (), objectives), objectives, network)
    for when in ("at a start", "later"):
        began, began_cpu = time.perf_counter(), time.process_time()
        found = forecast(days, objectives, END_S, print)
        wall_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
        print(f"  {f'dates {when}':16} {wall_s:7.2f} s, {cpu_s:7.2f} CPU-s, {len(found):,} budgets")


def _say(what: str, began: float, began_cpu: float, steps: int) -> None:
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    scale = 10_000 * JUDGED * STEPS / steps
    print(f"  {what:16} {wall_s:7.2f} s, {cpu_s:7.2f} CPU-s, {cpu_s / steps * 1e9:6.1f} ns of CPU "
          f"a step; 10,000 paths x {JUDGED} days: {wall_s * scale:.1f} s")  # fmt: skip


main()
