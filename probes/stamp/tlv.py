"""Octets of the extensions that may follow a STAMP packet (RFC 8972 §4), and nothing else.

An extension is flags, type, length, value. The sender sets U (unrecognised); whoever knows the
type clears it. M says that the extension is malformed, I that the integrity check failed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Final

_HEADER: Final = Struct("!BBH")
HEADER_SIZE: Final = 4
EXTENSIONS_MAX: Final = 16  # in one packet; what follows costs no time, and returns as it came
assert _HEADER.size == HEADER_SIZE


class Flag(IntFlag):
    """RFC 8972 §4, table 1; the other bits are zero."""

    UNRECOGNISED = 0x80
    MALFORMED = 0x40
    INTEGRITY = 0x20


class Kind(IntEnum):
    """IANA's STAMP TLV types."""

    EXTRA_PADDING = 1
    LOCATION = 2
    TIMESTAMP_INFORMATION = 3
    CLASS_OF_SERVICE = 4
    DIRECT_MEASUREMENT = 5
    ACCESS_REPORT = 6
    FOLLOW_UP_TELEMETRY = 7
    HMAC = 8


@dataclass(frozen=True, slots=True)
class Tlv:
    """One extension as it stands in a packet."""

    flags: int
    kind: int
    value: bytes

    def encode(self) -> bytes:
        return _HEADER.pack(self.flags, self.kind, len(self.value)) + self.value

    def known(self, value: bytes | None = None) -> Tlv:
        """Return it as whoever understands it returns it, with another value or the same."""
        value = self.value if value is None else value
        return replace(self, flags=self.flags & ~Flag.UNRECOGNISED, value=value)

    def malformed(self) -> Tlv:
        return replace(self, flags=self.flags & ~Flag.UNRECOGNISED | Flag.MALFORMED)


@dataclass(frozen=True, slots=True)
class Extensions:
    """The extensions of a packet in order, and what follows that is none.

    `rest` begins with a header whose length goes beyond the packet, or is shorter than one, or
    follows EXTENSIONS_MAX extensions.
    """

    tlvs: tuple[Tlv, ...] = ()
    rest: bytes = b""

    @classmethod
    def decode(cls, octets: bytes) -> Extensions:
        """Read what follows a base packet; any octets can be read."""
        tlvs: list[Tlv] = []
        at = 0
        while at + HEADER_SIZE <= len(octets) and len(tlvs) < EXTENSIONS_MAX:
            flags, kind, length = _HEADER.unpack_from(octets, at)
            if at + HEADER_SIZE + length > len(octets):
                break
            tlvs.append(Tlv(flags, kind, octets[at + HEADER_SIZE : at + HEADER_SIZE + length]))
            at += HEADER_SIZE + length
        return cls(tuple(tlvs), octets[at:])

    def encode(self) -> bytes:
        """Return the octets, as many as were read."""
        return b"".join(tlv.encode() for tlv in self.tlvs) + self.rest

    def find(self, kind: Kind) -> Tlv | None:
        """Return the first sound extension of a kind that the other side understood."""
        found = self.find_all(kind)
        return found[0] if found else None

    def find_all(self, kind: Kind) -> list[Tlv]:
        """Return the sound extensions of a kind that the other side understood."""
        bad = Flag.UNRECOGNISED | Flag.MALFORMED | Flag.INTEGRITY
        return [tlv for tlv in self.tlvs if tlv.kind == kind and not tlv.flags & bad]

    def find_request(self, kind: Kind) -> Tlv | None:
        """Return the first extension of a kind, as a sender sends it."""
        for tlv in self.tlvs:
            if tlv.kind == kind and not tlv.flags & (Flag.MALFORMED | Flag.INTEGRITY):
                return tlv
        return None


def request(kind: Kind, value: bytes) -> Tlv:
    """Return an extension as a sender sends it."""
    return Tlv(Flag.UNRECOGNISED, kind, value)


def padding(size: int) -> Tlv:
    """Return an extension of `size` octets in all, at least 4 (§4.1)."""
    return request(Kind.EXTRA_PADDING, bytes(size - HEADER_SIZE))


class Synchronisation(IntEnum):
    """What a clock follows (§4.3, table 7)."""

    UNKNOWN = 0
    NTP = 1
    PTP = 2
    SSU_BITS = 3
    GNSS = 4
    FREE_RUNNING = 5


class Method(IntEnum):
    """Who took a timestamp (§4.3, table 9)."""

    UNKNOWN = 0
    HARDWARE = 1
    SOFTWARE = 2
    CONTROL_PLANE = 3


_TIMESTAMP_INFORMATION: Final = Struct("!BBBB")


@dataclass(frozen=True, slots=True)
class TimestampInformation:
    """How the reflector takes T2 (in) and T3 (out)."""

    source_in: int = Synchronisation.UNKNOWN
    method_in: int = Method.UNKNOWN
    source_out: int = Synchronisation.UNKNOWN
    method_out: int = Method.UNKNOWN

    def encode(self) -> bytes:
        return _TIMESTAMP_INFORMATION.pack(
            self.source_in, self.method_in, self.source_out, self.method_out
        )

    @classmethod
    def decode(cls, value: bytes) -> TimestampInformation | None:
        """Read a value; None where it has another length."""
        if len(value) != _TIMESTAMP_INFORMATION.size:
            return None
        return cls(*_TIMESTAMP_INFORMATION.unpack(value))


_CLASS_OF_SERVICE: Final = Struct("!HH")
_SIX_BITS: Final = 0x3F


@dataclass(frozen=True, slots=True)
class ClassOfService:
    """The DSCP wanted for the reply, and what the far end saw of the request (§4.4)."""

    wanted: int  # DSCP1
    seen: int = 0  # DSCP2
    ecn: int = 0
    refused: int = 0  # RP: 1 where the reply could not be sent with the DSCP that was wanted

    def encode(self) -> bytes:
        word = self.wanted << 10 | self.seen << 4 | self.ecn << 2 | self.refused
        return _CLASS_OF_SERVICE.pack(word, 0)

    @classmethod
    def decode(cls, value: bytes) -> ClassOfService | None:
        """Read a value; None where it has another length."""
        if len(value) != _CLASS_OF_SERVICE.size:
            return None
        word, _ = _CLASS_OF_SERVICE.unpack(value)
        return cls(word >> 10, word >> 4 & _SIX_BITS, word >> 2 & 3, word & 3)


_DIRECT_MEASUREMENT: Final = Struct("!III")


@dataclass(frozen=True, slots=True)
class DirectMeasurement:
    """In-profile packets counted at both ends (§4.5)."""

    sent: int  # S_TxC
    received: int = 0  # R_RxC
    returned: int = 0  # R_TxC

    def encode(self) -> bytes:
        return _DIRECT_MEASUREMENT.pack(self.sent, self.received, self.returned)

    @classmethod
    def decode(cls, value: bytes) -> DirectMeasurement | None:
        """Read a value; None where it has another length."""
        if len(value) != _DIRECT_MEASUREMENT.size:
            return None
        return cls(*_DIRECT_MEASUREMENT.unpack(value))


_FOLLOW_UP: Final = Struct("!IQB3x")


@dataclass(frozen=True, slots=True)
class FollowUp:
    """When an earlier reply really left (§4.7).

    All zero in a request, but that one of ours may have the sequence number of a reply whose
    follow-up did not come.
    """

    sequence: int = 0  # the reflector's own, of that reply
    timestamp: int = 0  # in the reflector's format
    method: int = Method.UNKNOWN

    def encode(self) -> bytes:
        return _FOLLOW_UP.pack(self.sequence, self.timestamp, self.method)

    @classmethod
    def decode(cls, value: bytes) -> FollowUp | None:
        """Read a value; None where it has another length or announces nothing."""
        if len(value) != _FOLLOW_UP.size:
            return None
        found = cls(*_FOLLOW_UP.unpack(value))
        return found if found.timestamp else None

    @staticmethod
    def wanted(value: bytes) -> int:
        """Return the reply that a request's extension of the right length asks for; 0: the next."""
        sequence, timestamp, _ = _FOLLOW_UP.unpack(value)
        return 0 if timestamp else int(sequence)


ACCESS_REPORT_SIZE: Final = 4

_PORTS: Final = Struct("!HH")
_ADDRESS_SIZE: Final = 16


class Place(IntEnum):
    """Sub-TLVs of a Location TLV (§4.2.1): what is asked for, and what is answered."""

    SOURCE_MAC = 1
    SOURCE_EUI_48 = 2
    SOURCE_EUI_64 = 3
    DESTINATION_IP = 4
    DESTINATION_IPV4 = 5
    DESTINATION_IPV6 = 6
    SOURCE_IP = 7
    SOURCE_IPV4 = 8
    SOURCE_IPV6 = 9


Address = IPv4Address | IPv6Address

_ASKED_ADDRESS: Final = {Place.DESTINATION_IP: 0, Place.SOURCE_IP: 1}
_ANSWERED: Final = {
    (Place.DESTINATION_IP, 4): Place.DESTINATION_IPV4,
    (Place.DESTINATION_IP, 6): Place.DESTINATION_IPV6,
    (Place.SOURCE_IP, 4): Place.SOURCE_IPV4,
    (Place.SOURCE_IP, 6): Place.SOURCE_IPV6,
}


def location_request() -> bytes:
    """Return the value by which a sender asks for ports and addresses as the far end saw them."""
    asked = (Tlv(Flag.UNRECOGNISED, place, bytes(_ADDRESS_SIZE)) for place in _ASKED_ADDRESS)
    return _PORTS.pack(0, 0) + b"".join(sub.encode() for sub in asked)


def location_reply(
    value: bytes, addresses: tuple[Address, Address], ports: tuple[int, int]
) -> bytes | None:
    """Fill in what a Location TLV asks for; None where it is malformed.

    Args:
        value: Of the request.
        addresses: Destination and source of the request as received.
        ports: Likewise, UDP.
    """
    if len(value) < _PORTS.size:
        return None
    asked = Extensions.decode(value[_PORTS.size :])
    if asked.rest:
        return None
    answers = (_place(sub, addresses) for sub in asked.tlvs)
    return _PORTS.pack(*ports) + b"".join(answer.encode() for answer in answers)


def location_addresses(value: bytes) -> dict[Place, Address]:
    """Return the addresses that a reply's Location TLV tells."""
    found: dict[Place, Address] = {}
    for sub in Extensions.decode(value[_PORTS.size :]).tlvs:
        if len(sub.value) != _ADDRESS_SIZE:
            continue
        if sub.kind in (Place.DESTINATION_IPV4, Place.SOURCE_IPV4):
            found[Place(sub.kind)] = IPv4Address(sub.value[:4])
        elif sub.kind in (Place.DESTINATION_IPV6, Place.SOURCE_IPV6):
            found[Place(sub.kind)] = IPv6Address(sub.value)
    return found


def _place(sub: Tlv, addresses: tuple[Address, Address]) -> Tlv:
    """Answer one sub-TLV; of our own MAC address or a sender's a UDP socket knows nothing."""
    if sub.kind not in _ASKED_ADDRESS:
        return sub
    if len(sub.value) != _ADDRESS_SIZE:
        return sub.malformed()
    asked = Place(sub.kind)
    address = addresses[_ASKED_ADDRESS[asked]]
    kind = _ANSWERED[asked, address.version]
    return Tlv(sub.flags & ~Flag.UNRECOGNISED, kind, address.packed.ljust(_ADDRESS_SIZE, b"\0"))
