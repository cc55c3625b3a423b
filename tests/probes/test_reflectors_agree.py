"""The compiled reflector against the plain one: the same replies to the same datagrams."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from independent_stamp import digest
from stamp_exchange import KEY

from netslo.model import Endpoint
from probes import _kernels
from probes.reflector import RATE_LIMITED, ReflectorServer
from probes.stamp.follow_ups import PENDING_MAX, TOLD_MAX, FollowUps
from probes.stamp.rate_limit import RateLimit
from probes.stamp.tlv import EXTENSIONS_MAX, FollowUp

if not _kernels.available():
    pytest.skip("numba is not there", allow_module_level=True)

from probes._kernels.recent import new_recent, place_of
from probes._kernels.telling import add, forget, new_telling, take

Server = ReflectorServer
HOSTS = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
KEYS = pytest.mark.parametrize("key", [None, KEY], ids=["open", "authenticated"])
NTP_1970 = 2_208_988_800


class Both:
    """A plain and a compiled server, and one socket that asks both."""

    def __init__(self, plain: Server, compiled: Server, sock: socket.socket) -> None:
        assert plain._compiled is None
        assert compiled._compiled is not None
        self.plain, self.compiled, self.sock = plain, compiled, sock

    def ask(self, datagram: bytes) -> tuple[bytes | None, bytes | None]:
        """Return both replies, None for none."""
        return self._ask(self.plain, datagram), self._ask(self.compiled, datagram)

    def _ask(self, server: Server, datagram: bytes) -> bytes | None:
        [endpoint] = server.endpoints
        answered, seen = server.reflected, server.reflected + server.discarded.total()
        self.sock.sendto(datagram, (endpoint.host, endpoint.port))
        deadline = time.monotonic() + 60
        while server.reflected + server.discarded.total() == seen:
            assert time.monotonic() < deadline, "the datagram was not counted"
            time.sleep(0.0001)
        if server.reflected == answered:
            return None
        reply, ancillary, _, _ = self.sock.recvmsg(10_000, 200)
        octets = [value[0] for _, kind, value in ancillary if kind in (socket.IP_TOS, 67)]
        return reply + bytes(octets)


@contextmanager
def running(server: Server) -> Iterator[Server]:
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


@contextmanager
def both(host: str = "127.0.0.1", limit: RateLimit | None = None, **options) -> Iterator[Both]:
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patched:
        patched.setattr("probes.reflector._STOP_POLL_S", 0.01)
        limit = limit or RateLimit(1e6, 10**6)
        servers = []
        for numba in ("0", "1"):
            patched.setenv("NETSLO_NUMBA", numba)
            server = ReflectorServer([Endpoint(host, 0)], rate_limit=limit, **options)
            servers.append(stack.enter_context(running(server)))
        v6 = ":" in host
        sock = stack.enter_context(
            socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
        )
        sock.settimeout(60)
        sock.bind((host, 0))
        if v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 46 << 2 | 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 61)
        else:
            sock.setsockopt(socket.IPPROTO_IP, 13, 1)  # IP_RECVTOS
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 46 << 2 | 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 61)
        yield Both(*servers, sock)


def comparable(asked: bytes, reply: bytes | None, key: bytes | None) -> bytes | None:
    """Return a reply without what differs from one reflector to the next: times and ports.

    HMACs are held against hashlib here, and left out.
    """
    if reply is None:
        return None
    octets = bytearray(reply)
    size, stamps = (44, (4, 16)) if key is None else (112, (16, 32))
    for at in stamps:
        octets[at : at + 8] = bytes(8)
    if key is not None:
        assert reply[96:112] == digest(key, reply[:96])
        octets[96:112] = bytes(16)
    if asked[size : size + 1] != b"\x80":
        return bytes(octets)  # what follows are no extensions
    at = size
    for _ in range(EXTENSIONS_MAX):
        if at + 4 > len(octets) - 1:
            break
        flags, kind, length = struct.unpack_from("!BBH", octets, at)
        value = at + 4
        if value + length > len(octets) - 1:
            break
        if kind == 7 and length == 16 and not flags & 0x80:
            told = any(octets[value + 4 : value + 12])
            octets[value + 4 : value + 12] = bytes([told]) * 8
        elif kind == 2 and length >= 4 and not flags & 0x80:
            octets[value : value + 2] = bytes(2)  # each has a port of its own
        elif kind == 8 and length == 16 and key is not None and not flags & 0xA0:
            assert reply[value : value + 16] == digest(key, reply[:4] + reply[size:at])
            octets[value : value + 16] = bytes(16)
        at = value + length
    return bytes(octets)


def tlv(kind: int, value: bytes, flags: int = 0x80) -> bytes:
    return struct.pack("!BBH", flags, kind, len(value)) + value


def request(seq: int, ssid: int, extensions: bytes, key: bytes | None) -> bytes:
    seconds, ns = divmod(time.time_ns(), 10**9)
    stamp = (seconds + NTP_1970) << 32 | (ns << 32) // 10**9
    if key is None:
        return struct.pack("!IQHH28x", seq, stamp, 0x8C01, ssid) + extensions
    base = struct.pack("!I12xQHH68x", seq, stamp, 0x8C01, ssid)
    return base + digest(key, base) + extensions


places = st.builds(
    tlv, st.integers(1, 9), st.just(bytes(16)) | st.binary(max_size=20), st.sampled_from([0x80, 0])
)
locations = st.builds(
    lambda ports, subs, rest: ports + b"".join(subs) + rest,
    st.just(bytes(4)),
    st.lists(places, max_size=18),
    st.sampled_from([b"", b"\x80", b"\x80\x04\0\x20"]),
)
values = {
    1: st.binary(max_size=9),
    2: locations | st.binary(max_size=3),
    3: st.just(bytes(4)) | st.binary(max_size=5),
    4: st.binary(min_size=4, max_size=4) | st.binary(max_size=5),
    5: st.binary(min_size=12, max_size=12) | st.binary(max_size=13),
    6: st.binary(min_size=3, max_size=5),
    7: st.integers(0, 6).map(lambda n: struct.pack("!I12x", n)) | st.binary(max_size=17),
    8: st.binary(min_size=15, max_size=17),
    9: st.binary(max_size=4),
    250: st.binary(max_size=4),
}
flags = st.sampled_from([0x80, 0x80, 0x80, 0, 0xC0, 0xA0, 0xE0])
extension = st.sampled_from(sorted(values)).flatmap(
    lambda kind: st.builds(tlv, st.just(kind), values[kind], flags)
)
rest = st.sampled_from([b"", b"", b"\x80", b"\x80\x07\xff\xff", b"\0\0\0\1"])
chains = st.builds(lambda tlvs, end: b"".join(tlvs) + end, st.lists(extension, max_size=19), rest)
numbers = st.integers(0, 3) | st.just(2**32 - 1)


@st.composite
def datagrams(draw: st.DrawFn, key: bytes | None) -> bytes:
    if draw(st.integers(0, 7)) == 0:
        return draw(st.binary(max_size=200))
    seq, ssid, chain = draw(numbers), draw(st.integers(0, 2)), draw(chains)
    octets = request(seq, ssid, chain, key)
    sealed = draw(st.integers(0, 3))
    if key is not None and sealed:
        mac = digest(key, octets[:4] + chain)
        octets += tlv(8, mac if sealed > 1 else mac[::-1]) + draw(
            st.sampled_from([b"", tlv(1, b"pad"), tlv(9, b"")])
        )
    return octets[: draw(st.none() | st.integers(0, len(octets)))]


@KEYS
@HOSTS
@pytest.mark.parametrize("stateful", [True, False], ids=["stateful", "stateless"])
def test_whatever_comes_has_the_same_reply(*, host: str, key: bytes | None, stateful: bool) -> None:
    with both(host, key=key, stateful=stateful) as ends:
        # Eight ways, each of many datagrams.
        @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(datagrams(key), min_size=1, max_size=8))
        @example([request(n, 1, tlv(7, bytes(16)) * 2 + tlv(3, bytes(4)), key) for n in range(4)])
        @example([request(n, 1, tlv(7, struct.pack("!I12x", n)), key) for n in (0, 0, 1, 1)])
        @example([request(0, 1, tlv(9, b"") * 16 + tlv(1, b""), key)])
        @example([request(0, 1, tlv(4, b"\xb8\0\0\0"), key)])
        @example([request(0, 1, tlv(2, b"") + tlv(2, bytes(4)), key)])
        def agree(came: list[bytes]) -> None:
            for datagram in came:
                plain, compiled = ends.ask(datagram)
                assert comparable(datagram, compiled, key) == comparable(datagram, plain, key)
            assert ends.compiled.discarded == ends.plain.discarded
            assert ends.compiled.reflected == ends.plain.reflected

        agree()
        assert ends.plain.reflected > 50
        assert ends.plain.discarded.total() > 5


def test_times_are_in_order_and_replies_tell_when_earlier_ones_left() -> None:
    with both() as ends:
        stamps = []
        for number in range(20):
            _, reply = ends.ask(request(number, 5, tlv(7, bytes(16)), None))
            assert reply is not None
            own, t3, t2, t1 = struct.unpack_from("!IQ4xQ4xQ", reply)
            assert own == number
            assert t1 <= t2 <= t3
            stamps.append((own, t3))
            told, left, method = struct.unpack_from("!IQB", reply, 48)
            if number:
                assert (told, method) == (number - 1, 2)
                assert stamps[told][1] <= left <= t2


def test_a_source_has_what_it_may_have_and_forgeries_do_not_use_it_up() -> None:
    limit = RateLimit(per_second=0.001, burst=5)
    with both(limit=limit, key=KEY) as ends:
        for _ in range(10):
            assert ends.ask(bytes(200)) == (None, None)
        replies = [ends.ask(request(n, 1, b"", KEY)) for n in range(7)]
        assert [(bool(a), bool(b)) for a, b in replies] == [(True,) * 2] * 5 + [(False,) * 2] * 2
        for server in (ends.plain, ends.compiled):
            assert server.discarded == {"HMAC does not fit": 10, RATE_LIMITED: 2}


def test_bursts_are_answered_in_order_and_without_loss() -> None:
    with both() as ends:
        [endpoint] = ends.compiled.endpoints
        for first in (0, 100, 200):  # no more at once than fits into the buffer of our socket
            burst = range(first, first + 100)
            for number in burst:
                ends.sock.sendto(request(number, 1, b"", None), (endpoint.host, endpoint.port))
            numbers = [struct.unpack_from("!I20xI", ends.sock.recv(100)) for _ in burst]
            assert numbers == [(number, number) for number in burst]


class TestTheTableOfWhoWasHeard:
    @settings(deadline=None)
    @given(st.integers(1, 9), st.lists(st.integers(0, 15), max_size=200))
    def test_forgets_the_least_recent(self, places: int, keys: list[int]) -> None:
        recent, expected = new_recent(places), dict[int, int]()  # oldest first
        for key in keys:
            place, new = place_of(recent, key, -key, key << 40)
            assert new == (key not in expected)
            if not new:
                assert expected.pop(key) == place
            elif len(expected) == places:
                assert expected.pop(next(iter(expected))) == place
            assert place not in expected.values()
            assert 0 <= place < places
            expected[key] = place

    def test_begins_its_hash_with_a_secret(self) -> None:
        seeds = {int(new_recent(1).words[3]) for _ in range(5)}
        assert len(seeds) == 5


@settings(deadline=None)
@given(st.lists(st.integers(0, 400) | st.tuples(st.integers(1, 400)), max_size=60))
@example([PENDING_MAX + 9, *[(0,)] * 3])
@example([TOLD_MAX + 9] + [(0,)] * (TOLD_MAX + 8) + [(n,) for n in range(TOLD_MAX + 9)])
def test_follow_ups_are_told_as_plain_python_tells_them(steps) -> None:
    """A number adds so many, a tuple asks for one; 0 is the next."""
    plain, compiled, left = FollowUps(), new_telling(2), 0
    for step in steps:
        if isinstance(step, int):
            for _ in range(step):
                plain.add(FollowUp(left, left + 1, 2))
                add(compiled, 1, left, left + 1)
                left += 1
        else:
            [wanted] = step
            expected = plain.take(wanted)
            assert take(compiled, 1, wanted) == (expected.sequence, expected.timestamp)
    assert take(compiled, 0, 0) == (0, 0)
    forget(compiled, 1)
    assert take(compiled, 1, 0) == (0, 0)
    assert not np.any(compiled.counts)
