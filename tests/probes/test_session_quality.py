"""Which timestamps a sample rests on, told by a reflector without a network."""

from __future__ import annotations

import pytest
from stamp_exchange import PEER, WALL_NS

from analytics.windows import SeriesKey, SketchKey
from netslo.metrics import REMARKED, RTT
from netslo.model import Path, Quality
from probes.instant import Instant
from probes.session import Session, SessionPlan
from probes.stamp.answering import Circumstances
from probes.stamp.reflector import Accepted, Reflector
from probes.stamp.tlv import Method, TimestampInformation

MS = 1_000_000
US = 1_000
INTERVAL_NS, TIMEOUT_NS = 100 * MS, 500 * MS
ONE_WAY_NS, DWELL_NS = 5 * MS, 300 * US
SEND_LAG_NS, REPLY_LAG_NS = 40 * US, 60 * US  # from the reading of a clock to the wire


class Line:
    """A session and a reflector, 5 ms apart, and what their kernels say."""

    def __init__(self, *, dscp: int = 46, seen: int = 46, kernel_there: bool = True) -> None:
        plan = SessionPlan(SeriesKey(Path("a", "b", "ef")), INTERVAL_NS, TIMEOUT_NS, dscp=dscp)
        self.session = Session(plan, Instant(WALL_NS, 0), phase_ns=0, count=20)
        self.reflector = Reflector()
        method = Method.SOFTWARE if kernel_there else Method.CONTROL_PLANE
        stamps = TimestampInformation(method_in=method, method_out=Method.CONTROL_PLANE)
        self.circumstances = Circumstances(traffic_class=seen << 2, timestamps=stamps)

    def packet(
        self, *, stamped: bool = True, follow: Method | None = Method.SOFTWARE, lost: bool = False
    ) -> None:
        """Send the next packet and take its answer in."""
        at = Instant(WALL_NS, 0).at_mono(self.session._schedule.next_ns)
        [due] = self.session.take_due(at)
        seq, there = self.session.transmit(due, at)
        left_ns = at.wall_ns + SEND_LAG_NS
        if stamped:
            self.session.transmitted(seq, left_ns)
        came_ns = left_ns + ONE_WAY_NS
        accepted = self.reflector.receive(there, PEER, 60, self.circumstances)
        assert isinstance(accepted, Accepted)
        back = self.reflector.reply(accepted, came_ns, came_ns + DWELL_NS)
        wire_ns = came_ns + DWELL_NS + REPLY_LAG_NS
        if follow is not None:
            self.reflector.transmitted(accepted, wire_ns, follow)
        if not lost:
            self.session.receive(back, at.at_wall(wire_ns + ONE_WAY_NS), stamped=stamped)

    def samples(self) -> dict[Quality, list[float]]:
        """End, and return the smallest and largest RTT of each quality, in seconds."""
        found = {}
        for window in self.session.flush():
            for key, sketch in window.sketches.items():
                if key.metric == RTT:
                    found[key.quality] = [sketch.count, sketch.min, sketch.max]
        return found


def test_with_four_kernel_timestamps_only_the_network_is_left() -> None:
    line = Line()
    for _ in range(10):
        line.packet()
    found = line.samples()
    assert found[Quality.A] == [9, pytest.approx(0.010, abs=2e-9), pytest.approx(0.010, abs=2e-9)]
    assert found[Quality.B][0] == 1  # nobody followed the last one up
    assert found[Quality.B][1] == pytest.approx(0.010 + REPLY_LAG_NS / 1e9, abs=2e-9)


@pytest.mark.parametrize(
    ("options", "packet", "quality"),
    [
        ({}, {"stamped": False}, Quality.C),
        ({"kernel_there": False}, {}, Quality.C),
        ({}, {"follow": Method.CONTROL_PLANE}, Quality.B),
        ({}, {"follow": None}, Quality.B),
    ],
)
def test_a_lesser_timestamp_makes_a_lesser_sample(options, packet, quality) -> None:
    line = Line(**options)
    for _ in range(5):
        line.packet(**packet)
    found = line.samples()
    assert list(found) == [quality]
    assert found[quality][0] == 5


def test_an_answer_waits_for_its_follow_up_no_longer_than_it_may() -> None:
    line = Line()
    line.packet()
    held_until = line.session.next_wakeup_ns
    assert line.session.totals.answered == 0
    for ns, answered in ((0, 0), (line.session.plan.hold_ns + 20 * MS, 1)):
        line.session.settle(Instant(WALL_NS + ns, ns))
        assert line.session.totals.answered == answered
    assert held_until == INTERVAL_NS  # the next packet is due before


@pytest.mark.parametrize("burst", [1, 2, 5])
def test_a_follow_up_that_is_lost_with_its_reply_is_told_again(burst) -> None:
    line = Line()
    fates = [False, False, *[True] * burst, False, False, False, False]
    for lost in fates:
        line.packet(lost=lost)
    found = line.samples()
    assert {quality: values[0] for quality, values in found.items()} == {
        Quality.A: len(fates) - burst - 1,
        Quality.B: 1,  # the last one
    }


def test_a_reflector_which_tells_nothing_again_costs_one_sample() -> None:
    line = Line()
    line.packet()
    line.packet(lost=True)
    [told] = line.reflector._sessions.values()
    told.follow_ups._told.clear()
    for _ in range(6):
        line.packet()
    found = line.samples()
    assert {quality: values[0] for quality, values in found.items()} == {
        Quality.A: 5,
        Quality.B: 2,
    }


def test_remarking_is_counted_by_what_arrived() -> None:
    line = Line(seen=0)
    for _ in range(3):
        line.packet()
    (window,) = line.session.flush()
    assert {key.what: n for key, n in window.counts.items() if key.metric == REMARKED} == {"0": 3}


def test_a_slow_session_does_not_hold_answers_for_minutes() -> None:
    plan = SessionPlan(SeriesKey(Path("a", "b", "ef")), 60_000 * MS, TIMEOUT_NS)
    assert plan.hold_ns == 5_000 * MS


def test_sketches_of_qualities_never_mix() -> None:
    line = Line()
    for number in range(6):
        line.packet(stamped=number % 2 == 0)
    keys = {key for window in line.session.flush() for key in window.sketches}
    assert SketchKey(RTT, Quality.C) in keys
    assert SketchKey(RTT, Quality.A) in keys
