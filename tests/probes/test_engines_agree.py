"""Both engines against the same far ends, true and false: they must say the same of them."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from independent_stamp import (
    CLASS_OF_SERVICE,
    FOLLOW_UP_TELEMETRY,
    HMAC_TLV,
    TIMESTAMP_INFORMATION,
    Mode,
    Responder,
    Tlv,
    digest,
    encode_time,
)
from stamp_exchange import KEY

from analytics.windows import PacketCounts, SeriesKey
from netslo.model import Endpoint, Path, Quality
from probes import _kernels
from probes.address import resolve
from probes.channel import OVERLONG, Report
from probes.engine import Engine
from probes.session import SessionPlan
from probes.stamp.events import FollowUpFault, ReplyFault
from probes.warm_up import warm_up

if not _kernels.available():
    pytest.skip("numba is not there", allow_module_level=True)

from probes.batched import BatchedEngine

MS = 1_000_000
COUNT = 12
TIMEOUTS_MS = (300, 5_000)  # the second on a busy machine, where answers came too late
# Where the indices of kernels are checked, the plain engine has none.
ENGINES = (BatchedEngine,) if os.environ.get("NUMBA_BOUNDSCHECK") else (Engine, BatchedEngine)
Judged = tuple[PacketCounts, Counter[str], Counter[Quality]]
KEYS = pytest.mark.parametrize("key", [None, KEY], ids=["open", "authenticated"])


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no packet be given up because this machine is busy."""
    monkeypatch.setattr("probes.schedule.LATE_TOLERANCE_NS", 10_000 * MS)
    warm_up()


def measure(
    engine: type[Engine | BatchedEngine],
    address: tuple[str, int],
    key: bytes | None,
    timeout_ms: int = 2_000,
) -> Judged:
    """Return what an engine says of a far end: packets, causes, answers by quality."""
    discarded: Counter[str] = Counter()
    qualities: Counter[Quality] = Counter()

    def take_in(reports: dict[str, Report]) -> None:
        for report in reports.values():
            discarded.update(report.discarded)
            for window in report.windows:
                for sketch_key, sketch in window.sketches.items():
                    if sketch_key.metric == "network.probe.rtt":
                        qualities[sketch_key.quality] += sketch.count

    running = engine(take_in)
    plan = SessionPlan(
        SeriesKey(Path("here", "there", "ef")),
        4 * MS,
        timeout_ms * MS,
        dscp=46,
        secret=key,
    )
    measured = running.measure(plan, resolve(Endpoint(*address)), phase_ns=0, count=COUNT)
    running.run()
    return measured.totals, discarded, qualities


def judge(
    engine: type[Engine | BatchedEngine],
    address: tuple[str, int],
    key: bytes | None,
    causes: dict[str, int],
    answered: int,
) -> tuple[PacketCounts, Counter[str]]:
    """Measure, and once more with more time where replies may have come behind the time-out."""
    for timeout_ms in TIMEOUTS_MS:
        totals, discarded, _ = measure(engine, address, key, timeout_ms)
        if (discarded, totals.lost) == (causes, COUNT - answered):
            break
    return totals, discarded


@KEYS
@pytest.mark.parametrize("stateful", [True, False], ids=["stateful", "stateless"])
@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.__name__)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_independent_reflector_is_measured(
    engine: type[Engine | BatchedEngine], *, host: str, stateful: bool, key: bytes | None
) -> None:
    mode = "stamp" if key is None else "authenticated"
    with Responder(host, mode=mode, key=key, stateful=stateful) as responder:
        totals, discarded, qualities = measure(engine, responder.address, key)
        assert (responder.received, responder.bad_hmac, responder.malformed) == (COUNT, 0, 0)
    assert totals == PacketCounts(answered=COUNT)
    assert discarded == {}
    told = COUNT - 1 if stateful else 0  # of the last reply nobody tells
    assert qualities == Counter({Quality.A: told, Quality.B: COUNT - told})


@pytest.mark.parametrize("stateful", [True, False], ids=["stateful", "stateless"])
@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.__name__)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize(
    ("mode", "ptp"), [("stamp-8762", False), ("stamp-8762", True), ("twamp-light", False)]
)
def test_an_older_reflector_is_measured(
    engine: type[Engine | BatchedEngine], *, host: str, mode: Mode, stateful: bool, ptp: bool
) -> None:
    """It returns extensions as they went, or knows no SSID; so nothing tells how it took T2."""
    with Responder(host, mode=mode, stateful=stateful, ptp=ptp) as responder:
        totals, discarded, qualities = measure(engine, responder.address, None)
    assert (responder.received, responder.answered, responder.malformed) == (COUNT, COUNT, 0)
    assert totals == PacketCounts(answered=COUNT)
    assert discarded == {}
    assert qualities == {Quality.C: COUNT}


# What false ends do to the true reply; offsets are those of an unauthenticated packet.


def put(form: str, at: int, value: int, reply: bytearray) -> list[bytes]:
    struct.pack_into(form, reply, at, value)
    return [bytes(reply)]


def shift_t3(by_ns: int, reply: bytearray) -> list[bytes]:
    (t3,) = struct.unpack_from("!Q", reply, 4)
    return put("!Q", 4, t3 + (by_ns << 32) // 10**9, reply)


def follow_up(sequence: int, left_ns: int) -> bytes:
    value = struct.pack("!IQB3x", sequence, encode_time(left_ns), 2)
    return Tlv(FOLLOW_UP_TELEMETRY, value, flags=0).packed()


def with_extensions(octets: bytes, reply: bytearray) -> list[bytes]:
    return [bytes(reply[:44]) + octets]


LIES: dict[str, tuple[Callable[[bytearray], list[bytes]], dict[str, int], int]] = {
    "nothing": (lambda reply: [bytes(reply)], {}, COUNT),
    "silence": (lambda _: [], {}, 0),
    "twice": (lambda reply: [bytes(reply)] * 2, {}, COUNT),
    "cut": (lambda reply: [bytes(reply[:40])], {ReplyFault.SHORT: COUNT}, 0),
    "empty": (lambda _: [b""], {ReplyFault.SHORT: COUNT}, 0),
    "TWAMP Light's length": (lambda reply: [bytes(reply[:41])], {}, COUNT),
    "overlong": (lambda reply: [bytes(reply).ljust(9001, b"\0")], {OVERLONG: COUNT}, 0),
    "wild sequence": (partial(put, "!I", 24, 2**31 + 5), {ReplyFault.SEQUENCE: COUNT}, 0),
    "the last sequence": (partial(put, "!I", 24, 2**32 - 1), {ReplyFault.SEQUENCE: COUNT}, 0),
    "wrong T1": (partial(put, "!Q", 28, 2**63), {ReplyFault.SENDER_TIMESTAMP: COUNT}, 0),
    "T3 before T2": (partial(shift_t3, -(10**6)), {ReplyFault.DWELL_NEGATIVE: COUNT}, 0),
    "an hour's dwell": (partial(shift_t3, 3600 * 10**9), {ReplyFault.DWELL_LONG: COUNT}, 0),
    "no PTP time": (
        lambda reply: put("!H", 12, 0x4001, bytearray(put("!Q", 4, 2**32 - 1, reply)[0])),
        {ReplyFault.TIMESTAMP: COUNT},
        0,
    ),
    "wild own sequence": (partial(put, "!I", 0, 2**32 - 1), {}, COUNT),
    "follow-up of nobody": (
        partial(with_extensions, follow_up(2**31, 1_800_000_000 * 10**9)),
        {FollowUpFault.UNKNOWN: COUNT},
        COUNT,
    ),
    "two of them": (
        partial(with_extensions, follow_up(2**32 - 1, 10**18) + follow_up(2**31, 10**18)),
        {FollowUpFault.UNKNOWN: 2 * COUNT},
        COUNT,
    ),
    "cut extension": (partial(with_extensions, b"\0\x07\xff\xff"), {}, COUNT),
    "many extensions": (partial(with_extensions, Tlv(9, b"", flags=0).packed() * 300), {}, COUNT),
    "odd lengths": (
        partial(
            with_extensions,
            Tlv(TIMESTAMP_INFORMATION, b"\1", flags=0).packed()
            + Tlv(CLASS_OF_SERVICE, b"", flags=0).packed()
            + Tlv(FOLLOW_UP_TELEMETRY, b"x" * 17, flags=0).packed(),
        ),
        {},
        COUNT,
    ),
}


@contextmanager
def lying(lie: Callable[[bytearray], list[bytes]]) -> Iterator[tuple[str, int]]:
    """Answer every request by what a lie makes of the true reply."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                request, peer = sock.recvfrom(2000)
                if request == b"end":
                    return
                for datagram in lie(true_reply(request)):
                    sock.sendto(datagram, peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield sock.getsockname()
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.sendto(b"end", sock.getsockname())
            thread.join(60)


def true_reply(request: bytes) -> bytearray:
    """RFC 8762 section 4.3.1; T2 and T3 are T1, which no clock contradicts."""
    seq, t1, error, ssid = struct.unpack_from("!IQHH", request)
    reply = struct.pack("!IQHHQIQHxxB3x", seq, t1, 1, ssid, t1, seq, t1, error, 255)
    return bytearray(reply)


@pytest.mark.parametrize(("lie", "causes", "answered"), LIES.values(), ids=LIES)
@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.__name__)
def test_a_lie_has_the_same_end(
    engine: type[Engine | BatchedEngine],
    lie: Callable[[bytearray], list[bytes]],
    causes: dict[str, int],
    answered: int,
) -> None:
    with lying(lie) as address:
        totals, discarded = judge(engine, address, None, causes, answered)
    assert discarded == causes
    assert (totals.answered, totals.lost) == (answered, COUNT - answered)
    if LIES["twice"][0] is lie:  # the second of the last reply may come behind the end
        assert totals.duplicates in (COUNT - 1, COUNT)
    else:
        assert totals.duplicates == 0


def signed(reply: bytearray, tlvs: bytes = b"", *, key: bytes = KEY) -> bytes:
    """Return the reply in RFC 8762's authenticated format, with a HMAC TLV behind extensions."""
    seq, t3, error, ssid, t2, sender_seq, t1, sender_error, ttl = struct.unpack(
        "!IQHHQIQHxxB3x", reply
    )
    base = struct.pack(
        "!I12xQHH4xQ8xI12xQH6xB15x",
        seq, t3, error, ssid, t2, sender_seq, t1, sender_error, ttl,
    )  # fmt: skip
    seal = Tlv(HMAC_TLV, digest(key, base[:4] + tlvs), flags=0).packed() if tlvs else b""
    return base + digest(key, base) + tlvs + seal


def flipped(at: int, octets: bytes) -> bytes:
    changed = bytearray(octets)
    changed[at] ^= 1
    return bytes(changed)


SEEN = Tlv(CLASS_OF_SERVICE, bytes(4), flags=0).packed()
FORGERIES: dict[str, tuple[Callable[[bytearray], bytes], dict[str, int], int]] = {
    "none": (signed, {}, COUNT),
    "none, with extensions": (lambda reply: signed(reply, SEEN), {}, COUNT),
    "another key": (partial(signed, key=b"other"), {ReplyFault.HMAC: COUNT}, 0),
    "changed T2": (lambda reply: flipped(33, signed(reply)), {ReplyFault.HMAC: COUNT}, 0),
    "changed HMAC": (lambda reply: flipped(111, signed(reply)), {ReplyFault.HMAC: COUNT}, 0),
    "changed extension": (
        lambda reply: flipped(117, signed(reply, SEEN)),
        {ReplyFault.INTEGRITY: COUNT},
        0,
    ),
    "changed seal": (
        lambda reply: flipped(-1, signed(reply, SEEN)),
        {ReplyFault.INTEGRITY: COUNT},
        0,
    ),
    "an extension without seal": (
        lambda reply: signed(reply) + SEEN,
        {ReplyFault.INTEGRITY: COUNT},
        0,
    ),
    "an extension behind the seal": (
        lambda reply: signed(reply, SEEN) + SEEN,
        {ReplyFault.INTEGRITY: COUNT},
        0,
    ),
    "an unauthenticated reply": (bytes, {ReplyFault.SHORT: COUNT}, 0),
    "cut": (lambda reply: signed(reply)[:111], {ReplyFault.SHORT: COUNT}, 0),
}


@pytest.mark.parametrize(("forge", "causes", "answered"), FORGERIES.values(), ids=FORGERIES)
@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.__name__)
def test_a_forgery_has_the_same_end(
    engine: type[Engine | BatchedEngine],
    forge: Callable[[bytearray], bytes],
    causes: dict[str, int],
    answered: int,
) -> None:
    with lying_to_signed(forge) as address:
        totals, discarded = judge(engine, address, KEY, causes, answered)
    assert discarded == causes
    assert (totals.answered, totals.lost) == (answered, COUNT - answered)


@contextmanager
def lying_to_signed(forge: Callable[[bytearray], bytes]) -> Iterator[tuple[str, int]]:
    """Answer authenticated requests by what a forger makes of the true reply."""

    def lie(unsigned: bytearray) -> list[bytes]:
        return [forge(unsigned)]

    def plain(request: bytes) -> bytes:
        """Return the fields of an authenticated request as an unauthenticated one has them."""
        if len(request) < 112:
            return request
        seq, t1, error, ssid = struct.unpack_from("!I12xQHH", request)
        assert request[96:112] == digest(KEY, request[:96])
        return struct.pack("!IQHH", seq, t1, error, ssid)

    with pytest.MonkeyPatch.context() as patched:
        original = true_reply
        patched.setitem(globals(), "true_reply", lambda request: original(plain(request)))
        with lying(lie) as address:
            yield address
