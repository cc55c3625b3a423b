"""A path's packets shared by flows, and what a change of the flows does to them: nothing."""

import itertools
import socket
import threading
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import probes.flows
from analytics.windows import PacketCounts, SeriesKey
from netslo.estate import Estate, Link, ProbingPlan
from netslo.model import (
    NS_PER_S,
    Endpoint,
    Location,
    Path,
    ProbeKind,
    Site,
    SloThreshold,
    Tier,
    TrafficClass,
)
from probes.address import SocketAddress
from probes.engine import Engine
from probes.flows import LOSSES, FlowSet
from probes.health import FLOWS_MAX as FLOWS_TOLD_MAX
from probes.health import most_unequal
from probes.instant import Instant
from probes.plan import FLOWS_MAX, PathPlan, flows_of, plan_paths, ports_at
from probes.reflector import ReflectorServer

MS = 1_000_000
KEY = SeriesKey(Path("london", "leeds", "be"))
TARGET = Endpoint("leeds.example", 862)


def address(last: int) -> SocketAddress:
    return SocketAddress(socket.AF_INET, (f"192.0.2.{last}", 862))


def plan(**options) -> PathPlan:
    return PathPlan(
        **({"key": KEY, "endpoint": TARGET, "interval_ns": 20 * MS, "timeout_ns": 1}) | options
    )


class TestShares:
    @given(st.integers(1, 16), st.integers(0, 8), st.integers(1 * MS, 10_000 * MS))
    def test_flows_share_the_path_s_rate_whatever_their_number(self, ports, addresses, interval):
        found = [address(n) for n in range(addresses)]
        flows = flows_of(plan(source_ports=ports, interval_ns=interval), tuple(found))
        assert 1 <= len(flows) <= FLOWS_MAX
        assert len(set(flows)) == len(flows)
        assert {flow.session.interval_ns for flow in flows} == {interval * len(flows)}
        assert {flow.address for flow in flows} == (set(found) or {None})
        each = Counter(flow.address for flow in flows)
        assert len(set(each.values())) == 1

    @pytest.mark.parametrize(
        ("interval_ms", "ports"), [(1, 4), (20, 4), (25, 4), (30, 3), (50, 2), (100, 1), (1000, 1)]
    )
    def test_ports_are_few_where_packets_are_few(self, interval_ms, ports):
        assert ports_at(interval_ms * MS) == ports


class TestPlan:
    def estate(self, **options) -> Estate:
        sites = {
            name: Site(
                name, Tier.NATIONAL, name, "gb", Location(0, 0), (Endpoint(f"{name}.example", 862),)
            )
            for name in ("london", "leeds", "dundee")
        }
        classes = {"ef": TrafficClass("ef", 46)}
        return Estate("test", "GBP", sites, classes, (), ProbingPlan(0.2, 1.0, 3), **options)

    def test_a_path_has_what_its_far_site_says(self, tmp_path):
        estate = self.estate(probes={"dundee": ProbeKind.ICMP}, key_files={"leeds": tmp_path})
        threshold = SloThreshold("fast", 0.1)
        thresholds = {Path("london", "leeds", "ef"): (threshold,)}
        elsewhere = {Path("london", "leeds", "ef"): Endpoint("127.0.0.1", 1)}
        leeds, dundee = plan_paths(estate, ["london"], thresholds, elsewhere, {tmp_path: b"k" * 16})
        assert (leeds.key.probe, leeds.endpoint) == ("stamp", Endpoint("127.0.0.1", 1))
        assert (leeds.secret, leeds.source_ports) == (b"k" * 16, 3)
        assert (leeds.dscp, leeds.thresholds) == (46, (threshold,))
        assert (dundee.key.probe, dundee.endpoint) == ("icmp", Endpoint("dundee.example", 0))
        assert (dundee.secret, dundee.source_ports, dundee.thresholds) == (None, 1, ())
        assert "kkk" not in repr(leeds)

    def test_a_link_may_say_otherwise(self):
        estate = self.estate()
        link = Link("leeds", "london", 1.0, 0.0, ProbeKind.ICMP)
        estate = Estate("test", "GBP", estate.sites, estate.classes, (link,), estate.plan)
        kinds = {p.key.path.dst: p.key.probe for p in plan_paths(estate, ["london"], {}, {}, {})}
        assert kinds == {"leeds": "icmp", "dundee": "stamp"}


class Recorder:
    """An engine that notes what it is asked, by which the due times can be told."""

    def __init__(self) -> None:
        self.sessions = []  # (plan, address, first due, from, until)
        self.retired = {}

    def measure(self, plan, target, *, start, phase_ns):
        self.sessions.append((plan, target, start.mono_ns + phase_ns, start.mono_ns))
        return Measured(len(self.sessions) - 1)

    def retire(self, measured) -> None:
        self.retired[measured.index] = probes.flows.read_clocks().mono_ns

    def due_ns(self, until_ns) -> list[int]:
        """When packets were due, of all sessions."""
        found = []
        for index, (session, _, first_ns, _) in enumerate(self.sessions):
            end_ns = self.retired.get(index, until_ns)
            found += range(first_ns, end_ns, session.interval_ns)
        return sorted(found)


class Measured:
    def __init__(self, index) -> None:
        self.index = index
        self.totals = PacketCounts()

    def recent_rtt_s(self, packets):
        del packets
        return []


@pytest.fixture
def clock(monkeypatch):
    now = [5 * NS_PER_S]
    monkeypatch.setattr(probes.flows, "read_clocks", lambda: Instant(now[0], now[0]))
    return now


@pytest.fixture
def recorder(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(probes.flows, "new_engine", lambda _: recorder)
    return recorder


changes = st.lists(
    st.tuples(
        st.integers(1, 500 * MS),  # after so long
        st.integers(0, 4),  # addresses
        st.integers(1, 4),  # source ports
        st.booleans(),  # other thresholds
    ),
    max_size=6,
)


@given(changes)
def test_a_path_keeps_its_schedule_through_every_change(changes):
    with pytest.MonkeyPatch.context() as patch:
        recorder, now = Recorder(), [5 * NS_PER_S]
        patch.setattr(probes.flows, "new_engine", lambda _: recorder)
        patch.setattr(probes.flows, "read_clocks", lambda: Instant(now[0], now[0]))
        flows = FlowSet(print)
        flows.arrange([plan()], {})
        for after_ns, addresses, ports, strict in changes:
            now[0] += after_ns
            thresholds = (SloThreshold("fast", 0.1),) if strict else ()
            where = tuple(address(n) for n in range(addresses))
            flows.arrange([plan(source_ports=ports, thresholds=thresholds)], {TARGET: where})
        now[0] += NS_PER_S
        due_ns = recorder.due_ns(now[0])
        steps = {later - earlier for earlier, later in itertools.pairwise(due_ns)}
        assert steps == {20 * MS}  # none twice, none missing
        assert due_ns[0] - 5 * NS_PER_S <= 20 * MS
        assert now[0] - due_ns[-1] <= 20 * MS


def test_what_is_the_same_goes_on_untouched(recorder, clock):
    flows = FlowSet(print)
    other = plan(key=SeriesKey(Path("london", "dundee", "be")))
    flows.arrange([plan(), other], {TARGET: (address(1),)})
    clock[0] += NS_PER_S
    flows.arrange([other, plan()], {TARGET: (address(1),)})
    assert (len(recorder.sessions), recorder.retired) == (2, {})
    flows.arrange([plan()], {TARGET: (address(1),)})
    assert set(recorder.retired) == {1}
    assert flows.plans == (plan(),)


def test_a_name_that_moves_takes_only_the_flows_that_move_along(recorder, clock):
    flows = FlowSet(print)
    flows.arrange([plan()], {TARGET: (address(1), address(2))})
    clock[0] += NS_PER_S
    flows.redirect(TARGET, (address(2), address(3)))
    flows.redirect(Endpoint("another.example", 862), (address(9),))
    assert set(recorder.retired) == {0}
    assert [session[1] for session in recorder.sessions] == [address(1), address(2), address(3)]
    assert recorder.sessions[2][2] - recorder.sessions[0][2] == NS_PER_S // (40 * MS) * 40 * MS


def test_a_run_of_losses_is_doubtful_once_and_an_answer_ends_it(recorder, clock):
    flows = FlowSet(print)
    flows.arrange([plan()], {TARGET: (address(1),)})
    (path,) = flows._paths.values()
    (running,) = path.flows.values()
    totals = running.measured.totals
    for lost, answered, doubtful in [
        (LOSSES - 1, 0, False),
        (1, 0, True),
        (0, 0, False),
        (LOSSES - 1, 0, False),
        (1, 0, True),
        (LOSSES, 1, False),
        (LOSSES - 1, 0, False),
        (1, 0, True),
    ]:
        totals.lost += lost
        totals.answered += answered
        assert flows.doubtful() == ({TARGET} if doubtful else set())


@pytest.fixture
def reflector():
    server, stop = ReflectorServer([Endpoint("127.0.0.1", 0)]), threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    yield server.endpoints[0]
    stop.set()
    thread.join(60)


@pytest.mark.parametrize("make", [Engine, None], ids=["plain", "the host's"])
def test_flows_of_a_path_are_told_apart(reflector, monkeypatch, make):
    """One of two addresses is a hole: its flows lose all, the others nothing."""
    if make is not None:
        monkeypatch.setattr(probes.flows, "new_engine", make)
    reports = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
        hole.bind(("127.0.0.1", 0))
        good = SocketAddress(socket.AF_INET, (reflector.host, reflector.port))
        bad = SocketAddress(socket.AF_INET, hole.getsockname())
        flows = FlowSet(reports.append)
        flows.arrange(
            [plan(interval_ns=5 * MS, timeout_ns=200 * MS, source_ports=2)], {TARGET: (good, bad)}
        )
        threads = [
            threading.Thread(target=engine.run, kwargs={"until_stopped": True})
            for engine in flows.engines
        ]
        for thread in threads:
            thread.start()
        doubtful, ends_s = set(), time.monotonic() + 60
        while time.monotonic() < ends_s and not doubtful:
            time.sleep(0.05)
            doubtful = flows.doubtful()
        while time.monotonic() < ends_s:  # each time of what came since the last
            time.sleep(0.5)
            figures = {each.flow: each for each in flows.figures()}
            if all(
                each.loss_ratio is not None and (each.rtt_s is None) == (str(bad) in flow)
                for flow, each in figures.items()
            ):
                break
        sources = {hole.recvfrom(2000)[1] for _ in range(20)}
        flows.stop()
        for thread in threads:
            thread.join(60)
    assert doubtful == {TARGET}
    assert len(sources) == 2  # source ports
    assert {name for name, each in figures.items() if each.rtt_s is None} == {
        f"{bad}#0",
        f"{bad}#1",
    }
    for name, each in figures.items():
        assert each.loss_ratio == 1.0 if str(bad) in name else each.loss_ratio < 1.0
    packets = PacketCounts()
    for report in reports:
        for window in report.get("london").windows if "london" in report else ():
            packets.add(window.packets)
    assert packets.answered >= 1
    assert packets.lost >= LOSSES


def figure(path: str, flow: int, rtt_s: float | None, loss: float | None = 0.0):
    return probes.flows.FlowFigures(path, f"a#{flow}", rtt_s, loss)


def test_of_very_many_flows_the_most_unequal_paths_are_told():
    figures = [figure(f"p{n}", flow, 0.010) for n in range(200) for flow in range(2)]
    figures += [figure("slow", 0, 0.010), figure("slow", 1, 0.030)]
    figures += [figure("lossy", 0, None, 1.0), figure("lossy", 1, 0.010, None)]
    figures += [figure("lossy", 2, 0.010, 0.0)]
    chosen = most_unequal(figures)
    assert len(chosen) <= FLOWS_TOLD_MAX
    assert [each.path for each in chosen[:5]] == ["lossy"] * 3 + ["slow"] * 2
