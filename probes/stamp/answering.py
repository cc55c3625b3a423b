"""What a reflector answers to each extension of a request (RFC 8972 §4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from probes.stamp.follow_ups import FollowUps
from probes.stamp.packet import SEQUENCE_SPAN
from probes.stamp.tlv import (
    ACCESS_REPORT_SIZE,
    HEADER_SIZE,
    Address,
    ClassOfService,
    DirectMeasurement,
    Extensions,
    Flag,
    FollowUp,
    Kind,
    TimestampInformation,
    Tlv,
    location_reply,
)

_FOLLOW_UP_SIZE: Final = len(FollowUp().encode())


@dataclass(frozen=True, slots=True)
class Circumstances:
    """How a request came, as far as the receiving host knows, and how it takes timestamps."""

    traffic_class: int | None = None  # the DSCP and ECN octet
    addresses: Callable[[], tuple[Address, Address]] | None = None  # destination and source
    ports: tuple[int, int] = (0, 0)  # destination and source
    timestamps: TimestampInformation = field(default_factory=TimestampInformation)
    dscp_allowed: bool = True  # whether replies may have the DSCP that a sender wants


@dataclass(frozen=True, slots=True)
class _Answering:
    """What the answers to one request are made of."""

    circumstances: Circumstances
    follow_ups: FollowUps
    counts: tuple[int, int]

    def answer(self, tlv: Tlv) -> Tlv:
        """Return an extension as the reply has it, as long as it came."""
        value_of = _VALUES.get(tlv.kind)
        if value_of is None or not self._can(tlv.kind):
            return replace(tlv, flags=tlv.flags | Flag.UNRECOGNISED)
        value = value_of(self, tlv.value)
        return tlv.malformed() if value is None else tlv.known(value)

    def _can(self, kind: int) -> bool:
        """Whether this host knows what an extension of a known kind asks for."""
        if kind == Kind.LOCATION:
            return self.circumstances.addresses is not None
        return kind != Kind.CLASS_OF_SERVICE or self.circumstances.traffic_class is not None

    def as_it_came(self, value: bytes) -> bytes:
        return value

    def location(self, value: bytes) -> bytes | None:
        assert self.circumstances.addresses is not None
        return location_reply(value, self.circumstances.addresses(), self.circumstances.ports)

    def timestamp_information(self, value: bytes) -> bytes | None:
        known = TimestampInformation.decode(value)
        return None if known is None else self.circumstances.timestamps.encode()

    def class_of_service(self, value: bytes) -> bytes | None:
        asked, octet = ClassOfService.decode(value), self.circumstances.traffic_class or 0
        if asked is None:
            return None
        refused = 0 if self.circumstances.dscp_allowed else 1
        return ClassOfService(asked.wanted, octet >> 2, octet & 3, refused).encode()

    def direct_measurement(self, value: bytes) -> bytes | None:
        asked = DirectMeasurement.decode(value)
        if asked is None:
            return None
        received, returned = (count % SEQUENCE_SPAN for count in self.counts)
        return replace(asked, received=received, returned=returned).encode()

    def access_report(self, value: bytes) -> bytes | None:
        return value if len(value) == ACCESS_REPORT_SIZE else None

    def follow_up(self, value: bytes) -> bytes | None:
        if len(value) != _FOLLOW_UP_SIZE:
            return None
        return self.follow_ups.take(FollowUp.wanted(value)).encode()


_VALUES: Final[Mapping[int, Callable[[_Answering, bytes], bytes | None]]] = {
    Kind.EXTRA_PADDING: _Answering.as_it_came,
    Kind.LOCATION: _Answering.location,
    Kind.TIMESTAMP_INFORMATION: _Answering.timestamp_information,
    Kind.CLASS_OF_SERVICE: _Answering.class_of_service,
    Kind.DIRECT_MEASUREMENT: _Answering.direct_measurement,
    Kind.ACCESS_REPORT: _Answering.access_report,
    Kind.FOLLOW_UP_TELEMETRY: _Answering.follow_up,
}  # who has a key writes the HMAC TLV last; who has none does not understand it


def answered(
    extensions: Extensions,
    circumstances: Circumstances,
    follow_ups: FollowUps,
    counts: tuple[int, int],
) -> Extensions:
    """Return the reply's extensions, each as long as it came.

    Args:
        extensions: Of the request.
        circumstances: How it came.
        follow_ups: What the session has to announce; what is announced is taken.
        counts: Packets of the session received and returned, this one among them.
    """
    answering = _Answering(circumstances, follow_ups, counts)
    return Extensions(
        tuple(answering.answer(tlv) for tlv in extensions.tlvs), _marked(extensions.rest)
    )


def _marked(rest: bytes) -> bytes:
    """Return what was not read, with the flag M if it is cut and its header can be seen (§4)."""
    if len(rest) < HEADER_SIZE or Extensions.decode(rest).tlvs:
        return rest
    flags = rest[0] & ~Flag.UNRECOGNISED | Flag.MALFORMED
    return bytes([flags & 0xFF]) + rest[1:]
