"""STAMP and TWAMP-light a second time, from the RFC texts alone: an oracle for interoperability.

Written from RFC 8762 (STAMP), RFC 8972 (its extensions) and RFC 5357 Appendix I (TWAMP-light),
and from nothing else of this project: it shares no line with the code that it judges.

* ``Responder`` is a Session-Reflector in a thread.
* ``Asker`` is a Session-Sender that judges each reply, and says in one sentence what is wrong.

Both run from a shell too::

    python -m tests.support.independent_stamp respond --listen 127.0.0.1:8620 --mode stamp
    python -m tests.support.independent_stamp ask --target 127.0.0.1:8620 --mode stamp --count 5
"""

import argparse
import dataclasses
import hashlib
import hmac
import itertools
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Literal, Self, get_args

Mode = Literal["stamp", "stamp-8762", "authenticated", "twamp-light"]
Address = tuple[str, int]

# RFC 8972 section 4: the flags of a TLV, then the types that have rules here.
FLAG_U, FLAG_M, FLAG_I = 0x80, 0x40, 0x20
EXTRA_PADDING, TIMESTAMP_INFORMATION, CLASS_OF_SERVICE = 1, 3, 4
DIRECT_MEASUREMENT, FOLLOW_UP_TELEMETRY, HMAC_TLV = 5, 7, 8
_LENGTHS = {
    TIMESTAMP_INFORMATION: 4,
    CLASS_OF_SERVICE: 4,
    DIRECT_MEASUREMENT: 12,
    FOLLOW_UP_TELEMETRY: 16,
    HMAC_TLV: 16,
}
KNOWN_TYPES = frozenset({EXTRA_PADDING, *_LENGTHS})
FREE_RUNNING, SOFTWARE_LOCAL = 5, 2  # RFC 8972 sections 5.3 and 5.4

_TWAMP_REQUEST = 14  # RFC 5357 section 4.1.2
_DIGEST = 16  # HMAC-SHA-256 truncated to 128 bits, RFC 8762 section 4.4
_NTP_UNIX = 2_208_988_800  # seconds from 1900 to 1970
_SECOND = 1_000_000_000
_WRAP = 1 << 32
_Z_FLAG = 0x4000
_ERROR_ESTIMATE = 22 << 8 | 1  # S = 0, 1 x 2^(22-32) s: about a millisecond, RFC 4656 4.1.2

# Linux numbers that the socket module of some Python does not name.
_IP_RECVTOS, _IP_RECVTTL, _IPV6_RECVHOPLIMIT, _IPV6_RECVTCLASS = 13, 12, 51, 66
_TTL_MESSAGES = {(socket.IPPROTO_IP, 2), (socket.IPPROTO_IPV6, 52)}
_TOS_MESSAGES = {(socket.IPPROTO_IP, 1), (socket.IPPROTO_IPV6, 67)}
_SO_TIMESTAMPING = 37
_TX_STAMPS = 1 << 1 | 1 << 4 | 1 << 7 | 1 << 11  # TX_SOFTWARE, SOFTWARE, OPT_ID, OPT_TSONLY
_ERROR_MESSAGES = {(socket.IPPROTO_IP, 11), (socket.IPPROTO_IPV6, 25)}
_MSG_ERRQUEUE = 0x2000


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Where a base packet keeps its fields; both directions have one length."""

    size: int
    stamp: int
    error: int
    ssid: int
    received: int
    sender_sequence: int
    sender_stamp: int
    sender_error: int
    ttl: int
    zero: tuple[tuple[int, int], ...]  # MBZ of the reflector's packet


# RFC 8762 sections 4.2.1 and 4.3.1, the SSID of RFC 8972 section 3.
_OPEN = _Layout(44, 4, 12, 14, 16, 24, 28, 36, 40, ((38, 40), (41, 44)))
# RFC 8762 sections 4.2.2 and 4.3.2.
_SIGNED = _Layout(
    112, 16, 24, 26, 32, 48, 64, 72, 80, ((4, 16), (28, 32), (40, 48), (52, 64), (74, 80), (81, 96))
)
# RFC 5357 section 4.2.1; octets 14 and 15 are MBZ there.
_LIGHT = _Layout(41, 4, 12, 14, 16, 24, 28, 36, 40, ((14, 16), (38, 40)))
_LAYOUTS: dict[str, _Layout] = {
    "stamp": _OPEN,
    "stamp-8762": _OPEN,
    "authenticated": _SIGNED,
    "twamp-light": _LIGHT,
}


@dataclasses.dataclass(frozen=True)
class Tlv:
    """One TLV of RFC 8972 section 4; a sender sets U and nothing else.

    A sender may place ``Tlv(HMAC_TLV)`` itself, with no value: it is signed where it stands. With
    a value it is sent as it is, right or wrong.
    """

    type: int
    value: bytes = b""
    flags: int = FLAG_U

    def packed(self) -> bytes:
        return struct.pack("!BBH", self.flags, self.type, len(self.value)) + self.value


@dataclasses.dataclass(frozen=True)
class Answer:
    """One judged reply; times are Unix nanoseconds, ``ttl`` is what the reflector saw."""

    sequence: int
    reflector_sequence: int
    t1: int
    t2: int
    t3: int
    t4: int
    ttl: int
    tlvs: tuple[Tlv, ...] = ()


def encode_time(unix_ns: int, *, ptp: bool = False) -> int:
    """Give 64 bits: NTP (RFC 5905) or truncated PTPv2 (RFC 8186), with no TAI offset applied."""
    seconds, rest = divmod(unix_ns, _SECOND)
    if ptp:
        return seconds % _WRAP << 32 | rest
    return (seconds + _NTP_UNIX) % _WRAP << 32 | (rest << 32) // _SECOND


def decode_time(bits: int, *, ptp: bool = False) -> int:
    """Give the Unix nanoseconds of 64 bits, in the era nearest to now."""
    seconds, rest = bits >> 32, bits & (_WRAP - 1)
    if not ptp:
        seconds -= _NTP_UNIX
        rest = (rest * _SECOND + (1 << 31)) >> 32
    now = time.time_ns() // _SECOND
    seconds += (now - seconds + _WRAP // 2) // _WRAP * _WRAP
    return seconds * _SECOND + rest


def digest(key: bytes, text: bytes) -> bytes:
    """HMAC-SHA-256 truncated to its first 128 bits (RFC 8762 section 4.4)."""
    return hmac.new(key, text, hashlib.sha256).digest()[:_DIGEST]


def _u32(data: bytes | bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 4])


def _u16(data: bytes | bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 2])


def _u64(data: bytes | bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 8])


@dataclasses.dataclass(frozen=True)
class _Found:
    """One TLV as it lies in a packet; ``whole`` is false when the packet ends before it does."""

    start: int
    end: int
    tlv: Tlv
    whole: bool

    @property
    def malformed(self) -> bool:
        """RFC 8972 section 4: a length not valid for the type, or longer than what is left."""
        wanted = _LENGTHS.get(self.tlv.type)
        return not self.whole or (wanted is not None and wanted != len(self.tlv.value))


def _walk(data: bytes) -> Iterator[_Found]:
    at = 0
    while at < len(data):
        kind = data[at + 1] if at + 1 < len(data) else 0
        length = _u16(data, at + 2) if at + 4 <= len(data) else -1
        whole = length >= 0 and at + 4 + length <= len(data)
        end = at + 4 + length if whole else len(data)
        yield _Found(at, end, Tlv(kind, data[at + 4 : end], data[at]), whole)
        at = end


def _integrity(key: bytes | None, sequence: bytes, data: bytes, *, signed_mode: bool) -> bool:
    """Verify TLVs as RFC 8972 section 4.8 asks; without a key there is nothing to verify with.

    The HMAC TLV follows all others but Extra Padding, and covers the Sequence Number of the base
    packet and every TLV before it. In authenticated mode it may lack only when the one TLV is
    Extra Padding.
    """
    found = list(_walk(data))
    if key is None or not found:
        return True
    places = [one for one in found if one.tlv.type == HMAC_TLV]
    if not places:
        return not signed_mode or (len(found) == 1 and found[0].tlv.type == EXTRA_PADDING)
    first = places[0]
    after = [one for one in found if one.start > first.start]
    if first.malformed or any(one.tlv.type != EXTRA_PADDING for one in after):
        return False
    return hmac.compare_digest(first.tlv.value, digest(key, sequence + data[: first.start]))


def _endpoint(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _open_socket(host: str) -> socket.socket:
    """Open a UDP socket that sees TTL and traffic class of what arrives, and sends with TTL 255."""
    six = ":" in host
    opened = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
    if six:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVHOPLIMIT, 1)
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVTCLASS, 1)
    else:
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
        opened.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
        opened.setsockopt(socket.IPPROTO_IP, _IP_RECVTOS, 1)
    opened.setblocking(False)
    return opened


def _traffic_class(family: int, value: int) -> tuple[int, int, bytes]:
    """Give the control message that sends one packet with this traffic class."""
    if family == socket.AF_INET6:
        return socket.IPPROTO_IPV6, 67, struct.pack("i", value)
    return socket.IPPROTO_IP, 1, struct.pack("i", value)


def _ttl_and_class(messages: list[tuple[int, int, bytes]]) -> tuple[int, int]:
    # RFC 5357 section 4.2.1: a TTL that cannot be read is reported as 255.
    ttl, seen = 255, 0
    for level, kind, data in messages:
        if (level, kind) in _TTL_MESSAGES:
            ttl = data[0]
        elif (level, kind) in _TOS_MESSAGES:
            seen = data[0]
    return ttl, seen


@dataclasses.dataclass
class _Session:
    """What a stateful reflector keeps: RFC 8762 section 4.3, RFC 8972 sections 4.5 and 4.7."""

    received: int = 0
    sent: int = 0
    previous: tuple[int, int] | None = None  # sequence and true time of the last reply


class Responder:
    """A Session-Reflector in a thread, on one UDP address.

    ``answered`` counts replies sent, ``bad_hmac`` packets dropped for the HMAC of the base packet,
    ``malformed`` packets dropped for being shorter than the least that the mode allows. A TLV that
    is malformed or fails its HMAC is no reason to drop: it is answered with its flag (RFC 8972).
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        mode: Mode = "stamp",
        *,
        key: bytes | None = None,
        stateful: bool = True,
        ptp: bool = False,
    ) -> None:
        if mode == "authenticated" and key is None:
            raise ValueError("authenticated mode needs a key")
        self.mode = mode
        self.received = self.answered = self.bad_hmac = self.malformed = 0
        self._layout = _LAYOUTS[mode]
        self._key = key
        self._stateful = stateful
        self._ptp = ptp and mode != "twamp-light"
        self._sessions: dict[tuple[str, int, int], _Session] = {}
        self._unstamped: dict[int, tuple[_Session, int]] = {}
        self._stop = threading.Event()
        self._socket = _open_socket(host)
        try:
            self._socket.bind((host, port))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _TX_STAMPS)
        except OSError:
            self._socket.close()
            raise
        bound = self._socket.getsockname()
        self.address: Address = (bound[0], bound[1])
        self._thread = threading.Thread(target=self._serve, name="independent-stamp", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        while not self._stop.is_set():
            if not waiting.poll(20):
                continue
            try:
                data, messages, _, source = self._socket.recvmsg(65535, 256)
            except OSError:
                self._collect_stamps()
                continue
            arrived = time.time_ns()
            self.received += 1
            self._answer(data, arrived, messages, source)

    def _answer(
        self,
        request: bytes,
        arrived: int,
        messages: list[tuple[int, int, bytes]],
        source: tuple[str, int],
    ) -> None:
        layout, mode = self._layout, self.mode
        if len(request) < (layout.size if mode == "authenticated" else _TWAMP_REQUEST):
            self.malformed += 1
            return
        if mode == "authenticated" and not hmac.compare_digest(
            request[96:112], digest(self._key or b"", request[:96])
        ):
            self.bad_hmac += 1
            return
        # A packet of TWAMP-light may end before 44 octets: RFC 8762 section 4.6.
        base, rest = request[: layout.size].ljust(layout.size, b"\0"), request[layout.size :]
        speaks_ssid = mode in {"stamp", "authenticated"}
        ssid = _u16(base, layout.ssid) if speaks_ssid else 0
        ttl, seen_class = _ttl_and_class(messages)
        session = self._sessions.setdefault((source[0], source[1], ssid), _Session())
        session.received += 1
        sequence = session.sent % _WRAP if self._stateful else _u32(base, 0)

        reply = bytearray(layout.size)
        struct.pack_into("!I", reply, 0, sequence)
        struct.pack_into("!H", reply, layout.error, _ERROR_ESTIMATE | _Z_FLAG * self._ptp)
        struct.pack_into("!H", reply, layout.ssid, ssid)
        struct.pack_into("!Q", reply, layout.received, encode_time(arrived, ptp=self._ptp))
        reply[layout.sender_sequence : layout.sender_sequence + 4] = base[:4]
        reply[layout.sender_stamp : layout.sender_stamp + 8] = base[layout.stamp : layout.stamp + 8]
        reply[layout.sender_error : layout.sender_error + 2] = base[layout.error : layout.error + 2]
        reply[layout.ttl] = ttl
        reply_class = seen_class & ~3
        if speaks_ssid and rest:
            rest, reply_class = self._reflect_tlvs(
                bytes(reply[:4]), base, rest, session, seen_class
            )
        self._send(reply, rest, reply_class, source, session, sequence)

    def _send(
        self,
        reply: bytearray,
        rest: bytes,
        reply_class: int,
        source: tuple[str, int],
        session: _Session,
        sequence: int,
    ) -> None:
        layout = self._layout
        control = [_traffic_class(self._socket.family, reply_class)]
        leaving = time.time_ns()
        struct.pack_into("!Q", reply, layout.stamp, encode_time(leaving, ptp=self._ptp))
        if self.mode == "authenticated":
            reply[96:112] = digest(self._key or b"", bytes(reply[:96]))
        try:
            self._socket.sendmsg([reply, rest], control, 0, source)
        except OSError:
            return
        session.previous = (sequence, time.time_ns())
        self._unstamped[self.answered] = (session, sequence)
        self.answered += 1
        session.sent += 1
        self._collect_stamps()

    def _collect_stamps(self) -> None:
        """Take the kernel's own transmit times, which are truer than a clock read after sending."""
        while True:
            try:
                _, messages, _, _ = self._socket.recvmsg(0, 512, _MSG_ERRQUEUE)
            except OSError:
                return
            stamp, number = 0, -1
            for level, kind, data in messages:
                if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPING):
                    seconds, rest = struct.unpack_from("@qq", data)
                    stamp = seconds * _SECOND + rest
                elif (level, kind) in _ERROR_MESSAGES:
                    number = struct.unpack_from("=IBBBBII", data)[6]
            session, sequence = self._unstamped.pop(number, (None, 0))
            if session and stamp and session.previous and session.previous[0] == sequence:
                session.previous = (sequence, stamp)

    def _reflect_tlvs(
        self, sequence: bytes, base: bytes, rest: bytes, session: _Session, seen_class: int
    ) -> tuple[bytes, int]:
        """Answer every TLV in its place (RFC 8972 section 4); also give the reply's class."""
        signed_mode = self.mode == "authenticated"
        intact = _integrity(self._key, base[:4], rest, signed_mode=signed_mode)
        reply_class, stopped = seen_class & ~3, False
        answer = bytearray(rest)
        for one in _walk(rest):
            if not intact:
                answer[one.start] |= FLAG_I
                continue
            if stopped and one.tlv.type != HMAC_TLV:
                continue
            known = one.tlv.type in KNOWN_TYPES and (one.tlv.type != HMAC_TLV or bool(self._key))
            answer[one.start] = 0 if known else FLAG_U
            if one.malformed:
                answer[one.start] |= FLAG_M
                stopped = True
            elif one.tlv.type == CLASS_OF_SERVICE:
                # DSCP1 is what the reply shall carry, DSCP2 and ECN what the request came with.
                wanted = one.tlv.value[0] >> 2
                reply_class = wanted << 2
                word = wanted << 26 | seen_class >> 2 << 20 | (seen_class & 3) << 18
                struct.pack_into("!I", answer, one.start + 4, word)
            elif one.tlv.type == TIMESTAMP_INFORMATION:
                answer[one.start + 4 : one.end] = bytes((FREE_RUNNING, SOFTWARE_LOCAL) * 2)
            elif one.tlv.type == DIRECT_MEASUREMENT:
                counts = session.received % _WRAP, (session.sent + 1) % _WRAP
                struct.pack_into("!II", answer, one.start + 8, *counts)
            elif one.tlv.type == FOLLOW_UP_TELEMETRY:
                value = bytes(16)
                if self._stateful and session.previous:
                    number, sent = session.previous
                    sent = encode_time(sent, ptp=self._ptp)
                    value = struct.pack("!IQB3x", number, sent, SOFTWARE_LOCAL)
                answer[one.start + 4 : one.end] = value
            elif one.tlv.type == HMAC_TLV and self._key:
                covered = sequence + bytes(answer[: one.start])
                answer[one.start + 4 : one.end] = digest(self._key, covered)
        return bytes(answer), reply_class


def _require(condition: bool, sentence: str) -> None:  # noqa: FBT001 - it reads like assert
    if not condition:
        raise AssertionError(sentence)


class Asker:
    """A Session-Sender that judges each reply by the RFC; one object is one session.

    ``mode`` says what the reflector is held to be. ``stamp-8762`` is a base reflector: what follows
    the 44 octets comes back as it went, and the octets of the SSID come back zero.

    Args:
        target: Where the reflector listens.
        mode: Which of the four formats is spoken.
        key: For authenticated mode, and for the HMAC TLV in both STAMP modes.
        ssid: Session identifier; by default one drawn from 1 to 65535 where the mode has one.
        stateful: What the reflector's sequence numbers must be; None takes either.
        same_clock: Both ends read one clock, so T1 <= T2 <= T3 <= T4 must hold.
        hops: Routers between the ends, each of which takes one from the TTL.
        supported: TLV types that the reflector must understand.
        exact_follow_up: The Follow-Up TLV must be about the very last reply, as the RFC has it;
            if false, about any earlier one or, with zeros, about none.
    """

    def __init__(
        self,
        target: Address,
        mode: Mode = "stamp",
        *,
        key: bytes | None = None,
        ssid: int | None = None,
        stateful: bool | None = None,
        ptp: bool = False,
        same_clock: bool = True,
        ttl: int = 255,
        hops: int = 0,
        dscp: int = 0,
        first_sequence: int = 0,
        supported: frozenset[int] = KNOWN_TYPES,
        exact_follow_up: bool = True,
    ) -> None:
        if mode == "authenticated" and key is None:
            raise ValueError("authenticated mode needs a key")
        self.mode = mode
        self._speaks_tlvs = mode in {"stamp", "authenticated"}
        self.ssid = (random.randint(1, 65535) if self._speaks_tlvs else 0) if ssid is None else ssid
        self._layout = _LAYOUTS[mode]
        self._key = key
        self._stateful = stateful
        self._ptp = ptp
        self._same_clock = same_clock
        self._ttl = ttl - hops
        self._dscp = dscp
        self._first = self._next = first_sequence
        self._supported = supported
        self._exact_follow_up = exact_follow_up
        self._pending: dict[int, tuple[int, bytes]] = {}
        self._reflected: dict[int, int] = {}  # T3 of each reply, by the reflector's own sequence
        self._counts: tuple[int, int, int] | None = None
        self._lost = False
        self._socket = _open_socket(target[0])
        if self._socket.family == socket.AF_INET6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
        else:
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        self._socket.connect(target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def ask(
        self,
        count: int,
        interval: float = 0.01,
        *,
        tlvs: Sequence[Tlv] = (),
        tail: bytes = b"",
        padding: int = 0,
        timeout: float = 2.0,
        allow_loss: bool = False,
    ) -> list[Answer]:
        """Send ``count`` packets and judge all that comes back, in order of arrival.

        Args:
            count: How many packets.
            interval: Seconds from one to the next, on an absolute schedule.
            tlvs: Sent after the base packet. With a key, the HMAC TLV is added last by itself.
            tail: Octets after the TLVs, as they are: a cut TLV, or anything to a base reflector.
            padding: Zero octets after the packet of TWAMP-light.
            timeout: Seconds to wait after the last packet is sent.
            allow_loss: Give what came, instead of an error, when some did not come.
        """
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        begin = time.monotonic()
        sent, end = 0, begin + max(count - 1, 0) * interval + timeout
        answers: list[Answer] = []
        self._pending.clear()
        while sent < count or self._pending:
            now = time.monotonic()
            if sent < count and now >= begin + sent * interval:
                self._send_one(tlvs, tail + bytes(padding))
                sent += 1
                end = max(end, time.monotonic() + timeout) if sent == count else end
                continue
            if now >= end:
                break
            due = begin + sent * interval if sent < count else end
            if not waiting.poll(max(due - now, 0) * 1000):
                continue
            try:
                reply, messages, _, _ = self._socket.recvmsg(65535, 256)
            except BlockingIOError:
                continue
            arrived = time.time_ns()
            answers.append(self._judge(reply, arrived, _ttl_and_class(messages)[1]))
        self._lost |= bool(self._pending)
        missing = sorted(self._pending)
        _require(
            allow_loss or not missing,
            f"{len(missing)} of {count} packets had no reply within {timeout} s: {missing[:10]}",
        )
        return answers

    def _send_one(self, tlvs: Sequence[Tlv], tail: bytes) -> None:
        layout, sequence = self._layout, self._next
        self._next = (sequence + 1) % _WRAP
        size = _TWAMP_REQUEST if self.mode == "twamp-light" else layout.size
        base = bytearray(size)
        struct.pack_into("!I", base, 0, sequence)
        struct.pack_into("!H", base, layout.error, _ERROR_ESTIMATE | _Z_FLAG * self._ptp)
        if self.mode != "twamp-light":
            struct.pack_into("!H", base, layout.ssid, self.ssid)
        rest = self._sign_tlvs(bytes(base[:4]), tlvs) + tail
        control = [_traffic_class(self._socket.family, self._dscp << 2)]
        leaving = time.time_ns()
        struct.pack_into("!Q", base, layout.stamp, encode_time(leaving, ptp=self._ptp))
        if self.mode == "authenticated":
            base[96:112] = digest(self._key or b"", bytes(base[:96]))
        self._pending[sequence] = (leaving, bytes(base) + rest)
        self._socket.sendmsg([base, rest], control)

    def _sign_tlvs(self, sequence: bytes, tlvs: Sequence[Tlv]) -> bytes:
        """Pack TLVs, with an HMAC TLV where RFC 8972 section 4.8 wants one."""
        every = list(tlvs)
        alone = len(every) == 1 and every[0].type == EXTRA_PADDING
        placed = any(one.type == HMAC_TLV for one in every)
        if every and self._key and self._speaks_tlvs and not placed and not alone:
            every.append(Tlv(HMAC_TLV))
        packed = b""
        for one in every:
            if one.type == HMAC_TLV and not one.value and self._key:
                value = digest(self._key, sequence + packed)
                packed += dataclasses.replace(one, value=value).packed()
            else:
                packed += one.packed()
        return packed

    def _judge(self, reply: bytes, arrived: int, reply_class: int) -> Answer:
        layout = self._layout
        _require(
            len(reply) >= layout.size,
            f"a reply of {len(reply)} octets is shorter than the {layout.size} of this mode",
        )
        if self.mode == "authenticated":
            # RFC 8762 section 4.4: verified first, before any field is believed.
            _require(
                hmac.compare_digest(reply[96:112], digest(self._key or b"", reply[:96])),
                "the HMAC of the reply does not verify over its octets 0 to 95",
            )
        sequence = _u32(reply, layout.sender_sequence)
        _require(
            sequence in self._pending,
            f"Session-Sender Sequence {sequence} was not asked, or was answered already",
        )
        t1, request = self._pending.pop(sequence)
        self._judge_base(request, reply)
        ptp = bool(_u16(reply, layout.error) & _Z_FLAG)
        t2 = decode_time(_u64(reply, layout.received), ptp=ptp)
        t3 = decode_time(_u64(reply, layout.stamp), ptp=ptp)
        _require(t2 <= t3, f"T2 is {t2 - t3} ns after T3 in the reply to {sequence}")
        if self._same_clock and not ptp:
            _require(t1 <= t2, f"T1 is {t1 - t2} ns after T2 on one clock, in reply to {sequence}")
            _require(t3 <= arrived, f"T3 is {t3 - arrived} ns after T4, in reply to {sequence}")
        own = _u32(reply, 0)
        self._judge_sequence(sequence, own)
        tlvs: tuple[Tlv, ...] = ()
        if self._speaks_tlvs and len(request) > layout.size:
            tlvs = self._judge_tlvs(request, reply, t3, ptp=ptp, reply_class=reply_class)
        self._reflected[own] = t3
        return Answer(sequence, own, t1, t2, t3, arrived, reply[layout.ttl], tlvs)

    def _judge_base(self, request: bytes, reply: bytes) -> None:
        """RFC 8762 sections 4.3.1 and 4.3.2, RFC 5357 section 4.2.1, RFC 8972 section 3."""
        layout, light = self._layout, self.mode == "twamp-light"
        # In TWAMP-light the reflector's format is the longer one: equal lengths need padding of 27.
        least = max(layout.size, len(request))
        fits = len(reply) >= least if light else len(reply) == len(request)
        _require(fits, f"{len(reply)} octets came back for {len(request)}")
        for start, end in layout.zero:
            _require(
                not any(reply[start:end]),
                f"octets {start} to {end - 1} must be zero and are {reply[start:end].hex()}",
            )
        if not light:
            sent = self.ssid if self._speaks_tlvs else 0
            came = _u16(reply, layout.ssid)
            _require(came == sent, f"the SSID came back as {came}, not as {sent}")
        for name, there, here, size in (
            ("Timestamp", layout.sender_stamp, layout.stamp, 8),
            ("Error Estimate", layout.sender_error, layout.error, 2),
        ):
            was, now = request[here : here + size], reply[there : there + size]
            _require(now == was, f"Session-Sender {name} is {now.hex()}, not the {was.hex()} sent")
        error = _u16(reply, layout.error)
        _require(bool(error & 0xFF), "the Multiplier of the Error Estimate is zero (RFC 4656)")
        _require(not (light and error & _Z_FLAG), "TWAMP-light knows NTP time only, Z is set")
        ttl = reply[layout.ttl]
        _require(ttl == self._ttl, f"Session-Sender TTL is {ttl}, the packet had {self._ttl}")
        if self.mode == "stamp-8762":
            _require(
                reply[layout.size :] == request[layout.size :],
                "a reflector without extensions must copy what follows 44 octets, and changed it",
            )

    def _judge_sequence(self, sequence: int, own: int) -> None:
        """RFC 8762 section 4.3: a copy, or a count from zero that is the reflector's own."""
        sent = (self._next - self._first) % _WRAP
        _require(own not in self._reflected, f"the reflector used sequence {own} twice")
        copied, counted = own == sequence, own < sent
        if not self._lost and self._stateful:
            lacking = next(number for number in itertools.count() if number not in self._reflected)
            counted &= own <= lacking + len(self._pending)
        if self._stateful is None:
            fits = copied or counted
        else:
            fits = counted if self._stateful else copied
        kind = {None: "fitting", True: "stateful", False: "stateless"}[self._stateful]
        _require(
            fits, f"sequence {own} in reply to {sequence} is no {kind} number after {sent} packets"
        )

    def _judge_tlvs(
        self, request: bytes, reply: bytes, t3: int, *, ptp: bool, reply_class: int
    ) -> tuple[Tlv, ...]:
        """RFC 8972 section 4: every TLV comes back in its place, with the flags that it earned."""
        size = self._layout.size
        went, came = list(_walk(request[size:])), list(_walk(reply[size:]))
        _require(
            [(one.start, one.end, one.tlv.type) for one in went]
            == [(one.start, one.end, one.tlv.type) for one in came],
            "the TLVs of the reply differ in order, type or length from those of the request",
        )
        tlvs = tuple(one.tlv for one in came)
        signed_mode = self.mode == "authenticated"
        if not _integrity(self._key, request[:4], request[size:], signed_mode=signed_mode):
            for old, new in zip(went, came, strict=True):
                name = f"TLV {old.tlv.type}"
                _require(bool(new.tlv.flags & FLAG_I), f"{name} failed its HMAC and has no I flag")
                _require(new.tlv.value == old.tlv.value, f"{name} failed its HMAC, yet it changed")
            return tlvs
        for old, new in zip(went, came, strict=True):
            name, flags = f"TLV {old.tlv.type}", new.tlv.flags
            if old.malformed:
                _require(bool(flags & FLAG_M), f"{name} is malformed and has no M flag")
                _require(new.tlv.value == old.tlv.value, f"{name} is malformed, yet it changed")
                return tlvs
            _require(not flags & 0x1F, f"{name} has reserved flags set: {flags:#04x}")
            _require(not flags & FLAG_M, f"{name} is well formed and has the M flag")
            if old.tlv.type == HMAC_TLV and self._key is None:
                continue
            _require(not flags & FLAG_I, f"{name} has the I flag, and its HMAC was right")
            if flags & FLAG_U:
                excused = old.tlv.type == FOLLOW_UP_TELEMETRY and self._stateful is False
                understood = old.tlv.type in self._supported and not excused
                _require(not understood, f"{name} must be understood and has the U flag")
                _require(new.tlv.value == old.tlv.value, f"{name} was not understood, yet changed")
                continue
            _require(old.tlv.type < 240, f"{name} is experimental and has no U flag")
            self._judge_value(
                old.tlv, new.tlv, _u32(reply, 0), t3, ptp=ptp, reply_class=reply_class
            )
        if self._key is not None:
            _require(
                _integrity(self._key, reply[:4], reply[size:], signed_mode=signed_mode),
                "the HMAC TLV of the reply does not verify over its sequence number and TLVs",
            )
        return tlvs

    def _judge_value(
        self, old: Tlv, new: Tlv, own: int, t3: int, *, ptp: bool, reply_class: int
    ) -> None:
        value = new.value
        if old.type == EXTRA_PADDING:
            _require(value == old.value, "Extra Padding came back changed (RFC 8972 section 4.1)")
        elif old.type == TIMESTAMP_INFORMATION:
            fits = all(1 <= source <= 5 for source in value[::2])
            fits &= all(1 <= method <= 3 for method in value[1::2])
            _require(fits, f"Timestamp Information {value.hex()} is outside sections 5.3 and 5.4")
        elif old.type == CLASS_OF_SERVICE:
            self._judge_class(_u32(old.value, 0), _u32(value, 0), reply_class)
        elif old.type == DIRECT_MEASUREMENT:
            _require(
                value[:4] == old.value[:4], "the S_TxC of Direct Measurement came back changed"
            )
            counts = own, _u32(value, 4), _u32(value, 8)
            if self._counts is not None and own > self._counts[0]:
                steps = [(now - was) % _WRAP for was, now in zip(self._counts, counts, strict=True)]
                _require(max(steps) < _WRAP // 2, f"counters ran back: {self._counts}, {counts}")
            self._counts = counts
        elif old.type == FOLLOW_UP_TELEMETRY:
            self._judge_follow_up(value, own, t3, ptp=ptp)

    def _judge_class(self, old: int, new: int, reply_class: int) -> None:
        """RFC 8972 section 4.4: DSCP1 (6), DSCP2 (6), ECN (2), RP (2), reserved (16)."""
        wanted, back = old >> 26, new >> 26
        seen, ecn, refused = new >> 20 & 63, new >> 18 & 3, new >> 16 & 3
        _require(back == wanted, f"DSCP1 came back as {back}, not as {wanted}")
        _require(seen == self._dscp, f"DSCP2 is {seen}, the packet was sent with {self._dscp}")
        _require(ecn == 0, f"ECN is {ecn}, the packet was sent with 0")
        _require(refused <= 1, f"RP is {refused}, which has no meaning")
        _require(not new & 0xFFFF, "the reserved octets of Class of Service are not zero")
        carried = reply_class >> 2
        _require(
            bool(refused) or carried == wanted,
            f"the reply has DSCP {carried}, not the {wanted} that it was asked for, and RP is 0",
        )

    def _judge_follow_up(self, value: bytes, own: int, t3: int, *, ptp: bool) -> None:
        """RFC 8972 section 4.7: the last reply of this session, and when it truly left."""
        number, bits, method = struct.unpack("!IQB", value[:13])
        _require(not any(value[13:]), "the reserved octets of Follow-Up Telemetry are not zero")
        if bits == 0:
            _require(number == 0, f"Follow-Up Telemetry names reply {number} without its time")
            silent = self._stateful is not True or own == 0 or not self._exact_follow_up
            _require(silent, f"Follow-Up Telemetry in reply {own} says nothing of the reply before")
            return
        _require(self._stateful is not False, "a stateless reflector cannot know its last reply")
        _require(1 <= method <= 3, f"the Timestamp Mode of Follow-Up Telemetry is {method}")
        _require(number < own, f"Follow-Up Telemetry in reply {own} is about reply {number}")
        exact = number == own - 1 or not self._exact_follow_up
        _require(exact, f"Follow-Up Telemetry in reply {own} is about {number}, not the last one")
        left = decode_time(bits, ptp=ptp)
        before = self._reflected.get(number)
        if before is not None:
            _require(left >= before, f"reply {number} left {before - left} ns before its own T3")
        _require(left <= t3, f"reply {number} left {left - t3} ns after T3 of the later {own}")


def main() -> None:
    """Run one of the two from a shell."""
    parser = argparse.ArgumentParser(description="Independent STAMP and TWAMP-light.")
    commands = parser.add_subparsers(dest="command", required=True)
    respond, ask = commands.add_parser("respond"), commands.add_parser("ask")
    respond.add_argument("--listen", type=_endpoint, default=("127.0.0.1", 8620))
    respond.add_argument("--stateless", action="store_true")
    ask.add_argument("--target", type=_endpoint, default=("127.0.0.1", 8620))
    ask.add_argument("--count", type=int, default=10)
    ask.add_argument("--interval", type=float, default=0.1)
    ask.add_argument("--timeout", type=float, default=2.0)
    ask.add_argument("--padding", type=int, default=0)
    ask.add_argument("--hops", type=int, default=0)
    ask.add_argument("--other-clock", action="store_true")
    ask.add_argument("--tlv", action="append", default=[], metavar="TYPE:HEX")
    for command in (respond, ask):
        command.add_argument("--mode", choices=get_args(Mode), default="stamp")
        command.add_argument("--key", type=bytes.fromhex, metavar="HEX")
        command.add_argument("--ptp", action="store_true")
    given = parser.parse_args()
    if given.command == "respond":
        host, port = given.listen
        stateful = not given.stateless
        with Responder(
            host, port, given.mode, key=given.key, stateful=stateful, ptp=given.ptp
        ) as responder:
            print(f"{given.mode} on {responder.address[0]} port {responder.address[1]}", flush=True)
            try:
                threading.Event().wait()
            except KeyboardInterrupt:
                pass
            for name in ("received", "answered", "bad_hmac", "malformed"):
                print(f"{name} {getattr(responder, name)}")
        return
    tlvs = []
    for text in given.tlv:
        kind, _, value = text.partition(":")
        tlvs.append(Tlv(int(kind), bytes.fromhex(value)))
    with Asker(
        given.target,
        given.mode,
        key=given.key,
        ptp=given.ptp,
        hops=given.hops,
        same_clock=not given.other_clock,
    ) as asker:
        for one in asker.ask(
            given.count,
            given.interval,
            tlvs=tlvs,
            padding=given.padding,
            timeout=given.timeout,
        ):
            trip = one.t4 - one.t1 - (one.t3 - one.t2)
            parts = [f"{tlv.type}/{tlv.flags:02x}:{tlv.value.hex()}" for tlv in one.tlvs]
            print(one.sequence, one.reflector_sequence, f"ttl {one.ttl} rtt {trip} ns", *parts)


if __name__ == "__main__":
    main()
