"""A trace without its sockets: which packets are due, and what became of them.

Every flow is probed at all TTLs, one packet next to the other, those of all flows at one TTL first.
No more than `gap_ns` apart, so that routers, which answer a few packets a second, answer ours, and
an answer of the target on a short way comes before packets are sent that it would have to answer.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from netslo.model import NS_PER_S
from netslo.route import HOPS_MAX, Hop, Route, TraceProtocol
from probes.trace.answers import Answer, Kind, Refusal, Sent
from probes.trace.flow import NUMBERS, Flow

SPARE_NS: Final = 1_050_000_000  # between retries at a hop: Linux answers a host once a second
ADDRESSES_MAX: Final = 8  # of one hop, that are told apart
DUPLICATE: Final = "second answer to a packet"
LATE: Final = "answer after the time-out"

_REMEMBERED: Final = 4096  # packets settled, whose late answers are known for what they are
_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class TracePlan:
    """How to trace; times in nanoseconds."""

    protocol: TraceProtocol = TraceProtocol.UDP
    port: int = 33434  # of the target; traceroute's first
    flows: int = 1
    source_port: int = 0  # of the first flow, the others follow; 0: any
    hops_max: int = 30
    dscp: int = 0
    rounds: int = 1  # all flows in the first, then one after the other in turn
    tries: int = 3  # of a packet without answer, in the first round
    interval_ns: int = NS_PER_S  # of rounds
    timeout_ns: int = NS_PER_S
    gap_ns: int = 5 * _MS  # between packets

    def __post_init__(self) -> None:
        if not 1 <= self.hops_max <= HOPS_MAX:
            raise ValueError(f"hops_max is {self.hops_max}, expected 1 to {HOPS_MAX}")


@dataclass(slots=True)
class HopRecord:
    """What was learnt of one TTL of one flow."""

    sent: int = 0
    answered: int = 0
    lost: int = 0
    addresses: Counter[str] = field(default_factory=Counter)  # at most ADDRESSES_MAX
    last: Answer | None = None


@dataclass(slots=True)
class FlowRecord:
    """What was learnt of one flow. `hops` begin with TTL 1."""

    flow: Flow
    hops: list[HopRecord] = field(default_factory=list)
    end: Answer | None = None  # of the target, or of a router that lets nothing pass

    def hop(self, ttl: int) -> HopRecord:
        """Return the record of a TTL."""
        while len(self.hops) < ttl:
            self.hops.append(HopRecord())
        return self.hops[ttl - 1]

    @property
    def reached(self) -> bool:
        return self.end is not None and self.end.kind is Kind.REACHED

    @property
    def length(self) -> int:
        """The hops of the route: as far as the end, or as somebody was heard of."""
        if self.end is not None:
            return self.end.sent.ttl
        return max((i + 1 for i, hop in enumerate(self.hops) if hop.answered), default=0)

    def route(self, path_mtu: int | None = None) -> Route:
        """Return the route as it was seen last."""
        hops = tuple(_hop(record) for record in self.hops[: self.length])
        return Route(self.flow.index, self.flow.protocol, hops, self.reached, path_mtu)


@dataclass(slots=True)
class _Turn:
    """Where a flow stands in the round."""

    record: FlowRecord
    next_ttl: int
    limit: int  # the last TTL worth a packet, as far as is known
    again: list[tuple[int, int, int]] = field(default_factory=list)  # heap: when, TTL, attempt
    under_way: int = 0

    def peek(self) -> tuple[int, int, int] | None:
        """Return when the next packet is due (0: at once), its TTL and attempt."""
        while self.again and self.again[0][1] > self.limit:
            heapq.heappop(self.again)
        if self.next_ttl <= self.limit:
            return (0, self.next_ttl, 1)
        return self.again[0] if self.again else None

    def take(self) -> tuple[int, int]:
        """Return TTL and attempt of the next packet, which is due."""
        if self.next_ttl <= self.limit:
            self.next_ttl += 1
            return self.next_ttl - 1, 1
        _, ttl, attempt = heapq.heappop(self.again)
        return ttl, attempt


@dataclass(slots=True)
class _UnderWay:
    sent: Sent
    attempt: int
    sent_ns: int  # monotonic
    turn: _Turn


class Tracing:
    """Traces some flows to one target.

    The caller's turn: `take_due` and send, `answered` for what came, `settle` with an instant taken
    before it began to read, until `finished`. Times are monotonic, in nanoseconds.

    Args:
        plan: How.
        flows: The flows; those of `plan` are not looked at.
        one_at_a_time: Whether a flow has one packet under way at most, for answers do not tell
            which of several they are about.
        lengths: How far away the target is, by flow, where that is known: further packets
            are sent only when it proves wrong.
        on_rtt: Told the flow, TTL and round trip (s) of every answer.
    """

    def __init__(
        self,
        plan: TracePlan,
        flows: Sequence[Flow],
        start_ns: int,
        *,
        one_at_a_time: bool = False,
        lengths: dict[int, int] | None = None,
        on_rtt: Callable[[Flow, int, float], None] | None = None,
    ) -> None:
        self.records = [FlowRecord(flow) for flow in flows]
        self.discarded: Counter[str] = Counter()
        self.rounds = 0  # begun so far
        self._plan = plan
        self._one_at_a_time = one_at_a_time
        self._on_rtt = on_rtt
        known = lengths or {}
        self._turns = [
            _Turn(record, plan.hops_max + 1, min(plan.hops_max, known.get(i, plan.hops_max)))
            for i, record in enumerate(self.records)
        ]
        self._start_ns = start_ns
        self._next_ns = start_ns  # the next packet, for its gap
        self._spared_ns: dict[int, int] = {}  # by TTL, until when nobody is tried again
        self._stopped = False
        self._number = random.randrange(len(NUMBERS))
        self._under_way: dict[int, _UnderWay] = {}  # in the order of sending
        self._settled: dict[int, tuple[Sent, str]] = {}  # and what a further answer is

    @property
    def finished(self) -> bool:
        """Nothing more is due or under way."""
        over = self._stopped or (not self._pending and not self._waits_for_round)
        return over and not self._under_way

    @property
    def next_wakeup_ns(self) -> int | None:
        """When `take_due` or `settle` want to be called; None: never."""
        times = []
        if self._under_way:
            oldest = next(iter(self._under_way.values()))
            times.append(oldest.sent_ns + self._plan.timeout_ns)
        coming_ns = self._coming_ns()
        if coming_ns is not None:
            times.append(max(self._next_ns, coming_ns))
        elif self._waits_for_round:
            times.append(max(self._next_ns, self._round_ns))
        return min(times, default=None)

    def stop(self) -> None:
        """Let no further packet become due; what is under way is waited for."""
        self._stopped = True

    def take_due(self, now_ns: int) -> Sent | None:
        """Return the packet to send now, if there is one."""
        if now_ns < self._next_ns:
            return None
        if self._waits_for_round and now_ns >= self._round_ns:
            self._begin_round()
        turn = self._chosen(now_ns)
        if turn is None:
            return None
        ttl, attempt = turn.take()
        sent = Sent(turn.record.flow, self._new_number(), ttl)
        turn.record.hop(ttl).sent += 1
        turn.under_way += 1
        self._under_way[sent.number] = _UnderWay(sent, attempt, now_ns, turn)
        self._next_ns = now_ns + self._plan.gap_ns
        return sent

    def find(self, number: int) -> Sent | None:
        """Return the packet with a number, under way or settled not long ago."""
        waiting = self._under_way.get(number)
        if waiting is not None:
            return waiting.sent
        return self._settled[number][0] if number in self._settled else None

    def answered(self, answer: Answer, rtt_ns: int) -> None:
        """Take in an answer."""
        number = answer.sent.number
        waiting = self._under_way.pop(number, None)
        if waiting is None:
            self.discarded[self._settled[number][1] if number in self._settled else DUPLICATE] += 1
            return
        if answer.fault is not None:
            self.discarded[answer.fault.value] += 1
        self._settle(waiting, DUPLICATE)
        record, ttl = waiting.turn.record, answer.sent.ttl
        hop = record.hop(ttl)
        hop.answered, hop.last = hop.answered + 1, answer
        if answer.address in hop.addresses or len(hop.addresses) < ADDRESSES_MAX:
            hop.addresses[answer.address] += 1
        if self._on_rtt is not None:
            self._on_rtt(answer.sent.flow, ttl, rtt_ns / NS_PER_S)
        self._follow(waiting.turn, answer)

    def refused(self, refusal: Refusal) -> None:
        """Count something that came and was no answer."""
        if refusal is not Refusal.OTHER:
            self.discarded[refusal.value] += 1

    def unsent(self, sent: Sent, reason: str) -> None:
        """Take back a packet that did not leave the host."""
        waiting = self._under_way.pop(sent.number)
        self._settle(waiting, LATE)
        self.discarded[reason] += 1
        waiting.turn.record.hop(sent.ttl).sent -= 1
        self._retry(waiting, waiting.sent_ns + self._plan.timeout_ns)

    def settle(self, now_ns: int) -> None:
        """Give up what is past its time-out."""
        while self._under_way:
            waiting = next(iter(self._under_way.values()))
            if waiting.sent_ns + self._plan.timeout_ns > now_ns:
                return
            del self._under_way[waiting.sent.number]
            self._settle(waiting, LATE)
            waiting.turn.record.hop(waiting.sent.ttl).lost += 1
            self._retry(waiting, now_ns)

    @property
    def _pending(self) -> bool:
        """Whether any flow has packets to send in this round, now or later."""
        return any(turn.peek() is not None for turn in self._turns)

    @property
    def _waits_for_round(self) -> bool:
        return not self._stopped and self.rounds < self._plan.rounds and not self._pending

    @property
    def _round_ns(self) -> int:
        """When the next round is due."""
        return self._start_ns + self.rounds * self._plan.interval_ns

    def _begin_round(self) -> None:
        """Begin the next round: that of all flows, or of one.

        Hosts answer one packet a second (Linux), after the first few: to ask with every flow in
        every round would mostly measure that.
        """
        turns = self._turns if not self.rounds else [self._turns[self.rounds % len(self._turns)]]
        for turn in turns:
            turn.next_ttl = 1
        self.rounds += 1

    def _coming(self) -> Iterator[tuple[int, int, _Turn]]:
        """Yield when each flow's next packet is due, its TTL and the flow."""
        if self._stopped:
            return
        for turn in self._turns:
            coming = None if self._one_at_a_time and turn.under_way else turn.peek()
            if coming is not None:
                yield coming[0], coming[1], turn

    def _coming_ns(self) -> int | None:
        return min((due_ns for due_ns, _, _ in self._coming()), default=None)

    def _chosen(self, now_ns: int) -> _Turn | None:
        """Return the flow whose turn it is: of those with a packet due, that with the least TTL."""
        due = ((ttl, i, turn) for i, (at, ttl, turn) in enumerate(self._coming()) if at <= now_ns)
        return min(due, default=(0, 0, None), key=lambda each: each[:2])[2]

    def _follow(self, turn: _Turn, answer: Answer) -> None:
        """Learn from an answer how far it is worth to send."""
        record, ttl = turn.record, answer.sent.ttl
        end = record.end
        if answer.kind in (Kind.REACHED, Kind.UNREACHABLE):
            if end is None or ttl <= end.sent.ttl:
                record.end, turn.limit = answer, ttl
        elif answer.kind is Kind.EXCEEDED and ttl >= turn.limit:
            record.end, turn.limit = None, self._plan.hops_max  # it is further than it was

    def _retry(self, waiting: _UnderWay, now_ns: int) -> None:
        turn, ttl = waiting.turn, waiting.sent.ttl
        if self.rounds == 1 and waiting.attempt < self._plan.tries and ttl <= turn.limit:
            heapq.heappush(turn.again, (self._again_ns(ttl, now_ns), ttl, waiting.attempt + 1))
        elif ttl == turn.limit < self._plan.hops_max and self._silent(waiting):
            turn.limit = self._plan.hops_max  # the length that was known is not true

    def _again_ns(self, ttl: int, now_ns: int) -> int:
        """Return when to try again: a router that answers some flows may limit its answers."""
        if not any(len(r.hops) >= ttl and r.hops[ttl - 1].answered for r in self.records):
            return now_ns
        due_ns = max(now_ns, self._spared_ns.get(ttl, 0))
        self._spared_ns[ttl] = due_ns + SPARE_NS
        return due_ns

    def _silent(self, waiting: _UnderWay) -> bool:
        """Whether the last hop that was expected has not answered at all."""
        return not waiting.turn.record.hop(waiting.sent.ttl).answered

    def _settle(self, waiting: _UnderWay, further: str) -> None:
        waiting.turn.under_way -= 1
        self._settled[waiting.sent.number] = (waiting.sent, further)
        while len(self._settled) > _REMEMBERED:
            del self._settled[next(iter(self._settled))]

    def _new_number(self) -> int:
        """Return a number that no packet under way has."""
        while True:
            self._number = (self._number + 1) % len(NUMBERS)
            number = NUMBERS[self._number]
            if number not in self._under_way:
                self._settled.pop(number, None)
                return number


def _hop(record: HopRecord) -> Hop:
    last = record.last
    return Hop(None) if last is None else Hop(last.address, last.labels)


def lengths_of(records: Iterable[FlowRecord]) -> dict[int, int]:
    """Return how far away the target was, by flow, where it was reached."""
    return {record.flow.index: record.length for record in records if record.reached}
