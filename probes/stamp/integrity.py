"""The HMAC TLV: whether extensions are those that were sent (RFC 8972 §4.8).

It comes last and covers the packet's sequence number and all extensions before it.
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from struct import Struct
from typing import Final

from probes.stamp.packet import HMAC_SIZE, PacketFormat
from probes.stamp.tlv import Extensions, Flag, Kind, Tlv

_SEQUENCE: Final = Struct("!I")


def sealed(sequence: int, octets: bytes, flags: int, packets: PacketFormat) -> bytes:
    """Return extensions with the HMAC TLV behind them; as they are where there is no key."""
    mac = packets.mac(_SEQUENCE.pack(sequence) + octets)
    return octets if mac is None else octets + Tlv(flags, Kind.HMAC, mac).encode()


def intact(sequence: int, extensions: Extensions, packets: PacketFormat) -> bool:
    """Whether the last extension is the HMAC TLV of the others; without a key, always."""
    last = extensions.tlvs[-1] if extensions.tlvs else None
    before = b"".join(tlv.encode() for tlv in extensions.tlvs[:-1])
    mac = packets.mac(_SEQUENCE.pack(sequence) + before)
    if mac is None:
        return True
    return (
        last is not None
        and last.kind == Kind.HMAC
        and not extensions.rest
        and len(last.value) == HMAC_SIZE
        and hmac.compare_digest(last.value, mac)
    )


def doubtful(extensions: Extensions) -> Extensions:
    """Return the extensions as a reflector returns those that fail the check."""
    return replace(
        extensions,
        tlvs=tuple(replace(tlv, flags=tlv.flags | Flag.INTEGRITY) for tlv in extensions.tlvs),
    )
