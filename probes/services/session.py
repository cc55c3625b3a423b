"""The ledger of one path to a service: what was due, and what became of it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from analytics.sketch import Sketch
from analytics.windows import PHASES, CountKey, PacketCounts, PathWindow, SketchKey
from netslo import metrics
from netslo.model import NS_PER_S, Quality, Window
from netslo.service import Phase
from probes.clock import UNKNOWN_CLOCK
from probes.instant import Instant
from probes.ledger import Packet, WindowLedger
from probes.outcome import State
from probes.schedule import PeriodicSchedule, count_by_window, late_tolerance_ns, random_phase_ns
from probes.services.exchange import Exchange
from probes.services.plan import ServicePlan
from probes.session import RECENT
from probes.statistics import WindowStatistics


@dataclass(slots=True)
class _Open:
    """A window that is not complete."""

    ledger: WindowLedger
    results: Counter[str] = field(default_factory=Counter)
    spans_ns: dict[Phase, list[int]] = field(default_factory=dict)  # of the answered


class ServiceSession:
    """Keeps due = answered + lost + unmeasured for every window of one path to a service.

    A request stands for its due time, and takes the same outcomes as a packet: `answered` is a
    right answer in time, `lost` any other end, by whose name it is counted as well, and
    `unmeasured` what this host could not even try. Its round trip is the whole exchange, from the
    name's lookup to the last octet, by the clock of a process: class C.

    The caller's turn: `take_due`, and for each packet `settle` when its exchange is over, or
    `skip`. It comes back by `next_due_ns`, and calls `close` now and then. To end: `stop`, go on
    until `finished`, `flush`.
    """

    def __init__(
        self,
        plan: ServicePlan,
        start: Instant,
        *,
        phase_ns: int | None = None,
        count: int | None = None,
    ) -> None:
        phase_ns = random_phase_ns(plan.interval_ns) if phase_ns is None else phase_ns
        self.plan = plan
        self.totals = PacketCounts()
        self.results: Counter[str] = Counter()  # so far
        self.recent_rtt_s: deque[float] = deque(maxlen=RECENT)
        self.certificate_expires_s: int | None = None  # as it was last seen
        self._schedule = PeriodicSchedule(start.mono_ns + phase_ns, plan.interval_ns, count)
        self._tolerance_ns = late_tolerance_ns(plan.interval_ns)
        self._open: dict[Window, _Open] = {}
        self._statistics = WindowStatistics(
            plan.key,
            plan.interval_ns,
            plan.dscp,
            spoilt=None if plan.loads is None else plan.loads.spoil,
        )
        self._orders = 0

    @property
    def next_due_ns(self) -> int | None:
        """The monotonic time at which the next request is due; None when no more are."""
        return self._schedule.next_ns

    @property
    def finished(self) -> bool:
        """Nothing more will be due, and nothing is under way."""
        pending = any(each.ledger.pending for each in self._open.values())
        return self._schedule.next_ns is None and not pending

    def take_due(self, now: Instant) -> list[Packet]:
        """Return the requests to make now; those that are too late for it are unmeasured."""
        first_ns, missed = self._schedule.skip_before(now.mono_ns - self._tolerance_ns)
        first = now.at_mono(first_ns)
        for window, requests in count_by_window(first.wall_ns, self.plan.interval_ns, missed):
            self._entry(window, now).ledger.missed(first_ns, requests)
            self.totals.unmeasured += requests
            first_ns += requests * self.plan.interval_ns
        due: list[Packet] = []
        while (due_ns := self._schedule.take(now.mono_ns)) is not None:
            window = Window.containing(now.at_mono(due_ns).wall_ns)
            due.append(self._entry(window, now).ledger.enter(due_ns))
        return due

    def skip(self, packet: Packet) -> None:
        """Settle a request that was not made."""
        packet.settle(State.UNMEASURED)
        self.totals.unmeasured += 1

    def settle(self, packet: Packet, exchange: Exchange) -> None:
        """Settle a request by what came of it."""
        if exchange.certificate_expires_s is not None:
            self.certificate_expires_s = exchange.certificate_expires_s
        if exchange.result is None:
            self.skip(packet)
            return
        entry = self._open[packet.ledger.window]
        entry.results[exchange.result.value] += 1
        self.results[exchange.result.value] += 1
        if not exchange.good:
            packet.settle(State.LOST)
            self.totals.lost += 1
            return
        packet.rtt_ns, packet.quality = exchange.total_ns, Quality.C
        packet.order, self._orders = self._orders, self._orders + 1
        packet.settle(State.ANSWERED)
        self.totals.answered += 1
        self.recent_rtt_s.append(exchange.total_ns / NS_PER_S)
        for phase, span_ns in exchange.spans_ns.items():
            entry.spans_ns.setdefault(phase, []).append(span_ns)

    def close(self, now: Instant) -> list[PathWindow]:
        """Return the windows that are complete, in their order."""
        closed: list[PathWindow] = []
        for entry in list(self._open.values()):
            if entry.ledger.pending or entry.ledger.close_ns > now.mono_ns:
                break
            closed.append(self._close(entry))
        return closed

    def stop(self) -> None:
        """Let no further request become due."""
        self._schedule.stop()

    def flush(self) -> list[PathWindow]:
        """Close every window; nothing may be under way."""
        windows = [self._close(entry) for entry in list(self._open.values())]
        rest = self._statistics.end()
        return windows if rest is None else [*windows, rest]

    def _entry(self, window: Window, now: Instant) -> _Open:
        """Return the open ledger of a window; after a step of the clock it may open again."""
        entry = self._open.get(window)
        if entry is None:
            end_ns = now.at_wall(window.end_s * NS_PER_S).mono_ns
            entry = self._open[window] = _Open(WindowLedger(window, end_ns))
        return entry

    def _close(self, entry: _Open) -> PathWindow:
        ledger = entry.ledger
        del self._open[ledger.window]
        found = self._statistics.close(
            ledger.window,
            ledger.close(),
            self.plan.thresholds,
            UNKNOWN_CLOCK,  # no two clocks have a part in any figure
            unmeasured=ledger.unmeasured,
        )
        if not (found.packets.answered or found.packets.lost):
            return found  # nothing was measured, or all of it is no evidence
        for result, requests in entry.results.items():
            found.counts[CountKey(metrics.RESULTS, result)] = requests
        for phase, spans_ns in entry.spans_ns.items():
            sketch = found.sketches[SketchKey(PHASES[phase], Quality.C)] = Sketch()
            sketch.add(_seconds(spans_ns))
        return found


def _seconds(spans_ns: Iterable[int]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(list(spans_ns), np.float64) / NS_PER_S
