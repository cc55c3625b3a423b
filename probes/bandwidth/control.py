"""The control channel: one JSON object a line, over TCP. No socket and no clock in here.

The server greets with `Greeting`, the client answers `Hello`, the server `Welcome` or `Refusal`.
Then the client asks, one request at a time, and the server answers each. A connection for data
begins with `Hello` too, then `Data` names the test by its token; after `Welcome` it carries octets.

Whoever has the key proves it by an HMAC over both sides' nonces, each side under its own label, so
that neither proof can be used for the other's, or again. What follows is not sealed: the key keeps
strangers from using a server, not an attacker on the path from disturbing a test.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from probes.bandwidth.plan import CONGESTION_NAME, SECONDS_MAX, STREAMS_MAX, Direction
from probes.bandwidth.result import Received, Throughput
from probes.bandwidth.trains import PACKETS_MAX, PACKETS_MIN, PAYLOAD_MAX, PAYLOAD_MIN
from probes.bandwidth.words import Printable, Words

VERSION: Final = 1
REQUEST_MAX: Final = 4096  # octets of a line that a client sends
ANSWER_MAX: Final = 65_536
NONCE_SIZE: Final = 16
OCTETS_MAX: Final = 1 << 50
_NS_MAX: Final = 1 << 62  # clocks may be set while a train arrives
_NAMES_MAX: Final = 7  # a lease has eight: the keeper's own access is one

Nonce = Annotated[str, Field(pattern=r"\A[0-9a-f]{32}\z")]
Proof = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
Token = Nonce
Text = Annotated[Words, Field(max_length=200)]
Name = Annotated[Printable, Field(min_length=1, max_length=160)]
Whole = Annotated[int, Field(ge=0, le=OCTETS_MAX)]
Seconds = Annotated[float, Field(gt=0, le=SECONDS_MAX, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=1, le=65_535)]
Place = Annotated[int, Field(ge=0, lt=PACKETS_MAX)]  # of a packet in its train
Ns = Annotated[int, Field(ge=-_NS_MAX, le=_NS_MAX)]

M = TypeVar("M", bound="Message")


class Message(BaseModel):
    """A line."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null")

    def encode(self) -> bytes:
        return self.model_dump_json().encode() + b"\n"


class Greeting(Message):
    """What a server says first."""

    service: Literal["netslo-bandwidth"] = "netslo-bandwidth"
    version: int = VERSION
    nonce: Nonce
    keyed: bool  # it wants a proof


class Hello(Message):
    """A client's answer."""

    version: Annotated[int, Field(ge=1, le=1000)] = VERSION
    nonce: Nonce
    proof: Proof | None = None


class Welcome(Message):
    """The server agrees."""

    proof: Proof | None = None
    stamp_port: Port | None = None  # where STAMP packets are answered at this address
    keeper: Name | None = None  # whose leases its tests go by


class Refusal(Message):
    """The server does not."""

    refused: Text
    busy: bool = False
    retry_after: Annotated[float, Field(ge=0, le=1e6)] | None = None


class Done(Message):
    """Nothing else is to be said."""

    done: bool = True


class Begin(Message):
    """Lease the bottleneck for a test."""

    op: Literal["begin"] = "begin"
    seconds: Annotated[float, Field(gt=0, le=3600)]
    names: Annotated[tuple[Name, ...], Field(max_length=_NAMES_MAX)] = ()
    holder: Name


class Udp(Message):
    """Open a port for trains."""

    op: Literal["udp"] = "udp"


class UdpOpened(Message):
    """Send this token from where trains shall come from and go to."""

    token: Token
    port: Port


class Heard(Message):
    """Ask whether the token came."""

    op: Literal["heard"] = "heard"


class HeardAnswer(Message):
    heard: bool


class TrainAsked(Message):
    """Collect a train, which the client sends once this is answered; or send one."""

    op: Literal["train"] = "train"
    direction: Direction
    number: Annotated[int, Field(ge=0, le=1000)]
    packets: Annotated[int, Field(ge=PACKETS_MIN, le=PACKETS_MAX)]
    payload: Annotated[int, Field(ge=PAYLOAD_MIN, le=PAYLOAD_MAX)]


class TrainSent(Message):
    """A train left."""

    packets: Annotated[int, Field(ge=0, le=PACKETS_MAX)]
    span_ns: Whole


class Collected(Message):
    """Ask what arrived of the train."""

    op: Literal["collected"] = "collected"


class Arrivals(Message):
    """Numbers of packets and kernel times since the first, ns, in order of arrival."""

    arrivals: Annotated[tuple[tuple[Place, Ns], ...], Field(max_length=PACKETS_MAX)]


class Tcp(Message):
    """Expect connections for data."""

    op: Literal["tcp"] = "tcp"
    direction: Direction
    streams: Annotated[int, Field(ge=1, le=STREAMS_MAX)]
    seconds: Seconds
    octets: Annotated[int, Field(ge=1, le=OCTETS_MAX)]
    congestion: Annotated[str, Field(pattern=CONGESTION_NAME)] | None = None


class TcpExpected(Message):
    token: Token


class Go(Message):
    """Begin, once all connections are there."""

    op: Literal["go"] = "go"


class ResultAsked(Message):
    """Wait for the end, and say what came of it."""

    op: Literal["result"] = "result"


class TcpResult(Message):
    """The server's part: what it sent, or what it received."""

    throughput: Throughput | None = None
    received: Received | None = None


class Ping(Message):
    """Answer at once."""

    op: Literal["ping"] = "ping"


class End(Message):
    """The test is over."""

    op: Literal["end"] = "end"


class Data(Message):
    """This connection carries data of the test with this token."""

    op: Literal["data"] = "data"
    token: Token


Request = Annotated[
    Begin | Udp | Heard | TrainAsked | Collected | Tcp | Go | ResultAsked | Ping | End | Data,
    Field(discriminator="op"),
]
_REQUESTS: Final[TypeAdapter[Request]] = TypeAdapter(Request)


class Garbled(Exception):
    """A peer's line is not what it must be."""


class LineTooLong(Garbled):
    """A peer sends more than a line may have."""


def read_request(line: bytes) -> Request:
    """Return a client's request.

    Raises:
        Garbled: it is none.
    """
    try:
        return _REQUESTS.validate_json(line)
    except ValidationError as error:
        raise Garbled(_first(error)) from None


def read_message(line: bytes, kind: type[M]) -> M:
    """Return a message of a kind.

    Raises:
        Garbled: it is none.
    """
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        raise Garbled(_first(error)) from None


def read_refusal(line: bytes) -> Refusal | None:
    """Return what a server refused, if the line says so."""
    try:
        return Refusal.model_validate_json(line)
    except ValidationError:
        return None


class LineBuffer:
    """Octets from a peer, taken apart at line ends; bounded."""

    def __init__(self, line_max: int) -> None:
        self._line_max = line_max
        self._octets = bytearray()

    def feed(self, octets: bytes) -> None:
        """Take octets in.

        Raises:
            LineTooLong: there is no line end within the limit.
        """
        self._octets += octets
        if self._octets.find(b"\n", 0, self._line_max) < 0 and len(self._octets) >= self._line_max:
            raise LineTooLong(f"a line of more than {self._line_max} octets")

    def take(self) -> bytes | None:
        """Return a line without its end; None: none is whole."""
        line, end, rest = self._octets.partition(b"\n")
        if not end:
            return None
        self._octets = bytearray(rest)
        return bytes(line)

    def rest(self) -> bytes:
        """Return what follows the last line taken: data."""
        return bytes(self._octets)


def prove(key: bytes, side: Literal["client", "server"], server_nonce: str, nonce: str) -> str:
    """Return the proof of one side that it has the key."""
    text = f"netslo-bandwidth {VERSION} {side} {server_nonce} {nonce}"
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def proves(
    proof: str | None, key: bytes, side: Literal["client", "server"], server_nonce: str, nonce: str
) -> bool:
    """Whether a proof is one side's."""
    expected = prove(key, side, server_nonce, nonce)
    return proof is not None and hmac.compare_digest(proof, expected)


def _first(error: ValidationError) -> str:
    """Return the first fault in a few words; never what a peer sent in full."""
    fault = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {fault['msg']}"[:160] if where else str(fault["msg"])[:160]
