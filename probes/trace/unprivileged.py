"""Traces without CAP_NET_RAW: UDP sockets, whose error queues tell who answered (IP_RECVERR).

A router need not quote more than the ports, which all packets of a flow have in common. So a flow
has one packet under way at a time, and MPLS labels stay unknown.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final

from netslo.route import TraceProtocol
from probes.address import SocketAddress
from probes.icmp.packet import ICMP, ICMPV6
from probes.sockets import read_datagram, set_traffic_class
from probes.timestamps import RECEIVED, enable_timestamps, stamp_of
from probes.trace.answers import (
    Answer,
    Kind,
    Refusal,
    Sent,
    error_answer,
    trouble_of,
)
from probes.trace.carrier import (
    EXTENDED_ERROR,
    ORIGIN_ICMP,
    ORIGIN_ICMP6,
    READS_MAX,
    RECVERR,
    Find,
    bare,
    local_mtu,
    new_flows,
    read_errors,
    report_errors,
    transmit,
)
from probes.trace.flow import PACKET_MAX, UDP_HEADER, Flow, write_transport
from probes.trace.tracing import TracePlan

_NEEDED: Final = (
    "tracing by {} needs the capability CAP_NET_RAW (root has it); --protocol udp does without"
)
_PORTS_TRIED: Final = 16
_SOCKADDR4: Final = Struct("=HH4s")  # family, port, address
_SOCKADDR6: Final = Struct("=HHI16s")


class UnprivilegedCarrier:
    """Carries flows of UDP, one packet of each at a time.

    Raises:
        PermissionError: another protocol is asked for; the text says what is needed.
        OSError: no route to the target, or a port of `plan` is in use.
    """

    one_at_a_time = True

    def __init__(self, plan: TracePlan, target: SocketAddress) -> None:
        if plan.protocol is not TraceProtocol.UDP:
            raise PermissionError(errno.EPERM, _NEEDED.format(plan.protocol.upper()))
        self.flows, self._sockets = _open(plan, target)
        self._last: dict[int, Sent] = {}  # by flow

    def attach(self, find: Find) -> None:
        """Nobody needs to be asked: the last packet of a flow is the one."""

    def send(self, sent: Sent) -> int:
        sock = self._sockets[sent.flow.index]
        payload = write_transport(sent.flow, sent.number, sent.size)[UDP_HEADER.size :]
        self._last[sent.flow.index] = sent
        try:
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, sent.ttl)
            else:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, sent.ttl)
        except OSError as error:
            return error.errno or errno.EIO
        return transmit(lambda: sock.send(payload), sock)

    def read(self) -> Iterator[tuple[Answer | Refusal, int | None]]:
        for flow, sock in zip(self.flows, self._sockets, strict=True):
            sent = self._last.get(flow.index)
            for payload, ancillary in read_errors(sock):
                if sent is not None:
                    yield _answer(sent, payload, ancillary), _stamp(ancillary)
            yield from self._replies(flow, sock)

    def first_mtu(self) -> int:
        flow = self.flows[0]
        if flow.source == flow.target:
            return PACKET_MAX
        sock = self._sockets[0]
        payload = bytes(PACKET_MAX - flow.size_min)
        if transmit(lambda: sock.send(payload), sock) != errno.EMSGSIZE:
            return PACKET_MAX
        return local_mtu(sock) or PACKET_MAX

    def sockets(self) -> list[socket.socket]:
        return list(self._sockets)

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()

    def _replies(
        self, flow: Flow, sock: socket.socket
    ) -> Iterator[tuple[Answer | Refusal, int | None]]:
        """Yield what something that listens at the port has answered: the target, too."""
        for _ in range(READS_MAX):
            try:
                datagram = read_datagram(sock)
            except OSError:
                continue
            if datagram is None:
                return
            sent = self._last.get(flow.index)
            if sent is not None:
                yield Answer(sent, Kind.REACHED, flow.target), datagram.received_ns


def _open(plan: TracePlan, target: SocketAddress) -> tuple[tuple[Flow, ...], list[socket.socket]]:
    """Return flows and their sockets; where any ports will do, others if some are taken."""
    for attempt in range(_PORTS_TRIED):
        flows = new_flows(plan, target)
        with contextlib.ExitStack() as opened:
            try:
                sockets = [opened.enter_context(_socket(flow, target)) for flow in flows]
            except OSError as error:
                last = attempt == _PORTS_TRIED - 1
                if last or plan.source_port or error.errno != errno.EADDRINUSE:
                    raise
                continue
            opened.pop_all()
            return flows, sockets
    raise AssertionError("the last attempt raises")


def _socket(flow: Flow, target: SocketAddress) -> socket.socket:
    host, _, *scope = target.sockaddr
    sock = socket.socket(target.family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)  # noqa: FBT003
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        set_traffic_class(sock, flow.dscp << 2)
        report_errors(sock)
        enable_timestamps(sock)
        sock.bind((flow.source, flow.source_port, *scope))
        sock.connect((host, flow.target_port, *scope))
    except OSError:
        sock.close()
        raise
    return sock


def _answer(
    sent: Sent, payload: bytes, ancillary: Sequence[tuple[int, int, bytes]]
) -> Answer | Refusal:
    """Return what a message of the error queue says of the last packet of its flow."""
    expected = write_transport(sent.flow, sent.number, sent.size)[UDP_HEADER.size :]
    if payload[: len(expected)] != expected[: len(payload)]:
        return Refusal.NUMBER  # an earlier packet's, as far as it is quoted
    for level, name, value in ancillary:
        if (level, name) not in RECVERR or len(value) < EXTENDED_ERROR.size:
            continue
        _, origin, kind, code, _, info, _ = EXTENDED_ERROR.unpack_from(value)
        address = _offender(value[EXTENDED_ERROR.size :])
        icmp = ICMP if origin == ORIGIN_ICMP else ICMPV6
        trouble = trouble_of(icmp, kind, code)
        if origin in (ORIGIN_ICMP, ORIGIN_ICMP6) and address is not None and trouble is not None:
            return error_answer(sent, trouble, code, info, address)
    return Refusal.OTHER


def _offender(octets: bytes) -> str | None:
    """Return the address in the sockaddr of whoever sent the error."""
    if len(octets) >= _SOCKADDR6.size:
        family, _, _, address = _SOCKADDR6.unpack_from(octets)
        if family == socket.AF_INET6:
            return bare(socket.inet_ntop(socket.AF_INET6, address))
    if len(octets) >= _SOCKADDR4.size:
        family, _, address = _SOCKADDR4.unpack_from(octets)
        if family == socket.AF_INET:
            return socket.inet_ntop(socket.AF_INET, address)
    return None


def _stamp(ancillary: Sequence[tuple[int, int, bytes]]) -> int | None:
    for level, kind, value in ancillary:
        if (level, kind) in RECEIVED:
            return stamp_of(value) or None
    return None
