"""What a datagram that a sender receives can be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from netslo.model import NS_PER_S
from probes.instant import Instant
from probes.stamp.error_estimate import ErrorEstimate
from probes.stamp.tlv import ClassOfService, DirectMeasurement, TimestampInformation


class ReplyFault(StrEnum):
    """Why a datagram is not the answer to anything we sent."""

    SHORT = "shorter than a STAMP reply"
    SSID = "another session's SSID"
    SEQUENCE = "unknown sequence number"
    SENDER_TIMESTAMP = "sender timestamp not echoed"
    TIMESTAMP = "malformed timestamp"
    DWELL_NEGATIVE = "left before it came"
    DWELL_LONG = "dwelt longer than the round trip"
    HMAC = "HMAC does not fit"
    INTEGRITY = "HMAC of the extensions does not fit"


class FollowUpFault(StrEnum):
    """Why a follow-up is not believed; the reply that brought it may be good all the same."""

    UNKNOWN = "follow-up of a reply we do not know"
    TIMESTAMP = "malformed follow-up timestamp"
    EARLY = "follow-up before the reply could leave"
    LATE = "follow-up after the reply had come"


@dataclass(frozen=True, slots=True)
class Followed:
    """When an earlier reply really left: its round trip without what the far host took."""

    seq: int
    rtt_ns: int  # (T4 - T1) - (T3 - T2), T3 by whoever transmitted the reply
    replied_ns: int  # that T3
    method: int  # probes.stamp.tlv.Method

    @property
    def rtt_s(self) -> float:
        return self.rtt_ns / NS_PER_S


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
    error_estimate: ErrorEstimate  # the reflector's
    class_of_service: ClassOfService | None = None  # DSCP and ECN of our packet where it arrived
    timestamps: TimestampInformation | None = None
    counts: DirectMeasurement | None = None
    follow_ups: tuple[Followed | FollowUpFault, ...] = ()  # of earlier packets
    announces: bool = False  # when this reply really left, a later one will tell

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

    reason: StrEnum  # ReplyFault, or what a sender of another kind has


Event = Replied | Duplicate | Late | Discarded
