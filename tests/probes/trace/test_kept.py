"""Known routes in their file: what is read is what was written, and damage is no reason to end."""

from __future__ import annotations

import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.windows import SeriesKey
from netslo.model import Path, ProbeKind
from netslo.route import FLOWS_MAX, HOPS_MAX, LABELS_MAX, Hop, Label, Route, TraceProtocol
from probes.trace.kept import FILE, SEEN_EVERY_S, KeptRoutes
from probes.trace.memory import Remembered, Sight, Way

KEY = SeriesKey(Path("london", "leeds", "ef"))
UDP = TraceProtocol.UDP
WAY = Way("192.0.2.9", UDP, 33434, 40000, 46)

labels = st.builds(
    Label, st.integers(0, (1 << 20) - 1), st.integers(0, 7), st.booleans(), st.integers(0, 255)
)
hops = st.builds(
    Hop,
    st.none() | st.ip_addresses().map(str),
    st.lists(labels, max_size=LABELS_MAX).map(tuple),
)
routes = st.builds(
    Route,
    st.integers(0, FLOWS_MAX - 1),
    st.just(UDP),
    st.lists(hops, max_size=HOPS_MAX).map(tuple),
    st.booleans(),
)
sights = st.lists(st.builds(Sight, routes, st.integers(1, (1 << 63) - 1))).map(tuple)


def known(*addresses: str, seen_ns: int = 1) -> dict[SeriesKey, Remembered]:
    route = Route(0, UDP, tuple(map(Hop, addresses)), reached=True)
    return {KEY: Remembered(WAY, (Sight(route, seen_ns),))}


@given(each=sights, kind=st.sampled_from(ProbeKind))
def test_what_is_read_is_what_was_written(tmp_path_factory, each, kind) -> None:
    kept = KeptRoutes(tmp_path_factory.mktemp("kept"))
    told = {SeriesKey(KEY.path, kind): Remembered(WAY, each), KEY: Remembered(WAY, each[:1])}
    kept.save(told)
    assert kept.load() == told


def test_without_a_file_nothing_is_known(tmp_path: pathlib.Path, caplog) -> None:
    assert KeptRoutes(tmp_path).load() == {}
    assert not caplog.records


GOOD = {
    "version": 1,
    "paths": [
        {
            "src": "london",
            "dst": "leeds",
            "class": "ef",
            "probe": "stamp",
            "target": "192.0.2.9",
            "protocol": "udp",
            "port": 33434,
            "source_port": 40000,
            "dscp": 46,
            "flows": [{"flow": 0, "seen": 1, "reached": True, "hops": ["10.0.0.1", "*"]}],
        }
    ],
}


def damaged(**fields: object) -> bytes:
    flow = GOOD["paths"][0]["flows"][0] | fields
    return json.dumps(GOOD | {"paths": [GOOD["paths"][0] | {"flows": [flow]}]}).encode()


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps(GOOD | {"version": 2}).encode(),
        json.dumps(GOOD | {"paths": [{}]}).encode(),
        json.dumps(GOOD | {"paths": [GOOD["paths"][0] | {"protocol": "sctp"}]}).encode(),
        damaged(flow=FLOWS_MAX),
        damaged(flow=True),
        damaged(seen=0),
        damaged(seen="1"),
        damaged(reached=1),
        damaged(hops=["10.0.0.1"] * (HOPS_MAX + 1)),
        damaged(hops=["not an address"]),
        damaged(hops=[7]),
    ],
)
def test_a_damaged_file_is_said_and_nothing_is_known(
    tmp_path: pathlib.Path, caplog, octets: bytes
) -> None:
    (tmp_path / FILE).write_bytes(octets)
    kept = KeptRoutes(tmp_path)
    assert kept.load() == {}
    assert "routes are not known any more" in caplog.text
    kept.save(known("10.0.0.1"))  # and from then on all is well
    assert kept.load() == known("10.0.0.1")


def test_the_good_one_is_good(tmp_path: pathlib.Path) -> None:
    (tmp_path / FILE).write_text(json.dumps(GOOD))
    (found,) = KeptRoutes(tmp_path).load().values()
    assert found.way == WAY
    assert [hop.address for hop in found.sights[0].route.hops] == ["10.0.0.1", None]


def test_what_has_not_changed_is_seldom_written(tmp_path: pathlib.Path) -> None:
    now = [1000.0]
    kept = KeptRoutes(tmp_path, clock=lambda: now[0])
    kept.save(known("10.0.0.1", seen_ns=1))
    kept.save(known("10.0.0.1", seen_ns=2))
    assert kept.load() == known("10.0.0.1", seen_ns=1)
    kept.save(known("10.0.0.2", seen_ns=3))
    assert kept.load() == known("10.0.0.2", seen_ns=3)
    now[0] += SEEN_EVERY_S
    kept.save(known("10.0.0.2", seen_ns=4))
    assert kept.load() == known("10.0.0.2", seen_ns=4)
    kept.save(known("10.0.0.2", seen_ns=5), ending=True)
    assert kept.load() == known("10.0.0.2", seen_ns=5)


def test_a_disk_that_takes_nothing_is_said(tmp_path: pathlib.Path, caplog) -> None:
    kept = KeptRoutes(tmp_path / "gone")
    kept.save(known("10.0.0.1"))
    assert "not written" in caplog.text
