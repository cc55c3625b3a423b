"""One thread that measures: sends what is due and reads what arrives, for every session.

A packet never waits for another session's target: nothing here blocks but the wait itself,
and that ends at the next due time, whoever it belongs to.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from netslo.model import NS_PER_S
from probes.address import SocketAddress
from probes.channel import Channel, Report
from probes.clock import read_clock_state
from probes.instant import Instant, read_clocks
from probes.schedule import Timetable
from probes.session import Session, SessionPlan
from probes.timestamps import keep_stamping

_REPORT_NS: Final = NS_PER_S
_CLOCK_READ_NS: Final = 16 * NS_PER_S
_IDLE_WAIT_S: Final = 3600.0
_CLOSE_RETRY_NS: Final = 20_000_000
_CLOSE_MAX: Final = 1  # sessions in one turn: windows of all sessions end at the same time


class Engine:
    """Runs sessions until each has finished, or until `stop`.

    `on_report` is called with the reports by source site, in the engine's thread, about once a
    second and whenever windows were closed; it must return quickly. `retarget` and `stop` may
    be called from any thread, also before `run` and after it.
    """

    def __init__(self, on_report: Callable[[dict[str, Report]], None]) -> None:
        keep_stamping()
        self._on_report = on_report
        self._reports: dict[str, Report] = {}
        self._reported_ns = self._clock_read_ns = -(1 << 63)  # long ago
        self._channels: list[Channel] = []
        self._stopped = False
        self._by_fd: dict[int, Channel] = {}
        self._timetable: Timetable[Channel] = Timetable()
        self._closing: Timetable[Channel] = Timetable()
        self._lock = threading.Lock()  # of the commands and of the wake-up behind them
        self._commands: list[Callable[[], None]] = []
        self._poll = select.epoll()
        self._wakeup_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._wakeup_fd, select.EPOLLIN)

    def measure(
        self,
        plan: SessionPlan,
        target: SocketAddress | None,
        *,
        start: Instant | None = None,
        phase_ns: int | None = None,
        count: int | None = None,
    ) -> Channel:
        """Add a session by its plan, before `run` or while it goes on; from any thread."""
        session = Session(plan, start or read_clocks(), phase_ns=phase_ns, count=count)
        return self.add(session, target)

    def add(self, session: Session, target: SocketAddress | None) -> Channel:
        """Add a session; without a target its packets are unmeasured."""
        report = self._reports.setdefault(session.plan.key.path.src, Report())
        channel = Channel(session, target, report, self._register)
        self._do(lambda: self._begin(channel))
        return channel

    def retire(self, channel: Channel) -> None:
        """Let nothing further of a session become due; from any thread."""
        self._do(lambda: self._retire(channel))

    def retarget(self, channel: Channel, target: SocketAddress) -> None:
        """Send a session's packets to another address from now on."""
        self._do(lambda: channel.retarget(target))

    def stop(self) -> None:
        """Let nothing further become due; `run` returns when nothing is in flight."""
        self._do(self._stop_sessions)

    def run(self, *, until_stopped: bool = False) -> None:
        """Measure; returns when every session has finished and its windows were reported.

        `until_stopped`: and not before `stop`, for there may be further sessions.
        """
        try:
            self._obey()
            while (until_stopped and not self._stopped) or self._busy():
                self._turn()
            for channel in self._channels:
                channel.flush()
            self._report(read_clocks())
        finally:
            self._release()

    def _busy(self) -> bool:
        return any(not channel.session.finished for channel in self._channels)

    def _begin(self, channel: Channel) -> None:
        self._channels.append(channel)
        self._plan(channel)

    def _retire(self, channel: Channel) -> None:
        channel.retired = True
        channel.session.stop()
        self._plan(channel)
        self._let_go(channel)

    def _let_go(self, channel: Channel) -> None:
        """Forget a retired session once all of it is told, or it would keep its socket."""
        session = channel.session
        if not (channel.retired and session.finished and session.next_close_ns is None):
            return
        channel.flush()
        if channel.sock is not None:
            self._by_fd.pop(channel.sock.fileno(), None)
        channel.close_socket()
        if channel in self._channels:
            self._channels.remove(channel)

    def _turn(self) -> None:
        """Wait, send, read, settle; `now` precedes the reading, as `Session.settle` asks."""
        self._wait()
        self._obey()
        now = read_clocks()
        ready = self._poll.poll(0)
        due = self._timetable.pop_due(now.mono_ns)
        for channel in due:
            channel.send_due(now)
            channel.read_transmitted()  # most have left already: no need to be woken for them
        for fd, _ in ready:
            reader = self._by_fd.get(fd)
            if reader is not None:
                reader.read()
        for channel in due:
            channel.settle(now)
            self._plan(channel)
        self._close_windows(now)
        self._read_clock(now)
        self._report_if_due(now)

    def _wait(self) -> None:
        """Sleep until something is due or readable.

        `epoll` counts in milliseconds; `select` on the epoll object itself is finer.
        """
        times = [t for t in (self._timetable.next_ns, self._closing.next_ns) if t is not None]
        wait_s = _IDLE_WAIT_S
        if times:
            wait_s = max(0.0, (min(times) - time.monotonic_ns()) / NS_PER_S)
        select.select([self._poll], [], [], min(wait_s, _IDLE_WAIT_S))

    def _plan(self, channel: Channel) -> None:
        """Enter when a channel wants attention next."""
        wakeup_ns, close_ns = channel.session.next_wakeup_ns, channel.session.next_close_ns
        if wakeup_ns is not None:
            self._timetable.push(wakeup_ns, channel)
        if close_ns is not None and not channel.awaits_close:
            channel.awaits_close = True
            self._closing.push(close_ns, channel)

    def _close_windows(self, now: Instant) -> None:
        """Close windows of a few sessions; packets that become due meanwhile go first."""
        for channel in self._closing.pop_due(now.mono_ns, _CLOSE_MAX):
            channel.close_windows(now)
            close_ns = channel.session.next_close_ns
            channel.awaits_close = close_ns is not None
            if close_ns is not None:  # if still the same one, a packet of it is in flight
                self._closing.push(max(close_ns, now.mono_ns + _CLOSE_RETRY_NS), channel)
            self._let_go(channel)

    def _report_if_due(self, now: Instant) -> None:
        """Report at once when the last of many windows that end together was closed."""
        close_ns = self._closing.next_ns
        more = close_ns is not None and close_ns <= now.mono_ns
        closed = not more and any(report.windows for report in self._reports.values())
        if closed or now.mono_ns - self._reported_ns >= _REPORT_NS:
            self._report(now)

    def _register(self, channel: Channel, sock: socket.socket) -> None:
        """Listen to a new socket. Closing it takes it out of the epoll set by itself."""
        self._by_fd[sock.fileno()] = channel
        self._poll.register(sock, select.EPOLLIN)

    def _read_clock(self, now: Instant) -> None:
        if now.mono_ns - self._clock_read_ns < _CLOCK_READ_NS:
            return
        self._clock_read_ns = now.mono_ns
        clock = read_clock_state()
        for report in self._reports.values():
            report.clock = clock
        for channel in self._channels:
            channel.session.clock = clock
            channel.session.sender.error_estimate = clock.error_estimate()

    def _report(self, now: Instant) -> None:
        self._reported_ns = now.mono_ns
        self._on_report({site: report.take() for site, report in self._reports.items()})

    def _do(self, command: Callable[[], None]) -> None:
        """Have the engine's thread do something; nothing happens once it has ended."""
        with self._lock:
            if not self._poll.closed:
                self._commands.append(command)
                os.eventfd_write(self._wakeup_fd, 1)

    def _obey(self) -> None:
        with self._lock:
            if not self._commands:
                return
            os.eventfd_read(self._wakeup_fd)
            commands, self._commands = self._commands, []
        for command in commands:
            command()

    def _stop_sessions(self) -> None:
        self._stopped = True
        self._timetable.clear()
        for channel in self._channels:
            channel.session.stop()
            self._plan(channel)

    def _release(self) -> None:
        with self._lock:
            for channel in self._channels:
                channel.close_socket()
            self._poll.close()
            os.close(self._wakeup_fd)
