"""Octets of ICMP echo messages, and of the errors that quote one.

echo request and reply (RFC 792; RFC 4443 §4)    error (RFC 792; RFC 4443 §3; RFC 4884)
 0  type, code 0                                  0  type, code
 2  checksum                                      2  checksum
 4  identifier                                    4  MTU, pointer, or length of the quote
 6  sequence number                               8  the packet it is about, from its IP header on:
 8  data, which the reply returns                    8 octets of its payload at least
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address
from struct import Struct
from typing import Final, NamedTuple

ECHO: Final = Struct("!BBHHH")
HEADER_SIZE: Final = 8  # of an echo, and of an error before its quote
IDENTIFIERS: Final = 1 << 16
SEQUENCES: Final = 1 << 16
assert ECHO.size == HEADER_SIZE

_PSEUDO_HEADER: Final = Struct("!16s16sI3xB")  # RFC 8200 §8.1
_IPV4: Final = Struct("!BBHHHBB")  # as far as the protocol
_IPV4_SIZE_MIN: Final = 20
_IPV6: Final = Struct("!IHB")  # as far as the next header
_IPV6_SIZE: Final = 40
_FRAGMENT_OFFSET: Final = 0x1FFF
_UNREACHABLE4: Final = 3
_FRAGMENTATION_NEEDED: Final = 4  # a code of it
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _OPTIONS = 0, 43, 44, 60  # next headers before the last
_EXTENSION: Final = Struct("!BB")
_EXTENSION_UNIT: Final = 8  # octets
_EXTENSIONS_MAX: Final = 8


class Trouble(StrEnum):
    """What an error says of the packet that it quotes."""

    UNREACHABLE = "destination unreachable"
    TOO_BIG = "packet too big"
    TIME_EXCEEDED = "time exceeded"
    PARAMETER = "parameter problem"


@dataclass(frozen=True, slots=True)
class Protocol:
    """ICMP of one IP version."""

    version: int
    number: int  # of the protocol in the IP header
    request: int
    reply: int
    errors: Mapping[int, Trouble]  # by type
    quote_unit: int  # octets; RFC 4884 counts the length of a quote in these
    checksum_here: bool  # over the message alone; else the kernel's, which knows the addresses


ICMP: Final = Protocol(
    version=4,
    number=1,
    request=8,
    reply=0,
    errors={3: Trouble.UNREACHABLE, 11: Trouble.TIME_EXCEEDED, 12: Trouble.PARAMETER},
    quote_unit=4,
    checksum_here=True,
)
ICMPV6: Final = Protocol(
    version=6,
    number=58,
    request=128,
    reply=129,
    errors={
        1: Trouble.UNREACHABLE,
        2: Trouble.TOO_BIG,
        3: Trouble.TIME_EXCEEDED,
        4: Trouble.PARAMETER,
    },
    quote_unit=8,
    checksum_here=False,
)


class WrongChecksum(ValueError):
    """The octets are not those that were sent."""


class OtherMessage(ValueError):
    """A message that is neither an echo nor an error about one."""


class Echo(NamedTuple):
    """An echo request or reply; of a quoted one, `data` is what the quote has of it."""

    reply: bool
    identifier: int
    sequence: int
    data: bytes


@dataclass(frozen=True, slots=True)
class EchoError:
    """What a router or the far host says of an echo request."""

    trouble: Trouble
    type: int
    code: int
    detail: int  # next hop's MTU if too big; the place of a parameter problem; else 0
    quoted: Echo


def checksum(octets: bytes) -> int:
    """Return the Internet checksum (RFC 1071); that of octets with a right one inside is 0.

    2**16 is 1 modulo 2**16 - 1, so the sum of the words is the whole number modulo that.
    """
    number = int.from_bytes(octets) << 8 * (len(octets) & 1)
    total = number % 0xFFFF or (0xFFFF if number else 0)
    return 0xFFFF - total


def pseudo_header(source: str, destination: str, length: int) -> bytes:
    """Return what the checksum of an ICMPv6 message of that length also covers."""
    addresses = (IPv6Address(source).packed, IPv6Address(destination).packed)
    return _PSEUDO_HEADER.pack(*addresses, length, ICMPV6.number)


def write_echo(protocol: Protocol, echo: Echo, pseudo: bytes = b"") -> bytes:
    """Return an echo message with its checksum.

    That of ICMPv6 needs the pseudo-header; without it the field is 0, and the kernel fills it.
    """
    kind = protocol.reply if echo.reply else protocol.request
    octets = ECHO.pack(kind, 0, 0, echo.identifier, echo.sequence) + echo.data
    if not pseudo and not protocol.checksum_here:
        return octets
    return octets[:2] + checksum(pseudo + octets).to_bytes(2) + octets[4:]


def read_message(protocol: Protocol, octets: bytes, pseudo: bytes = b"") -> Echo | EchoError:
    """Read an echo or an error about one.

    The checksum of ICMPv6 is judged with a pseudo-header only: the kernel has done it before.

    Raises:
        WrongChecksum: it does not fit.
        OtherMessage: it is something else, or an error about something else.
        ValueError: it is cut short.
    """
    if len(octets) < HEADER_SIZE:
        raise ValueError(f"ICMP message has {len(octets)} octets, needs {HEADER_SIZE}")
    if (pseudo or protocol.checksum_here) and checksum(pseudo + octets):
        raise WrongChecksum("the checksum does not fit")
    kind, code = octets[0], octets[1]
    trouble = protocol.errors.get(kind)
    if trouble is None:
        return _echo(protocol, octets)
    if protocol is ICMP and (kind, code) == (_UNREACHABLE4, _FRAGMENTATION_NEEDED):
        trouble = Trouble.TOO_BIG
    quote = octets[HEADER_SIZE:]
    if length := _quote_length(protocol, trouble, octets):
        quote = quote[:length]  # what follows it is an extension (RFC 4884)
    quoted = _echo(protocol, _quoted4(quote) if protocol is ICMP else _quoted6(quote))
    if quoted.reply:
        raise OtherMessage("an error about an echo reply")
    return EchoError(trouble, kind, code, _detail(protocol, trouble, octets), quoted)


def payload_of_ipv4(packet: bytes) -> bytes:
    """Return what follows the header of an IPv4 packet; the packet may be cut short.

    Raises:
        ValueError: it is not IPv4, or its header is cut short.
    """
    if len(packet) < _IPV4_SIZE_MIN:
        raise ValueError(f"IPv4 packet has {len(packet)} octets, needs {_IPV4_SIZE_MIN}")
    size = (packet[0] & 0x0F) * 4
    if packet[0] >> 4 != ICMP.version or not _IPV4_SIZE_MIN <= size <= len(packet):
        raise ValueError("not the header of an IPv4 packet")
    return packet[size:]


def _echo(protocol: Protocol, octets: bytes) -> Echo:
    if len(octets) < HEADER_SIZE:
        raise ValueError(f"echo has {len(octets)} octets, needs {HEADER_SIZE}")
    kind, code, _, identifier, sequence = ECHO.unpack_from(octets)
    if code or kind not in (protocol.request, protocol.reply):
        raise OtherMessage(f"ICMP type {kind}, code {code}")
    return Echo(kind == protocol.reply, identifier, sequence, octets[HEADER_SIZE:])


def _quote_length(protocol: Protocol, trouble: Trouble, octets: bytes) -> int:
    """Return how long an error says that its quote is, in octets; 0: it does not say."""
    if protocol is ICMP:
        return octets[5] * protocol.quote_unit
    if trouble in (Trouble.UNREACHABLE, Trouble.TIME_EXCEEDED):
        return octets[4] * protocol.quote_unit
    return 0


def _detail(protocol: Protocol, trouble: Trouble, octets: bytes) -> int:
    if trouble not in (Trouble.TOO_BIG, Trouble.PARAMETER):
        return 0
    if protocol is ICMPV6:
        return int.from_bytes(octets[4:8])
    return int.from_bytes(octets[6:8]) if trouble is Trouble.TOO_BIG else octets[4]


def _quoted4(quote: bytes) -> bytes:
    """Return the ICMP message in a quoted IPv4 packet."""
    payload = payload_of_ipv4(quote)
    _, _, length, _, fragment, _, number = _IPV4.unpack_from(quote)
    if number != ICMP.number or fragment & _FRAGMENT_OFFSET:
        raise OtherMessage("an error about a packet that is no ICMP message")
    return payload[: max(0, length - (len(quote) - len(payload)))]  # the rest is padding


def _quoted6(quote: bytes) -> bytes:
    """Return the ICMPv6 message in a quoted IPv6 packet, behind any extension headers."""
    if len(quote) < _IPV6_SIZE:
        raise ValueError(f"quoted IPv6 packet has {len(quote)} octets, needs {_IPV6_SIZE}")
    first, length, following = _IPV6.unpack_from(quote)
    if first >> 28 != ICMPV6.version:
        raise ValueError("not the header of an IPv6 packet")
    payload = quote[_IPV6_SIZE : _IPV6_SIZE + length]
    for _ in range(_EXTENSIONS_MAX):
        if following not in (_HOP_BY_HOP, _ROUTING, _FRAGMENT, _OPTIONS):
            break
        if len(payload) < _EXTENSION_UNIT:
            raise ValueError("extension header is cut short")
        extension = following
        following, units = _EXTENSION.unpack_from(payload)
        if extension == _FRAGMENT and int.from_bytes(payload[2:4]) >> 3:
            raise OtherMessage("an error about a later fragment")
        units = 0 if extension == _FRAGMENT else units  # there the octet is reserved
        payload = payload[(units + 1) * _EXTENSION_UNIT :]
    if following != ICMPV6.number:
        raise OtherMessage("an error about a packet that is no ICMPv6 message")
    return payload
