"""Authenticated packets, by hmac and struct alone."""

import hashlib
import hmac
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stamp_exchange import KEY, PEER, WALL_NS, exchange

from probes.instant import Instant
from probes.stamp.events import Discarded, Replied, ReplyFault
from probes.stamp.packet import Authenticated, Request
from probes.stamp.reflector import Reflector, Refused, RequestFault
from probes.stamp.sender import Asked, Sender


def mac(octets: bytes, key: bytes = KEY) -> bytes:
    return hmac.new(key, octets, hashlib.sha256).digest()[:16]


def test_a_request_is_signed_as_rfc_8762_says() -> None:
    octets = Sender(10**9, key=KEY, ssid=0xBEEF).send(Instant(WALL_NS, 0))
    assert len(octets) == 112
    assert struct.unpack_from("!I", octets) == (0,)
    assert octets[4:16] == bytes(12)
    assert struct.unpack_from("!H", octets, 26) == (0xBEEF,)
    assert octets[28:96] == bytes(68)
    assert octets[96:] == mac(octets[:96])


def test_a_reply_has_its_fields_where_rfc_8762_says() -> None:
    _, octets, _ = exchange(Sender(10**9, key=KEY, ssid=0xBEEF), Reflector(key=KEY))
    assert (octets[28:32], octets[40:48], octets[52:64]) == (bytes(4), bytes(8), bytes(12))
    t3, t2, t1 = (struct.unpack_from("!Q", octets, at)[0] for at in (16, 32, 64))
    assert t1 < t2 < t3
    assert struct.unpack_from("!I", octets, 48) == (0,)
    assert octets[80] == 61
    assert octets[81:96] == bytes(15)
    assert octets[96:112] == mac(octets[:96])


def test_both_ends_understand_each_other() -> None:
    sender, reflector = Sender(10**9, key=KEY), Reflector(key=KEY)
    _, reply, now = exchange(sender, reflector)
    event = sender.receive(reply, now)
    assert isinstance(event, Replied)
    assert event.rtt_ns == 20_000_000


@given(st.integers(0, 111), st.integers(1, 255))
def test_any_changed_octet_is_refused_by_both(at, change) -> None:
    sender, reflector = Sender(10**9, key=KEY), Reflector(key=KEY)
    request = bytearray(sender.send(Instant(WALL_NS, 0)))
    request[at] ^= change
    assert reflector.receive(bytes(request), PEER, 61) == Refused(RequestFault.HMAC)
    _, reply, now = exchange(sender, reflector)
    forged = bytearray(reply)
    forged[at] ^= change
    assert sender.receive(bytes(forged), now) == Discarded(ReplyFault.HMAC)
    assert isinstance(sender.receive(reply, now), Replied)  # the forgery consumed nothing


def test_keys_and_modes_do_not_mix() -> None:
    plain = Sender(10**9).send(Instant(WALL_NS, 0)).ljust(112, b"\0")
    for octets in (plain, Sender(10**9, key=b"another").send(Instant(WALL_NS, 0))):
        assert Reflector(key=KEY).receive(octets, PEER, 61) == Refused(RequestFault.HMAC)
    assert Reflector(key=KEY).receive(plain[:111], PEER, 1) == Refused(RequestFault.SHORT)
    with pytest.raises(ValueError, match="key is empty"):
        Authenticated(b"")


def test_extensions_are_sealed_by_the_hmac_tlv() -> None:
    sender = Sender(10**9, key=KEY, asked=Asked(follow_up=True, padding=8))
    octets = sender.send(Instant(WALL_NS, 0))
    extensions, seal = octets[112:-20], octets[-20:]
    assert extensions[:4] == bytes([0x80, 7, 0, 16])
    assert seal == bytes([0x80, 8, 0, 16]) + mac(octets[:4] + extensions)
    _, reply, now = exchange(sender, Reflector(key=KEY), at_ns=10**8)
    assert reply[-20:] == bytes([0, 8, 0, 16]) + mac(reply[:4] + reply[112:-20])
    assert isinstance(sender.receive(reply, now), Replied)


def test_a_broken_seal_is_marked_and_not_believed() -> None:
    sender, reflector = Sender(10**9, key=KEY, asked=Asked(counts=True)), Reflector(key=KEY)
    request = bytearray(sender.send(Instant(WALL_NS, 0)))
    request[-1] ^= 1
    accepted = reflector.receive(bytes(request), PEER, 61)
    reply = reflector.reply(accepted, WALL_NS, WALL_NS)
    assert [reply[112], reply[112 + 16]] == [0xA0, 0xA0]  # U and I
    assert reply[116:128] == bytes(request)[116:128]  # nothing was filled in
    assert sender.receive(reply, Instant(WALL_NS + 1000, 1000)) == Discarded(ReplyFault.INTEGRITY)


def test_a_request_is_read_as_it_was_written() -> None:
    packets, request = Authenticated(KEY), Request(7, 2**63, 0x8C01, 9)
    assert packets.read_request(packets.write_request(request)) == request
