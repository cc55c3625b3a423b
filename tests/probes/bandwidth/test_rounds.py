"""Regular tests: when they run, what is told of each end, and the real thing on loopback."""

from __future__ import annotations

import dataclasses
import threading
import time

import pytest
from ports import free_port

from analytics.sketch import Sketch
from netslo import metrics
from netslo.errors import NetsloError
from netslo.estate import Estate, Link, ProbingPlan, TestingPlan
from netslo.model import Direction, Endpoint, Location, Path, Site, Tier, TrafficClass
from probes.bandwidth import rounds as module
from probes.bandwidth.agenda import AGENT, octets_a_day, plan_tests
from probes.bandwidth.budget import Budget, BudgetExceeded
from probes.bandwidth.busy import BusyError
from probes.bandwidth.granting import KeptLeases
from probes.bandwidth.keeper import FileKeeper
from probes.bandwidth.plan import Direction as Way
from probes.bandwidth.plan import Method
from probes.bandwidth.result import BandwidthResult, Capacity, DirectionResult, LoadedLatency
from probes.bandwidth.rounds import BUSY, DONE, FAILED, REFUSED, Round, Rounds, readings_of
from probes.bandwidth.state import StateDirectory
from probes.bandwidth.stations import BandwidthServers, TestStation

BOUND_S = 60.0
PATH = Path("a", "b", "be")


def until(condition, bound_s: float = BOUND_S) -> None:
    ends_s = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < ends_s
        time.sleep(0.01)


def make_estate(**options) -> Estate:
    sites = {
        name: Site(
            name, Tier.NATIONAL, name, "gb", Location(0, 0), (Endpoint(f"192.0.2.{n}", 862),)
        )
        for n, name in enumerate("abc")
    }
    return Estate(
        "e",
        "GBP",
        sites,
        {"ef": TrafficClass("ef", 46), "be": TrafficClass("be", 0)},
        (Link("a", "b", 1e9, 0.0), Link("a", "c", 1e8, 0.0)),
        ProbingPlan(0.1, 1.0),
        **({"bandwidth_ports": {"b": 8862}} | options),
    )


def test_each_link_is_tested_towards_sites_that_offer_it(tmp_path):
    (test,) = plan_tests(make_estate(), {"a": tmp_path, "b": tmp_path, "c": tmp_path}, {})
    assert (test.path, test.plan.target) == (PATH, Endpoint("192.0.2.1", 8862))
    assert (test.plan.method, test.plan.directions) == (Method.TRAIN, tuple(Way))
    assert (test.interval_ns, test.octets_a_day) == (3600 * 10**9, 2 * 10**9)
    assert test.plan.bottlenecks == ("a--b", "site:a", "site:b")
    assert test.directory == tmp_path
    both = make_estate(bandwidth_ports={"a": 1, "b": 2, "c": 3})
    found = plan_tests(both, dict.fromkeys("abc", tmp_path), {})
    assert [each.path.id for each in found] == ["a:b/be", "b:a/be", "a:c/be", "c:a/be"]
    assert [each.path.src for each in plan_tests(both, {"c": tmp_path}, {})] == ["c"]
    assert plan_tests(make_estate(testing=None), {"a": tmp_path}, {}) == ()
    assert plan_tests(make_estate(bandwidth_ports={}), {"a": tmp_path}, {}) == ()


def test_a_server_with_a_key_is_tested_by_that_key(tmp_path):
    estate = make_estate(key_files={"b": tmp_path / "key"})
    (test,) = plan_tests(estate, {"a": tmp_path}, {tmp_path / "key": b"secret"})
    assert test.plan.secret == b"secret"
    assert "secret" not in repr(test)


def test_what_a_plan_takes_in_a_day():
    trains = octets_a_day(make_estate(), "a")
    assert trains == pytest.approx(24 * 2 * 10 * 60 * 1514, rel=0.15)
    assert octets_a_day(make_estate(), "c") == 0
    one_way = TestingPlan("tcp", 86_400.0, 10.0, (Direction.FORWARD,))
    tcp = octets_a_day(make_estate(testing=one_way), "a")
    assert tcp == pytest.approx(1e9 * 10 / 8, rel=0.05)
    assert octets_a_day(make_estate(testing=None), "a") == 0


# --- the schedule ---


def regular(tmp_path, path=PATH, interval_s=0.05):
    (test,) = plan_tests(make_estate(), {"a": tmp_path}, {})
    return dataclasses.replace(test, path=path, interval_ns=round(interval_s * 1e9))


def result_of(bit_per_s: float | None = 1e6) -> BandwidthResult:
    found = DirectionResult(Way.FORWARD, Method.TRAIN, ended_ns=7)
    found.capacity = Capacity(bit_per_s, bit_per_s, 10, 10, 600, 600, 0.0, False, 908_400)
    return BandwidthResult("b", Method.TRAIN, directions=[found])


class Running:
    """Rounds in a thread, with what they told."""

    def __init__(self, run_test) -> None:
        self.told: list[Round] = []
        self.rounds = Rounds(self.told.append, run_test)
        self._thread = threading.Thread(target=self.rounds.run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exception) -> None:
        self.rounds.stop()
        self._thread.join(BOUND_S)
        assert not self._thread.is_alive()


def test_tests_run_one_after_the_other_each_at_its_interval(tmp_path):
    under_way, seen = [], []

    def run(test, _rounds):
        under_way.append(test)
        assert len(under_way) == 1
        time.sleep(0.005)
        under_way.remove(test)
        seen.append(test.path)
        return result_of()

    first, second = regular(tmp_path), regular(tmp_path, Path("a", "c", "be"))
    with Running(run) as running:
        running.rounds.arrange([first, second])
        until(lambda: seen.count(first.path) >= 3 and seen.count(second.path) >= 3)
        running.rounds.arrange([second])
        until(lambda: not under_way)
        count = seen.count(first.path)
        more = seen.count(second.path) + 3
        until(lambda: seen.count(second.path) >= more)
        assert seen.count(first.path) <= count + 1
        running.rounds.arrange([])
    assert {each.outcome for each in running.told} == {DONE}
    (reading,) = running.told[0].readings
    assert (reading.metric, reading.value, reading.direction, reading.method, reading.seen_ns) == (
        metrics.BANDWIDTH,
        1e6,
        "forward",
        "train",
        7,
    )


def test_the_phase_is_random_and_stays_with_the_test(tmp_path):
    due = []
    for _ in range(50):
        rounds = Rounds(lambda _: None, lambda *_: result_of())
        test = regular(tmp_path, interval_s=3600)
        began_ns = time.monotonic_ns()
        rounds.arrange([test])
        at_ns = rounds._due_ns[test]
        rounds.arrange([test, regular(tmp_path, Path("a", "c", "be"))])
        assert rounds._due_ns[test] == at_ns
        due.append((at_ns - began_ns) / 3600e9)
    assert 0 <= min(due) < 0.25
    assert 0.75 < max(due) <= 1.01


@pytest.mark.parametrize(
    ("error", "outcome", "tries"),
    [
        (BusyError("busy"), BUSY, module.TRIES),
        (BudgetExceeded(5, 1, 2, "2026-11-30"), REFUSED, 1),
        (NetsloError("nobody there"), FAILED, 1),
        (ConnectionResetError(104, "reset"), FAILED, 1),
    ],
)
def test_what_goes_wrong_is_counted_by_its_name(tmp_path, monkeypatch, error, outcome, tries):
    monkeypatch.setattr(module, "TRY_AGAIN_S", (0.0, 0.01))
    asked = []

    def run(test, _rounds):
        asked.append(test)
        raise error

    with Running(run) as running:
        running.rounds.arrange([regular(tmp_path, interval_s=0.2)])
        until(lambda: running.told)
        running.rounds.arrange([])
    assert running.told[0] == Round(PATH, outcome)
    assert len(asked) >= tries


def test_a_test_without_a_figure_has_failed(tmp_path):
    with Running(lambda *_: result_of(None)) as running:
        running.rounds.arrange([regular(tmp_path)])
        until(lambda: running.told)
        running.rounds.arrange([])
    assert running.told[0] == Round(PATH, FAILED)


def test_a_bottleneck_that_is_free_again_is_tested(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TRY_AGAIN_S", (0.0, 0.01))
    answers = iter([BusyError("busy"), BusyError("busy"), None])

    def run(_test, _rounds):
        if (error := next(answers, None)) is not None:
            raise error
        return result_of()

    with Running(run) as running:
        running.rounds.arrange([regular(tmp_path)])
        until(lambda: running.told)
    assert running.told[0].outcome == DONE


def test_the_end_does_not_wait_for_others_to_finish(tmp_path):
    asked = threading.Event()

    def run(_test, _rounds):
        asked.set()
        raise BusyError("busy")

    with Running(run) as running:
        running.rounds.arrange([regular(tmp_path)])
        assert asked.wait(BOUND_S)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < module.TRY_AGAIN_S[0]
    assert running.told == []


def test_a_fault_of_ours_is_not_swallowed(tmp_path):
    def run(_test, _rounds):
        raise ZeroDivisionError

    rounds = Rounds(lambda _: None, run)
    rounds.arrange([regular(tmp_path)])
    with pytest.raises(ZeroDivisionError):
        rounds.run()


def test_readings_of_a_loaded_path_have_both_states():
    result = result_of()
    found = result.directions[0]
    found.loaded = LoadedLatency("stamp", Sketch(), Sketch())
    found.loaded.idle.add([0.010])
    readings = readings_of(PATH, result)
    assert [(x.metric, x.state, x.quantile) for x in readings] == [
        (metrics.BANDWIDTH, "", ""),
        (metrics.LOADED_RTT, "idle", "0.5"),
        (metrics.LOADED_RTT, "idle", "0.99"),
    ]
    assert readings[1].value == pytest.approx(0.010, rel=0.01)
    assert readings_of(PATH, BandwidthResult("b", Method.TRAIN)) == []


# --- the real thing ---


@pytest.fixture
def far(tmp_path):
    servers = BandwidthServers()
    endpoint = Endpoint("127.0.0.1", free_port())
    servers.arrange([TestStation(endpoint, tmp_path / "far")])
    yield endpoint
    servers.end()


def real(tmp_path, far, **options):
    test = regular(tmp_path / "near", interval_s=0.2)
    plan = dataclasses.replace(test.plan, target=far, trains=5, packets=40)
    return dataclasses.replace(test, plan=plan, **options)


def test_trains_to_a_real_server_are_leased_at_both_ends_paid_for_and_told(tmp_path, far):
    with Running(None) as running:
        running.rounds.arrange([real(tmp_path, far)])
        until(lambda: running.told)
        running.rounds.arrange([])
    told = running.told[0]
    assert told.outcome in {DONE, FAILED}  # loopback may be too fast for trains to tell
    for end in ("near", "far"):
        (load, *_) = FileKeeper(StateDirectory(tmp_path / end)).loads()
        assert "a--b" in load.names
    day = Budget(StateDirectory(tmp_path / "near")).today()
    assert set(day.by_whom()) == {AGENT}
    assert 0 < day.spent < 20_000_000


def test_a_real_test_that_finds_the_far_end_busy_leaves_the_near_one_free(
    tmp_path, far, monkeypatch
):
    monkeypatch.setattr(module, "TRY_AGAIN_S", (0.0, 0.01))
    holder = KeptLeases(FileKeeper(StateDirectory(tmp_path / "far"))).grant(("x",), 60, "another")
    with Running(None) as running:
        running.rounds.arrange([real(tmp_path, far)])
        until(lambda: running.told)
        running.rounds.arrange([])
    holder.release()
    assert running.told[0] == Round(PATH, BUSY)
    near = FileKeeper(StateDirectory(tmp_path / "near"))
    assert near.loads() == []
    assert Budget(StateDirectory(tmp_path / "near")).today().spent == 0


def test_a_budget_that_is_used_up_stops_regular_tests(tmp_path, far):
    with Running(None) as running:
        running.rounds.arrange([real(tmp_path, far, octets_a_day=1000)])
        until(lambda: running.told)
        running.rounds.arrange([])
    assert running.told[0] == Round(PATH, REFUSED)


def test_servers_come_and_go_and_a_port_that_is_taken_changes_nothing(tmp_path):
    servers = BandwidthServers()
    one, other = (TestStation(Endpoint("127.0.0.1", free_port()), tmp_path) for _ in range(2))
    servers.arrange([one])
    kept = servers._running[one]
    servers.arrange([one, other])
    assert servers._running[one] is kept
    wrong = dataclasses.replace(other, endpoint=Endpoint("203.0.113.1", 1))
    with pytest.raises(NetsloError, match=r"203\.0\.113\.1"):
        servers.arrange([other, wrong])
    assert set(servers._running) == {one, other}
    servers.check()
    servers.end()
