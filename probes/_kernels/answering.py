"""A reflector's answers to the extensions of a request: `probes.stamp.answering`, compiled.

A reply is as long as its request, so each is answered where it stands.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from analytics._kernels.compilation import compiled
from probes._kernels.octets import Octets, get2, get4, get8, put2, put4, put8
from probes._kernels.stamp import (
    CLASS_OF_SERVICE,
    EXTRA_PADDING,
    FOLLOW_UP,
    SIZE,
    TIMESTAMP_INFORMATION,
    TLV_HEADER,
)
from probes._kernels.telling import Telling, take
from probes.stamp.tlv import ACCESS_REPORT_SIZE, EXTENSIONS_MAX, Flag, Kind, Method, Place

_U, _M, _I = int(Flag.UNRECOGNISED), int(Flag.MALFORMED), int(Flag.INTEGRITY)
_LOCATION = int(Kind.LOCATION)
_DIRECT_MEASUREMENT = int(Kind.DIRECT_MEASUREMENT)
_ACCESS_REPORT = int(Kind.ACCESS_REPORT)
_FOLLOW_UP_SIZE, _DIRECT_MEASUREMENT_SIZE = 16, 12
_PORTS_SIZE, _ADDRESS_SIZE, _ADDRESS4_SIZE = 4, 16, 4
_DESTINATION, _SOURCE = int(Place.DESTINATION_IP), int(Place.SOURCE_IP)
_HARDWARE, _SOFTWARE = int(Method.HARDWARE), int(Method.SOFTWARE)
_CONTROL_PLANE = int(Method.CONTROL_PLANE)
NONE: Final = -1


class Came(NamedTuple):
    """How a request came; NONE where that is not known."""

    traffic_class: int
    method: int  # who has taken T2, a `Method`
    synchronisation: int  # of our clock
    local: Octets  # the address it was sent to, 4 or 16 octets, or none
    remote: Octets  # and from
    local_port: int
    remote_port: int
    session: int  # NONE: none is remembered
    received: int  # packets of the session
    returned: int


@compiled
def doubt(packet: Octets, kind: int, length: int) -> None:
    """Mark all extensions as failing the integrity check; none is answered."""
    at = SIZE[kind]
    count = 0
    while at + TLV_HEADER <= length and count < EXTENSIONS_MAX:
        size = get2(packet, at + 2)
        if at + TLV_HEADER + size > length:
            break
        packet[at] |= _I
        count += 1
        at += TLV_HEADER + size
    if at + TLV_HEADER <= length:
        packet[at] |= _I


@compiled
def answer(packet: Octets, kind: int, length: int, mac: int, came: Came, telling: Telling) -> int:
    """Answer the extensions; return the DSCP wanted for the reply, or NONE.

    `mac`: where our HMAC TLV begins, of which the value is written later; NONE: there is none.
    """
    at, count = SIZE[kind], 0
    dscp, asked = np.int64(NONE), False
    while at + TLV_HEADER <= length and count < EXTENSIONS_MAX:
        flags, tlv = np.int64(packet[at]), np.int64(packet[at + 1])
        size, value = get2(packet, at + 2), at + TLV_HEADER
        if value + size > length:
            break
        if tlv == CLASS_OF_SERVICE and not asked and not flags & (_M | _I):
            asked = True
            dscp = get2(packet, value) >> 10 if size == 4 else np.int64(NONE)
        if at == mac:
            packet[at] = 0
        elif not _can(tlv, came):
            packet[at] = flags | _U
        elif _answer_value(packet, tlv, value, size, came, telling):
            packet[at] = flags & ~_U
        else:
            packet[at] = flags & ~_U | _M
        count += 1
        at = value + size
    if at + TLV_HEADER <= length and at + TLV_HEADER + get2(packet, at + 2) > length:
        packet[at] = np.int64(packet[at]) & ~_U | _M
    return dscp


@compiled
def _can(tlv: int, came: Came) -> bool:
    """Whether we know what an extension asks for. Ours of the type HMAC is not answered here."""
    if tlv == _LOCATION:
        return came.local.shape[0] > 0
    if tlv == CLASS_OF_SERVICE:
        return came.traffic_class >= 0
    return (
        tlv == EXTRA_PADDING
        or tlv == TIMESTAMP_INFORMATION
        or tlv == _DIRECT_MEASUREMENT
        or tlv == _ACCESS_REPORT
        or tlv == FOLLOW_UP
    )


@compiled
def _answer_value(
    packet: Octets, tlv: int, value: int, size: int, came: Came, telling: Telling
) -> bool:
    """Write the value of an extension of a type that we know; False where it is malformed."""
    if tlv == EXTRA_PADDING:
        return True
    if tlv == _LOCATION:
        return _answer_location(packet, value, size, came)
    if tlv == _ACCESS_REPORT:
        return size == ACCESS_REPORT_SIZE
    if tlv == TIMESTAMP_INFORMATION and size == 4:
        packet[value] = packet[value + 2] = came.synchronisation
        packet[value + 1] = came.method
        packet[value + 3] = _CONTROL_PLANE  # T3 is our own reading of the clock
        return True
    if tlv == CLASS_OF_SERVICE and size == 4:
        wanted = get2(packet, value) >> 10
        seen, ecn = came.traffic_class >> 2, came.traffic_class & 3
        put2(packet, value, wanted << 10 | seen << 4 | ecn << 2)
        put2(packet, value + 2, 0)
        return True
    if tlv == _DIRECT_MEASUREMENT and size == _DIRECT_MEASUREMENT_SIZE:
        put4(packet, value + 4, came.received)
        put4(packet, value + 8, came.returned)
        return True
    if tlv == FOLLOW_UP and size == _FOLLOW_UP_SIZE:
        sequence, stamp = np.int64(0), np.int64(0)
        if came.session >= 0:
            wanted = 0 if get8(packet, value + 4) else get4(packet, value)
            sequence, stamp = take(telling, came.session, wanted)
        put4(packet, value, sequence)
        put8(packet, value + 4, stamp)
        put4(packet, value + 12, 0)
        by = _HARDWARE if came.method == _HARDWARE else _SOFTWARE
        packet[value + 12] = by if stamp else 0
        return True
    return False


@compiled
def _answer_location(packet: Octets, value: int, size: int, came: Came) -> bool:
    """Fill in ports and addresses (RFC 8972 §4.2); False where they are malformed."""
    end = value + size
    if size < _PORTS_SIZE or not _whole(packet, value + _PORTS_SIZE, end):
        return False
    put2(packet, value, came.local_port)
    put2(packet, value + 2, came.remote_port)
    at = value + _PORTS_SIZE
    while at < end:
        place, length = np.int64(packet[at + 1]), get2(packet, at + 2)
        if place == _DESTINATION or place == _SOURCE:
            packet[at] &= 0xFF & ~_U
            if length == _ADDRESS_SIZE:
                address = came.local if place == _DESTINATION else came.remote
                v4 = address.shape[0] == _ADDRESS4_SIZE
                packet[at + 1] = place + (1 if v4 else 2)
                packet[at + TLV_HEADER : at + TLV_HEADER + _ADDRESS_SIZE] = 0
                for each in range(address.shape[0]):
                    packet[at + TLV_HEADER + each] = address[each]
            else:
                packet[at] |= _M
        at += TLV_HEADER + length
    return True


@compiled
def _whole(packet: Octets, at: int, end: int) -> bool:
    """Whether there are extensions of extensions from `at` to `end`, and nothing else."""
    count = 0
    while at + TLV_HEADER <= end and count < EXTENSIONS_MAX:
        size = get2(packet, at + 2)
        if at + TLV_HEADER + size > end:
            return False
        count += 1
        at += TLV_HEADER + size
    return at == end
