"""The near end of bandwidth tests: a control channel, and what goes beside it."""

from __future__ import annotations

import contextlib
import errno
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Final, Self, TypeVar

from netslo.errors import NetsloError
from probes.address import SocketAddress
from probes.bandwidth.busy import BusyError
from probes.bandwidth.control import (
    ANSWER_MAX,
    NONCE_SIZE,
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
    read_refusal,
)
from probes.bandwidth.lines import Gone, Lines, TooSlow
from probes.bandwidth.load import Progress, receive_load, send_load, set_congestion
from probes.bandwidth.plan import Direction
from probes.bandwidth.result import Capacity, Received, Throughput
from probes.bandwidth.train_io import (
    collect_train,
    drain,
    headers_of,
    open_train_socket,
    payload_of,
    send_token,
    send_train,
    train_of,
)
from probes.bandwidth.trains import Train, capacity

CONNECT_S: Final = 5.0
_ANSWER_S: Final = 10.0
_TELLS: Final = 5  # times that the token is sent
_APART_S: Final = (0.05, 0.15)  # between trains, at random: in step with nothing
_QUEUE_S: Final = 0.2  # and until the train before has left every queue
_RESULT_S: Final = 20.0

M = TypeVar("M", bound=Message)


class Refused(NetsloError):
    """The server does not do what was asked."""


class Unreachable(NetsloError):
    """Nobody serves there, or does not any more."""


class BandwidthClient:
    """A control channel to a server. One thread asks at a time.

    Raises:
        Unreachable: nobody serves there.
        Refused: the server wants another key, or is none of ours.
    """

    def __init__(self, target: SocketAddress, secret: bytes | None = None) -> None:
        self.target = target
        self._secret = secret
        self._lock = threading.Lock()
        self._udp: socket.socket | None = None
        self._udp_token = b""
        self._train_number = 0
        self._lines, welcome = self._connect()
        self.stamp_port = welcome.stamp_port
        self.keeper = welcome.keeper  # of leases at the far end, by its id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def begin(self, seconds: float, names: tuple[str, ...], holder: str) -> None:
        """Lease the bottleneck at the far end.

        Raises:
            BusyError: another tests there.
        """
        self._ask(Begin(seconds=seconds, names=names, holder=holder[:160] or "-"), Done)

    def ping(self) -> float:
        """Return a round trip by this channel, seconds."""
        with self._lock:  # what is asked in another thread is waited for before, and not timed
            began_s = time.monotonic()
            self._say(self._lines, Ping())
            self._hear(self._lines, Done, _ANSWER_S)
            return time.monotonic() - began_s

    def close(self) -> None:
        """End the test."""
        with contextlib.suppress(NetsloError):
            self._ask(End(), Done, timeout_s=1.0)
        self._lines.sock.close()
        if self._udp is not None:
            self._udp.close()

    def trains(
        self,
        direction: Direction,
        trains: int,
        packets: int,
        on_train: Callable[[int], None] = lambda _: None,
        stop: threading.Event | None = None,
    ) -> Capacity:
        """Send trains, or have them sent; return what they say, or those before `stop` do.

        Raises:
            Refused, Unreachable: the far end does not go on.
        """
        udp = self._open_udp()
        payload = payload_of(udp)
        found: list[Train] = []
        for place in range(trains):
            if stop is not None and stop.is_set():
                break
            if place:
                time.sleep(_QUEUE_S + random.uniform(*_APART_S))
            one = self._send if direction is Direction.FORWARD else self._fetch
            try:
                found.append(one(udp, packets, payload))
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise Unreachable(f"a train cannot be sent: {error.strerror}") from error
                payload = payload_of(udp)  # a router told a smaller one; sizes must not mix
                found.clear()
            on_train(place + 1)
        return capacity(found, payload, headers_of(udp.family))

    def load(
        self,
        direction: Direction,
        streams: int,
        seconds: float,
        octets: int,
        congestion: str | None,
        progress: Progress,
    ) -> tuple[Throughput | None, Received | None]:
        """Load the path by TCP; return what the sender and what the receiver says.

        Raises:
            Refused, Unreachable: the far end does not go on.
            NoSuchCongestionControl: this host does not have it.
        """
        asked = Tcp(
            direction=direction,
            streams=streams,
            seconds=seconds,
            octets=octets,
            congestion=congestion if direction is Direction.REVERSE else None,
        )
        token = self._ask(asked, TcpExpected).token
        socks: list[socket.socket] = []
        try:
            for _ in range(streams):
                socks.append(self._data(token))  # noqa: PERF401 - closed below if one fails
            if direction is Direction.FORWARD:
                used = set_congestion(socks, congestion)
                self._ask(Go(), Done)
                sent = send_load(socks, seconds, octets, used, progress)
                return sent, self._result().received
            self._ask(Go(), Done)
            received = receive_load(socks, seconds + _ANSWER_S, octets + (1 << 20), progress)
            return self._result().throughput, received
        finally:
            for sock in socks:
                sock.close()

    def _result(self) -> TcpResult:
        return self._ask(ResultAsked(), TcpResult, timeout_s=_RESULT_S)

    def _data(self, token: str) -> socket.socket:
        lines, _ = self._connect()
        try:
            self._say(lines, Data(token=token))
            self._hear(lines, Done, _ANSWER_S)
        except BaseException:
            lines.sock.close()
            raise
        lines.sock.settimeout(None)
        return lines.sock

    def _open_udp(self) -> socket.socket:
        if self._udp is not None:
            return self._udp
        opened = self._ask(Udp(), UdpOpened)
        token = bytes.fromhex(opened.token)
        host, _, *rest = self.target.sockaddr
        try:
            self._udp = open_train_socket(self.target.family)
            self._udp.connect((host, opened.port, *rest))
        except OSError as error:
            raise Unreachable(f"no UDP to {self.target}: {error.strerror}") from error
        for _ in range(_TELLS):
            send_token(self._udp, token)
            if self._ask(Heard(), HeardAnswer).heard:
                self._udp_token = token
                return self._udp
        raise Unreachable(
            f"UDP port {opened.port} of {self.target.host} hears nothing from here: a firewall?"
        )

    def _send(self, udp: socket.socket, packets: int, payload: int) -> Train:
        number = self._next_train()
        asked = TrainAsked(
            direction=Direction.FORWARD, number=number, packets=packets, payload=payload
        )
        self._ask(asked, Done)
        sent, span_ns = send_train(udp, self._udp_token, number, packets, payload)
        arrivals = self._ask(Collected(), Arrivals).arrivals
        return train_of(sent, span_ns, arrivals)

    def _fetch(self, udp: socket.socket, packets: int, payload: int) -> Train:
        number = self._next_train()
        drain(udp)
        asked = TrainAsked(
            direction=Direction.REVERSE, number=number, packets=packets, payload=payload
        )
        self._say(self._lines, asked)  # the answer may come behind the train
        arrivals = collect_train(udp, self._udp_token, number, packets)
        said = self._hear(self._lines, TrainSent, _ANSWER_S)
        return train_of(min(said.packets, packets), said.span_ns, arrivals)

    def _next_train(self) -> int:
        self._train_number += 1
        return self._train_number

    def _connect(self) -> tuple[Lines, Welcome]:
        try:
            sock = socket.socket(self.target.family, socket.SOCK_STREAM)
            sock.settimeout(CONNECT_S)
            sock.connect(self.target.sockaddr)
        except OSError as error:
            sock.close()
            why = "it does not answer" if isinstance(error, TimeoutError) else error.strerror
            raise Unreachable(
                f"no bandwidth server at {self.target}, TCP: {why}; "
                "start one with: netslo reflect --bandwidth HOST:PORT"
            ) from error
        lines = Lines(sock, ANSWER_MAX)
        try:
            return lines, self._agree(lines)
        except BaseException:
            sock.close()
            raise

    def _agree(self, lines: Lines) -> Welcome:
        greeting = self._hear(lines, Greeting, CONNECT_S)
        if greeting.version != 1:
            raise Refused(f"{self.target} speaks version {greeting.version}, this is version 1")
        nonce, secret = secrets.token_hex(NONCE_SIZE), self._secret
        if greeting.keyed and secret is None:
            raise Refused(f"{self.target} wants a key (--key-file)")
        proof = None if secret is None else prove(secret, "client", greeting.nonce, nonce)
        self._say(lines, Hello(nonce=nonce, proof=proof))
        welcome = self._hear(lines, Welcome, CONNECT_S)
        if secret is not None and not proves(
            welcome.proof, secret, "server", greeting.nonce, nonce
        ):
            raise Refused(f"{self.target} does not have the key of this side")
        return welcome

    def _ask(self, message: Message, kind: type[M], timeout_s: float = _ANSWER_S) -> M:
        with self._lock:
            self._say(self._lines, message)
            return self._hear(self._lines, kind, timeout_s)

    def _say(self, lines: Lines, message: Message) -> None:
        try:
            lines.write(message, _ANSWER_S)
        except TooSlow:
            raise Unreachable(f"{self.target} takes nothing any more") from None
        except Gone as error:
            raise Unreachable(f"{self.target} is gone: {error}") from error

    def _hear(self, lines: Lines, kind: type[M], timeout_s: float) -> M:
        try:
            line = lines.read(timeout_s)
            refusal = read_refusal(line)
            if refusal is None:
                return read_message(line, kind)
        except TooSlow:
            raise Unreachable(f"{self.target} does not answer any more") from None
        except Gone as error:
            raise Unreachable(f"{self.target} is gone: {error}") from error
        except Garbled as error:
            raise Refused(f"{self.target} is no bandwidth server of netslo: {error}") from error
        if refusal.busy:
            raise BusyError(f"{self.target} is busy: {refusal.refused}", refusal.retry_after)
        raise Refused(f"{self.target} refuses: {refusal.refused}")
