"""Sockets for ICMP echo: unprivileged where the system allows them, raw otherwise.

Linux has datagram sockets for echo ("ping sockets"), which processes of the groups in
net.ipv4.ping_group_range may open, of both IP versions. The kernel chooses their identifier,
writes it into every request, checks checksums, and hands over only replies with that identifier.
A raw socket (CAP_NET_RAW) sees every ICMP message of the host, so that a filter has to pick ours,
and over IPv4 it hands over the IP header too, and messages whose checksum nobody has checked.

Seen on Linux 6.18 with `probes.timestamps`, on datagram and raw sockets, IPv4 and IPv6 alike:
SO_TIMESTAMPING stamps what leaves and what comes; OPT_ID counts each socket's requests from 0, also
on raw sockets; the error queue tells the number with OPT_TSONLY; TTL and class of a reply come
as ancillary data. Only the very first messages may come without a stamp, on any socket: the kernel
begins to stamp a moment after somebody first asks. A kernel that gives less than that costs the
samples their quality, no more.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import socket
from collections.abc import Collection, Sequence
from pathlib import Path
from struct import Struct
from typing import Final

from probes.address import SocketAddress
from probes.icmp.packet import ICMP, ICMPV6, IDENTIFIERS, Protocol, payload_of_ipv4
from probes.sockets import RECEIVE_BUFFER, Datagram, read_datagram

TTL: Final = 64  # RFC 1340; as ping has

# Linux' numbers (asm-generic/socket.h, linux/in.h) which `socket` does not name everywhere
_SO_ATTACH_FILTER: Final = 26
_IP_RECVTTL: Final = 12
_IP_RECVTOS: Final = 13

# linux/filter.h: a program of classic BPF
_INSTRUCTION: Final = Struct("=HBBI")  # operation, steps if true, steps if false, operand
_PROGRAM: Final = Struct("@HP")  # instructions, where they are
_LOAD_X_HEADER: Final = 0xB1  # X = 4 * (octet & 15): the length of the IPv4 header
_LOAD_X: Final = 0x01
_LOAD_OCTET: Final = 0x50  # at X + operand
_LOAD_TWO: Final = 0x48
_IF_EQUAL: Final = 0x15
_IF_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06  # so many octets of the message; 0: none of it
_WHOLE: Final = 0xFFFF

_PING_GROUPS: Final = Path("/proc/sys/net/ipv4/ping_group_range")
_NO_DATAGRAM: Final = frozenset(  # such sockets are forbidden, or this kernel has none
    {errno.EACCES, errno.EPERM, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT}
)


class EchoSocket(socket.socket):
    """A socket for echo with one far end, and how its messages look."""

    protocol: Protocol
    identifier: int  # which requests must carry, or will
    raw: bool
    ip_header: bool  # comes before each message


def open_echo_socket(target: SocketAddress, dscp: int) -> EchoSocket:
    """Return a non-blocking socket connected to the host of `target`; its port means nothing.

    Raises:
        PermissionError: neither kind of socket is allowed; the text says what is needed.
        OSError: there is no route, or the address is not of a usable family.
    """
    protocol = ICMPV6 if target.family == socket.AF_INET6 else ICMP
    sock = _open(target.family, protocol)
    try:
        sock.setblocking(False)  # noqa: FBT003
        if sock.raw:
            sock.identifier = secrets.randbelow(IDENTIFIERS)
            _admit_replies(sock)
        _set_options(sock, dscp)
        host, _, *scope = target.sockaddr
        sock.connect((host, 0, *scope))
        if not sock.raw:
            sock.identifier = sock.getsockname()[1]
    except OSError:
        sock.close()
        raise
    return sock


def read_echo(sock: socket.socket) -> Datagram | None:
    """Read one datagram if there is one; of an echo socket, the ICMP message without an IP header.

    Raises:
        OSError: an ICMP error for an earlier request of ours; the next call goes on.
    """
    datagram = read_datagram(sock)
    if datagram is not None and isinstance(sock, EchoSocket) and sock.ip_header:
        try:
            datagram.data = payload_of_ipv4(datagram.data)
        except ValueError:  # never seen, for the kernel has read this header
            datagram.data = b""
    return datagram


def _open(family: socket.AddressFamily, protocol: Protocol) -> EchoSocket:
    """Return a datagram socket, or else a raw one."""
    raw = False
    try:
        sock = EchoSocket(family, socket.SOCK_DGRAM, protocol.number)
    except OSError as error:
        if error.errno not in _NO_DATAGRAM:
            raise
        sock, raw = _open_raw(family, protocol), True
    sock.protocol, sock.raw = protocol, raw
    sock.ip_header = raw and protocol is ICMP
    return sock


def _open_raw(family: socket.AddressFamily, protocol: Protocol) -> EchoSocket:
    try:
        return EchoSocket(family, socket.SOCK_RAW, protocol.number)
    except PermissionError as error:
        raise PermissionError(error.errno, _what_is_needed()) from None


def _what_is_needed() -> str:
    groups = sorted({os.getegid(), *os.getgroups()})
    try:
        allowed = " to ".join(_PING_GROUPS.read_text().split())
    except OSError:
        allowed = "not to be read"
    return (
        "ICMP echo is not allowed: it needs either net.ipv4.ping_group_range (now "
        f"{allowed}) to include a group of this process ({', '.join(map(str, groups))}), "
        "or the capability CAP_NET_RAW"
    )


def _set_options(sock: EchoSocket, dscp: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    if sock.family == socket.AF_INET6:
        options = {
            socket.IPV6_UNICAST_HOPS: TTL,
            socket.IPV6_TCLASS: dscp << 2,
            socket.IPV6_RECVHOPLIMIT: 1,
            socket.IPV6_RECVTCLASS: 1,
        }
    else:
        options = {socket.IP_TTL: TTL, socket.IP_TOS: dscp << 2, _IP_RECVTTL: 1, _IP_RECVTOS: 1}
    level = socket.IPPROTO_IPV6 if sock.family == socket.AF_INET6 else socket.IPPROTO_IP
    for option, value in options.items():
        sock.setsockopt(level, option, value)


def _admit_replies(sock: EchoSocket) -> None:
    """Have the kernel hand over echo replies with the socket's identifier, and nothing else.

    A filter sees an IPv4 message from its IP header on, an IPv6 message without.
    """
    program = [
        (_LOAD_X_HEADER if sock.family == socket.AF_INET else _LOAD_X, 0, 0, 0),
        (_LOAD_OCTET, 0, 0, 0),
        (_IF_EQUAL, 0, 3, sock.protocol.reply),
        (_LOAD_TWO, 0, 0, 4),
        (_IF_EQUAL, 0, 1, sock.identifier),
        (_RETURN, 0, 0, _WHOLE),
        (_RETURN, 0, 0, 0),
    ]
    _attach(sock, program)


def admit_types(sock: socket.socket, types: Collection[int]) -> None:
    """Have the kernel hand over ICMP messages of these types only, on a raw socket."""
    header = _LOAD_X_HEADER if sock.family == socket.AF_INET else _LOAD_X
    program = [(header, 0, 0, 0), (_LOAD_OCTET, 0, 0, 0)]
    program += [(_IF_EQUAL, len(types) - place, 0, each) for place, each in enumerate(types)]
    _attach(sock, [*program, (_RETURN, 0, 0, 0), (_RETURN, 0, 0, _WHOLE)])


def admit_tcp_flags(sock: socket.socket, flags: int) -> None:
    """Have the kernel hand over TCP segments with one of these flags only, on a raw socket."""
    header = _LOAD_X_HEADER if sock.family == socket.AF_INET else _LOAD_X
    program = [
        (header, 0, 0, 0),
        (_LOAD_OCTET, 0, 0, 13),
        (_IF_ANY_BIT, 1, 0, flags),
        (_RETURN, 0, 0, 0),
        (_RETURN, 0, 0, _WHOLE),
    ]
    _attach(sock, program)


def _attach(sock: socket.socket, program: Sequence[tuple[int, int, int, int]]) -> None:
    octets = b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(octets, len(octets))  # alive until the kernel has it
    pointer = _PROGRAM.pack(len(program), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)
