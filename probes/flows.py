"""The flows that are being measured: paths come, change and go while the engines run."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from analytics.windows import SeriesKey
from netslo.model import Endpoint
from probes.address import SocketAddress
from probes.channel import Report
from probes.engine import Engine
from probes.engines import Measured, MeasuringEngine, fits_fast_engine, new_engine
from probes.instant import read_clocks
from probes.plan import Flow, PathPlan, flows_of

LOSSES: Final = 4  # of one flow in a row: its address may not be the target's any more


@dataclass(frozen=True, slots=True)
class FlowFigures:
    """How one of a path's flows did lately."""

    path: str
    flow: str
    rtt_s: float | None  # the median; None without an answer
    loss_ratio: float | None  # None without a packet


@dataclass(slots=True)
class _Running:
    """One flow under way."""

    slot: int  # its turn within the path's packets
    engine: MeasuringEngine
    measured: Measured
    answered: int = 0  # when it was looked at last
    lost: int = 0  # when it answered last
    figured: tuple[int, int] = (0, 0)  # answered and lost at the last figures


@dataclass(slots=True)
class _Path:
    plan: PathPlan
    anchor_ns: int  # monotonic; packets are due at multiples of the interval from there
    flows: dict[Flow, _Running] = field(default_factory=dict)


class FlowSet:
    """Keeps the engines at what was asked for last. For one thread, but for the engines' `run`.

    A path is a schedule of its own, a packet every interval; its flows take turns in it. A flow
    that is in the old order and in the new one goes on untouched. Any other is retired, which
    lets nothing further become due and its windows be reported, or joins where the path's
    schedule stands: so a path has its packets, one after the other, whatever changes.
    """

    def __init__(self, on_report: Callable[[dict[str, Report]], None]) -> None:
        self._fast = new_engine(on_report)
        self._plain = self._fast if isinstance(self._fast, Engine) else Engine(on_report)
        self._paths: dict[SeriesKey, _Path] = {}

    @property
    def engines(self) -> tuple[MeasuringEngine, ...]:
        """What has to run, each in a thread of its own."""
        return (self._fast,) if self._plain is self._fast else (self._fast, self._plain)

    @property
    def plans(self) -> tuple[PathPlan, ...]:
        """What is measured."""
        return tuple(path.plan for path in self._paths.values())

    def stop(self) -> None:
        """Let nothing further become due."""
        for engine in self.engines:
            engine.stop()

    def arrange(
        self,
        plans: Iterable[PathPlan],
        addresses: Mapping[Endpoint, tuple[SocketAddress, ...]],
    ) -> None:
        """Measure these paths and no others; of an endpoint that is not in `addresses`, none."""
        wanted = {plan.key: plan for plan in plans}
        for key in [key for key in self._paths if key not in wanted]:
            self._turn_to(self._paths.pop(key), ())
        for key, plan in wanted.items():
            path = self._paths.get(key)
            if path is None:
                path = self._paths[key] = _Path(plan, _random_anchor_ns(plan.interval_ns))
            elif plan.interval_ns != path.plan.interval_ns:
                path.anchor_ns = _random_anchor_ns(plan.interval_ns)
            path.plan = plan
            self._turn_to(path, flows_of(plan, addresses.get(plan.endpoint, ())))

    def redirect(self, endpoint: Endpoint, addresses: tuple[SocketAddress, ...]) -> None:
        """Measure an endpoint's paths at other addresses from now on."""
        for path in self._paths.values():
            if path.plan.endpoint == endpoint:
                self._turn_to(path, flows_of(path.plan, addresses))

    def doubtful(self) -> set[Endpoint]:
        """Return the endpoints with a flow that lost its last packets; each run is said once."""
        found: set[Endpoint] = set()
        for path in self._paths.values():
            for running in path.flows.values():
                totals = running.measured.totals
                if totals.answered != running.answered:
                    running.answered, running.lost = totals.answered, totals.lost
                elif totals.lost - running.lost >= LOSSES:
                    running.lost = totals.lost
                    found.add(path.plan.endpoint)
        return found

    def figures(self) -> Iterator[FlowFigures]:
        """Yield how each flow did since the last call, of the paths that have several."""
        for path in self._paths.values():
            if len(path.flows) > 1:
                for flow, running in path.flows.items():
                    yield _figures(flow, running)

    def _turn_to(self, path: _Path, flows: tuple[Flow, ...]) -> None:
        """Let a path have these flows."""
        for flow in [flow for flow in path.flows if flow not in flows]:
            gone = path.flows.pop(flow)
            gone.engine.retire(gone.measured)
        taken = {running.slot for running in path.flows.values()}
        slots = (slot for slot in range(len(flows)) if slot not in taken)
        for flow in flows:
            if flow not in path.flows:
                path.flows[flow] = self._begin(path, flow, next(slots))

    def _begin(self, path: _Path, flow: Flow, slot: int) -> _Running:
        """Measure a flow from the next packet on that is its turn."""
        engine = self._fast if fits_fast_engine(flow.session) else self._plain
        now = read_clocks()
        turn = -((path.anchor_ns - now.mono_ns) // path.plan.interval_ns)  # the next, rounded up
        turn += (slot - turn) % flow.of
        phase_ns = path.anchor_ns + turn * path.plan.interval_ns - now.mono_ns
        measured = engine.measure(flow.session, flow.address, start=now, phase_ns=phase_ns)
        return _Running(slot, engine, measured)


def _random_anchor_ns(interval_ns: int) -> int:
    return read_clocks().mono_ns + random.randrange(interval_ns)


def _figures(flow: Flow, running: _Running) -> FlowFigures:
    totals, (answered, lost) = running.measured.totals, running.figured
    running.figured = (totals.answered, totals.lost)
    answered, lost = totals.answered - answered, totals.lost - lost
    rtt_s = running.measured.recent_rtt_s(answered + lost)[-answered:] if answered else ()
    return FlowFigures(
        path=flow.session.key.path.id,
        flow=flow.name,
        rtt_s=float(np.median(rtt_s)) if len(rtt_s) else None,
        loss_ratio=lost / (answered + lost) if answered + lost else None,
    )
