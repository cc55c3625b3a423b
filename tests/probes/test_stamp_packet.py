import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.contrib.stamp import (
    STAMPSessionReflectorTestUnauthenticated,
    STAMPSessionSenderTestUnauthenticated,
)

from probes.instant import Instant
from probes.ntp import ntp_from_unix_ns
from probes.stamp.error_estimate import ErrorEstimate
from probes.stamp.packet import REPLY, parse_reply, parse_request
from probes.stamp.reflector import Reflector
from probes.stamp.sender import Sender

WALL_NS = 1_800_000_000_123_456_789
ESTIMATE = ErrorEstimate(synchronised=True, ptp=False, scale=12, multiplier=200)


def request_octets() -> bytes:
    sender = Sender(10**9, ssid=0xBEEF, error_estimate=ESTIMATE)
    return sender.send(Instant(WALL_NS, 5))


class TestScapyReadsWhatWeMeant:
    """scapy shows timestamps as decimal seconds, so raw octets are compared for those."""

    def test_in_a_request(self):
        octets = request_octets()
        packet = STAMPSessionSenderTestUnauthenticated(octets)
        assert (packet.seq, packet.ssid) == (0, 0xBEEF)
        estimate = packet.err_estimate
        assert (estimate.S, estimate.Z, estimate.scale, estimate.multiplier) == (1, 0, 12, 200)
        assert octets[4:12] == ntp_from_unix_ns(WALL_NS).to_bytes(8, "big")
        assert octets[16:] == bytes(28)
        assert not packet.tlv_objects
        assert bytes(packet) == octets

    def test_in_a_reply(self):
        reflector = Reflector()
        reflector.error_estimate = ErrorEstimate(
            synchronised=False, ptp=False, scale=3, multiplier=7
        )
        accepted = reflector.receive(request_octets(), ("192.0.2.1", 50000), 61)
        octets = reflector.reply(accepted, WALL_NS + 1000, WALL_NS + 3000)
        packet = STAMPSessionReflectorTestUnauthenticated(octets)
        assert (packet.seq, packet.ssid, packet.seq_sender, packet.ttl_sender) == (0, 0xBEEF, 0, 61)
        assert (packet.err_estimate.S, packet.err_estimate.scale) == (0, 3)
        sender = packet.err_estimate_sender
        assert (sender.S, sender.Z, sender.scale, sender.multiplier) == (1, 0, 12, 200)
        assert octets[4:12] == ntp_from_unix_ns(WALL_NS + 3000).to_bytes(8, "big")
        assert octets[16:24] == ntp_from_unix_ns(WALL_NS + 1000).to_bytes(8, "big")
        assert octets[28:36] == ntp_from_unix_ns(WALL_NS).to_bytes(8, "big")
        assert bytes(packet) == octets

    def test_in_extensions_of_a_sender_that_come_back_as_they_went(self):
        extension = struct.pack("!BBHI", 0x80, 4, 4, 46 << 26)  # flag U, class of service
        reflector = Reflector()
        accepted = reflector.receive(request_octets() + extension, ("192.0.2.1", 50000), 61)
        packet = STAMPSessionReflectorTestUnauthenticated(
            reflector.reply(accepted, WALL_NS, WALL_NS)
        )
        (tlv,) = packet.tlv_objects
        # scapy names the flag bits in the opposite order: the raw integer is the truth
        assert (int(tlv.flags), tlv.type, tlv.len) == (0x80, 4, 4)


@given(st.binary(min_size=41, max_size=200))
def test_any_41_octets_are_a_reply_of_numbers(octets):
    reply = parse_reply(octets)
    filled = octets.ljust(44, b"\0")
    assert REPLY.pack(*reply)[:38] == filled[:38]
    assert reply.sender_ttl == octets[40]


@given(st.binary(max_size=13))
def test_less_than_14_octets_are_no_request(octets):
    with pytest.raises(ValueError, match="needs 14"):
        parse_request(octets)


@given(st.binary(max_size=40))
def test_less_than_41_octets_are_no_reply(octets):
    with pytest.raises(ValueError, match="needs 41"):
        parse_reply(octets)


@given(st.integers(0, 2**15 * 10**9), st.booleans())
@example(error_ns=0, synchronised=True)
@example(error_ns=1, synchronised=True)
def test_an_error_estimate_is_never_below_the_error_and_within_one_percent(error_ns, synchronised):
    estimate = ErrorEstimate.bounding(error_ns, synchronised=synchronised)
    assert 1 <= estimate.multiplier <= 255
    assert 0 <= estimate.scale <= 63
    assert estimate.error_s >= error_ns / 1e9
    assert estimate.error_s <= error_ns / 1e9 * (1 + 1 / 128) + 2**-32
    assert ErrorEstimate.decode(estimate.encode()) == estimate


@given(st.integers(0, 2**16 - 1))
def test_an_error_estimate_keeps_all_16_bits(field):
    assert ErrorEstimate.decode(field).encode() == field


def test_an_error_beyond_the_field_is_the_largest_there_is():
    estimate = ErrorEstimate.bounding(10**30, synchronised=False)
    assert (estimate.scale, estimate.multiplier) == (63, 255)
