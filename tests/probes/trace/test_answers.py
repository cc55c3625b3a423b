"""ICMP errors and other answers, written by scapy; and what is none, of whatever kind."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.contrib.mpls import MPLS, ICMPExtension_MPLS
from scapy.layers.inet import ICMP, IP, TCP, ICMPExtension_Header
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
)

from netslo.route import Label, TraceProtocol
from probes.trace.answers import Answer, AnswerReader, Kind, Refusal, Sent
from probes.trace.flow import Flow, write_packet

from .conftest import KINDS, ROUTER, new_flow, sibling

every_flow = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
busy = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
SIZE_MAX = 1 << 11


def reader_of(sent: Sent) -> AnswerReader:
    flows = (sent.flow, sibling(sent.flow))
    return AnswerReader(flows, lambda number: sent if number == sent.number else None)


def sent_in(flow: Flow, number: int = 4711, ttl: int = 3, size: int = 0) -> Sent:
    return Sent(flow, number, ttl, size)


def error(sent: Sent, kind: str, code: int = 0, mtu: int = 0, quote: bytes | None = None) -> bytes:
    """Return an ICMP error about a packet, as scapy writes it."""
    quoted = packet(sent) if quote is None else quote
    if sent.flow.version == 4:
        types = {"exceeded": 11, "unreachable": 3, "too big": 3, "parameter": 12}
        message = ICMP(type=types[kind], code=4 if kind == "too big" else code)
        if kind == "too big":
            message.nexthopmtu = mtu
        return bytes(message / quoted)
    makers = {
        "exceeded": lambda: ICMPv6TimeExceeded(code=code),
        "unreachable": lambda: ICMPv6DestUnreach(code=code),
        "too big": lambda: ICMPv6PacketTooBig(mtu=mtu),
    }
    whole = IPv6(src=ROUTER[6], dst=sent.flow.source) / makers[kind]() / quoted
    return bytes(whole)[40:]


def packet(sent: Sent) -> bytes:
    """Return the packet as a router sees it whose TTL has come to its end."""
    octets = write_packet(sent.flow, sent.number, 1, sent.size)
    return bytes(IP(octets)) if sent.flow.version == 4 else octets


def extended(sent: Sent, labels: list[Label], *, announced: bool) -> bytes:
    """Return a time exceeded message with a label stack behind its quote (RFC 4884, RFC 4950)."""
    stack = [MPLS(label=x.value, cos=x.traffic_class, s=x.bottom, ttl=x.ttl) for x in labels]
    extension = bytes(ICMPExtension_Header() / ICMPExtension_MPLS(stack=stack))
    quote = packet(sent).ljust(128, b"\0")
    if sent.flow.version == 4:
        plain = bytes(ICMP(type=11, length=32 if announced else 0) / quote) + extension
        message = bytearray(plain)
        message[2:4] = bytes(2)
        message[2:4] = bytes(ICMP(bytes(message)))[2:4]
        return right_checksum(bytes(message))
    head = struct.pack("!BBHB3x", 3, 0, 0, 16 if announced else 0)
    return head + quote + extension


def right_checksum(message: bytes) -> bytes:
    """Return an ICMP message of IPv4 with its checksum (RFC 1071, by addition)."""
    octets = message[:2] + bytes(2) + message[4:]
    octets += b"\0" * (len(octets) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return message[:2] + struct.pack("!H", total ^ 0xFFFF) + message[4:]


def test_a_router_where_the_ttl_ends(flow: Flow) -> None:
    sent = sent_in(flow)
    router = ROUTER[flow.version]
    found = reader_of(sent).read_icmp(error(sent, "exceeded"), router)
    assert found == Answer(sent, Kind.EXCEEDED, router)


@pytest.mark.parametrize("octets", [8, 9, 12, 28])
def test_eight_octets_of_the_payload_are_enough(flow: Flow, octets: int) -> None:
    sent = sent_in(flow)
    cut = packet(sent)[: (20 if flow.version == 4 else 40) + octets]
    found = reader_of(sent).read_icmp(error(sent, "exceeded", quote=cut), ROUTER[flow.version])
    assert isinstance(found, Answer)
    short = reader_of(sent).read_icmp(error(sent, "exceeded", quote=cut[: -octets + 7]), "x")
    assert short is Refusal.QUOTE_SHORT


@pytest.mark.parametrize(
    ("version", "code", "mark"),
    [
        (4, 0, "!N"),
        (4, 1, "!H"),
        (4, 2, "!P"),
        (4, 3, "!U"),
        (4, 9, "!X"),
        (4, 13, "!X"),
        (4, 15, "!C"),
        (4, 99, "!99"),
        (6, 0, "!N"),
        (6, 1, "!X"),
        (6, 3, "!H"),
        (6, 4, "!U"),
        (6, 6, "!X"),
    ],
)
def test_unreachable_has_a_name_and_of_the_target_means_reached(
    version: int, code: int, mark: str
) -> None:
    sent = sent_in(new_flow(version, TraceProtocol.UDP))
    message = error(sent, "unreachable", code)
    router = reader_of(sent).read_icmp(message, ROUTER[version])
    assert router == Answer(sent, Kind.UNREACHABLE, ROUTER[version], mark)
    target = reader_of(sent).read_icmp(message, sent.flow.target)
    said = "" if mark == "!U" else mark
    assert target == Answer(sent, Kind.REACHED, sent.flow.target, said)


@pytest.mark.parametrize(
    ("version", "told", "found"),
    [
        (4, 1400, 1400),
        (4, 68, 68),
        (4, 0, None),
        (4, 67, Refusal.MTU),
        (6, 1280, 1280),
        (6, 1279, Refusal.MTU),
        (6, 0, Refusal.MTU),
        (6, 1 << 30, Refusal.MTU),
    ],
)
def test_too_big_tells_an_mtu_that_can_be(
    version: int, told: int, found: int | Refusal | None
) -> None:
    sent = sent_in(new_flow(version, TraceProtocol.UDP), size=1500)
    answer = reader_of(sent).read_icmp(error(sent, "too big", mtu=told), ROUTER[version])
    if isinstance(found, Refusal):
        assert answer is found
    else:
        assert answer == Answer(sent, Kind.TOO_BIG, ROUTER[version], mtu=found)


def test_an_echo_reply_of_the_target() -> None:
    for version in (4, 6):
        sent = sent_in(new_flow(version, TraceProtocol.ICMP))
        asked = write_packet(sent.flow, sent.number, 64)
        if version == 4:
            request = IP(asked)[ICMP]
            request.type, request.chksum = 0, None
            reply = bytes(request)
        else:
            request = IPv6(asked)
            body = ICMPv6EchoReply(id=request.id, seq=request.seq, data=request.data)
            reply = bytes(IPv6(src=sent.flow.target, dst=sent.flow.source) / body)[40:]
        reader = reader_of(sent)
        assert reader.read_icmp(reply, sent.flow.target) == Answer(
            sent, Kind.REACHED, sent.flow.target
        )
        assert reader.read_icmp(reply, ROUTER[version]) is Refusal.OTHER
        other = reply[:-1] + bytes([reply[-1] ^ 1])
        other = right_checksum(other) if version == 4 else other
        assert reader.read_icmp(other, sent.flow.target) is Refusal.QUOTE_DIFFERS


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("flags", ["SA", "RA", "R", "S", "A", "FA"])
@pytest.mark.parametrize("size", [0, 1500])
def test_answers_of_tcp(version: int, flags: str, size: int) -> None:
    sent = sent_in(new_flow(version, TraceProtocol.TCP), size=size)
    octets = write_packet(sent.flow, sent.number, 64, size)
    syn = (IP if version == 4 else IPv6)(octets)[TCP]
    carried = len(syn.payload)
    for acknowledged in {1, 1 + carried}:
        answer = TCP(
            sport=syn.dport, dport=syn.sport, flags=flags, seq=7, ack=syn.seq + acknowledged
        )
        found = reader_of(sent).read_tcp(bytes(answer), sent.flow.target)
        if flags in ("SA", "RA"):
            assert found == Answer(sent, Kind.REACHED, sent.flow.target)
        else:
            assert found is Refusal.OTHER
    blind = TCP(sport=syn.dport, dport=syn.sport, flags="RA", ack=syn.seq + 2 + carried)
    assert isinstance(reader_of(sent).read_tcp(bytes(blind), sent.flow.target), Refusal)
    assert reader_of(sent).read_tcp(bytes(blind), ROUTER[version]) is Refusal.OTHER


LABELS = st.lists(
    st.builds(
        Label,
        st.integers(0, (1 << 20) - 1),
        st.integers(0, 7),
        st.booleans(),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=6,
)


@every_flow
@given(labels=LABELS, announced=st.booleans())
def test_the_labels_that_scapy_writes(flow: Flow, labels: list[Label], *, announced: bool) -> None:
    sent = sent_in(flow)
    message = extended(sent, labels, announced=announced)
    found = reader_of(sent).read_icmp(message, ROUTER[flow.version])
    assert found == Answer(sent, Kind.EXCEEDED, ROUTER[flow.version], labels=tuple(labels[:3]))


def test_a_broken_extension_costs_the_labels_only(flow: Flow) -> None:
    sent = sent_in(flow)
    message = extended(sent, [Label(16001)], announced=True)
    for place in range(8 + 128, len(message)):
        broken = message[:place] + bytes([message[place] ^ 0x55]) + message[place + 1 :]
        broken = right_checksum(broken) if flow.version == 4 else broken
        found = reader_of(sent).read_icmp(broken, ROUTER[flow.version])
        assert isinstance(found, Answer)
        assert (found.kind, found.labels, found.fault) == ((Kind.EXCEEDED, (), Refusal.EXTENSION))


def test_a_quote_longer_than_its_message(flow: Flow) -> None:
    sent = sent_in(flow)
    message = bytearray(error(sent, "exceeded"))
    message[5 if flow.version == 4 else 4] = 0xFF
    octets = right_checksum(bytes(message)) if flow.version == 4 else bytes(message)
    assert reader_of(sent).read_icmp(octets, "x") is Refusal.QUOTE_LENGTH


def test_what_differs_from_what_was_sent_is_refused(flow: Flow) -> None:
    sent = sent_in(flow)
    octets = packet(sent)
    start = 20 if flow.version == 4 else 40
    for place in range(start, start + 8):
        wrong = octets[:place] + bytes([octets[place] ^ 1]) + octets[place + 1 :]
        found = reader_of(sent).read_icmp(error(sent, "exceeded", quote=wrong), "x")
        assert isinstance(found, Refusal), place
    unknown = reader_of(sent).read_icmp(error(replace(sent, number=4712), "exceeded"), "x")
    assert unknown is Refusal.NUMBER
    crossed = reader_of(sent).read_icmp(error(replace(sent, flow=sibling(flow)), "exceeded"), "x")
    assert crossed is Refusal.NUMBER
    elsewhere = replace(flow, target=ROUTER[flow.version])
    other = reader_of(sent).read_icmp(error(replace(sent, flow=elsewhere), "exceeded"), "x")
    assert other is Refusal.OTHER


@settings(busy, max_examples=150)
@given(kind=st.sampled_from(KINDS), octets=st.binary(max_size=SIZE_MAX), target=st.booleans())
def test_any_octets_end_in_a_named_refusal(
    kind: tuple[int, TraceProtocol], octets: bytes, *, target: bool
) -> None:
    sent = sent_in(new_flow(*kind))
    where = sent.flow.target if target else ROUTER[kind[0]]
    for read in (reader_of(sent).read_icmp, reader_of(sent).read_tcp):
        assert isinstance(read(octets, where), Refusal)


@settings(busy, max_examples=200)
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_a_message_changed_at_will_is_refused_or_about_the_packet_sent(
    data: st.DataObject, kind: tuple[int, TraceProtocol]
) -> None:
    sent = sent_in(new_flow(*kind))
    labels = data.draw(st.lists(st.builds(Label, st.integers(0, 1 << 19)), max_size=3))
    message = bytearray(extended(sent, labels or [Label(3)], announced=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(message) - 1))
        message[place] = data.draw(st.integers(0, 255))
    cut = bytes(message[: data.draw(st.integers(0, len(message)))])
    if kind[0] == 4 and len(cut) >= 8:
        cut = right_checksum(cut)
    found = reader_of(sent).read_icmp(cut, ROUTER[kind[0]])
    if isinstance(found, Answer):
        assert found.sent is sent
        assert len(found.labels) <= 3
        assert found.address == ROUTER[kind[0]]
    else:
        assert isinstance(found, Refusal)
