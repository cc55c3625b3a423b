"""What netslo reports of a WAN, held against the emulator's log, packet by packet.

The log says what really happened, so nothing here depends on how fast this machine is: a packet
that the emulator released late was late, and one that the reflector had no time for was lost.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from analytics.windows import PathWindow, SeriesKey
from lab.fixtures import FAMILY, require_emulator
from lab.link import Link
from lab.namespaces import Namespace
from lab.truth import ECHO_REPLY, STAMP_REPLY, Truth, runs, truth
from lab.wan import Wan
from lab.wan_log import ICMP, ICMPV6, UDP, Rows, select
from netslo.model import Endpoint, Path, ProbeKind, Window
from probes.address import SocketAddress
from probes.batched import BatchedEngine
from probes.channel import Report
from probes.engine import Engine
from probes.outcome import QUALITIES, State
from probes.reflector import RateLimit, ReflectorServer
from probes.session import SessionPlan
from probes.warm_up import warm_up

pytestmark = pytest.mark.waits

MS = 1_000_000
PORT = 8620
TIMEOUT_NS = 4_000 * MS  # a busy reflector lets packets wait for a second
PATH = Path("a", "b", "ef")
VERSIONS = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])

# Far apart, a queue that remembers, bursts of 4 packets on average, and all else that WANs do.
FORWARD = Link(
    delay_s=0.110,
    jitter_s=0.004,
    jitter_spread=0.6,
    jitter_time_s=0.02,
    p=0.004,
    r=0.25,
    duplicate=0.005,
    reorder=0.01,
    reorder_extra_s=0.003,
)
REVERSE = Link(
    delay_s=0.090,
    jitter_s=0.003,
    jitter_spread=0.5,
    jitter_time_s=0.05,
    p=0.002,
    r=0.4,
    duplicate=0.003,
    reorder=0.005,
    reorder_extra_s=0.004,
)


@dataclass
class Found:
    """What an engine made of a session."""

    total: PathWindow
    discarded: dict[str, int] = field(default_factory=dict)
    rows: NDArray[np.void] = field(default_factory=lambda: np.zeros(0))  # of packets that left

    @property
    def left(self) -> int:
        """How many packets left in time; the others were unmeasured and have no number."""
        return self.total.packets.due - self.total.packets.unmeasured

    @property
    def outcomes(self) -> NDArray[np.void]:
        return self.rows["outcome"]


@contextmanager
def reflecting(wan: Wan, version: int) -> Iterator[ReflectorServer]:
    with wan.b.namespace.inside():
        server = ReflectorServer(
            [Endpoint(wan.b.address(version), PORT)], rate_limit=RateLimit(1e6, 1_000_000)
        )
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        thread.join(60)


def measure(wan: Wan, make: Any, plan: SessionPlan, version: int, count: int) -> Found:
    """Run a session from `a` to `b` to its end."""
    found = Found(PathWindow(plan.key, Window(0)))

    def take(reports: dict[str, Report]) -> None:
        for report in reports.values():
            for window in report.windows:
                found.total.absorb(window)
            for reason, packets in report.discarded.items():
                found.discarded[reason] = found.discarded.get(reason, 0) + packets

    target = SocketAddress(FAMILY[version], (wan.b.address(version), PORT))
    with wan.a.namespace.inside():
        engine = make(take)
        taken = _tap(engine) if isinstance(engine, BatchedEngine) else []
        engine.measure(plan, target, count=count)
        engine.run()
    if taken:
        rows = np.concatenate(taken)
        found.rows = rows[rows["late_ns"] >= 0]  # the others never left, and have no number
    wan.settle()
    return found


def _tap(engine: BatchedEngine) -> list[NDArray[np.void]]:
    """Return a list that fills with the rows of every settled packet."""
    taken: list[NDArray[np.void]] = []
    enter = engine._book.enter

    def tapped(rows: NDArray[np.void]) -> None:
        taken.append(rows.copy())
        enter(rows)

    engine._book.enter = tapped  # type: ignore[method-assign]
    return taken


def judge_quantiles(total: PathWindow, real: Truth, qs: list[float]) -> None:
    """The reported percentiles are those of the log to 1 %."""
    sketch = total.rtt()
    assert sketch is not None
    true_s = real.rtt_ns[real.answered] / 1e9
    expected = np.quantile(true_s, qs, method="lower")
    assert sketch.quantiles(qs) == pytest.approx(expected, rel=0.01)


def judge_counts(total: PathWindow, real: Truth) -> None:
    packets = total.packets
    assert packets.due == packets.unmeasured + len(real.answered)
    assert packets.answered == real.answered.sum()
    assert packets.lost == len(real.answered) - real.answered.sum()
    assert packets.duplicates == real.duplicates.sum()
    assert packets.reordered == real.reordered.sum()


def session_of(wan: Wan, version: int, **wanted: int) -> Rows:
    return select(wan.log(), version=version, **wanted)


@pytest.fixture
def wan() -> Iterator[Wan]:
    require_emulator()
    with Namespace("a") as a, Namespace("b") as b, Wan(a, b, FORWARD, REVERSE, seed=7) as wide:
        yield wide


@VERSIONS
@pytest.mark.quiet  # so many leave in time
def test_ten_thousand_packets_a_second_are_told_as_they_went(wan: Wan, version: int) -> None:
    if not warm_up():
        pytest.skip("the fast engine needs numba")
    count = 60_000
    plan = SessionPlan(SeriesKey(PATH), MS // 10, TIMEOUT_NS)
    with reflecting(wan, version):
        found = measure(wan, BatchedEngine, plan, version, count)
    sent, outcomes = len(found.rows), found.outcomes
    real = truth(session_of(wan, version, protocol=UDP), sent)
    answered = outcomes["state"] == State.ANSWERED

    # Where the far end had no processor for seconds, replies came after the time-out or about it.
    punctual = real.away_ns < TIMEOUT_NS - 500 * MS

    # Every packet by its number: not one answered, lost, doubled or overtaken that was not so.
    assert sent >= 0.5 * count
    assert not (answered & ~real.answered).any()
    assert (answered == real.answered)[punctual].all()
    total = found.total
    assert total.packets.unmeasured == count - sent
    if punctual.all():
        assert (outcomes["duplicates"] == real.duplicates).all()
        assert (outcomes["reordered"].astype(bool) == real.reordered).all()
        assert runs(outcomes["state"] == State.LOST) == real.bursts
        assert max(real.bursts) >= 8
        assert real.duplicates.sum() > 100
        assert real.reordered.sum() > 100
        judge_counts(total, real)

    # No round trip is shorter than what the emulator kept the packet for.
    once = answered & (real.duplicates == 0)
    assert (outcomes["rtt_ns"][once] >= real.rtt_ns[once]).mean() > 0.999

    # What is published.
    assert total.quality is not None
    own = answered & (outcomes["quality"] == QUALITIES.index(total.quality))
    assert own.sum() > 2_000
    qs = [0.5, 0.99, 0.999]
    sketch = total.rtt()
    assert sketch is not None
    expected = np.quantile(real.rtt_ns[own] / 1e9, qs, method="lower")
    assert sketch.quantiles(qs) == pytest.approx(expected, rel=0.01)


@VERSIONS
def test_the_plain_engine_tells_the_same(wan: Wan, version: int) -> None:
    count = 1500
    plan = SessionPlan(SeriesKey(PATH), 4 * MS, TIMEOUT_NS)
    with reflecting(wan, version):
        found = measure(wan, Engine, plan, version, count)
    real = truth(session_of(wan, version, protocol=UDP), found.left, STAMP_REPLY)
    assert found.left > 0.5 * count
    judge_counts(found.total, real)
    judge_quantiles(found.total, real, [0.5, 0.9, 0.99])


@VERSIONS
def test_echo_is_told_as_it_went(wan: Wan, version: int) -> None:
    count = 1500
    plan = SessionPlan(SeriesKey(PATH, ProbeKind.ICMP), 4 * MS, TIMEOUT_NS)
    found = measure(wan, Engine, plan, version, count)
    protocol = {4: ICMP, 6: ICMPV6}[version]
    log = session_of(wan, version, protocol=protocol)
    real = truth(log[log["sequence"] >= 0], found.left, ECHO_REPLY, mask=0xFFFF)
    assert found.left > 0.5 * count
    judge_counts(found.total, real)
    judge_quantiles(found.total, real, [0.5, 0.9, 0.99])


@VERSIONS
def test_the_command_says_what_happened(wan: Wan, version: int) -> None:
    """`netslo measure rtt --json`, from its arguments to its standard output."""
    count, qs = 1500, ["0.5", "0.9", "0.99"]
    target = str(Endpoint(wan.b.address(version), PORT))
    options = ["--count", str(count), "--interval", "1ms", "--timeout", "4s", "--no-floor"]
    command = [sys.executable, "-P", "-m", "netslo", "measure", "rtt", target, "--json", *options]
    with reflecting(wan, version):
        done = wan.a.namespace.run(*command, timeout_s=100)
    wan.settle()
    said = json.loads(done.stdout)
    left = said["due"] - said["unmeasured"]
    assert said["due"] == count
    assert left > 0.5 * count
    real = truth(session_of(wan, version, protocol=UDP), left)
    lost = ~real.answered
    assert (said["answered"], said["lost"]) == (real.answered.sum(), lost.sum())
    assert (said["duplicates"], said["reordered"]) == (
        real.duplicates.sum(),
        real.reordered.sum(),
    )
    for q in qs:
        expected_s = np.quantile(real.rtt_ns[real.answered] / 1e9, float(q), method="lower")
        assert said["rtt"]["quantiles"][q]["value"] == pytest.approx(expected_s, rel=0.01)
    loss = said["loss"]
    assert loss["forward"] <= (lost & ~real.reached).sum()
    assert loss["reverse"] <= (lost & real.reached).sum()
    assert loss["forward"] + loss["reverse"] + loss["undetermined"] == said["lost"]
    if not said["unmeasured"]:  # what this host did not send tears runs of losses apart
        assert loss["lengths"] == {str(length): n for length, n in Counter(real.bursts).items()}
