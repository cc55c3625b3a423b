"""What carries a trace's packets, and what the two kinds of it share."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final, Protocol

from netslo.route import TraceProtocol
from probes.address import SocketAddress
from probes.trace.answers import Answer, Refusal, Sent
from probes.trace.flow import PACKET_MAX, Flow, new_cookie
from probes.trace.tracing import TracePlan

Find = Callable[[int], Sent | None]

# linux/in.h, linux/in6.h, linux/errqueue.h
MSG_ERRQUEUE: Final = int(socket.MSG_ERRQUEUE)
EXTENDED_ERROR: Final = Struct("=IBBBBII")  # errno, origin, type, code, pad, info, data
ORIGIN_LOCAL, ORIGIN_ICMP, ORIGIN_ICMP6 = 1, 2, 3
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER = 10, 23
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_PMTUDISC_PROBE: Final = 3  # do not fragment, and do not heed what routers said before
RECVERR: Final = frozenset({(socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)})

READS_MAX: Final = 1000  # in a row: a flood must not keep us from sending
PORTS: Final = range(49_152, 65_536)  # RFC 6335: for whoever wants one
_ANCILLARY_SIZE: Final = 512
_DISCARD_PORT: Final = 9


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as it left or came.

    Attributes:
        octets: From the IP header on, or what follows it.
        family: AF_INET or AF_INET6.
        unix_ns: When it came, by the kernel, or was about to leave.
        sent: Whether it left.
        protocol: Number of what follows the IP header.
        headless_from: Who sent what came without its IP header; None: it has one.
        own: Address of this host.
    """

    octets: bytes
    family: int
    unix_ns: int
    sent: bool
    protocol: int
    headless_from: str | None
    own: str


Tap = Callable[[Packet], None]


class Carrier(Protocol):
    """Sends packets of flows to one target, and yields what comes."""

    flows: tuple[Flow, ...]
    one_at_a_time: bool  # a flow may have one packet under way only

    def attach(self, find: Find) -> None:
        """Name who knows what was sent."""

    def send(self, sent: Sent) -> int:
        """Send a packet; return 0 or the number of the error."""

    def read(self) -> Iterator[tuple[Answer | Refusal, int | None]]:
        """Yield what has come, and the Unix time (ns) at which the kernel says that it did."""

    def first_mtu(self) -> int:
        """Return the MTU of the link on which packets leave."""

    def sockets(self) -> list[socket.socket]:
        """Return what to wait at."""

    def close(self) -> None:
        """Release the sockets."""


def new_flows(plan: TracePlan, target: SocketAddress) -> tuple[Flow, ...]:
    """Return the flows of a trace: consecutive source ports, of ICMP identifiers.

    Raises:
        OSError: there is no route to the target.
    """
    source, host = source_towards(target), bare(target.sockaddr[0])
    first = plan.source_port or random.choice(PORTS[: -plan.flows])
    cookie, echo = new_cookie(), plan.protocol is TraceProtocol.ICMP
    return tuple(
        Flow(
            index=index,
            protocol=plan.protocol,
            source=source,
            target=host,
            source_port=first + index,
            target_port=first + index if echo else plan.port,
            dscp=plan.dscp,
            cookie=cookie,
        )
        for index in range(plan.flows)
    )


def source_towards(target: SocketAddress) -> str:
    """Return the address from which packets to the target leave.

    Raises:
        OSError: there is no route.
    """
    host, _, *scope = target.sockaddr
    with socket.socket(target.family, socket.SOCK_DGRAM) as sock:
        sock.connect((host, _DISCARD_PORT, *scope))  # nothing is sent
        return bare(sock.getsockname()[0])


def bare(address: str) -> str:
    """Return an address without its zone."""
    return address.partition("%")[0]


def report_errors(sock: socket.socket) -> None:
    """Have a socket queue errors, never fragment, and never heed a path MTU it was told."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)


def read_errors(sock: socket.socket) -> Iterator[tuple[bytes, list[tuple[int, int, bytes]]]]:
    """Yield what waits in the error queue: the payload quoted, and the ancillary messages."""
    for _ in range(READS_MAX):
        try:
            data, ancillary, _, _ = sock.recvmsg(PACKET_MAX, _ANCILLARY_SIZE, MSG_ERRQUEUE)
        except OSError:
            return
        yield data, ancillary


def local_mtu(sock: socket.socket) -> int | None:
    """Return the MTU which the kernel told when it refused a packet as too big."""
    found = None
    for _, ancillary in read_errors(sock):
        for level, kind, value in ancillary:
            if (level, kind) in RECVERR and len(value) >= EXTENDED_ERROR.size:
                number, origin, _, _, _, info, _ = EXTENDED_ERROR.unpack_from(value)
                if origin == ORIGIN_LOCAL and number == errno.EMSGSIZE:
                    found = info
    return found


def transmit(send: Callable[[], object], sock: socket.socket) -> int:
    """Send; an error that an earlier packet left behind is passed over, and it is sent again."""
    for _ in range(2):
        try:
            send()
        except OSError as error:
            number = error.errno or errno.EIO
            if number not in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH):
                return number
            with contextlib.suppress(OSError):
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        else:
            return 0
    return number
