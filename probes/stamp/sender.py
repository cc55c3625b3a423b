"""The sending side of one STAMP session (RFC 8762 §4.2), without a socket or a clock."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from netslo.model import NS_PER_S
from probes.instant import Instant
from probes.ntp import ntp_from_unix_ns, unix_ns_from_ntp, unix_ns_from_ptp
from probes.stamp.error_estimate import PTP_FLAG, ErrorEstimate
from probes.stamp.packet import REQUEST, SEQUENCE_SPAN, Reply, parse_reply

CLOCK_NOISE_NS: Final = 50_000  # how far readings of the clocks may be off in one round trip


class ReplyFault(StrEnum):
    """Why a datagram is not the answer to anything we sent."""

    SHORT = "shorter than a STAMP reply"
    SSID = "another session's SSID"
    SEQUENCE = "unknown sequence number"
    SENDER_TIMESTAMP = "sender timestamp not echoed"
    TIMESTAMP = "malformed timestamp"
    DWELL_NEGATIVE = "left before it came"
    DWELL_LONG = "dwelt longer than the round trip"


@dataclass(frozen=True, slots=True)
class Replied:
    """The first answer in time to a packet in flight."""

    seq: int
    rtt_ns: int  # (T4 - T1) - (T3 - T2): the reflector's dwell is not the network's
    sent: Instant
    received_ns: int  # T2 on the reflector's clock
    replied_ns: int  # T3 on the reflector's clock
    reflector_seq: int
    ttl: int  # of our packet where it arrived; 0 if the reflector does not say

    @property
    def rtt_s(self) -> float:
        return self.rtt_ns / NS_PER_S


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A further answer to a packet that was answered (RFC 5560)."""

    seq: int


@dataclass(frozen=True, slots=True)
class Late:
    """An answer after the time-out; its packet is lost and stays so."""

    seq: int


@dataclass(frozen=True, slots=True)
class Discarded:
    """A datagram that answers nothing; it changed nothing."""

    reason: ReplyFault


Event = Replied | Duplicate | Late | Discarded


@dataclass(slots=True)
class _Sent:
    """A packet in flight, or lately so."""

    at: Instant
    timestamp: int  # T1 as it stands in the packet
    answered: bool = False


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
    ) -> None:
        self.timeout_ns = timeout_ns
        self.ssid = 1 + secrets.randbelow(0xFFFF) if ssid is None else ssid
        self.error_estimate = error_estimate or ErrorEstimate.bounding(None, synchronised=False)
        self._memory = memory
        self._next_seq = 0
        self._in_flight: dict[int, _Sent] = {}  # in the order of sending
        self._settled: dict[int, _Sent] = {}  # in the order of settling

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
        return REQUEST.pack(seq, timestamp, self.error_estimate.encode(), self.ssid)

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
        try:
            reply = parse_reply(datagram)
        except ValueError:
            return Discarded(ReplyFault.SHORT)
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
        return self._answer(sent, reply, now)

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

    def _answer(self, sent: _Sent, reply: Reply, now: Instant) -> Replied | Discarded:
        ptp = reply.error_estimate & PTP_FLAG
        decode: Callable[..., int] = unix_ns_from_ptp if ptp else unix_ns_from_ntp
        try:
            received_ns = decode(reply.receive_timestamp, near_ns=now.wall_ns)
            replied_ns = decode(reply.timestamp, near_ns=now.wall_ns)
        except ValueError:
            return Discarded(ReplyFault.TIMESTAMP)
        dwell_ns = replied_ns - received_ns
        rtt_ns = now.mono_ns - sent.at.mono_ns - dwell_ns
        if dwell_ns < 0:
            return Discarded(ReplyFault.DWELL_NEGATIVE)
        if rtt_ns < -CLOCK_NOISE_NS:
            return Discarded(ReplyFault.DWELL_LONG)
        sent.answered = True
        self._settle(reply.sender_sequence)
        return Replied(
            seq=reply.sender_sequence,
            rtt_ns=max(0, rtt_ns),
            sent=sent.at,
            received_ns=received_ns,
            replied_ns=replied_ns,
            reflector_seq=reply.sequence,
            ttl=reply.sender_ttl,
        )

    def _settle(self, seq: int) -> None:
        """Remember a packet for its duplicates and late answers, and forget the oldest."""
        self._settled[seq] = self._in_flight.pop(seq)
        while len(self._settled) > self._memory:
            del self._settled[next(iter(self._settled))]
