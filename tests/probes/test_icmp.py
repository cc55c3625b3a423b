"""ICMP echo: its octets against scapy, its judgement against forgers, its sockets on real links."""

from __future__ import annotations

import contextlib
import errno
import json
import pathlib
import random
import select
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import namespaces
from lab.fixtures import pair, require, wan
from lab.link import Link
from lab.namespaces import Namespace, Pair
from lab.wan import Wan
from lab.wan_log import FORWARD, REVERSE, deliveries, rtt_of
from lab.wan_log import select as rows
from scapy.layers.inet import ICMP as SCAPY_ICMP
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.packet import Packet

import probes
from analytics.windows import SeriesKey
from netslo.model import Path
from probes.address import SocketAddress
from probes.icmp.packet import (
    ICMP,
    ICMPV6,
    Echo,
    EchoError,
    OtherMessage,
    Trouble,
    WrongChecksum,
    checksum,
    payload_of_ipv4,
    pseudo_header,
    read_message,
    write_echo,
)
from probes.icmp.sender import Echoed, EchoFault, IcmpSender
from probes.icmp.socket import EchoSocket, open_echo_socket, read_echo
from probes.instant import Instant, read_clocks
from probes.session import Session, SessionPlan
from probes.stamp.events import Discarded, Duplicate, Event, Late
from probes.timestamps import enable_timestamps, read_transmitted

__all__ = ["pair", "wan"]  # fixtures

MS = 1_000_000
TIMEOUT_NS = 1000 * MS
T0 = Instant(1_800_000_000 * 10**9, 50 * 10**9)
IDENTIFIER = 0x1234
PROTOCOLS = {4: ICMP, 6: ICMPV6}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
ALL_GROUPS, NO_GROUP = "0 2147483647", "1 0"
HERE, THERE = {4: "192.0.2.1", 6: "2001:db8::1"}, {4: "192.0.2.2", 6: "2001:db8::2"}
MARK_END = 24  # header, number, random bits

versions = pytest.mark.parametrize("version", [4, 6])
kinds = pytest.mark.parametrize("groups", [ALL_GROUPS, NO_GROUP], ids=["datagram", "raw"])


def later(ms: float) -> Instant:
    return Instant(T0.wall_ns + int(ms * MS), T0.mono_ns + int(ms * MS))


def make_sender(version: int = 4, **options) -> IcmpSender:
    options = {"protocol": PROTOCOLS[version], "identifier": IDENTIFIER} | options
    return IcmpSender(options.pop("timeout_ns", TIMEOUT_NS), **options)


def with_checksum(message: bytes) -> bytes:
    """RFC 1071 §4.1, word by word."""
    message = message[:2] + b"\0\0" + message[4:]
    padded = message + b"\0" * (len(message) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return message[:2] + struct.pack("!H", ~total & 0xFFFF) + message[4:]


def answer(request: bytes, *, cut: int | None = None, **changes: int) -> bytes:
    """Return what a host returns: the request with another type and a checksum of its own."""
    kind, _, _, identifier, sequence = struct.unpack_from("!BBHHH", request)
    fields = {
        "kind": {8: 0, 128: 129}[kind],
        "code": 0,
        "identifier": identifier,
        "sequence": sequence,
    } | changes
    header = struct.pack(
        "!BBHHH", fields["kind"], fields["code"], 0, fields["identifier"], fields["sequence"]
    )
    message = (header + request[8:])[:cut]
    return with_checksum(message) if len(message) >= 4 else message


def scapy_ip(version: int, *, back: bool = False) -> Packet:
    source, destination = HERE[version], THERE[version]
    if back:
        source, destination = destination, source
    if version == 4:
        return IP(src=source, dst=destination, proto=1)
    return IPv6(src=source, dst=destination, nh=58)


def scapy_echo(version: int, *, reply: bool, identifier: int, sequence: int) -> Packet:
    if version == 4:
        return SCAPY_ICMP(type=0 if reply else 8, id=identifier, seq=sequence)
    layer = ICMPv6EchoReply if reply else ICMPv6EchoRequest
    return layer(id=identifier, seq=sequence)


def message_of(packet: Packet) -> bytes:
    """Return the octets behind the IP header of a packet that scapy has built."""
    return bytes(packet)[20 if packet.version == 4 else 40 :]


echoes = {
    "reply": st.booleans(),
    "identifier": st.integers(0, 0xFFFF),
    "sequence": st.integers(0, 0xFFFF),
    "data": st.binary(max_size=80),
}


@versions
@given(**echoes)
def test_scapy_writes_the_same_octets_and_reads_ours(version, reply, identifier, sequence, data):
    head = scapy_echo(version, reply=reply, identifier=identifier, sequence=sequence)
    packet = scapy_ip(version) / head / data
    theirs = message_of(packet)
    echo = Echo(reply, identifier, sequence, data)
    pseudo = b""
    if version == 6:
        pseudo = pseudo_header(HERE[6], THERE[6], len(theirs))
    ours = write_echo(PROTOCOLS[version], echo, pseudo)
    assert ours == theirs
    assert read_message(PROTOCOLS[version], theirs, pseudo) == echo
    read = (SCAPY_ICMP if version == 4 else type(head))(ours)
    assert (read.id, read.seq, read.type) == (identifier, sequence, theirs[0])


@given(st.binary(max_size=300))
def test_the_checksum_is_that_of_the_words_one_by_one(octets):
    message = b"\x08\0\0\0" + octets
    right = with_checksum(message)
    assert checksum(message) == int.from_bytes(right[2:4])
    assert checksum(right) == 0


def test_the_checksum_of_nothing_but_zeros():
    assert checksum(b"") == checksum(bytes(7)) == 0xFFFF
    assert checksum(b"\xff\xff") == 0


ERRORS4 = {
    "no host": (SCAPY_ICMP(type=3, code=1), Trouble.UNREACHABLE, 0),
    "prohibited": (SCAPY_ICMP(type=3, code=13), Trouble.UNREACHABLE, 0),
    "too big": (SCAPY_ICMP(type=3, code=4, nexthopmtu=1280), Trouble.TOO_BIG, 1280),
    "hops": (SCAPY_ICMP(type=11, code=0), Trouble.TIME_EXCEEDED, 0),
    "parameter": (SCAPY_ICMP(type=12, code=0, ptr=20), Trouble.PARAMETER, 20),
}
ERRORS6 = {
    "no host": (ICMPv6DestUnreach(code=3), Trouble.UNREACHABLE, 0),
    "too big": (ICMPv6PacketTooBig(mtu=1280), Trouble.TOO_BIG, 1280),
    "hops": (ICMPv6TimeExceeded(code=0), Trouble.TIME_EXCEEDED, 0),
    "parameter": (ICMPv6ParamProblem(code=1, ptr=40), Trouble.PARAMETER, 40),
}
HOPS = {4: ERRORS4["hops"][0], 6: ERRORS6["hops"][0]}
ERRORS = [
    pytest.param(version, *values, id=f"{name}, IPv{version}")
    for version, errors in ((4, ERRORS4), (6, ERRORS6))
    for name, values in errors.items()
]


def error_about(version: int, head: Packet, quote: bytes) -> bytes:
    return message_of(scapy_ip(version, back=True) / head / quote)


@pytest.mark.parametrize(("version", "head", "trouble", "detail"), ERRORS)
def test_errors_are_read_at_every_length(version, head, trouble, detail):
    protocol = PROTOCOLS[version]
    sender = make_sender(version)
    request = sender.send(T0)
    quote = bytes(scapy_ip(version) / request)
    ip_size = len(quote) - len(request)
    for length in range(len(quote) + 1):
        message = error_about(version, head, quote[:length])
        if length < ip_size + 8:
            with pytest.raises(ValueError):
                read_message(protocol, message)
            assert sender.receive(message, later(1)) == Discarded(EchoFault.SHORT)
            continue
        error = read_message(protocol, message)
        assert isinstance(error, EchoError)
        assert (error.trouble, error.type, error.code) == (trouble, message[0], message[1])
        assert error.detail == detail
        assert error.quoted == Echo(False, IDENTIFIER, 0, request[8 : length - ip_size])
        assert sender.receive(message, later(1)) == Discarded(EchoFault[trouble.name])
        assert sender.in_flight == 1
    for length in range(8):
        assert sender.receive(message[:length], later(1)) == Discarded(EchoFault.SHORT)


@versions
def test_an_extension_behind_the_quote_is_not_taken_for_data(version):
    """RFC 4884 §3: the quote is padded to 128 octets, its length in words of the version."""
    request = make_sender(version, data_size=20).send(T0)
    quote = bytes(scapy_ip(version) / request).ljust(128, b"\0")
    message = bytearray(error_about(version, HOPS[version], b""))
    message[5 if version == 4 else 4] = 128 // (4 if version == 4 else 8)
    extension = struct.pack("!BxHHBBI", 0x20, 0, 8, 1, 1, 0x12345678)
    for tail in (b"", extension, bytes(50)):
        error = read_message(PROTOCOLS[version], with_checksum(bytes(message) + quote + tail))
        assert error.quoted.data == request[8:]
    message[5 if version == 4 else 4] = 5  # shorter than any header
    with pytest.raises(ValueError):
        read_message(PROTOCOLS[version], with_checksum(bytes(message) + quote))


def test_a_quoted_packet_may_have_options_and_extension_headers():
    request = make_sender(4).send(T0)
    quote = bytes(IP(src=HERE[4], dst=THERE[4], options=[b"\x94\x04\0\0"], proto=1) / request)
    error = read_message(ICMP, error_about(4, HOPS[4], quote))
    assert error.quoted.data == request[8:]
    request = make_sender(6).send(T0)
    headers = IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(offset=0, m=1) / IPv6ExtHdrDestOpt(nh=58)
    quote = bytes(IPv6(src=HERE[6], dst=THERE[6]) / headers / request)
    for length in range(40, len(quote)):
        message = error_about(6, HOPS[6], quote[:length])
        with contextlib.nullcontext() if length >= 72 else pytest.raises(ValueError):
            assert read_message(ICMPV6, message).quoted.data == request[8 : length - 64]


@pytest.mark.parametrize(
    ("version", "quote"),
    [
        (4, IP() / UDP() / bytes(30)),
        (4, IP(frag=100) / SCAPY_ICMP(type=8, id=IDENTIFIER)),
        (4, IP() / SCAPY_ICMP(type=0, id=IDENTIFIER)),
        (4, IP() / SCAPY_ICMP(type=3) / bytes(30)),
        (6, IPv6() / UDP() / bytes(30)),
        (6, IPv6() / IPv6ExtHdrFragment(offset=9, nh=58) / bytes(30)),
        (6, IPv6() / ICMPv6EchoReply(id=IDENTIFIER)),
        (6, IPv6() / ICMPv6DestUnreach() / bytes(30)),
    ],
)
def test_errors_about_something_else(version, quote):
    message = error_about(version, HOPS[version], bytes(quote))
    with pytest.raises(OtherMessage):
        read_message(PROTOCOLS[version], message)
    assert make_sender(version).receive(message, T0) == Discarded(EchoFault.OTHER)


@versions
def test_quotes_of_anothers_ping(version):
    sender = make_sender(version)
    request = sender.send(T0)
    changed = bytearray(request)
    changed[20] ^= 1  # of the random bits
    answered = make_sender(version, identifier=IDENTIFIER + 1).send(T0)
    ahead = answer(request, kind=request[0], sequence=1)
    for quote in (bytes(changed), answered, ahead):
        message = error_about(
            version,
            HOPS[version],
            bytes(scapy_ip(version) / quote),
        )
        assert sender.receive(message, later(1)) == Discarded(EchoFault.QUOTE)


@pytest.mark.parametrize("packet", [b"", bytes(20), b"\x45" + bytes(18), b"\x4f" + bytes(30)])
def test_what_is_no_ipv4_packet_has_no_payload(packet):
    with pytest.raises(ValueError):
        payload_of_ipv4(packet)


def test_a_wrong_checksum_over_ipv6_is_known_with_the_addresses():
    pseudo = pseudo_header(HERE[6], THERE[6], 12)
    message = write_echo(ICMPV6, Echo(True, 1, 2, b"data"), pseudo)
    with pytest.raises(WrongChecksum):
        read_message(ICMPV6, message[:-1] + b"b", pseudo)


FORGERIES = {
    "of 7 octets": ({"cut": 7}, EchoFault.SHORT),
    "without the mark's end": ({"cut": MARK_END - 1}, EchoFault.SHORT),
    "that is a request": ({"kind": 8}, EchoFault.OTHER),
    "with a code": ({"code": 1}, EchoFault.OTHER),
    "of a timestamp": ({"kind": 14}, EchoFault.OTHER),
    "of another's ping": ({"identifier": IDENTIFIER ^ 1}, EchoFault.IDENTIFIER),
    "to a packet never sent": ({"sequence": 7}, EchoFault.SEQUENCE),
}


class TestSender:
    @versions
    def test_the_round_trip_is_from_leaving_to_coming(self, version):
        sender = make_sender(version)
        request = sender.send(T0)
        assert len(request) == 8 + 56
        assert sender.next_deadline_ns == T0.mono_ns + TIMEOUT_NS
        assert sender.transmitted(0, T0.wall_ns + 2 * MS)
        event = sender.receive(answer(request), later(10))
        assert isinstance(event, Echoed)
        assert (event.seq, event.rtt_ns, event.rtt_s) == (0, 8 * MS, 0.008)
        assert event.sent == later(2)
        assert not sender.transmitted(0, T0.wall_ns)
        assert (sender.in_flight, sender.next_seq, sender.next_deadline_ns) == (0, 1, None)

    @versions
    def test_further_and_late_replies(self, version):
        sender = make_sender(version)
        first, second, third = (sender.send(later(ms)) for ms in (0, 1, 2))
        assert isinstance(sender.receive(answer(second), later(10)), Echoed)
        assert sender.receive(answer(second), later(11)) == Duplicate(1)
        assert sender.receive(answer(first), later(1000.5)) == Late(0)
        assert sender.in_flight == 2
        assert sender.expire(later(1001)) == [0]
        assert sender.receive(answer(first), later(1500)) == Late(0)
        assert sender.withdraw_all() == [2]
        assert sender.receive(answer(third), later(1500)) == Discarded(EchoFault.SEQUENCE)

    def test_a_packet_that_did_not_leave_is_forgotten(self):
        sender = make_sender()
        request = sender.send(T0)
        sender.withdraw(0)
        assert sender.in_flight == 0
        assert sender.receive(answer(request), later(1)) == Discarded(EchoFault.SEQUENCE)

    @pytest.mark.parametrize(("changes", "reason"), FORGERIES.values(), ids=FORGERIES.keys())
    def test_a_forged_reply_consumes_nothing(self, changes, reason):
        sender = make_sender()
        request = sender.send(T0)
        assert sender.receive(answer(request, **changes), later(10)) == Discarded(reason)
        assert isinstance(sender.receive(answer(request), later(10)), Echoed)

    @versions
    def test_a_guessed_mark(self, version):
        sender = make_sender(version)
        request = sender.send(T0)
        for place in range(16, MARK_END):
            forged = bytearray(answer(request))
            forged[place] ^= 0x10
            event = sender.receive(with_checksum(bytes(forged)), later(10))
            assert event == Discarded(EchoFault.MARK)
        forged[8] ^= 1  # the number of a packet never sent
        event = sender.receive(with_checksum(bytes(forged)), later(10))
        assert event == Discarded(EchoFault.SEQUENCE)
        assert sender.in_flight == 1

    def test_a_reply_that_came_before_its_request_left(self):
        sender = make_sender()
        request = sender.send(T0)
        assert sender.receive(answer(request), later(-0.06)) == Discarded(EchoFault.EARLY)
        event = sender.receive(answer(request), later(-0.04))  # the clocks' noise
        assert event.rtt_ns == 0

    def test_a_reply_may_be_cut_behind_the_mark_or_be_longer(self):
        for cut, tail in ((MARK_END, b""), (None, b"trailer")):
            sender = make_sender()
            reply = with_checksum(answer(sender.send(T0), cut=cut) + tail)
            assert isinstance(sender.receive(reply, later(1)), Echoed)

    @versions
    def test_sequence_numbers_wrap_and_stale_replies_are_known(self, version):
        sender = make_sender(version, memory=100)
        stale = sender.send(T0)
        for seq in range(1, 0x10000):
            sender.send(T0)
            sender.withdraw(seq)
        assert sender.next_seq == 0x10000
        fresh = sender.send(later(1))
        assert stale[6:8] == fresh[6:8] == b"\0\0"
        assert isinstance(sender.receive(answer(stale), later(2)), Echoed)
        assert sender.receive(answer(stale), later(2)) == Duplicate(0)
        for _ in range(100):
            sender.receive(answer(sender.send(later(2))), later(3))
        assert sender.receive(answer(stale), later(4)) == Discarded(EchoFault.SEQUENCE)
        event = sender.receive(answer(fresh), later(11))
        assert (event.seq, event.rtt_ns) == (0x10000, 10 * MS)

    @versions
    def test_all_packets_of_a_session_have_one_checksum(self, version):
        sender = make_sender(version)
        pseudo = pseudo_header(HERE[6], THERE[6], 64) if version == 6 else b""
        sender._next_seq = 0xFFF0
        requests = [sender.send(T0) for _ in range(300)]
        assert len(set(requests)) == 300
        sums = {checksum(pseudo + request[:2] + b"\0\0" + request[4:]) for request in requests}
        assert len(sums) == 1

    def test_identifiers_are_random(self):
        assert len({IcmpSender(TIMEOUT_NS).identifier for _ in range(20)}) > 10


@versions
@settings(max_examples=500)
@given(data=st.data())
def test_no_mutation_of_a_reply_passes(version, data):
    sender = make_sender(version)
    requests = [sender.send(T0) for _ in range(3)]
    right = answer(requests[-1])
    changed = bytearray(right)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    octets = bytes(changed)[: data.draw(st.integers(0, 80))] + data.draw(st.binary(max_size=4))
    if data.draw(st.booleans()) and len(octets) >= 4:
        octets = with_checksum(octets)
    event = sender.receive(octets, later(1))
    if isinstance(event, Echoed):
        assert octets[:2] + octets[4:MARK_END] == right[:2] + right[4:MARK_END]
        if version == 4:
            assert octets == with_checksum(octets)
    else:
        assert isinstance(event, Discarded)
        assert sender.in_flight == 3


@versions
def test_a_hundred_thousand_random_datagrams(version):
    sender = make_sender(version)
    requests = [sender.send(T0) for _ in range(100)]
    chance = random.Random(version)
    protocol = PROTOCOLS[version]
    ip_headers = {4: bytes(scapy_ip(4) / bytes(64))[:20], 6: bytes(scapy_ip(6) / bytes(64))[:40]}
    types = [protocol.reply, protocol.request, *protocol.errors]
    seen: Counter[str] = Counter()
    for _ in range(100_000):
        octets = bytearray(chance.randbytes(chance.choice((4, 8, 23, 24, 40, 64, 130))))
        depth = chance.randrange(6)
        if depth > 0:
            octets[:2] = bytes((chance.choice(types), 0))
        if depth > 1:
            octets[4:6] = IDENTIFIER.to_bytes(2)
        if depth > 2:  # the far end is known to have sent some
            octets[6:16] = requests[chance.randrange(100)][6:16]
        if depth > 3 and octets[0] in protocol.errors:
            quoted = bytearray(chance.choice(requests)[: chance.randrange(64)])
            if quoted and chance.random() < 0.5:
                quoted[chance.randrange(len(quoted))] ^= 1
            octets[8:] = ip_headers[version] + quoted
        datagram = with_checksum(bytes(octets)) if chance.random() < 0.9 else bytes(octets)
        event = sender.receive(datagram, later(1))
        assert isinstance(event, Discarded)
        seen[event.reason.value] += 1
    assert sender.in_flight == 100
    reasons = set(EchoFault) - {EchoFault.EARLY}
    if version == 6:
        reasons -= {EchoFault.CHECKSUM}  # the kernel's
    else:
        reasons -= {EchoFault.TOO_BIG}  # it has a code
    assert {fault for fault in reasons if fault.value not in seen} == set()


class TestSession:
    """What is due adds up in a session that knows nothing of ICMP."""

    def test_every_packet_is_settled_once(self):
        plan = SessionPlan(SeriesKey(Path("a", "b", "ef")), 100 * MS, TIMEOUT_NS)
        session = Session(plan, T0, phase_ns=0, count=400, sender=make_sender())
        chance = random.Random(1)
        fates: Counter[str] = Counter()
        arriving: list[tuple[int, int, bytes]] = []
        at_ms = 0
        while not session.finished:
            now = later(at_ms)
            for due in session.take_due(now):
                seq, request = session.transmit(due, now)
                fate = chance.choice(["answered", "answered", "lost", "late", "twice", "unsent"])
                fates[fate] += 1
                if fate == "unsent":
                    session.withdraw(seq)
                elif fate != "lost":
                    delay_ms = 1200 if fate == "late" else chance.randrange(10, 300)
                    copies = 2 if fate == "twice" else 1
                    arriving += [(at_ms + delay_ms, seq, answer(request))] * copies
            for when, _, reply in sorted(x for x in arriving if x[0] <= at_ms):
                session.receive(reply, later(when))
            arriving = [x for x in arriving if x[0] > at_ms]
            session.settle(now)
            at_ms += 10
        totals = session.totals
        assert totals.answered == fates["answered"] + fates["twice"]
        assert totals.lost == fates["lost"] + fates["late"]
        assert totals.unmeasured == fates["unsent"]
        assert totals.duplicates == fates["twice"]
        assert totals.due == 400


@dataclass
class Exchange:
    """What came of some requests on a real socket."""

    events: list[Event] = field(default_factory=list)
    errors: Counter[int] = field(default_factory=Counter)
    stamped: int = 0  # requests of which the kernel told when they left
    came_stamped: int = 0
    ttls: set[int | None] = field(default_factory=set)
    classes: set[int | None] = field(default_factory=set)

    @property
    def rtt_ns(self) -> dict[int, int]:
        return {event.seq: event.rtt_ns for event in self.events if isinstance(event, Echoed)}


def address(version: int, host: str) -> SocketAddress:
    return SocketAddress(FAMILIES[version], (host, 862, 0, 0)[: 2 if version == 4 else 4])


def ping(
    sock: EchoSocket,
    sender: IcmpSender,
    count: int,
    gap_s: float = 0.002,
    wait_s: float = 0.3,
    settle: Callable[[], None] = lambda: None,
) -> Exchange:
    """Send requests, wait until the network has settled, and read what comes in a while."""
    exchange = Exchange()
    sender.bind(sock.protocol, sock.identifier)
    assert enable_timestamps(sock, transmit=True)
    for _ in range(count):
        sock.send(sender.send(read_clocks()))
        take_in(sock, sender, exchange, gap_s)
    settle()
    until = time.monotonic() + wait_s
    while (left_s := until - time.monotonic()) > 0:
        take_in(sock, sender, exchange, left_s)
    return exchange


def take_in(sock: EchoSocket, sender: IcmpSender, exchange: Exchange, wait_s: float) -> None:
    select.select([sock], [], [], wait_s)
    came = []
    while True:
        try:
            datagram = read_echo(sock)
        except OSError as error:
            exchange.errors[error.errno] += 1
            continue
        if datagram is None:
            break
        came.append((datagram, read_clocks()))
    for number, left_ns in read_transmitted(sock):  # requests are numbered as the kernel's are
        exchange.stamped += 1
        sender.transmitted(number, left_ns)
    for datagram, now in came:
        exchange.ttls.add(datagram.ttl)
        exchange.classes.add(datagram.traffic_class)
        exchange.came_stamped += datagram.received_ns is not None
        arrival = now if datagram.received_ns is None else now.at_wall(datagram.received_ns)
        exchange.events.append(sender.receive(datagram.data, arrival))


@contextlib.contextmanager
def open_in(
    namespace: Namespace, version: int, host: str, groups: str, dscp: int = 0
) -> Iterator[EchoSocket]:
    """Open a socket where these groups may have datagram ones."""
    namespace.set_sysctl("net.ipv4.ping_group_range", groups)
    with namespace.inside():
        sock = open_echo_socket(address(version, host), dscp)
    with sock:
        assert sock.raw == (groups == NO_GROUP)
        yield sock


@pytest.fixture
def alone() -> Iterator[Namespace]:
    require(namespaces.available())
    with Namespace("alone") as namespace:
        yield namespace


@versions
@kinds
def test_loopback_answers_with_both_stamps_of_the_kernel(alone, version, groups):
    with open_in(alone, version, LOOPBACK[version], groups, dscp=46) as sock:
        ping(sock, make_sender(), 5)  # the kernel's stamps begin a moment after they are asked for
        exchange = ping(sock, sender := make_sender(), 50)
    assert sender.identifier == sock.identifier
    assert sorted(exchange.rtt_ns) == list(range(50))
    assert len(exchange.events) == 50
    assert exchange.stamped == exchange.came_stamped == 50
    assert (exchange.ttls, exchange.classes) == ({64}, {46 << 2})
    assert 0 < np.median(list(exchange.rtt_ns.values())) < MS


@versions
@kinds
def test_what_is_on_the_wire_is_what_we_meant(alone, version, groups):
    protocol = PROTOCOLS[version]
    with alone.inside():
        watcher = socket.socket(FAMILIES[version], socket.SOCK_RAW, protocol.number)
    with watcher, open_in(alone, version, LOOPBACK[version], groups) as sock:
        watcher.settimeout(0.2)
        ping(sock, make_sender(), 20)
        seen = []
        with contextlib.suppress(TimeoutError):
            while True:
                seen.append(watcher.recv(2000))
    if version == 4:
        seen = [payload_of_ipv4(packet) for packet in seen]
    pseudo = pseudo_header("::1", "::1", 64) if version == 6 else b""
    echoes = [read_message(protocol, message, pseudo) for message in seen]
    assert [(echo.reply, echo.sequence) for echo in echoes] == [
        (reply, sequence) for sequence in range(20) for reply in (False, True)
    ]
    assert {echo.identifier for echo in echoes} == {sock.identifier}
    assert len({message[2:4] for message in seen[::2]}) == 1


@versions
@kinds
def test_others_pings_do_not_reach_our_socket(alone, version, groups):
    host = LOOPBACK[version]
    with (
        open_in(alone, version, host, groups) as ours,
        open_in(alone, version, host, groups) as other,
    ):
        theirs = ping(other, make_sender(version), 20)
        exchange = ping(ours, make_sender(version), 10)
    assert len(theirs.rtt_ns) == 20
    assert [type(event) for event in exchange.events] == [Echoed] * 10


@versions
@kinds
@pytest.mark.parametrize("case", ["calm", "copies and losses"])
def test_through_a_wan_every_round_trip_is_that_of_the_log(
    wan: Wan, version: int, groups: str, case: str
) -> None:
    count = 200
    if case != "calm":
        wan.change(Link(delay_s=0.01, p=0.05, r=0.5, duplicate=0.2, reorder=0.1))
    sender = make_sender(version, timeout_ns=60_000 * MS)
    with open_in(wan.a.namespace, version, wan.b.address(version), groups, dscp=34) as sock:
        exchange = ping(sock, sender, count, settle=wan.settle)
    log = rows(wan.log(), protocol=sender.protocol.number, version=version)
    log = log[log["sequence"] >> 16 == sock.identifier]
    keys, true_ns = rtt_of(log)
    found = exchange.rtt_ns
    assert sorted(found) == (keys & 0xFFFF).tolist()
    assert set(rows(log, direction=FORWARD)["dscp"]) == {34}
    # Every reply that the emulator delivered is an answer or a further one.
    events = Counter(type(event) for event in exchange.events)
    assert set(events) <= {Echoed, Duplicate}
    assert events.total() == len(deliveries(log, REVERSE))
    assert exchange.stamped == count
    if case != "calm":
        assert 0 < len(found) < count
        assert events[Duplicate] > 0
        return
    over_ns = np.array([found[key & 0xFFFF] for key in keys.tolist()]) - true_ns
    print("over the log, us:", np.percentile(over_ns / 1e3, [0, 50, 99, 100]).round(1))
    assert over_ns.min() > 0  # the log begins later and ends earlier
    # A busy host holds up some packets between emulator and kernel, never all of them.
    assert np.quantile(over_ns, 0.1) < MS
    assert min(found.values()) == pytest.approx(true_ns.min(), rel=0.05)


@versions
@kinds
def test_a_host_that_does_not_answer_loses_everything(pair: Pair, version, groups, patient):
    ignore = "net.ipv4.icmp_echo_ignore_all" if version == 4 else "net.ipv6.icmp.echo_ignore_all"
    pair.b.namespace.set_sysctl(ignore, 1)
    plan = SessionPlan(SeriesKey(Path("a", "b", "ef")), 5 * MS, 100 * MS)
    sender = IcmpSender(plan.timeout_ns)
    with open_in(pair.a.namespace, version, pair.b.address(version), groups) as sock:
        sender.bind(sock.protocol, sock.identifier)
        session = Session(plan, read_clocks(), phase_ns=0, count=20, sender=sender)
        while not session.finished:
            now = read_clocks()
            for due in session.take_due(now):
                _, request = session.transmit(due, now)
                sock.send(request)
            assert read_echo(sock) is None
            session.settle(now)
            time.sleep(0.002)
    assert session.totals.answered == 0
    assert session.totals.lost == 20


@kinds
def test_a_firewalls_refusal_is_an_error_of_the_socket(pair: Pair, groups) -> None:
    """A route that prohibits: the far end's host says so by ICMP, and the socket is told."""
    pair.b.namespace.set_sysctl("net.ipv4.ip_forward", 1)
    pair.b.namespace.ip("route", "add", "prohibit", "198.51.100.0/24")
    pair.a.namespace.ip("route", "add", "198.51.100.0/24", "via", pair.b.address4)
    with open_in(pair.a.namespace, 4, "198.51.100.1", groups) as sock:
        exchange = ping(sock, sender := make_sender(), 3, gap_s=0.05)
    assert exchange.errors[errno.EHOSTUNREACH] >= 1
    assert not exchange.events
    assert sender.in_flight == 3


@versions
def test_without_a_route_there_is_no_socket(alone, version):
    with alone.inside(), pytest.raises(OSError) as raised:
        open_echo_socket(address(version, THERE[version]), 0)
    assert raised.value.errno in {errno.ENETUNREACH, errno.EADDRNOTAVAIL}


CHILD = """
import json, os, socket, sys
sys.path[:0] = {path!r}
from probes.address import SocketAddress
from probes.icmp.sender import IcmpSender
from probes.icmp.socket import open_echo_socket, read_echo
from probes.instant import read_clocks
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
said = {{}}
for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
    try:
        sock = open_echo_socket(SocketAddress(family, (host, 0)), 46)
    except PermissionError as error:
        said[host] = error.strerror
        continue
    sender = IcmpSender(60 * 10**9)
    sender.bind(sock.protocol, sock.identifier)
    sock.settimeout(60)
    names = []
    for _ in range(5):
        sock.send(sender.send(read_clocks()))
        names.append(type(sender.receive(read_echo(sock).data, read_clocks())).__name__)
    said[host] = [sock.raw, names]
print(json.dumps(said))
"""


def as_nobody(namespace: Namespace) -> dict[str, object]:
    folders = {str(pathlib.Path(module.__file__).parents[1]) for module in (probes, np)}
    child = CHILD.format(path=sorted(folders))
    return json.loads(namespace.run(sys.executable, "-c", child).stdout)


def test_nobody_may_ping_where_the_groups_allow_it(alone):
    alone.set_sysctl("net.ipv4.ping_group_range", "65534 65534")
    assert as_nobody(alone) == {host: [False, ["Echoed"] * 5] for host in LOOPBACK.values()}


def test_where_nothing_is_allowed_the_error_says_what_is_needed(alone):
    alone.set_sysctl("net.ipv4.ping_group_range", "100 200")
    said = as_nobody(alone)
    assert set(said) == set(LOOPBACK.values())
    for text in said.values():
        assert "net.ipv4.ping_group_range (now 100 to 200)" in text
        assert "group of this process (65534)" in text
        assert "CAP_NET_RAW" in text
