"""SHA-256's compression function (FIPS 180-4 §6.2.2), and HMAC's keys as it leaves them.

Python's own OpenSSL has it in the processor's instructions for it, three times as fast as ours;
ours is for a Python that hides its OpenSSL. Compiled loops call whichever it is by one name.
"""

from __future__ import annotations

import ctypes
import hashlib
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from llvmlite import binding
from numba import carray, cfunc, types
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled
from probes._kernels.octets import Octets, get4

Words = NDArray[np.uint32]

BLOCK: Final = 64  # octets
DIGEST: Final = 8  # words
CONTEXT: Final = 32  # words of OpenSSL's SHA256_CTX, which begins with the digest's, and some more
_ROUNDS: Final = 64
_MASK: Final = 0xFFFFFFFF
_NAME: Final = "netslo_sha256_block"


def _primes(count: int) -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found


def _root_bits(number: int, degree: int) -> int:
    """Return the first 32 bits of the fraction of a root, found in integers."""
    low, high = 0, number << 32
    while low < high:
        middle = (low + high + 1) // 2
        if middle**degree <= number << 32 * degree:
            low = middle
        else:
            high = middle - 1
    return low & _MASK


_K = np.array([_root_bits(prime, 3) for prime in _primes(_ROUNDS)], np.uint32)  # §4.2.2
_INITIAL = np.array([_root_bits(prime, 2) for prime in _primes(8)], np.uint32)  # §5.3.3

_block: Any = types.ExternalFunction(_NAME, types.void(types.uintp, types.uintp))


@compiled
def compress(state: Words, block: Octets) -> None:
    """Take a block into the state, of CONTEXT words."""
    _block(state.ctypes.data, block.ctypes.data)


@compiled
def compress_plainly(state: Words, block: Octets) -> None:
    """Do what `compress` does, without OpenSSL."""
    w = np.empty(_ROUNDS, np.uint32)
    for t in range(BLOCK // 4):
        w[t] = get4(block, 4 * t)
    for t in range(BLOCK // 4, _ROUNDS):
        x, y = w[t - 15], w[t - 2]
        s0 = _right(x, 7) ^ _right(x, 18) ^ np.uint32(x >> np.uint32(3))
        s1 = _right(y, 17) ^ _right(y, 19) ^ np.uint32(y >> np.uint32(10))
        w[t] = np.uint32(w[t - 16] + s0 + w[t - 7] + s1)
    a, b, c, d = state[0], state[1], state[2], state[3]
    e, f, g, h = state[4], state[5], state[6], state[7]
    for t in range(_ROUNDS):
        choice = g ^ (e & (f ^ g))
        majority = (a & b) | (c & (a | b))
        sum1 = _right(e, 6) ^ _right(e, 11) ^ _right(e, 25)
        sum0 = _right(a, 2) ^ _right(a, 13) ^ _right(a, 22)
        t1 = np.uint32(h + sum1 + choice + _K[t] + w[t])
        h, g, f, e = g, f, e, np.uint32(d + t1)
        d, c, b, a = c, b, a, np.uint32(t1 + sum0 + majority)
    state[0] += a
    state[1] += b
    state[2] += c
    state[3] += d
    state[4] += e
    state[5] += f
    state[6] += g
    state[7] += h


@compiled
def _right(x: int, by: int) -> int:
    """Rotate 32 bits to the right."""
    return np.uint32(np.uint32(x >> np.uint32(by)) | np.uint32(x << np.uint32(32 - by)))


def _ours() -> int:
    """Return the address of our own function, by C's calling convention."""

    @cfunc(types.void(types.CPointer(types.uint32), types.CPointer(types.uint8)))
    def block_of_c(state: Any, block: Any) -> None:
        compress_plainly(carray(state, CONTEXT), carray(block, BLOCK))

    _KEPT.append(block_of_c)
    return int(block_of_c.address)


def _of_openssl() -> int | None:
    """Return the address of OpenSSL's function, if Python's is a library of its own."""
    spec = find_spec("_hashlib")
    if spec is None or spec.origin is None:
        return None
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(spec.origin)
        _KEPT.append(library)
        return ctypes.cast(library.SHA256_Transform, ctypes.c_void_p).value
    return None


_KEPT: Final[list[Any]] = []  # what is called by its address must not go away


def hmac_key(key: bytes) -> Words:
    """Return the states that a key leaves behind, inner and outer, 16 words (RFC 2104 §4)."""
    if len(key) > BLOCK:
        key = hashlib.sha256(key).digest()
    octets = np.frombuffer(key.ljust(BLOCK, b"\0"), np.uint8)
    states = []
    for pad in (0x36, 0x5C):
        state = np.zeros(CONTEXT, np.uint32)
        state[:DIGEST] = _INITIAL
        compress(state, octets ^ np.uint8(pad))
        states.append(state[:DIGEST])
    return np.concatenate(states)


binding.add_symbol(_NAME, _of_openssl() or _ours())
