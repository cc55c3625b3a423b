"""One client's test at the far end: its requests, one by one, and the load they ask for."""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Final, Protocol

from netslo.errors import NetsloError
from probes.address import SocketAddress
from probes.bandwidth.admission import (
    BEYOND,
    BUSY,
    IDLE_S,
    LOADS_MAX,
    LOST,
    OUT_OF_TURN,
    SLOW,
    UNABLE,
    RefusedRequest,
    ServerLimits,
)
from probes.bandwidth.busy import BusyError
from probes.bandwidth.control import (
    NONCE_SIZE,
    Arrivals,
    Begin,
    Collected,
    Done,
    End,
    Go,
    Heard,
    HeardAnswer,
    Message,
    Ping,
    Request,
    ResultAsked,
    Tcp,
    TcpExpected,
    TcpResult,
    TrainAsked,
    TrainSent,
    Udp,
    UdpOpened,
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
from probes.bandwidth.plan import Direction, Lease
from probes.bandwidth.train_io import (
    collect_train,
    drain,
    hear_token,
    open_train_socket,
    payload_of,
    send_train,
)

_log = logging.getLogger(__name__)

_WRITE_S: Final = 5.0
_GATHER_S: Final = 5.0  # for all connections of a load to be there
_HEAR_S: Final = 1.0
_END_S: Final = 3.0
_WATCH_S: Final = 0.1
_OVERHEAD_S: Final = 5.0  # a sender's end is not the receiver's
_SLACK_OCTETS: Final = 1 << 20
_TRAINS_MAX: Final = 128


@dataclass(slots=True)
class ExpectedLoad:
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


class Host(Protocol):
    """The server that a test is part of."""

    limits: ServerLimits

    def lease(self, names: tuple[str, ...], seconds: float, holder: str) -> Lease:
        """Let a test begin.

        Raises:
            BusyError: another one runs.
        """

    def unlease(self, lease: Lease) -> None:
        """Let others test."""

    def expect(self, load: ExpectedLoad) -> None:
        """Let connections for data come."""

    def forget(self, load: ExpectedLoad) -> None:
        """Let no more come."""


class FarTest:
    """One client's test: its requests, one after the other."""

    def __init__(self, server: Host, lines: Lines, host: str) -> None:
        self._server = server
        self._lines = lines
        self._host = host
        self._udp: socket.socket | None = None
        self._udp_token = b""
        self._heard = False
        self._train: TrainAsked | None = None  # to be collected
        self._trains = self._loads = 0
        self._arrivals: tuple[tuple[int, int], ...] = ()
        self._load: ExpectedLoad | None = None
        self._over = threading.Event()
        self._lost = False

    def run(self, begin: Request) -> None:
        """Serve the client until it ends, its time is over, or it does something wrong."""
        if not isinstance(begin, Begin):
            raise RefusedRequest(OUT_OF_TURN, "expected begin, or data")
        limits = self._server.limits
        if begin.seconds > limits.session_s:
            raise RefusedRequest(BEYOND, f"a test takes at most {limits.session_s:g} s here")
        try:
            lease = self._server.lease(begin.names, begin.seconds, begin.holder)
        except BusyError as busy:
            raise RefusedRequest(
                BUSY, str(busy), busy=True, retry_after_s=busy.retry_after_s
            ) from busy
        except NetsloError as error:  # of this host, and not for a stranger's eyes
            _log.warning("no lease for %s: %s", self._host, error)
            raise RefusedRequest(UNABLE, "no lease can be given here") from error
        deadline_s = time.monotonic() + begin.seconds
        watching = threading.Thread(
            target=self._watch, args=(lease,), name="bandwidth watch", daemon=True
        )
        watching.start()
        try:
            self._converse(deadline_s)
        except (Gone, TooSlow):
            if self._lost:
                raise RefusedRequest(LOST) from None
            raise
        finally:
            self._over.set()
            self._close()
            self._server.unlease(lease)

    def _converse(self, deadline_s: float) -> None:
        self._say(Done())
        while True:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise TooSlow
            request = read_request(self._lines.read(min(IDLE_S, left_s)))
            if isinstance(request, End):
                self._say(Done())
                return
            self._say(self._answer(request, deadline_s))

    def _watch(self, lease: Lease) -> None:
        """Break the test off when its lease cannot be kept: others may be about to test."""
        while not self._over.wait(_WATCH_S):
            if not lease.usable:
                self._lost = True
                if self._load is not None:
                    self._load.close()
                with contextlib.suppress(OSError):
                    self._lines.sock.shutdown(socket.SHUT_RDWR)
                return

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
                raise RefusedRequest(OUT_OF_TURN, "one test at a time on a connection")

    def _open_udp(self) -> UdpOpened:
        if self._udp is not None:
            raise RefusedRequest(OUT_OF_TURN, "the port for trains is open already")
        here = self._lines.sock.getsockname()
        family = self._lines.sock.family
        try:
            self._udp = open_train_socket(family, SocketAddress(family, here))
        except OSError as error:
            raise RefusedRequest(
                UNABLE, f"UDP {here[1]} cannot be opened: {error.strerror}"
            ) from error
        self._udp_token = secrets.token_bytes(NONCE_SIZE)
        return UdpOpened(token=self._udp_token.hex(), port=here[1])

    def _hear(self) -> HeardAnswer:
        if self._udp is None:
            raise RefusedRequest(OUT_OF_TURN, "no port for trains is open")
        if not self._heard:
            self._heard = hear_token(self._udp, self._udp_token, self._host, _HEAR_S)
        return HeardAnswer(heard=self._heard)

    def _do_train(self, asked: TrainAsked) -> Message:
        if self._udp is None or not self._heard:
            raise RefusedRequest(OUT_OF_TURN, "trains go only where the token came from")
        self._trains += 1
        if self._trains > _TRAINS_MAX:
            raise RefusedRequest(BEYOND, f"at most {_TRAINS_MAX} trains a test")
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
            raise RefusedRequest(UNABLE, f"a train cannot be sent: {error.strerror}") from error
        return TrainSent(packets=sent, span_ns=span_ns)

    def _collect(self) -> Arrivals:
        asked, self._train = self._train, None
        if asked is None or self._udp is None:
            raise RefusedRequest(OUT_OF_TURN, "no train was asked for")
        return Arrivals(
            arrivals=collect_train(self._udp, self._udp_token, asked.number, asked.packets)
        )

    def _expect(self, asked: Tcp) -> TcpExpected:
        limits = self._server.limits
        if self._load is not None and not self._load.ended.is_set():
            raise RefusedRequest(OUT_OF_TURN, "one load at a time")
        if asked.seconds > limits.seconds:
            raise RefusedRequest(BEYOND, f"a load takes at most {limits.seconds:g} s here")
        if asked.octets > limits.octets:
            raise RefusedRequest(BEYOND, f"a load carries at most {limits.octets} octets here")
        self._loads += 1
        if self._loads > LOADS_MAX:
            raise RefusedRequest(BEYOND, f"at most {LOADS_MAX} loads a test")
        self._load = ExpectedLoad(asked, secrets.token_hex(NONCE_SIZE), self._host)
        self._server.expect(self._load)
        return TcpExpected(token=self._load.token)

    def _go(self, deadline_s: float) -> Done:
        load = self._load
        if load is None or load.progress.begun or load.ended.is_set():
            raise RefusedRequest(OUT_OF_TURN, "no load was asked for")
        came = load.complete.wait(_GATHER_S)
        self._server.forget(load)
        if not came:
            load.close()
            raise RefusedRequest(
                SLOW, f"{len(load.socks)} of {load.asked.streams} connections came"
            )
        asked = load.asked
        seconds = min(asked.seconds, deadline_s - time.monotonic())
        if asked.direction is Direction.REVERSE:
            try:
                congestion = set_congestion(load.socks, asked.congestion)
            except NoSuchCongestionControl as error:
                load.close()
                raise RefusedRequest(UNABLE, str(error)) from error
            limit_rate(load.socks, self._server.limits.bit_per_s)
        else:
            congestion = ""
        load.progress.began_s = time.monotonic()  # from here on its connections are the thread's
        threading.Thread(
            target=_carry, args=(load, seconds, congestion), name="bandwidth load", daemon=True
        ).start()
        return Done()

    def _result(self, deadline_s: float) -> TcpResult:
        load = self._load
        if load is None or not load.complete.is_set():
            raise RefusedRequest(OUT_OF_TURN, "no load was asked for")
        if not load.ended.wait(max(0.0, deadline_s - time.monotonic())):
            raise RefusedRequest(SLOW, "the time of the test is over")
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


def _carry(load: ExpectedLoad, seconds: float, congestion: str) -> None:
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
