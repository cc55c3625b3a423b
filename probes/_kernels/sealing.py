"""HMACs of authenticated packets and of their extensions (RFC 8762 §4.4, RFC 8972 §4.8).

HMAC-SHA-256, cut to 128 bits, as `probes.stamp.packet` and `probes.stamp.integrity` have it.
"""

from __future__ import annotations

import numpy as np

from analytics._kernels.compilation import compiled
from probes._kernels.octets import Octets, get4, put4
from probes._kernels.sha256 import BLOCK, SCHEDULE, Words, compress
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
_COUNT_SIZE = 8  # of the length that ends a message
_DIGEST_WORDS = 8
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
    return _mac(key, packet, 0, MAC_AT, 0)


@compiled
def _extensions_mac(key: Words, packet: Octets, at: int) -> Words:
    """Return the HMAC of the sequence number and of the extensions before an octet."""
    return _mac(key, packet, _BASE - _SEQUENCE_SIZE, at, _SEQUENCE_SIZE)


@compiled
def _mac(key: Words, packet: Octets, begin: int, end: int, head: int) -> Words:
    """Return the HMAC of octets from `begin` to before `end`.

    `head`: so many of them (0 or 4) are not those that stand there, but the packet's first.
    """
    scratch = np.empty(_DIGEST_WORDS + SCHEDULE, np.uint32)
    state, w = scratch[:_DIGEST_WORDS], scratch[_DIGEST_WORDS:]
    state[:] = key[:_DIGEST_WORDS]
    length = end - begin
    blocks = (length + 1 + _COUNT_SIZE + BLOCK - 1) // BLOCK
    for block in range(blocks):
        for j in range(BLOCK // 4):
            at = block * BLOCK + 4 * j
            if at < head:
                w[j] = get4(packet, 0)
            elif at + 4 <= length:
                w[j] = get4(packet, begin + at)
            else:
                w[j] = _last_word(packet, begin, length, at)
        if block == blocks - 1:
            w[BLOCK // 4 - 1] = 8 * (BLOCK + length)
        compress(state, w)
    w[:_DIGEST_WORDS] = state
    w[_DIGEST_WORDS : BLOCK // 4] = 0
    w[_DIGEST_WORDS] = _MARK << 24
    w[BLOCK // 4 - 1] = 8 * (BLOCK + 4 * _DIGEST_WORDS)
    state[:] = key[_DIGEST_WORDS:]
    compress(state, w)
    return state


@compiled
def _last_word(packet: Octets, begin: int, length: int, at: int) -> int:
    """Return a word of the message's end: what is left of it, then the mark, then zeros."""
    word = np.int64(0)
    for each in range(at, at + 4):
        octet = np.int64(0)
        if each < length:
            octet = np.int64(packet[begin + each])
        elif each == length:
            octet = np.int64(_MARK)
        word = word << 8 | octet
    return word


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
