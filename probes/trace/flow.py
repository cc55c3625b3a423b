"""Flows whose way is traced, and their packets.

Routers that share load between ways choose one by what is the same in all packets of a flow:
addresses, protocol and ports, for ICMP the first four octets (type, code, checksum), for IPv6 the
flow label. All of that is fixed here (Augustin et al., "Avoiding traceroute anomalies with Paris
traceroute", 2006). What tells one packet from another is its **number**, where no router looks,
and within the first eight octets behind the IP header, which every ICMP error quotes:

UDP    the checksum is the number; two octets of the payload make it fit
ICMP   the sequence is the number; two octets of the data keep the checksum as it is
TCP    the upper half of the sequence number is the number

The identification of an IPv4 packet is the number as well, for whoever reads a capture.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from struct import Struct
from typing import Final

from netslo.route import TraceProtocol
from probes.icmp.packet import ICMP, ICMPV6, checksum

NUMBERS: Final = range(1, 0xFFFF)  # neither 0, which is no checksum, nor the other zero
IPV4_HEADER: Final = Struct("!BBHHHBBH4s4s")
IPV6_HEADER: Final = Struct("!IHBB16s16s")
UDP_HEADER: Final = Struct("!HHHH")
ECHO_HEADER: Final = Struct("!BBHHH")
TCP_HEADER: Final = Struct("!HHIIBBHHH")
TCP_NUMBER: Final = {TraceProtocol.UDP: 17, TraceProtocol.TCP: 6}
SYN: Final = 0x02
PACKET_MAX: Final = 0xFFFF  # octets
IPV4_MTU_MIN: Final = 68  # RFC 791
IPV6_MTU_MIN: Final = 1280  # RFC 8200 §5

_DO_NOT_FRAGMENT: Final = 0x4000
_PSEUDO4: Final = Struct("!4s4sxBH")
_PSEUDO6: Final = Struct("!16s16sI3xB")
_COOKIE_SIZE: Final = 8
_BALANCE_SIZE: Final = 2
_MSS: Final = b"\x02\x04\x05\xb4"  # an option without which some firewalls drop a SYN
_TCP_OFFSET: Final = (TCP_HEADER.size + len(_MSS)) // 4 << 4
_TCP_WINDOW: Final = 64240
_ONES: Final = 0xFFFF


@dataclass(frozen=True)
class Flow:
    """What all packets of one flow have in common."""

    index: int
    protocol: TraceProtocol
    source: str
    target: str
    source_port: int  # of ICMP the identifier
    target_port: int  # of ICMP the checksum: routers choose a way by it, so flows differ in it
    dscp: int = 0
    cookie: bytes = b"\0" * _COOKIE_SIZE  # in the payload: nobody else has it

    @cached_property
    def version(self) -> int:
        """Of IP."""
        return ip_address(self.target).version

    @cached_property
    def label(self) -> int:
        """The IPv6 flow label; never 0, which says that there is none (RFC 6437)."""
        return (self.source_port << 4 | self.index & 0xF) or 1

    @cached_property
    def protocol_number(self) -> int:
        """Of the IP header."""
        if self.protocol is TraceProtocol.ICMP:
            return ICMP.number if self.version == ICMP.version else ICMPV6.number
        return TCP_NUMBER[self.protocol]

    @cached_property
    def addresses(self) -> tuple[bytes, bytes]:
        """Source and target, packed."""
        return ip_address(self.source).packed, ip_address(self.target).packed

    @property
    def size_min(self) -> int:
        """Octets of the smallest packet."""
        return _ip_size(self) + len(_smallest(self))


def new_cookie() -> bytes:
    """Return octets that nobody can guess."""
    return secrets.token_bytes(_COOKIE_SIZE)


def write_packet(flow: Flow, number: int, ttl: int, size: int = 0) -> bytes:
    """Return an IP packet, `size` octets long if the smallest one is shorter.

    Its IPv4 header has no checksum: the kernel writes it.
    """
    payload = write_transport(flow, number, size)
    traffic_class = flow.dscp << 2
    if flow.version == ICMP.version:
        length = IPV4_HEADER.size + len(payload)
        start = (0x45, traffic_class, length, number, _DO_NOT_FRAGMENT, ttl)
        header = IPV4_HEADER.pack(*start, flow.protocol_number, 0, *flow.addresses)
    else:
        first = 6 << 28 | traffic_class << 20 | flow.label
        numbers = (first, len(payload), flow.protocol_number, ttl)
        header = IPV6_HEADER.pack(*numbers, *flow.addresses)
    return header + payload


def write_transport(flow: Flow, number: int, size: int = 0) -> bytes:
    """Return what follows the IP header of the packet with that number and size."""
    padding = bytes(max(0, size - flow.size_min))
    if flow.protocol is TraceProtocol.TCP:
        return _tcp(flow, number, padding)
    if flow.protocol is TraceProtocol.UDP:
        return _udp(flow, number, padding)
    return _echo(flow, number, padding)


def number_in(flow: Flow, transport: bytes) -> int:
    """Return the number that the first eight octets behind an IP header carry."""
    place = {TraceProtocol.UDP: 6, TraceProtocol.ICMP: 6, TraceProtocol.TCP: 4}[flow.protocol]
    return int.from_bytes(transport[place : place + 2])


def _smallest(flow: Flow) -> bytes:
    sizes = {
        TraceProtocol.UDP: UDP_HEADER.size + _BALANCE_SIZE + _COOKIE_SIZE,
        TraceProtocol.ICMP: ECHO_HEADER.size + _BALANCE_SIZE + _COOKIE_SIZE,
        TraceProtocol.TCP: TCP_HEADER.size + len(_MSS),
    }
    return bytes(sizes[flow.protocol])


def _ip_size(flow: Flow) -> int:
    return IPV4_HEADER.size if flow.version == ICMP.version else IPV6_HEADER.size


def _udp(flow: Flow, number: int, padding: bytes) -> bytes:
    length = UDP_HEADER.size + _BALANCE_SIZE + _COOKIE_SIZE + len(padding)
    ports = (flow.source_port, flow.target_port)
    rest = flow.cookie + padding
    plain = UDP_HEADER.pack(*ports, length, 0) + bytes(_BALANCE_SIZE) + rest
    balance = _balance(number, _pseudo(flow, length) + plain)
    return UDP_HEADER.pack(*ports, length, number) + balance + rest


def _echo(flow: Flow, number: int, padding: bytes) -> bytes:
    six = flow.version == ICMPV6.version
    kind = ICMPV6.request if six else ICMP.request
    rest = flow.cookie + padding
    plain = ECHO_HEADER.pack(kind, 0, 0, flow.source_port, number) + bytes(_BALANCE_SIZE) + rest
    pseudo = _pseudo(flow, len(plain)) if six else b""
    balance = _balance(flow.target_port, pseudo + plain)
    header = ECHO_HEADER.pack(kind, 0, flow.target_port, flow.source_port, number)
    return header + balance + rest


def _tcp(flow: Flow, number: int, padding: bytes) -> bytes:
    # The lower half is small: number and what follows it add up without a carry.
    sequence = number << 16 | flow.cookie[0]
    start = (flow.source_port, flow.target_port, sequence, 0, _TCP_OFFSET, SYN, _TCP_WINDOW)
    plain = TCP_HEADER.pack(*start, 0, 0) + _MSS + padding
    found = checksum(_pseudo(flow, len(plain)) + plain)
    return TCP_HEADER.pack(*start, found, 0) + _MSS + padding


def _pseudo(flow: Flow, length: int) -> bytes:
    if flow.version == ICMP.version:
        return _PSEUDO4.pack(*flow.addresses, flow.protocol_number, length)
    return _PSEUDO6.pack(*flow.addresses, length, flow.protocol_number)


def _balance(wanted: int, octets: bytes) -> bytes:
    """Return the two octets, now zero, with which `octets` have the checksum `wanted`."""
    missing = (checksum(octets) - wanted) % _ONES
    return missing.to_bytes(_BALANCE_SIZE)
