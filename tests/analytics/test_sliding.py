"""Sliding percentiles against every point, kept and merged anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.frame import Frame
from analytics.horizons import HORIZONS, Horizon, checked
from analytics.sketch import Sketch
from analytics.sliding import Sliding
from analytics.tables import distributions_of, numbers_of

T0 = 1_800_000_000
QS = [0.5, 0.99, 0.0, 1.0]
SHORT = (Horizon(60, 10), Horizon(300, 10), Horizon(1200, 300))


pytestmark = pytest.mark.usefixtures("kernels")


def frame_of(points) -> Frame:
    """Return points (stream, start, values) as a frame."""
    sketches = []
    for _, _, values, scale in points:
        sketches.append(Sketch(scale))
        sketches[-1].add(np.array(values))
    places = [(stream, start_s) for stream, start_s, _, _ in points]
    numbers = (numbers_of((), np.uint64), numbers_of((), np.float64))
    return Frame(distributions_of(places, sketches), *numbers)


def check(sliding: Sliding, points, streams: int) -> None:
    """Compare every horizon with what a list of all points says."""
    for horizon in sliding.horizons:
        start_s, end_s = sliding.span(horizon)
        assert end_s == sliding.now_s
        assert start_s % horizon.pane_s == 0
        assert horizon.length_s - horizon.pane_s <= end_s - start_s <= horizon.length_s
        whole = [Sketch() for _ in range(streams)]
        for stream, at, values, scale in points:
            if start_s <= at < end_s:
                sketch = Sketch(scale)
                sketch.add(np.array(values))
                whole[stream].merge(sketch)
        found = sliding.view(horizon).quantiles(QS)
        expected = np.array([s.quantiles(QS) for s in whole])[: len(found)]
        assert np.array_equal(found, expected, equal_nan=True)
        assert all(not s.count for s in whole[len(found) :])


VALUES = st.lists(st.floats(1e-3, 10) | st.just(0.0) | st.floats(-1, -1e-3), max_size=5)
POINT = st.tuples(
    st.integers(0, 2), st.integers(-200, 40), VALUES, st.sampled_from([7, 7, 7, 7, 5])
)
STEP = st.tuples(st.lists(POINT, max_size=5), st.sampled_from([0, 10, 10, 70, 300, 1300, 90_000]))


@settings(deadline=None, max_examples=60)  # of up to twelve steps, each checked twice
@given(st.lists(STEP, max_size=12))
def test_it_agrees_with_all_points_however_late_they_come(steps) -> None:
    sliding, now_s, points = Sliding(SHORT, T0), T0, []
    oldest_s, refused = None, 0
    for batch, passed_s in steps:
        placed = [
            (stream, now_s + 10 * tens, values, scale) for stream, tens, values, scale in batch
        ]
        oldest_s = min(sliding.span(h)[0] for h in SHORT)
        refused += sum(not oldest_s <= at < now_s for _, at, _, _ in placed)
        sliding.add(frame_of(placed))
        points += [point for point in placed if oldest_s <= point[1] < now_s]
        check(sliding, points, 3)
        now_s += passed_s
        sliding.advance(now_s)
        check(sliding, points, 3)
    assert sliding.expired + sliding.early == refused


def test_a_month_of_windows_is_there_at_once_and_goes_again() -> None:
    rng = np.random.default_rng(2)
    sliding = Sliding(HORIZONS, T0)
    points = [
        (stream, T0 - back_s - back_s % 10, rng.lognormal(-3, 1, 50).tolist(), 7)
        for stream in range(3)
        for back_s in (10, 250, 3000, 20_000, 80_000, 400_000, 2_000_000)
    ]
    sliding.add(frame_of(points))
    check(sliding, points, 3)
    for passed_s in (60, 3600, 86_400, 7 * 86_400, 30 * 86_400):
        sliding.advance(T0 + passed_s)
        check(sliding, points, 3)
    assert all(not level for level in sliding._panes.values())


def test_many_windows_of_one_pane_are_kept_as_one() -> None:
    sliding = Sliding(SHORT, T0 + 300)
    points = [(0, T0 + 10 * (k % 30), [0.01 * (k + 1)], 7) for k in range(200)]
    for point in points:
        sliding.add(frame_of([point]))
    check(sliding, points, 1)
    assert all(
        len(pane.frames()) <= 17 for level in sliding._panes.values() for pane in level.values()
    )


def test_lost_packets_count_as_infinite_where_asked() -> None:
    sliding = Sliding(SHORT, T0 + 10)
    sliding.add(frame_of([(0, T0, [1.0, 2.0], 7)]))
    view, lost = sliding.view(SHORT[0]), np.array([2], dtype=np.uint64)
    assert view.quantiles([0.9], lost).tolist() == [[np.inf]]
    low, high = view.cdf([1.5])
    assert low.tolist() == high.tolist() == [[0.5]]
    assert np.isnan(view.intervals(0.5)).all()


def test_horizons_that_do_not_nest_are_refused() -> None:
    for wrong in ((), (Horizon(60, 10), Horizon(300, 15)), (Horizon(60, 10), Horizon(60, 60))):
        with pytest.raises(ValueError, match=r"horizon|panes"):
            checked(wrong)
    with pytest.raises(ValueError, match="whole number"):
        Horizon(65, 10)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-900, -10), st.integers(0, 9))))
def test_counters_and_specials_slide_too(points) -> None:
    sliding = Sliding(SHORT, T0)
    placed = [(stream, T0 + at - at % 10, value) for stream, at, value in points]
    counters = numbers_of(placed, np.uint64)
    specials = frame_of([(stream, at, [np.nan] * n + [0.0], 7) for stream, at, n in placed])
    sliding.add(replace(specials, counters=counters))
    for passed_s in (0, 50, 400, 1000):
        sliding.advance(T0 + passed_s)
        for horizon in SHORT:
            start_s, end_s = sliding.span(horizon)
            inside = [(s, n) for s, at, n in placed if start_s <= at < end_s]
            view = sliding.view(horizon)
            for stream, found in enumerate(view.counters.tolist()):
                mine = [n for s, n in inside if s == stream]
                assert found == view.rows.statistics.nan_count[stream] == sum(mine)
                assert view.counts()[stream] == len(mine)


def test_panes_that_have_ended_are_packed_and_take_late_points() -> None:
    rng = np.random.default_rng(3)
    sliding, points = Sliding(HORIZONS, T0), []
    for begin_s in range(0, 300, 10):
        fresh = [(n, T0 + begin_s, rng.lognormal(-3, 1, 500).tolist(), 7) for n in range(20)]
        sliding.advance(T0 + begin_s + 10)
        sliding.add(frame_of(fresh))
        points += fresh
    panes = [sliding._panes[10][T0 + begin_s] for begin_s in range(0, 300, 10)]
    assert max(pane.nbytes for pane in panes[:-3]) < min(pane.nbytes for pane in panes[-2:]) / 3
    late = (3, T0 + 100, [0.5, 0.7], 7)
    sliding.add(frame_of([late]))
    check(sliding, [*points, late], 20)
    sliding.advance(T0 + 400)  # some of it has left
    check(sliding, [*points, late], 20)
