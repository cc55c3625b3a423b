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
from typing import Final, Self

from netslo.errors import ConfigurationError, NetsloError
from netslo.model import Endpoint
from probes.address import resolve
from probes.clock import read_clock_state
from probes.sockets import Datagram, open_reflector_socket, read_datagram, reply_ancillary
from probes.stamp.reflector import Reflector, Refused, RequestFault

_STOP_POLL_S: Final = 0.2  # how soon `stop` is noticed while nothing arrives
_BURST_MAX: Final = 256  # datagrams of one socket before the others have their turn
_CLOCK_READ_S: Final = 16.0
_KERNEL_STAMP_AGE_NS_MAX: Final = 10_000_000_000


class ReflectorServer:
    """Answers STAMP and TWAMP Light test packets on every endpoint.

    Binding happens here, so `endpoints` tells the ports the system chose where 0 was asked.
    `reflected` and `discarded` (by reason) count what became of every datagram.

    Raises:
        ConfigurationError: an endpoint's host does not resolve.
        NetsloError: an endpoint cannot be bound; the message says what to do.
    """

    def __init__(self, endpoints: Iterable[Endpoint], *, stateful: bool = True) -> None:
        self.reflected = 0
        self.discarded: Counter[str] = Counter()
        self._sockets: list[tuple[socket.socket, Reflector]] = []
        with ExitStack() as opened:
            for endpoint in endpoints:
                sock = opened.enter_context(_bind(endpoint))
                self._sockets.append((sock, Reflector(stateful=stateful)))
            self._opened = opened.pop_all()
        self.endpoints = tuple(_bound(sock) for sock, _ in self._sockets)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the ports."""
        self._opened.close()

    def run(self, stop: threading.Event) -> None:
        """Answer until `stop` is set, then release the ports."""
        by_fd = {sock.fileno(): (sock, reflector) for sock, reflector in self._sockets}
        clock_read_s = -_CLOCK_READ_S
        with self._opened, select.epoll() as poll:
            for fd in by_fd:
                poll.register(fd, select.EPOLLIN)
            while not stop.is_set():
                if time.monotonic() - clock_read_s > _CLOCK_READ_S:
                    clock_read_s = time.monotonic()
                    self._read_clock()
                for fd, _ in poll.poll(_STOP_POLL_S):
                    self._drain(*by_fd[fd])

    def _read_clock(self) -> None:
        estimate = read_clock_state().error_estimate()
        for _, reflector in self._sockets:
            reflector.error_estimate = estimate

    def _drain(self, sock: socket.socket, reflector: Reflector) -> None:
        for _ in range(_BURST_MAX):
            try:
                datagram = read_datagram(sock)
            except OSError as error:  # an ICMP error for a reply of ours
                self._discard(error)
                continue
            if datagram is None:
                return
            self._answer(sock, reflector, datagram)

    def _answer(self, sock: socket.socket, reflector: Reflector, datagram: Datagram) -> None:
        if datagram.truncated:
            self.discarded[RequestFault.LONG.value] += 1
            return
        peer = datagram.address[:2]
        request = reflector.receive(datagram.data, peer, datagram.ttl or 0)
        if isinstance(request, Refused):
            self.discarded[request.reason.value] += 1
            return
        ancillary = reply_ancillary(sock.family, datagram)
        now_ns = time.time_ns()
        reply = reflector.reply(request, _received_ns(datagram, now_ns), now_ns)
        try:
            sock.sendmsg([reply], ancillary, 0, datagram.address)
        except OSError as error:
            self._discard(error)
        else:
            self.reflected += 1

    def _discard(self, error: OSError) -> None:
        self.discarded[f"reply not sent: {errno.errorcode.get(error.errno or 0, 'error')}"] += 1


def _received_ns(datagram: Datagram, now_ns: int) -> int:
    """Return T2: the kernel's timestamp, unless it is missing or the clock was set since."""
    received_ns = datagram.received_ns
    if received_ns is None or not 0 <= now_ns - received_ns <= _KERNEL_STAMP_AGE_NS_MAX:
        return now_ns
    return received_ns


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
    host, port = sock.getsockname()[:2]
    return Endpoint(host, port)
