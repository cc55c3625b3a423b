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
from dataclasses import dataclass, field
from typing import Any, Final

from netslo.errors import NetsloError
from netslo.model import Endpoint
from probes.address import SocketAddress, resolve
from probes.bandwidth.busy import BusyError
from probes.bandwidth.control import (
    NONCE_SIZE,
    REQUEST_MAX,
    Arrivals,
    Begin,
    Collected,
    Data,
    Done,
    End,
    Garbled,
    Go,
    Greeting,
    Heard,
    HeardAnswer,
    Hello,
    Message,
    Ping,
    Refusal,
    Request,
    ResultAsked,
    Tcp,
    TcpExpected,
    TcpResult,
    TrainAsked,
    TrainSent,
    Udp,
    UdpOpened,
    Welcome,
    prove,
    proves,
    read_message,
    read_request,
)
from probes.bandwidth.lines import Gone, Lines, TooSlow
from probes.bandwidth.load import (
    NoSuchCongestionControl,
    Progress,
    limit_rate,
    receive_load,
    send_load,
    set_congestion,
)
from probes.bandwidth.plan import Direction, Lease, Leases
from probes.bandwidth.train_io import (
    collect_train,
    drain,
    hear_token,
    open_train_socket,
    payload_of,
    send_train,
)

_log = logging.getLogger(__name__)

_BACKLOG: Final = 64
_TICK_S: Final = 0.2
_HANDSHAKE_S: Final = 5.0
_IDLE_S: Final = 30.0  # between a client's requests
_WRITE_S: Final = 5.0
_GATHER_S: Final = 5.0  # for all connections of a load to be there
_HEAR_S: Final = 1.0
_END_S: Final = 3.0
_OVERHEAD_S: Final = 5.0  # a sender's end is not the receiver's
_SLACK_OCTETS: Final = 1 << 20
_LOADS_MAX: Final = 4
_TRAINS_MAX: Final = 128
_TEXT_MAX: Final = 200

SERVER: Final = "bandwidth server"  # leased with what a test loads: one test at a time
CROWDED: Final = "too many connections"
GARBLED: Final = "garbled request"
SLOW: Final = "too slow"
UNPROVEN: Final = "no proof of the key"
STRANGER: Final = "data connection of no test"
BUSY: Final = "busy with another test"
BEYOND: Final = "asked for more than is allowed"
OUT_OF_TURN: Final = "request out of turn"
UNABLE: Final = "cannot be done here"


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one test may take of this host and its network.

    Attributes:
        seconds: Of one load by TCP.
        bit_per_s: Of what this host sends in a load; with `seconds` also what a load carries.
        connections: At a time, of all peers.
        by_host: At a time, of one peer's address.
    """

    seconds: float = 30.0
    bit_per_s: float = 10e9
    connections: int = 64
    by_host: int = 32

    @property
    def octets(self) -> int:
        """Of one load."""
        return int(self.bit_per_s * self.seconds / 8)

    @property
    def session_s(self) -> float:
        """Of all that one client does in a test."""
        return _LOADS_MAX * (self.seconds + _IDLE_S)


class OneAtATime:
    """Lets one test run at a time, whatever it loads; a lease that is not released ends."""

    id: str | None = None  # it is no keeper that others ask

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: _Held | None = None

    def grant(self, names: tuple[str, ...], seconds: float, holder: str) -> Lease:
        """Lease everything; `names` are not looked at."""
        del names
        now_s = time.monotonic()
        with self._lock:
            held = self._holder
            if held is not None and now_s < held.ends_s:
                raise BusyError(f"{held.holder} tests here", held.ends_s - now_s)
            self._holder = _Held(self, holder, now_s + seconds)
            return self._holder

    def forget(self, held: _Held) -> None:
        with self._lock:
            if self._holder is held:
                self._holder = None


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    table: OneAtATime
    holder: str
    ends_s: float

    def release(self) -> None:
        self.table.forget(self)


class _Refused(Exception):
    """A request is refused: what to count, and what to say."""

    def __init__(
        self, reason: str, text: str = "", *, busy: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(text or reason)
        self.reason = reason
        self.message = Refusal(
            refused=(text or reason)[:_TEXT_MAX], busy=busy, retry_after=retry_after_s
        )


@dataclass(slots=True)
class _Load:
    """A load by TCP: the connections that came for it, and then what it does."""

    asked: Tcp
    token: str
    host: str
    progress: Progress = field(default_factory=Progress)
    socks: list[socket.socket] = field(default_factory=list)
    complete: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    result: TcpResult = field(default_factory=TcpResult)

    def close(self) -> None:
        self.progress.stop = True
        if not self.progress.begun:
            for sock in self.socks:
                sock.close()


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
        self.limits = limits or ServerLimits()
        self.discarded: Counter[str] = Counter()  # what was refused, by reason
        self.tests = 0  # that began
        self.testing: str | None = None  # who tests now
        self._leases = leases or OneAtATime()
        self._stamp_port = stamp_port
        self._lock = threading.Lock()
        self._connections: Counter[str] = Counter()  # by host
        self._loads: dict[str, _Load] = {}  # by token, those that wait for connections
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
            _Test(self, lines, host).run(request)
        except _Refused as refused:
            self._refuse(lines, refused)
        except Garbled as garbled:
            self._refuse(lines, _Refused(GARBLED, str(garbled)))
        except TooSlow:
            self._refuse(lines, _Refused(SLOW))
        except Gone:
            pass
        return False

    def _welcome(self, lines: Lines) -> None:
        key = self.key
        nonce = secrets.token_hex(NONCE_SIZE)
        lines.write(Greeting(nonce=nonce, keyed=key is not None), _WRITE_S)
        hello = read_message(lines.read(_HANDSHAKE_S), Hello)
        if key is not None and not proves(hello.proof, key, "client", nonce, hello.nonce):
            raise _Refused(UNPROVEN, "the key is wrong, or missing (--key-file)")
        proof = None if key is None else prove(key, "server", nonce, hello.nonce)
        keeper = self._leases.id
        welcome = Welcome(proof=proof, stamp_port=self._stamp_port, keeper=keeper)
        lines.write(welcome, _WRITE_S)

    def _refuse(self, lines: Lines, refused: _Refused) -> None:
        self.count(refused.reason)
        with contextlib.suppress(Gone, TooSlow):
            lines.write(refused.message, _WRITE_S)

    def _take_in(self, lines: Lines, request: Data, host: str) -> bool:
        with self._lock:
            load = self._loads.get(request.token)
            right = load is not None and load.host == host and not load.complete.is_set()
        if load is None or not right:
            raise _Refused(STRANGER)
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
        lease = self._leases.grant((*names, SERVER), seconds, holder)
        with self._lock:
            self.tests += 1
            self.testing = holder
        return lease

    def unlease(self, lease: Lease) -> None:
        """Let others test."""
        lease.release()
        self.testing = None

    def expect(self, load: _Load) -> None:
        """Let connections for data come."""
        with self._lock:
            self._loads[load.token] = load

    def forget(self, load: _Load) -> None:
        """Let no more come."""
        with self._lock:
            self._loads.pop(load.token, None)


class _Test:
    """One client's test: its requests, one after the other."""

    def __init__(self, server: BandwidthServer, lines: Lines, host: str) -> None:
        self._server = server
        self._lines = lines
        self._host = host
        self._udp: socket.socket | None = None
        self._udp_token = b""
        self._heard = False
        self._train: TrainAsked | None = None  # to be collected
        self._trains = self._loads = 0
        self._arrivals: tuple[tuple[int, int], ...] = ()
        self._load: _Load | None = None

    def run(self, begin: Request) -> None:
        """Serve the client until it ends, its time is over, or it does something wrong."""
        if not isinstance(begin, Begin):
            raise _Refused(OUT_OF_TURN, "expected begin, or data")
        limits = self._server.limits
        if begin.seconds > limits.session_s:
            raise _Refused(BEYOND, f"a test takes at most {limits.session_s:g} s here")
        try:
            lease = self._server.lease(begin.names, begin.seconds, begin.holder)
        except BusyError as busy:
            raise _Refused(BUSY, str(busy), busy=True, retry_after_s=busy.retry_after_s) from busy
        deadline_s = time.monotonic() + begin.seconds
        try:
            self._say(Done())
            while True:
                left_s = deadline_s - time.monotonic()
                request = read_request(self._lines.read(max(0.0, min(_IDLE_S, left_s))))
                if isinstance(request, End):
                    self._say(Done())
                    return
                self._say(self._answer(request, deadline_s))
        finally:
            self._close()
            self._server.unlease(lease)

    def _say(self, message: Message) -> None:
        self._lines.write(message, _WRITE_S)

    def _answer(self, request: Request, deadline_s: float) -> Message:  # noqa: PLR0911
        match request:
            case Ping():
                return Done()
            case Udp():
                return self._open_udp()
            case Heard():
                return self._hear()
            case TrainAsked():
                return self._do_train(request)
            case Collected():
                return self._collect()
            case Tcp():
                return self._expect(request)
            case Go():
                return self._go(deadline_s)
            case ResultAsked():
                return self._result(deadline_s)
            case _:
                raise _Refused(OUT_OF_TURN, "one test at a time on a connection")

    def _open_udp(self) -> UdpOpened:
        if self._udp is not None:
            raise _Refused(OUT_OF_TURN, "the port for trains is open already")
        here = self._lines.sock.getsockname()
        family = self._lines.sock.family
        try:
            self._udp = open_train_socket(family, SocketAddress(family, here))
        except OSError as error:
            raise _Refused(UNABLE, f"UDP {here[1]} cannot be opened: {error.strerror}") from error
        self._udp_token = secrets.token_bytes(NONCE_SIZE)
        return UdpOpened(token=self._udp_token.hex(), port=here[1])

    def _hear(self) -> HeardAnswer:
        if self._udp is None:
            raise _Refused(OUT_OF_TURN, "no port for trains is open")
        if not self._heard:
            self._heard = hear_token(self._udp, self._udp_token, self._host, _HEAR_S)
        return HeardAnswer(heard=self._heard)

    def _do_train(self, asked: TrainAsked) -> Message:
        if self._udp is None or not self._heard:
            raise _Refused(OUT_OF_TURN, "trains go only where the token came from")
        self._trains += 1
        if self._trains > _TRAINS_MAX:
            raise _Refused(BEYOND, f"at most {_TRAINS_MAX} trains a test")
        drain(self._udp)
        if asked.direction is Direction.FORWARD:
            self._train = asked
            return Done()
        payload = min(asked.payload, payload_of(self._udp))
        try:
            sent, span_ns = send_train(
                self._udp, self._udp_token, asked.number, asked.packets, payload
            )
        except OSError as error:
            raise _Refused(UNABLE, f"a train cannot be sent: {error.strerror}") from error
        return TrainSent(packets=sent, span_ns=span_ns)

    def _collect(self) -> Arrivals:
        asked, self._train = self._train, None
        if asked is None or self._udp is None:
            raise _Refused(OUT_OF_TURN, "no train was asked for")
        return Arrivals(
            arrivals=collect_train(self._udp, self._udp_token, asked.number, asked.packets)
        )

    def _expect(self, asked: Tcp) -> TcpExpected:
        limits = self._server.limits
        if self._load is not None and not self._load.ended.is_set():
            raise _Refused(OUT_OF_TURN, "one load at a time")
        if asked.seconds > limits.seconds:
            raise _Refused(BEYOND, f"a load takes at most {limits.seconds:g} s here")
        if asked.octets > limits.octets:
            raise _Refused(BEYOND, f"a load carries at most {limits.octets} octets here")
        self._loads += 1
        if self._loads > _LOADS_MAX:
            raise _Refused(BEYOND, f"at most {_LOADS_MAX} loads a test")
        self._load = _Load(asked, secrets.token_hex(NONCE_SIZE), self._host)
        self._server.expect(self._load)
        return TcpExpected(token=self._load.token)

    def _go(self, deadline_s: float) -> Done:
        load = self._load
        if load is None or load.progress.begun or load.ended.is_set():
            raise _Refused(OUT_OF_TURN, "no load was asked for")
        came = load.complete.wait(_GATHER_S)
        self._server.forget(load)
        if not came:
            load.close()
            raise _Refused(SLOW, f"{len(load.socks)} of {load.asked.streams} connections came")
        asked = load.asked
        seconds = min(asked.seconds, deadline_s - time.monotonic())
        if asked.direction is Direction.REVERSE:
            try:
                congestion = set_congestion(load.socks, asked.congestion)
            except NoSuchCongestionControl as error:
                load.close()
                raise _Refused(UNABLE, str(error)) from error
            limit_rate(load.socks, self._server.limits.bit_per_s)
        else:
            congestion = ""
        threading.Thread(
            target=_carry, args=(load, seconds, congestion), name="bandwidth load", daemon=True
        ).start()
        return Done()

    def _result(self, deadline_s: float) -> TcpResult:
        load = self._load
        if load is None or not load.complete.is_set():
            raise _Refused(OUT_OF_TURN, "no load was asked for")
        if not load.ended.wait(max(0.0, deadline_s - time.monotonic())):
            raise _Refused(SLOW, "the time of the test is over")
        return load.result

    def _close(self) -> None:
        if self._udp is not None:
            self._udp.close()
        load = self._load
        if load is not None:
            self._server.forget(load)
            load.close()
            if load.progress.begun:
                load.ended.wait(_END_S)


def _carry(load: _Load, seconds: float, congestion: str) -> None:
    """Send or receive a load; what came of it stands in it afterwards."""
    asked = load.asked
    try:
        if asked.direction is Direction.REVERSE:
            sent = send_load(load.socks, seconds, asked.octets, congestion, load.progress)
            load.result = TcpResult(throughput=sent)
        else:
            received = receive_load(
                load.socks, seconds + _OVERHEAD_S, asked.octets + _SLACK_OCTETS, load.progress
            )
            load.result = TcpResult(received=received)
    except Exception:  # noqa: BLE001 - our own fault: the client hears of no result
        _log.exception("a load of %s", load.host)
    finally:
        load.ended.set()


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
