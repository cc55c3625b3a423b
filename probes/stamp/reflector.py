"""The answering side of STAMP (RFC 8762 §4.3, RFC 8972), without a socket or a clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from probes.ntp import ntp_from_unix_ns
from probes.stamp.answering import Circumstances, answered
from probes.stamp.error_estimate import ErrorEstimate
from probes.stamp.follow_ups import FollowUps
from probes.stamp.integrity import doubtful, intact, seal_at, sealed
from probes.stamp.packet import (
    PACKET_SIZE_MAX,
    SEQUENCE_SPAN,
    TWAMP_REPLY_SIZE,
    NotAuthentic,
    Reply,
    Request,
    packet_format,
)
from probes.stamp.tlv import ClassOfService, Extensions, Flag, FollowUp, Kind, Method

SESSIONS_MAX: Final = 4096
_FLAGS_OF_A_REQUEST: Final = bytes([Flag.UNRECOGNISED])
DWELL_MAX: Final = 10 << 32  # 10 s in NTP units: longer than any reflector holds a packet

Peer = tuple[str, int]  # address and UDP port
SessionKey = tuple[Peer, int]  # and SSID


class RequestFault(StrEnum):
    """Why a datagram gets no reply."""

    SHORT = "shorter than a TWAMP or STAMP request"
    LONG = "longer than any test packet"
    PORT = "source port 0"
    LOOP = "a reflector's reply"
    HMAC = "HMAC does not fit"
    RATE = "more than one source may send"


@dataclass(slots=True)
class _Session:
    """What a stateful reflector remembers of one sender."""

    next_sequence: int = 0
    received: int = 0
    follow_ups: FollowUps = field(default_factory=FollowUps)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request to answer."""

    sequence: int  # the reply's own
    request: Request
    ttl: int  # of the request as received; 0 if not known
    extensions: bytes  # of the reply, complete but for what integrity adds
    size: int  # of the reply
    session: SessionKey
    dscp: int | None = None  # wanted for the reply; None: as the request came
    sealed: bool = False  # an HMAC TLV follows the extensions
    padding: bytes = b""  # extensions behind the HMAC TLV


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
    with IP and UDP headers that is at most 69 octets for 42.

    Octets after the base packet are extensions where the first has the flag U and no other, as
    RFC 8972 §4 has a sender send them; else they are padding and are returned as they came.
    With a key, only authenticated requests are answered.
    """

    def __init__(
        self,
        *,
        stateful: bool = True,
        sessions_max: int = SESSIONS_MAX,
        key: bytes | None = None,
    ) -> None:
        self.error_estimate = ErrorEstimate.bounding(None, synchronised=False)
        self._packets = packet_format(key)
        self._authenticated = key is not None
        self._sessions: OrderedDict[SessionKey, _Session] | None = (
            OrderedDict() if stateful else None
        )
        self._sessions_max = sessions_max

    def receive(
        self,
        datagram: bytes,
        peer: Peer,
        ttl: int,
        circumstances: Circumstances | None = None,
        allow: Callable[[], bool] = lambda: True,
    ) -> Accepted | Refused:
        """Judge a datagram from `peer` whose TTL or hop limit was `ttl` on arrival.

        `allow` is asked whether its source may have another reply, once it deserves one: who
        forges a source without the key does not use up what that source may have.
        """
        request = self._read(datagram, peer)
        if isinstance(request, RequestFault):
            return Refused(request)
        if not allow():
            return Refused(RequestFault.RATE)
        key = (peer, request.ssid)
        session = self._session(key)
        accepted = Accepted(
            sequence=request.sequence if session is None else _count(session),
            request=request,
            ttl=ttl & 0xFF,
            extensions=datagram[self._packets.size :],
            size=max(TWAMP_REPLY_SIZE, len(datagram)),
            session=key,
        )
        if accepted.extensions[:1] != _FLAGS_OF_A_REQUEST:
            return accepted
        return self._extended(accepted, session, circumstances or Circumstances())

    def reply(self, accepted: Accepted, received_ns: int, now_ns: int) -> bytes:
        """Return the reply to a request.

        Args:
            accepted: What `receive` returned.
            received_ns: T2, when the request came; Unix time, best from the kernel.
            now_ns: T3, read just before the reply leaves: a second reading of the clock, never
                a copy of T2, or the sender would take our dwell for the network's delay.
        """
        request = accepted.request
        base = self._packets.write_reply(
            Reply(
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
        )
        extensions = accepted.extensions
        if accepted.sealed:
            extensions = sealed(accepted.sequence, extensions, 0, self._packets) + accepted.padding
        return (base + extensions)[: accepted.size]

    def transmitted(self, accepted: Accepted, left_ns: int, method: Method) -> None:
        """Note when the reply really left; a later reply of its session announces it."""
        session = self._sessions and self._sessions.get(accepted.session)
        if session:
            told = FollowUp(accepted.sequence, ntp_from_unix_ns(left_ns), method)
            session.follow_ups.add(told)

    def _read(self, datagram: bytes, peer: Peer) -> Request | RequestFault:
        if len(datagram) > PACKET_SIZE_MAX:
            return RequestFault.LONG
        if peer[1] == 0:
            return RequestFault.PORT
        try:
            request = self._packets.read_request(datagram)
        except NotAuthentic:
            return RequestFault.HMAC
        except ValueError:
            return RequestFault.SHORT
        looped = len(datagram) >= TWAMP_REPLY_SIZE and _is_reply(self._packets.peek_reply(datagram))
        return RequestFault.LOOP if looped else request

    def _extended(
        self, accepted: Accepted, session: _Session | None, circumstances: Circumstances
    ) -> Accepted:
        """Answer the extensions of a request."""
        extensions = Extensions.decode(accepted.extensions)
        if self._authenticated and not intact(accepted.request.sequence, extensions, self._packets):
            return replace(accepted, extensions=doubtful(extensions).encode())
        follow_ups = session.follow_ups if session is not None else FollowUps()
        counts = (session.received, accepted.sequence + 1) if session is not None else (0, 0)
        answers = answered(extensions, circumstances, follow_ups, counts)
        at = seal_at(extensions) if self._authenticated else None
        padding = Extensions() if at is None else replace(answers, tlvs=answers.tlvs[at + 1 :])
        if at is not None:  # the HMAC TLV is written when the reply is
            answers = replace(answers, tlvs=answers.tlvs[:at])
        wanted = extensions.find_request(Kind.CLASS_OF_SERVICE)
        asked = None if wanted is None else ClassOfService.decode(wanted.value)
        return replace(
            accepted,
            extensions=answers.encode(),
            dscp=None if asked is None else asked.wanted,
            sealed=at is not None,
            padding=padding.encode(),
        )

    def _session(self, key: SessionKey) -> _Session | None:
        if self._sessions is None:
            return None
        session = self._sessions.pop(key, None) or _Session()
        self._sessions[key] = session
        if len(self._sessions) > self._sessions_max:
            self._sessions.popitem(last=False)
        return session


def _count(session: _Session) -> int:
    """Count a request, and return the sequence number of its reply."""
    session.received = (session.received + 1) % SEQUENCE_SPAN
    sequence = session.next_sequence
    session.next_sequence = (sequence + 1) % SEQUENCE_SPAN
    return sequence


def _is_reply(reply: Reply) -> bool:
    """Whether a datagram is a reply: two reflectors would send it to and fro for ever.

    A request is zero where a reply holds T2, and padding there is not a moment before T1. A key
    is no help: both reflectors hold it.
    """
    dwell = reply.timestamp - reply.receive_timestamp
    return reply.receive_timestamp != 0 and 0 <= dwell <= DWELL_MAX
