"""The engine on real sockets: one target never waits for another, plans come and go."""

import threading
from collections import Counter

import pytest
from ports import free_port
from some_services import answering, hanging, plan_of, serving

from analytics.windows import PacketCounts
from netslo.service import HttpRequest, ServiceResult, TcpRequest, Where, parse_url
from probes.services.engine import TOO_MANY, ServiceEngine

pytestmark = pytest.mark.usefixtures("patient")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Reports:
    """Gathers what an engine reports, by the name of the service."""

    def __init__(self) -> None:
        self.packets: dict[str, PacketCounts] = {}
        self.discarded: Counter[str] = Counter()
        self.heard = threading.Event()

    def __call__(self, reports) -> None:
        for report in reports.values():
            self.discarded += report.discarded
            for window in report.windows:
                name = window.key.path.dst
                self.packets.setdefault(name, PacketCounts()).add(window.packets)
        if self.packets:
            self.heard.set()


def web(port: int) -> HttpRequest:
    return HttpRequest(parse_url(f"http://127.0.0.1:{port}/"))


def test_a_hanging_target_delays_nobody_and_nothing_of_its_own() -> None:
    reports = Reports()
    engine = ServiceEngine(reports)
    began: list[float] = []
    with serving(hanging) as silent, serving(answering(OK)) as quick:
        slow = engine.measure(plan_of(web(silent), "slow", timeout_s=2), count=6, phase_ns=0)
        good = engine.measure(
            plan_of(web(quick), "good", timeout_s=20),
            count=6,
            phase_ns=0,
            on_exchange=lambda exchange: began.append(slow.totals.lost),
        )
        engine.run()
    assert good.totals.answered == 6
    assert slow.totals.lost == 6
    assert slow.session.results == {"timeout": 6}
    assert reports.packets["slow"].due == reports.packets["good"].due == 6
    assert began[0] == 0  # the good one had its answer before any of the others' time was up


def test_more_than_can_be_under_way_is_unmeasured(monkeypatch) -> None:
    monkeypatch.setattr("probes.services.engine.UNDER_WAY_MAX", 3)
    reports = Reports()
    engine = ServiceEngine(reports)
    with serving(hanging) as silent:
        plan = plan_of(web(silent), interval_s=0.01, timeout_s=1.5)
        asking = engine.measure(plan, count=10, phase_ns=0)
        engine.run()
    assert asking.totals.due == 10
    assert asking.totals.unmeasured >= 1
    assert asking.totals.lost >= 3
    assert reports.discarded[TOO_MANY] >= 1


def test_plans_that_stay_go_on_and_others_are_told_to_their_end() -> None:
    reports = Reports()
    engine = ServiceEngine(reports)
    with serving(answering(OK)) as port:
        stays, goes = plan_of(web(port), "stays"), plan_of(web(port), "goes")
        comes = plan_of(TcpRequest(Where("127.0.0.1", free_port())), "comes")
        engine.arrange([stays, goes])
        thread = threading.Thread(target=engine.run, kwargs={"until_stopped": True})
        thread.start()
        _until(lambda: any(each.totals.answered >= 3 for each in engine._asking))
        before = {each.session.plan.key.path.dst: each for each in engine._asking}
        engine.arrange([stays, comes])
        _until(lambda: "goes" in reports.packets)
        _until(lambda: any(each.totals.lost for each in engine._asking))
        after = {each.session.plan.key.path.dst: each for each in engine._asking}
        engine.stop()
        thread.join(60)
    assert not thread.is_alive()
    assert after["stays"] is before["stays"]
    assert set(after) == {"stays", "comes"}
    assert reports.packets["goes"].due == reports.packets["goes"].answered
    assert set(reports.packets) == {"stays", "goes", "comes"}
    assert reports.packets["comes"].lost == reports.packets["comes"].due


def _until(condition, timeout_s=60.0) -> None:
    pause, waited = threading.Event(), 0.0
    while not condition():
        pause.wait(0.02)
        waited += 0.02
        assert waited < timeout_s


@pytest.mark.parametrize("failing", [ValueError("ours"), KeyError("ours")])
def test_a_fault_of_ours_is_said_and_ends_nothing(monkeypatch, caplog, failing) -> None:
    def broken(*_args, **_kwargs):
        raise failing

    monkeypatch.setattr("probes.services.transactions.HttpClient", broken)
    reports = Reports()
    engine = ServiceEngine(reports)
    asking = engine.measure(plan_of(web(9)), count=2, phase_ns=0)
    engine.run()
    assert asking.totals.unmeasured == 2
    assert ServiceResult.OK not in asking.session.results
    assert "our own fault" in caplog.text
