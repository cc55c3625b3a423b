"""One session on a real socket, and what it reports."""

from __future__ import annotations

import errno
import logging
import socket
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.windows import PacketCounts, PathWindow
from netslo.model import NS_PER_S
from probes.address import SocketAddress
from probes.clock import ClockState
from probes.icmp.sender import IcmpSender
from probes.icmp.socket import open_echo_socket, read_echo
from probes.instant import Instant, read_clocks
from probes.session import Due, Session
from probes.sockets import Datagram, open_probe_socket
from probes.stamp.events import Discarded, Duplicate, FollowUpFault, Late, Replied
from probes.timestamps import enable_timestamps, number_from_zero, read_transmitted

_log = logging.getLogger(__name__)

REFUSED: Final = "refused by the far end: no reflector listens there"
NO_ADDRESS: Final = "not sent: address not known"
NO_SOCKET: Final = "not sent: no route or no socket"
LATE_REPLY: Final = "reply after the time-out"
STALE_DUPLICATE: Final = "duplicate of a packet whose window is closed"
OVERLONG: Final = "longer than any test packet"

REOPEN_NS: Final = 2 * NS_PER_S
_BURST_MAX: Final = 1024  # datagrams of one socket in one turn
_NUMBERS: Final = 1 << 32  # the kernel counts in 32 bits
_NUMBERED_MAX: Final = 4096  # packets whose stamp has not come
KERNEL_STAMP_AGE_NS_MAX: Final = 10 * NS_PER_S

# The packet did not leave, but the socket is sound: try again with the next one.
PASSING_ERRORS: Final = frozenset(
    {errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.EPERM, errno.EACCES, errno.EMSGSIZE}
)


@dataclass(slots=True)
class Report:
    """What happened to the sessions of one source site since the last report.

    `discarded` counts by reason what was received in vain and what could not be sent; the
    number of reasons is bounded, for nothing in them comes from a peer.
    """

    windows: list[PathWindow] = field(default_factory=list)
    lateness_s: array[float] = field(default_factory=lambda: array("d"))  # of each packet sent
    discarded: Counter[str] = field(default_factory=Counter)
    clock: ClockState | None = None  # if it was read anew
    certificates: dict[str, float] = field(default_factory=dict)  # expiry, Unix s, by path

    def take(self) -> Report:
        """Return what has gathered, and begin anew."""
        taken = Report(self.windows, self.lateness_s, self.discarded, self.clock, self.certificates)
        self.windows, self.lateness_s, self.discarded = [], array("d"), Counter()
        self.clock, self.certificates = None, {}
        return taken


class Channel:
    """Sends a session's due packets and reads their answers; never blocks, never raises.

    Of a send error, only ECONNREFUSED and other news by ICMP of *earlier* packets are the
    network's: those packets are lost by their time-out. Otherwise this host failed to send,
    and the packet is unmeasured. A socket whose interface or address went away is opened anew.
    """

    def __init__(
        self,
        session: Session,
        target: SocketAddress | None,
        report: Report,
        on_open: Callable[[Channel, socket.socket], None],
    ) -> None:
        self.session = session
        self.sock: socket.socket | None = None
        self.source_port: int | None = None  # of the latest socket; ICMP has no ports
        self.retired = False  # nothing further of it will be due
        self.awaits_close = False  # it is in the engine's list of windows to close
        self._target = target
        self._report = report
        self._on_open = on_open
        self._reopen_ns = 0  # not before this monotonic time
        self._stamps = False  # the kernel says when a packet leaves
        self._numbered: dict[int, int] = {}  # sequence numbers by the kernel's, still to come
        self._next_number = 0

    @property
    def totals(self) -> PacketCounts:
        """The packets settled so far."""
        return self.session.totals

    def recent_rtt_s(self, packets: int) -> NDArray[np.float64]:
        """Return the round trips of the last answers, at most so many, seconds."""
        return np.array(self.session.recent_rtt_s.copy())[-packets:]

    def retarget(self, target: SocketAddress) -> None:
        """Send to another address from now on."""
        self.close_socket()
        self._target, self._reopen_ns = target, 0

    def send_due(self, now: Instant) -> None:
        """Send what is due by now."""
        for due in self.session.take_due(now):
            sock = self.sock or self._open(now)
            if sock is None:
                self.session.skip(due)
            else:
                self._send(sock, due)

    def read(self) -> None:
        """Read what has arrived, and before judging it, when its requests left."""
        if self.sock is None:
            return
        arrived: list[tuple[Datagram, Instant]] = []
        for _ in range(_BURST_MAX):
            try:
                datagram = read_echo(self.sock)
            except OSError as error:
                self._note_icmp(error.errno)
                continue
            if datagram is None:
                break
            arrived.append((datagram, read_clocks()))
        self.read_transmitted()
        for datagram, now in arrived:
            self._take(datagram, now)

    def read_transmitted(self) -> None:
        """Read what the kernel says of packets that have left."""
        if self.sock is None or not self._numbered:
            return
        stamps = list(read_transmitted(self.sock))
        now = read_clocks()  # not before: a packet may have left in between
        for number, left_ns in stamps:
            seq = self._numbered.pop(number, None)
            if seq is not None and 0 <= now.wall_ns - left_ns <= KERNEL_STAMP_AGE_NS_MAX:
                self.session.transmitted(seq, left_ns)

    def settle(self, now: Instant) -> None:
        """Settle what is past its time-out; `now` must be older than the last `read`."""
        self.session.settle(now)

    def close_windows(self, now: Instant) -> None:
        """Report the windows that are complete."""
        self._report.windows += self.session.close(now)

    def flush(self) -> None:
        """Report every window."""
        self._report.windows += self.session.flush()

    def close_socket(self) -> None:
        """Close the socket; no answer can come to what is in flight."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None
            self._numbered.clear()
            self.session.abandon()

    def _send(self, sock: socket.socket, due: Due) -> None:
        now = read_clocks()  # T1: nothing but the packing lies between this and the kernel
        seq, datagram = self.session.transmit(due, now)
        error = _transmit(sock, datagram)
        self._report.lateness_s.append((now.mono_ns - due.due_ns) / NS_PER_S)
        if error and error not in PASSING_ERRORS:
            # Most likely what ICMP said of an earlier packet: then it is told once, this packet
            # has not left yet, and the next try succeeds.
            told, error = error, _transmit(sock, datagram)
            if not error:
                self._note_icmp(told)
        if self._stamps:
            self._number(sock, seq, error)
        if error:
            self._report.discarded[f"not sent: {_name(error)}"] += 1
            self.session.withdraw(seq)
        if error and error not in PASSING_ERRORS:
            self.close_socket()
            self._reopen_ns = now.mono_ns + REOPEN_NS

    def _number(self, sock: socket.socket, seq: int, error: int) -> None:
        """Remember the number by which the kernel will speak of a packet.

        Whether one that did not leave has used a number up depends on where it failed: then
        numbers begin anew, and stamps that have not come until now are given up.
        """
        if error:
            self.read_transmitted()
            self._numbered.clear()
            self._next_number = 0
            number_from_zero(sock)
            return
        self._numbered[self._next_number] = seq
        self._next_number = (self._next_number + 1) % _NUMBERS
        if len(self._numbered) > _NUMBERED_MAX:
            del self._numbered[next(iter(self._numbered))]

    def _take(self, datagram: Datagram, now: Instant) -> None:
        if datagram.truncated:
            self._report.discarded[OVERLONG] += 1
            return
        arrival = _arrival(datagram, now)
        event = self.session.receive(
            datagram.data, arrival, stamped=arrival is not now, ttl=datagram.ttl
        )
        if isinstance(event, Replied):
            for fault in event.follow_ups:
                if isinstance(fault, FollowUpFault):
                    self._report.discarded[fault.value] += 1
        if isinstance(event, Discarded):
            self._report.discarded[event.reason.value] += 1
        elif isinstance(event, Late):
            self._report.discarded[LATE_REPLY] += 1
        elif isinstance(event, Duplicate) and not self.session.knows(event.seq):
            self._report.discarded[STALE_DUPLICATE] += 1

    def _open(self, now: Instant) -> socket.socket | None:
        if self._target is None:
            self._report.discarded[NO_ADDRESS] += 1
            return None
        if now.mono_ns >= self._reopen_ns:
            try:
                self.sock = self._new_socket(self._target)
            except OSError as error:
                self._reopen_ns = now.mono_ns + REOPEN_NS
                _log.warning("no socket to %s: %s", self._target, error.strerror)
            else:
                self._stamps = enable_timestamps(self.sock, transmit=True)
                self._next_number = 0
                self._on_open(self, self.sock)
                return self.sock
        self._report.discarded[NO_SOCKET] += 1
        return None

    def _new_socket(self, target: SocketAddress) -> socket.socket:
        """Return a socket for the session's kind of probe; nothing is in flight."""
        sender, dscp = self.session.sender, self.session.plan.dscp
        if not isinstance(sender, IcmpSender):
            probe = open_probe_socket(target, dscp)
            self.source_port = probe.getsockname()[1]
            return probe
        sock = open_echo_socket(target, dscp)
        sender.bind(sock.protocol, sock.identifier)
        return sock

    def _note_icmp(self, error: int | None) -> None:
        refused = error == errno.ECONNREFUSED
        self._report.discarded[REFUSED if refused else f"ICMP error: {_name(error)}"] += 1


def _transmit(sock: socket.socket, datagram: bytes) -> int:
    """Return 0 or the error number."""
    try:
        sock.send(datagram)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _arrival(datagram: Datagram, now: Instant) -> Instant:
    """Return when a datagram came: by the kernel's timestamp, unless the clock was set since."""
    received_ns = datagram.received_ns
    if received_ns is None or not 0 <= now.wall_ns - received_ns <= KERNEL_STAMP_AGE_NS_MAX:
        return now
    return now.at_wall(received_ns)


def _name(number: int | None) -> str:
    return errno.errorcode.get(number or 0, "unknown error")
