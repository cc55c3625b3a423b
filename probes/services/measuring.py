"""A one-off measurement of a service from a shell."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analytics.figures import window_figures
from analytics.sketch import Sketch
from analytics.summary import distribution
from analytics.windows import PacketCounts, PathWindow, SeriesKey
from netslo.model import NS_PER_S, Path, Window
from netslo.service import Request, kind_of
from probes.channel import Report
from probes.engine_thread import EngineThread
from probes.services.engine import ServiceEngine
from probes.services.exchange import Exchange
from probes.services.plan import ServicePlan

DETAILS_MAX: Final = 16  # different ends that are told in words
_SHOWN: Final = ("due", "answered", "lost", "unmeasured", "rtt", "jitter", "results", "phases")


@dataclass(slots=True)
class ServiceMeasurement:
    """What came of it."""

    target: str
    total: PathWindow
    discarded: Counter[str] = field(default_factory=Counter)
    details: Counter[str] = field(default_factory=Counter)  # of ends that are not ok
    lateness: Sketch = field(default_factory=Sketch)
    certificate_expires_s: float | None = None
    stopped: bool = False  # by Ctrl-C, before all was asked

    def take_in(self, reports: Mapping[str, Report]) -> None:
        """Add what the engine reports."""
        for report in reports.values():
            for window in report.windows:
                self.total.absorb(window)
            self.discarded += report.discarded
            self.lateness.add(np.array(report.lateness_s))
            for expires_s in report.certificates.values():
                self.certificate_expires_s = expires_s

    def note(self, exchange: Exchange) -> None:
        """Remember how an exchange ended, in words."""
        if exchange.good or exchange.result is None:
            return
        detail = f": {exchange.detail}" if exchange.detail else ""
        text = f"{exchange.result.value}{detail}"
        if text in self.details or len(self.details) < DETAILS_MAX:
            self.details[text] += 1

    def to_json(self) -> dict[str, Any]:
        """Return the stable shape of `measure http --json` and the like."""
        figures = window_figures(self.total)
        expires_s = self.certificate_expires_s
        return {
            "target": self.target,
            "kind": self.total.key.probe.value,
            **{key: figures[key] for key in _SHOWN},
            "quality": figures["quality"],
            "certificate_expiry": expires_s,
            "details": dict(self.details),
            "send_lateness": distribution(self.lateness),
            "discarded": dict(self.discarded),
        }

    @property
    def certificate_expiry(self) -> dt.datetime | None:
        if self.certificate_expires_s is None:
            return None
        return dt.datetime.fromtimestamp(self.certificate_expires_s, dt.UTC)


@dataclass(frozen=True, slots=True)
class AskPlan:
    """What to ask, how often and how many times."""

    target: str
    request: Request
    count: int
    interval_s: float
    timeout_s: float
    dscp: int = 0
    authorities: str | None = None


class ServiceMeasuring:
    """A measurement under way, in a thread of its own."""

    def __init__(self, plan: AskPlan) -> None:
        key = SeriesKey(Path("here", "there", "measure"), kind_of(plan.request))
        self.result = ServiceMeasurement(plan.target, PathWindow(key, Window(0)))
        self._engine = ServiceEngine(self.result.take_in)
        self._asking = self._engine.measure(
            ServicePlan(
                key,
                plan.request,
                round(plan.interval_s * NS_PER_S),
                round(plan.timeout_s * NS_PER_S),
                dscp=plan.dscp,
                authorities=plan.authorities,
            ),
            phase_ns=0,  # the first at once, for a person waits
            count=plan.count,
            on_exchange=self.result.note,
        )
        self._thread = EngineThread(self._engine)

    @property
    def totals(self) -> PacketCounts:
        """The requests settled so far."""
        return self._asking.totals

    def recent_rtt_s(self) -> NDArray[np.float64]:
        """Return what the last good exchanges took, seconds."""
        return self._asking.recent_rtt_s()

    def run(self, on_tick: Callable[[], None], tick_s: float = 0.1) -> ServiceMeasurement:
        """Measure to the end, calling `on_tick` meanwhile; KeyboardInterrupt ends it early.

        Requests under way are waited for; a second KeyboardInterrupt does not wait.
        """
        self.result.stopped = self._thread.run(on_tick, tick_s)
        return self.result
