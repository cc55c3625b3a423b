"""A second thread does what the first has not done in time, and no packet leaves twice."""

from __future__ import annotations

import os
import select
from collections import Counter

import pytest
from independent_stamp import Responder
from stepped_prober import HOUR, MS, stepped_prober

from analytics.windows import SeriesKey
from netslo.model import Endpoint, Path
from probes import _kernels, priority
from probes.address import resolve
from probes.channel import Report
from probes.session import SessionPlan
from probes.warm_up import warm_up

if not _kernels.available():
    pytest.skip("numba is not there", allow_module_level=True)

from probes import batched
from probes._kernels.layouts import STOOD_IN
from probes.batched import BatchedEngine

PACKETS = 25


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a thread that stands by on one processor as well, and time for a busy machine."""
    usable = sorted(os.sched_getaffinity(0))
    monkeypatch.setattr(batched, "processors_apart", lambda: (usable[:1], usable[-1:]))
    monkeypatch.setattr("probes.schedule.LATE_TOLERANCE_NS", 10_000 * MS)
    warm_up()


@pytest.mark.parametrize(
    ("grace_ns", "sent", "stood_in"),
    [
        pytest.param(0, PACKETS, 0, id="the first thread"),
        pytest.param(MS // 2, PACKETS, PACKETS, id="the other, when they are late"),
        pytest.param(HOUR, 0, 0, id="the other, when they are not"),
    ],
)
def test_what_is_due_is_sent_by(grace_ns: int, sent: int, stood_in: int) -> None:
    with stepped_prober() as prober:
        peer = prober.add("there")
        prober.due(peer, PACKETS)
        prober.turn(grace_ns=grace_ns)
        assert prober.plant.state.sessions[peer.index]["position"] == sent
        assert prober.plant.state.words[STOOD_IN] == stood_in


def test_a_thread_with_older_arrays_does_nothing() -> None:
    with stepped_prober() as prober:
        peer = prober.add("there")
        prober.due(peer, PACKETS)
        older = prober.plant.generation
        with prober.plant.held():
            prober.add("elsewhere")
        prober.turn(generation=older)
        assert prober.plant.state.sessions[peer.index]["position"] == 0
        prober.turn()
        assert prober.plant.state.sessions[peer.index]["position"] == PACKETS


def measured(address: tuple[str, int], *, sessions: int = 1) -> tuple[BatchedEngine, Counter[str]]:
    """Run an engine to its end; return it, and how many packets its windows have, by target."""
    found: Counter[str] = Counter()

    def take_in(reports: dict[str, Report]) -> None:
        for report in reports.values():
            for window in report.windows:
                found[window.key.path.dst] += window.packets.due

    engine = BatchedEngine(take_in)
    for number in range(sessions):
        plan = SessionPlan(SeriesKey(Path("here", f"s{number}", "ef")), 5 * MS, 5_000 * MS)
        engine.measure(plan, resolve(Endpoint(*address)), count=PACKETS)
    engine.run()
    return engine, found


def test_while_the_first_thread_stands_still_the_other_sends_reads_and_keeps_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = BatchedEngine._take_turns

    def stand_still(self: BatchedEngine, control: int, grace_ns: int) -> None:
        if grace_ns == 0:
            select.select([control], [], [])  # as one whose processor is away
        else:
            turns(self, control, grace_ns)

    monkeypatch.setattr(BatchedEngine, "_take_turns", stand_still)
    with Responder("127.0.0.1", mode="stamp") as responder:
        engine, found = measured(responder.address)
        assert responder.received == PACKETS
    assert found == {"s0": PACKETS}
    assert engine._plant.state.words[STOOD_IN] == PACKETS
    assert int(engine._plant.state.sessions[0]["answered"]) == PACKETS


def test_no_packet_leaves_twice_though_both_are_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched, "GRACE_NS", 1)
    with Responder("127.0.0.1", mode="stamp") as responder:
        engine, found = measured(responder.address, sessions=20)
    assert found == {f"s{number}": PACKETS for number in range(20)}
    sessions = engine._plant.state.sessions
    assert sessions["position"].tolist() == [PACKETS] * 20
    assert (sessions["answered"] + sessions["lost"]).tolist() == [PACKETS] * 20
    assert sessions["duplicates"].sum() == 0
    assert engine._plant.state.words[STOOD_IN] > 0


@pytest.mark.parametrize("pid", [1, 2])
@pytest.mark.parametrize("usable", [{3}, {0, 1}, {1, 2, 5}, set(range(8))])
def test_both_have_processors_of_their_own(
    monkeypatch: pytest.MonkeyPatch, usable: set[int], pid: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: usable)
    monkeypatch.setattr(os, "getpid", lambda: pid)
    first, other = priority.processors_apart()
    assert sorted(first + other) == sorted(usable)
    assert len(other) == len(usable) // 2


def test_probers_of_one_host_are_not_all_on_the_same_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    firsts = set()
    for pid in (100, 101):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        firsts.add(priority.processors_apart()[0][0])
    assert firsts == {0, 1}
