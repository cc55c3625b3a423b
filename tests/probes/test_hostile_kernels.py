"""A million forged datagrams against the compiled loops of prober and reflector, on sockets.

Each comes beside an honest far end, or an honest source, which is measured and answered all the
while. With NUMBA_BOUNDSCHECK=1 every index is checked, and fewer datagrams are enough.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import numpy as np
import pytest
from forged_datagrams import (
    PATIENCE_S,
    Mutator,
    Octets,
    request_fault,
    resident_octets,
    roomy_socket,
    send_forged,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from independent_stamp import FOLLOW_UP_TELEMETRY, TIMESTAMP_INFORMATION, Tlv, digest
from numpy.typing import NDArray
from stamp_exchange import KEY

from analytics.windows import SeriesKey
from netslo.model import Endpoint, Path
from probes import _kernels
from probes.channel import LATE_REPLY, OVERLONG, STALE_DUPLICATE, Channel, Report
from probes.instant import Instant
from probes.outcome import NO_SPAN, State
from probes.reflector import ReflectorServer
from probes.session import Session, SessionPlan
from probes.sockets import Datagram
from probes.stamp.events import FollowUpFault, ReplyFault
from probes.stamp.rate_limit import SOURCES_MAX, RateLimit
from probes.stamp.reflector import SESSIONS_MAX, RequestFault
from probes.timestamps import keep_stamping

if not _kernels.available():
    pytest.skip("numba is not there", allow_module_level=True)

from stepped_prober import (
    HOUR,
    MS,
    REPLIES,
    Peer,
    Prober,
    S,
    answer_honestly,
    encoded,
    fields,
    octets_of,
    stepped_prober,
    true_replies,
)

from probes._kernels.layouts import OFFSET, SOURCE
from probes._kernels.measuring import _send_due

SHARE = 20 if os.environ.get("NUMBA_BOUNDSCHECK") else 1
FLOOD = 1_000_000 // SHARE
# What a million datagrams may add to this process: the far ends' buffers and numpy's arrays are
# in it too. The state of the loops does not grow at all, which is asserted apart.
MEMORY_MAX = 64 << 20
PACKETS = 128  # of a far end, under way at once
UNSIGNED = np.iinfo(np.uint32).max


class Lies:
    """What a false far end makes of the requests of a session, each kind with its one cause."""

    def __init__(self, prober: Prober, peer: Peer, honest: Peer, seed: int) -> None:
        self.prober, self.peer, self.honest = prober, peer, honest
        self.rng = np.random.default_rng(seed)
        self.expected: Counter[str] = Counter()
        self.requests: Octets = np.zeros((0, 0), np.uint8)

    def of_base_packets(self) -> None:
        """Tell one lie each of every request; the session takes none of them."""
        true = true_replies(self.requests, self.peer.kind)
        count = len(true)
        sessions = self.prober.plant.state.sessions

        def lie(cause: str, **changes: object) -> None:
            false = true.copy()
            for name, value in changes.items():
                false[name] = value
            self._feed(cause, octets_of(false, self.peer.key))

        wild = self.rng.integers(2**31, 2**32, count)
        lie(ReplyFault.SEQUENCE, seq=wild)
        lie(ReplyFault.SEQUENCE, seq=UNSIGNED)
        foreign = int(sessions["ssid"].max()) % 65_535 + 1
        while (sessions["ssid"] == foreign).any():
            foreign = foreign % 65_535 + 1
        lie(ReplyFault.SSID, ssid=foreign)
        lie(SOURCE, ssid=int(sessions["ssid"][self.honest.index]))
        lie(ReplyFault.SENDER_TIMESTAMP, t1=self.rng.integers(1, 2**62, count))
        lie(ReplyFault.DWELL_NEGATIVE, t3=true["t3"] - np.uint64(1 << 22))  # a millisecond
        lie(ReplyFault.DWELL_LONG, t3=true["t3"] + np.uint64(3600 << 32))
        lie(ReplyFault.TIMESTAMP, error=0x4001, t3=UNSIGNED)  # PTP's nanoseconds end before
        octets = octets_of(true, self.peer.key)
        least = 41 if self.peer.key is None else 112
        self._feed(ReplyFault.SHORT, octets, self.rng.integers(0, least, count))
        long = np.zeros((4, 9001), np.uint8)
        long[:, : octets.shape[1]] = octets[:4]
        self._feed(OVERLONG, long)
        if self.peer.key is not None:
            self._of_signed_packets(octets)

    def _of_signed_packets(self, octets: Octets) -> None:
        forged = octets.copy()
        at = self.rng.choice([*range(26), *range(28, 112)], len(forged))  # all but the SSID
        forged[np.arange(len(forged)), at] ^= np.uint8(1)
        self._feed(ReplyFault.HMAC, forged)
        tail = Tlv(TIMESTAMP_INFORMATION, bytes(4), flags=0).packed()
        unsealed = np.frombuffer(tail, np.uint8)[None, :].repeat(len(octets), axis=0)
        self._feed(ReplyFault.INTEGRITY, np.hstack([octets, unsealed]))

    def of_follow_ups(self) -> None:
        """Answer with the truth, and tell stale and impossible times of earlier replies."""
        true = true_replies(self.requests, self.peer.kind)
        told: list[tuple[int, int, str | None]] = [(2**31, 1, FollowUpFault.UNKNOWN)]
        for at, reply in enumerate(true):
            own, t3, ptp = int(reply["own"]), int(reply["t3"]), at % 6 == 5
            number, left, cause = told.pop()
            if ptp:  # the times of this reply are PTP's, and so are those that it tells
                seconds = (t3 >> 32) - 2_208_988_800
                ns = (t3 & UNSIGNED) * S >> 32
                reply["t2"] = reply["t3"] = seconds << 32 | ns
                reply["error"] = 0x4001
                left, cause = UNSIGNED, FollowUpFault.TIMESTAMP
            value = struct.pack("!IQB3x", number, left, 2)
            tlvs = Tlv(FOLLOW_UP_TELEMETRY, value, flags=0).packed()
            octets = octets_of(true[at : at + 1], self.peer.key)[0].tobytes() + tlvs
            if self.peer.key is not None:
                octets += Tlv(8, digest(self.peer.key, octets[:4] + tlvs), flags=0).packed()
            self.prober.feed(self.peer, np.frombuffer(octets, np.uint8)[None, :])
            if cause is not None:
                self.expected[cause] += 1
            told.append(
                [
                    (own, t3, None),  # true
                    (number, left, FollowUpFault.UNKNOWN),  # stale: it was told before
                    (own, t3 - (1 << 32), FollowUpFault.EARLY),
                    (own, t3 + (3600 << 32), FollowUpFault.LATE),
                    (own, 0, None),  # refused for the form, whatever it says
                    (2**31 + at, t3, FollowUpFault.UNKNOWN),
                ][at % 6]
            )

    def of_time(self) -> None:
        """Answer when it is too late, and again when all is over."""
        session = self.prober.plant.state.sessions[self.peer.index]
        octets = octets_of(true_replies(self.requests, self.peer.kind), self.peer.key)
        answered = len(octets) // 2
        self.prober.feed(self.peer, octets[:answered])
        timeout_ns = int(session["timeout_ns"])
        session["timeout_ns"] = 0
        self.prober.turn_until(lambda: session["harvest"] == session["position"])
        session["timeout_ns"] = timeout_ns
        self._feed(STALE_DUPLICATE, octets[:answered])
        self._feed(LATE_REPLY, octets[answered:])

    def of_the_blind(self) -> None:
        """Use the address of the honest end, and guess what it has seen."""
        false = true_replies(self.requests, self.peer.kind)
        false["ssid"], false["seq"] = 0, 0
        false["t1"] = self.rng.integers(1, 2**62, len(false))
        octets = octets_of(false, b"a guess" if self.peer.key else None)
        cause = ReplyFault.HMAC if self.peer.key else ReplyFault.SENDER_TIMESTAMP
        self._feed(cause, octets, peer=self.honest)

    def _feed(
        self,
        cause: str,
        octets: Octets,
        lengths: NDArray[np.int64] | None = None,
        peer: Peer | None = None,
    ) -> None:
        self.prober.feed(peer or self.peer, octets, lengths)
        self.expected[cause] += len(octets)


def state_octets(prober: Prober) -> int:
    return sum(array.nbytes for array in prober.plant.state if isinstance(array, np.ndarray))


@pytest.mark.parametrize("key", [None, KEY], ids=["open", "authenticated"])
def test_false_far_ends_are_told_by_their_causes_beside_an_honest_one(key: bytes | None) -> None:
    with stepped_prober() as prober:
        honest, false = prober.add("honest", key=key), prober.add("false", key=key)
        known = [answer_honestly(prober, honest)]
        lies = Lies(prober, false, honest, seed=8972)
        before, room = resident_octets(), state_octets(prober)
        flood, rounds = FLOOD * 6 // 10 if key is None else FLOOD // 10, 0
        mutator = Mutator(8762)
        while prober.seen() < flood or rounds < 2:
            lies.requests = prober.send(false, PACKETS)
            lies.of_the_blind()
            lies.of_base_packets()
            known.append(answer_honestly(prober, honest))
            assert prober.discarded() == lies.expected, "before anything was random"
            mutate(prober, false, lies, mutator, 4_000)
            known.append(answer_honestly(prober, honest))
            lies.requests = prober.send(false, 36)
            lies.of_follow_ups()
            assert prober.discarded() == lies.expected
            rounds += 1
        lies.requests = prober.send(false, PACKETS)
        lies.of_time()
        assert prober.discarded() == lies.expected
        wanted = {*ReplyFault, *FollowUpFault, LATE_REPLY, OVERLONG, STALE_DUPLICATE, SOURCE}
        absent = {ReplyFault.HMAC, ReplyFault.INTEGRITY} if key is None else set()
        assert {*prober.discarded()} == wanted - absent
        assert resident_octets() - before < MEMORY_MAX
        assert state_octets(prober) == room
        judge_honest_figures(prober, honest, known)
        judge_false_figures(prober, false)


def mutate(prober: Prober, false: Peer, lies: Lies, mutator: Mutator, count: int) -> None:
    """Feed what is random, and expect from then on what the loop said of it."""
    genuine = [
        row.tobytes() for row in octets_of(true_replies(lies.requests, false.kind), false.key)
    ]
    extra = Tlv(FOLLOW_UP_TELEMETRY, struct.pack("!IQB3x", 1, 1 << 63, 2), flags=0).packed()
    extra += Tlv(TIMESTAMP_INFORMATION, b"\1\2\1\2", flags=0).packed() + Tlv(4, bytes(4)).packed()
    if false.key is None:
        genuine += [reply + extra for reply in genuine]
    else:
        genuine += [
            reply + extra + Tlv(8, digest(false.key, reply[:4] + extra), flags=0).packed()
            for reply in genuine
        ]
    octets, lengths = mutator.forged(genuine, count)
    before = prober.seen()
    prober.feed(false, octets, lengths)
    assert prober.seen() == before + count  # each is counted once
    lies.expected = prober.discarded()


def judge_honest_figures(
    prober: Prober, honest: Peer, known: list[tuple[int, int, int, int]]
) -> None:
    """All its packets are answered, and each way took what the honest end has seen it take."""
    totals = prober.totals(honest)
    assert (totals.answered, totals.due, totals.duplicates, totals.reordered) == (
        len(known), len(known), 0, 0,
    )  # fmt: skip
    records = prober.plant.state.records[int(prober.plant.state.sessions[honest.index]["ring"]) :]
    for record, (before_ns, came_ns, left_ns, after_ns) in zip(records, known, strict=False):
        forward_ns = record["received_ns"] - record["sent_ns"]
        backward_ns = record["arrived_ns"] - record["replied_ns"]
        assert record["state"] == State.ANSWERED
        assert abs(record["received_ns"] - came_ns) <= 1  # as NTP rounds it
        assert abs(record["replied_ns"] - left_ns) <= 1
        assert -1 <= forward_ns <= came_ns - before_ns + 1
        assert -1 <= backward_ns <= after_ns - left_ns + 1


def judge_false_figures(prober: Prober, false: Peer) -> None:
    """The ledger adds up, and no figure is one that cannot be."""
    totals, session = prober.totals(false), prober.plant.state.sessions[false.index]
    assert totals.due == int(session["position"]) == int(session["taken"])
    rows = prober.plant.take_rows()
    rows = rows[rows["session"] == false.index]["outcome"]
    assert len(rows) == totals.due
    answered = rows["state"] == State.ANSWERED
    assert int(answered.sum()) == totals.answered
    assert int(rows["duplicates"].sum()) == totals.duplicates
    assert (rows["rtt_ns"][answered] >= 0).all()
    assert (rows["rtt_ns"][answered] <= 60 * S).all()
    assert (rows["rtt_ns"][~answered] == NO_SPAN).all()


@dataclass(frozen=True)
class Lie:
    """What is sent for one of four packets, in words that hold for any session."""

    packet: int
    changes: dict[str, int]  # set to a value
    shifts: dict[str, int]  # added
    tail: bytes
    cut: int | None

    def told(self, requests: Octets, key: bytes | None) -> bytes:
        kind = key is not None
        reply = true_replies(requests[self.packet : self.packet + 1], kind)
        for name, value in self.changes.items():
            reply[name] = value
        for name, value in self.shifts.items():
            reply[name] = (int(reply[name][0]) + value) % 2**64
        octets = octets_of(reply, key)[0].tobytes() + self.tail
        if key is not None and self.tail and self.packet % 2:
            octets += Tlv(8, digest(key, octets[:4] + self.tail), flags=0).packed()
        return octets[: self.cut]


FAR_OFF = st.sampled_from([-(1 << 32), 3600 << 32, -(2**63), 2**62])
TAILS = st.lists(
    st.builds(
        lambda kind, value, flags: Tlv(kind, value, flags=flags).packed(),
        st.sampled_from([1, 3, 4, FOLLOW_UP_TELEMETRY, 8, 9]),
        st.sampled_from([b"", bytes(4), bytes(12), bytes(16), b"\1\2\1\2"])
        | st.builds(lambda own: struct.pack("!IQB3x", own, 5, 2), st.integers(0, 5)),
        st.sampled_from([0, 0, 0x80, 0x40, 0x20]),
    ),
    max_size=3,
)
LIES = st.builds(
    Lie,
    packet=st.integers(0, 3),
    changes=st.one_of(
        st.just({}),
        st.fixed_dictionaries({"own": st.integers(0, 5) | st.just(UNSIGNED)}),
        st.fixed_dictionaries({"seq": st.integers(4, UNSIGNED)}),
        st.fixed_dictionaries({"ssid": st.just(0)}),
        st.just({"error": 0x4001, "t2": UNSIGNED, "t3": UNSIGNED}),
    ),
    shifts=st.one_of(
        st.just({}),
        st.fixed_dictionaries({"t3": FAR_OFF}),
        st.fixed_dictionaries({"t1": st.integers(1, 2**64 - 1)}),
    ),
    tail=st.one_of(st.just(b""), TAILS.map(b"".join), st.binary(max_size=40)),
    cut=st.none() | st.none() | st.integers(0, 120),
)


@pytest.mark.parametrize("key", [None, KEY], ids=["open", "authenticated"])
def test_whatever_is_said_both_engines_make_the_same_of_it(key: bytes | None) -> None:
    """The compiled loop against plain Python, each told the same of four packets of its own."""
    with stepped_prober() as prober:
        room = state_octets(prober)

        @settings(max_examples=150 // min(SHARE, 3), deadline=None)
        @given(st.lists(LIES, min_size=1, max_size=12))
        def agree(lies: list[Lie]) -> None:
            nonlocal room
            peer = prober.add("there", key=key)
            room = max(room, state_octets(prober))
            before = prober.discarded()
            requests = prober.send(peer, 4)
            for lie in lies:
                told = np.frombuffer(lie.told(requests, key), np.uint8)[None, :]
                prober.feed(peer, told)
            ours = prober.totals(peer)
            assert ours.due <= 4
            assert plain(lies, key) == (
                ours.answered,
                ours.duplicates,
                prober.discarded() - before,
            )
            prober.remove(peer)

        agree()
        assert state_octets(prober) == room  # each session had the place of the one before


def plain(lies: list[Lie], key: bytes | None) -> tuple[int, int, Counter[str]]:
    """Return what plain Python makes of lies: answers, duplicates, and causes."""
    plan = SessionPlan(SeriesKey(Path("here", "there", "ef")), MS, 60 * S, secret=key)
    start = Instant(1_800_000_000 * S, 50 * S)
    session, report = Session(plan, start, count=4, phase_ns=0), Report()
    channel = Channel(session, None, report, lambda *_: None)
    sent = start.at_mono(start.mono_ns + 4 * MS)
    requests = [session.transmit(due, sent)[1] for due in session.take_due(sent)]
    octets = np.frombuffer(b"".join(requests), np.uint8).reshape(4, -1)
    for lie in lies:
        datagram = Datagram(lie.told(octets, key), None, truncated=False)
        channel._take(datagram, sent.at_mono(sent.mono_ns + 9 * MS))
    return session.totals.answered, session.totals.duplicates, report.discarded


@dataclass
class Asked:
    """A compiled reflector at work, and how many datagrams it was sent."""

    server: ReflectorServer
    fed: int = 0

    @property
    def address(self) -> tuple[str, int]:
        [endpoint] = self.server.endpoints
        return endpoint.host, endpoint.port

    @property
    def octets(self) -> int:
        """Memory of what it remembers."""
        assert self.server._compiled is not None
        state = self.server._compiled._state
        flat = [*state, *state.of_session, *state.of_source, *state.telling]
        return sum(array.nbytes for array in flat if isinstance(array, np.ndarray))

    def wait(self) -> None:
        """Wait until it has judged everything; a reply is counted a moment after it has left."""
        deadline_s = time.monotonic() + PATIENCE_S
        while self.server.reflected + self.server.discarded.total() < self.fed:
            assert time.monotonic() < deadline_s
            time.sleep(0.0001)
        assert self.server.reflected + self.server.discarded.total() == self.fed


@contextmanager
def reflecting(limit: RateLimit, key: bytes | None = None) -> Iterator[Asked]:
    keep_stamping()
    server = ReflectorServer([Endpoint("127.0.0.1", 0)], rate_limit=limit, key=key)
    assert server._compiled is not None
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("probes.reflector._STOP_POLL_S", 0.01)
        thread.start()
        try:
            yield Asked(server)
        finally:
            stop.set()
            thread.join(60)
    assert not thread.is_alive()


class Source:
    """Who asks a reflector, from an address of its own."""

    def __init__(self, asked: Asked, host: str, key: bytes | None = None) -> None:
        self._asked, self._key = asked, key
        self.sock = roomy_socket(host)
        self.sock.connect(asked.address)
        self.number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def request(self, ssid: int = 7) -> bytes:
        """Return a request that asks when earlier replies left; its T1 is just a number."""
        tlvs = Tlv(FOLLOW_UP_TELEMETRY, bytes(16)).packed()
        t1 = time.time_ns()
        if self._key is None:
            return struct.pack("!IQHH28x", self.number, t1, 1, ssid) + tlvs
        base = struct.pack("!I12xQHH68x", self.number, t1, 1, ssid)
        seal = Tlv(8, digest(self._key, base[:4] + tlvs)).packed()
        return base + digest(self._key, base) + tlvs + seal

    def ask(self) -> None:
        """Ask, and hold the reply against what an unharmed reflector says."""
        request, before_ns = self.request(), time.time_ns()
        self._asked.fed += 1
        self.sock.send(request)
        reply = self.sock.recv(2048)
        assert len(reply) == len(request)
        kind = self._key is not None
        [said], [sent] = (
            fields(np.frombuffer(each, np.uint8)[None, :], REPLIES, kind)
            for each in (reply, request)
        )
        assert (said["own"], said["seq"], said["ssid"]) == (self.number, self.number, 7)
        assert said["t1"] == sent["t3"]  # T1 stands in a request where T3 stands in a reply
        t2_ns, t3_ns = (unix_ns(int(said[name])) for name in ("t2", "t3"))
        assert before_ns - 1 <= t2_ns <= t3_ns <= time.time_ns()
        if self._key is not None:
            assert reply[96:112] == digest(self._key, reply[:96])
        self.number += 1

    def flood(self, octets: Octets, lengths: NDArray[np.int64], answers: int) -> list[int]:
        """Send datagrams; return the sizes of the replies when each has been judged."""
        self._asked.fed += len(octets)
        send_forged(self.sock, octets, lengths)
        self._asked.wait()
        return [len(self.sock.recv(10_000)) for _ in range(answers)]


def unix_ns(stamp: int) -> int:
    return ((stamp >> 32) - 2_208_988_800) * S + ((stamp & 0xFFFFFFFF) * S >> 32)


@pytest.mark.parametrize("key", [None, KEY], ids=["open", "authenticated"])
def test_each_false_request_is_refused_for_its_cause_beside_an_honest_source(
    key: bytes | None,
) -> None:
    """And who is answered gets no more octets than he sent, or TWAMP Light's 41."""
    limit, mutator, expected = RateLimit(1e6, 10**6), Mutator(8762), Counter[str]()
    flood = FLOOD * 2 // 10 if key is None else FLOOD // 10
    with (
        reflecting(limit, key) as asked,
        Source(asked, "127.0.0.1", key) as honest,
        Source(asked, "127.0.0.2", key) as false,
    ):
        genuine = [false.request(ssid) for ssid in range(1, 100)]
        genuine += [request[: 14 + at % 40] for at, request in enumerate(genuine[:20])]
        asked.fed += 1
        false.sock.send(genuine[0])
        genuine.append(false.sock.recv(2048))  # a reply, which must not be answered
        honest.ask()
        before, room = resident_octets(), asked.octets
        while asked.fed < flood:
            octets, lengths = mutator.forged(genuine, 64)
            datagrams = [row[:n].tobytes() for row, n in zip(octets, lengths, strict=True)]
            faults = [request_fault(each, ("127.0.0.2", 1), key) for each in datagrams]
            answered = [
                max(41, len(each))
                for each, fault in zip(datagrams, faults, strict=True)
                if fault is None
            ]
            assert false.flood(octets, lengths, len(answered)) == answered
            expected.update(fault for fault in faults if fault)
            honest.ask()
        false.flood(np.zeros((2, 9001), np.uint8), np.array([9001, 9001]), 0)
        expected[RequestFault.LONG] += 2
        assert asked.server.discarded == expected
        absent = {RequestFault.RATE, RequestFault.PORT}
        assert {*expected} == {*RequestFault} - absent - ({RequestFault.HMAC} if not key else set())
        assert resident_octets() - before < MEMORY_MAX
        assert asked.octets == room


def test_a_flood_of_one_source_is_cut_to_its_rate_and_takes_nothing_from_another() -> None:
    flood, burst = FLOOD // 10, 500
    with (
        reflecting(RateLimit(per_second=0.001, burst=burst)) as asked,
        Source(asked, "127.0.0.1") as honest,
        Source(asked, "127.0.0.2") as false,
    ):
        octets = np.frombuffer(false.request(), np.uint8)[None, :].repeat(256, axis=0)
        lengths = np.full(len(octets), octets.shape[1])
        replies = 0
        while asked.fed < flood:
            replies += len(false.flood(octets, lengths, min(len(octets), burst - replies)))
            if honest.number < burst:
                honest.ask()
        asked.wait()
        refused = asked.fed - honest.number - burst
        assert asked.server.discarded == {RequestFault.RATE: refused}
        assert asked.server.reflected == burst + honest.number


def test_a_flood_of_sources_and_sessions_makes_nobody_forgotten_who_goes_on() -> None:
    """False addresses need a raw socket. Source port 0 can be had in no other way."""
    try:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    except PermissionError:
        pytest.skip("raw sockets need CAP_NET_RAW")
    flood = max(FLOOD // 20, 2 * SESSIONS_MAX)
    assert flood > SOURCES_MAX or SHARE > 1
    rng = np.random.default_rng(8)
    with (
        raw,
        reflecting(RateLimit(per_second=0.001, burst=10**6)) as asked,
        Source(asked, "127.0.0.1") as honest,
    ):
        honest.ask()
        host, port = asked.address
        raw.connect((host, 0))
        before, room = resident_octets(), asked.octets
        nameless = 3
        while asked.fed < flood:
            octets = np.zeros((64, 20 + 8 + 44), np.uint8)
            octets[:, 0], octets[:, 8], octets[:, 9] = 0x45, 64, socket.IPPROTO_UDP
            octets[:, 12:16] = rng.integers(1, 255, (64, 4), np.uint8)
            octets[:, 12], octets[:, 16:20] = 127, (127, 0, 0, 1)
            octets[:, 20:22] = (0, 9)  # to the port of discard, where nobody is
            octets[:, 22:24] = np.frombuffer(struct.pack("!H", port), np.uint8)
            octets[:, 25] = 8 + 44
            octets[:, 40:44] = rng.integers(0, 256, (64, 4), np.uint8)  # error and SSID
            if asked.fed == 1:
                octets[:nameless, 21] = 0
            asked.fed += 64
            send_forged(raw, octets, np.full(64, octets.shape[1]))
            asked.wait()
            honest.ask()  # which it would not be with the number it expects, were it forgotten
        assert asked.server.discarded == {RequestFault.PORT: nameless}
        assert resident_octets() - before < MEMORY_MAX
        assert asked.octets == room


@pytest.mark.parametrize("step_ns", [6 * MS, -6 * MS, 2 * S, -2 * S, HOUR, -HOUR])
def test_samples_across_a_step_of_the_clock_are_discarded_and_counted(step_ns: int) -> None:
    """The clock was `step_ns` further when half of the packets left; it is right again since."""
    with stepped_prober() as prober:
        peer = prober.add("there")
        requests = send_by_a_clock_that_is_off(prober, peer, step_ns)
        prober.turn()  # now the loop sees that the clock was set
        octets = octets_of(true_replies_now(requests, peer.kind))
        prober.feed(peer, octets[:5])
        assert prober.totals(peer).unmeasured == 5
        prober.send(peer, 3)  # of which no answer comes: these are lost, not unmeasured
        after = prober.send(peer, 4)
        prober.feed(peer, octets_of(true_replies_now(after, peer.kind)))
        give_up(prober, peer)
        totals = prober.totals(peer)
        assert (totals.answered, totals.lost, totals.unmeasured) == (4, 3, 10)
        rows = prober.plant.take_rows()["outcome"]
        assert Counter(rows["state"].tolist()) == {
            State.UNMEASURED: 10, State.LOST: 3, State.ANSWERED: 4,
        }  # fmt: skip
        measured = rows[rows["state"] == State.ANSWERED]
        assert (rows["rtt_ns"][rows["state"] != State.ANSWERED] == NO_SPAN).all()
        assert (measured["rtt_ns"] < 30 * S).all()
        assert prober.discarded() == {}


@pytest.mark.parametrize("slewed_ns", [4 * MS, -4 * MS])
def test_samples_across_a_slew_of_the_clock_are_kept(slewed_ns: int) -> None:
    with stepped_prober() as prober:
        peer = prober.add("there")
        requests = send_by_a_clock_that_is_off(prober, peer, slewed_ns)
        prober.feed(peer, octets_of(true_replies(requests, peer.kind)))
        totals = prober.totals(peer)
        assert (totals.answered, totals.unmeasured) == (len(requests), 0)


def send_by_a_clock_that_is_off(prober: Prober, peer: Peer, by_ns: int) -> Octets:
    """Let ten packets leave while the wall clock is ahead; return them as they came there."""
    state = prober.plant.state
    state.sockets["stamps"] = 0  # the kernel's timestamps would be those of the right clock
    prober.due(peer, 10)
    state.words[OFFSET] += by_ns
    _send_due(state, time.monotonic_ns())
    peer.sock.connect(("127.0.0.1", prober.plant.source_port(peer.index)))
    return peer.requests(10)


def true_replies_now(requests: Octets, kind: int) -> NDArray[np.void]:
    found = true_replies(requests, kind)
    found["t2"] = found["t3"] = encoded(time.time_ns())
    return found


def give_up(prober: Prober, peer: Peer) -> None:
    """Let every packet that is under way have been so for long enough."""
    session = prober.plant.state.sessions[peer.index]
    session["timeout_ns"] = 0
    prober.turn_until(lambda: session["harvest"] == session["position"])
