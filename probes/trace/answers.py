"""What comes back: ICMP errors that quote a packet of ours, echo replies, answers of TCP.

Whatever arrives is compared with what was sent, octet by octet as far as it is quoted. What is not
about our packets is nobody's fault; what claims to be, and cannot be, is refused by cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from netslo.route import Label, TraceProtocol
from probes.icmp.packet import (
    HEADER_SIZE,
    ICMP,
    ICMPV6,
    Protocol,
    Trouble,
    checksum,
    payload_of_ipv4,
)
from probes.trace.extensions import read_labels
from probes.trace.flow import (
    IPV4_MTU_MIN,
    IPV6_HEADER,
    IPV6_MTU_MIN,
    PACKET_MAX,
    TCP_HEADER,
    Flow,
    number_in,
    write_transport,
)

QUOTED_MIN: Final = 8  # octets behind the quoted IP header (RFC 792)

_LEGACY_QUOTE: Final = 128  # octets; what follows may be an extension (RFC 4884 §5.5)
_TOO_BIG4: Final = (3, 4)  # type and code; a code of "unreachable"
_IN_TRANSIT: Final = 0  # the code of a TTL that was used up
_EXTENDED: Final = frozenset({Trouble.UNREACHABLE, Trouble.TIME_EXCEEDED})  # by RFC 4884 §4
_ACK, _RST, _SYN = 0x10, 0x04, 0x02

# By IP version and code: as traceroute writes them, and in words.
_MARKS4: Final = {
    0: "!N",
    1: "!H",
    2: "!P",
    3: "!U",
    5: "!S",
    6: "!N",
    7: "!H",
    9: "!X",
    10: "!X",
    11: "!T",
    12: "!T",
    13: "!X",
    14: "!V",
    15: "!C",
}
_MARKS6: Final = {0: "!N", 1: "!X", 2: "!S", 3: "!H", 4: "!U", 5: "!X", 6: "!X"}
MARK_WORDS: Final = {
    "!N": "network unreachable",
    "!H": "host unreachable",
    "!P": "protocol unreachable",
    "!U": "port unreachable, said by another than the target",
    "!S": "source route failed, or beyond the scope of the source address",
    "!X": "forbidden by a router's policy",
    "!T": "unreachable for this class of service",
    "!V": "host precedence violation",
    "!C": "precedence cutoff",
}


class Kind(StrEnum):
    """What an answer says."""

    EXCEEDED = "time exceeded"  # by a router on the way
    REACHED = "reached"  # by the target
    UNREACHABLE = "unreachable"  # by a router: the packet goes no further
    TOO_BIG = "packet too big"


class Refusal(StrEnum):
    """Why something that came is no answer."""

    OTHER = "not about our packets"  # a raw socket sees all; not worth a count
    SHORT = "ICMP message cut short"
    CHECKSUM = "wrong ICMP checksum"
    QUOTE_SHORT = "quote cut short"
    QUOTE_LENGTH = "quote longer than its message"
    QUOTE_DIFFERS = "quote differs from what was sent"
    NUMBER = "no packet with this number"
    MTU = "impossible MTU"
    PARAMETER = "parameter problem"
    EXTENSION = "malformed ICMP extension"  # the rest of the answer is used


@dataclass(frozen=True, slots=True)
class Sent:
    """A packet under way."""

    flow: Flow
    number: int
    ttl: int
    size: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a packet of ours."""

    sent: Sent
    kind: Kind
    address: str  # of who gave it
    mark: str = ""  # of unreachable; "" if there is nothing to say
    labels: tuple[Label, ...] = ()
    mtu: int | None = None  # that a router told, of too big
    fault: Refusal | None = None  # of a part of it that was left out


class AnswerReader:
    """Reads answers to the packets of some flows to one target.

    Args:
        flows: All of one protocol, source and target.
        find: Tells the packet that was sent with a number; None if there is none.
    """

    def __init__(self, flows: Iterable[Flow], find: Callable[[int], Sent | None]) -> None:
        self._by_port = {flow.source_port: flow for flow in flows}
        self._any = next(iter(self._by_port.values()))
        self._icmp = ICMP if self._any.version == ICMP.version else ICMPV6
        self._find = find

    def read_icmp(self, octets: bytes, address: str) -> Answer | Refusal:
        """Read an ICMP message, from behind its IP header on, of a host."""
        if len(octets) < HEADER_SIZE:
            return Refusal.SHORT
        if self._icmp.checksum_here and checksum(octets):
            return Refusal.CHECKSUM
        if octets[0] == self._icmp.reply:
            return self._echo_reply(octets, address)
        trouble = trouble_of(self._icmp, octets[0], octets[1])
        return Refusal.OTHER if trouble is None else self._error(trouble, octets, address)

    def read_tcp(self, octets: bytes, address: str) -> Answer | Refusal:
        """Read a TCP segment, from behind its IP header on: SYN-ACK and RST mean the target."""
        if address != self._any.target or len(octets) < TCP_HEADER.size:
            return Refusal.OTHER
        ports = TCP_HEADER.unpack_from(octets)
        flow, flags, acknowledged = self._by_port.get(ports[1]), ports[5], ports[3]
        if flow is None or ports[0] != flow.target_port:
            return Refusal.OTHER
        if not flags & _ACK or not flags & (_SYN | _RST):
            return Refusal.OTHER
        # A closed port acknowledges what a SYN carries, too (RFC 9293 §3.5.2).
        number, carried = divmod((acknowledged - 1 - flow.cookie[0]) % (1 << 32), 1 << 16)
        sent = self._find(number)
        if sent is None or sent.flow != flow:
            return Refusal.NUMBER
        if carried not in (0, max(0, sent.size - flow.size_min)):
            return Refusal.QUOTE_DIFFERS
        return Answer(sent, Kind.REACHED, address)

    def _echo_reply(self, octets: bytes, address: str) -> Answer | Refusal:
        flow = self._by_port.get(int.from_bytes(octets[4:6]))
        ours = flow is not None and flow.protocol is TraceProtocol.ICMP
        if flow is None or not ours or address != flow.target:
            return Refusal.OTHER
        sent = self._find(int.from_bytes(octets[6:8]))
        if sent is None or sent.flow != flow:
            return Refusal.NUMBER
        if octets[4:] != write_transport(flow, sent.number, sent.size)[4:]:
            return Refusal.QUOTE_DIFFERS
        return Answer(sent, Kind.REACHED, address)

    def _error(self, trouble: Trouble, octets: bytes, address: str) -> Answer | Refusal:
        """Read an error: its quote, and what a router added to it."""
        length = self._quote_length(trouble, octets)
        body = octets[HEADER_SIZE:]
        if length > len(body):
            return Refusal.QUOTE_LENGTH
        sent = self._quoted(body[:length] if length else body)
        if isinstance(sent, Refusal):
            return sent
        extension = body[length or _LEGACY_QUOTE :] if trouble in _EXTENDED else b""
        labels, fault = _labels(extension, announced=length > 0)
        mtu = octets[6:8] if self._icmp is ICMP else octets[4:8]
        said = error_answer(sent, trouble, octets[1], int.from_bytes(mtu), address)
        return said if isinstance(said, Refusal) else replace(said, labels=labels, fault=fault)

    def _quote_length(self, trouble: Trouble, octets: bytes) -> int:
        """Return how long the error says that its quote is (RFC 4884 §4); 0: it does not say."""
        if self._icmp is ICMP:
            return octets[5] * self._icmp.quote_unit
        return octets[4] * self._icmp.quote_unit if trouble in _EXTENDED else 0

    def _quoted(self, quote: bytes) -> Sent | Refusal:
        """Return which of our packets a quote is of."""
        flow, transport = self._any, b""
        source, target = flow.addresses
        if flow.version == ICMP.version:
            try:
                transport = payload_of_ipv4(quote)
            except ValueError:
                return Refusal.QUOTE_SHORT
            addresses, number = quote[12:20], quote[9]
            whole = not int.from_bytes(quote[6:8]) & 0x1FFF
        else:
            if len(quote) < IPV6_HEADER.size or quote[0] >> 4 != ICMPV6.version:
                return Refusal.QUOTE_SHORT
            transport = quote[IPV6_HEADER.size :]
            addresses, number, whole = quote[8:40], quote[6], True
        if addresses != source + target or number != flow.protocol_number or not whole:
            return Refusal.OTHER
        if len(transport) < QUOTED_MIN:
            return Refusal.QUOTE_SHORT
        place = 4 if flow.protocol is TraceProtocol.ICMP else 0
        named = self._by_port.get(int.from_bytes(transport[place : place + 2]))
        if named is None:
            return Refusal.OTHER
        return self._compared(named, transport)

    def _compared(self, flow: Flow, transport: bytes) -> Sent | Refusal:
        sent = self._find(number_in(flow, transport))
        if sent is None or sent.flow != flow:
            return Refusal.NUMBER
        expected = write_transport(flow, sent.number, sent.size)
        # Options of TCP are changed on the way (a smaller MSS), and so is its checksum; what is
        # quoted beyond our packet is padding.
        count = QUOTED_MIN if flow.protocol is TraceProtocol.TCP else len(expected)
        count = min(count, len(transport))
        return sent if transport[:count] == expected[:count] else Refusal.QUOTE_DIFFERS


def trouble_of(icmp: Protocol, kind: int, code: int) -> Trouble | None:
    """Return what an ICMP error is about, by its type and code; None: nothing of ours."""
    if icmp is ICMP and (kind, code) == _TOO_BIG4:
        return Trouble.TOO_BIG
    trouble = icmp.errors.get(kind)
    return None if trouble is Trouble.TIME_EXCEEDED and code != _IN_TRANSIT else trouble


def error_answer(
    sent: Sent, trouble: Trouble, code: int, mtu: int, address: str
) -> Answer | Refusal:
    """Return what an error about a packet means; by the target itself, that it was reached."""
    four = sent.flow.version == ICMP.version
    if trouble is Trouble.TIME_EXCEEDED:
        return Answer(sent, Kind.EXCEEDED, address)
    if trouble is Trouble.PARAMETER:
        return Refusal.PARAMETER
    if trouble is Trouble.TOO_BIG:
        told = None if four and mtu == 0 else mtu  # a router from before RFC 1191
        if told is not None and not (IPV4_MTU_MIN if four else IPV6_MTU_MIN) <= told <= PACKET_MAX:
            return Refusal.MTU
        return Answer(sent, Kind.TOO_BIG, address, mtu=told)
    mark = (_MARKS4 if four else _MARKS6).get(code, f"!{code}")
    if address == sent.flow.target:
        return Answer(sent, Kind.REACHED, address, "" if mark == "!U" else mark)
    return Answer(sent, Kind.UNREACHABLE, address, mark)


def _labels(extension: bytes, *, announced: bool) -> tuple[tuple[Label, ...], Refusal | None]:
    """Return the labels told, and whether telling them went wrong."""
    try:
        return (read_labels(extension), None) if extension else ((), None)
    except ValueError:
        # If nobody said that there is one: more of the quote, most likely.
        return (), Refusal.EXTENSION if announced else None
