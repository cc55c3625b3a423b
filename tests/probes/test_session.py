"""The session against a naive account of the same packets, under every misfortune at once."""

import struct
from collections import defaultdict
from dataclasses import dataclass

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from analytics.windows import PacketCounts, PathWindow, SeriesKey, SketchKey, SloCounts
from netslo.metrics import JITTER, LOSS_DISTANCE, RTT
from netslo.model import Path, Quality, SloThreshold, Window
from probes.instant import Instant
from probes.ntp import ntp_from_unix_ns
from probes.session import CLOCK_STEP_NS, READ_GRACE_NS, Session, SessionPlan
from probes.stamp.events import Discarded, Late
from probes.stamp.sender import Sender

MS = 1_000_000
S = 1_000 * MS
KEY = SeriesKey(Path("london", "leeds", "ef"))
SLOS = (SloThreshold("fast", 0.1), SloThreshold("delivered", None))
TIMEOUT_NS = 1 * S
START = Instant(1_800_000_000 * S + 3 * S, 1_000 * S)
INTERVAL_NS = 250 * MS
TOLERANCE_NS = 250 * MS


def answer(request: bytes, dwell_ns: int = 0) -> bytes:
    seq, t1, error, ssid = struct.unpack_from("!IQHH", request)
    t3 = ntp_from_unix_ns(START.wall_ns + dwell_ns)
    t2 = ntp_from_unix_ns(START.wall_ns)
    return struct.pack("!IQHHQIQHHB3x", seq, t3, 1, ssid, t2, seq, t1, error, 0, 64)


def make_session(**options) -> Session:
    plan = SessionPlan(KEY, INTERVAL_NS, TIMEOUT_NS, SLOS)
    options = {"phase_ns": 0, "sender": Sender(TIMEOUT_NS, ssid=1)} | options
    return Session(plan, START, **options)


def merged(windows: list[PathWindow]) -> dict[Window, PathWindow]:
    by_window: dict[Window, PathWindow] = {}
    for window in windows:
        by_window.setdefault(window.window, PathWindow(KEY, window.window)).absorb(window)
    return by_window


@dataclass(frozen=True)
class Turn:
    """One wake-up of the prober: after how long, and by how much the wall clock was set before."""

    pause_ns: int
    step_ns: int = 0


@dataclass(frozen=True)
class Fate:
    """What the network does to a packet; `delay_ns` None drops it."""

    delay_ns: int | None
    copies: int = 1
    sendable: bool = True


turns = st.lists(
    st.builds(
        Turn,
        st.sampled_from(
            [20 * MS, 100 * MS, 249 * MS, 250 * MS, 250 * MS] * 4 + [600 * MS, 3 * S, 47 * S]
        ),
        st.sampled_from([0] * 60 + [4 * MS, 6 * MS, -30 * S, 25 * S]),
    ),
    min_size=10,
    max_size=80,
)
fates = st.lists(
    st.builds(
        Fate,
        st.sampled_from([1 * MS, 99 * MS, 100 * MS, 101 * MS, 700 * MS, S, S + 1, 4 * S, None]),
        st.sampled_from([1, 1, 1, 2, 3]),
        st.sampled_from([True] * 9 + [False]),
    ),
    min_size=1,
    max_size=20,
)


class World:
    """Drives a session by a script and keeps a naive account, packet by packet."""

    def __init__(self, fates: list[Fate]) -> None:
        self.session = make_session()
        self.windows: list[PathWindow] = []
        self.account: dict[Window, list[tuple[str, float | None]]] = defaultdict(list)
        self.reordered = 0
        self._fates = fates
        self._mono_ns, self._offset_ns = START.mono_ns, START.offset_ns
        self._next_due_ns = START.mono_ns
        self._last_answered = -1
        self._sent = 0
        self._under_way: dict[int, tuple[Window, int, int]] = {}  # seq: window, sent, offset
        self._arriving: list[tuple[int, int, int, bytes]] = []  # when, order, seq, octets

    def turn(self, turn: Turn) -> None:
        self._mono_ns += turn.pause_ns
        self._offset_ns += turn.step_ns
        now = Instant(self._mono_ns + self._offset_ns, self._mono_ns)
        self._expect_due(now, self.session.take_due(now))
        for when_ns, _, seq, octets in sorted(a for a in self._arriving if a[0] <= self._mono_ns):
            self.session.receive(octets, now.at_mono(when_ns))
            self._expect_answer(seq, when_ns)
        self._arriving = [a for a in self._arriving if a[0] > self._mono_ns]
        self.session.settle(now)
        self.windows += self.session.close(now)
        for seq, (_, sent_ns, _) in list(self._under_way.items()):
            if self._mono_ns - READ_GRACE_NS > sent_ns + TIMEOUT_NS:
                self._settle(seq, "lost", None)

    def end(self) -> None:
        self.session.stop()
        self._next_due_ns = 1 << 62
        while not self.session.finished:
            self.turn(Turn(100 * MS))
        self.windows += self.session.flush()

    def _expect_due(self, now, due) -> None:
        """Send each due packet to its fate; what was due too long ago is unmeasured."""
        due = iter(due)
        while self._next_due_ns <= self._mono_ns:
            window = Window.containing(self._next_due_ns + self._offset_ns)
            if self._mono_ns - self._next_due_ns > TOLERANCE_NS:
                self.account[window].append(("unmeasured", None))
            else:
                packet = next(due)
                assert packet.due_ns == self._next_due_ns
                self._send(packet, window, now)
            self._next_due_ns += INTERVAL_NS
        assert next(due, None) is None

    def _send(self, packet, window, now) -> None:
        fate = self._fates[self._sent % len(self._fates)]
        seq, octets = self.session.transmit(packet, now)
        assert seq == self._sent
        self._sent += 1
        if not fate.sendable:
            self.session.withdraw(seq)
            self.account[window].append(("unmeasured", None))
            return
        self._under_way[seq] = (window, self._mono_ns, self._offset_ns)
        if fate.delay_ns is not None:
            arrival = (self._mono_ns + fate.delay_ns, len(self._arriving), seq, answer(octets))
            self._arriving += [arrival] * fate.copies

    def _expect_answer(self, seq: int, when_ns: int) -> None:
        if seq in self._under_way and when_ns - self._under_way[seq][1] <= TIMEOUT_NS:
            self._settle(seq, "answered", (when_ns - self._under_way[seq][1]) / 1e9)

    def _settle(self, seq: int, outcome: str, rtt_s: float | None) -> None:
        window, _, offset_ns = self._under_way.pop(seq)
        if abs(offset_ns - self._offset_ns) > CLOCK_STEP_NS:
            outcome, rtt_s = "unmeasured", None
        if outcome == "answered":
            self.reordered += seq < self._last_answered
            self._last_answered = max(seq, self._last_answered)
        self.account[window].append((outcome, rtt_s))


@settings(max_examples=60, deadline=None)
@given(turns, fates)
def test_every_due_packet_has_exactly_one_outcome_the_one_of_a_naive_account(turns, fates):
    world = World(fates)
    for turn in turns:
        world.turn(turn)
    world.end()
    got = merged(world.windows)
    assert got.keys() == world.account.keys()
    for window, outcomes in world.account.items():
        counts, rtts = got[window].packets, [rtt for _, rtt in outcomes if rtt is not None]
        expected = {x: sum(o == x for o, _ in outcomes) for x in ("answered", "lost", "unmeasured")}
        assert (counts.answered, counts.lost, counts.unmeasured) == tuple(expected.values())
        assert counts.due == len(outcomes)
        event(f"outcomes: {sorted(x for x, n in expected.items() if n)}")
        fast = sum(rtt <= 0.1 for rtt in rtts)
        assert got[window].slo == {
            "fast": SloCounts(fast, len(rtts) - fast + counts.lost, counts.unmeasured),
            "delivered": SloCounts(counts.answered, counts.lost, counts.unmeasured),
        }
        rtt = got[window].sketches.get(SketchKey(RTT, Quality.C))
        assert (rtt.count if rtt else 0) == len(rtts)
        if rtts:
            assert (rtt.min, rtt.max) == pytest.approx((min(rtts), max(rtts)), abs=1e-9)
            assert got[window].sketches[SketchKey(JITTER, Quality.C)].count == len(rtts)
    assert sum(w.packets.reordered for w in world.windows) == world.reordered
    totals = PacketCounts()
    for window in world.windows:
        totals.add(window.packets)
    assert world.session.totals == totals


def run_to(
    session: Session, ms: int, step_ms: int = 50, delay_ms: int | None = 10
) -> list[PathWindow]:
    """Run on an undisturbed network; return what was closed."""
    closed: list[PathWindow] = []
    arriving: list[tuple[int, bytes]] = []
    for now_ms in range(0, ms, step_ms):
        now = START.at_mono(START.mono_ns + now_ms * MS)
        for due in session.take_due(now):
            _, octets = session.transmit(due, now)
            if delay_ms is not None:
                arriving.append((now.mono_ns + delay_ms * MS, octets))
        for when_ns, octets in arriving:
            if when_ns <= now.mono_ns:
                session.receive(answer(octets), now.at_mono(when_ns))
        arriving = [a for a in arriving if a[0] > now.mono_ns]
        session.settle(now)
        closed += session.close(now)
    return closed


class TestAWindow:
    def test_closes_when_its_last_packet_can_no_longer_be_answered(self):
        session = make_session()
        # the first window has 7 s left when the session starts
        assert run_to(session, 8_000) == []
        session = make_session()
        (window,) = run_to(session, 8_100)
        assert window.window == Window(1_800_000_000)
        assert (window.packets.due, window.packets.answered) == (28, 28)

    def test_closes_at_the_same_time_for_every_session(self):
        sessions = [make_session(phase_ns=phase * MS) for phase in (0, 3, 249)]
        for session in sessions:
            session.take_due(START.at_mono(START.mono_ns + 300 * MS))
        assert len({session.next_close_ns for session in sessions}) == 1

    def test_stays_open_while_an_answer_may_come(self):
        session = make_session()
        now = START.at_mono(START.mono_ns + 6_999 * MS)
        session.take_due(START)
        (due,) = session.take_due(now.at_mono(START.mono_ns + 6_750 * MS))[-1:]
        session.transmit(due, now)
        assert not session.close(now.at_mono(session.next_close_ns))

    def test_holds_the_interarrival_jitter_where_it_ended(self):
        (window,) = run_to(make_session(), 8_100)
        assert window.interarrival_jitter_s == pytest.approx(0.0, abs=1e-9)

    def test_without_answers_has_no_sketch_and_no_jitter(self):
        (window,) = run_to(make_session(), 8_100, delay_ms=None)
        assert window.packets.lost == 28
        assert list(window.sketches) == [SketchKey(LOSS_DISTANCE)]
        assert window.interarrival_jitter_s is None

    def test_cannot_close_with_a_packet_pending(self):
        session = make_session()
        (due,) = session.take_due(START)
        with pytest.raises(ValueError, match="1 packets of"):
            due.packet.ledger.close()


def test_a_duplicate_counts_in_the_window_of_its_packet_while_that_is_open():
    session = make_session()
    (due,) = session.take_due(START)
    _, octets = session.transmit(due, START)
    for ms in (1, 2, 3):
        session.receive(answer(octets), START.at_mono(START.mono_ns + ms * MS))
    (window,) = session.flush()
    assert (window.packets.answered, window.packets.duplicates) == (1, 2)
    session.receive(answer(octets), START.at_mono(START.mono_ns + 9 * S))
    assert session.totals.duplicates == 2


def test_an_answer_to_a_lost_packet_changes_nothing():
    session = make_session()
    (due,) = session.take_due(START)
    _, octets = session.transmit(due, START)
    session.settle(START.at_mono(START.mono_ns + 2 * S))
    now = START.at_mono(START.mono_ns + 2 * S)
    assert session.receive(answer(octets), now) == Late(0)
    assert (session.totals.lost, session.totals.answered) == (1, 0)


def test_garbage_is_reported_and_changes_nothing():
    session = make_session()
    assert isinstance(session.receive(b"garbage", START), Discarded)
    assert session.totals == PacketCounts()


def test_packets_that_nobody_can_send_are_unmeasured():
    session = make_session()
    for due in session.take_due(START):
        session.skip(due)
    (window,) = session.flush()
    assert window.packets == PacketCounts(unmeasured=1)
    assert window.slo["fast"] == SloCounts(unmeasured=1)


def test_a_flush_with_packets_in_flight_leaves_them_unmeasured():
    session = make_session()
    (due,) = session.take_due(START)
    session.transmit(due, START)
    (window,) = session.flush()
    assert window.packets == PacketCounts(unmeasured=1)


def test_a_session_of_three_packets_finishes_with_the_third_answer():
    session = make_session(count=3)
    run_to(session, 500)
    assert not session.finished
    session = make_session(count=3)
    run_to(session, 600)
    assert session.finished
    assert session.totals == PacketCounts(answered=3)


def test_a_session_asks_to_be_woken_for_each_reason_in_turn():
    session = make_session(count=1)
    assert session.next_wakeup_ns == START.mono_ns  # to send
    (due,) = session.take_due(START)
    session.transmit(due, START)
    assert session.next_wakeup_ns == START.mono_ns + TIMEOUT_NS + READ_GRACE_NS + 1  # to give up
    session.settle(START.at_mono(session.next_wakeup_ns))
    assert session.totals.lost == 1
    close_ns = START.mono_ns + 7 * S + TIMEOUT_NS + READ_GRACE_NS
    assert session.next_wakeup_ns is None
    assert session.next_close_ns == close_ns
    assert session.close(START.at_mono(close_ns - 1)) == []
    assert len(session.close(START.at_mono(close_ns))) == 1
    assert session.next_close_ns is None


def test_what_a_session_remembers_does_not_grow():
    session = make_session()
    run_to(session, 60_000)
    assert len(session._packets) <= 2 * 40
    assert len(session._open) <= 2


def test_a_wall_clock_set_back_keeps_no_window_open():
    session = make_session()
    for due in session.take_due(START):
        session.skip(due)
    back = Instant(START.wall_ns - 3600 * S, START.mono_ns + 9 * S)
    for due in session.take_due(back):
        session.skip(due)
    assert len(session._open) > 1
    session.stop()
    session.close(Instant(back.wall_ns + 12 * S, back.mono_ns + 12 * S))
    assert session._open == {}
