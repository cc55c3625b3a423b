"""The answering side of STAMP (RFC 8762 §4.3), without a socket or a clock."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from probes.ntp import ntp_from_unix_ns
from probes.stamp.error_estimate import ErrorEstimate
from probes.stamp.packet import (
    PACKET_SIZE,
    PACKET_SIZE_MAX,
    REPLY,
    SEQUENCE_SPAN,
    TWAMP_REPLY_SIZE,
    Request,
    parse_reply,
    parse_request,
)

SESSIONS_MAX: Final = 4096
_DWELL_MAX: Final = 10 << 32  # 10 s in NTP units: longer than any reflector holds a packet

Peer = tuple[str, int]  # address and UDP port


class RequestFault(StrEnum):
    """Why a datagram gets no reply."""

    SHORT = "shorter than a TWAMP or STAMP request"
    LONG = "longer than any test packet"
    PORT = "source port 0"
    LOOP = "a reflector's reply"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request to answer."""

    sequence: int  # the reply's own
    request: Request
    ttl: int  # of the request as received; 0 if not known
    extensions: bytes  # octets after the base packet
    size: int  # of the reply


@dataclass(frozen=True, slots=True)
class Refused:
    """A datagram that gets no reply."""

    reason: RequestFault


class Reflector:
    """Answers test packets of any number of sessions.

    Stateless, a reply repeats the sender's sequence number, so only round-trip loss can be
    told. Stateful, it counts the replies of the session (peer address, port and SSID), so that
    its gaps are the losses of the way back and those of the sender's the losses of the way
    there. At most `sessions_max` sessions are remembered; the least recently heard makes room
    and, should it come back, counts from 0.

    Nobody is amplified: a reply is as long as its request. Only TWAMP Light's requests of 14 to
    40 octets get the 41 without which there is no reply (RFC 5357 §4.2.1, RFC 8762 §4.6);
    with IP and UDP headers that is at most 69 octets for 42. Octets after the base packet are
    returned as they came: RFC 8972 §4 has the sender set the flag U of each extension, and one
    returned unchanged says that it was not understood.
    """

    def __init__(self, *, stateful: bool = True, sessions_max: int = SESSIONS_MAX) -> None:
        self.error_estimate = ErrorEstimate.bounding(None, synchronised=False)
        self._sessions: OrderedDict[tuple[Peer, int], int] | None = (
            OrderedDict() if stateful else None
        )
        self._sessions_max = sessions_max

    def receive(self, datagram: bytes, peer: Peer, ttl: int) -> Accepted | Refused:
        """Judge a datagram from `peer` whose TTL or hop limit was `ttl` on arrival."""
        if len(datagram) > PACKET_SIZE_MAX:
            return Refused(RequestFault.LONG)
        if peer[1] == 0:
            return Refused(RequestFault.PORT)
        try:
            request = parse_request(datagram)
        except ValueError:
            return Refused(RequestFault.SHORT)
        if _is_reply(datagram):
            return Refused(RequestFault.LOOP)
        return Accepted(
            sequence=self._next_sequence((peer, request.ssid), request.sequence),
            request=request,
            ttl=ttl & 0xFF,
            extensions=datagram[PACKET_SIZE:],
            size=max(TWAMP_REPLY_SIZE, len(datagram)),
        )

    def reply(self, accepted: Accepted, received_ns: int, now_ns: int) -> bytes:
        """Return the reply to a request.

        Args:
            accepted: What `receive` returned.
            received_ns: T2, when the request came; Unix time, best from the kernel.
            now_ns: T3, read just before the reply leaves: a second reading of the clock, never
                a copy of T2, or the sender would take our dwell for the network's delay.
        """
        request = accepted.request
        base = REPLY.pack(
            accepted.sequence,
            ntp_from_unix_ns(now_ns),
            self.error_estimate.encode(),
            request.ssid,
            ntp_from_unix_ns(received_ns),
            request.sequence,
            request.timestamp,
            request.error_estimate,
            accepted.ttl,
        )
        return (base + accepted.extensions)[: accepted.size]

    def _next_sequence(self, session: tuple[Peer, int], sender_sequence: int) -> int:
        if self._sessions is None:
            return sender_sequence
        sequence = self._sessions.pop(session, 0)
        self._sessions[session] = (sequence + 1) % SEQUENCE_SPAN
        if len(self._sessions) > self._sessions_max:
            self._sessions.popitem(last=False)
        return sequence


def _is_reply(datagram: bytes) -> bool:
    """Whether a datagram is a reply: two reflectors would send it to and fro for ever.

    A request is zero where a reply holds T2, and padding there is not a moment before T1.
    """
    if len(datagram) < TWAMP_REPLY_SIZE:
        return False
    reply = parse_reply(datagram)
    dwell = reply.timestamp - reply.receive_timestamp
    return reply.receive_timestamp != 0 and 0 <= dwell <= _DWELL_MAX
