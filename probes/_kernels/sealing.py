"""HMACs of authenticated packets and of their extensions (RFC 8762 §4.4, RFC 8972 §4.8).

HMAC-SHA-256, cut to 128 bits, as `probes.stamp.packet` and `probes.stamp.integrity` have it.
"""

from __future__ import annotations

import numpy as np

from analytics._kernels.compilation import compiled
from probes._kernels.octets import Octets, get4, put4, put8
from probes._kernels.sha256 import BLOCK, CONTEXT, DIGEST, Words, compress
from probes._kernels.stamp import (
    AUTHENTICATED,
    EXTRA_PADDING,
    MAC_AT,
    MAC_SIZE,
    SIZE,
    TLV_HEADER,
    Extras,
)

_BASE = int(SIZE[AUTHENTICATED])
_SEQUENCE_SIZE = 4
_COUNT_AT = BLOCK - 8  # of a message's length, in its last block
_MARK = 0x80  # behind the last octet


@compiled
def seal_request(key: Words, packet: Octets, size: int) -> None:
    """Sign the base packet, and its extensions in the HMAC TLV that ends it."""
    seal_base(key, packet)
    if size > _BASE:
        seal_extensions(key, packet, size - MAC_SIZE - TLV_HEADER)


@compiled
def seal_base(key: Words, packet: Octets) -> None:
    """Sign the base packet."""
    _put_mac(_base_mac(key, packet), packet, MAC_AT)


@compiled
def seal_extensions(key: Words, packet: Octets, at: int) -> None:
    """Write the value of the HMAC TLV that begins at an octet."""
    _put_mac(_extensions_mac(key, packet, at), packet, at + TLV_HEADER)


@compiled
def authentic(key: Words, packet: Octets) -> bool:
    """Whether the HMAC of a base packet is that of its octets."""
    return _same_mac(_base_mac(key, packet), packet, MAC_AT)


@compiled
def extensions_authentic(key: Words, packet: Octets, extras: Extras) -> bool:
    """Whether extensions are what the holder of the key sent, as `probes.stamp.integrity` says."""
    if not extras.whole or extras.misplaced:
        return False
    if extras.mac < 0:
        return extras.count == 1 and extras.kind == EXTRA_PADDING
    return _same_mac(_extensions_mac(key, packet, extras.mac), packet, extras.mac + TLV_HEADER)


@compiled
def _base_mac(key: Words, packet: Octets) -> Words:
    return _mac(key, packet, 0, MAC_AT)


@compiled
def _extensions_mac(key: Words, packet: Octets, at: int) -> Words:
    """Return the HMAC of the sequence number and of the extensions before an octet."""
    # The number has to stand directly before them: the base packet's end makes room meanwhile.
    begin = _BASE - _SEQUENCE_SIZE
    kept = get4(packet, begin)
    put4(packet, begin, get4(packet, 0))
    mac = _mac(key, packet, begin, at)
    put4(packet, begin, kept)
    return mac


@compiled
def _mac(key: Words, packet: Octets, begin: int, end: int) -> Words:
    """Return the HMAC of octets from `begin` to before `end`, words."""
    state, block = np.empty(CONTEXT, np.uint32), np.zeros(BLOCK, np.uint8)
    state[:DIGEST] = key[:DIGEST]
    at = begin
    while at + BLOCK <= end:
        compress(state, packet[at : at + BLOCK])
        at += BLOCK
    rest = end - at
    block[:rest] = packet[at:end]
    block[rest] = _MARK
    if rest >= _COUNT_AT:
        compress(state, block)
        block[:] = 0
    put8(block, _COUNT_AT, 8 * (BLOCK + end - begin))
    compress(state, block)
    for j in range(DIGEST):
        put4(block, 4 * j, np.int64(state[j]))
    block[4 * DIGEST] = _MARK
    block[4 * DIGEST + 1 : _COUNT_AT] = 0
    put8(block, _COUNT_AT, 8 * (BLOCK + 4 * DIGEST))
    state[:DIGEST] = key[DIGEST:]
    compress(state, block)
    return state[:DIGEST]


@compiled
def _put_mac(mac: Words, packet: Octets, at: int) -> None:
    for j in range(MAC_SIZE // 4):
        put4(packet, at + 4 * j, np.int64(mac[j]))


@compiled
def _same_mac(mac: Words, packet: Octets, at: int) -> bool:
    """Whether an HMAC stands there, in a time that does not tell how much of it is right."""
    different = np.int64(0)
    for j in range(MAC_SIZE // 4):
        different |= np.int64(mac[j]) ^ get4(packet, at + 4 * j)
    return different == 0
