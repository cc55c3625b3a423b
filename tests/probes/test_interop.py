"""Both our ends on loopback against STAMP and TWAMP-light written from the RFC texts alone."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from independent_stamp import (
    CLASS_OF_SERVICE,
    DIRECT_MEASUREMENT,
    EXTRA_PADDING,
    FLAG_I,
    FLAG_M,
    FLAG_U,
    FOLLOW_UP_TELEMETRY,
    FREE_RUNNING,
    HMAC_TLV,
    KNOWN_TYPES,
    SOFTWARE_LOCAL,
    TIMESTAMP_INFORMATION,
    Answer,
    Asker,
    Mode,
    Responder,
    Tlv,
)

from analytics.windows import PacketCounts, SeriesKey
from netslo.metrics import REMARKED, RTT
from netslo.model import Endpoint, Path, Quality
from probes.address import resolve
from probes.channel import Report
from probes.engine import Engine
from probes.instant import Instant, read_clocks
from probes.reflector import ReflectorServer
from probes.session import Session, SessionPlan
from probes.stamp.events import Event, Followed, Replied, ReplyFault
from probes.stamp.reflector import RequestFault
from probes.stamp.sender import Asked, Sender
from probes.stamp.tlv import (
    ClassOfService,
    DirectMeasurement,
    Method,
    Synchronisation,
    TimestampInformation,
)
from probes.warm_up import load_reflecting, warm_up

MS = 1_000_000
KEY, OTHER_KEY = b"a key that both ends share", b"a key that only one end has"
HOSTS = pytest.mark.parametrize("host", ["127.0.0.1", "::1"], ids=["IPv4", "IPv6"])
STATES = pytest.mark.parametrize("stateful", [True, False], ids=["stateful", "stateless"])
FORMATS = pytest.mark.parametrize("ptp", [False, True], ids=["NTP", "PTP"])
EF = 46
COUNT = 8
TIMEOUT_NS = 20_000 * MS  # so long that a busy machine loses nothing
ALL = Asked(follow_up=True, timestamps=True, dscp=EF, counts=True, padding=12)
LOCATION, ACCESS_REPORT, UNKNOWN, EXPERIMENTAL = 2, 6, 200, 250


class Recorder(Sender):
    """A sender of ours that keeps what it judged."""

    def __init__(self, timeout_ns: int, **options: Any) -> None:
        super().__init__(timeout_ns, **options)
        self.events: list[tuple[Event, Instant]] = []

    def receive(self, datagram: bytes, now: Instant) -> Event:
        event = super().receive(datagram, now)
        self.events.append((event, now))
        return event


@dataclass
class Measured:
    """What our session made of a far end."""

    sender: Recorder
    totals: PacketCounts
    remarked: Counter[str] = field(default_factory=Counter)
    samples: Counter[Quality] = field(default_factory=Counter)
    discarded: Counter[str] = field(default_factory=Counter)

    @property
    def replies(self) -> list[Replied]:
        return [event for event, _ in self.sender.events if isinstance(event, Replied)]

    def judge_times(self) -> None:
        """Hold every reply to T1 <= T2 <= T3 <= T4: both ends read the clock of one host."""
        for event, now in self.sender.events:
            assert isinstance(event, Replied)
            assert event.sent.wall_ns <= event.received_ns <= event.replied_ns <= now.wall_ns
            dwell_ns = event.replied_ns - event.received_ns
            assert event.rtt_ns == now.mono_ns - event.sent.mono_ns - dwell_ns
            assert event.ttl == 255


def measure(
    responder: Responder,
    *,
    asked: Asked = ALL,
    key: bytes | None = None,
    ssid: int | None = None,
    timeout_ns: int = TIMEOUT_NS,
) -> Measured:
    """Run a session of ours to its end, over a real socket."""
    plan = SessionPlan(SeriesKey(Path("here", "there", "ef")), 3 * MS, timeout_ns, dscp=EF)
    sender = Recorder(timeout_ns, asked=asked, key=key, ssid=ssid)
    session = Session(plan, read_clocks(), count=COUNT, sender=sender, phase_ns=0)
    found = Measured(sender, session.totals)

    def take_in(reports: dict[str, Report]) -> None:
        for report in reports.values():
            found.discarded += report.discarded
            for window in report.windows:
                found.remarked.update(
                    {key.what: n for key, n in window.counts.items() if key.metric == REMARKED}
                )
                for key_of, sketch in window.sketches.items():
                    if key_of.metric == RTT:
                        found.samples[key_of.quality] += sketch.count

    engine = Engine(take_in)
    engine.add(session, resolve(Endpoint(*responder.address)))
    engine.run()
    return found


def judge_complete(found: Measured, responder: Responder) -> None:
    """Everything was answered, believed, and counted once, at both ends."""
    assert (responder.received, responder.answered) == (COUNT, COUNT)
    assert (responder.bad_hmac, responder.malformed) == (0, 0)
    assert found.discarded == {}
    assert found.totals == PacketCounts(answered=COUNT)
    assert found.samples.total() == COUNT
    assert [reply.seq for reply in found.replies] == list(range(COUNT))
    found.judge_times()


@pytest.mark.usefixtures("patient")
class TestOurSenderAgainstAnotherReflector:
    @HOSTS
    @STATES
    @FORMATS
    @pytest.mark.parametrize("key", [None, KEY], ids=["open", "authenticated"])
    def test_understands_every_extension(
        self, *, host: str, stateful: bool, ptp: bool, key: bytes | None
    ) -> None:
        mode: Mode = "stamp" if key is None else "authenticated"
        with Responder(host, mode=mode, key=key, stateful=stateful, ptp=ptp) as responder:
            found = measure(responder, key=key)
        judge_complete(found, responder)
        replies = found.replies
        assert [reply.reflector_seq for reply in replies] == list(range(COUNT))
        for number, reply in enumerate(replies):
            assert reply.error_estimate.ptp == ptp
            assert reply.class_of_service == ClassOfService(EF, seen=EF)
            assert reply.timestamps == TimestampInformation(
                *(Synchronisation.FREE_RUNNING, Method.SOFTWARE) * 2
            )
            assert reply.counts == DirectMeasurement(number + 1, number + 1, number + 1)
            assert reply.announces
        assert found.remarked == {}
        told = [followed for reply in replies for followed in reply.follow_ups]
        if not stateful:  # it remembers no reply that it could follow up
            assert told == []
            assert found.samples == {Quality.B: COUNT}
            return
        # Each reply tells of the one before, so of the last one nobody tells.
        for number, followed in enumerate(told):
            assert isinstance(followed, Followed)
            assert followed.seq == number
            assert followed.method == Method.SOFTWARE
            assert replies[number].replied_ns <= followed.replied_ns
            assert 0 <= followed.rtt_ns <= replies[number].rtt_ns
        assert len(told) == COUNT - 1
        assert found.samples == {Quality.A: COUNT - 1, Quality.B: 1}

    @HOSTS
    @STATES
    @FORMATS
    def test_makes_do_with_a_base_reflector(self, *, host: str, stateful: bool, ptp: bool) -> None:
        """RFC 8762 alone: extensions come back as they went, where the SSID was there are zeros."""
        with Responder(host, mode="stamp-8762", stateful=stateful, ptp=ptp) as responder:
            found = measure(responder)
        judge_complete(found, responder)
        for reply in found.replies:
            assert reply.error_estimate.ptp == ptp
            assert (reply.class_of_service, reply.timestamps, reply.counts) == (None, None, None)
            assert reply.follow_ups == ()
            assert not reply.announces
        assert found.samples == {Quality.C: COUNT}

    @HOSTS
    @STATES
    @pytest.mark.parametrize("asked", [Asked(), ALL], ids=["44 octets", "with extensions"])
    def test_makes_do_with_twamp_light(self, *, host: str, stateful: bool, asked: Asked) -> None:
        with Responder(host, mode="twamp-light", stateful=stateful) as responder:
            found = measure(responder, asked=asked)
        judge_complete(found, responder)
        assert found.samples == {Quality.C: COUNT}
        assert not any(reply.announces for reply in found.replies)

    @pytest.mark.parametrize("key", [None, KEY], ids=["open", "authenticated"])
    def test_needs_no_extension(self, key: bytes | None) -> None:
        mode: Mode = "stamp" if key is None else "authenticated"
        with Responder(mode=mode, key=key) as responder:
            found = measure(responder, asked=Asked(), key=key)
        judge_complete(found, responder)

    def test_is_refused_where_it_has_another_key(self) -> None:
        with Responder(mode="authenticated", key=OTHER_KEY) as responder:
            found = measure(responder, key=KEY, timeout_ns=2000 * MS)
        assert (responder.received, responder.bad_hmac, responder.answered) == (COUNT, COUNT, 0)
        assert found.totals == PacketCounts(lost=COUNT)
        assert found.samples == {}

    def test_believes_no_reply_of_a_reflector_without_the_key(self) -> None:
        with Responder(mode="stamp") as responder:
            found = measure(responder, key=KEY, timeout_ns=2000 * MS)
        assert responder.answered == COUNT
        assert found.discarded == {ReplyFault.HMAC: COUNT}
        assert found.totals == PacketCounts(lost=COUNT)
        assert found.samples == {}

    def test_is_a_session_of_its_own_by_its_ssid(self) -> None:
        with Responder() as responder:
            first = measure(responder, asked=Asked(counts=True), ssid=1)
            second = measure(responder, asked=Asked(counts=True), ssid=2)
        for found in (first, second):
            assert [reply.reflector_seq for reply in found.replies] == list(range(COUNT))
        assert responder.answered == 2 * COUNT


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reflectors stop soon, and let no packet be given up because this machine is busy."""
    monkeypatch.setattr("probes.reflector._STOP_POLL_S", 0.01)
    monkeypatch.setattr("probes.schedule.LATE_TOLERANCE_NS", 10_000 * MS)


@pytest.fixture(params=["plain", "compiled"])
def each_reflector(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `serving` run the reflector in Python, then the one in compiled code."""
    monkeypatch.setenv("NETSLO_NUMBA", "1" if request.param == "compiled" else "0")
    if request.param == "compiled" and not warm_up(load_reflecting):
        pytest.skip("numba is not there")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def serving(host: str = "127.0.0.1", **options: Any) -> Iterator[ReflectorServer]:
    """Run a reflector of ours; what it counts is complete when it has stopped."""
    server, stop = ReflectorServer([Endpoint(host, 0)], **options), threading.Event()
    assert (server._compiled is None) == (os.environ["NETSLO_NUMBA"] == "0")
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def ask(
    server: ReflectorServer,
    mode: Mode = "stamp",
    *,
    tlvs: Sequence[Tlv] = (),
    tail: bytes = b"",
    padding: int = 0,
    count: int = COUNT,
    **options: Any,
) -> list[Answer]:
    """Have the independent sender judge our replies; ours follow up in order, not the last only."""
    [endpoint] = server.endpoints
    target = (endpoint.host, endpoint.port)
    with Asker(target, mode, exact_follow_up=False, **options) as asker:
        answers = asker.ask(count, 0.002, tlvs=tlvs, tail=tail, padding=padding, timeout=60.0)
    assert [answer.sequence for answer in answers] == list(range(count))
    assert all(answer.t1 <= answer.t2 <= answer.t3 <= answer.t4 for answer in answers)
    return answers


@pytest.mark.usefixtures("each_reflector")
class TestAnotherSenderAgainstOurReflector:
    @HOSTS
    @STATES
    @FORMATS
    @pytest.mark.parametrize("mode", ["stamp", "authenticated"])
    def test_finds_nothing_wrong(self, *, host: str, stateful: bool, ptp: bool, mode: Mode) -> None:
        key = KEY if mode == "authenticated" else None
        with serving(host, stateful=stateful, key=key) as server:
            answers = ask(server, mode, key=key, stateful=stateful, ptp=ptp)
        assert (server.reflected, server.discarded) == (COUNT, {})
        assert [answer.ttl for answer in answers] == [255] * COUNT
        assert [answer.reflector_sequence for answer in answers] == list(range(COUNT))

    @HOSTS
    @STATES
    @pytest.mark.parametrize("tail", [b"", bytes(60), b"\xa5" * 60], ids=["44", "zeros", "marks"])
    def test_that_knows_rfc_8762_only_gets_its_padding_back(
        self, *, host: str, stateful: bool, tail: bytes
    ) -> None:
        with serving(host, stateful=stateful) as server:
            ask(server, "stamp-8762", tail=tail, stateful=stateful)
        assert (server.reflected, server.discarded) == (COUNT, {})

    @HOSTS
    @STATES
    @pytest.mark.parametrize("padding", [0, 1, 26, 27, 30, 1000])
    def test_that_speaks_twamp_light_is_answered(
        self, *, host: str, stateful: bool, padding: int
    ) -> None:
        with serving(host, stateful=stateful) as server:
            answers = ask(server, "twamp-light", padding=padding, stateful=stateful)
        assert (server.reflected, server.discarded) == (COUNT, {})
        assert [answer.ttl for answer in answers] == [255] * COUNT

    @HOSTS
    def test_learns_with_which_ttl_its_packet_came(self, host: str) -> None:
        with serving(host) as server:
            assert {answer.ttl for answer in ask(server, ttl=64)} == {64}

    def test_may_begin_near_the_last_number_there_is(self) -> None:
        with serving(stateful=False) as server:
            [endpoint] = server.endpoints
            with Asker(
                (endpoint.host, endpoint.port), stateful=False, first_sequence=2**32 - 2
            ) as asker:
                answers = asker.ask(4, 0.001)
        assert [answer.reflector_sequence for answer in answers] == [2**32 - 2, 2**32 - 1, 0, 1]

    def test_has_its_own_numbers_by_its_ssid(self) -> None:
        with serving() as server:
            for ssid in (1, 2, 0):
                ask(server, ssid=ssid, stateful=True)

    def test_with_another_key_or_none_is_not_answered(self) -> None:
        with serving(key=KEY) as server:
            for mode, key in (("authenticated", OTHER_KEY), ("stamp", None)):
                target = (server.endpoints[0].host, server.endpoints[0].port)
                with Asker(target, mode, key=key) as asker:
                    padding = 0 if key else 68  # as long as if it were signed
                    assert asker.ask(3, 0, padding=padding, timeout=0.05, allow_loss=True) == []
            until(lambda: server.discarded.total() == 6)
        assert (server.reflected, server.discarded) == (0, {RequestFault.HMAC: 6})


def class_of_service(dscp: int) -> Tlv:
    return Tlv(CLASS_OF_SERVICE, (dscp << 26).to_bytes(4))


def location() -> Tlv:
    """Ask for both addresses and for a MAC address (RFC 8972 section 4.2)."""
    subs = (Tlv(4, bytes(16)), Tlv(7, bytes(16)), Tlv(1, bytes(8)))
    return Tlv(LOCATION, bytes(4) + b"".join(sub.packed() for sub in subs))


EVERY = (
    Tlv(EXTRA_PADDING, b"\x5a" * 5),
    location(),
    Tlv(TIMESTAMP_INFORMATION, bytes(4)),
    class_of_service(10),
    Tlv(DIRECT_MEASUREMENT, bytes(12)),
    Tlv(ACCESS_REPORT, b"\x10\x01\0\0"),
    Tlv(FOLLOW_UP_TELEMETRY, bytes(16)),
    Tlv(UNKNOWN, b"what is this"),
    Tlv(EXPERIMENTAL),
)
SECURED = pytest.mark.parametrize("key", [None, KEY], ids=["open", "authenticated"])


def mode_of(key: bytes | None) -> Mode:
    return "stamp" if key is None else "authenticated"


@pytest.mark.usefixtures("each_reflector")
class TestExtensionsOfAnotherSender:
    @HOSTS
    @STATES
    @SECURED
    def test_are_all_answered_in_their_places(
        self, *, host: str, stateful: bool, key: bytes | None
    ) -> None:
        with serving(host, stateful=stateful, key=key) as server:
            answers = ask(server, mode_of(key), tlvs=EVERY, key=key, stateful=stateful, dscp=EF)
        assert (server.reflected, server.discarded) == (COUNT, {})
        for answer in answers:
            flags = {tlv.type: tlv.flags for tlv in answer.tlvs}
            unknown = dict.fromkeys((UNKNOWN, EXPERIMENTAL), FLAG_U)
            assert flags == dict.fromkeys([tlv.type for tlv in EVERY], 0) | unknown | (
                {HMAC_TLV: 0} if key else {}
            )

    @HOSTS
    @pytest.mark.parametrize("dscp", [0, EF])
    @pytest.mark.parametrize("wanted", [0, 10, 63])
    def test_class_of_service(self, host: str, dscp: int, wanted: int) -> None:
        """The reply has the DSCP that was asked for, and says which one the request had."""
        with serving(host) as server:
            answers = ask(server, tlvs=[class_of_service(wanted)], dscp=dscp)
        for answer in answers:
            word = wanted << 26 | dscp << 20
            assert answer.tlvs == (Tlv(CLASS_OF_SERVICE, word.to_bytes(4), 0),)

    @HOSTS
    @SECURED
    def test_follow_up_telemetry(self, host: str, key: bytes | None) -> None:
        """Each request is sent when the reply before has come, so that its stamp is there."""
        tlvs = [Tlv(FOLLOW_UP_TELEMETRY, bytes(16))]
        with serving(host, key=key) as server:
            target = (server.endpoints[0].host, server.endpoints[0].port)
            with Asker(target, mode_of(key), key=key, stateful=True) as asker:
                answers = [answer for _ in range(COUNT) for answer in asker.ask(1, tlvs=tlvs)]
        values = [answer.tlvs[0].value for answer in answers]
        told = [int.from_bytes(value[:4]) for value in values if any(value[4:12])]
        assert told == list(range(COUNT - 1))  # each once, in order
        assert {value[12] for value in values if any(value)} == {SOFTWARE_LOCAL}

    def test_follow_up_telemetry_of_a_stateless_reflector_says_nothing(self) -> None:
        with serving(stateful=False) as server:
            tlvs = [Tlv(FOLLOW_UP_TELEMETRY, bytes(16))]
            answers = ask(server, tlvs=tlvs, stateful=False)
        assert {answer.tlvs for answer in answers} == {(Tlv(FOLLOW_UP_TELEMETRY, bytes(16), 0),)}

    def test_timestamp_information(self) -> None:
        """T2 is the kernel's, T3 is read by ourselves; by which clock, this host knows."""
        with serving() as server:
            answers = ask(server, tlvs=[Tlv(TIMESTAMP_INFORMATION, bytes(4))])
        for answer in answers:
            source_in, method_in, source_out, method_out = answer.tlvs[0].value
            assert source_in == source_out
            assert source_in in {Synchronisation.NTP, FREE_RUNNING}
            assert (method_in, method_out) == (SOFTWARE_LOCAL, Method.CONTROL_PLANE)

    @STATES
    def test_direct_measurement(self, *, stateful: bool) -> None:
        tlv = Tlv(DIRECT_MEASUREMENT, (1234).to_bytes(4) + bytes(8))
        with serving(stateful=stateful) as server:
            answers = ask(server, tlvs=[tlv], stateful=stateful)
        for number, answer in enumerate(answers, 1):
            count = (number if stateful else 0).to_bytes(4)
            assert answer.tlvs[0].value == (1234).to_bytes(4) + 2 * count

    def test_access_report(self) -> None:
        tlv = Tlv(ACCESS_REPORT, b"\x20\x01\0\0")
        with serving() as server:
            answers = ask(server, tlvs=[tlv])
        assert {answer.tlvs for answer in answers} == {(Tlv(ACCESS_REPORT, tlv.value, 0),)}

    @HOSTS
    def test_location(self, host: str) -> None:
        with serving(host) as server:
            port = server.endpoints[0].port
            with Asker((host, port)) as asker:
                own_port = asker._socket.getsockname()[1]
                [answer] = asker.ask(1, tlvs=[location()])
        [told] = answer.tlvs
        v6 = ":" in host
        here = socket.inet_pton(socket.AF_INET6 if v6 else socket.AF_INET, host).ljust(16, b"\0")
        subs = (
            Tlv(6 if v6 else 5, here, 0),
            Tlv(9 if v6 else 8, here, 0),
            Tlv(1, bytes(8)),  # of a MAC address a UDP socket knows nothing
        )
        ports = port.to_bytes(2) + own_port.to_bytes(2)
        assert told == Tlv(LOCATION, ports + b"".join(sub.packed() for sub in subs), 0)

    @SECURED
    @pytest.mark.parametrize("size", [0, 1, 8000])
    def test_extra_padding_alone_needs_no_hmac(self, size: int, key: bytes | None) -> None:
        tlv = Tlv(EXTRA_PADDING, b"\x5a" * size)
        with serving(key=key) as server:
            answers = ask(server, mode_of(key), tlvs=[tlv], key=key)
        assert {answer.tlvs for answer in answers} == {(Tlv(EXTRA_PADDING, tlv.value, 0),)}

    def test_extra_padding_may_follow_the_hmac(self) -> None:
        tlvs = [class_of_service(EF), Tlv(HMAC_TLV), Tlv(EXTRA_PADDING, b"\x5a" * 9)]
        with serving(key=KEY) as server:
            answers = ask(server, "authenticated", tlvs=tlvs, key=KEY)
        for answer in answers:
            assert [(tlv.type, tlv.flags) for tlv in answer.tlvs] == [
                (CLASS_OF_SERVICE, 0),
                (HMAC_TLV, 0),
                (EXTRA_PADDING, 0),
            ]
            assert answer.tlvs[0].value == (EF << 26).to_bytes(4)

    @pytest.mark.parametrize(
        "tlvs",
        [
            pytest.param([class_of_service(EF), Tlv(HMAC_TLV, bytes(16))], id="wrong"),
            pytest.param([class_of_service(EF), Tlv(HMAC_TLV, bytes(15))], id="of 15 octets"),
            pytest.param([Tlv(HMAC_TLV), class_of_service(EF)], id="before another"),
            pytest.param([Tlv(HMAC_TLV), class_of_service(EF), Tlv(HMAC_TLV)], id="twice"),
            pytest.param([Tlv(HMAC_TLV), Tlv(HMAC_TLV)], id="of an HMAC"),
        ],
    )
    def test_are_doubted_where_the_hmac_is(self, tlvs: list[Tlv]) -> None:
        with serving(key=KEY) as server:
            answers = ask(server, "authenticated", tlvs=tlvs, key=KEY)
        for answer in answers:
            assert {tlv.flags for tlv in answer.tlvs} == {FLAG_U | FLAG_I}

    def test_are_doubted_to_the_end_of_the_packet(self) -> None:
        cut = Tlv(UNKNOWN, bytes(9)).packed()[:-1]
        with serving(key=KEY) as server:
            answers = ask(server, "authenticated", tlvs=[class_of_service(EF)], tail=cut, key=KEY)
        for answer in answers:
            assert {tlv.flags for tlv in answer.tlvs} == {FLAG_U | FLAG_I}

    def test_sealed_for_a_reflector_without_a_key_are_not_verified_by_it(self) -> None:
        tlvs = [class_of_service(EF), Tlv(HMAC_TLV, bytes(16))]
        with serving() as server:
            answers = ask(server, tlvs=tlvs)
        for answer in answers:
            assert [tlv.flags for tlv in answer.tlvs] == [0, FLAG_U]
            assert answer.tlvs[1].value == bytes(16)

    @pytest.mark.parametrize(
        "kind",
        [
            TIMESTAMP_INFORMATION,
            CLASS_OF_SERVICE,
            DIRECT_MEASUREMENT,
            FOLLOW_UP_TELEMETRY,
        ],
    )
    @pytest.mark.parametrize("size", [0, 3])
    def test_of_a_wrong_length_are_marked(self, kind: int, size: int) -> None:
        tlvs = [Tlv(EXTRA_PADDING, b"12"), Tlv(kind, bytes(size))]
        with serving() as server:
            answers = ask(server, tlvs=tlvs)
        for answer in answers:
            assert [tlv.flags for tlv in answer.tlvs] == [0, FLAG_M]
            assert answer.tlvs[1].value == bytes(size)

    def test_cut_by_the_end_of_the_packet_are_marked(self) -> None:
        with serving() as server:
            tail = Tlv(UNKNOWN, bytes(9)).packed()[:-1]
            answers = ask(server, tlvs=[Tlv(EXTRA_PADDING, b"12")], tail=tail)
        for answer in answers:
            assert [tlv.flags for tlv in answer.tlvs] == [0, FLAG_M]

    def test_beyond_those_that_we_read_are_not_understood(self) -> None:
        """Nothing is wrong with them, so M is not set."""
        with serving() as server:
            answers = ask(server, tlvs=[Tlv(EXTRA_PADDING)] * 300, supported=frozenset())
        for answer in answers:
            assert {tlv.flags for tlv in answer.tlvs} == {0, FLAG_U}
            assert len(answer.tlvs) == 300


def test_the_independent_sender_and_reflector_agree() -> None:
    """Else neither would be a judge of ours; what it does not know it must say."""
    types = frozenset({LOCATION, ACCESS_REPORT, UNKNOWN, EXPERIMENTAL})
    for key in (None, KEY):
        with (
            Responder(mode=mode_of(key), key=key) as responder,
            Asker(responder.address, mode_of(key), key=key, stateful=True, dscp=EF) as asker,
        ):
            for answer in asker.ask(COUNT, 0.001, tlvs=EVERY):
                unknown = {tlv.type for tlv in answer.tlvs if tlv.flags == FLAG_U}
                assert unknown == types == {tlv.type for tlv in EVERY} - KNOWN_TYPES
