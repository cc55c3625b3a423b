"""The fast engine: threads in compiled code measure, another makes windows of what they did."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.windows import PacketCounts
from netslo.model import NS_PER_S
from probes._kernels.layouts import CAUSES, MUTED, NO_ROOM, NO_TARGET, TOO_LATE
from probes._kernels.stamp import AUTHENTICATED, UNAUTHENTICATED
from probes.address import SocketAddress
from probes.channel import NO_ADDRESS, NO_SOCKET, REFUSED, Report
from probes.clock import read_clock_state
from probes.instant import Instant, read_clocks
from probes.kernel_state import Door, Plant
from probes.outcome import NEVER_NS, State
from probes.priority import hurry, processors_apart
from probes.schedule import random_phase_ns
from probes.session import SessionPlan
from probes.timestamps import keep_stamping
from probes.windowing import WindowBook

_log = logging.getLogger(__name__)

QUANTUM_NS: Final = 400_000  # packets that become due within it leave together
GRACE_NS: Final = 500_000  # what is not done so long after its time, another thread does
_PROCESS_S: Final = 0.1
_REPORT_NS: Final = NS_PER_S
_CLOCK_READ_NS: Final = 16 * NS_PER_S
_NOT_SENT: Final = {
    TOO_LATE: "not sent: the prober was too late",
    NO_TARGET: NO_ADDRESS,
    MUTED: NO_SOCKET,
    NO_ROOM: "not sent: too many packets under way",
}


@dataclass(slots=True)
class Measured:
    """A session of the engine, for whoever wants to look at it while it runs."""

    plan: SessionPlan
    _plant: Plant
    index: int = -1  # its place, once the loop has taken it in

    @property
    def totals(self) -> PacketCounts:
        """The packets settled so far."""
        if self.index < 0:
            return PacketCounts()
        entry = self._plant.state.sessions[self.index]
        names = ("answered", "lost", "unmeasured", "duplicates", "reordered")
        return PacketCounts(*(int(entry[name]) for name in names))

    @property
    def source_port(self) -> int | None:
        """The port which its packets leave from; None before the first has left."""
        return self._plant.source_port(self.index) if self.index >= 0 else None

    def recent_rtt_s(self, packets: int) -> NDArray[np.float64]:
        """Return the round trips of the last packets sent, as far as they were answered."""
        if self.index < 0:
            return np.zeros(0)
        state = self._plant.state
        entry = state.sessions[self.index]
        position, mask = int(entry["position"]), int(entry["mask"])
        first = max(0, position - min(packets, mask))
        records = state.records[int(entry["ring"]) + (np.arange(first, position) & mask)]
        done = records[records["state"] == State.ANSWERED]
        away_ns = done["arrived_ns"] - done["sent_ns"]
        rtt_ns = np.maximum(0, away_ns - (done["replied_ns"] - done["received_ns"]))
        return np.asarray(rtt_ns / NS_PER_S, dtype=np.float64)


class BatchedEngine:
    """Does what `probes.engine.Engine` does, for tens of thousands of packets a second.

    `on_report` is called in the thread of `run`, which makes the windows; packets are sent and
    read by a thread of its own, which needs the interpreter only when it is told something, and
    by a second one, on other processors, where the first is late.
    """

    def __init__(self, on_report: Callable[[dict[str, Report]], None]) -> None:
        keep_stamping()
        self._on_report = on_report
        self._reports: dict[str, Report] = {}
        self._plant = Plant()
        self._book = WindowBook()
        self._plans: list[SessionPlan] = []  # by place
        self._asked = 0  # sessions, those included that the loop has not taken in yet
        self._joined: deque[tuple[int, SessionPlan]] = deque()  # of which the book knows nothing
        self._retired: set[int] = set()  # places to be had again once all is told of them
        self._retries: dict[int, SocketAddress] = {}  # sessions for which there was no socket
        self._seen = _Seen()
        self._clock = read_clock_state()
        self._reported_ns = self._clock_read_ns = -(1 << 62)
        self._lock = threading.Lock()  # of the commands and of the descriptor behind them
        self._commands: list[Callable[[], None]] = []
        self._control = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._open = True
        self._stopped = False
        self._running = False
        self._phases_ns: dict[int, int] = {}  # of sessions that begin when the engine does
        self._one_off = True  # nobody will join or move, so a lone target may have its own socket
        self._ended = threading.Event()
        self._failure: BaseException | None = None

    def measure(
        self,
        plan: SessionPlan,
        target: SocketAddress | None,
        *,
        start: Instant | None = None,
        phase_ns: int | None = None,
        count: int | None = None,
    ) -> Measured:
        """Add a session, before `run` or while it goes on; from any thread.

        Without a target its packets are unmeasured.
        """
        begin = start or read_clocks()
        phase_ns = random_phase_ns(plan.interval_ns) if phase_ns is None else phase_ns
        error = self._clock.error_estimate().encode()
        measured = Measured(plan, self._plant)
        with self._lock:
            self._asked += 1
            waits = start is None and not self._running

            def add() -> None:
                index = self._plant.add(plan, begin, phase_ns=phase_ns, count=count, error=error)
                self._plans[index : index + 1] = [plan]
                self._joined.append((index, plan))
                measured.index = index
                if waits:
                    self._phases_ns[index] = phase_ns
                if target is not None:
                    self._direct(index, target)

            self._tell(add)
        return measured

    def retire(self, measured: Measured) -> None:
        """Let nothing further of a session become due; from any thread. It is not looked at again.

        Another session may have its place when the last of its windows was reported.
        """
        self._do(lambda: self._retire(measured.index))

    def retarget(self, measured: Measured, target: SocketAddress) -> None:
        """Send a session's packets to another address from now on; from any thread."""
        self._do(lambda: self._direct(measured.index, target))

    def stop(self) -> None:
        """Let nothing further become due; `run` returns when nothing is under way."""
        self._do(self._stop)

    def run(self, *, until_stopped: bool = False) -> None:
        """Measure; returns when every session has finished and its windows were reported.

        `until_stopped`: and not before `stop`, for there may be further sessions.
        """
        self._one_off = not until_stopped
        with self._lock:
            self._running = True
        self._obey()
        here, elsewhere = processors_apart()
        work = [threading.Thread(target=self._work, args=(self._control, 0, here), name="measure")]
        if elsewhere:
            apart = (-1, GRACE_NS, elsewhere)
            work.append(threading.Thread(target=self._work, args=apart, name="stand by"))
        self._plant.begin(self._phases_ns, read_clocks())  # until now took its time
        try:
            self._start(work)
            while not self._ended.wait(_PROCESS_S):
                self._process()
                if self._plant.finished and (self._stopped or not until_stopped):
                    break
            self._end(work)
            self._process()
            if self._failure is not None:
                raise self._failure
        finally:
            self._end(work)
            with self._lock:
                self._open = False
            self._plant.close()
            os.close(self._control)

    def _start(self, work: Sequence[threading.Thread]) -> None:
        for number, thread in enumerate(work):
            thread.daemon = True
            try:
                thread.start()
            except RuntimeError as error:  # a limit of tasks
                if number == 0:
                    raise
                _log.warning("no thread that stands by for a late one: %s", error)

    def _end(self, work: Sequence[threading.Thread]) -> None:
        self._ended.set()
        if self._open:
            os.eventfd_write(self._control, 1)
        self._plant.interrupt()  # after the event: who has not seen that yet sees this
        for thread in work:
            if thread.ident is not None:
                thread.join()

    def _work(self, control: int, grace_ns: int, processors: Collection[int]) -> None:
        """Run the loop, and in between, if this is who hears of it, do what it is told."""
        hurry(processors)
        try:
            while not self._ended.is_set():
                self._plant.take_turns(control, QUANTUM_NS, grace_ns)
                if control >= 0:
                    self._obey()
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread of `run`
            self._failure = error
            self._ended.set()

    def _obey(self) -> None:
        """Do what was asked for; in the first thread of the loop, or before there is one."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._control)
        with self._lock:
            commands, self._commands = self._commands, []
        if commands:
            with self._plant.held():
                for command in commands:
                    command()

    def _retire(self, index: int) -> None:
        self._plant.retire(index)
        self._retries.pop(index, None)
        self._retired.add(index)

    def _stop(self) -> None:
        self._stopped = True
        self._plant.stop()

    def _process(self) -> None:
        """Make rows to windows, and report; at the end of all there is no window left open."""
        now = read_clocks()
        watermarks_ns = self._plant.state.sessions["watermark_ns"].copy()
        rows = self._plant.take_rows()
        watermarks_ns = self._join(watermarks_ns)
        self._book.enter(rows)
        if self._ended.is_set():
            watermarks_ns[:] = NEVER_NS
        self._note_rows(rows)
        windows = self._book.close(watermarks_ns, self._clock)
        for window in windows:
            self._reports[window.key.path.src].windows.append(window)
        self._make_room()
        self._read_clock(now)
        if windows or self._ended.is_set() or now.mono_ns - self._reported_ns >= _REPORT_NS:
            self._reported_ns = now.mono_ns
            self._note_discarded()
            self._retry()
            self._on_report({site: report.take() for site, report in self._reports.items()})

    def _join(self, watermarks_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Let the book know of sessions of which there may be rows by now.

        What was read of their places before says nothing of them: no window is complete.
        """
        while self._joined:
            place, plan = self._joined.popleft()
            self._reports.setdefault(plan.key.path.src, Report())
            self._book.put(place, plan)
            more = max(0, place + 1 - len(watermarks_ns))
            watermarks_ns = np.append(watermarks_ns, np.zeros(more, np.int64))
            watermarks_ns[place] = 0
        return watermarks_ns

    def _make_room(self) -> None:
        """Have the places of sessions freed that are retired and over."""
        for place in self._retired & self._book.ended:
            self._retired.discard(place)
            self._do(partial(self._plant.free, place))

    def _note_rows(self, rows: NDArray[np.void]) -> None:
        """Report how late packets left, and why some did not."""
        if not len(rows):
            return
        sites = np.array([plan.key.path.src for plan in self._plans])[rows["session"]]
        for site, report in self._reports.items():
            own = rows[sites == site] if len(self._reports) > 1 else rows
            late_ns = own["late_ns"]
            report.lateness_s.frombytes((late_ns[late_ns >= 0] / NS_PER_S).tobytes())
            for why, reason in _NOT_SENT.items():
                packets = int(own["packets"][late_ns == why].sum())
                if packets:
                    report.discarded[reason] += packets

    def _note_discarded(self) -> None:
        for door, found in self._seen.news(self._plant):
            self._reports.setdefault(door.site, Report()).discarded += found

    def _read_clock(self, now: Instant) -> None:
        if now.mono_ns - self._clock_read_ns < _CLOCK_READ_NS:
            return
        self._clock_read_ns = now.mono_ns
        self._clock = read_clock_state()
        for report in self._reports.values():
            report.clock = self._clock
        self._plant.state.sessions["error"] = self._clock.error_estimate().encode()

    def _retry(self) -> None:
        """Try again where a socket could not be opened."""
        if self._retries:
            self._do(self._direct_all)

    def _direct_all(self) -> None:
        for index, target in list(self._retries.items()):
            self._direct(index, target)

    def _direct(self, index: int, target: SocketAddress) -> None:
        """Point a session at an address, in the thread of the loop or before it runs."""
        plan = self._plans[index]
        alone = target if self._one_off and self._asked == 1 else None
        kind = UNAUTHENTICATED if plan.secret is None else AUTHENTICATED
        door = Door(plan.key.path.src, target.family, plan.dscp, plan.port, kind, alone)
        try:
            self._plant.direct(index, target, door)
        except OSError as error:
            if index not in self._retries:
                _log.warning("no socket to %s: %s", target, error.strerror)
            self._retries[index] = target
            self._plant.state.sessions[index]["socket"] = -2
        else:
            self._retries.pop(index, None)

    def _do(self, command: Callable[[], None]) -> None:
        """Have the loop's thread do something; nothing happens once it has ended."""
        with self._lock:
            self._tell(command)

    def _tell(self, command: Callable[[], None]) -> None:
        if self._open:
            self._commands.append(command)
            os.eventfd_write(self._control, 1)


@dataclass(slots=True)
class _Seen:
    """The counters of discarded datagrams and errors, as far as they have been reported."""

    _discarded: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, len(CAUSES)), int))
    _errors: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2, 0), int))

    def news(self, plant: Plant) -> Sequence[tuple[Door, Counter[str]]]:
        """Return what was counted since, by socket."""
        state, doors = plant.state, list(plant.doors)
        discarded, errors = state.discarded.copy(), state.errors.copy()
        more_discarded, more_errors = discarded.copy(), errors.copy()
        known = len(self._discarded)
        if known:
            more_discarded[:known] -= self._discarded
            more_errors[:known] -= self._errors
        self._discarded, self._errors = discarded, errors
        return [
            (door, _reasons(more_discarded[place], more_errors[place]))
            for place, door in enumerate(doors[: len(discarded)])
        ]


def _reasons(discarded: NDArray[np.int64], errors: NDArray[np.int64]) -> Counter[str]:
    found: Counter[str] = Counter()
    for cause in np.flatnonzero(discarded).tolist():
        found[CAUSES[cause]] += int(discarded[cause])
    for side, number in np.argwhere(errors).tolist():
        name = errno.errorcode.get(number, "unknown error")
        if side == 0:
            reason = f"not sent: {name}"
        else:
            reason = REFUSED if number == errno.ECONNREFUSED else f"ICMP error: {name}"
        found[reason] += int(errors[side, number])
    return found
