"""UDP sockets for measuring, with DSCP and TTL, all without privilege."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from probes.address import SocketAddress
from probes.stamp.packet import PACKET_SIZE_MAX
from probes.timestamps import RECEIVED, stamp_of

TTL: Final = 255  # RFC 8762 §4.2.1: the far end can then tell the number of hops
SHARED_RECEIVE_BUFFER: Final = 16 << 20
RECEIVE_BUFFER: Final = 1 << 20  # octets; some seconds of answers while the process sleeps

# Linux' numbers (asm-generic/socket.h, linux/in.h) which `socket` does not name everywhere
_MSG_TRUNC: Final = int(socket.MSG_TRUNC)  # not the enum: it is slow, and read per packet
_SO_RCVBUFFORCE: Final = 33
_IP_PKTINFO: Final = 8
_IP_RECVTTL: Final = 12
_IP_RECVTOS: Final = 13

_INT: Final = Struct("@i")
_PKTINFO: Final = Struct("=i4s4s")  # interface, address to send from, destination
_PKTINFO6: Final = Struct("=16si")
_ANCILLARY_SIZE: Final = 256  # all of the above with their headers, generously

Ancillary = Sequence[tuple[int, int, bytes]]


@dataclass(slots=True)
class Datagram:
    """One datagram and what the kernel said of it; None where it said nothing."""

    data: bytes
    address: Any  # as the family has it: host and port come first
    truncated: bool  # it was longer than a STAMP packet can be
    received_ns: int | None = None  # Unix time at which the kernel took it from the network
    ttl: int | None = None
    traffic_class: int | None = None  # DSCP and ECN
    local: bytes | None = None  # the address it was sent to, packed


def open_probe_socket(target: SocketAddress, dscp: int) -> socket.socket:
    """Return a non-blocking socket connected to `target`.

    Connected, it takes datagrams from the target only, and learns that nothing listens there.

    Raises:
        OSError: there is no route, or the address is not of a usable family.
    """
    sock = _udp_socket(target.family)
    try:
        set_traffic_class(sock, dscp << 2)
        sock.connect(target.sockaddr)
    except OSError:
        sock.close()
        raise
    return sock


def open_shared_socket(family: int, dscp: int) -> socket.socket:
    """Return a non-blocking socket for packets to many targets, that also reports TTL and DSCP.

    Raises:
        OSError: the host does not have the family.
    """
    sock = _udp_socket(family)
    try:
        set_traffic_class(sock, dscp << 2)
        _enlarge(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVTOS, 1)
    except OSError:
        sock.close()
        raise
    return sock


def open_reflector_socket(address: SocketAddress) -> socket.socket:
    """Return a non-blocking socket bound to `address` that also reports TTL, DSCP and address.

    Raises:
        OSError: the address is taken, not of this host, or its port needs a privilege.
    """
    sock = _udp_socket(address.family)
    try:
        _enlarge(sock)
        if address.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            for option in (
                socket.IPV6_RECVHOPLIMIT,
                socket.IPV6_RECVTCLASS,
                socket.IPV6_RECVPKTINFO,
            ):
                sock.setsockopt(socket.IPPROTO_IPV6, option, 1)
        else:
            for option in (_IP_RECVTTL, _IP_RECVTOS, _IP_PKTINFO):
                sock.setsockopt(socket.IPPROTO_IP, option, 1)
        sock.bind(address.sockaddr)
    except OSError:
        sock.close()
        raise
    return sock


def read_datagram(sock: socket.socket, size_max: int = PACKET_SIZE_MAX) -> Datagram | None:
    """Read one datagram if there is one.

    Raises:
        OSError: an ICMP error for an earlier datagram of ours; the next call goes on.
    """
    try:
        data, ancillary, flags, address = sock.recvmsg(size_max, _ANCILLARY_SIZE)
    except BlockingIOError:
        return None
    datagram = Datagram(data, address, bool(flags & _MSG_TRUNC))
    for level, kind, value in ancillary:
        note = _NOTES.get((level, kind))
        if note is not None:
            note(datagram, value)
    return datagram


def reply_ancillary(family: int, datagram: Datagram, dscp: int | None = None) -> Ancillary:
    """Return what makes the reply leave from the address of the request, with its DSCP or another.

    On a host with several addresses a socket bound to all of them would otherwise answer from
    the one nearest to the peer, and the peer would not know it.
    """
    # ECN belongs to each direction.
    dscp_octet = (datagram.traffic_class or 0) & 0xFC if dscp is None else dscp << 2
    if family == socket.AF_INET6:
        level, traffic_class, pktinfo = socket.IPPROTO_IPV6, socket.IPV6_TCLASS, socket.IPV6_PKTINFO
        source = None if datagram.local is None else _PKTINFO6.pack(datagram.local, 0)
    else:
        level, traffic_class, pktinfo = socket.IPPROTO_IP, socket.IP_TOS, _IP_PKTINFO
        source = None if datagram.local is None else _PKTINFO.pack(0, datagram.local, bytes(4))
    ancillary = [(level, traffic_class, _INT.pack(dscp_octet))]
    if source is not None:
        ancillary.append((level, pktinfo, source))
    return ancillary


def _udp_socket(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)  # noqa: FBT003
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, TTL)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, TTL)
    return sock


def _enlarge(sock: socket.socket) -> None:
    """Let more wait to be read, stamps of what left included."""
    with contextlib.suppress(OSError):  # beyond the system's limit: a privilege
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, SHARED_RECEIVE_BUFFER)


def set_traffic_class(sock: socket.socket, octet: int) -> None:
    """Let all that a socket sends carry an octet of DSCP and ECN."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, octet)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, octet)


def _note_timestamp(datagram: Datagram, value: bytes) -> None:
    datagram.received_ns = stamp_of(value) or None


def _note_ttl(datagram: Datagram, value: bytes) -> None:
    (datagram.ttl,) = _INT.unpack_from(value)


def _note_tos(datagram: Datagram, value: bytes) -> None:
    datagram.traffic_class = value[0]  # IPv4 says it in one octet, IPv6 in an int


def _note_traffic_class(datagram: Datagram, value: bytes) -> None:
    (datagram.traffic_class,) = _INT.unpack_from(value)


def _note_pktinfo(datagram: Datagram, value: bytes) -> None:
    _, datagram.local, _ = _PKTINFO.unpack_from(value)


def _note_pktinfo6(datagram: Datagram, value: bytes) -> None:
    datagram.local, _ = _PKTINFO6.unpack_from(value)


_NOTES: Final = {
    **dict.fromkeys(RECEIVED, _note_timestamp),
    (socket.IPPROTO_IP, socket.IP_TTL): _note_ttl,
    (socket.IPPROTO_IP, socket.IP_TOS): _note_tos,
    (socket.IPPROTO_IP, _IP_PKTINFO): _note_pktinfo,
    (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT): _note_ttl,
    (socket.IPPROTO_IPV6, socket.IPV6_TCLASS): _note_traffic_class,
    (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO): _note_pktinfo6,
}
