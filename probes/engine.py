"""One thread that measures: sends what is due and reads what arrives, for every session.

A packet never waits for another session's target: nothing here blocks but the wait itself,
and that ends at the next due time, whoever it belongs to.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from analytics.windows import PathWindow
from netslo.model import NS_PER_S
from probes.address import SocketAddress
from probes.clock import ClockState, read_clock_state
from probes.instant import Instant, read_clocks
from probes.schedule import Timetable
from probes.session import Due, Session
from probes.sockets import Datagram, open_probe_socket, read_datagram
from probes.stamp.sender import Discarded, Late

_log = logging.getLogger(__name__)

REFUSED: Final = "refused by the far end: no reflector listens there"
NO_ADDRESS: Final = "not sent: address not known"
LATE_REPLY: Final = "reply after the time-out"
OVERLONG: Final = "longer than any test packet"

_REPORT_NS: Final = NS_PER_S
_CLOCK_READ_NS: Final = 16 * NS_PER_S
_REOPEN_NS: Final = 2 * NS_PER_S
_BURST_MAX: Final = 1024  # datagrams of one socket in one turn
_KERNEL_STAMP_AGE_NS_MAX: Final = 10 * NS_PER_S
_IDLE_WAIT_S: Final = 3600.0

# The packet did not leave, but the socket is sound: try again with the next one.
_PASSING_ERRORS: Final = frozenset(
    {errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.EPERM, errno.EACCES, errno.EMSGSIZE}
)


@dataclass(slots=True)
class Report:
    """What happened since the last report."""

    windows: list[PathWindow] = field(default_factory=list)
    lateness_s: list[float] = field(default_factory=list)  # of each packet sent
    discarded: Counter[str] = field(default_factory=Counter)  # datagrams and packets, by reason
    clock: ClockState | None = None  # when it was read anew


@dataclass(slots=True, eq=False)
class Channel:
    """A session, its target and its socket. Only the engine's thread touches it."""

    session: Session
    dscp: int
    target: SocketAddress | None
    sock: socket.socket | None = None
    reopen_ns: int = 0  # not before this monotonic time


class Engine:
    """Runs sessions until each is finished, or until `stop`.

    `on_report` is called in the engine's thread, about once a second and whenever windows
    were closed; it must return quickly. `stop`, `retarget` may be called from any thread.
    """

    def __init__(self, on_report: Callable[[Report], None]) -> None:
        self._on_report = on_report
        self._report = Report()
        self._reported_ns = 0
        self._clock_read_ns: int | None = None
        self._channels: list[Channel] = []
        self._by_fd: dict[int, Channel] = {}
        self._timetable: Timetable[Channel] = Timetable()
        self._lock = threading.Lock()  # between `_do` and `_release`
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._poll = select.epoll()
        self._wakeup_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._wakeup_fd, select.EPOLLIN)

    def add(self, session: Session, target: SocketAddress | None, dscp: int = 0) -> Channel:
        """Add a session before `run`; without a target its packets are unmeasured."""
        channel = Channel(session, dscp, target)
        self._channels.append(channel)
        return channel

    def retarget(self, channel: Channel, target: SocketAddress) -> None:
        """Send a session's packets to another address from now on."""

        def command() -> None:
            self._close_socket(channel)
            channel.target, channel.reopen_ns = target, 0

        self._do(command)

    def stop(self) -> None:
        """Let nothing further become due; `run` returns when nothing is in flight."""

        def command() -> None:
            self._timetable.clear()
            for channel in self._channels:
                channel.session.stop()
                self._plan(channel)

        self._do(command)

    def run(self) -> None:
        """Measure; returns when every session has finished and its windows were reported."""
        try:
            for channel in self._channels:
                self._plan(channel)
            while any(not channel.session.finished for channel in self._channels):
                self._turn()
            for channel in self._channels:
                self._report.windows += channel.session.flush()
            self._send_report(read_clocks())
        finally:
            self._release()

    def _turn(self) -> None:
        """Wait, send, read, settle. `now` precedes the reading, as `Session.settle` asks."""
        self._wait()
        self._obey()
        now = read_clocks()
        ready = self._poll.poll(0)
        due = self._timetable.pop_due(now.mono_ns)
        for channel in due:
            self._send_due(channel, now)
        for fd, _ in ready:
            self._read(fd)
        for channel in due:
            self._report.windows += channel.session.settle(now)
            self._plan(channel)
        self._read_clock(now)
        if self._report.windows or now.mono_ns - self._reported_ns >= _REPORT_NS:
            self._send_report(now)

    def _wait(self) -> None:
        """Sleep until something is due or readable.

        `epoll` counts in milliseconds; `select` on the epoll object itself is finer.
        """
        next_ns = self._timetable.next_ns
        wait_s = _IDLE_WAIT_S
        if next_ns is not None:
            wait_s = max(0.0, (next_ns - read_clocks().mono_ns) / NS_PER_S)
        select.select([self._poll], [], [], min(wait_s, _IDLE_WAIT_S))

    def _plan(self, channel: Channel) -> None:
        wakeup_ns = channel.session.next_wakeup_ns
        if wakeup_ns is not None:
            self._timetable.push(wakeup_ns, channel)

    def _send_due(self, channel: Channel, now: Instant) -> None:
        session = channel.session
        for due in session.take_due(now):
            sock = channel.sock or self._open_socket(channel, now)
            if sock is None:
                session.skip(due)
            else:
                self._send(channel, sock, due)

    def _send(self, channel: Channel, sock: socket.socket, due: Due) -> None:
        now = read_clocks()  # T1: nothing but the packing lies between this and the kernel
        seq, datagram = channel.session.transmit(due, now)
        self._report.lateness_s.append((now.mono_ns - due.due_ns) / NS_PER_S)
        error = _send_now(sock, datagram)
        if error and error not in _PASSING_ERRORS:
            # Most likely what ICMP said of an earlier packet: then it is told once, this packet
            # has not left yet, and the next try succeeds.
            told, error = error, _send_now(sock, datagram)
            if error == 0:
                self._note_icmp(told)
        if error:
            self._report.discarded[f"not sent: {_name(error)}"] += 1
            channel.session.withdraw(seq)
        if error and error not in _PASSING_ERRORS:  # an interface or address went: begin anew
            self._close_socket(channel)
            channel.reopen_ns = now.mono_ns + _REOPEN_NS

    def _note_icmp(self, error: int | None) -> None:
        refused = error == errno.ECONNREFUSED
        self._report.discarded[REFUSED if refused else f"ICMP error: {_name(error)}"] += 1

    def _read(self, fd: int) -> None:
        channel = self._by_fd.get(fd)
        if channel is None:  # its socket was closed in this turn
            return
        for _ in range(_BURST_MAX):
            if channel.sock is None:
                return
            try:
                datagram = read_datagram(channel.sock)
            except OSError as error:
                self._note_icmp(error.errno)
                continue
            if datagram is None:
                return
            self._take(channel.session, datagram)

    def _take(self, session: Session, datagram: Datagram) -> None:
        if datagram.truncated:
            self._report.discarded[OVERLONG] += 1
            return
        event = session.receive(datagram.data, _arrival(datagram, read_clocks()))
        if isinstance(event, Discarded):
            self._report.discarded[event.reason] += 1
        elif isinstance(event, Late):
            self._report.discarded[LATE_REPLY] += 1

    def _open_socket(self, channel: Channel, now: Instant) -> socket.socket | None:
        if channel.target is None:
            self._report.discarded[NO_ADDRESS] += 1
            return None
        if now.mono_ns >= channel.reopen_ns:
            try:
                channel.sock = open_probe_socket(channel.target, channel.dscp)
            except OSError as error:
                channel.reopen_ns = now.mono_ns + _REOPEN_NS
                _log.warning("no socket to %s: %s", channel.target, error.strerror)
            else:
                self._by_fd[channel.sock.fileno()] = channel
                self._poll.register(channel.sock, select.EPOLLIN)
                return channel.sock
        self._report.discarded["not sent: no route or no socket"] += 1
        return None

    def _close_socket(self, channel: Channel) -> None:
        if channel.sock is not None:
            del self._by_fd[channel.sock.fileno()]
            channel.sock.close()  # which also takes it out of the epoll set
            channel.sock = None
            channel.session.abandon()

    def _read_clock(self, now: Instant) -> None:
        if self._clock_read_ns is None or now.mono_ns - self._clock_read_ns >= _CLOCK_READ_NS:
            self._clock_read_ns = now.mono_ns
            self._report.clock = read_clock_state()
            estimate = self._report.clock.error_estimate()
            for channel in self._channels:
                channel.session.sender.error_estimate = estimate

    def _send_report(self, now: Instant) -> None:
        self._reported_ns = now.mono_ns
        report, self._report = self._report, Report()
        self._on_report(report)

    def _do(self, command: Callable[[], None]) -> None:
        """Have the engine's thread do something; nothing happens when it has ended."""
        with self._lock:
            if not self._poll.closed:
                self._commands.put(command)
                os.eventfd_write(self._wakeup_fd, 1)

    def _obey(self) -> None:
        if not self._commands.empty():
            os.eventfd_read(self._wakeup_fd)
        while not self._commands.empty():
            self._commands.get()()

    def _release(self) -> None:
        with self._lock:
            for channel in self._channels:
                self._close_socket(channel)
            self._poll.close()
            os.close(self._wakeup_fd)


def _send_now(sock: socket.socket, datagram: bytes) -> int:
    """Transmit; return 0 or the error number."""
    try:
        sock.send(datagram)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _arrival(datagram: Datagram, now: Instant) -> Instant:
    """Return when a datagram came: by the kernel's timestamp, unless the clock was set since."""
    received_ns = datagram.received_ns
    if received_ns is None or not 0 <= now.wall_ns - received_ns <= _KERNEL_STAMP_AGE_NS_MAX:
        return now
    return now.at_wall(received_ns)


def _name(number: int | None) -> str:
    return errno.errorcode.get(number or 0, "unknown error")
