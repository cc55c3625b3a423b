"""A second thread does what the first has not done in time, and no packet leaves twice."""

from __future__ import annotations

import ctypes
import os
import select
import threading
import time
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

from probes import batched, kernel_state
from probes._kernels.layouts import KEEP_NS, STOOD_IN, WATCH_NS, State
from probes._kernels.measuring import _turn, measure
from probes.batched import BatchedEngine
from probes.kernel_state import Plant

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


def test_the_other_is_woken_for_each_packet_only_while_some_leave_late() -> None:
    grace_ns = MS // 2

    def woken_ns() -> int:
        prober.plant.state.words[KEEP_NS] = time.monotonic_ns() + HOUR  # nothing else to do
        return int(_turn(prober.plant.state, 0, grace_ns)) - time.monotonic_ns()

    with stepped_prober() as prober:
        peer = prober.add("there")
        session = prober.plant.state.sessions[peer.index]

        def due_in(ns: int) -> None:
            session["count"] = session["taken"] + 1
            session["first_ns"] = time.monotonic_ns() + ns - int(session["taken"]) * MS
            prober.plant._make_heap()

        due_in(HOUR // 2)
        assert woken_ns() > HOUR // 2 + HOUR // 4  # as the records are looked after
        due_in(-5 * MS)
        prober.turn()  # sends it late
        due_in(HOUR // 2)
        assert woken_ns() < HOUR // 2 + HOUR // 4
        prober.plant.state.words[WATCH_NS] = time.monotonic_ns() - 1
        assert woken_ns() > HOUR // 2 + HOUR // 4


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


def measured(
    address: tuple[str, int], *, sessions: int = 1, before_s: float = 0
) -> tuple[BatchedEngine, Counter[str]]:
    """Run an engine to its end; return it, and how many packets its windows have, by target.

    Its sessions are added so long before it runs.
    """
    found: Counter[str] = Counter()

    def take_in(reports: dict[str, Report]) -> None:
        for report in reports.values():
            for window in report.windows:
                found[window.key.path.dst] += window.packets.due

    engine = BatchedEngine(take_in)
    engine._plant.state.words[WATCH_NS] = 1 << 62  # as if packets had left late
    for number in range(sessions):
        plan = SessionPlan(SeriesKey(Path("here", f"s{number}", "ef")), 5 * MS, 5_000 * MS)
        engine.measure(plan, resolve(Endpoint(*address)), count=PACKETS)
    time.sleep(before_s)
    engine.run()
    return engine, found


def test_while_the_first_thread_stands_still_the_other_sends_reads_and_keeps_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = Plant.take_turns

    def stand_still(self: Plant, control: int, quantum_ns: int, grace_ns: int) -> None:
        if grace_ns == 0:
            select.select([control], [], [])  # as one whose processor is away
        else:
            turns(self, control, quantum_ns, grace_ns)

    monkeypatch.setattr(Plant, "take_turns", stand_still)
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


def test_a_slow_start_of_the_first_thread_delays_no_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedule begins with `run`, not when a session was added, whichever thread is there."""
    monkeypatch.setattr("probes.schedule.LATE_TOLERANCE_NS", 20 * MS)
    hurry, kept_s = batched.hurry, iter([0.2])
    monkeypatch.setattr(batched, "hurry", lambda own: (time.sleep(next(kept_s, 0)), hurry(own)))
    with Responder("127.0.0.1", mode="stamp") as responder:
        _, found = measured(responder.address, before_s=0.5)
        assert responder.received > 0
    assert found == {"s0": PACKETS}


@pytest.mark.parametrize("late", [False, True], ids=["the first", "the other"])
def test_a_failure_of_either_thread_ends_the_run_and_is_raised(
    monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    turns = Plant.take_turns

    def fail(self: Plant, control: int, quantum_ns: int, grace_ns: int) -> None:
        if (grace_ns > 0) is late:
            raise IndexError("a turn that NUMBA_BOUNDSCHECK=1 has stopped")
        turns(self, control, quantum_ns, grace_ns)

    monkeypatch.setattr(Plant, "take_turns", fail)
    with pytest.raises(IndexError):
        measured(("127.0.0.1", 9))


def test_a_turn_that_fails_lets_go_of_the_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    plant = Plant()

    def fail(state: State, *_: int) -> None:
        ctypes.CDLL(None).pthread_mutex_lock(ctypes.c_void_p(state.mutex.ctypes.data))
        raise IndexError

    monkeypatch.setattr(kernel_state, "measure", fail)
    with pytest.raises(IndexError):
        plant.take_turns(-1, 0, 0)
    with plant.held():
        pass


def test_an_end_reaches_a_loop_that_is_just_about_to_begin() -> None:
    plant = Plant()
    older = plant.generation
    plant.interrupt()
    measure(plant.state, older, -1, 0, 0)  # returns


def test_one_thread_is_enough_where_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if self.name == "stand by":
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with Responder("127.0.0.1", mode="stamp") as responder:
        engine, found = measured(responder.address)
    assert found == {"s0": PACKETS}
    assert engine._plant.state.words[STOOD_IN] == 0


@pytest.mark.parametrize("usable", [{0, 1}, {1, 2, 5}, set(range(8))])
def test_both_have_processors_of_their_own(
    monkeypatch: pytest.MonkeyPatch, usable: set[int]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: usable)
    halves = {tuple(map(tuple, priority.processors_apart())) for _ in range(100)}
    assert len(halves) == 2  # by chance either comes first
    for first, other in halves:
        assert sorted(first + other) == sorted(usable)
        assert abs(len(first) - len(other)) <= 1


def test_the_only_processor_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert priority.processors_apart() == ([], [])
