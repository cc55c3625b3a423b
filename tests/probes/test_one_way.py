"""One-way delays: facts where both clocks allow it, variation where they do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_outcomes import INTERVAL_NS, outcomes_of

from analytics.windows import (
    DIRECTIONS,
    FORWARD,
    IMPRECISE,
    REVERSE,
    UNSYNCHRONISED,
    CountKey,
    SeriesKey,
    SketchKey,
    SloCounts,
)
from netslo import metrics
from netslo.model import Direction, Measure, Path, Quality, SloThreshold, Window
from probes.clock import ClockState
from probes.stamp.error_estimate import ErrorEstimate
from probes.statistics import WindowStatistics

MS, US = 1_000_000, 1_000
FREE = ErrorEstimate.bounding(100 * US, synchronised=False).encode()
GOOD_CLOCK = ClockState(synchronised=True, error_ns_max=100 * US)


def far(error_ns: int) -> int:
    return ErrorEstimate.bounding(error_ns, synchronised=True).encode()


def closed(
    forward_ms, backward_ms, *, clock=GOOD_CLOCK, far_error=far(100 * US), quality=0, slo=()
):
    forward_ns = np.round(np.array(forward_ms) * MS).astype(np.int64)
    backward_ns = np.round(np.array(backward_ms) * MS).astype(np.int64)
    rows = outcomes_of(
        "a" * len(forward_ns),
        forward_ns=forward_ns,
        backward_ns=backward_ns,
        rtt_ns=forward_ns + backward_ns,
        far_error=far_error,
        quality=quality,
    )
    statistics = WindowStatistics(SeriesKey(Path("a", "b", "ef")), INTERVAL_NS)
    return statistics.close(Window(0), rows, slo, clock)


def withheld(window) -> dict[tuple[str, str], int]:
    return {
        (key.what, key.direction): count
        for key, count in window.counts.items()
        if key.metric == metrics.WITHHELD_DELAYS
    }


def test_two_good_clocks_give_delays_with_their_error() -> None:
    window = closed([5.0, 6.0, 9.0], [7.0, 7.0, 8.0])
    forward = window.sketches[SketchKey(metrics.DELAY, Quality.A, FORWARD)]
    reverse = window.sketches[SketchKey(metrics.DELAY, Quality.A, REVERSE)]
    assert (forward.min, forward.max) == pytest.approx((0.005, 0.009))
    assert (reverse.min, reverse.max) == pytest.approx((0.007, 0.008))
    assert window.delay_error_s == pytest.approx(200e-6, rel=0.02)
    assert window.delay_error_s >= 200e-6
    assert not withheld(window)
    assert window.delay_variation(FORWARD) is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"clock": ClockState(synchronised=False, error_ns_max=10)}, UNSYNCHRONISED),
        ({"clock": ClockState(synchronised=True, error_ns_max=None)}, UNSYNCHRONISED),
        ({"far_error": FREE}, UNSYNCHRONISED),
        ({"far_error": -1}, UNSYNCHRONISED),
        ({"far_error": 0x8000}, UNSYNCHRONISED),  # a multiplier of 0 is no estimate
        ({"far_error": [far(1), FREE, far(1)]}, UNSYNCHRONISED),
        ({"far_error": far(4900 * US)}, IMPRECISE),
        ({"far_error": [far(1), far(1), far(4900 * US)]}, IMPRECISE),
    ],
)
def test_else_only_the_variation_is_told_and_why(options, reason) -> None:
    window = closed([5.0, 6.0, 9.0], [5.0, 5.0, 5.5], **options)
    assert {key.metric for key in window.sketches if key.direction} == {metrics.DELAY_VARIATION}
    assert withheld(window) == {(reason, direction): 3 for direction in DIRECTIONS}
    variation = window.delay_variation(FORWARD)
    assert (variation.min, variation.max) == pytest.approx((0.0, 0.004))
    assert (window.delay_error_s is None) == (reason == UNSYNCHRONISED)


def test_each_direction_is_judged_by_its_own_delays() -> None:
    window = closed([20.0, 21.0], [0.1, 0.3])
    assert window.delay(FORWARD).count == 2
    assert window.delay(REVERSE) is None
    assert withheld(window) == {(IMPRECISE, REVERSE): 2}


def test_objectives_judge_no_delay_that_is_withheld() -> None:
    slo = tuple(
        SloThreshold(way, 0.0205, Measure.DELAY, Direction(way)) for way in (FORWARD, REVERSE)
    )
    window = closed([20.0, 21.0], [0.1, 0.3], slo=slo)
    assert window.slo[FORWARD] == SloCounts(1, 1, 0)
    assert window.slo[REVERSE] == SloCounts(0, 0, 2)
    window = closed([20.0, 21.0], [20.0, 21.0], far_error=FREE, slo=slo)
    assert window.slo[FORWARD] == window.slo[REVERSE] == SloCounts(0, 0, 2)


def test_negative_delays_are_counted_and_are_no_facts() -> None:
    window = closed([-3.0, -2.0, 1.0], [13.0, 12.0, 12.0])
    assert window.counts[CountKey(metrics.NEGATIVE_DELAYS, "", FORWARD)] == 2
    assert window.counts[CountKey(metrics.NEGATIVE_DELAYS, "", REVERSE)] == 0
    assert withheld(window) == {(IMPRECISE, FORWARD): 3}
    assert window.delay_variation(FORWARD).count == 3


@settings(deadline=None)
@given(
    st.integers(-(10**10), 10**10),
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)), min_size=1, max_size=20),
)
def test_the_true_offset_of_the_clocks_is_within_the_stated_bound(offset_ns, ways) -> None:
    """Whatever the delays, and however asymmetric: by what is played, not by what is claimed."""
    forward = [there + offset_ns / MS for there, _ in ways]
    backward = [back - offset_ns / MS for _, back in ways]
    window = closed(forward, backward, clock=ClockState(synchronised=False, error_ns_max=None))
    off_s = abs(window.clock_offset_s - offset_ns / 1e9)
    assert off_s <= window.clock_offset_error_s + 2e-9
    quickest = min(there + back for there, back in ways)
    assert window.clock_offset_error_s == pytest.approx(quickest / 2e3, abs=2e-9)


def test_qualities_stay_apart() -> None:
    window = closed([5.0, 6.0, 9.0], [5.0, 5.0, 5.5], quality=[0, 2, 2])
    counts = {k.quality: s.count for k, s in window.sketches.items() if k.direction == FORWARD}
    assert counts == {Quality.A: 1, Quality.C: 2}


def test_a_far_end_that_tells_no_times_has_no_one_way_figures() -> None:
    statistics = WindowStatistics(SeriesKey(Path("a", "b", "ef")), INTERVAL_NS)
    window = statistics.close(Window(0), outcomes_of("aaa"), (), GOOD_CLOCK)
    assert not [key for key in window.sketches if key.direction]
    assert (window.clock_offset_s, window.delay_error_s) == (None, None)
    assert not withheld(window)
