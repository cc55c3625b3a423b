"""Packet trains through a socket: sent at once, and collected with the kernel's times."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from typing import Final

from probes.address import SocketAddress
from probes.bandwidth.trains import (
    IP4_UDP,
    IP6_UDP,
    PAYLOAD_MAX,
    PAYLOAD_MIN,
    Train,
    decode_packet,
    encode_packet,
    filling_size,
)
from probes.sockets import read_datagram
from probes.timestamps import enable_timestamps, keep_stamping

QUIET_S: Final = 0.5  # after which no more of a train comes
FIRST_S: Final = 2.0  # until the first of a train comes
TRAIN_S: Final = 8.0  # for all of it, whatever else comes; less than a peer waits for the answer
_BUFFER: Final = 4 << 20
_SO_RCVBUFFORCE: Final = 33
_SO_SNDBUFFORCE: Final = 32
_BUFFERS: Final = ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF))
_IP_MTU_DISCOVER: Final = 10
_IP_MTU: Final = 14
_IPV6_MTU_DISCOVER: Final = 23
_IPV6_MTU: Final = 24
_PMTUDISC_DO: Final = 2  # what does not fit is refused, never broken in pieces
_HELLO_SIZE: Final = 16


def open_train_socket(family: int, bind: SocketAddress | None = None) -> socket.socket:
    """Return a non-blocking UDP socket whose datagrams come with times and leave in one piece.

    Raises:
        OSError: the address is taken or not this host's.
    """
    keep_stamping()
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)  # noqa: FBT003
        for forced, option in _BUFFERS:
            try:
                sock.setsockopt(socket.SOL_SOCKET, forced, _BUFFER)
            except OSError:  # beyond the system's limit: a privilege
                sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DO)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DO)
        enable_timestamps(sock)
        if bind is not None:
            sock.bind(bind.sockaddr)
    except OSError:
        sock.close()
        raise
    return sock


def headers_of(family: int) -> int:
    """Return the octets of IP and UDP header."""
    return IP6_UDP if family == socket.AF_INET6 else IP4_UDP


def payload_of(sock: socket.socket) -> int:
    """Return the longest payload that goes to the peer of a connected socket in one piece."""
    ipv6 = sock.family == socket.AF_INET6
    level, option = (socket.IPPROTO_IPV6, _IPV6_MTU) if ipv6 else (socket.IPPROTO_IP, _IP_MTU)
    mtu = PAYLOAD_MAX + IP4_UDP
    with contextlib.suppress(OSError):
        mtu = min(mtu, sock.getsockopt(level, option))
    return max(PAYLOAD_MIN, mtu - headers_of(sock.family))


def send_token(sock: socket.socket, token: bytes) -> None:
    """Tell the server by a connected socket where trains come from and go to."""
    with contextlib.suppress(OSError):  # what nobody hears is said again
        sock.send(token)


def hear_token(sock: socket.socket, token: bytes, host: str, timeout_s: float) -> bool:
    """Wait for the token from a host, and connect to where it came from; whether it came.

    Datagrams of others are left behind without an answer.
    """
    deadline_s = time.monotonic() + timeout_s
    while (left_s := deadline_s - time.monotonic()) > 0:
        if not select.select([sock], [], [], left_s)[0]:
            return False
        datagram = read_datagram(sock)
        if datagram is None or len(datagram.data) != _HELLO_SIZE or datagram.data != token:
            continue
        if str(datagram.address[0]) == host:
            sock.connect(datagram.address)
            return True
    return False


def send_train(
    sock: socket.socket, token: bytes, number: int, packets: int, payload: int
) -> tuple[int, int]:
    """Send a train as fast as it goes; return how many left, and the time it took in ns.

    Raises:
        OSError: with EMSGSIZE, the payload does not fit the path any more.
    """
    filling = os.urandom(filling_size(payload))  # nothing on the way can make it smaller
    datagrams = [encode_packet(token, number, place, filling) for place in range(packets)]
    sent = 0
    began_ns = time.monotonic_ns()
    for datagram in datagrams:
        try:
            sock.send(datagram)
        except BlockingIOError:
            select.select([], [sock], [], FIRST_S)
            with contextlib.suppress(BlockingIOError):
                sock.send(datagram)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise
            continue  # a full queue, or an ICMP error for one before: it is lost
        sent += 1
    return sent, time.monotonic_ns() - began_ns


def collect_train(
    sock: socket.socket, token: bytes, number: int, packets: int
) -> tuple[tuple[int, int], ...]:
    """Return what arrives of a train: numbers, and times in ns since the first.

    Waits for all of it, or until no more has come for a while. Only datagrams with a kernel's
    time count. Octets of others cannot hold it up: at most ten times a train is read, and not
    for longer than `TRAIN_S`.
    """
    found: dict[int, int] = {}
    wait_s, deadline_s = FIRST_S, time.monotonic() + TRAIN_S
    for _ in range(10 * packets):
        left_s = deadline_s - time.monotonic()
        if len(found) == packets or left_s <= 0:
            break
        if not select.select([sock], [], [], min(wait_s, left_s))[0]:
            break
        try:
            datagram = read_datagram(sock)
        except OSError:
            continue  # an ICMP error for an earlier one
        if datagram is None or datagram.received_ns is None:
            continue
        place = decode_packet(datagram.data, token, number, packets)
        if place is not None and place not in found:
            found[place] = datagram.received_ns
            wait_s = QUIET_S
    if not found:
        return ()
    first_ns = next(iter(found.values()))
    return tuple((place, time_ns - first_ns) for place, time_ns in found.items())


def drain(sock: socket.socket) -> None:
    """Throw away what is still there of trains before."""
    for _ in range(10_000):
        try:
            if read_datagram(sock) is None:
                return
        except OSError:
            continue


def train_of(sent: int, span_ns: int, arrivals: tuple[tuple[int, int], ...]) -> Train:
    """Return a train from what its two ends said; what a peer cannot have got is dropped."""
    kept: dict[int, int] = {}
    for number, time_ns in arrivals:
        if 0 <= number < sent:
            kept.setdefault(number, time_ns)
    return Train(sent, span_ns, tuple(kept.items()))
