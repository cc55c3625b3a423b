import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.instant import Instant
from probes.ntp import ntp_from_unix_ns
from probes.stamp.events import Discarded, Duplicate, Late, Replied, ReplyFault
from probes.stamp.sender import Sender

MS = 1_000_000
TIMEOUT_NS = 1000 * MS
SSID = 0x1234
T0 = Instant(1_800_000_000 * 10**9, 50 * 10**9)
FAR_CLOCK_AHEAD_NS = 3600 * 10**9  # the reflector's clock need not agree with ours

# RFC 8762 §4.3.1, written here from the text
REPLY = struct.Struct("!IQHHQIQHHB3s")


def later(ms: float) -> Instant:
    return Instant(T0.wall_ns + int(ms * MS), T0.mono_ns + int(ms * MS))


def answer(request: bytes, *, came_ms=3, left_ms=5, ssid=SSID, estimate=0x0001, **changes) -> bytes:
    seq, t1, error, _ = struct.unpack_from("!IQHH", request)
    base_ns = T0.wall_ns + FAR_CLOCK_AHEAD_NS
    fields = {
        "seq": seq,
        "t3": ntp_from_unix_ns(base_ns + left_ms * MS),
        "t2": ntp_from_unix_ns(base_ns + came_ms * MS),
        "sender_seq": seq,
        "t1": t1,
    } | changes
    return REPLY.pack(
        fields["seq"], fields["t3"], estimate, ssid, fields["t2"],
        fields["sender_seq"], fields["t1"], error, 0, 64, b"",
    )  # fmt: skip


@pytest.fixture
def sender() -> Sender:
    return Sender(TIMEOUT_NS, ssid=SSID)


def test_the_round_trip_is_without_the_dwell_of_a_clock_an_hour_ahead(sender):
    event = sender.receive(answer(sender.send(T0)), later(10))
    assert isinstance(event, Replied)
    assert event.rtt_ns == pytest.approx(8 * MS, abs=2)
    assert event.rtt_s == pytest.approx(0.008, abs=1e-8)
    assert (event.seq, event.ttl, event.sent) == (0, 64, T0)
    assert sender.in_flight == 0


def test_a_reflector_that_stamps_with_ptp_is_understood(sender):
    request = sender.send(T0)
    seconds = T0.wall_ns // 10**9 + 37  # TAI
    reply = answer(request, estimate=0x4001, t2=seconds << 32 | 3 * MS, t3=seconds << 32 | 5 * MS)
    event = sender.receive(reply, later(10))
    assert isinstance(event, Replied)
    assert event.rtt_ns == 8 * MS


@pytest.mark.parametrize("ssid", [SSID, 0], ids=["echoed", "0, as RFC 8762 alone has it"])
def test_the_ssid_may_be(sender, ssid):
    assert isinstance(sender.receive(answer(sender.send(T0), ssid=ssid), later(10)), Replied)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda reply: reply[:41], id="41 octets of TWAMP Light"),
        pytest.param(lambda reply: reply + bytes(100), id="more octets than we sent"),
    ],
)
def test_a_reply_may_have(sender, change):
    assert isinstance(sender.receive(change(answer(sender.send(T0))), later(10)), Replied)


FORGERIES = {
    "of 40 octets": (lambda r: answer(r)[:40], ReplyFault.SHORT),
    "of another session": (lambda r: answer(r, ssid=SSID + 1), ReplyFault.SSID),
    "to a packet never sent": (lambda r: answer(r, sender_seq=7), ReplyFault.SEQUENCE),
    "that guesses T1": (lambda r: answer(r, t1=1), ReplyFault.SENDER_TIMESTAMP),
    "that left before it came": (
        lambda r: answer(r, came_ms=6, left_ms=5),
        ReplyFault.DWELL_NEGATIVE,
    ),
    "that dwelt longer than it was away": (
        lambda r: answer(r, came_ms=0, left_ms=11),
        ReplyFault.DWELL_LONG,
    ),
    "with a billion PTP nanoseconds": (
        lambda r: answer(r, estimate=0x4001, t2=10**9, t3=10**9),
        ReplyFault.TIMESTAMP,
    ),
}


@pytest.mark.parametrize(("forge", "reason"), FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_reply_is_discarded_and_the_real_one_still_counts(sender, forge, reason):
    request = sender.send(T0)
    assert sender.receive(forge(request), later(10)) == Discarded(reason)
    assert sender.in_flight == 1
    assert isinstance(sender.receive(answer(request), later(10)), Replied)


def test_a_dwell_longer_by_the_noise_of_the_clocks_is_a_round_trip_of_nothing(sender):
    event = sender.receive(answer(sender.send(T0), came_ms=0, left_ms=10), later(9.96))
    assert isinstance(event, Replied)
    assert event.rtt_ns == 0


@given(st.binary(max_size=120), st.integers(0, 10**10))
def test_no_octets_of_a_peer_raise_or_consume_a_packet(octets, after_ns):
    sender = Sender(TIMEOUT_NS, ssid=SSID)
    sender.send(T0)
    event = sender.receive(octets, Instant(T0.wall_ns + after_ns, T0.mono_ns + after_ns))
    assert isinstance(event, Discarded)
    assert sender.in_flight == 1


@given(
    st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8), st.integers(0, 2**16 - 1)
)
def test_an_answer_with_any_far_timestamps_never_gives_a_negative_round_trip(t3, t2, estimate):
    sender = Sender(TIMEOUT_NS, ssid=SSID)
    changes = {"t3": int.from_bytes(t3, "big"), "t2": int.from_bytes(t2, "big")}
    event = sender.receive(answer(sender.send(T0), estimate=estimate, **changes), later(10))
    if isinstance(event, Replied):
        assert 0 <= event.rtt_ns <= 10 * MS
    else:
        assert isinstance(event, Discarded)


def test_a_second_answer_is_a_duplicate(sender):
    request = sender.send(T0)
    sender.receive(answer(request), later(10))
    assert sender.receive(answer(request), later(11)) == Duplicate(0)
    assert sender.receive(answer(request, t1=5), later(11)) == Discarded(
        ReplyFault.SENDER_TIMESTAMP
    )


class TestTheTimeout:
    def test_includes_its_last_nanosecond(self, sender):
        request = sender.send(T0)
        assert sender.next_deadline_ns == later(1000).mono_ns
        assert sender.expire(later(1000)) == []
        assert isinstance(sender.receive(answer(request), later(1000)), Replied)

    def test_makes_an_answer_after_it_late_even_before_expiry(self, sender):
        request = sender.send(T0)
        after = Instant(T0.wall_ns, later(1000).mono_ns + 1)
        assert sender.receive(answer(request), after) == Late(0)
        assert sender.expire(after) == [0]
        assert sender.receive(answer(request), after) == Late(0)

    def test_accepts_an_answer_that_came_in_time_but_was_read_late(self, sender):
        request = sender.send(T0)
        assert isinstance(sender.receive(answer(request), later(900)), Replied)
        assert sender.expire(later(5000)) == []

    def test_gives_up_only_what_is_past_it_oldest_first(self, sender):
        for ms in (0, 1, 600):
            sender.send(later(ms))
        assert sender.expire(later(1500)) == [0, 1]
        assert sender.next_deadline_ns == later(1600).mono_ns


def test_sequence_numbers_wrap_after_32_bits(sender):
    sender._next_seq = 2**32 - 1
    last, first = sender.send(T0), sender.send(later(1))
    assert struct.unpack_from("!I", last) == (2**32 - 1,)
    assert struct.unpack_from("!I", first) == (0,)
    assert isinstance(sender.receive(answer(last), later(10)), Replied)
    assert isinstance(sender.receive(answer(first), later(10)), Replied)


def test_memory_of_settled_packets_is_bounded():
    sender = Sender(TIMEOUT_NS, ssid=SSID, memory=10)
    requests = [sender.send(later(k)) for k in range(100)]
    assert len(sender.expire(later(10_000))) == 100
    assert sender.receive(answer(requests[99]), later(10_001)) == Late(99)
    assert sender.receive(answer(requests[0]), later(10_001)) == Discarded(ReplyFault.SEQUENCE)


def test_a_withdrawn_packet_is_not_in_flight(sender):
    request = sender.send(T0)
    sender.withdraw(0)
    assert sender.next_deadline_ns is None
    assert sender.receive(answer(request), later(1)) == Discarded(ReplyFault.SEQUENCE)


def test_ssids_are_random_and_never_the_zero_that_means_none():
    ssids = {Sender(1).ssid for _ in range(300)}
    assert len(ssids) > 250
    assert 0 not in ssids
