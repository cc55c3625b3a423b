"""The emulator on real sockets: a port for each path, both ways delayed, in one thread."""

from __future__ import annotations

import heapq
import itertools
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from netslo.estate import Estate
from netslo.model import NS_PER_S, Endpoint, Path
from probes.emulator.log import DROPPED, FORWARD, REVERSE, FlowLog, Truth
from probes.emulator.model import Direction, Impairment, ordinary
from probes.sockets import Datagram, read_datagram
from probes.timestamps import enable_timestamps

_STOP_POLL_S: Final = 0.1
_BURST_MAX: Final = 64
_IN_FLIGHT_MAX: Final = 100_000
_FINE_WAIT_S: Final = 0.001  # epoll counts in milliseconds; what is left is slept
_REQUEST_ID = struct.Struct("!I")  # STAMP sequence number, RFC 8762 §4.2.1
_REPLY_ID = struct.Struct("!24xI")  # Session-Sender Sequence Number, §4.3.1


@dataclass(frozen=True, slots=True)
class Flow:
    """One path to carry: where it ends, and how it behaves there and back."""

    path: Path
    target: Endpoint
    forward: Direction
    reverse: Direction


@dataclass(slots=True)
class _Carried:
    """A flow with its two sockets: probes send to `front`, `back` talks to the reflector."""

    flow: Flow
    front: socket.socket
    back: socket.socket
    log: FlowLog = field(default_factory=FlowLog)
    sender: Any = None  # the address that last sent to `front`


class Emulator:
    """Carries flows until it is told to stop; `ports` says where each path enters.

    Truth is what the log says: from the kernel's timestamp of a packet's arrival to the moment
    it was handed to the kernel again.
    """

    def __init__(self, flows: Iterable[Flow], listen_host: str = "127.0.0.1") -> None:
        self._carried = {flow.path: _open(flow, listen_host) for flow in flows}
        self.ports = {
            path: Endpoint(*carried.front.getsockname()[:2])
            for path, carried in self._carried.items()
        }
        self._releases: list[tuple[int, int, _Carried, int, int, int, bytes]] = []
        self._tie = itertools.count()
        self._lock = threading.Lock()  # between the relay and whoever reads the log

    def degrade(self, path: Path, impairment: Impairment | None) -> None:
        """Impair both directions of a path from now on; None ends it. Any thread may call.

        Raises:
            KeyError: the path is not carried here.
        """
        flow = self._carried[path].flow
        flow.forward.impairment = flow.reverse.impairment = impairment

    def truth(self, path: Path) -> Truth:
        """Return what happened on a path so far. Any thread may call."""
        with self._lock:
            return self._carried[path].log.truth()

    def run(self, stop: threading.Event) -> None:
        """Carry until `stop` is set; then the sockets close and what is under way is gone."""
        with select.epoll() as poll:
            by_fd: dict[int, tuple[_Carried, int]] = {}
            for carried in self._carried.values():
                by_fd[carried.front.fileno()] = (carried, FORWARD)
                by_fd[carried.back.fileno()] = (carried, REVERSE)
            for fd in by_fd:
                poll.register(fd, select.EPOLLIN)
            try:
                while not stop.is_set():
                    events = poll.poll(self._wait_s())
                    with self._lock:
                        for fd, _ in events:
                            self._take(*by_fd[fd])
                        self._release()
            finally:
                for carried in self._carried.values():
                    carried.front.close()
                    carried.back.close()

    def _wait_s(self) -> float:
        """Sleep away the last millisecond before a release; else return how long to poll."""
        if not self._releases:
            return _STOP_POLL_S
        left_s = (self._releases[0][0] - time.time_ns()) / NS_PER_S
        if left_s > _FINE_WAIT_S:
            return min(left_s - _FINE_WAIT_S, _STOP_POLL_S)
        if left_s > 0:
            time.sleep(left_s)
        return 0.0

    def _take(self, carried: _Carried, direction: int) -> None:
        """Read what arrived and set its release, or its end."""
        sock = carried.front if direction == FORWARD else carried.back
        model = carried.flow.forward if direction == FORWARD else carried.flow.reverse
        for _ in range(_BURST_MAX):
            try:
                datagram = read_datagram(sock)
            except OSError:  # an ICMP error: the far end is not there, so the packet is gone
                continue
            if datagram is None:
                return
            packet = _packet_id(datagram, direction)
            if packet is None:
                continue
            if direction == FORWARD:
                carried.sender = datagram.address
            arrival_ns = datagram.received_ns or time.time_ns()
            delay_ns = model.delay_ns(arrival_ns)
            if delay_ns is None or len(self._releases) >= _IN_FLIGHT_MAX:
                carried.log.note(packet, direction, arrival_ns, DROPPED)
                continue
            due_ns, tie = arrival_ns + delay_ns, next(self._tie)
            release = (due_ns, tie, carried, direction, packet, arrival_ns, datagram.data)
            heapq.heappush(self._releases, release)

    def _release(self) -> None:
        """Hand on whatever is due."""
        while self._releases and self._releases[0][0] <= time.time_ns():
            _, _, carried, direction, packet, arrival_ns, data = heapq.heappop(self._releases)
            release_ns = time.time_ns()
            try:
                if direction == FORWARD:
                    carried.back.send(data)
                else:
                    carried.front.sendto(data, carried.sender)
            except OSError:  # nobody listens, or no buffer: the packet did not leave
                release_ns = DROPPED
            carried.log.note(packet, direction, arrival_ns, release_ns)


def estate_flows(
    estate: Estate, targets: Mapping[str, Endpoint], seed: int | None = None
) -> list[Flow]:
    """Return a flow for each path of an estate, to the reflector of its far site."""
    seeds = random.Random(seed)
    return [
        Flow(
            path,
            targets[path.dst],
            Direction(ordinary(estate, path), seeds.getrandbits(64)),
            Direction(ordinary(estate, path.reverse), seeds.getrandbits(64)),
        )
        for path in estate.paths
    ]


def _open(flow: Flow, listen_host: str) -> _Carried:
    front, back = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for sock in (front, back):
        sock.setblocking(False)  # noqa: FBT003
        enable_timestamps(sock)
    front.bind((listen_host, 0))
    back.connect((flow.target.host, flow.target.port))
    return _Carried(flow, front, back)


def _packet_id(datagram: Datagram, direction: int) -> int | None:
    """Return the sequence number of a request or of the request it answers; None for neither."""
    layout = _REQUEST_ID if direction == FORWARD else _REPLY_ID
    if len(datagram.data) < layout.size:
        return None
    return int(layout.unpack_from(datagram.data)[0])
