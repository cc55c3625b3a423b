"""One measured path: schedule, sender and ledgers together, without a socket or a clock."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from analytics.windows import PacketCounts, PathWindow, SeriesKey
from netslo.model import NS_PER_S, ProbeKind, Quality, SloThreshold, Window
from probes.bandwidth.evidence import SharedLoads
from probes.clock import UNKNOWN_CLOCK
from probes.icmp.sender import Echoed, IcmpSender
from probes.instant import Instant
from probes.ledger import Packet, WindowLedger
from probes.outcome import UNKNOWN, State
from probes.reordering import ReorderingDetector
from probes.schedule import PeriodicSchedule, count_by_window, late_tolerance_ns, random_phase_ns
from probes.stamp.events import Duplicate, Event, Followed, Replied
from probes.stamp.sender import Asked, Sender, asked_of_session
from probes.stamp.tlv import HEADER_SIZE, Method
from probes.statistics import WindowStatistics

CLOCK_STEP_NS: Final = 5_000_000  # a wall clock that moved further against the monotonic one
RECENT: Final = 1000  # answers that are remembered for whoever looks on
_HOLD_NS_MAX: Final = 5 * NS_PER_S
_KERNEL: Final = frozenset({Method.HARDWARE, Method.SOFTWARE})
READ_GRACE_NS: Final = 20_000_000  # from a packet's kernel timestamp until we have surely read it


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """What to measure and how; times in nanoseconds."""

    key: SeriesKey
    interval_ns: int
    timeout_ns: int
    thresholds: tuple[SloThreshold, ...] = ()
    dscp: int = 0
    port: int = 0  # which of the source ports of a path: each may take another way (ECMP)
    secret: bytes | None = field(default=None, repr=False)  # authenticated mode, by this key
    size: int = 0  # octets of a packet that is padded; what it carries anyway is the least
    loads: SharedLoads | None = None  # of capacity tests: what they spoil is no evidence

    def __post_init__(self) -> None:
        if self.secret == b"":
            raise ValueError("the secret is empty")

    @property
    def spoilt(self) -> Callable[[Window], bool] | None:
        """Whether a window is no evidence."""
        return None if self.loads is None else self.loads.spoil

    @property
    def hold_ns(self) -> int:
        """How long an answer waits to be told when the far end's kernel sent it."""
        return min(2 * self.interval_ns + self.timeout_ns, _HOLD_NS_MAX)


@dataclass(frozen=True, slots=True)
class Due:
    """A packet to be sent now: `transmit` it or `skip` it, in any case settle it."""

    due_ns: int  # monotonic
    packet: Packet


@dataclass(frozen=True, slots=True)
class _Held:
    """An answer whose transmit timestamp at the far end is still to come."""

    replied_ns: int  # T3 until then
    until_ns: int  # monotonic


class Session:
    """Keeps due = answered + lost + unmeasured for every window of one path.

    A packet belongs to the UTC window of its due time. It is `unmeasured` when the prober was
    too late to send it, when it could not be sent, and when the wall clock stepped while it
    was under way; otherwise it is `answered` within the time-out or `lost`.

    The quality of a sample is A when all four timestamps are those of kernels or hardware, B when
    the far end's transmit timestamp is read in user space, C otherwise. A far end that tells in
    a later reply when the one before really left (RFC 8972 §4.7) makes the difference between B
    and A, so an answer waits for that, `hold_ns` at most. An ICMP echo is B at best: its far end
    is a kernel, but what it took is not known.

    The caller's turn: `take_due`, `transmit` each at its own reading of the clock, `receive` what
    has arrived, then `settle` with an instant taken *before* it began to read. What the kernel
    says of the leaving of packets goes to `transmitted` before the answers go to `receive`. It
    comes back by `next_wakeup_ns`, and calls `close` from `next_close_ns` on, at its leisure. To
    end: `stop`, go on until `finished`, `flush`.
    """

    def __init__(
        self,
        plan: SessionPlan,
        start: Instant,
        *,
        phase_ns: int | None = None,
        count: int | None = None,
        sender: Sender | IcmpSender | None = None,
        on_answer: Callable[[float], None] | None = None,
    ) -> None:
        phase_ns = random_phase_ns(plan.interval_ns) if phase_ns is None else phase_ns
        self.plan = plan
        self.sender = sender or _sender(plan)
        self.clock = UNKNOWN_CLOCK  # this host's, from whoever reads it
        self.totals = PacketCounts()  # of the packets settled so far
        self.recent_rtt_s: deque[float] = deque(maxlen=RECENT)  # of the last answers
        self._schedule = PeriodicSchedule(start.mono_ns + phase_ns, plan.interval_ns, count)
        self._tolerance_ns = late_tolerance_ns(plan.interval_ns)
        self._position = 0
        self._packets: dict[int, Packet] = {}  # by sequence number, while the window is open
        self._held: dict[int, _Held] = {}  # by sequence number, in the order of answering
        self._open: dict[Window, WindowLedger] = {}
        self._reordering = ReorderingDetector()
        self._orders = 0  # answers so far
        self._statistics = WindowStatistics(
            plan.key, plan.interval_ns, plan.dscp, spoilt=plan.spoilt
        )
        self._on_answer = on_answer

    @property
    def finished(self) -> bool:
        """Nothing more will be due, and nothing is in flight."""
        return self._schedule.next_ns is None and not self.sender.in_flight

    @property
    def next_wakeup_ns(self) -> int | None:
        """The monotonic time by which `take_due` and `settle` want to be called; None: never."""
        times = [self._schedule.next_ns]
        if (deadline_ns := self.sender.next_deadline_ns) is not None:
            times.append(deadline_ns + READ_GRACE_NS + 1)
        for held in self._held.values():
            times.append(held.until_ns)
            break
        return min((time_ns for time_ns in times if time_ns is not None), default=None)

    @property
    def next_close_ns(self) -> int | None:
        """The monotonic time from which `close` may have something to return; None: never."""
        return min((ledger.close_ns for ledger in self._open.values()), default=None)

    def take_due(self, now: Instant) -> list[Due]:
        """Return the packets to send now; those that are too late for it are unmeasured."""
        first_ns, missed = self._schedule.skip_before(now.mono_ns - self._tolerance_ns)
        first = now.at_mono(first_ns)
        for window, packets in count_by_window(first.wall_ns, self.plan.interval_ns, missed):
            self._ledger(window, now).missed(first_ns, packets)
            self.totals.unmeasured += packets
            first_ns += packets * self.plan.interval_ns
        due: list[Due] = []
        while (due_ns := self._schedule.take(now.mono_ns)) is not None:
            ledger = self._ledger(Window.containing(now.at_mono(due_ns).wall_ns), now)
            due.append(Due(due_ns, ledger.enter(due_ns)))
        return due

    def transmit(self, due: Due, now: Instant) -> tuple[int, bytes]:
        """Return the sequence number and the octets of a due packet that leaves at `now`."""
        seq = self.sender.next_seq
        packet = self._packets[seq] = due.packet
        packet.position, packet.offset_ns = self._position, now.offset_ns
        self._position += 1
        packet.ledger.seqs.append(seq)
        return seq, self.sender.send(now)

    def skip(self, due: Due) -> None:
        """Settle a due packet that nobody can send."""
        self._unmeasured(due.packet)

    def withdraw(self, seq: int) -> None:
        """Settle a transmitted packet that did not leave the host."""
        self.sender.withdraw(seq)
        self._unmeasured(self._packets[seq])

    def abandon(self) -> None:
        """Settle every packet in flight as unmeasured: its answer cannot be received any more."""
        for seq in self._held:
            self._answered(self._packets[seq], Quality.B)
        self._held.clear()
        for seq in self.sender.withdraw_all():
            self._unmeasured(self._packets[seq])

    def transmitted(self, seq: int, left_ns: int) -> None:
        """Take in when the kernel saw a packet leave, as Unix time."""
        packet = self._packets.get(seq)
        if packet is not None:
            packet.stamped = self.sender.transmitted(seq, left_ns)

    def receive(
        self, datagram: bytes, now: Instant, *, stamped: bool = False, ttl: int | None = None
    ) -> Event:
        """Take in a datagram that arrived at `now`, and return what it was.

        Args:
            datagram: Its octets.
            now: When it arrived.
            stamped: The kernel says so.
            ttl: Its TTL or hop limit, if that is known.
        """
        event = self.sender.receive(datagram, now)
        if isinstance(event, Replied):
            self._replied(event, now, stamped=stamped, ttl=ttl)
        elif isinstance(event, Duplicate) and self.knows(event.seq):
            self._packets[event.seq].duplicates += 1
            self.totals.duplicates += 1
        return event

    def knows(self, seq: int) -> bool:
        """Whether a packet's window is still open."""
        return seq in self._packets

    def settle(self, now: Instant) -> None:
        """Give up what is past the time-out.

        `now` must be older than the last look at the socket: an answer that came in time may
        have waited there while the prober slept.
        """
        while self._held:
            seq, held = next(iter(self._held.items()))
            if held.until_ns > now.mono_ns:
                break
            del self._held[seq]
            self._answered(self._packets[seq], Quality.B)
        for seq in self.sender.expire(now.at_mono(now.mono_ns - READ_GRACE_NS)):
            packet = self._packets[seq]
            if _stepped(packet, now):
                self._unmeasured(packet)
            else:
                packet.settle(State.LOST)
                self.totals.lost += 1

    def close(self, now: Instant) -> list[PathWindow]:
        """Return the windows that are complete; `take_due` and `settle` come first."""
        ready = itertools.takewhile(  # in their order, for one may begin what the next one ends
            lambda ledger: not ledger.pending and ledger.close_ns <= now.mono_ns,
            self._open.values(),
        )
        return self._close(list(ready))

    def stop(self) -> None:
        """Let no further packet become due."""
        self._schedule.stop()

    def flush(self) -> list[PathWindow]:
        """Close every window; what is still in flight is unmeasured."""
        self.abandon()
        windows = self._close(list(self._open.values()))
        rest = self._statistics.end()
        return windows if rest is None else [*windows, rest]

    def _replied(self, event: Replied, now: Instant, *, stamped: bool, ttl: int | None) -> None:
        packet = self._packets[event.seq]
        for followed in event.follow_ups:
            if isinstance(followed, Followed):
                self._follow(followed)
        if _stepped(packet, now):
            self._unmeasured(packet)
            return
        self._note(packet, event, now)
        packet.reply_ttl = UNKNOWN if ttl is None else ttl
        told = event.timestamps
        far = isinstance(event, Echoed) or (told is not None and told.method_in in _KERNEL)
        if not (packet.stamped and stamped and far):
            self._answered(packet, Quality.C)
        elif event.announces:
            self._held[event.seq] = _Held(event.replied_ns, now.mono_ns + self.plan.hold_ns)
        else:
            self._answered(packet, Quality.B)

    def _note(self, packet: Packet, event: Replied, now: Instant) -> None:
        """Write down what an answer says of its packet."""
        packet.rtt_ns = event.rtt_ns
        packet.order, self._orders = self._orders, self._orders + 1
        packet.extent = self._reordering.observe(packet.position)
        if isinstance(event, Echoed):
            return
        packet.forward_ns = event.received_ns - event.sent.wall_ns
        packet.backward_ns = now.wall_ns - event.replied_ns
        packet.reflector_sequence = event.reflector_seq
        packet.far_error = event.error_estimate.encode()
        packet.ttl = event.ttl or UNKNOWN
        if event.class_of_service is not None:
            packet.dscp = event.class_of_service.seen

    def _follow(self, followed: Followed) -> None:
        """Take in when an answer really left the far end."""
        held = self._held.pop(followed.seq, None)
        if held is None:
            return
        packet = self._packets[followed.seq]
        packet.rtt_ns = followed.rtt_ns
        packet.backward_ns -= followed.replied_ns - held.replied_ns
        self._answered(packet, Quality.A if followed.method in _KERNEL else Quality.B)

    def _answered(self, packet: Packet, quality: Quality) -> None:
        packet.quality = quality
        packet.settle(State.ANSWERED)
        rtt_s = packet.rtt_ns / NS_PER_S
        self.recent_rtt_s.append(rtt_s)
        self.totals.answered += 1
        self.totals.reordered += packet.extent > 0
        if self._on_answer is not None:
            self._on_answer(rtt_s)

    def _unmeasured(self, packet: Packet) -> None:
        packet.settle(State.UNMEASURED)
        self.totals.unmeasured += 1

    def _ledger(self, window: Window, now: Instant) -> WindowLedger:
        """Return the open ledger of a window; after a step of the clock it may open again.

        The time to close it is fixed on the monotonic clock here, so that a wall clock set
        back cannot keep a window open for hours.
        """
        ledger = self._open.get(window)
        if ledger is None:
            end_ns = now.at_wall(window.end_s * NS_PER_S).mono_ns
            close_ns = end_ns + self.plan.timeout_ns + READ_GRACE_NS
            ledger = self._open[window] = WindowLedger(window, close_ns)
        return ledger

    def _close(self, ledgers: Iterable[WindowLedger]) -> list[PathWindow]:
        closed: list[PathWindow] = []
        for ledger in ledgers:
            for seq in ledger.seqs:
                del self._packets[seq]
            del self._open[ledger.window]
            closed.append(
                self._statistics.close(
                    ledger.window,
                    ledger.close(),
                    self.plan.thresholds,
                    self.clock,
                    unmeasured=ledger.unmeasured,
                )
            )
        return closed


def _sender(plan: SessionPlan) -> Sender | IcmpSender:
    if plan.key.probe is ProbeKind.ICMP:
        return IcmpSender(plan.timeout_ns)
    return Sender(plan.timeout_ns, key=plan.secret, asked=_asked(plan))


def _asked(plan: SessionPlan) -> Asked:
    """Return the extensions of a session's packets, padded to the size they shall have."""
    asked = asked_of_session(plan.dscp)
    if not plan.size:
        return asked
    plain = Sender(plan.timeout_ns, key=plan.secret, asked=asked).send(Instant(0, 0))
    missing = plan.size - len(plain)
    return asked if missing <= 0 else replace(asked, padding=max(missing, HEADER_SIZE))


def _stepped(packet: Packet, now: Instant) -> bool:
    """Whether the wall clock was set while the packet was under way."""
    return abs(now.offset_ns - packet.offset_ns) > CLOCK_STEP_NS
