"""Capacity tests never run inside evidence: their windows are due, unmeasured, and nothing else."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_outcomes import INTERVAL_NS, STATES, outcomes_of, split

from analytics.windows import CAPACITY_TEST, CountKey, PathWindow, SeriesKey
from netslo import metrics
from netslo.estate import Estate, Link, ProbingPlan
from netslo.model import (
    NS_PER_S,
    Location,
    Path,
    ProbeKind,
    Site,
    SloThreshold,
    Tier,
    TrafficClass,
    Window,
)
from netslo.service import Service, ServiceResult, TcpRequest, Where
from probes.bandwidth import evidence
from probes.bandwidth.book import OWN_ACCESS, Load
from probes.bandwidth.bottleneck import ends_name, names_between
from probes.bandwidth.evidence import SharedLoads, shared_loads
from probes.bandwidth.granting import KeptLeases
from probes.bandwidth.keeper import FileKeeper
from probes.bandwidth.state import StateDirectory
from probes.clock import UNKNOWN_CLOCK
from probes.instant import Instant
from probes.outcome import NO_SPAN, State, set_aside
from probes.services.exchange import Exchange
from probes.services.plan import ServicePlan
from probes.services.session import ServiceSession
from probes.session import Session, SessionPlan
from probes.statistics import WindowStatistics

KEY = SeriesKey(Path("a", "b", "ef"))
ASIDE = CountKey(metrics.SET_ASIDE, CAPACITY_TEST)
SLOS = (SloThreshold("fast", 0.01), SloThreshold("there", None))
TEST = (*names_between("a", "b"), OWN_ACCESS)
S = NS_PER_S


def load(start_s: float, end_s: float, names=TEST) -> Load:
    return Load(tuple(names), round(start_s * S), round(end_s * S))


@pytest.fixture
def loads(monkeypatch):
    """What was loaded, for whoever asks."""
    found: list[Load] = []
    monkeypatch.setattr(evidence, "loads_of", lambda _: found)
    return found


@pytest.mark.parametrize(
    ("start_s", "end_s", "spoilt"),
    [
        (90, 100, False),  # it and its queues were over
        (90, 100.001, True),
        (105, 106, True),
        (90, 200, True),
        (110, 112, True),  # a packet due before may have met it
        (111.999, 115, True),
        (112, 115, False),
    ],
)
def test_a_window_is_spoilt_by_what_its_packets_may_have_met(
    loads, tmp_path, start_s, end_s, spoilt
):
    loads.append(load(start_s, end_s))
    assert SharedLoads(tmp_path, "a--b", 2 * S).spoil(Window(100)) is spoilt


@pytest.mark.parametrize(
    ("link", "names", "spoilt"),
    [
        ("a--b", names_between("a", "b"), True),
        ("a--c", names_between("a", "b"), False),  # another link of the site
        (None, names_between("a", "b"), True),  # who knows which way it takes
        ("a--c", (ends_name("192.0.2.1", "192.0.2.2"),), True),  # who knows what that loads
        (None, (ends_name("fe80::1", "fe80::2"),), True),
    ],
)
def test_a_path_shares_its_link_or_what_is_not_known(loads, tmp_path, link, names, spoilt):
    loads.append(load(101, 102, (*names, OWN_ACCESS)))
    assert SharedLoads(tmp_path, link, S).spoil(Window(100)) is spoilt


def make_estate() -> Estate:
    sites = {
        name: Site(name, Tier.NATIONAL, name, "gb", Location(0, 0), ()) for name in ("a", "b", "c")
    }
    request = TcpRequest(Where("192.0.2.1", 80))
    services = {
        "shop": Service("shop", request, "ef", ("a", "b"), 30.0, 5.0, site="b"),
        "web": Service("web", request, "ef", ("a",), 30.0, 5.0),
    }
    return Estate(
        "e",
        "GBP",
        sites,
        {"ef": TrafficClass("ef", 46)},
        (Link("b", "a", 1e9, 0.0),),
        ProbingPlan(0.1, 1.5),
        services=services,
    )


def test_what_paths_of_an_estate_share(tmp_path):
    found = shared_loads(make_estate(), {"a": tmp_path})
    assert {(path.dst, each.link, each.flight_ns) for path, each in found.items()} == {
        ("b", "a--b", 1_500_000_000),
        ("c", None, 1_500_000_000),
        ("shop", "a--b", 5_000_000_000),
        ("web", None, 5_000_000_000),
    }
    assert {each.directory for each in found.values()} == {tmp_path}


@given(st.data(), STATES)
def test_marked_windows_are_due_and_unmeasured_and_say_nothing_else(data, states):
    """Any packets, any of their windows marked."""
    rows = outcomes_of(states)
    answered = rows["state"] == State.ANSWERED
    rows["rtt_ns"][answered] = data.draw(st.integers(1, 10**9))
    rows["duplicates"][answered] = 1
    parts = data.draw(split(rows))
    marked = data.draw(st.sets(st.integers(0, len(parts))))
    statistics = WindowStatistics(
        KEY, INTERVAL_NS, spoilt=lambda window: window.start_s // 10 in marked
    )
    for number, part in enumerate(parts):
        kept = part.copy()
        found = statistics.close(Window(10 * number), part, SLOS, UNKNOWN_CLOCK, unmeasured=3)
        assert (part == kept).all()
        assert found.packets.due == len(part) + 3
        measured = int(np.isin(part["state"], [State.ANSWERED, State.LOST]).sum())
        if number not in marked:
            assert found.packets.answered + found.packets.lost == measured
            assert found.counts[ASIDE] == 0
            continue
        assert found.packets.unmeasured == found.packets.due
        assert (found.packets.duplicates, found.packets.reordered) == (0, 0)
        assert found.counts[ASIDE] == measured
        assert {metric.metric for metric in found.sketches} <= {
            metrics.LOSS_PERIOD  # of the window before, which this one ends
        }
        for counts in found.slo.values():
            assert (counts.good, counts.bad, counts.unmeasured) == (0, 0, len(part) + 3)
    statistics.end()


def test_a_session_asks_when_its_packets_are_settled(loads, tmp_path):
    """A test that begins after the window's end, while its last packets are under way."""
    start = Instant(1_800_000_000 * S, 1_000 * S)
    plan = SessionPlan(KEY, S, 2 * S, SLOS, loads=SharedLoads(tmp_path, "a--b", 2 * S))
    session = Session(plan, start, phase_ns=0, count=20)
    windows: list[PathWindow] = []
    for tick in range(30):
        now = start.at_mono(start.mono_ns + tick * S)
        for due in session.take_due(now):
            session.transmit(due, now)
        session.settle(now)
        windows += session.close(now)
        if tick == 11:
            loads.append(load(1_800_000_011, 1_800_000_012))
    windows += session.flush()
    first, second = windows
    for window in (first, second):
        assert (window.packets.due, window.packets.unmeasured) == (10, 10)
        assert window.counts[ASIDE] == 10
        assert not window.sketches


def test_a_service_is_not_judged_while_its_site_is_loaded(loads, tmp_path):
    start = Instant(1_800_000_000 * S, 1_000 * S)
    plan = ServicePlan(
        SeriesKey(Path("a", "web", "ef"), ProbeKind.TCP),
        TcpRequest(Where("192.0.2.1", 80)),
        S,
        5 * S,
        SLOS,
        loads=SharedLoads(tmp_path, None, 5 * S),
    )
    session = ServiceSession(plan, start, phase_ns=0, count=20)
    loads.append(load(1_800_000_005, 1_800_000_006))
    for n in range(20):
        for packet in session.take_due(start.at_mono(start.mono_ns + n * S)):
            result = ServiceResult.OK if n % 2 else ServiceResult.TIMEOUT
            session.settle(packet, Exchange(result, "", S // 100, {}))
    spoilt, sound = session.flush()
    assert (spoilt.packets.due, spoilt.packets.unmeasured) == (10, 10)
    assert not spoilt.sketches
    assert [key for key in spoilt.counts if key.metric == metrics.RESULTS] == []
    assert (sound.packets.answered, sound.packets.lost) == (5, 5)
    assert {counts.unmeasured for counts in spoilt.slo.values()} == {10}


def test_what_a_shell_writes_an_agent_reads(tmp_path):
    """By the same folder, and afresh whenever it has changed."""
    shared = SharedLoads(tmp_path, "a--b", 0)
    window = Window.containing(time.time_ns())
    assert not shared.spoil(window)
    leases = KeptLeases(FileKeeper(StateDirectory(tmp_path)), drain_s=0)
    assert not shared.spoil(window)
    granted = leases.grant(names_between("a", "b"), 60, "shell", begun=False)
    assert not shared.spoil(window)  # leased, but nothing is sent yet
    granted.begin()
    began = Window.containing(time.time_ns())
    assert shared.spoil(began)
    granted.release()
    assert shared.spoil(began)
    assert not shared.spoil(Window(began.start_s + 20))
    assert not dataclasses.replace(shared, link="a--c").spoil(began)


def test_a_damaged_file_sets_nothing_aside_and_stops_nobody(tmp_path, caplog):
    (tmp_path / "leases.json").write_text("{]")
    shared = SharedLoads(tmp_path, None, 0)
    assert not shared.spoil(Window(100))
    assert not shared.spoil(Window(110))
    assert caplog.text.count("cannot be read") == 1


def test_rows_that_are_set_aside_keep_their_due_times_and_their_places():
    rows = outcomes_of("alu")
    rows["position"] = [7, 8, -1]
    aside, measured = set_aside(rows)
    assert measured == 2
    assert (aside["due_ns"] == rows["due_ns"]).all()
    assert aside["position"].tolist() == [7, 8, -1]
    assert set(aside["state"].tolist()) == {State.UNMEASURED}
    assert set(aside["rtt_ns"].tolist()) == {NO_SPAN}
