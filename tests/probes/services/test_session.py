"""The ledger of a path to a service, against a naive account of the same requests."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_services import plan_of

from analytics.windows import CountKey, PathWindow
from netslo import metrics
from netslo.model import SloThreshold, Window
from netslo.service import Phase, ServiceResult, TcpRequest, Where
from probes.instant import Instant
from probes.services.exchange import Exchange, Stopwatch
from probes.services.session import ServiceSession

S = 1_000_000_000
START = Instant(1_800_000_003 * S, 1_000 * S)
SLOS = (SloThreshold("fast", 0.1), SloThreshold("there", None))
REQUEST = TcpRequest(Where("192.0.2.1", 80))


def make_session(**options) -> ServiceSession:
    plan = plan_of(REQUEST, interval_s=1, timeout_s=5, thresholds=SLOS)
    return ServiceSession(plan, START, phase_ns=0, **options)


def end(result, total_s=0.05) -> Exchange:
    total_ns = round(total_s * S)
    return Exchange(result, "", total_ns, {Phase.DNS: total_ns // 4, Phase.CONNECT: total_ns // 2})


ends = st.one_of(
    st.none(),
    st.tuples(st.sampled_from(ServiceResult), st.floats(0.001, 4.9), st.integers(0, 6)),
)


@given(st.lists(st.tuples(ends, st.booleans()), min_size=1, max_size=60))
def test_due_is_answered_and_lost_and_unmeasured_in_each_window(fates) -> None:
    """Requests end in any order, late as well; the prober sleeps through some of them."""
    session = make_session(count=len(fates))
    expected: dict[Window, Counter[str]] = {}
    under_way, windows = [], []
    for n, (fate, sleeps) in enumerate(fates):
        now = START.at_mono(START.mono_ns + n * S)
        if sleeps and n < len(fates) - 1:
            continue
        under_way += [(packet, fate) for packet in session.take_due(now)]
        for each in [each for each in under_way if each[1] is None or each[1][2] == n % 7]:
            under_way.remove(each)
            session.settle(each[0], end(None) if each[1] is None else end(*each[1][:2]))
        windows += session.close(now)
    for packet, fate in under_way:
        session.settle(packet, end(None) if fate is None else end(*fate[:2]))
    assert session.finished
    windows += session.flush()
    for n in range(len(fates)):
        window = Window.containing(START.wall_ns + n * S)
        expected.setdefault(window, Counter())["due"] += 1
    found: dict[Window, PathWindow] = {}
    for each in windows:
        found.setdefault(each.window, PathWindow(each.key, each.window)).absorb(each)
    assert {w: each.packets.due for w, each in found.items()} == {
        w: counts["due"] for w, counts in expected.items()
    }
    for each in found.values():
        results = {k.what: n for k, n in each.counts.items() if k.metric == metrics.RESULTS}
        assert sum(results.values()) == each.packets.answered + each.packets.lost
        assert results.get("ok", 0) == each.packets.answered
        rtt = each.rtt()
        assert (rtt.count if rtt else 0) == each.packets.answered
        for slo in each.slo.values():
            assert slo.good + slo.bad + slo.unmeasured == each.packets.due
        assert each.slo["there"].good == each.packets.answered


def test_figures_are_those_of_the_good_exchanges() -> None:
    session = make_session(count=20)
    totals_s = np.linspace(0.01, 0.2, 19)
    packets = []
    for n in range(20):
        packets += session.take_due(START.at_mono(START.mono_ns + n * S))
    for packet, total_s in zip(packets, totals_s, strict=False):
        session.settle(packet, end(ServiceResult.OK, total_s))
    session.settle(packets[-1], end(ServiceResult.WRONG_STATUS, 0.001))
    first, *rest = session.flush()
    for each in rest:
        first.absorb(each)
    assert first.counts[CountKey(metrics.RESULTS, "wrong_status")] == 1
    assert first.rtt().quantile(0.5) == pytest.approx(np.median(totals_s), rel=0.01)
    assert first.phase(Phase.CONNECT).quantile(0.5) == pytest.approx(np.median(totals_s) / 2, 0.01)
    assert first.phase(Phase.TLS) is None
    assert first.slo["fast"].good == (totals_s <= 0.1).sum()
    assert first.slo["fast"].bad == (totals_s > 0.1).sum() + 1


def test_a_due_request_never_moves_because_an_answer_is_late() -> None:
    session = make_session()
    due_ns = []
    for n in range(10):
        assert session.next_due_ns == START.mono_ns + n * S
        due_ns += [p.due_ns for p in session.take_due(START.at_mono(START.mono_ns + n * S + 7))]
    assert due_ns == [START.mono_ns + n * S for n in range(10)]  # and none of them has ended


def test_the_parts_of_an_exchange_are_the_whole_of_it() -> None:
    times = iter([100, 130, 180, 200, 260])
    watch = Stopwatch(lambda: next(times))
    for phase in (Phase.DNS, Phase.CONNECT, Phase.DNS, Phase.FIRST_BYTE):
        watch.enter(phase)
    assert watch.end() == 160
    assert watch.spans_ns == {Phase.DNS: 50, Phase.CONNECT: 50, Phase.FIRST_BYTE: 60}
