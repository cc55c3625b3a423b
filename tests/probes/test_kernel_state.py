"""The arrays of the measuring loop, as sessions join, move and begin."""

import socket
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.windows import SeriesKey
from netslo.model import Path
from probes import _kernels
from probes.address import SocketAddress
from probes.instant import Instant
from probes.session import SessionPlan

if not _kernels.available():
    pytest.skip("numba is not there", allow_module_level=True)

from probes._kernels.answers import address_hash
from probes._kernels.sha256 import hmac_key
from probes._kernels.stamp import AUTHENTICATED, UNAUTHENTICATED
from probes.kernel_state import Door, Plant

MS = 1_000_000
NOW = Instant(1_800_000_000 * 10**9, 50 * 10**9)
ADDRESSES = [
    *(SocketAddress(socket.AF_INET, (f"127.0.0.{n}", 862)) for n in range(1, 4)),
    SocketAddress(socket.AF_INET, ("127.0.0.1", 863)),
    SocketAddress(socket.AF_INET6, ("::1", 862, 0, 0)),
]


def plan(number: int, interval_ms: int = 10, secret: bytes | None = None) -> SessionPlan:
    key = SeriesKey(Path("here", f"there-{number}", "ef"))
    return SessionPlan(key, interval_ms * MS, 100 * MS, secret=secret)


def add(plant: Plant, number: int, **options) -> int:
    return plant.add(plan(number, **options), NOW, phase_ns=0, count=None, error=1)


def found(plant: Plant, index: int) -> list[int]:
    """Return the sessions that the loop finds by the address of one."""
    place = address_hash(plant.state.names[index]) % len(plant.state.of_name)
    at, sessions = int(plant.state.of_name[place]), []
    while at >= 0:
        sessions.append(at)
        at = int(plant.state.sessions[at]["neighbour"])
    return sessions


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(range(5))), max_size=30))
def test_sessions_are_found_by_the_address_they_have_now(moves):
    plant = Plant()
    try:
        for number in range(6):
            add(plant, number)
        for index, where in moves:
            target = ADDRESSES[where]
            plant.direct(index, target, Door("here", target.family, 0, 0, UNAUTHENTICATED))
        where = plant.targets
        for index, target in enumerate(where):
            if target is not None:
                same = {other for other, its in enumerate(where) if its == target}
                chain = found(plant, index)
                assert same <= set(chain)
                assert len(chain) == len(set(chain))
    finally:
        plant.close()


def test_each_session_has_records_of_its_own():
    plant = Plant()
    rings = []
    for number in range(50):
        index = add(plant, number, interval_ms=1 + number)
        session = plant.state.sessions[index]
        rings.append((int(session["ring"]), int(session["mask"]) + 1))
    rings.sort()
    for (begin, size), (following, _) in pairwise(rings):
        assert begin + size <= following
    last, size = rings[-1]
    assert last + size <= len(plant.state.records) == len(plant.state.by_order)
    assert np.all(plant.state.records["position"] == -1)


def test_those_that_wait_begin_together():
    plant = Plant()
    for number in range(3):
        add(plant, number)
    later = NOW.at_mono(NOW.mono_ns + 10**9)
    plant.begin({0: 5, 2: 3}, later)
    first_ns = plant.state.sessions["first_ns"].tolist()
    assert first_ns == [later.mono_ns + 5, NOW.mono_ns, later.mono_ns + 3]
    assert plant.state.heap[:3].tolist() == [1, 2, 0]


def test_sessions_of_one_key_share_its_place():
    plant = Plant()
    for number, secret in enumerate([None, b"a" * 16, b"b" * 16, b"a" * 16]):
        add(plant, number, secret=secret)
    assert plant.state.sessions["key"].tolist() == [-1, 0, 1, 0]
    assert (plant.state.keys[1] == hmac_key(b"b" * 16)).all()
    assert repr(b"a" * 16) not in repr(plant)
    door = Door("here", socket.AF_INET, 0, 0, AUTHENTICATED)
    plant.direct(1, ADDRESSES[0], door)
    assert plant.state.sockets["kind"].tolist() == [AUTHENTICATED]
    plant.close()


def test_the_place_of_a_session_that_is_over_is_had_again():
    plant = Plant()
    door = Door("here", socket.AF_INET, 0, 0, UNAUTHENTICATED)
    for number in range(3):
        plant.direct(add(plant, number), ADDRESSES[number], door)
    kept = plant.state.sessions["ssid"][[0, 2]].tolist()
    room = (len(plant.state.sessions), len(plant.state.records))
    for number in range(500):  # more than once around the socket's ring of records
        plant.retire(1)
        records = plant.state.records[int(plant.state.sessions[1]["ring"]) :][:4]
        records["position"] = records["state"] = 1  # as if it had measured
        plant.free(1)
        assert sorted(plant.state.of_ssid[0][plant.state.of_ssid[0] >= 0]) == [0, 2]
        assert add(plant, number) == 1
        plant.direct(1, ADDRESSES[number % 3], door)
        assert (plant.state.records["position"] == -1).all()
        assert not plant.state.records["state"].any()
        assert found(plant, 1).count(1) == 1
    assert (len(plant.state.sessions), len(plant.state.records)) == room
    assert plant.state.sessions["ssid"][[0, 2]].tolist() == kept
    assert (plant.state.of_ssid[0] >= 0).sum() == 3
    plant.free(1)
    assert add(plant, 9, interval_ms=1) == 3  # it needs a larger ring
    plant.close()
