import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netslo.model import Window
from probes.schedule import (
    PeriodicSchedule,
    Timetable,
    count_by_window,
    late_tolerance_ns,
    random_phase_ns,
)

S = 10**9


@given(
    st.integers(1, 10**6),
    st.lists(st.tuples(st.booleans(), st.integers(0, 10**7)), max_size=40),
    st.none() | st.integers(0, 50),
)
def test_every_packet_comes_out_once_and_when_it_was_due_whatever_the_wakeups(
    interval, wakes, count
):
    schedule = PeriodicSchedule(100, interval, count)
    got, now = [], 0
    for skip, pause in wakes:
        now += pause
        if skip:
            first, passed = schedule.skip_before(now)
            got += [first + k * interval for k in range(min(passed, 10_000))]
            if passed > 10_000:
                return
        else:
            for _ in range(200):
                due = schedule.take(now)
                if due is None:
                    break
                got.append(due)
    assert got == [100 + k * interval for k in range(len(got))]
    assert count is None or len(got) <= count


@pytest.mark.parametrize(("limit", "passed"), [(99, 0), (100, 0), (101, 1), (110, 1), (111, 2)])
def test_what_is_due_at_the_limit_itself_is_not_skipped(limit, passed):
    schedule = PeriodicSchedule(100, 10)
    assert schedule.skip_before(limit) == (100, passed)
    assert schedule.next_ns == 100 + passed * 10


def test_the_millionth_packet_is_exactly_a_million_intervals_after_the_first():
    schedule = PeriodicSchedule(7, 200_000_001)
    schedule.skip_before(7 + 10**6 * 200_000_001)
    assert schedule.next_ns == 7 + 10**6 * 200_000_001


def test_a_stopped_schedule_has_no_next():
    schedule = PeriodicSchedule(0, 10)
    schedule.take(0)
    schedule.stop()
    assert schedule.next_ns is None
    assert schedule.take(10**9) is None
    assert schedule.skip_before(10**9)[1] == 0


def test_an_interval_of_nothing_is_a_callers_mistake():
    with pytest.raises(ValueError, match="must be positive"):
        PeriodicSchedule(0, 0)


@given(st.integers(0, 100 * S), st.integers(1, 30 * S), st.integers(0, 300))
def test_counting_by_window_is_counting_one_by_one(first, interval, count):
    naive = Counter(Window.containing(first + k * interval) for k in range(count))
    assert dict(count_by_window(first, interval, count)) == naive


def test_counting_a_days_packets_takes_a_step_per_window():
    assert len(list(count_by_window(0, 1_000_000, 86_400 * 1000))) == 8640


def test_phases_fill_the_interval_evenly():
    rng = random.Random(4)
    phases = [random_phase_ns(1000, rng) for _ in range(2000)]
    assert min(phases) < 20
    assert max(phases) > 980
    assert sum(phases) / 2000 == pytest.approx(500, abs=25)


@pytest.mark.parametrize(("interval_ms", "tolerance_ms"), [(1, 100), (100, 100), (5000, 5000)])
def test_lateness_is_tolerated_for_an_interval_or_100_ms(interval_ms, tolerance_ms):
    assert late_tolerance_ns(interval_ms * 10**6) == tolerance_ms * 10**6


@given(st.lists(st.integers(0, 100)), st.integers(0, 100))
def test_a_timetable_gives_what_is_due_by_time_and_equal_times_in_order(times, now):
    timetable = Timetable()
    for position, when in enumerate(times):
        timetable.push(when, (when, position))
    assert timetable.next_ns == min(times, default=None)
    assert timetable.pop_due(now) == sorted((t, p) for p, t in enumerate(times) if t <= now)
    assert timetable.next_ns == min((t for t in times if t > now), default=None)


def test_a_timetable_gives_at_most_as_many_as_asked():
    timetable = Timetable()
    for when in (3, 1, 2):
        timetable.push(when, when)
    assert timetable.pop_due(9, 2) == [1, 2]
    assert timetable.pop_due(9, 2) == [3]
