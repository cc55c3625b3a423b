"""Traces over a network that a test makes up, in a time that a test makes up."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netslo.model import NS_PER_S
from netslo.route import TraceProtocol
from probes.trace.answers import Answer, Kind, Refusal, Sent
from probes.trace.flow import Flow
from probes.trace.tracing import LATE, TracePlan, Tracing, lengths_of

from .conftest import new_flow

MS = 1_000_000
TARGET = new_flow(4, TraceProtocol.UDP).target


def flows(count: int) -> list[Flow]:
    return [new_flow(4, TraceProtocol.UDP, index) for index in range(count)]


@dataclass
class Network:
    """Who answers a packet of a flow with a TTL, and when; None: nobody."""

    answer: Callable[[Sent, int], Answer | None]
    rtt_ns: int = 10 * MS
    sent: list[tuple[int, Sent]] = field(default_factory=list)

    def run(self, tracing: Tracing, start_ns: int = 0, until_ns: int = 1 << 62) -> int:
        """Trace to the end; return when that was."""
        now_ns, coming = start_ns, []
        while not tracing.finished and now_ns < until_ns:
            while (sent := tracing.take_due(now_ns)) is not None:
                self.sent.append((now_ns, sent))
                answer = self.answer(sent, now_ns)
                if answer is not None:
                    at_ns = now_ns + self.rtt_ns
                    heapq.heappush(coming, (at_ns, sent.number, now_ns, answer))
            while coming and coming[0][0] <= now_ns:
                at_ns, _, sent_ns, answer = heapq.heappop(coming)
                tracing.answered(answer, at_ns - sent_ns)
            tracing.settle(now_ns)
            wakeup_ns = tracing.next_wakeup_ns
            times = [t for t in (wakeup_ns, coming[0][0] if coming else None) if t is not None]
            if not times:
                break
            now_ns = max(now_ns + 1, min(times))
        return now_ns


def chain(*routers: str | None, end: Kind | None = Kind.REACHED) -> Callable[..., Answer | None]:
    """Return the answers of routers one behind the other, and of the target behind them."""

    def answer(sent: Sent, _now_ns: int) -> Answer | None:
        if sent.ttl <= len(routers):
            router = routers[sent.ttl - 1]
            return None if router is None else Answer(sent, Kind.EXCEEDED, router)
        if end is Kind.UNREACHABLE:
            return Answer(sent, end, routers[-1] or "x", "!H")
        return None if end is None else Answer(sent, end, TARGET)

    return answer


def addresses(tracing: Tracing, flow: int = 0) -> list[str | None]:
    return [hop.address for hop in tracing.records[flow].route().hops]


def test_every_hop_is_found_and_the_last_is_the_target() -> None:
    network = Network(chain("10.0.0.1", "10.0.1.1", "10.0.2.1"))
    tracing = Tracing(TracePlan(flows=2), flows(2), 0)
    network.run(tracing)
    for flow in (0, 1):
        assert addresses(tracing, flow) == ["10.0.0.1", "10.0.1.1", "10.0.2.1", TARGET]
        assert tracing.records[flow].route().reached
    assert lengths_of(tracing.records) == {0: 4, 1: 4}


def test_a_silent_router_stays_unknown_after_its_tries() -> None:
    network = Network(chain("10.0.0.1", None, "10.0.2.1"))
    tracing = Tracing(TracePlan(tries=3), flows(1), 0)
    network.run(tracing)
    assert addresses(tracing) == ["10.0.0.1", None, "10.0.2.1", TARGET]
    hop = tracing.records[0].hops[1]
    assert (hop.sent, hop.answered, hop.lost) == (3, 0, 3)


def test_the_target_is_not_asked_again_once_it_has_answered() -> None:
    network = Network(chain("10.0.0.1"), rtt_ns=1 * MS)
    tracing = Tracing(TracePlan(flows=4), flows(4), 0)
    network.run(tracing)
    assert Counter(sent.ttl for _, sent in network.sent) == {1: 4, 2: 4}


def test_packets_keep_their_distance_and_go_up_with_all_flows_together() -> None:
    network = Network(chain(*(f"10.0.0.{i}" for i in range(1, 9))), rtt_ns=400 * MS)
    tracing = Tracing(TracePlan(flows=3, gap_ns=5 * MS), flows(3), 0)
    network.run(tracing)
    first = [sent.ttl for _, sent in network.sent[:24]]
    assert first == sorted(first)
    times = [at for at, _ in network.sent]
    assert min(b - a for a, b in pairwise(times)) >= 5 * MS


def test_what_is_not_reached_ends_with_the_last_that_was_heard_of() -> None:
    network = Network(chain("10.0.0.1", None, "10.0.2.1", end=None))
    tracing = Tracing(TracePlan(hops_max=12, tries=1), flows(1), 0)
    network.run(tracing)
    assert addresses(tracing) == ["10.0.0.1", None, "10.0.2.1"]
    assert not tracing.records[0].reached
    assert max(sent.ttl for _, sent in network.sent) == 12


def test_a_router_that_lets_nothing_pass_ends_the_route() -> None:
    network = Network(chain("10.0.0.1", "10.0.1.1", end=Kind.UNREACHABLE))
    tracing = Tracing(TracePlan(), flows(1), 0)
    network.run(tracing)
    end = tracing.records[0].end
    assert end is not None
    assert (end.kind, end.mark) == (Kind.UNREACHABLE, "!H")
    assert addresses(tracing) == ["10.0.0.1", "10.0.1.1", "10.0.1.1"]
    assert not tracing.records[0].reached


def test_a_router_that_answers_once_a_second_is_heard_by_every_flow() -> None:
    """As Linux does: a few at once, then one a second."""
    tokens, filled_ns = 2.0, 0

    def limited(sent: Sent, now_ns: int) -> Answer | None:
        nonlocal tokens, filled_ns
        if sent.ttl > 1:
            return Answer(sent, Kind.REACHED, TARGET)
        tokens, filled_ns = min(2.0, tokens + (now_ns - filled_ns) / NS_PER_S), now_ns
        if tokens < 1:
            return None
        tokens -= 1
        return Answer(sent, Kind.EXCEEDED, "10.0.0.1")

    tracing = Tracing(TracePlan(flows=8, tries=3), flows(8), 0)
    ended_ns = Network(limited).run(tracing)
    assert [addresses(tracing, flow) for flow in range(8)] == [["10.0.0.1", TARGET]] * 8
    assert ended_ns < 12 * NS_PER_S


def test_a_known_length_spares_packets_and_a_wrong_one_does_no_harm() -> None:
    routers = [f"10.0.{i}.1" for i in range(6)]
    for known, probed in ((7, 7), (4, 7), (12, 12)):
        network = Network(chain(*routers), rtt_ns=500 * MS)
        tracing = Tracing(TracePlan(), flows(1), 0, lengths={0: known})
        network.run(tracing)
        assert addresses(tracing) == [*routers, TARGET]
        assert max(sent.ttl for _, sent in network.sent) >= probed
        if known == 7:
            assert len(network.sent) == 7


def test_a_target_that_falls_silent_at_its_known_distance_is_looked_for_behind() -> None:
    network = Network(chain("10.0.0.1", None, None, "10.0.3.1"))
    tracing = Tracing(TracePlan(tries=2), flows(1), 0, lengths={0: 2})
    network.run(tracing)
    assert addresses(tracing) == ["10.0.0.1", None, None, "10.0.3.1", TARGET]


def test_one_at_a_time_keeps_a_single_packet_of_a_flow_under_way() -> None:
    network = Network(chain("10.0.0.1", None, "10.0.2.1"), rtt_ns=300 * MS)
    tracing = Tracing(TracePlan(tries=2), flows(2), 0, one_at_a_time=True)
    network.run(tracing)
    assert addresses(tracing, 1) == ["10.0.0.1", None, "10.0.2.1", TARGET]
    for flow in (0, 1):
        times = [at for at, sent in network.sent if sent.flow.index == flow]
        assert all(b - a >= 300 * MS for a, b in pairwise(times))


def test_late_and_second_answers_are_counted_and_change_nothing() -> None:
    tracing = Tracing(TracePlan(tries=1, hops_max=1), flows(1), 0)
    sent = tracing.take_due(0)
    assert sent is not None
    tracing.settle(NS_PER_S)
    tracing.answered(Answer(sent, Kind.EXCEEDED, "10.0.0.1"), 1)
    assert tracing.discarded == {LATE: 1}
    assert tracing.records[0].hops[0].answered == 0
    tracing = Tracing(TracePlan(tries=1, hops_max=1), flows(1), 0)
    sent = tracing.take_due(0)
    assert sent is not None
    for _ in range(3):
        tracing.answered(Answer(sent, Kind.EXCEEDED, "10.0.0.1"), 1)
    assert tracing.discarded == {"second answer to a packet": 2}
    tracing.refused(Refusal.OTHER)
    tracing.refused(Refusal.QUOTE_SHORT)
    assert tracing.discarded["quote cut short"] == 1
    assert tracing.records[0].hops[0].answered == 1


def test_later_rounds_take_one_flow_in_turn_at_their_time() -> None:
    network = Network(chain("10.0.0.1"), rtt_ns=1 * MS)
    tracing = Tracing(TracePlan(flows=3, rounds=4), flows(3), 0)
    network.run(tracing)
    assert tracing.rounds == 4
    assert Counter(sent.flow.index for _, sent in network.sent) == {0: 4, 1: 4, 2: 4}
    for number, index in ((1, 1), (2, 2), (3, 0)):
        begun = [(at, s) for at, s in network.sent if at >= number * NS_PER_S][:2]
        assert [sent.flow.index for _, sent in begun] == [index, index]
        assert begun[0][0] - number * NS_PER_S < 50 * MS


def test_stop_sends_nothing_further_and_waits_for_what_is_under_way() -> None:
    network = Network(chain("10.0.0.1", "10.0.1.1"), rtt_ns=50 * MS)
    tracing = Tracing(TracePlan(), flows(1), 0)
    assert tracing.take_due(0) is not None
    tracing.stop()
    assert tracing.take_due(NS_PER_S // 2) is None
    assert not tracing.finished
    network.run(tracing, start_ns=NS_PER_S)
    assert tracing.finished


def test_what_does_not_leave_is_tried_again_and_counted() -> None:
    tracing = Tracing(TracePlan(tries=2, hops_max=1), flows(1), 0)
    for now_ns in (0, 2 * NS_PER_S):
        sent = tracing.take_due(now_ns)
        assert sent is not None
        tracing.unsent(sent, "not sent: Network is unreachable")
    assert tracing.finished
    assert tracing.discarded == {"not sent: Network is unreachable": 2}
    assert tracing.records[0].hops[0].sent == 0


ROUTERS = st.lists(
    st.one_of(st.none(), st.integers(1, 250).map(lambda i: f"10.9.9.{i}")), max_size=20
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    branches=st.lists(ROUTERS, min_size=1, max_size=6),
    reached=st.booleans(),
    rtt_ms=st.integers(1, 900),
    single=st.booleans(),
    known=st.dictionaries(st.integers(0, 5), st.integers(1, 30), max_size=6),
)
def test_each_flow_has_the_hops_of_its_own_branch_and_no_other(
    branches: list[list[str | None]],
    *,
    reached: bool,
    rtt_ms: int,
    single: bool,
    known: dict[int, int],
) -> None:
    def answer(sent: Sent, now_ns: int) -> Answer | None:
        end = Kind.REACHED if reached else None
        return chain(*branches[sent.flow.index], end=end)(sent, now_ns)

    count = len(branches)
    tracing = Tracing(
        TracePlan(flows=count, tries=2), flows(count), 0, one_at_a_time=single, lengths=known
    )
    Network(answer, rtt_ns=rtt_ms * MS).run(tracing)
    assert tracing.finished
    for flow, branch in enumerate(branches):
        expected = [*branch, TARGET] if reached else list(branch)
        while expected and expected[-1] is None:
            expected.pop()
        assert addresses(tracing, flow) == expected
    for record in tracing.records:
        for hop in record.hops:
            assert hop.sent == hop.answered + hop.lost


def test_a_plan_is_checked() -> None:
    with pytest.raises(ValueError, match="hops_max is 65, expected 1 to 64"):
        TracePlan(hops_max=65)
