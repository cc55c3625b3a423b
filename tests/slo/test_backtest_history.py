"""What a backtest reads of a real store, against a list of what was put in."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from analytics.store.sqlite import SqliteStore
from analytics.windows import Batch, PathWindow, Selector, SeriesKey, SloCounts
from netslo.model import Path, Window
from slo.backtest.history import read_history

DAY_S = 86_400
START_S = 1_790_000_000 // DAY_S * DAY_S
END_S = START_S + 4 * DAY_S
PATHS = (Path("london", "leeds", "ef"), Path("london", "hull", "ef"))
KEYS = tuple(("loss", path) for path in PATHS)


def test_every_event_lies_in_its_row_and_step(tmp_path) -> None:
    rng = np.random.default_rng(7)
    windows, wanted = [], np.zeros((3, len(KEYS), 4 * 288), dtype=np.int64)
    for row, path in enumerate(PATHS):
        for at_s in sorted({int(n) * 10 for n in rng.integers(0, 4 * 8640, 200)}):
            good, bad, unmeasured = (int(n) for n in rng.integers(0, 9, 3))
            counts = {"loss": SloCounts(good, bad, unmeasured), "other": SloCounts(5, 5, 5)}
            windows.append(PathWindow(SeriesKey(path), Window(START_S + at_s), slo=counts))
            wanted[:, row, at_s // 300] += (good + bad, bad, unmeasured)
    with closing(SqliteStore.open(tmp_path / "store.db")) as store:
        store.declare_objectives({"loss": "0.99", "other": "0.99"}, START_S)
        store.append(Batch("london", "one", 1, tuple(windows)), END_S)
        store.maintain(END_S)  # the first two days are now kept in 5 min
        found = read_history(store, KEYS, START_S, END_S)
        fine = read_history(store, KEYS, END_S - DAY_S, END_S, 10)
        of_one = read_history(store, KEYS[:1], START_S, END_S, selector=Selector(path=PATHS[0].id))
        coarse = read_history(store, KEYS, START_S, START_S + DAY_S, 10)
    assert np.array_equal(of_one.events, found.events[:1])
    for counts, of_field in zip((found.events, found.bad, found.unmeasured), wanted, strict=True):
        assert np.array_equal(counts, of_field)
    by_five_minutes = fine.bad.reshape(len(KEYS), 288, 30).sum(axis=2)
    assert np.array_equal(by_five_minutes, wanted[1][:, -288:])
    assert not coarse.events.any()  # known in windows of 5 min only: left out, not smeared
    due = np.flatnonzero((wanted[0] + wanted[2]).any(axis=0))[0]
    assert found.first_s() == START_S + due * 300
    assert found.of("loss").keys == KEYS
