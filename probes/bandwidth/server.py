"""The far end of bandwidth tests: TCP in both directions, and packet trains. Off unless asked for.

It cannot be made to send to anybody who does not want it: TCP needs a handshake, and trains go only
to the address of the control channel's peer, to the port from which it sent back a token that it
was told there. Time and octets are bounded, one test runs at a time, and whatever a peer says that
is not right ends in a refusal with a name, which is counted.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from netslo.errors import NetsloError
from netslo.model import Endpoint
from probes.address import resolve
from probes.bandwidth.admission import (
    CROWDED,
    GARBLED,
    SLOW,
    STRANGER,
    UNPROVEN,
    OneAtATime,
    RefusedRequest,
    ServerLimits,
)
from probes.bandwidth.control import (
    NONCE_SIZE,
    REQUEST_MAX,
    Data,
    Done,
    Garbled,
    Greeting,
    Hello,
    Welcome,
    prove,
    proves,
    read_message,
    read_request,
)
from probes.bandwidth.far_test import ExpectedLoad, FarTest
from probes.bandwidth.lines import Gone, Lines, TooSlow
from probes.bandwidth.plan import Lease, Leases

_log = logging.getLogger(__name__)

_BACKLOG: Final = 64
_TICK_S: Final = 0.2
_HANDSHAKE_S: Final = 5.0
_WRITE_S: Final = 5.0


class BandwidthServer:
    """Answers bandwidth tests at some addresses, until stopped.

    Raises:
        NetsloError: an address does not resolve or cannot be bound.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        key: bytes | None = None,
        limits: ServerLimits | None = None,
        leases: Leases | None = None,
        stamp_port: int | None = None,
    ) -> None:
        self.key = key  # may be changed while it runs
        self.stamp_port = stamp_port
        self.limits = limits or ServerLimits()
        self.discarded: Counter[str] = Counter()  # what was refused, by reason
        self.tests = 0  # that began
        self.testing: str | None = None  # who tests now
        self._leases = leases or OneAtATime()
        self._lock = threading.Lock()
        self._connections: Counter[str] = Counter()  # by host
        self._loads: dict[str, ExpectedLoad] = {}  # by token, those that wait for connections
        self._open: set[socket.socket] = set()
        self._listening = [_listen(endpoint) for endpoint in endpoints]

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where it listens, with the ports the system chose where 0 was asked."""
        return tuple(Endpoint(*sock.getsockname()[:2]) for sock in self._listening)

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop`, then end every test and close."""
        with selectors.DefaultSelector() as selector:
            for sock in self._listening:
                selector.register(sock, selectors.EVENT_READ)
            try:
                while not stop.is_set():
                    for key, _ in selector.select(_TICK_S):
                        self._accept(key.fileobj)
            finally:
                self.close()

    def close(self) -> None:
        """Listen no more and break what is under way."""
        for sock in self._listening:
            sock.close()
        with self._lock:
            open_ = list(self._open)
            loads = list(self._loads.values())
        for load in loads:
            load.close()
        for sock in open_:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def count(self, reason: str) -> None:
        """Count a refusal."""
        with self._lock:
            self.discarded[reason] += 1

    def _accept(self, listening: Any) -> None:
        try:
            sock, address = listening.accept()
        except OSError:  # it is gone already, or this process has no descriptors left
            self.count(CROWDED)
            time.sleep(0.01)
            return
        host = str(address[0])
        with self._lock:
            crowded = (
                self._connections.total() >= self.limits.connections
                or self._connections[host] >= self.limits.by_host
            )
            if crowded:
                self.discarded[CROWDED] += 1
            else:
                self._connections[host] += 1
                self._open.add(sock)
        if crowded:
            sock.close()
            return
        threading.Thread(
            target=self._serve, args=(sock, host), name="bandwidth", daemon=True
        ).start()

    def _serve(self, sock: socket.socket, host: str) -> None:
        kept = False
        try:
            kept = self._converse(sock, host)
        except Exception:  # noqa: BLE001 - our own fault, and one peer's trouble only
            _log.exception("a bandwidth test from %s", host)
        finally:
            with self._lock:
                self._open.discard(sock)
                self._connections[host] -= 1
                if not self._connections[host]:
                    del self._connections[host]
            if not kept:
                sock.close()

    def _converse(self, sock: socket.socket, host: str) -> bool:
        """Talk to a peer to the end; whether its connection now belongs to a load."""
        lines = Lines(sock, REQUEST_MAX)
        try:
            self._welcome(lines)
            request = read_request(lines.read(_HANDSHAKE_S))
            if isinstance(request, Data):
                return self._take_in(lines, request, host)
            FarTest(self, lines, host).run(request)
        except RefusedRequest as refused:
            self._refuse(lines, refused)
        except Garbled as garbled:
            self._refuse(lines, RefusedRequest(GARBLED, str(garbled)))
        except TooSlow:
            self._refuse(lines, RefusedRequest(SLOW))
        except Gone:
            pass
        return False

    def _welcome(self, lines: Lines) -> None:
        key = self.key
        nonce = secrets.token_hex(NONCE_SIZE)
        lines.write(Greeting(nonce=nonce, keyed=key is not None), _WRITE_S)
        hello = read_message(lines.read(_HANDSHAKE_S), Hello)
        if key is not None and not proves(hello.proof, key, "client", nonce, hello.nonce):
            raise RefusedRequest(UNPROVEN, "the key is wrong, or missing (--key-file)")
        proof = None if key is None else prove(key, "server", nonce, hello.nonce)
        keeper = self._leases.id
        welcome = Welcome(proof=proof, stamp_port=self.stamp_port, keeper=keeper)
        lines.write(welcome, _WRITE_S)

    def _refuse(self, lines: Lines, refused: RefusedRequest) -> None:
        self.count(refused.reason)
        with contextlib.suppress(Gone, TooSlow):
            lines.write(refused.message, _WRITE_S)

    def _take_in(self, lines: Lines, request: Data, host: str) -> bool:
        with self._lock:
            load = self._loads.get(request.token)
            right = load is not None and load.host == host and not load.complete.is_set()
        if load is None or not right:
            raise RefusedRequest(STRANGER)
        lines.write(Done(), _WRITE_S)
        with self._lock:
            if load.complete.is_set() or load.progress.stop:
                return False
            load.socks.append(lines.sock)
            if len(load.socks) == load.asked.streams:
                load.complete.set()
        return True

    def lease(self, names: tuple[str, ...], seconds: float, holder: str) -> Lease:
        """Let a test begin.

        Raises:
            BusyError: another one runs.
        """
        lease = self._leases.grant(names, seconds, holder)
        with self._lock:
            self.tests += 1
            self.testing = holder
        return lease

    def unlease(self, lease: Lease) -> None:
        """Let others test."""
        lease.release()
        self.testing = None

    def expect(self, load: ExpectedLoad) -> None:
        """Let connections for data come."""
        with self._lock:
            self._loads[load.token] = load

    def forget(self, load: ExpectedLoad) -> None:
        """Let no more come."""
        with self._lock:
            self._loads.pop(load.token, None)


def _listen(endpoint: Endpoint) -> socket.socket:
    try:
        address = resolve(endpoint)
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            if address.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address.sockaddr)
            sock.listen(_BACKLOG)
            sock.setblocking(False)  # noqa: FBT003
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise NetsloError(
            f"cannot answer bandwidth tests on {endpoint}, TCP: {error.strerror}"
        ) from error
    return sock
