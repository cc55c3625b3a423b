"""Traces by raw sockets: whole IP packets leave, and every ICMP message of the host is seen.

Needs CAP_NET_RAW. For each flow a socket holds its port, so that no other program has it meanwhile,
and the kernel does not complain to the target about answers: it does reset what a SYN began.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Callable, Iterator
from typing import Final

from netslo.route import TraceProtocol
from probes.address import SocketAddress
from probes.icmp.packet import ICMP, ICMPV6, payload_of_ipv4
from probes.icmp.socket import admit_tcp_flags, admit_types
from probes.sockets import RECEIVE_BUFFER, read_datagram
from probes.timestamps import enable_timestamps
from probes.trace.answers import Answer, AnswerReader, Refusal, Sent
from probes.trace.carrier import (
    READS_MAX,
    Find,
    Packet,
    Tap,
    bare,
    local_mtu,
    new_flows,
    read_errors,
    report_errors,
    transmit,
)
from probes.trace.flow import PACKET_MAX, SYN, Flow, write_packet
from probes.trace.tracing import TracePlan

_RST: Final = 0x04
_IPPROTO_RAW: Final = 255


class RawCarrier:
    """Carries flows of any protocol, many packets at once.

    Raises:
        PermissionError: this process has no CAP_NET_RAW.
        OSError: no route to the target, or its family is not usable.
    """

    one_at_a_time = False

    def __init__(self, plan: TracePlan, target: SocketAddress, tap: Tap | None = None) -> None:
        self.flows: tuple[Flow, ...] = new_flows(plan, target)
        self._tap = tap
        self._local = self.flows[0].source == self.flows[0].target
        self._destination = (target.sockaddr[0], 0, *target.sockaddr[2:])
        self._reader: AnswerReader | None = None
        with contextlib.ExitStack() as opened:
            self._out = opened.enter_context(
                socket.socket(target.family, socket.SOCK_RAW, _IPPROTO_RAW)
            )
            self._out.setblocking(False)  # noqa: FBT003
            report_errors(self._out)
            self._icmp = opened.enter_context(_icmp_socket(target.family, plan.protocol))
            self._tcp = None
            if plan.protocol is TraceProtocol.TCP:
                self._tcp = opened.enter_context(_tcp_socket(target.family))
            for flow in self.flows:
                _hold_port(flow, target, opened)
            self._opened = opened.pop_all()

    def attach(self, find: Find) -> None:
        self._reader = AnswerReader(self.flows, find)

    def send(self, sent: Sent) -> int:
        flow = sent.flow
        packet = write_packet(flow, sent.number, sent.ttl, sent.size)
        unix_ns = time.time_ns()
        error = transmit(lambda: self._out.sendto(packet, self._destination), self._out)
        if self._tap is not None and not error:
            self._tap(
                Packet(
                    octets=packet,
                    family=self._out.family,
                    unix_ns=unix_ns,
                    sent=True,
                    protocol=flow.protocol_number,
                    headless_from=None,
                    own=flow.source,
                )
            )
        return error

    def read(self) -> Iterator[tuple[Answer | Refusal, int | None]]:
        assert self._reader is not None
        yield from self._read(self._icmp, self._reader.read_icmp)
        if self._tcp is not None:
            yield from self._read(self._tcp, self._reader.read_tcp)
        for _ in read_errors(self._out):
            pass  # packets that were too big, as `send` has said

    def first_mtu(self) -> int:
        if self._local:
            return PACKET_MAX
        flow = self.flows[0]
        if self.send(Sent(flow, 0, 1, PACKET_MAX)) != errno.EMSGSIZE:
            return PACKET_MAX
        return local_mtu(self._out) or PACKET_MAX

    def sockets(self) -> list[socket.socket]:
        return [self._icmp] if self._tcp is None else [self._icmp, self._tcp]

    def close(self) -> None:
        self._opened.close()

    def _read(
        self, sock: socket.socket, read: Callable[[bytes, str], Answer | Refusal]
    ) -> Iterator[tuple[Answer | Refusal, int | None]]:
        for _ in range(READS_MAX):
            try:
                datagram = read_datagram(sock, PACKET_MAX)
            except OSError:  # of another's packet
                continue
            if datagram is None:
                return
            octets, sender = datagram.data, bare(datagram.address[0])
            if self._tap is not None:
                headless = None if sock.family == socket.AF_INET else sender
                self._tap(
                    Packet(
                        octets=octets,
                        family=sock.family,
                        unix_ns=datagram.received_ns or time.time_ns(),
                        sent=False,
                        protocol=sock.proto,
                        headless_from=headless,
                        own=self.flows[0].source,
                    )
                )
            if sock.family == socket.AF_INET:
                try:
                    octets = payload_of_ipv4(octets)
                except ValueError:  # never seen, for the kernel has read this header
                    continue
            yield read(octets, sender), datagram.received_ns


def _icmp_socket(family: int, protocol: TraceProtocol) -> socket.socket:
    icmp = ICMPV6 if family == socket.AF_INET6 else ICMP
    sock = _receiving(family, icmp.number)
    types = list(icmp.errors)
    if protocol is TraceProtocol.ICMP:
        types.append(icmp.reply)
    return _filtered(sock, lambda: admit_types(sock, types))


def _tcp_socket(family: int) -> socket.socket:
    sock = _receiving(family, socket.IPPROTO_TCP)
    return _filtered(sock, lambda: admit_tcp_flags(sock, SYN | _RST))


def _receiving(family: int, protocol: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_RAW, protocol)
    sock.setblocking(False)  # noqa: FBT003
    return sock


def _filtered(sock: socket.socket, admit: Callable[[], None]) -> socket.socket:
    """Let through what is worth reading only; of what came before the filter, forget all."""
    try:
        admit()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        enable_timestamps(sock)
        for _ in range(READS_MAX):
            if read_datagram(sock) is None:
                break
    except OSError:
        sock.close()
        raise
    return sock


def _hold_port(flow: Flow, target: SocketAddress, opened: contextlib.ExitStack) -> None:
    """Keep a flow's port; a port in use elsewhere serves as well, for answers are compared."""
    if flow.protocol is TraceProtocol.ICMP:
        return
    udp = flow.protocol is TraceProtocol.UDP
    sock = socket.socket(target.family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
    opened.enter_context(sock)
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        scope = target.sockaddr[2:]
        sock.bind((flow.source, flow.source_port, *scope))
        if udp:
            sock.connect((target.sockaddr[0], flow.target_port, *scope))
