"""The HMAC TLV: whether extensions are those that were sent (RFC 8972 §4.8).

It covers the packet's sequence number and all extensions before it. None but padding may follow,
and padding alone needs none.
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from struct import Struct
from typing import Final

from probes.stamp.packet import HMAC_SIZE, PacketFormat
from probes.stamp.tlv import HEADER_SIZE, Extensions, Flag, Kind, Tlv

_SEQUENCE: Final = Struct("!I")


def sealed(sequence: int, octets: bytes, flags: int, packets: PacketFormat) -> bytes:
    """Return extensions with the HMAC TLV behind them; as they are where there is no key."""
    mac = packets.mac(_SEQUENCE.pack(sequence) + octets)
    return octets if mac is None else octets + Tlv(flags, Kind.HMAC, mac).encode()


def seal_at(extensions: Extensions) -> int | None:
    """Return where the one HMAC TLV stands; None if there is none, or more, or it stands wrong."""
    kinds = [tlv.kind for tlv in extensions.tlvs]
    if Kind.HMAC not in kinds:
        return None
    at = kinds.index(Kind.HMAC)
    return at if all(kind == Kind.EXTRA_PADDING for kind in kinds[at + 1 :]) else None


def intact(sequence: int, extensions: Extensions, packets: PacketFormat) -> bool:
    """Whether extensions are what the holder of the key sent; without a key, always."""
    at = seal_at(extensions)
    before = b"".join(tlv.encode() for tlv in extensions.tlvs[:at])
    mac = packets.mac(_SEQUENCE.pack(sequence) + before)
    if mac is None:
        return True
    if extensions.rest:
        return False
    if at is None:
        return [tlv.kind for tlv in extensions.tlvs] == [Kind.EXTRA_PADDING]
    value = extensions.tlvs[at].value
    return len(value) == HMAC_SIZE and hmac.compare_digest(value, mac)


def doubtful(extensions: Extensions) -> Extensions:
    """Return the extensions as a reflector returns those that fail the check."""
    rest = extensions.rest
    if len(rest) >= HEADER_SIZE:
        rest = bytes([rest[0] | Flag.INTEGRITY]) + rest[1:]
    return Extensions(
        tuple(replace(tlv, flags=tlv.flags | Flag.INTEGRITY) for tlv in extensions.tlvs), rest
    )
