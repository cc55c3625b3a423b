"""Extensions of RFC 8972, there and back."""

import random
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib.stamp import STAMPSessionSenderTestUnauthenticated
from stamp_exchange import KEY, PEER, WALL_NS, exchange

from probes.instant import Instant
from probes.ntp import ntp_from_unix_ns
from probes.stamp.answering import Circumstances
from probes.stamp.events import Discarded, Duplicate, Followed, FollowUpFault, Late, Replied
from probes.stamp.rate_limit import TokenBuckets
from probes.stamp.reflector import Accepted, Reflector, Refused
from probes.stamp.sender import Asked, Sender
from probes.stamp.tlv import (
    ClassOfService,
    DirectMeasurement,
    Extensions,
    Flag,
    FollowUp,
    Kind,
    Method,
    Place,
    Synchronisation,
    TimestampInformation,
    Tlv,
    location_addresses,
    location_request,
    request,
)

ALL = Asked(follow_up=True, timestamps=True, dscp=46, counts=True, padding=12)


def answer(tlvs: bytes, circumstances: Circumstances | None = None, **options) -> bytes:
    """Return the extensions of the reply to a request with these."""
    reflector = Reflector(**options)
    datagram = Sender(10**9).send(Instant(WALL_NS, 0)) + tlvs
    accepted = reflector.receive(datagram, PEER, 61, circumstances)
    assert isinstance(accepted, Accepted)
    reply = reflector.reply(accepted, WALL_NS, WALL_NS)
    assert len(reply) == len(datagram)
    return reply[44:]


def test_scapy_reads_what_we_send() -> None:
    octets = Sender(10**9, asked=ALL).send(Instant(WALL_NS, 0))
    packet = STAMPSessionSenderTestUnauthenticated(octets)
    read = [(int(t.flags), t.type, t.len) for t in packet.tlv_objects]
    reversed_flag = 0x01  # scapy names the flags' bits the other way round
    assert {kind: length for _, kind, length in read} == {7: 16, 3: 4, 4: 4, 5: 12, 1: 8}
    assert all(flags in (0x80, reversed_flag) for flags, _, _ in read)


class TestFollowUp:
    def test_the_true_t3_takes_the_far_hosts_stall_out(self) -> None:
        sender, reflector = Sender(10**9, asked=ALL), Reflector()
        accepted, reply, now = exchange(sender, reflector)
        first = sender.receive(reply, Instant(now.wall_ns + 7_000, now.mono_ns + 7_000))
        assert (first.rtt_ns, first.follow_ups) == (20_007_000, ())
        left_ns = WALL_NS + 10_000_000 + 1000 + 7_000  # 7 us after T3 was read
        reflector.transmitted(accepted, left_ns, Method.SOFTWARE)
        _, reply, now = exchange(sender, reflector, at_ns=10**8)
        second = sender.receive(reply, now)
        assert second.follow_ups == (Followed(0, 20_000_000, left_ns, Method.SOFTWARE),)

    def test_all_are_announced_however_many_were_waiting(self) -> None:
        sender, reflector = Sender(10**9, asked=ALL), Reflector()
        told, waiting = [], []
        for k in range(30):
            accepted, reply, now = exchange(sender, reflector, at_ns=k * 10**7)
            event = sender.receive(reply, now)
            told += [each.seq for each in event.follow_ups]
            waiting.append((accepted, WALL_NS + k * 10**7 + 10_000_000 + 1000))
            if k % 5 == 4:  # transmit timestamps come in bunches
                for each, left_ns in waiting:
                    reflector.transmitted(each, left_ns, Method.SOFTWARE)
                waiting = []
        assert told == list(range(25))

    @pytest.mark.parametrize(
        ("sequence", "left_ns", "fault"),
        [
            (5, WALL_NS + 10_001_000, FollowUpFault.UNKNOWN),
            (0, WALL_NS + 9_000_000, FollowUpFault.EARLY),
            (0, WALL_NS + 40_000_000, FollowUpFault.LATE),
        ],
    )
    def test_a_wild_one_is_not_believed(self, sequence, left_ns, fault) -> None:
        sender, reflector = Sender(10**9, asked=ALL), Reflector()
        accepted, reply, now = exchange(sender, reflector)
        sender.receive(reply, now)
        session = reflector._sessions[accepted.session]
        session.follow_ups.add(FollowUp(sequence, ntp_from_unix_ns(left_ns), 2))
        _, reply, now = exchange(sender, reflector, at_ns=10**8)
        assert sender.receive(reply, now).follow_ups == (fault,)

    def test_one_reply_is_followed_up_once(self) -> None:
        sender, reflector = Sender(10**9, asked=ALL), Reflector()
        accepted, reply, now = exchange(sender, reflector)
        sender.receive(reply, now)
        for _ in range(2):
            reflector.transmitted(accepted, WALL_NS + 10_001_000, Method.SOFTWARE)
        found = []
        for k in (1, 2):
            _, reply, now = exchange(sender, reflector, at_ns=k * 10**8)
            found += sender.receive(reply, now).follow_ups
        assert isinstance(found[0], Followed)
        assert len(found) == 1

    def test_a_stateless_reflector_announces_nothing(self) -> None:
        sender, reflector = Sender(10**9, asked=ALL), Reflector(stateful=False)
        for k in range(3):
            accepted, reply, now = exchange(sender, reflector, at_ns=k * 10**8)
            assert sender.receive(reply, now).follow_ups == ()
            reflector.transmitted(accepted, now.wall_ns, Method.SOFTWARE)


def test_remarking_is_seen_at_the_far_end() -> None:
    circumstances = Circumstances(traffic_class=10 << 2 | 1)
    sender, reflector = Sender(10**9, asked=Asked(dscp=46)), Reflector()
    datagram = sender.send(Instant(WALL_NS, 0))
    accepted = reflector.receive(datagram, PEER, 61, circumstances)
    assert accepted.dscp == 46
    event = sender.receive(
        reflector.reply(accepted, WALL_NS, WALL_NS), Instant(WALL_NS + 10**6, 10**6)
    )
    assert event.class_of_service == ClassOfService(wanted=46, seen=10, ecn=1)
    forbidden = Circumstances(traffic_class=0, dscp_allowed=False)
    asked = request(Kind.CLASS_OF_SERVICE, ClassOfService(46).encode()).encode()
    assert ClassOfService.decode(answer(asked, forbidden)[4:]).refused == 1


def test_how_the_reflector_takes_its_timestamps_is_told() -> None:
    told = TimestampInformation(
        Synchronisation.NTP, Method.SOFTWARE, Synchronisation.NTP, Method.CONTROL_PLANE
    )
    asked = request(Kind.TIMESTAMP_INFORMATION, bytes(4)).encode()
    assert TimestampInformation.decode(answer(asked, Circumstances(timestamps=told))[4:]) == told


def test_packets_are_counted_at_both_ends() -> None:
    sender, reflector = Sender(10**9, asked=Asked(counts=True)), Reflector()
    for k in range(3):
        if k == 1:
            sender.send(Instant(WALL_NS, 0))  # lost on its way
        _, reply, now = exchange(sender, reflector, at_ns=k * 10**8)
        counts = sender.receive(reply, now).counts
    assert counts == DirectMeasurement(sent=4, received=3, returned=3)


@pytest.mark.parametrize("addresses", [("192.0.2.1", "198.51.100.7"), ("2001:db8::1", "::1")])
def test_where_a_request_came_from_is_told(addresses) -> None:
    there = tuple(map(ip_address, addresses))
    circumstances = Circumstances(addresses=lambda: there, ports=(862, 50_000))
    found = answer(request(Kind.LOCATION, location_request()).encode(), circumstances)
    assert found[0] == 0
    assert found[4:8] == (862).to_bytes(2, "big") + (50_000).to_bytes(2, "big")
    v6 = there[0].version == 6
    assert location_addresses(found[4:]) == {
        Place.DESTINATION_IPV6 if v6 else Place.DESTINATION_IPV4: there[0],
        Place.SOURCE_IPV6 if v6 else Place.SOURCE_IPV4: there[1],
    }


def test_what_is_not_understood_comes_back_as_it_was() -> None:
    unknown = Tlv(Flag.UNRECOGNISED, 200, b"whatever").encode()
    assert answer(unknown) == unknown
    for kind in (Kind.LOCATION, Kind.CLASS_OF_SERVICE):  # this host knows neither now
        asked = request(kind, bytes(4)).encode()
        assert answer(asked) == asked


@pytest.mark.parametrize(
    "kind",
    [
        Kind.TIMESTAMP_INFORMATION,
        Kind.DIRECT_MEASUREMENT,
        Kind.ACCESS_REPORT,
        Kind.FOLLOW_UP_TELEMETRY,
    ],
)
def test_a_wrong_length_is_marked(kind) -> None:
    asked = request(kind, bytes(5)).encode()
    assert answer(asked) == bytes([Flag.MALFORMED]) + asked[1:]


def test_a_length_beyond_the_packet_is_marked_and_nothing_behind_it_is_read() -> None:
    good = request(Kind.EXTRA_PADDING, bytes(4)).encode()
    broken = bytes([0x80, 1, 0xFF, 0xFF]) + bytes(8)
    assert answer(good + broken) == b"\0" + good[1:] + bytes([0x40]) + broken[1:]


def test_padding_of_other_tools_comes_back_unchanged() -> None:
    for octets in (bytes(60), b"\xaa" * 60, bytes(range(60))):
        assert answer(octets) == octets


@given(st.binary(max_size=120))
def test_extensions_are_written_as_they_were_read(octets) -> None:
    assert Extensions.decode(octets).encode() == octets


@given(st.binary(max_size=300), st.booleans(), st.booleans())
def test_any_datagram_is_an_event_at_both_ends(octets, authenticated, real_head) -> None:
    key = KEY if authenticated else None
    sender, reflector = Sender(10**9, key=key, asked=ALL), Reflector(key=key)
    there, reply, now = exchange(sender, reflector)[1], b"", Instant(WALL_NS, 0)
    head = there[: 112 if authenticated else 44] if real_head else b""
    circumstances = Circumstances(traffic_class=0, addresses=lambda: (ip_address("::1"),) * 2)
    accepted = reflector.receive(head + octets, PEER, 61, circumstances)
    if isinstance(accepted, Accepted):
        reply = reflector.reply(accepted, WALL_NS, WALL_NS)
        assert len(reply) == max(41, len(head + octets))
    else:
        assert isinstance(accepted, Refused)
    for datagram in (head + octets, reply):
        assert isinstance(sender.receive(datagram, now), Discarded | Duplicate | Late | Replied)


def test_a_hundred_thousand_mutations_hurt_nobody() -> None:
    rng = random.Random(8972)
    sender, reflector = Sender(10**9, asked=ALL), Reflector()
    genuine = [exchange(sender, reflector, at_ns=k * 1000) for k in range(50)]
    requests = [sender.send(Instant(WALL_NS, 0)) for _ in range(50)]
    for k in range(50_000):
        _, reply, now = genuine[k % 50]
        for octets, end in ((reply, "sender"), (requests[k % 50], "reflector")):
            forged = bytearray(octets)
            for _ in range(rng.randrange(1, 4)):
                forged[rng.randrange(len(forged))] = rng.randrange(256)
            cut = bytes(forged[: rng.randrange(len(forged) + 1)] if k % 4 == 0 else forged)
            if end == "sender":
                sender.receive(cut, now)
            else:
                reflector.receive(cut, PEER, 61)
    assert len(sender._answered) <= 1024


def test_a_source_has_its_rate_and_its_burst() -> None:
    buckets: TokenBuckets[str] = TokenBuckets(per_second=10, burst=3, sources_max=2)
    assert [buckets.allow("a", 0) for _ in range(4)] == [True, True, True, False]
    assert [buckets.allow("a", 100_000_000) for _ in range(2)] == [True, False]
    assert buckets.allow("b", 100_000_000)
    assert all(buckets.allow("a", 10**10) for _ in range(3))
    for k in range(10):
        buckets.allow(str(k), 10**10)
    assert len(buckets._full_ns) == 2
    with pytest.raises(ValueError, match="allow nothing"):
        TokenBuckets(0, 1)
