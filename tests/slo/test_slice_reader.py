from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.store.sqlite import HOT_RETENTION_S, SqliteStore
from analytics.windows import Batch, PathWindow, SeriesKey, SloCounts
from netslo.model import Path, Window
from slo.budget import Spend
from slo.exclusion import Covers, Exclusion
from slo.objective import Indicator
from slo.ranges import Ranges, cuts_at
from slo.slice_reader import judge_all, spends_by_slice
from slo.slices import PARTS, TimeSlices
from slo.status import evaluate

T0 = 1_800_000_000  # on a boundary of a day's 5 min
NORTH, SOUTH = Path("london", "leeds", "ef"), Path("leeds", "london", "ef")

ROWS = st.lists(st.tuples(*[st.integers(0, 3000)] * 3), min_size=1, max_size=30)


@given(ROWS, st.none() | st.fractions(Fraction(1, 1000), 1), st.integers(1, 100))
def test_many_slices_are_judged_as_one_by_one(rows, ratio, packets_min):
    slices = TimeSlices(60, ratio, packets_min)
    judged = judge_all(slices, np.array(rows, dtype=np.int64))
    for (good, bad, unmeasured), found in zip(rows, judged.tolist(), strict=True):
        expected = slices.judge(SloCounts(good, bad, unmeasured))
        nothing = good + bad + unmeasured == 0
        assert SloCounts(*found) == (SloCounts() if nothing else expected)


@pytest.fixture
def availability(loss):
    """A minute is good when 90 % of its packets were answered; 99.9 % of minutes are."""
    return replace(
        loss,
        name="up",
        indicator=Indicator.AVAILABILITY,
        target_text="0.999",
        slices=TimeSlices(60, Fraction(9, 10)),
    )


@pytest.fixture
def store(tmp_path, availability):
    with closing(SqliteStore.open(tmp_path / "store.sqlite")) as store:
        store.declare_objectives({availability.name: availability.target_text}, T0 - 86400)
        yield store


def keep(store, *rows, sequence=1, now_s=T0 + 600):
    windows = tuple(
        PathWindow(SeriesKey(path), Window(start_s), slo={"up": SloCounts(*counts)})
        for start_s, path, counts in rows
    )
    store.append(Batch("london", "test", sequence, windows), now_s)


def test_a_minute_with_one_bad_window_is_judged_whole(store, availability):
    keep(
        store,
        *((T0 + 10 * n, NORTH, (50, 0, 0)) for n in range(5)),
        (T0 + 50, NORTH, (0, 50, 0)),  # 250 of 300: 83 %
        (T0 + 60, NORTH, (45, 5, 0)),  # 90 %, good
        (T0 + 120, NORTH, (0, 0, 50)),  # nothing measured
        (T0 + 60, SOUTH, (1, 0, 0)),
    )
    found = spends_by_slice(store, [availability], T0, T0 + 180)
    assert found["up", NORTH] == Spend.under(Fraction("0.999"), 2, 1, 1)
    assert found["up", SOUTH] == Spend.under(Fraction("0.999"), 1, 0)


@pytest.mark.parametrize(
    ("start_s", "end_s", "events"),
    [(-60, 0, 0), (0, 59, 0), (0, 60, 1), (1, 60, 1), (59, 60, 1), (60, 120, 1), (0, 130, 2)],
)
def test_a_slice_counts_when_it_has_ended_and_once(store, availability, start_s, end_s, events):
    keep(store, *((T0 + 10 * n, NORTH, (50, 0, 0)) for n in range(18)))
    found = spends_by_slice(store, [availability], T0 + start_s, T0 + end_s)
    assert found.get(("up", NORTH), Spend()).events == events


def test_a_late_window_changes_its_own_slice(store, availability):
    keep(store, (T0, NORTH, (50, 0, 0)))
    assert spends_by_slice(store, [availability], T0, T0 + 60)["up", NORTH].bad == 0
    keep(store, (T0 + 10, NORTH, (0, 50, 0)), sequence=2)
    assert spends_by_slice(store, [availability], T0, T0 + 60)["up", NORTH].bad == 1


def test_a_day_that_came_late_shows_six_hours_later_at_the_most(store, availability):
    day_s = T0 // 86_400 * 86_400
    ranges = Ranges(store, objectives=[replace(availability, slices=TimeSlices(300, None, 1))])

    def events(now_s):
        return ranges.read(now_s, [4 * 86_400])[4 * 86_400].get(("up", NORTH), Spend()).events

    now_s = day_s + 86_400 + 7 * 3600
    assert events(now_s) == 0
    keep(store, *((day_s + 300 * n, NORTH, (50, 0, 0)) for n in range(288)), now_s=now_s)
    store.maintain(now_s)
    assert events(now_s + 6 * 3600) == 288 * PARTS


def test_a_target_counts_from_its_moment_on(store, availability):
    store.declare_objectives({"up": "0.9"}, T0 + 10)  # in force from T0 + 300
    keep(store, (T0, NORTH, (50, 0, 0)), (T0 + 300, NORTH, (50, 0, 0)))
    found = spends_by_slice(store, [availability], T0, T0 + 600)["up", NORTH]
    assert found.budget == Fraction("0.001") + Fraction("0.1")


def test_shares_are_counted_in_millionths_of_a_slice(store, availability):
    shares = replace(availability, slices=TimeSlices(60, None))
    keep(store, (T0, NORTH, (299, 1, 0)), (T0 + 60, NORTH, (1, 0, 0)))
    found = spends_by_slice(store, [shares], T0, T0 + 120)["up", NORTH]
    assert (found.events, found.bad) == (2 * PARTS, 3333)
    assert found.budget == 2 * PARTS / Fraction(1000)


def test_minutes_whose_windows_have_expired_are_unmeasured_and_never_good(store, availability):
    keep(store, *((T0 + 10 * n, NORTH, (50, 0, 0)) for n in range(30)))
    later_s = T0 + HOT_RETENTION_S + 86400
    keep(store, (later_s, NORTH, (1, 0, 0)), sequence=2, now_s=later_s)
    store.maintain(later_s + 3600)
    found = spends_by_slice(store, [availability], T0, T0 + 300)["up", NORTH]
    assert (found.events, found.unmeasured) == (0, 5)
    five = replace(availability, slices=TimeSlices(300, Fraction(9, 10)))
    assert spends_by_slice(store, [five], T0, T0 + 300)["up", NORTH].events == 1


def test_a_status_counts_slices_and_not_packets(store, availability, estate):
    keep(
        store,
        *((T0 - 2100 + 10 * n, NORTH, (50, 0, 0)) for n in range(180)),
        *((T0 - 300 + 10 * n, NORTH, (0, 50, 0)) for n in range(30)),
    )
    status = next(
        s
        for s in evaluate(Ranges(store, (), [availability]), [availability], estate, T0)
        if s.path == NORTH
    )
    assert (status.events, status.bad_events) == (35, 5)
    assert status.due_events == 28 * 24 * 60
    assert status.coverage == 35 / status.due_events
    assert status.burn_rate["5m"] == 1000
    assert status.burn_rate["1h"] == pytest.approx(1000 / 7)
    assert status.burning


@pytest.mark.parametrize("length_s", [60, 300])
def test_slices_that_touch_an_exclusion_do_not_count(store, availability, estate, length_s):
    sliced = replace(availability, slices=TimeSlices(length_s, Fraction(9, 10)))
    keep(store, *((T0 - 900 + 10 * n, NORTH, (0, 50, 0)) for n in range(90)))
    excluded = Exclusion("x1", T0 - 600, T0 - 300, "alice", "CHG-1", T0, Covers(paths={NORTH}))
    ranges = Ranges(store, [excluded], [sliced])
    status = next(s for s in evaluate(ranges, [sliced], estate, T0) if s.path == NORTH)
    assert status.events == 600 // length_s


def test_a_slice_that_reaches_into_an_exclusion_is_read_again_as_if_there_was_none(
    store, availability
):
    """It ends in a part that no exclusion touches."""
    hourly = replace(availability, slices=TimeSlices(3600, Fraction(9, 10)))
    begin_s = T0 // 3600 * 3600
    now_s = begin_s + 3600 + 900
    keep(store, *((begin_s + 300 * n, NORTH, (0, 50, 0)) for n in range(12)), now_s=now_s)
    off = Exclusion("x1", begin_s, begin_s + 300, "alice", "CHG-1", 0, Covers())
    lengths_s = (1800, 86_400)
    ranges = Ranges(store, [off], [hourly], cuts_at(now_s, lengths_s))
    assert ranges.read(now_s, lengths_s)[86_400].get(("up", NORTH)) is None
    whole = ranges.whole().read(now_s, lengths_s)
    assert whole == Ranges(store, (), [hourly]).read(now_s, lengths_s)
    assert whole[1800]["up", NORTH].bad == 1
