"""Compiled HMACs against hashlib's, and compiled judgements against `probes.stamp.integrity`."""

import ctypes
import hashlib
import hmac
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from probes import _kernels
from probes.stamp.integrity import intact, sealed
from probes.stamp.packet import AUTHENTICATED_SIZE, Authenticated
from probes.stamp.sender import Asked
from probes.stamp.tlv import Extensions, Flag, Kind, Tlv

if not _kernels.available():
    pytest.skip("numba is not there", allow_module_level=True)

from probes._kernels.sealing import (
    _mac,
    authentic,
    extensions_authentic,
    seal_base,
    seal_request,
)
from probes._kernels.sha256 import (
    _INITIAL,
    CONTEXT,
    _ours,
    compress,
    compress_plainly,
    hmac_key,
)
from probes._kernels.stamp import AUTHENTICATED, get_extras

keys = st.binary(min_size=1, max_size=200)
bases = st.binary(min_size=AUTHENTICATED_SIZE, max_size=AUTHENTICATED_SIZE)
octets = st.binary(max_size=40)
tlvs = st.builds(Tlv, st.sampled_from([0, 0x80, 0x40, 0x20]), st.integers(0, 9), octets)


def array(text: bytes) -> np.ndarray:
    return np.frombuffer(text, np.uint8).copy()


def full_mac(key: bytes, text: bytes) -> bytes:
    return _mac(hmac_key(key), array(text), 0, len(text)).astype(">u4").tobytes()


@settings(deadline=None)
@given(keys, st.binary(max_size=300))
@example(b"k" * 64, b"")
@example(b"k" * 65, b"x" * 55)
@example(b"k", b"x" * 56)
@example(b"k", b"x" * 64)
def test_an_hmac_is_that_of_hashlib(key, text):
    assert full_mac(key, text) == hmac.digest(key, text, "sha256")


@pytest.mark.parametrize("length", range(180))
def test_an_hmac_is_that_of_hashlib_at_every_length(length):
    text = bytes(range(length))
    assert full_mac(b"secret", text) == hmac.digest(b"secret", text, "sha256")


@settings(deadline=None)
@given(st.binary(min_size=55, max_size=55))
@pytest.mark.parametrize("function", [compress, compress_plainly])
def test_a_block_is_compressed_as_by_hashlib_with_and_without_openssl(function, text):
    state = np.zeros(CONTEXT, np.uint32)
    state[:8] = _INITIAL
    function(state, array(text + b"\x80" + struct.pack("!Q", 8 * len(text))))
    assert state[:8].astype(">u4").tobytes() == hashlib.sha256(text).digest()


def test_our_function_can_take_the_place_of_openssls():
    address = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(_ours())
    state = np.zeros(CONTEXT, np.uint32)
    state[:8] = _INITIAL
    block = array(b"\x80" + bytes(63))
    address(state.ctypes.data, block.ctypes.data)
    assert state[:8].astype(">u4").tobytes() == hashlib.sha256(b"").digest()


@settings(deadline=None)
@given(keys, bases)
def test_a_base_packet_is_signed_as_python_signs_it(key, base):
    packet, signed = array(base), base[:96]
    seal_base(hmac_key(key), packet)
    assert packet.tobytes() == signed + Authenticated(key).mac(signed)
    assert authentic(hmac_key(key), packet)
    assert not authentic(hmac_key(key + b"1"), packet)


@settings(deadline=None)
@given(st.binary(min_size=16, max_size=16), st.integers(0, 111), st.integers(1, 255))
def test_no_changed_octet_is_authentic(key, at, change):
    packet = array(bytes(AUTHENTICATED_SIZE))
    seal_base(hmac_key(key), packet)
    packet[at] ^= change
    assert not authentic(hmac_key(key), packet)


@settings(deadline=None)
@given(keys, bases, st.integers(0, 63) | st.none(), st.booleans())
def test_a_request_is_sealed_as_python_seals_it(key, base, dscp, follow_up):
    extensions = Asked(follow_up=follow_up, timestamps=True, dscp=dscp).encode(0)
    python = Authenticated(key)
    expected = sealed(int.from_bytes(base[:4]), extensions, Flag.UNRECOGNISED, python)
    template = base + extensions + Tlv(Flag.UNRECOGNISED, Kind.HMAC, bytes(16)).encode()
    packet = array(template)
    seal_request(hmac_key(key), packet, len(packet))
    assert packet.tobytes() == base[:96] + python.mac(base[:96]) + expected


@settings(deadline=None)
@given(
    keys,
    bases,
    st.lists(tlvs, max_size=18),
    st.lists(tlvs | st.just(Tlv(0, Kind.EXTRA_PADDING, b"abc")), max_size=2),
    st.booleans(),
    st.booleans(),
    octets | st.just(b""),
)
@example(b"k", bytes(112), [Tlv(0, Kind.EXTRA_PADDING, b"odd")], [], False, True, b"")
@example(b"k", bytes(112), [], [], True, True, b"")
@example(b"k", bytes(112), [Tlv(0, 7, b"x")] * 3, [Tlv(0, 1, b"y")], True, True, b"")
def test_extensions_are_judged_as_python_judges_them(
    key, base, before, behind, with_seal, genuine, rest
):
    python = Authenticated(key)
    octets = b"".join(tlv.encode() for tlv in before)
    if with_seal:
        octets = sealed(int.from_bytes(base[:4]), octets, 0, python)
        if not genuine:
            octets = octets[:-1] + bytes([octets[-1] ^ 1])
    octets += b"".join(tlv.encode() for tlv in behind) + rest
    packet = array(base + octets)
    extras = get_extras(packet, AUTHENTICATED, len(packet))
    expected = intact(int.from_bytes(base[:4]), Extensions.decode(octets), python)
    assert extensions_authentic(hmac_key(key), packet, extras) == expected
