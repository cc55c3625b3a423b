"""The STAMP reflector on real sockets: one thread, any number of addresses."""

from __future__ import annotations

import errno
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Self

from netslo.errors import ConfigurationError, NetsloError
from netslo.model import Endpoint
from probes.address import SocketAddress, resolve
from probes.channel import KERNEL_STAMP_AGE_NS_MAX
from probes.clock import read_clock_state
from probes.device_clock import ASK, DEVICE
from probes.sockets import Datagram, open_reflector_socket, read_datagram, reply_ancillary
from probes.stamp.answering import Circumstances
from probes.stamp.packet import SEQUENCE_SPAN
from probes.stamp.rate_limit import RateLimit, TokenBuckets
from probes.stamp.reflector import Accepted, Reflector, Refused, RequestFault
from probes.stamp.tlv import Address, Method, Synchronisation, TimestampInformation
from probes.timestamps import (
    enable_timestamps,
    keep_stamping,
    number_from_zero,
    read_transmitted,
)
from probes.warm_up import load_reflecting, warm_up

if TYPE_CHECKING:
    from probes.batched_reflector import CompiledReflector

_STOP_POLL_S: Final = 0.2  # how soon `stop` is noticed while nothing arrives
_BURST_MAX: Final = 256  # datagrams of one socket before the others have their turn
_CLOCK_READ_S: Final = 16.0
RATE_LIMITED: Final = RequestFault.RATE.value
_NUMBERED_MAX: Final = 65_536  # replies whose stamp has not come


@dataclass(slots=True)
class _Door:
    """One address that is answered at."""

    sock: socket.socket
    reflector: Reflector
    synchronised: bool = False
    stamps: bool = field(init=False)
    _numbered: dict[int, Accepted] = field(default_factory=dict)  # stamps of these will come
    _next_number: int = 0

    def __post_init__(self) -> None:
        self.stamps = enable_timestamps(self.sock, transmit=True)

    def circumstances(self, datagram: Datagram, *, stamped: bool) -> Circumstances:
        """Return how a request came; T3 in the reply is our own reading of the clock."""
        source = Synchronisation.NTP if self.synchronised else Synchronisation.FREE_RUNNING
        method = by_kernel() if stamped else Method.CONTROL_PLANE
        return Circumstances(
            datagram.traffic_class,
            None if datagram.local is None else lambda: _addresses(datagram),
            (self.sock.getsockname()[1], datagram.address[1]) if datagram.local else (0, 0),
            TimestampInformation(source, method, source, Method.CONTROL_PLANE),
        )

    def count(self, accepted: Accepted) -> None:
        """Remember a reply that was sent, by the number the kernel gives it."""
        if self.stamps:
            self._numbered[self._next_number] = accepted
            self._next_number = (self._next_number + 1) % SEQUENCE_SPAN
            if len(self._numbered) > _NUMBERED_MAX:
                del self._numbered[next(iter(self._numbered))]

    def lose_count(self) -> None:
        """Begin to count anew: nobody knows whether a reply that was not sent has a number."""
        if self.stamps:
            self.read_transmitted()
            self._numbered.clear()
            self._next_number = 0
            number_from_zero(self.sock)

    def read_transmitted(self) -> None:
        """Have later replies tell when earlier ones really left."""
        if self._numbered:
            for number, left_ns in read_transmitted(self.sock):
                accepted = self._numbered.pop(number, None)
                if accepted is not None:
                    self.reflector.transmitted(accepted, left_ns, by_kernel())


def by_kernel() -> Method:
    """Return who takes the timestamps that the kernel hands over."""
    return Method.HARDWARE if DEVICE[ASK] else Method.SOFTWARE


class ReflectorServer:
    """Answers STAMP and TWAMP Light test packets on every endpoint.

    Where the kernel says when a reply left, the next one to the same session tells it (RFC 8972
    §4.7). With a key, only authenticated packets are answered.

    Where numba is installed a compiled loop answers, many packets a system call; elsewhere plain
    Python does the same, slower.

    Binding happens here, so `endpoints` tells the ports the system chose where 0 was asked.
    `reflected` and `discarded` (by reason) count what became of every datagram.

    Raises:
        ConfigurationError: an endpoint's host does not resolve.
        NetsloError: an endpoint cannot be bound; the message says what to do.
    """

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        *,
        stateful: bool = True,
        key: bytes | None = None,
        rate_limit: RateLimit | None = None,
    ) -> None:
        self._reflected = 0
        self._discarded: Counter[str] = Counter()
        limit = rate_limit or RateLimit()
        self._buckets: TokenBuckets[str] = TokenBuckets(limit.per_second, limit.burst)
        self._doors: list[_Door] = []
        with ExitStack() as opened:
            keep_stamping()
            for endpoint in endpoints:
                sock = opened.enter_context(_bind(endpoint))
                self._doors.append(_Door(sock, Reflector(stateful=stateful, key=key)))
            self.endpoints = tuple(_bound(door.sock) for door in self._doors)
            self._compiled: CompiledReflector | None = None
            if warm_up(load_reflecting):
                from probes.batched_reflector import CompiledReflector

                sockets = {door.sock: door.stamps for door in self._doors}
                self._compiled = CompiledReflector(sockets, limit, stateful=stateful, key=key)
            self._opened = opened.pop_all()  # until here an interruption closes them

    @property
    def reflected(self) -> int:
        """Datagrams that were answered."""
        return self._reflected + (self._compiled.reflected if self._compiled else 0)

    @property
    def discarded(self) -> Counter[str]:
        """Datagrams that were not, by the reason."""
        found = self._compiled.discarded if self._compiled else Counter()
        return self._discarded + found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the ports."""
        self._opened.close()

    def run(self, stop: threading.Event) -> None:
        """Answer until `stop` is set, then release the ports."""
        if self._compiled is not None:
            with self._opened:
                self._compiled.run(stop, _STOP_POLL_S)
            return
        by_fd = {door.sock.fileno(): door for door in self._doors}
        clock_read_s = -_CLOCK_READ_S
        with self._opened, select.epoll() as poll:
            for fd in by_fd:
                poll.register(fd, select.EPOLLIN)
            while not stop.is_set():
                if time.monotonic() - clock_read_s > _CLOCK_READ_S:
                    clock_read_s = time.monotonic()
                    self._read_clock()
                for fd, _ in poll.poll(_STOP_POLL_S):
                    self._drain(by_fd[fd])

    def _read_clock(self) -> None:
        clock = read_clock_state()
        for door in self._doors:
            door.reflector.error_estimate = clock.error_estimate()
            door.synchronised = clock.synchronised

    def _drain(self, door: _Door) -> None:
        for _ in range(_BURST_MAX):
            door.read_transmitted()
            try:
                datagram = read_datagram(door.sock)
            except OSError as error:  # an ICMP error for a reply of ours
                self._discard(error)
                continue
            if datagram is None:
                return
            self._answer(door, datagram)

    def _answer(self, door: _Door, datagram: Datagram) -> None:
        if datagram.truncated:
            self._discarded[RequestFault.LONG.value] += 1
            return
        peer = datagram.address[:2]
        came_ns = time.time_ns()
        received_ns = _received_ns(datagram, came_ns)
        circumstances = door.circumstances(datagram, stamped=received_ns is not came_ns)
        request = door.reflector.receive(
            datagram.data,
            peer,
            datagram.ttl or 0,
            circumstances,
            lambda: self._buckets.allow(peer[0], time.monotonic_ns()),
        )
        if isinstance(request, Refused):
            self._discarded[request.reason.value] += 1
            return
        ancillary = reply_ancillary(door.sock.family, datagram, request.dscp)
        reply = door.reflector.reply(request, received_ns, time.time_ns())
        try:
            door.sock.sendmsg([reply], ancillary, 0, datagram.address)
        except OSError as error:
            door.lose_count()
            self._discard(error)
        else:
            door.count(request)
            self._reflected += 1

    def _discard(self, error: OSError) -> None:
        self._discarded[f"reply not sent: {errno.errorcode.get(error.errno or 0, 'error')}"] += 1


def _received_ns(datagram: Datagram, now_ns: int) -> int:
    """Return T2: the kernel's timestamp, unless it is missing or the clock was set since."""
    received_ns = datagram.received_ns
    if received_ns is None or not 0 <= now_ns - received_ns <= KERNEL_STAMP_AGE_NS_MAX:
        return now_ns
    return received_ns


def _addresses(datagram: Datagram) -> tuple[Address, Address]:
    """Return where a request went to and came from."""
    source = str(datagram.address[0]).partition("%")[0]
    return ip_address(datagram.local or b""), ip_address(source)


def _bind(endpoint: Endpoint) -> socket.socket:
    try:
        address = resolve(endpoint)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {endpoint}: {error.strerror}") from error
    try:
        return open_reflector_socket(address)
    except OSError as error:
        raise NetsloError(f"cannot listen on {endpoint}: {_advice(error, endpoint)}") from error


def _advice(error: OSError, endpoint: Endpoint) -> str:
    """Say what a person can do about a bind that failed."""
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is taken by another program; choose another port"
        case errno.EACCES | errno.EPERM:
            return (
                f"port {endpoint.port} needs a privilege; run with CAP_NET_BIND_SERVICE, "
                "or choose a port from 1024"
            )
        case errno.EADDRNOTAVAIL:
            return "the address is not one of this host"
        case _:
            return error.strerror or str(error)


def _bound(sock: socket.socket) -> Endpoint:
    bound = SocketAddress(sock.family, sock.getsockname())
    return Endpoint(bound.host, bound.sockaddr[1])
