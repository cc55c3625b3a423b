"""A quarter and ninety days from a real store, most of which outlived its windows."""

from __future__ import annotations

import json
import pathlib
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from click.testing import CliRunner

from analytics.sketch import Sketch
from analytics.store.packed_days import SETTLED_S, TABLE
from analytics.store.sqlite import SqliteStore
from analytics.windows import Batch, PathWindow, SeriesKey, SketchKey, SloCounts
from netslo.errors import ConfigurationError, NetsloError
from netslo.metrics import RTT
from netslo.model import Path, Quality, Window
from slo.cli import slo
from slo.forecast.days import DailySpends
from slo.forecast.exhaustion import forecast
from slo.objective import CalendarWindow, PathSelector
from slo.ranges import Ranges

DAY_S, HOUR_S = 86_400, 3600
EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "uk"
PATHS = (Path("london", "leeds", "ef"), Path("leeds", "london", "ef"))
SLO = "national-latency"
# The last quarter of 2026 in London: 92 days, one of them of 25 hours; it begins at 23:00 UTC.
QUARTER = CalendarWindow("1Q", "2026-01-01 00:00:00", "Europe/London")
BEGIN_S = int(datetime(2026, 10, 1, tzinfo=ZoneInfo("Europe/London")).timestamp())
END_S = int(datetime(2027, 1, 1, tzinfo=ZoneInfo("Europe/London")).timestamp())
FIRST_S = int(datetime(2026, 9, 28, tzinfo=UTC).timestamp())
Counted = dict[tuple[Path, int], SloCounts]


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> tuple[pathlib.Path, Counted]:
    """A store of 95 days, maintained day by day, and all that was put in, by path and time."""
    folder = tmp_path_factory.mktemp("long") / "uk"
    shutil.copytree(EXAMPLE, folder)
    (folder / "netslo-data").mkdir()
    rng, counted = np.random.default_rng(11), {}
    sketch = Sketch()
    sketch.add(np.full(100, 0.01))
    with closing(SqliteStore.open(folder / "netslo-data" / "store.sqlite")) as store:
        store.declare_objectives({SLO: "0.999"}, FIRST_S)
        for sequence, day_s in enumerate(range(FIRST_S, END_S, DAY_S)):
            windows = []
            for at_s in range(day_s, day_s + DAY_S, HOUR_S):
                for path in PATHS:
                    bad = int(rng.integers(0, 3)) + 200 * (rng.random() < 0.002)
                    counts = SloCounts(1500 - bad, bad, int(rng.integers(0, 2)))
                    counted[path, at_s] = counts
                    sketches = {SketchKey(RTT, Quality.A): sketch}
                    own = PathWindow(SeriesKey(path), Window(at_s), sketches=sketches)
                    windows.append(replace(own, slo={SLO: counts}))
            for of_site in ([w for w in windows if w.key.path == path] for path in PATHS):
                site = of_site[0].key.path.src
                store.append(Batch(site, site, sequence, tuple(of_site)), day_s + DAY_S)
            store.maintain(day_s + DAY_S + SETTLED_S)
        kept = store.kept_from()
        assert kept.counts_s <= FIRST_S
        assert END_S - 37 * DAY_S < kept.distributions_s <= END_S - 35 * DAY_S
    return folder, counted


def summed(counted: Counted, path: Path, start_s: int, end_s: int) -> SloCounts:
    found = SloCounts()
    for (of_path, at_s), counts in counted.items():
        if of_path == path and start_s <= at_s < end_s:
            found.add(counts)
    return found


@pytest.mark.parametrize("left_s", [300, 40 * DAY_S + 1800])
def test_a_quarter_of_92_days_is_known_to_the_event(history, latency, estate, left_s) -> None:
    folder, counted = history
    assert (END_S - BEGIN_S) == 2209 * HOUR_S
    now_s = END_S - left_s
    objective = replace(
        latency, name=SLO, calendar=QUARTER, selector=PathSelector(paths=frozenset(PATHS))
    )
    with closing(SqliteStore.open(folder / "netslo-data" / "store.sqlite", readonly=True)) as store:
        days = DailySpends(Ranges(store), [objective], estate)
        found = forecast(days, [objective], now_s, pytest.fail)
        again = forecast(days, [objective], now_s, pytest.fail)  # by what it remembers
    assert {path for _, path in found} == set(PATHS)
    assert found == again
    for (_, path), exhaustion in found.items():
        own = summed(counted, path, BEGIN_S, now_s)
        so_far = exhaustion.so_far
        assert (so_far.start_s, so_far.since_s) == (BEGIN_S, BEGIN_S)
        assert so_far.bad == own.bad
        assert so_far.budget == pytest.approx(own.events * 0.001, rel=1e-12)
        assert exhaustion.calendar.end_s == END_S
        said = exhaustion.to_json()["calendar"]
        assert (said["start"], said["bad_events"]) == (BEGIN_S, own.bad)


def run(folder, *words: str):
    return CliRunner().invoke(slo, ["backtest", "-c", str(folder), "--slo", SLO, *words])


def test_a_backtest_of_ninety_days_has_every_event(history) -> None:
    folder, counted = history
    words = ["--from", "90d", "--to", "2027-01-01T00:00:00Z", "--target", "99.95%", "--json"]
    result = run(folder, *words)
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["kept_from"] is None or found["kept_from"] <= FIRST_S
    for outcome, share in (("now", 0.001), ("changed", 0.0005)):
        by_path = {each["path"]: each for each in found[outcome]["paths"]}
        for path in PATHS:
            own = summed(counted, path, END_S - 90 * DAY_S, END_S)
            said = by_path[path.id]
            assert (said["events"], said["bad_events"]) == (own.events, own.bad)
            assert said["budget_events"] == pytest.approx(own.events * share)
    assert len(found["changed"]["alerts"]) >= len(found["now"]["alerts"])


def test_a_threshold_asks_for_a_time_that_has_distributions(history) -> None:
    folder, _ = history
    words = ["--to", "2027-01-01T00:00:00Z", "--threshold", "80ms"]
    result = run(folder, "--from", "90d", *words)
    assert isinstance(result.exception, ConfigurationError)
    said = str(result.exception)
    assert "distributions, which tell of it, are kept from 2026-11-26T00:00:00Z on" in said
    assert run(folder, "--from", "2026-11-26T00:00:00Z", *words).exit_code == 0
    assert run(folder, "--from", "28d", *words).exit_code == 0


def test_a_damaged_day_ends_a_backtest_with_one_message(history, tmp_path) -> None:
    folder = tmp_path / "uk"
    shutil.copytree(history[0], folder)
    with closing(sqlite3.connect(folder / "netslo-data" / "store.sqlite")) as connection:
        query = f"UPDATE {TABLE} SET numbers = x'0200' WHERE start_s = ?"
        connection.execute(query, (FIRST_S + 30 * DAY_S,))
        connection.commit()
    words = ["backtest", "-c", str(folder), "--slo", SLO, "--to", "2026-12-31T00:00:00Z"]
    result = CliRunner().invoke(slo, [*words, "--from", "80d"])
    assert isinstance(result.exception, NetsloError)
    assert "the store is damaged" in str(result.exception)
