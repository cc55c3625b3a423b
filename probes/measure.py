"""A one-off measurement of one target from a shell."""

from __future__ import annotations

import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from analytics.figures import window_figures
from analytics.windows import PacketCounts, PathWindow, SeriesKey
from netslo.errors import ConfigurationError
from netslo.model import NS_PER_S, Endpoint, Path, ProbeKind, Window
from probes.address import SocketAddress, resolve
from probes.channel import REFUSED, Report
from probes.engine import Engine
from probes.instant import read_clocks
from probes.session import Session, SessionPlan

RECENT: Final = 1000  # answers which the live figures are about
_FAMILIES: Final = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
_KEY: Final = SeriesKey(Path("here", "there", "measure"))  # a measurement is of no estate


@dataclass(frozen=True, slots=True)
class MeasurePlan:
    """What to measure; `count` None goes on until stopped."""

    target: Endpoint
    interval_s: float = 0.2
    timeout_s: float = 1.0
    count: int | None = None
    dscp: int = 0
    family: socket.AddressFamily | None = None


@dataclass(slots=True)
class Measurement:
    """What came of it so far. `total` holds the sketches only when the measurement is over."""

    plan: MeasurePlan
    address: SocketAddress
    total: PathWindow = field(default_factory=lambda: PathWindow(_KEY, Window(0)))
    discarded: Counter[str] = field(default_factory=Counter)
    recent_rtt_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    @property
    def refused(self) -> bool:
        """Whether the target's host said that nothing listens on the port."""
        return self.discarded[REFUSED] > 0

    def take_in(self, reports: Mapping[str, Report]) -> None:
        """Add what the engine reports."""
        for report in reports.values():
            for window in report.windows:
                self.total.absorb(window)
            self.discarded += report.discarded

    def to_json(self) -> dict[str, Any]:
        """Return the stable shape of `measure rtt --json`; what is not known is null."""
        return {
            "target": str(self.plan.target),
            "address": str(self.address),
            "kind": ProbeKind.STAMP.value,
            **window_figures(self.total),
            "discarded": dict(self.discarded),
        }


class Measuring:
    """A measurement under way, in a thread of its own.

    Raises:
        ConfigurationError: the target does not resolve; nothing was started.
    """

    def __init__(self, plan: MeasurePlan) -> None:
        self.result = Measurement(plan, _resolve(plan))
        session_plan = SessionPlan(
            key=_KEY,
            interval_ns=round(plan.interval_s * NS_PER_S),
            timeout_ns=round(plan.timeout_s * NS_PER_S),
            dscp=plan.dscp,
        )
        self._session = Session(
            session_plan,
            read_clocks(),
            phase_ns=0,  # a person waits for the first packet
            count=plan.count,
            on_answer=self.result.recent_rtt_s.append,
        )
        self._engine = Engine(self.result.take_in)
        self._engine.add(self._session, self.result.address)
        self._failure: BaseException | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="measure", daemon=True)

    @property
    def counts(self) -> PacketCounts:
        """The packets settled so far."""
        return self._session.totals

    def run(self, on_tick: Callable[[], None], tick_s: float = 0.1) -> Measurement:
        """Measure to the end, calling `on_tick` meanwhile; KeyboardInterrupt ends it early.

        Packets in flight are waited for, at most the time-out; a second KeyboardInterrupt
        does not wait.
        """
        self._thread.start()
        try:
            self._wait(on_tick, tick_s)
        except KeyboardInterrupt:
            self._engine.stop()
            self._wait(on_tick, tick_s)
        if self._failure is not None:
            raise self._failure
        return self.result

    def _wait(self, on_tick: Callable[[], None], tick_s: float) -> None:
        # Not Thread.join: interrupted by a signal, CPython 3.11 takes the thread for ended.
        while not self._ended.wait(tick_s):
            on_tick()

    def _run(self) -> None:
        try:
            self._engine.run()
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            self._failure = error
        finally:
            self._ended.set()


def _resolve(plan: MeasurePlan) -> SocketAddress:
    try:
        return resolve(plan.target, plan.family)
    except OSError as error:
        kind = "" if plan.family is None else f" to an address of {_FAMILIES[plan.family]}"
        raise ConfigurationError(
            f"{plan.target.host} does not resolve{kind}: {error.strerror}"
        ) from error
