"""The DNS client alone, and against servers on real sockets."""

import socket
import struct

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from a_dns_server import reply, udp_server
from hypothesis import given
from hypothesis import strategies as st
from ports import free_port
from some_services import ask, hanging, server_context, serving

from netslo.service import DnsRequest, ServiceResult, Transport, Where
from probes.services.dns import MESSAGE_MAX, DnsClient, Framing
from probes.services.exchange import Failed

NOWHERE = Where("127.0.0.1", 1)


def judged(request: DnsRequest, answer) -> ServiceResult:
    client = DnsClient(request, 4711)
    try:
        client.judge(answer(client.octets))
    except Failed as failure:
        return failure.result
    return ServiceResult.OK


@pytest.mark.parametrize(
    ("options", "answer", "expected"),
    [
        ({}, {"records": ["A 192.0.2.1"]}, ServiceResult.OK),
        ({}, {"records": ["CNAME www.example."]}, ServiceResult.WRONG_RECORDS),
        ({}, {"records": []}, ServiceResult.WRONG_RECORDS),
        ({"records": ("192.0.2.1",)}, {"records": ["A 192.0.2.2", "A 192.0.2.1"]},
         ServiceResult.OK),
        ({"records": ("192.0.2.9",)}, {"records": ["A 192.0.2.1"]}, ServiceResult.WRONG_RECORDS),
        ({"record_type": "MX", "records": ("10 mail.example",)},
         {"records": ["MX 10 Mail.Example."]}, ServiceResult.OK),
        ({"record_type": "TXT", "records": ("v=spf1 -all",)},
         {"records": ['TXT "v=spf1 -all"']}, ServiceResult.OK),
        ({}, {"rcode": "SERVFAIL"}, ServiceResult.SERVFAIL),
        ({}, {"rcode": "NXDOMAIN"}, ServiceResult.NXDOMAIN),
        ({}, {"rcode": "REFUSED"}, ServiceResult.DNS_REFUSED),
        ({}, {"rcode": "NOTIMP"}, ServiceResult.DNS_ERROR),
        ({"rcode": "NXDOMAIN"}, {"rcode": "NXDOMAIN"}, ServiceResult.OK),
        ({"rcode": "NXDOMAIN"}, {"records": ["A 192.0.2.1"]}, ServiceResult.WRONG_RECORDS),
        ({}, {"records": ["A 192.0.2.1"], "truncated": True}, ServiceResult.TRUNCATED),
    ],
)  # fmt: skip
def test_every_answer_has_its_name(options, answer, expected) -> None:
    answer = dict(answer)
    records = answer.pop("records", [])
    request = DnsRequest(NOWHERE, "www.example", **options)
    assert judged(request, lambda wire: reply(wire, *records, **answer)) is expected


def test_the_query_is_what_was_asked_for() -> None:
    query = dns.message.from_wire(DnsClient(DnsRequest(NOWHERE, "a.example", "AAAA"), 7).octets)
    assert query.id == 7
    assert query.question[0].to_text() == "a.example. IN AAAA"
    assert query.flags & dns.flags.RD
    plain = dns.message.from_wire(
        DnsClient(DnsRequest(NOWHERE, ".", "NS", recursion=False), 7).octets
    )
    assert not plain.flags & dns.flags.RD


@given(st.binary(max_size=600))
def test_no_octets_do_more_than_end_in_a_named_result(octets) -> None:
    assert judged(DnsRequest(NOWHERE, "www.example"), lambda _: octets) is ServiceResult.MALFORMED


@given(st.data())
def test_nor_does_a_good_answer_with_some_octets_changed(data) -> None:
    def spoil(wire: bytes) -> bytes:
        octets = bytearray(reply(wire, "A 192.0.2.1", "CNAME b.example."))
        for _ in range(data.draw(st.integers(1, 6))):
            octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
        return bytes(octets)[: data.draw(st.integers(0, len(octets)))]

    assert judged(DnsRequest(NOWHERE, "www.example"), spoil) in ServiceResult


@given(st.binary(max_size=300), st.lists(st.integers(1, 40)))
def test_messages_on_a_stream_come_whole_however_they_are_cut(message, cuts) -> None:
    framing, octets = Framing(), struct.pack("!H", len(message)) + message
    found = None
    for cut in [*cuts, *[50] * 10]:
        piece, octets = octets[:cut], octets[cut:]
        if piece:
            found = framing.receive(piece)
    assert found == message


def test_a_message_that_is_too_long_is_not_waited_for() -> None:
    with pytest.raises(Failed, match="too_large"):
        Framing().receive(struct.pack("!H", MESSAGE_MAX + 1))


def right(wire: bytes) -> bytes:
    return reply(wire, "A 192.0.2.1")


def other_id(wire: bytes) -> bytes:
    return struct.pack("!H", (wire[0] << 8 | wire[1]) ^ 1) + right(wire)[2:]


def other_question(wire: bytes) -> bytes:
    query = dns.message.make_query("evil.example", "A", id=wire[0] << 8 | wire[1])
    return reply(query.to_wire(), "A 203.0.113.6")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([right], ServiceResult.OK),
        ([other_id, other_question, lambda _: b"\0", lambda _: b"x" * 5000, right],
         ServiceResult.OK),
        ([other_id], ServiceResult.MALFORMED),
        ([other_question], ServiceResult.MALFORMED),
        ([other_id] * 100, ServiceResult.MALFORMED),
        ([], ServiceResult.TIMEOUT),
        ([lambda wire: reply(wire, rcode="SERVFAIL")], ServiceResult.SERVFAIL),
    ],
    ids=["right", "after strangers", "id", "question", "flood", "silence", "servfail"],
)  # fmt: skip
def test_only_the_answer_to_the_question_counts(answers, expected) -> None:
    good = expected is ServiceResult.OK
    with udp_server(*answers) as where:
        found = ask(DnsRequest(where, "www.example"), timeout_s=20 if good else 0.4)
    assert found.result is expected
    assert found.good == good


def test_a_server_that_is_not_there_refuses() -> None:
    where = Where("127.0.0.1", free_port(socket.SOCK_DGRAM))
    assert ask(DnsRequest(where, "www.example")).result is ServiceResult.REFUSED


def framed(connection: socket.socket) -> None:
    wire = connection.recv(4096)
    answer = reply(wire[2:], "A 192.0.2.1")
    for octet in struct.pack("!H", len(answer)) + answer:
        connection.sendall(bytes([octet]))


def test_queries_go_over_tcp_and_tls(authority, pem) -> None:
    with serving(framed) as port:
        request = DnsRequest(Where("127.0.0.1", port), "www.example", transport=Transport.TCP)
        assert ask(request).good
    with serving(framed, server_context(authority, "dns.example")) as port:
        request = DnsRequest(
            Where("127.0.0.1", port), "www.example", transport=Transport.TLS,
            server_name="dns.example",
        )  # fmt: skip
        found = ask(request, pem=pem)
        assert found.good
        assert found.certificate_expires_s is not None
    with serving(hanging) as port:
        request = DnsRequest(Where("127.0.0.1", port), "www.example", transport=Transport.TCP)
        assert ask(request, timeout_s=0.2).result is ServiceResult.TIMEOUT
