import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.ntp import unix_ns_from_ntp
from probes.stamp.packet import parse_reply
from probes.stamp.reflector import Accepted, Reflector, Refused, RequestFault

T2_NS = 1_800_000_000_000_000_000
T3_NS = T2_NS + 40_000
PEER = ("192.0.2.7", 50_000)


def request(seq=1, ssid=9, t1=0xE900_0000_1234_5678, size=44) -> bytes:
    return struct.pack("!IQHH28x", seq, t1, 0x8C01, ssid).ljust(size, b"\xee")[:size]


def reflect(reflector: Reflector, datagram: bytes, peer=PEER, ttl=61) -> bytes:
    accepted = reflector.receive(datagram, peer, ttl)
    assert isinstance(accepted, Accepted)
    return reflector.reply(accepted, T2_NS, T3_NS)


def test_a_reply_repeats_the_senders_fields_and_adds_its_own():
    reply = parse_reply(reflect(Reflector(), request(seq=77)))
    assert reply.sender_sequence == 77
    assert reply.sender_timestamp == 0xE900_0000_1234_5678
    assert reply.sender_error_estimate == 0x8C01
    assert (reply.ssid, reply.sender_ttl) == (9, 61)


def test_t2_and_t3_are_two_readings():
    reply = parse_reply(reflect(Reflector(), request()))
    assert unix_ns_from_ntp(reply.receive_timestamp, near_ns=T2_NS) == T2_NS
    assert unix_ns_from_ntp(reply.timestamp, near_ns=T2_NS) == T3_NS


@pytest.mark.parametrize(
    ("size", "reply_size"),
    [(14, 41), (40, 41), (41, 41), (43, 43), (44, 44), (45, 45), (9000, 9000)],
)
def test_a_reply_is_as_long_as_its_request_or_the_shortest_there_is(size, reply_size):
    assert len(reflect(Reflector(), request(size=size))) == reply_size


def test_octets_after_the_base_packet_come_back_unchanged():
    datagram = request() + bytes(range(200))
    assert reflect(Reflector(), datagram)[44:] == bytes(range(200))


def test_a_short_request_is_read_as_if_filled_with_zeros():
    reply = parse_reply(reflect(Reflector(), request(seq=5, size=14)))
    assert (reply.sender_sequence, reply.ssid) == (5, 0)


REFUSALS = {
    "of 13 octets": (bytes(13), PEER, RequestFault.SHORT),
    "of none": (b"", PEER, RequestFault.SHORT),
    "of 9001 octets": (bytes(9001), PEER, RequestFault.LONG),
    "from port 0": (request(), ("192.0.2.7", 0), RequestFault.PORT),
    "that another reflector sent": (reflect(Reflector(), request()), PEER, RequestFault.LOOP),
}


@pytest.mark.parametrize(("datagram", "peer", "reason"), REFUSALS.values(), ids=REFUSALS.keys())
def test_no_reply_goes_to_a_datagram(datagram, peer, reason):
    assert Reflector().receive(datagram, peer, 64) == Refused(reason)


@given(st.binary(max_size=9100), st.integers(0, 2**31 - 1))
def test_no_octets_raise_and_no_reply_is_longer_than_41_or_the_request(datagram, ttl):
    reflector = Reflector()
    accepted = reflector.receive(datagram, PEER, ttl)
    if isinstance(accepted, Accepted):
        assert len(reflector.reply(accepted, T2_NS, T3_NS)) == max(41, len(datagram))


@given(st.binary(min_size=14, max_size=100))
def test_a_reply_is_never_reflected_so_two_reflectors_cannot_keep_one_going(datagram):
    first, second = Reflector(), Reflector()
    accepted = first.receive(datagram, PEER, 64)
    if isinstance(accepted, Accepted):
        reply = first.reply(accepted, T2_NS, T3_NS)
        assert second.receive(reply, ("192.0.2.8", 862), 64) == Refused(RequestFault.LOOP)


class TestSequenceNumbers:
    def test_of_a_stateless_reflector_are_the_senders(self):
        reflector = Reflector(stateful=False)
        assert [parse_reply(reflect(reflector, request(seq=s))).sequence for s in (5, 9)] == [5, 9]

    def test_of_a_stateful_reflector_count_its_replies(self):
        reflector = Reflector()
        sequences = [parse_reply(reflect(reflector, request(seq=s))).sequence for s in (5, 9, 9)]
        assert sequences == [0, 1, 2]

    def test_are_counted_by_address_port_and_ssid(self):
        reflector = Reflector()
        reflect(reflector, request(ssid=1))
        others = [
            reflect(reflector, request(ssid=2)),
            reflect(reflector, request(ssid=1), peer=("192.0.2.7", 50_001)),
            reflect(reflector, request(ssid=1), peer=("192.0.2.8", 50_000)),
        ]
        assert [parse_reply(reply).sequence for reply in others] == [0, 0, 0]
        assert parse_reply(reflect(reflector, request(ssid=1))).sequence == 1

    def test_wrap_after_32_bits(self):
        reflector = Reflector()
        reflect(reflector, request())
        reflector._sessions[(PEER, 9)].next_sequence = 2**32 - 1
        sequences = [parse_reply(reflect(reflector, request())).sequence for _ in range(2)]
        assert sequences == [2**32 - 1, 0]

    def test_are_kept_for_the_sessions_heard_last_only(self):
        reflector = Reflector(sessions_max=3)
        for ssid in (1, 2, 3, 1, 4):  # 4 makes room by forgetting 2
            reflect(reflector, request(ssid=ssid))
        assert len(reflector._sessions) == 3
        assert parse_reply(reflect(reflector, request(ssid=1))).sequence == 2
        assert parse_reply(reflect(reflector, request(ssid=2))).sequence == 0
