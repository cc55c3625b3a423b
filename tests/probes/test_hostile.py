"""A peer that lies, repeats, cuts, floods and guesses, against our sender and our reflector."""

from __future__ import annotations

import itertools
import pathlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_address

import pytest
from forged_datagrams import Mutator, request_fault
from hypothesis import example, given
from hypothesis import strategies as st
from independent_stamp import FLAG_M, FOLLOW_UP_TELEMETRY, Tlv, encode_time
from stamp_exchange import KEY, PEER, WALL_NS, exchange

from analytics.windows import PacketCounts, SeriesKey
from netslo.model import Endpoint, Path
from probes.address import resolve
from probes.channel import OVERLONG, Channel, Report
from probes.engine import Engine
from probes.instant import Instant, read_clocks
from probes.reflector import RATE_LIMITED, ReflectorServer
from probes.session import Session, SessionPlan
from probes.sockets import Datagram
from probes.stamp.answering import Circumstances
from probes.stamp.events import (
    Discarded,
    Duplicate,
    Event,
    Followed,
    FollowUpFault,
    Late,
    Replied,
    ReplyFault,
)
from probes.stamp.follow_ups import PENDING_MAX, TOLD_MAX
from probes.stamp.rate_limit import RateLimit, TokenBuckets
from probes.stamp.reflector import Accepted, Reflector, Refused, RequestFault
from probes.stamp.sender import CLOCK_NOISE_NS, Asked, Sender
from probes.stamp.tlv import EXTENSIONS_MAX, Method

US, MS, S = 1_000, 1_000_000, 1_000_000_000
SSID = 0x1234
TIMEOUT_NS = 5 * S
START = Instant(WALL_NS, 0)
ALL = Asked(follow_up=True, timestamps=True, dscp=46, counts=True, padding=12)
CAME = Circumstances(0, lambda: (ip_address("::1"), ip_address("::2")), (862, 50_000))
LENGTHS = range(65_508)  # of everything that UDP over IPv4 can carry
NAMED = {*ReplyFault, *RequestFault}

# RFC 8762 sections 4.3.1 and 4.2.1, and where authenticated packets keep T2 (4.3.2)
REPLY = struct.Struct("!IQHHQIQHHB3x")
REQUEST = struct.Struct("!IQHH28x")


def later(after_ns: int) -> Instant:
    return START.at_mono(START.mono_ns + after_ns)


def lie(request: bytes, **changes: int) -> bytes:
    """Return a reply to a request, true but for the changes; times are Unix nanoseconds."""
    seq, t1, error, ssid = struct.unpack_from("!IQHH", request)
    said = {"own": seq, "t3": WALL_NS + 5 * MS, "t2": WALL_NS + 3 * MS, "ssid": ssid} | changes
    return REPLY.pack(
        said["own"], encode_time(said["t3"]), said.get("error", 1), said["ssid"],
        encode_time(said["t2"]), said.get("seq", seq), said.get("t1", t1), error, 0, 255,
    )  # fmt: skip


def follow_up(own: int, left_ns: int, method: int = Method.SOFTWARE) -> bytes:
    value = struct.pack("!IQB3x", own, encode_time(left_ns), method)
    return Tlv(FOLLOW_UP_TELEMETRY, value, flags=0).packed()


class Tally:
    """Counts by its cause what became of every datagram."""

    def __init__(self) -> None:
        self.fed = 0
        self.causes: Counter[str] = Counter()

    def note(self, event: Event | Accepted | Refused) -> None:
        self.fed += 1
        if isinstance(event, Discarded | Refused):
            assert event.reason in NAMED
            self.causes[event.reason.value] += 1
        else:
            self.causes[type(event).__name__] += 1

    def judge(self) -> None:
        assert self.causes.total() == self.fed


def remembered(sender: Sender) -> int:
    return max(len(sender._settled), len(sender._answered))


def judge_memory(reflector: Reflector, sessions_max: int) -> None:
    sessions = reflector._sessions or {}
    assert len(sessions) <= sessions_max
    for session in sessions.values():
        assert len(session.follow_ups._pending) <= PENDING_MAX
        assert len(session.follow_ups._told) <= TOLD_MAX


def judge_reply(request: bytes, reply: bytes, *, keyed: bool) -> None:
    """Nobody is amplified, but for the requests of TWAMP-light that need 41 octets."""
    assert len(reply) == (len(request) if keyed else max(41, len(request)))
    if not keyed:
        assert (reply[24:28], reply[28:36]) == (request[:4], request[4:12])


class TestALyingReflector:
    @given(
        st.integers(-2 * S, 2 * S) | st.integers(-10, 10),
        st.integers(0, S),
        st.integers(-(10**17), 10**17),
    )
    def test_has_its_times_believed_only_if_they_fit_the_round_trip(
        self, dwell_ns: int, span_ns: int, ahead_ns: int
    ) -> None:
        sender = Sender(TIMEOUT_NS, ssid=SSID)
        t2 = WALL_NS + ahead_ns
        event = sender.receive(lie(sender.send(START), t2=t2, t3=t2 + dwell_ns), later(span_ns))
        if dwell_ns < 0:
            assert event == Discarded(ReplyFault.DWELL_NEGATIVE)
        elif dwell_ns > span_ns + CLOCK_NOISE_NS:
            assert event == Discarded(ReplyFault.DWELL_LONG)
        else:
            assert isinstance(event, Replied)
            assert event.rtt_ns == max(0, span_ns - dwell_ns)
        assert sender.in_flight == (not isinstance(event, Replied))

    @given(st.integers(0, 4) | st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
    def test_has_no_number_believed_but_the_one_that_was_sent_then(
        self, seq: int, own: int
    ) -> None:
        sender = Sender(TIMEOUT_NS, ssid=SSID)
        requests = [sender.send(later(number * MS)) for number in range(3)]
        event = sender.receive(lie(requests[1], seq=seq, own=own), later(10 * MS))
        if seq == 1:
            assert isinstance(event, Replied)
            assert event.reflector_seq == own
        else:
            sent = seq in {0, 2}
            fault = ReplyFault.SENDER_TIMESTAMP if sent else ReplyFault.SEQUENCE
            assert event == Discarded(fault)
            assert sender.in_flight == 3

    @given(st.integers(0, 2**64 - 1), st.integers(0, 2**16 - 1))
    def test_guesses_neither_t1_nor_ssid(self, t1: int, ssid: int) -> None:
        sender = Sender(TIMEOUT_NS, ssid=SSID)
        request = sender.send(START)
        right = int.from_bytes(request[4:12])
        event = sender.receive(lie(request, t1=t1, ssid=ssid), later(10 * MS))
        assert isinstance(event, Replied) == (t1 == right and ssid in {SSID, 0})
        assert isinstance(event, Replied | Discarded)

    @given(st.lists(st.integers(0, 19), max_size=100))
    def test_gains_nothing_by_repetition(self, order: list[int]) -> None:
        """Of each packet there is one sample, and replays are duplicates or long forgotten."""
        sender = Sender(TIMEOUT_NS, ssid=SSID, memory=8)
        replies = [lie(sender.send(START)) for _ in range(20)]
        settled: list[int] = []
        for number in order:
            event = sender.receive(replies[number], later(10 * MS))
            if number not in settled:
                assert isinstance(event, Replied)
                settled.append(number)
            elif number in settled[-8:]:
                assert event == Duplicate(number)
            else:
                assert event == Discarded(ReplyFault.SEQUENCE)
        assert remembered(sender) <= 8

    @given(st.permutations([True, False, False]))
    def test_gains_nothing_by_lateness(self, in_time: list[bool]) -> None:
        sender = Sender(TIMEOUT_NS, ssid=SSID)
        reply = lie(sender.send(START))
        answered = False
        for each in in_time:
            event = sender.receive(reply, later(10 * MS if each else TIMEOUT_NS + 1))
            kind = Duplicate if answered else Replied if each else Late
            assert isinstance(event, kind)
            answered |= isinstance(event, Replied)

    @given(
        st.just(1) | st.integers(0, 2**32 - 1),
        st.integers(-3 * MS, 13 * MS) | st.integers(-(10**18), 10**18),
        st.integers(0, 255),
    )
    @example(1, -CLOCK_NOISE_NS - 2, Method.SOFTWARE)
    @example(1, 10 * MS + CLOCK_NOISE_NS + 2, Method.SOFTWARE)
    @example(1, 10 * MS + CLOCK_NOISE_NS - 2, Method.SOFTWARE)
    def test_has_a_follow_up_believed_only_while_the_reply_was_under_way(
        self, own: int, after_ns: int, method: int
    ) -> None:
        """It left at T3 or after it, came to us 7 ms later, and cannot have left after that."""
        sender = Sender(TIMEOUT_NS, ssid=SSID, asked=Asked(follow_up=True))
        t2, t3 = WALL_NS + 3 * MS, WALL_NS + 5 * MS
        first = sender.receive(lie(sender.send(START), own=1, t2=t2, t3=t3), later(12 * MS))
        assert isinstance(first, Replied)
        told = follow_up(own, t3 + after_ns, method)
        reply = lie(sender.send(later(MS)), own=2) + told * 2  # said twice, judged once
        second = sender.receive(reply, later(20 * MS))
        assert isinstance(second, Replied)
        [judged] = second.follow_ups
        if own != 1:
            assert judged == FollowUpFault.UNKNOWN
        elif after_ns < -CLOCK_NOISE_NS:
            assert judged == FollowUpFault.EARLY
        elif after_ns > first.rtt_ns + CLOCK_NOISE_NS:
            assert judged == FollowUpFault.LATE
        else:
            rtt_ns = max(0, first.rtt_ns - after_ns)
            assert judged == Followed(0, rtt_ns, t3 + after_ns, method)
        third = sender.receive(lie(sender.send(later(2 * MS)), own=3) + told, later(21 * MS))
        assert isinstance(third, Replied)
        if isinstance(judged, Followed):
            assert third.follow_ups == (FollowUpFault.UNKNOWN,)  # it was told once already

    @given(st.lists(st.integers(0, 3) | st.integers(0, 2**32 - 1), min_size=20, max_size=60))
    def test_that_numbers_its_replies_wildly_fills_no_memory(self, numbers: list[int]) -> None:
        sender = Sender(TIMEOUT_NS, ssid=SSID, asked=Asked(follow_up=True), memory=8)
        for own in numbers:
            assert isinstance(
                sender.receive(lie(sender.send(START), own=own), later(MS * 9)), Replied
            )
            assert remembered(sender) <= 8


class TestSomebodyOnTheWay:
    """Who sees and changes what both ends say, and does not have their key."""

    @given(st.data())
    def test_changes_no_bit_of_a_reply_unnoticed(self, data: st.DataObject) -> None:
        sender, reflector = Sender(TIMEOUT_NS, key=KEY, asked=ALL), Reflector(key=KEY)
        _, reply, now = exchange(sender, reflector)
        forged = bytearray(reply)
        at = data.draw(st.integers(0, len(reply) - 1))
        forged[at] ^= 1 << data.draw(st.integers(0, 7))
        event = sender.receive(bytes(forged), now)
        if at < 112:
            assert event == Discarded(ReplyFault.HMAC)
        elif at == len(reply) - 20:  # the flags of the HMAC TLV, which it cannot cover
            assert isinstance(event, Replied)
        else:
            assert event == Discarded(ReplyFault.INTEGRITY)

    @given(st.integers(0, 300))
    def test_cuts_a_reply_and_has_nothing_of_the_rest_believed(self, size: int) -> None:
        sender, reflector = Sender(TIMEOUT_NS, key=KEY, asked=ALL), Reflector(key=KEY)
        _, reply, now = exchange(sender, reflector)
        event = sender.receive(reply[:size], now)
        if size < 112:
            assert event == Discarded(ReplyFault.SHORT)
        elif size == 112:  # the base packet stands alone, as of a reflector without extensions
            assert isinstance(event, Replied)
            assert (event.counts, event.timestamps, event.class_of_service) == (None, None, None)
            assert not event.announces
        elif size < len(reply):
            assert event == Discarded(ReplyFault.INTEGRITY)
        else:
            assert isinstance(event, Replied)
            assert event.announces

    @given(st.integers(0, 4), st.integers(0, 4))
    def test_joins_no_reply_to_the_extensions_of_another(self, head: int, tail: int) -> None:
        sender, reflector = Sender(TIMEOUT_NS, key=KEY, asked=ALL), Reflector(key=KEY)
        replies = [exchange(sender, reflector, at_ns=number * MS)[1] for number in range(5)]
        now = later(30 * MS)
        event = sender.receive(replies[head][:112] + replies[tail][112:], now)
        fault = Discarded(ReplyFault.INTEGRITY)
        assert isinstance(event, Replied) if head == tail else event == fault

    @given(st.binary(max_size=200))
    def test_appends_nothing_that_is_believed(self, octets: bytes) -> None:
        sender, reflector = Sender(TIMEOUT_NS, key=KEY), Reflector(key=KEY)
        _, reply, now = exchange(sender, reflector)
        event = sender.receive(reply + octets, now)
        assert isinstance(event, Replied) or octets
        if isinstance(event, Replied):
            assert (event.counts, event.timestamps, event.class_of_service) == (None, None, None)
            assert event.follow_ups == ()
        else:
            assert event == Discarded(ReplyFault.INTEGRITY)

    @pytest.mark.parametrize("kind", [0x80, 0xC0, 0xA0, 0])
    def test_has_extensions_ignored_that_nobody_answered(self, kind: int) -> None:
        """A reflector that knows RFC 8762 only returns them as they went, under its own number."""
        sender, reflector = Sender(TIMEOUT_NS, key=KEY, asked=ALL), Reflector(key=KEY)
        exchange(sender, reflector)
        request = sender.send(START)
        accepted = reflector.receive(request[:112], PEER, 64)
        assert isinstance(accepted, Accepted)
        base = reflector.reply(accepted, WALL_NS + MS, WALL_NS + MS)
        tail = bytes([kind]) + request[113:]
        event = sender.receive(base + tail, later(10 * MS))
        if kind == 0x80:
            assert isinstance(event, Replied)
            assert (event.counts, event.timestamps, event.class_of_service) == (None, None, None)
            assert (event.follow_ups, event.announces) == ((), False)
        else:
            assert event == Discarded(ReplyFault.INTEGRITY)

    def test_cannot_make_a_reply_of_our_own_request(self) -> None:
        for key in (None, KEY):
            sender = Sender(TIMEOUT_NS, key=key, asked=ALL)
            event = sender.receive(sender.send(START), later(10 * MS))
            assert isinstance(event, Discarded)

    @pytest.mark.parametrize("key", [None, KEY], ids=["open", "authenticated"])
    def test_cannot_set_two_reflectors_upon_each_other(self, key: bytes | None) -> None:
        first, second = Reflector(key=key), Reflector(key=key)
        _, reply, _ = exchange(Sender(TIMEOUT_NS, key=key, asked=ALL), first)
        for reflector in (first, second):
            assert reflector.receive(reply, PEER, 64) == Refused(RequestFault.LOOP)


class TestAFlood:
    @given(strangers=st.integers(1, 40), sessions_max=st.integers(2, 9), by_ssid=st.booleans())
    def test_of_sessions_makes_no_regular_one_forgotten(
        self, *, strangers: int, sessions_max: int, by_ssid: bool
    ) -> None:
        """At most `sessions_max` are known, and those heard last are never the ones forgotten."""
        reflector = Reflector(sessions_max=sessions_max)
        regular = Sender(TIMEOUT_NS, ssid=1).send(START)
        numbers = []
        for number in range(strangers):
            accepted = reflector.receive(regular, PEER, 64)
            assert isinstance(accepted, Accepted)
            numbers.append(accepted.sequence)
            for other in range(sessions_max - 1):
                ssid, port = (2 + number, 9 + other) if by_ssid else (1, 9 + number * 9 + other)
                stranger = Sender(TIMEOUT_NS, ssid=ssid).send(START)
                reflector.receive(stranger, (PEER[0], port), 64)
            judge_memory(reflector, sessions_max)
        assert numbers == list(range(strangers))

    def test_of_requests_fills_no_session(self) -> None:
        """Who asks for no follow-ups, or for old ones only, has a bounded number of them kept."""
        reflector = Reflector()
        plain = Sender(TIMEOUT_NS, ssid=1).send(START)
        old = REQUEST.pack(0, 1, 1, 2) + Tlv(7, struct.pack("!IQ4x", 3, 0)).packed()
        new = REQUEST.pack(0, 1, 1, 3) + Tlv(7, bytes(16)).packed()
        for _ in range(PENDING_MAX + TOLD_MAX + 500):
            for request in (plain, old, new):
                accepted = reflector.receive(request, PEER, 64)
                assert isinstance(accepted, Accepted)
                reflector.transmitted(accepted, WALL_NS, Method.SOFTWARE)
        judge_memory(reflector, 3)
        assert reflector._sessions
        kept = [
            (len(session.follow_ups._pending), len(session.follow_ups._told))
            for session in reflector._sessions.values()
        ]
        assert kept == [(PENDING_MAX, 0), (PENDING_MAX, 0), (1, TOLD_MAX)]

    @given(st.integers(1, 50), st.integers(1, 20), st.lists(st.integers(0, 99), max_size=200))
    def test_of_one_source_has_its_rate(self, per_s: int, burst: int, gaps_ms: list[int]) -> None:
        """In no span are more than the burst and the rate allowed; another source has its own."""
        buckets: TokenBuckets[str] = TokenBuckets(per_s, burst, sources_max=2)
        now_ns, allowed = 0, list[int]()
        for gap_ms in gaps_ms:
            now_ns += gap_ms * MS
            if buckets.allow("flood", now_ns):
                allowed.append(now_ns)
        for first in range(len(allowed)):
            for last in range(first, len(allowed)):
                span_ns = allowed[last] - allowed[first]
                assert last - first + 1 <= burst + span_ns * per_s / S + 1e-6
        assert buckets.allow("other", now_ns)

    def test_of_sources_fills_no_memory(self) -> None:
        buckets: TokenBuckets[int] = TokenBuckets(10, 1, sources_max=100)
        assert all(buckets.allow(source, 0) for source in range(10_000))
        assert len(buckets._full_ns) == 100


class TestAnExpensiveRequest:
    """A reflector that thinks long about one packet answers nobody meanwhile."""

    @pytest.mark.parametrize("sub", [Tlv(4, bytes(16)), Tlv(1)], ids=["addresses", "nothing"])
    def test_has_few_of_its_locations_looked_up(self, sub: Tlv) -> None:
        looked_up: list[None] = []

        def addresses() -> tuple[IPv4Address, IPv4Address]:
            looked_up.append(None)
            return IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")

        tlv = Tlv(2, bytes(4) + sub.packed() * 16).packed()
        request = REQUEST.pack(0, 1, 1, 2) + tlv * ((9000 - 44) // len(tlv))
        reflector = Reflector()
        accepted = reflector.receive(request, PEER, 64, Circumstances(0, addresses))
        assert isinstance(accepted, Accepted)
        judge_reply(request, reflector.reply(accepted, WALL_NS, WALL_NS), keyed=False)
        assert len(looked_up) == EXTENSIONS_MAX <= 16

    def test_has_no_location_answered_that_asks_too_much(self) -> None:
        tlv = Tlv(2, bytes(4) + Tlv(4, bytes(16)).packed() * (EXTENSIONS_MAX + 1))
        reflector = Reflector()
        accepted = reflector.receive(REQUEST.pack(0, 1, 1, 2) + tlv.packed(), PEER, 64, CAME)
        assert isinstance(accepted, Accepted)
        reply = reflector.reply(accepted, WALL_NS, WALL_NS)
        assert reply[44:] == Tlv(2, tlv.value, FLAG_M).packed()


class TestEveryLength:
    @pytest.mark.parametrize("key", [None, KEY], ids=["open", "authenticated"])
    @pytest.mark.parametrize("fill", [b"\0", b"\x80\x01\0\0", b"\x80\xff\xff\xff"])
    def test_of_a_datagram_is_judged(self, key: bytes | None, fill: bytes) -> None:
        sender, reflector = Sender(TIMEOUT_NS, key=key, asked=ALL), Reflector(key=key)
        _, reply, now = exchange(sender, reflector)
        request = sender.send(START)
        size = 44 if key is None else 112
        stuffing = fill * (LENGTHS[-1] // len(fill) + 1)
        asking, telling = request[:size] + stuffing, reply[:size] + stuffing
        asked, told = Tally(), Tally()
        for length in LENGTHS if key is None else range(0, LENGTHS.stop, 7):
            datagram = asking[:length]
            accepted = reflector.receive(datagram, PEER, 64, CAME)
            asked.note(accepted)
            if isinstance(accepted, Accepted):
                judge_reply(datagram, reflector.reply(accepted, WALL_NS, WALL_NS), keyed=bool(key))
                assert length <= 9000
            told.note(sender.receive(telling[:length], now))
        asked.judge()
        told.judge()
        assert asked.causes[RequestFault.LONG] == len([x for x in LENGTHS if x > 9000]) or key
        assert told.causes["Replied"] == 1
        assert sender.in_flight == 1


CHUNK, IN_FLIGHT = 5_000, 500


def feed_session(mutator: Mutator, total: int) -> Tally:
    """Feed forged replies to a session without a key: it can only judge what is possible."""
    tally, rtts_s = Tally(), list[float]()
    interval_ns = 4 * MS
    sender = Sender(TIMEOUT_NS, ssid=SSID, asked=ALL, memory=1024)
    plan = SessionPlan(SeriesKey(Path("a", "b", "ef")), interval_ns, TIMEOUT_NS, dscp=46)
    session = Session(plan, START, sender=sender, phase_ns=0, on_answer=rtts_s.append)
    reflector = Reflector()
    windows = PacketCounts()
    at_ns, seen, followed = 0, set[int](), set[int]()
    rtt_by_seq = dict[int, int]()
    for _ in range(total // CHUNK):
        genuine, t1 = [], {}
        for _ in range(IN_FLIGHT):
            [due] = session.take_due(later(at_ns))
            seq, there = session.transmit(due, later(at_ns))
            session.transmitted(seq, later(at_ns).wall_ns)
            accepted = reflector.receive(there, PEER, 61, CAME)
            assert isinstance(accepted, Accepted)
            t2 = WALL_NS + at_ns + 10 * MS
            genuine.append(reflector.reply(accepted, t2, t2 + 20 * US))
            reflector.transmitted(accepted, t2 + 30 * US, Method.SOFTWARE)
            t1[seq] = there[4:12]
            at_ns += interval_ns
        now = later(at_ns - interval_ns + 20 * MS)
        for datagram in mutator.made(genuine, CHUNK):
            event = session.receive(datagram, now, stamped=True)
            tally.note(event)
            if isinstance(event, Replied):
                assert event.seq not in seen
                seen.add(event.seq)
                assert int.from_bytes(datagram[24:28]) == event.seq
                assert datagram[28:36] == t1[event.seq]
                assert int.from_bytes(datagram[14:16]) in {SSID, 0}
                span_ns = now.mono_ns - event.sent.mono_ns
                assert 0 <= event.rtt_ns <= span_ns
                rtt_by_seq[event.seq] = event.rtt_ns
                for each in event.follow_ups:
                    if isinstance(each, Followed):
                        assert each.seq not in followed
                        followed.add(each.seq)
                        assert 0 <= each.rtt_ns <= rtt_by_seq[each.seq] + CLOCK_NOISE_NS
        assert remembered(sender) <= 1024
        assert len(session._held) <= len(session._packets)
        session.settle(now)
        for window in session.close(now):
            windows.add(window.packets)
    for window in session.flush():
        windows.add(window.packets)
    tally.judge()
    assert followed  # else nothing was proved of them
    assert windows == session.totals
    assert windows.due == total // CHUNK * IN_FLIGHT
    assert windows.duplicates == tally.causes["Duplicate"]
    assert tally.causes["Replied"] == len(seen) >= windows.answered == len(rtts_s)
    assert all(0 <= rtt_s <= TIMEOUT_NS / S for rtt_s in rtts_s)
    assert not session._packets
    assert not session._held
    return tally


def feed_sender_with_key(mutator: Mutator, total: int) -> Tally:
    """Feed forged replies to a sender with a key: only what was signed is believed."""
    tally = Tally()
    sender, reflector = Sender(TIMEOUT_NS, key=KEY, asked=ALL, memory=1024), Reflector(key=KEY)
    for number in range(total // CHUNK):
        exchanges = [exchange(sender, reflector, at_ns=number * S + k) for k in range(IN_FLIGHT)]
        genuine = {reply[48:52]: reply for _, reply, _ in exchanges}
        now = later(number * S + 20 * MS + 1000 + IN_FLIGHT)
        for datagram in mutator.made(list(genuine.values()), CHUNK):
            event = sender.receive(datagram, now)
            tally.note(event)
            if isinstance(event, Replied):
                signed = genuine[event.seq.to_bytes(4)]
                assert datagram[:112] == signed[:112]
                told = event.counts, event.timestamps, event.class_of_service
                if any(told) or event.follow_ups or event.announces:
                    assert datagram.startswith(signed[:-20])
        assert remembered(sender) <= 1024
        sender.expire(now.at_mono(now.mono_ns + TIMEOUT_NS))
        assert sender.in_flight <= IN_FLIGHT
    tally.judge()
    return tally


def feed_reflector(
    mutator: Mutator, total: int, *, key: bytes | None = None, stateful: bool = True
) -> Tally:
    """Feed forged requests, and replies, from very many places."""
    tally, sessions_max = Tally(), 64
    reflector = Reflector(key=key, stateful=stateful, sessions_max=sessions_max)
    genuine = list[bytes]()
    for ssid in range(1, 200):
        sender = Sender(TIMEOUT_NS, ssid=ssid, key=key, asked=ALL if ssid % 3 else Asked())
        request = sender.send(START)
        genuine += [request, request[: 14 + ssid % 40] if ssid % 5 == 0 else request]
        if ssid % 10 == 0:
            genuine.append(exchange(sender, Reflector(key=key))[1])
    peers = [(f"192.0.2.{host}", port) for host in range(50) for port in range(862, 871)]
    peers += [("192.0.2.99", 0)] * 9
    some_peer = itertools.cycle(peers)
    for _ in range(total // CHUNK):
        for datagram in mutator.made(genuine, CHUNK):
            peer = next(some_peer)
            accepted = reflector.receive(datagram, peer, 64, CAME)
            tally.note(accepted)
            fault = request_fault(datagram, peer, key)
            if isinstance(accepted, Refused):
                assert accepted.reason == fault
                continue
            assert fault is None
            reply = reflector.reply(accepted, WALL_NS, WALL_NS + 1000)
            judge_reply(datagram, reply, keyed=key is not None)
            reflector.transmitted(accepted, WALL_NS + 2000, Method.SOFTWARE)
        judge_memory(reflector, sessions_max)
    tally.judge()
    return tally


def test_forged_datagrams_hurt_nobody() -> None:
    """A quarter of a million; the compiled loops get a million in `test_hostile_kernels.py`."""
    mutator = Mutator(8762)
    tallies = {
        "session": feed_session(mutator, 75_000),
        "sender with key": feed_sender_with_key(mutator, 50_000),
        "reflector": feed_reflector(mutator, 50_000),
        "stateless reflector": feed_reflector(mutator, 25_000, stateful=False),
        "reflector with key": feed_reflector(mutator, 50_000, key=KEY),
    }
    assert sum(tally.fed for tally in tallies.values()) == 250_000
    # The forgeries are good enough to be refused, and accepted, for every reason there is.
    session, sender = tallies["session"].causes, tallies["sender with key"].causes
    assert {*ReplyFault} - {ReplyFault.HMAC, ReplyFault.INTEGRITY} <= {*session}
    assert {ReplyFault.SHORT, ReplyFault.HMAC, ReplyFault.INTEGRITY} <= {*sender}
    for causes in (session, sender):
        assert {"Replied", "Duplicate"} <= {*causes}
    for name in ("reflector", "stateless reflector", "reflector with key"):
        causes = tallies[name].causes
        wanted = {*RequestFault, "Accepted"} - {RequestFault.LONG, RequestFault.RATE}
        assert wanted - (set() if "key" in name else {RequestFault.HMAC}) <= {*causes}


def unread(port: int) -> int:
    """Return how many octets wait in a UDP socket of this host."""
    for line in pathlib.Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]:
        _, local, _, _, queues, *_ = line.split()
        if int(local.rpartition(":")[2], 16) == port:
            return int(queues.rpartition(":")[2], 16)
    return 0


@contextmanager
def hostile(
    behave: Callable[[int, bytes], list[bytes]], *, paced: bool = False
) -> Iterator[tuple[Endpoint, list[int]]]:
    """Run a far end that sends for each request whatever `behave` returns; yields what it sent.

    `paced`: it goes on when the last of it was read; a busy prober's buffer would not hold it all.
    """
    sent: list[int] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]

        def serve() -> None:
            for number in itertools.count():
                request, peer = sock.recvfrom(10_000)
                if request == b"end":
                    return
                deadline = time.monotonic() + 60
                while paced and unread(peer[1]) and time.monotonic() < deadline:
                    time.sleep(0.001)
                for reply in behave(number, request):
                    sock.sendto(reply, peer)
                    sent.append(len(reply))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Endpoint("127.0.0.1", port), sent
        finally:
            sock.sendto(b"end", ("127.0.0.1", port))
            thread.join(60)
            assert not thread.is_alive()


def measure(target: Endpoint, timeout_ns: int = 20 * S) -> tuple[PacketCounts, Counter[str]]:
    plan = SessionPlan(SeriesKey(Path("a", "b", "ef")), 4 * MS, timeout_ns)
    session = Session(plan, read_clocks(), count=20, phase_ns=0)
    discarded: Counter[str] = Counter()

    def take_in(reports: dict[str, Report]) -> None:
        for report in reports.values():
            discarded.update(report.discarded)

    engine = Engine(take_in)
    engine.add(session, resolve(target))
    engine.run()
    return session.totals, discarded


def told_now(request: bytes) -> bytes:
    now_ns = time.time_ns()
    return lie(request, t2=now_ns, t3=now_ns)


SIZES = (0, 1, 13, 14, 40, 41, 43, 44, 45, 111, 112, 1472, 8999, 9000, 9001, 20_000, 65_507)


@pytest.mark.usefixtures("patient")
class TestOnSockets:
    def test_each_datagram_of_a_hostile_far_end_is_counted_once(self) -> None:
        def behave(number: int, request: bytes) -> list[bytes]:
            true = told_now(request)
            now_ns = time.time_ns()
            return [
                bytes(SIZES[number % len(SIZES)]),
                true[:40],
                lie(request, seq=number + 1000),  # not sent yet, however busy this machine is
                lie(request, ssid=struct.unpack_from("!H", request, 14)[0] ^ 1),
                lie(request, t1=0),
                lie(request, t2=now_ns, t3=now_ns - 1),
                lie(request, t2=now_ns, t3=now_ns + 10 * S),
                *[true] * (1 + (19 - number) % 3),  # of the last one only one: the session ends
            ]

        with hostile(behave, paced=True) as (target, sent):
            totals, discarded = measure(target)
        assert totals.answered == 20
        assert totals.lost == totals.unmeasured == 0
        assert totals.duplicates == sum((19 - number) % 3 for number in range(20))
        assert totals.answered + totals.duplicates + discarded.total() == len(sent)
        sizes = [SIZES[number % len(SIZES)] for number in range(20)]
        assert discarded == {
            ReplyFault.SHORT: 20 + sum(size <= 40 for size in sizes),
            OVERLONG: sum(size > 9000 for size in sizes),
            # The zeros of a sound length name packet 0, which was sent, but not at time 0.
            ReplyFault.SENDER_TIMESTAMP: 20 + sum(0 < size - 40 <= 8960 for size in sizes),
            ReplyFault.SEQUENCE: 20,
            ReplyFault.SSID: 20,
            ReplyFault.DWELL_NEGATIVE: 20,
            ReplyFault.DWELL_LONG: 20,
        }

    def test_a_far_end_that_never_tells_the_truth_gives_no_sample(self) -> None:
        with hostile(lambda _, request: [lie(request, t1=1)] * 3) as (target, sent):
            totals, discarded = measure(target, 2 * S)
        assert totals == PacketCounts(lost=20)
        assert (
            discarded
            == {ReplyFault.SENDER_TIMESTAMP: len(sent)}
            == {ReplyFault.SENDER_TIMESTAMP: 60}
        )

    def test_a_flood_of_replays_makes_one_sample_each(self) -> None:
        with hostile(lambda _, request: [told_now(request)] * 40, paced=True) as (target, sent):
            totals, discarded = measure(target)
        assert (totals.answered, totals.lost, discarded) == (20, 0, {})
        assert 0 < totals.duplicates <= len(sent) - 20  # the kernel may drop some of a flood

    def test_who_is_not_the_far_end_is_not_heard(self) -> None:
        """Every true reply comes from another port."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            targets: list[bytes] = []

            def behave(_: int, request: bytes) -> list[bytes]:
                targets.append(request)
                return []

            with hostile(behave) as (target, _):
                plan = SessionPlan(SeriesKey(Path("a", "b", "ef")), 4 * MS, 100 * MS)
                session = Session(plan, read_clocks(), count=5, phase_ns=0)
                report = Report()
                channel = Channel(session, resolve(target), report, lambda *_: None)
                channel.send_due(read_clocks().at_mono(read_clocks().mono_ns + 4 * MS))
                assert channel.sock is not None
                deadline = time.monotonic() + 60
                while not targets and time.monotonic() < deadline:
                    time.sleep(0.001)
                other.sendto(told_now(targets[0]), channel.sock.getsockname())
                time.sleep(0.02)
                channel.read()
                assert session.totals.answered == 0
                assert report.discarded == {}
                assert session.sender.in_flight >= 1
                channel.close_socket()

    @pytest.mark.parametrize("key", [None, KEY], ids=["open", "authenticated"])
    def test_each_datagram_to_our_reflector_is_counted_once(self, key: bytes | None) -> None:
        server, stop = ReflectorServer([Endpoint("127.0.0.1", 0)], key=key), threading.Event()
        [endpoint] = server.endpoints
        thread = threading.Thread(target=server.run, args=(stop,))
        thread.start()
        fed, answers = list[bytes](), list[bytes]()
        sender = Sender(TIMEOUT_NS, key=key, asked=ALL)
        genuine = [sender.send(START) for _ in range(10)]
        size = len(genuine[0])
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(60)
                sock.connect((endpoint.host, endpoint.port))
                sizes = [
                    genuine[0].ljust(size, b"\0")[:size].ljust(each, b"\0")[:each] for each in SIZES
                ]
                for datagram in [*sizes, *Mutator(1).made(genuine, 300), *genuine]:
                    sock.send(datagram)
                    fed.append(datagram)
                    deadline = time.monotonic() + 60
                    while server.reflected + server.discarded.total() < len(fed):
                        assert time.monotonic() < deadline
                        time.sleep(0.0001)
                    if server.reflected > len(answers):
                        answers.append(sock.recv(65_535))
                        judge_reply(datagram, answers[-1], keyed=key is not None)
                sock.settimeout(0.01)
                with pytest.raises(TimeoutError):
                    sock.recv(1)
        finally:
            stop.set()
            thread.join(60)
        assert not thread.is_alive()
        assert len(answers) == server.reflected >= 10
        assert server.reflected + server.discarded.total() == len(fed)
        peer = ("127.0.0.1", 50_000)
        faults = Counter(request_fault(datagram, peer, key) for datagram in fed)
        assert server.reflected == faults.pop(None)
        assert server.discarded == {
            fault.value: number for fault, number in faults.items() if fault
        }

    def test_garbage_under_a_false_address_silences_nobody_who_has_the_key(self) -> None:
        limit = RateLimit(per_second=1, burst=5)
        with ReflectorServer([Endpoint("127.0.0.1", 0)], key=KEY, rate_limit=limit) as server:
            [door] = server._doors
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.1", 0))
                address = sock.getsockname()
                for _ in range(5):
                    server._answer(door, Datagram(b"forged", address, truncated=False))
                request = Sender(TIMEOUT_NS, key=KEY).send(START)
                server._answer(door, Datagram(request, address, truncated=False))
            assert server.discarded == {RequestFault.SHORT: 5}
            assert server.reflected == 1

    def test_a_flood_is_answered_at_its_rate(self) -> None:
        limit = RateLimit(per_second=1, burst=50)
        server = ReflectorServer([Endpoint("127.0.0.1", 0)], rate_limit=limit)
        stop, [endpoint] = threading.Event(), server.endpoints
        thread = threading.Thread(target=server.run, args=(stop,))
        thread.start()
        request = Sender(TIMEOUT_NS).send(START)
        begin = time.monotonic()
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for number in range(1, 1001):
                    sock.sendto(request, (endpoint.host, endpoint.port))
                    deadline = time.monotonic() + 60
                    while server.reflected + server.discarded.total() < number:
                        assert time.monotonic() < deadline
                        time.sleep(0.0001)
        finally:
            stop.set()
            thread.join(60)
        assert 50 <= server.reflected <= 50 + int(time.monotonic() - begin) + 1
        assert server.discarded == {RATE_LIMITED: 1000 - server.reflected}


def fed_channel(datagrams: Callable[[bytes], list[bytes]], *, close: bool) -> Tally:
    """Feed a channel after its window was closed or before it; count by what it reports."""
    plan = SessionPlan(SeriesKey(Path("a", "b", "ef")), 4 * MS, 100 * MS)
    session = Session(plan, START, count=1, phase_ns=0)
    report = Report()
    channel = Channel(session, None, report, lambda *_: None)
    [due] = session.take_due(START)
    _, request = session.transmit(due, START)
    replies = datagrams(request)
    for reply in replies[:1]:
        channel._take(Datagram(reply, None, truncated=False), later(9 * MS))
    if close:
        assert session.close(later(3600 * S))
    for reply in replies[1:]:
        channel._take(Datagram(reply, None, truncated=False), later(9 * MS))
    tally = Tally()
    tally.fed = len(replies)
    tally.causes = Counter(report.discarded)
    tally.causes["answered"] = session.totals.answered
    tally.causes["duplicates"] = session.totals.duplicates
    return tally


def test_a_replay_is_counted_while_its_window_is_open() -> None:
    tally = fed_channel(lambda request: [lie(request)] * 4, close=False)
    tally.judge()
    assert tally.causes == {"answered": 1, "duplicates": 3}


def test_a_replay_is_counted_when_its_window_was_closed() -> None:
    fed_channel(lambda request: [lie(request)] * 4, close=True).judge()
