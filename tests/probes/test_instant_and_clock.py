import time

from hypothesis import given
from hypothesis import strategies as st

from probes.clock import ClockState, read_clock_state
from probes.instant import Instant, read_clocks

NS = st.integers(-(2**62), 2**62)


@given(NS, NS, NS)
def test_moving_along_one_clock_moves_the_other_as_far(wall_ns, mono_ns, by_ns):
    now = Instant(wall_ns, mono_ns)
    moved = Instant(wall_ns + by_ns, mono_ns + by_ns)
    assert now.at_wall(wall_ns + by_ns) == moved
    assert now.at_mono(mono_ns + by_ns) == moved
    assert moved.offset_ns == now.offset_ns


def test_both_clocks_are_read_as_one_moment():
    offsets = [read_clocks().offset_ns for _ in range(200)]
    assert max(offsets) - min(offsets) < 5_000_000


def test_a_reading_interrupted_by_the_scheduler_is_taken_again(monkeypatch):
    readings = iter([0, 9_000_000, 9_000_100, 9_000_300])  # the first pair spans 9 ms
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(readings))
    monkeypatch.setattr(time, "time_ns", lambda: 77)
    assert read_clocks() == Instant(77, 9_000_200)


def test_of_readings_that_were_all_interrupted_the_shortest_stands(monkeypatch):
    readings = iter([0, 900_000, 0, 300_000, 0, 200_000, 0, 800_000])
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(readings))
    assert read_clocks().mono_ns == 100_000


def test_the_kernel_tells_the_clocks_state_without_privilege():
    state = read_clock_state()
    assert isinstance(state.synchronised, bool)
    assert state.error_s_max is None or 0 <= state.error_s_max < 3600


def test_a_state_becomes_an_error_estimate_not_below_it():
    estimate = ClockState(synchronised=True, error_ns_max=1_234_567).error_estimate()
    assert estimate.synchronised
    assert 0.001234567 <= estimate.error_s <= 0.001234567 * 1.01


def test_an_unknown_error_is_the_largest_and_not_zero():
    estimate = ClockState(synchronised=False, error_ns_max=None).error_estimate()
    assert not estimate.synchronised
    assert estimate.error_s > 3600 * 24 * 365
