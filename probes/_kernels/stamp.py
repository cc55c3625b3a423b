"""STAMP's packets in arrays of octets.

Layouts are those of `probes.stamp.packet` and `probes.stamp.tlv`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from analytics._kernels.compilation import compiled
from probes._kernels.octets import Octets, get2, get4, get8, put2, put4, put8
from probes.stamp.tlv import EXTENSIONS_MAX

UNAUTHENTICATED: Final = 0
AUTHENTICATED: Final = 1
MAC_SIZE: Final = 16
TLV_HEADER: Final = 4

# Of both kinds of packet.
SIZE: Final = np.array([44, 112])
SIZE_LEAST: Final = np.array([41, 112])  # of a reply; TWAMP Light's ends with the sender's TTL
_STAMP: Final = np.array([4, 16])
_ERROR: Final = np.array([12, 24])
_SSID: Final = np.array([14, 26])
_RECEIVED: Final = np.array([16, 32])
_SENDER_SEQUENCE: Final = np.array([24, 48])
_SENDER_STAMP: Final = np.array([28, 64])
_SENDER_ERROR: Final = np.array([36, 72])
_SENDER_TTL: Final = np.array([40, 80])
MAC_AT: Final = 96

_UNRECOGNISED, _MALFORMED, _INTEGRITY = 0x80, 0x40, 0x20
_UNSOUND = _UNRECOGNISED | _MALFORMED | _INTEGRITY
EXTRA_PADDING: Final = 1
TIMESTAMP_INFORMATION: Final = 3
CLASS_OF_SERVICE: Final = 4
FOLLOW_UP: Final = 7
MAC_TLV: Final = 8
_FOLLOW_UP_SIZE = 16
_HARDWARE, _SOFTWARE = 1, 2
PTP_FLAG: Final = 0x4000


class Reply(NamedTuple):
    """A reply's base packet; timestamps as they stand in it."""

    sequence: int
    stamp: int  # T3
    error: int
    received: int  # T2
    sender_sequence: int
    sender_stamp: int
    ttl: int


class Extras(NamedTuple):
    """What the extensions of a reply say; -1 where they do not."""

    announces: bool  # follow-ups will tell when replies really left
    first: int  # where the value of the first follow-up is
    second: int
    method_in: int  # who took T2
    dscp: int  # of our packet at the far end
    touched: bool  # they are not as we sent them, so what they say counts
    whole: bool  # nothing is left behind the last
    mac: int  # where the HMAC TLV begins; -1: there is none
    misplaced: bool  # there are two of those, or something but padding follows it
    count: int
    kind: int  # of the first


@compiled
def put_request(
    packet: Octets,
    kind: int,
    sequence: int,
    stamp: int,
    error: int,
    ssid: int,
    wanted_at: int,  # of the second follow-up's value; 0: there is none
    wanted: int,
) -> None:
    """Fill in what changes from packet to packet."""
    put4(packet, 0, sequence)
    put8(packet, _STAMP[kind], stamp)
    put2(packet, _ERROR[kind], error)
    put2(packet, _SSID[kind], ssid)
    if wanted_at:
        put4(packet, wanted_at, wanted)


@compiled
def put_reply(
    packet: Octets, kind: int, sequence: int, received: int, error: int, ttl: int
) -> None:
    """Make a request's base packet that of its reply, but for T3 and the HMAC."""
    theirs, stamp = get4(packet, 0), get8(packet, _STAMP[kind])
    their_error, ssid = get2(packet, _ERROR[kind]), get2(packet, _SSID[kind])
    packet[: SIZE[kind]] = 0
    put4(packet, 0, sequence)
    put2(packet, _ERROR[kind], error)
    put2(packet, _SSID[kind], ssid)
    put8(packet, _RECEIVED[kind], received)
    put4(packet, _SENDER_SEQUENCE[kind], theirs)
    put8(packet, _SENDER_STAMP[kind], stamp)
    put2(packet, _SENDER_ERROR[kind], their_error)
    packet[_SENDER_TTL[kind]] = ttl & 0xFF


@compiled
def put_stamp(packet: Octets, kind: int, stamp: int) -> None:
    """Write when a packet leaves."""
    put8(packet, _STAMP[kind], stamp)


@compiled
def ssid_of(packet: Octets, kind: int) -> int:
    return get2(packet, _SSID[kind])


@compiled
def get_reply(packet: Octets, kind: int) -> Reply:
    """Read a base packet that is there in full."""
    return Reply(
        get4(packet, 0),
        get8(packet, _STAMP[kind]),
        get2(packet, _ERROR[kind]),
        get8(packet, _RECEIVED[kind]),
        get4(packet, _SENDER_SEQUENCE[kind]),
        get8(packet, _SENDER_STAMP[kind]),
        np.int64(packet[_SENDER_TTL[kind]]),
    )


@compiled
def get_extras(packet: Octets, kind: int, length: int) -> Extras:
    """Read the extensions, each with its length checked against the packet's."""
    announces, first, second, method, dscp = False, -1, -1, -1, -1
    mac, misplaced, touched, count, first_kind = -1, False, False, 0, -1
    at = SIZE[kind]
    while at + TLV_HEADER <= length and count < EXTENSIONS_MAX:
        flags, tlv, size = np.int64(packet[at]), np.int64(packet[at + 1]), get2(packet, at + 2)
        value = at + TLV_HEADER
        if value + size > length:
            break
        if count == 0:
            first_kind = tlv
        count += 1
        touched |= flags != _UNRECOGNISED
        misplaced |= mac >= 0 and tlv != EXTRA_PADDING
        if tlv == MAC_TLV:
            mac = at if mac < 0 else mac
            misplaced |= size != MAC_SIZE
        elif not flags & _UNSOUND:
            if tlv == FOLLOW_UP:
                announces = True
                if size == _FOLLOW_UP_SIZE and get8(packet, value + 4) != 0:
                    if first < 0:
                        first = value
                    elif second < 0:
                        second = value
            elif tlv == TIMESTAMP_INFORMATION and size == 4 and method < 0:
                method = np.int64(packet[value + 1])
            elif tlv == CLASS_OF_SERVICE and size == 4 and dscp < 0:
                dscp = get2(packet, value) >> 4 & 63
        at = value + size
    whole = at >= length
    touched |= not whole
    return Extras(
        announces, first, second, method, dscp, touched, whole, mac, misplaced, count, first_kind
    )


@compiled
def by_kernel(method: int) -> bool:
    """Whether a timestamp was taken by a kernel or by hardware (RFC 8972 §4.3)."""
    return method == _HARDWARE or method == _SOFTWARE
