"""The sending side of one STAMP session (RFC 8762 §4.2), without a socket or a clock."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from probes.instant import Instant
from probes.ntp import ntp_from_unix_ns, unix_ns_from_ntp, unix_ns_from_ptp
from probes.stamp.error_estimate import PTP_FLAG, ErrorEstimate
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
from probes.stamp.integrity import intact, sealed
from probes.stamp.packet import SEQUENCE_SPAN, NotAuthentic, Reply, Request, packet_format
from probes.stamp.tlv import (
    ClassOfService,
    DirectMeasurement,
    Extensions,
    Flag,
    FollowUp,
    Kind,
    TimestampInformation,
    padding,
    request,
)

T = TypeVar("T")

ASKED_AGAIN_MAX: Final = 3  # times, for one follow-up
CLOCK_NOISE_NS: Final = 50_000  # how far readings of the clocks may be off in one round trip


@dataclass(frozen=True, slots=True)
class Asked:
    """Which extensions the packets of a session carry (RFC 8972 §4)."""

    follow_up: bool = False
    timestamps: bool = False
    dscp: int | None = None  # wanted for the reply; what was seen of ours comes back with it
    counts: bool = False
    padding: int = 0  # octets in all; 0 or at least 4

    def encode(self, sent: int, wanted: int = 0) -> bytes:
        """Return the extensions of the packet before which `sent` others were sent.

        `wanted` is the number of a reply whose follow-up did not come.
        """
        tlvs = []
        if self.follow_up:  # all packets of a session are equally long
            tlvs.append(request(Kind.FOLLOW_UP_TELEMETRY, FollowUp().encode()))
            tlvs.append(request(Kind.FOLLOW_UP_TELEMETRY, FollowUp(wanted).encode()))
        if self.timestamps:
            tlvs.append(request(Kind.TIMESTAMP_INFORMATION, TimestampInformation().encode()))
        if self.dscp is not None:
            tlvs.append(request(Kind.CLASS_OF_SERVICE, ClassOfService(self.dscp).encode()))
        if self.counts:
            counts = DirectMeasurement((sent + 1) % SEQUENCE_SPAN)
            tlvs.append(request(Kind.DIRECT_MEASUREMENT, counts.encode()))
        if self.padding:
            tlvs.append(padding(self.padding))
        return b"".join(tlv.encode() for tlv in tlvs)


@dataclass(slots=True)
class _Answered:
    """What a follow-up of a reply is judged by."""

    seq: int
    received_ns: int  # T2
    replied_ns: int  # T3 as the reply had it
    span_ns: int  # T4 - T1
    order: int  # of answering
    asked_again: int = 0


@dataclass(slots=True)
class _Sent:
    """A packet in flight, or lately so."""

    at: Instant
    timestamp: int  # T1 as it stands in the packet
    answered: bool = False


_NOTHING: Final = Asked()


def asked_of_session(dscp: int) -> Asked:
    """Return what a session asks of a reflector: whoever does not know it returns it as it is."""
    return Asked(follow_up=True, timestamps=True, dscp=dscp)


class Sender:
    """Sends test packets and recognises their answers.

    The caller owns the socket and the clock: it transmits what `send` returns, hands every
    datagram to `receive`, and calls `expire` by `next_deadline_ns`. The same calls with the
    same instants always give the same events. What is remembered is bounded by the caller's
    rate times the time-out, and by `memory` packets that are already settled.

    An answer must echo the sequence number and the exact T1 of a packet in flight and our SSID
    (or 0, as a reflector does that knows RFC 8762 only): a guess has one chance in 2**64, and
    an invalid answer does not consume the packet it names.
    """

    def __init__(
        self,
        timeout_ns: int,
        *,
        ssid: int | None = None,
        error_estimate: ErrorEstimate | None = None,
        memory: int = 1024,
        key: bytes | None = None,
        asked: Asked = _NOTHING,
    ) -> None:
        self.timeout_ns = timeout_ns
        self.ssid = 1 + secrets.randbelow(0xFFFF) if ssid is None else ssid
        self.error_estimate = error_estimate or ErrorEstimate.bounding(None, synchronised=False)
        self._packets = packet_format(key)
        self._asked = asked
        self._sent = 0
        self._memory = memory
        self._next_seq = 0
        self._in_flight: dict[int, _Sent] = {}  # in the order of sending
        self._settled: dict[int, _Sent] = {}  # in the order of settling
        self._answered: dict[int, _Answered] = {}  # by the reflector's number, oldest first
        self._order = 0  # of the next answer
        self._told = -1  # the latest answer of which a follow-up has come

    @property
    def next_seq(self) -> int:
        """The sequence number of the next packet; after 2**32 - 1 comes 0."""
        return self._next_seq

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def next_deadline_ns(self) -> int | None:
        """The monotonic time after which the oldest packet in flight is lost."""
        for sent in self._in_flight.values():
            return sent.at.mono_ns + self.timeout_ns
        return None

    def send(self, now: Instant) -> bytes:
        """Return the next packet, sent at `now`: T1 is its wall time."""
        seq = self._next_seq
        self._next_seq = (seq + 1) % SEQUENCE_SPAN
        timestamp = ntp_from_unix_ns(now.wall_ns)
        self._in_flight[seq] = _Sent(now, timestamp)
        base = self._packets.write_request(
            Request(seq, timestamp, self.error_estimate.encode(), self.ssid)
        )
        extensions = self._asked.encode(self._sent, self._missing())
        self._sent += 1
        if extensions:
            extensions = sealed(seq, extensions, Flag.UNRECOGNISED, self._packets)
        return base + extensions

    def transmitted(self, seq: int, left_ns: int) -> bool:
        """Note when a packet really left: Unix time, from whoever transmitted it.

        False if it is too late for that: the answer has come already, or will not come.
        """
        sent = self._in_flight.get(seq)
        if sent is None:
            return False
        sent.at = sent.at.at_wall(left_ns)
        return True

    def withdraw(self, seq: int) -> None:
        """Forget a packet in flight that could not be transmitted."""
        del self._in_flight[seq]

    def withdraw_all(self) -> list[int]:
        """Forget every packet in flight; return their sequence numbers."""
        seqs = list(self._in_flight)
        self._in_flight.clear()
        return seqs

    def receive(self, datagram: bytes, now: Instant) -> Event:
        """Judge a datagram that arrived at `now` (its wall time may be a kernel timestamp)."""
        reply = self._read(datagram)
        if isinstance(reply, ReplyFault):
            return Discarded(reply)
        seq = reply.sender_sequence
        sent = self._in_flight.get(seq) or self._settled.get(seq)
        if sent is None or reply.ssid not in (self.ssid, 0):
            return Discarded(ReplyFault.SSID if sent else ReplyFault.SEQUENCE)
        if reply.sender_timestamp != sent.timestamp:
            return Discarded(ReplyFault.SENDER_TIMESTAMP)
        if sent.answered:
            return Duplicate(seq)
        if now.mono_ns - sent.at.mono_ns > self.timeout_ns or seq in self._settled:
            return Late(seq)  # if it is in flight still, `expire` will say that it is lost
        return self._answer(sent, reply, Extensions.decode(datagram[self._packets.size :]), now)

    def expire(self, now: Instant) -> list[int]:
        """Give up packets not answered within the time-out; return their sequence numbers."""
        lost: list[int] = []
        for seq, sent in self._in_flight.items():
            if now.mono_ns - sent.at.mono_ns <= self.timeout_ns:
                break
            lost.append(seq)
        for seq in lost:
            self._settle(seq)
        return lost

    def _read(self, datagram: bytes) -> Reply | ReplyFault:
        try:
            return self._packets.read_reply(datagram)
        except NotAuthentic:
            return ReplyFault.HMAC
        except ValueError:
            return ReplyFault.SHORT

    def _answer(
        self, sent: _Sent, reply: Reply, extensions: Extensions, now: Instant
    ) -> Replied | Discarded:
        touched = not _untouched(extensions)
        if touched and not intact(reply.sequence, extensions, self._packets):
            return Discarded(ReplyFault.INTEGRITY)
        ptp = reply.error_estimate & PTP_FLAG
        decode: Callable[..., int] = unix_ns_from_ptp if ptp else unix_ns_from_ntp
        try:
            received_ns = decode(reply.receive_timestamp, near_ns=now.wall_ns)
            replied_ns = decode(reply.timestamp, near_ns=now.wall_ns)
        except ValueError:
            return Discarded(ReplyFault.TIMESTAMP)
        dwell_ns = replied_ns - received_ns
        span_ns = now.mono_ns - sent.at.mono_ns
        rtt_ns = span_ns - dwell_ns
        if dwell_ns < 0:
            return Discarded(ReplyFault.DWELL_NEGATIVE)
        if rtt_ns < -CLOCK_NOISE_NS:
            return Discarded(ReplyFault.DWELL_LONG)
        sent.answered = True
        self._settle(reply.sender_sequence)
        follow_ups = self._follow_ups(extensions, decode, now)
        answered = _Answered(reply.sender_sequence, received_ns, replied_ns, span_ns, self._order)
        self._remember(reply.sequence, answered)
        return Replied(
            seq=reply.sender_sequence,
            rtt_ns=max(0, rtt_ns),
            sent=sent.at,
            received_ns=received_ns,
            replied_ns=replied_ns,
            reflector_seq=reply.sequence,
            ttl=reply.sender_ttl,
            error_estimate=ErrorEstimate.decode(reply.error_estimate),
            class_of_service=_read(extensions, Kind.CLASS_OF_SERVICE, ClassOfService.decode),
            timestamps=_read(extensions, Kind.TIMESTAMP_INFORMATION, TimestampInformation.decode),
            counts=_read(extensions, Kind.DIRECT_MEASUREMENT, DirectMeasurement.decode),
            follow_ups=follow_ups,
            announces=extensions.find(Kind.FOLLOW_UP_TELEMETRY) is not None,
        )

    def _follow_ups(
        self, extensions: Extensions, decode: Callable[..., int], now: Instant
    ) -> tuple[Followed | FollowUpFault, ...]:
        """Judge what a reply tells of earlier ones."""
        values = dict.fromkeys(tlv.value for tlv in extensions.find_all(Kind.FOLLOW_UP_TELEMETRY))
        told = [FollowUp.decode(value) for value in values]
        return tuple(self._follow_up(each, decode, now) for each in told if each is not None)

    def _follow_up(
        self, told: FollowUp, decode: Callable[..., int], now: Instant
    ) -> Followed | FollowUpFault:
        """Judge when an earlier reply left; each is believed once at most."""
        earlier = self._answered.get(told.sequence)
        if earlier is None:
            return FollowUpFault.UNKNOWN
        try:
            left_ns = decode(told.timestamp, near_ns=now.wall_ns)
        except ValueError:
            return FollowUpFault.TIMESTAMP
        if left_ns < earlier.replied_ns - CLOCK_NOISE_NS or left_ns < earlier.received_ns:
            return FollowUpFault.EARLY
        rtt_ns = earlier.span_ns - (left_ns - earlier.received_ns)
        if rtt_ns < -CLOCK_NOISE_NS:
            return FollowUpFault.LATE
        del self._answered[told.sequence]
        self._told = max(self._told, earlier.order)
        return Followed(earlier.seq, max(0, rtt_ns), left_ns, told.method)

    def _missing(self) -> int:
        """Return the reply whose follow-up was lost with the reply that told it; 0: none."""
        for number, answered in self._answered.items():
            if answered.order >= self._told:
                return 0
            if answered.asked_again < ASKED_AGAIN_MAX:
                answered.asked_again += 1
                return number
        return 0

    def _remember(self, reflector_seq: int, answered: _Answered) -> None:
        if not self._asked.follow_up:
            return
        self._order += 1
        self._answered.pop(reflector_seq, None)  # a reflector that began anew counts anew
        self._answered[reflector_seq] = answered
        while len(self._answered) > self._memory:
            del self._answered[next(iter(self._answered))]

    def _settle(self, seq: int) -> None:
        """Remember a packet for its duplicates and late answers, and forget the oldest."""
        self._settled[seq] = self._in_flight.pop(seq)
        while len(self._settled) > self._memory:
            del self._settled[next(iter(self._settled))]


def _untouched(extensions: Extensions) -> bool:
    """Whether there are none, or as we sent them: nothing in them is read, so none needs a seal.

    A reflector that knows RFC 8762 only returns our HMAC TLV beside a sequence number of its own.
    """
    return not extensions.rest and all(tlv.flags == Flag.UNRECOGNISED for tlv in extensions.tlvs)


def _read(extensions: Extensions, kind: Kind, decode: Callable[[bytes], T | None]) -> T | None:
    """Return what an extension of a kind says; None where there is none that is sound."""
    tlv = extensions.find(kind)
    return None if tlv is None else decode(tlv.value)
