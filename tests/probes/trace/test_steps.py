"""When windows say that a path has changed, and what routes are remembered."""

from __future__ import annotations

import numpy as np
import pytest
from some_windows import PATHS, make_window

from analytics.windows import FORWARD, REVERSE, CountKey, PathWindow
from netslo import metrics
from netslo.route import Hop, Route, TraceProtocol
from probes.trace.memory import RouteMemory
from probes.trace.steps import Cause, StepDetector

RNG = np.random.default_rng(4711)


def window(median_s: float, jitter_s: float = 0.0002, packets: int = 100) -> PathWindow:
    return make_window(rtts=median_s + RNG.exponential(jitter_s, packets))


def silence() -> PathWindow:
    return make_window(rtts=(), lost=100)


def causes(*windows: PathWindow) -> list[Cause | None]:
    detector = StepDetector()
    return list(map(detector.look, windows))


@pytest.mark.parametrize(("before_s", "after_s"), [(0.02, 0.03), (0.02, 0.012), (0.0002, 0.002)])
def test_a_step_is_told_once_and_then_it_is_usual(before_s: float, after_s: float) -> None:
    found = causes(*(window(before_s) for _ in range(6)), *(window(after_s) for _ in range(6)))
    assert found == [None] * 6 + [Cause.RTT] + [None] * 5


def test_noise_is_no_step() -> None:
    for _ in range(20):
        assert causes(*(window(0.02, 0.001) for _ in range(50))) == [None] * 50


def test_what_swings_widely_must_leave_its_range() -> None:
    swinging = [window(0.02 + 0.003 * (i % 2)) for i in range(30)]
    assert causes(*swinging) == [None] * 30
    assert causes(*swinging, window(0.06))[-1] is Cause.RTT


def test_a_few_packets_prove_nothing() -> None:
    assert causes(*(window(0.02) for _ in range(6)), window(0.09, packets=4)) == [None] * 7


@pytest.mark.parametrize("direction", [FORWARD, REVERSE])
def test_a_ttl_that_changes(direction: str) -> None:
    changed = window(0.02)
    changed.counts[CountKey(metrics.TTL_CHANGES, "", direction)] = 1
    assert causes(window(0.02), changed, window(0.02)) == [None, Cause.TTL, None]


def test_silence_and_return_are_told_once_each() -> None:
    found = causes(window(0.02), silence(), silence(), window(0.02), window(0.02))
    assert found == [None, Cause.SILENCE, None, Cause.RETURN, None]
    unmeasured = make_window(rtts=(), unmeasured=10)
    assert causes(window(0.02), unmeasured, window(0.02)) == [None] * 3


def route(*hops: str | None, flow: int = 0, reached: bool = True) -> Route:
    return Route(flow, TraceProtocol.UDP, tuple(map(Hop, hops)), reached)


def test_a_change_carries_what_was_before_and_when_that_was_seen_last() -> None:
    memory = RouteMemory(PATHS[0])
    a, b = route("10.0.0.1", "10.0.1.1"), route("10.0.0.1", "10.0.2.1")
    assert memory.observe(a, 1).previous is None
    assert memory.observe(a, 2).previous is None
    assert memory.differs(b)
    changed = memory.observe(b, 3)
    assert (changed.previous, changed.previous_seen_ns, changed.seen_ns) == (a, 2, 3)
    assert memory.observe(b, 4).previous is None
    assert memory.observe(route("10.0.9.1", flow=1), 5).previous is None


def test_a_clock_set_back_makes_no_sight_of_the_future() -> None:
    memory = RouteMemory(PATHS[0])
    memory.observe(route("10.0.0.1", "10.0.1.1"), 9)
    changed = memory.observe(route("10.0.0.1", "10.0.2.1"), 5)
    assert (changed.seen_ns, changed.previous_seen_ns) == (5, 5)


def test_a_silent_hop_hides_no_change_that_comes_after_it() -> None:
    memory = RouteMemory(PATHS[0])
    memory.observe(route("10.0.0.1", "10.0.1.1"), 1)
    unknown = memory.observe(route(None, "10.0.1.1"), 2)
    assert unknown.previous is None
    assert unknown.route.hops[0].address is None  # it is told as it was seen
    changed = memory.observe(route("10.0.7.1", "10.0.1.1"), 3)
    assert changed.previous == route("10.0.0.1", "10.0.1.1")
    assert changed.previous_seen_ns == 2


def test_a_path_that_breaks_and_mends_changes_twice() -> None:
    memory = RouteMemory(PATHS[0])
    whole, broken = route("10.0.0.1", "10.0.1.1"), route("10.0.0.1", reached=False)
    found = [memory.observe(each, n) for n, each in enumerate([whole, broken, broken, whole])]
    assert [seen.previous is not None for seen in found] == [False, True, False, True]
