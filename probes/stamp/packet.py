"""Octets of STAMP test packets, and the proof of their layout.

Unauthenticated:

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

Authenticated (RFC 8762 §4.2.2, §4.3.2), with zeros between:

 0  sequence number                0  sequence number
16  T1                            16  T3
24  error estimate, SSID          24  error estimate, SSID
                                  32  T2
                                  48  sender's sequence number
                                  64  sender's T1
                                  72  sender's error estimate
                                  80  sender's TTL
96  HMAC of octets 0 to 95        96  HMAC of octets 0 to 95
112 extensions                    112 extensions
"""

from __future__ import annotations

import hmac
from struct import Struct
from typing import Final, NamedTuple, Protocol

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

AUTHENTICATED_SIZE: Final = 112
HMAC_SIZE: Final = 16
_SIGNED: Final = AUTHENTICATED_SIZE - HMAC_SIZE
_SIGNED_REQUEST: Final = Struct("!I12xQHH68x")
_SIGNED_REPLY: Final = Struct("!I12xQHH4xQ8xI12xQH6xB15x")
assert _SIGNED_REQUEST.size == _SIGNED
assert _SIGNED_REPLY.size == _SIGNED


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


class NotAuthentic(ValueError):
    """The HMAC of a packet is not that of its octets under our key."""


class PacketFormat(Protocol):
    """How test packets of one mode are written and read; reading raises ValueError."""

    size: int  # of a base packet; extensions follow

    def write_request(self, request: Request) -> bytes: ...
    def write_reply(self, reply: Reply) -> bytes: ...
    def read_request(self, datagram: bytes) -> Request: ...
    def read_reply(self, datagram: bytes) -> Reply: ...
    def peek_reply(self, datagram: bytes) -> Reply: ...
    def mac(self, octets: bytes) -> bytes | None: ...


class Unauthenticated:
    """Packets of 44 octets that anybody can write."""

    size = PACKET_SIZE

    def write_request(self, request: Request) -> bytes:
        return REQUEST.pack(*request)

    def write_reply(self, reply: Reply) -> bytes:
        return REPLY.pack(*reply)

    def read_request(self, datagram: bytes) -> Request:
        return parse_request(datagram)

    def read_reply(self, datagram: bytes) -> Reply:
        return parse_reply(datagram)

    def peek_reply(self, datagram: bytes) -> Reply:
        """Read what may be a reply, of at least 41 octets."""
        return parse_reply(datagram)

    def mac(self, _octets: bytes) -> None:
        """Return nothing: there is no key."""


class Authenticated:
    """Packets of 112 octets under a shared key: HMAC-SHA-256, truncated to 128 bits."""

    size = AUTHENTICATED_SIZE

    def __init__(self, key: bytes) -> None:
        if not key:
            raise ValueError("the key is empty")
        self._key = key

    def write_request(self, request: Request) -> bytes:
        return self._signed(_SIGNED_REQUEST.pack(*request))

    def write_reply(self, reply: Reply) -> bytes:
        return self._signed(_SIGNED_REPLY.pack(*reply))

    def read_request(self, datagram: bytes) -> Request:
        return Request._make(_SIGNED_REQUEST.unpack_from(self._checked(datagram)))

    def read_reply(self, datagram: bytes) -> Reply:
        return Reply._make(_SIGNED_REPLY.unpack_from(self._checked(datagram)))

    def peek_reply(self, datagram: bytes) -> Reply:
        """Read what may be a reply, of a length and an HMAC that were checked."""
        return Reply._make(_SIGNED_REPLY.unpack_from(datagram))

    def mac(self, octets: bytes) -> bytes:
        """Return the HMAC of octets (RFC 8762 §4.4)."""
        return hmac.digest(self._key, octets, "sha256")[:HMAC_SIZE]

    def _signed(self, octets: bytes) -> bytes:
        return octets + self.mac(octets)

    def _checked(self, datagram: bytes) -> bytes:
        if len(datagram) < AUTHENTICATED_SIZE:
            raise ValueError(f"packet has {len(datagram)} octets, needs {AUTHENTICATED_SIZE}")
        if not hmac.compare_digest(
            self.mac(datagram[:_SIGNED]), datagram[_SIGNED:AUTHENTICATED_SIZE]
        ):
            raise NotAuthentic("the HMAC does not fit")
        return datagram


def packet_format(key: bytes | None) -> PacketFormat:
    """Return the authenticated format under a key, or the other one without."""
    return Unauthenticated() if key is None else Authenticated(key)
