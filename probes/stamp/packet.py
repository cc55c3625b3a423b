"""Octets of the unauthenticated STAMP test packets, and the proof of their layout.

sender (RFC 8762 §4.2.1)          reflector (RFC 8762 §4.3.1)
 0  sequence number                0  sequence number
 4  T1                             4  T3, when the reply left
12  error estimate                12  error estimate
14  SSID (RFC 8972 §3)            14  SSID, echoed
16  must be zero                  16  T2, when the request came
                                  24  sender's sequence number
                                  28  sender's T1
                                  36  sender's error estimate, 2 octets zero
                                  40  sender's TTL as received, 3 octets zero
44  extensions                    44  extensions
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

PACKET_SIZE: Final = 44
PACKET_SIZE_MAX: Final = 9000  # a jumbo frame; nothing longer is a test packet of anybody
TWAMP_REQUEST_SIZE: Final = 14  # RFC 4656 §4.1.2: sequence number, timestamp, error estimate
TWAMP_REPLY_SIZE: Final = 41  # RFC 5357 §4.2.1: ends with the sender's TTL
SEQUENCE_SPAN: Final = 1 << 32
PORT: Final = 862

REQUEST: Final = Struct("!IQHH28x")
REPLY: Final = Struct("!IQHHQIQHxxB3x")
assert REQUEST.size == PACKET_SIZE
assert REPLY.size == PACKET_SIZE


class Request(NamedTuple):
    """A sender's test packet; timestamps as they stand in it."""

    sequence: int
    timestamp: int
    error_estimate: int
    ssid: int


class Reply(NamedTuple):
    """A reflector's test packet; timestamps as they stand in it."""

    sequence: int
    timestamp: int
    error_estimate: int
    ssid: int
    receive_timestamp: int
    sender_sequence: int
    sender_timestamp: int
    sender_error_estimate: int
    sender_ttl: int


def parse_request(datagram: bytes) -> Request:
    """Read a request of at least 14 octets; what a short one lacks is zero (TWAMP Light).

    Raises:
        ValueError: it is shorter than any test packet.
    """
    if len(datagram) < TWAMP_REQUEST_SIZE:
        raise ValueError(f"request has {len(datagram)} octets, needs {TWAMP_REQUEST_SIZE}")
    return Request._make(REQUEST.unpack_from(_filled(datagram)))


def parse_reply(datagram: bytes) -> Reply:
    """Read a reply of at least 41 octets; what a short one lacks is zero (TWAMP Light).

    Raises:
        ValueError: it is shorter than any reply.
    """
    if len(datagram) < TWAMP_REPLY_SIZE:
        raise ValueError(f"reply has {len(datagram)} octets, needs {TWAMP_REPLY_SIZE}")
    return Reply._make(REPLY.unpack_from(_filled(datagram)))


def _filled(datagram: bytes) -> bytes:
    return datagram if len(datagram) >= PACKET_SIZE else datagram.ljust(PACKET_SIZE, b"\0")
