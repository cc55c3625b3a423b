"""A one-off measurement of one or several targets from a shell."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.windows import PacketCounts, PathWindow, SeriesKey
from netslo.errors import ConfigurationError
from netslo.model import NS_PER_S, Endpoint, Path, ProbeKind, Window
from probes.address import SocketAddress, resolve_target
from probes.channel import Report
from probes.engine import Engine
from probes.engine_thread import EngineThread
from probes.engines import (
    Measured,
    MeasuringEngine,
    fits_fast_engine,
    new_engine,
    tells_when_packets_leave,
)
from probes.icmp.socket import open_echo_socket
from probes.measurement import Flow, Measurement, Measurements
from probes.session import RECENT, SessionPlan

_HERE: Final = "here"  # a measurement is of no estate


@dataclass(frozen=True, slots=True)
class MeasurePlan:
    """What to measure; `count` packets to each target, None goes on until stopped.

    The packets to a target leave from `source_ports` ports in turn, `interval_s` apart.
    """

    targets: tuple[Endpoint, ...]
    interval_s: float = 0.2
    timeout_s: float = 1.0
    count: int | None = None
    dscp: int = 0
    family: socket.AddressFamily | None = None
    kind: ProbeKind = ProbeKind.STAMP  # or ICMP: then a target's port means nothing
    source_ports: int = 1
    secret: bytes | None = field(default=None, repr=False)  # authenticated mode, by this key
    size: int = 0  # octets of a STAMP packet, by padding; 0: as it comes


class Measuring:
    """A measurement under way, in a thread of its own.

    Raises:
        ConfigurationError: a target does not resolve or must not be sent to, or no echo is allowed;
            nothing was started.
    """

    def __init__(self, plan: MeasurePlan) -> None:
        found = [resolve_target(target, plan.family) for target in plan.targets]
        stamps = tells_when_packets_leave()
        self.result = Measurements(
            [_measurement(plan, n, at, stamps_leaving=stamps) for n, at in enumerate(found)]
        )
        if plan.kind is ProbeKind.ICMP:
            _try_echo(found[0])
        self._flows = [flow for target in self.result.targets for flow in target.flows]
        plans = [_session_plan(plan, flow, n) for n, flow in enumerate(self._flows)]
        fast = all(fits_fast_engine(each) for each in plans)
        self._engine: MeasuringEngine = (new_engine if fast else Engine)(self._take_in)
        interval_ns = plans[0].interval_ns
        self._measured: list[Measured] = []
        for place, each in enumerate(plans):
            target, turn = divmod(place, plan.source_ports)
            # The first at once, for a person waits; targets and flows evenly between.
            phase = turn + target / len(found)
            self._measured.append(
                self._engine.measure(
                    each,
                    found[target],
                    phase_ns=int(phase * interval_ns / plan.source_ports),
                    count=_share(plan.count, turn, plan.source_ports),
                )
            )
        self._ports = plan.source_ports
        self._thread = EngineThread(self._engine)

    @property
    def counts(self) -> list[PacketCounts]:
        """The packets settled so far, by target."""
        found = [PacketCounts() for _ in self.result.targets]
        for place, measured in enumerate(self._measured):
            found[place // self._ports].add(measured.totals)
        return found

    def recent_rtt_s(self, target: int) -> NDArray[np.float64]:
        """Return round trips of a target's last answers, at most `RECENT`, seconds."""
        flows = self._measured[target * self._ports : (target + 1) * self._ports]
        return np.concatenate([flow.recent_rtt_s(RECENT // self._ports) for flow in flows])

    def run(self, on_tick: Callable[[], None], tick_s: float = 0.1) -> Measurements:
        """Measure to the end, calling `on_tick` meanwhile; KeyboardInterrupt ends it early.

        Packets in flight are waited for, at most the time-out; a second KeyboardInterrupt
        does not wait.
        """
        self.result.stopped = self._thread.run(on_tick, tick_s)
        for flow, measured in zip(self._flows, self._measured, strict=True):
            flow.source_port = measured.source_port
        return self.result

    def stop(self) -> None:
        """Send no more; what is under way is waited for. From any thread."""
        self._engine.stop()

    def _take_in(self, reports: Mapping[str, Report]) -> None:
        self.result.take_in(reports, self._flows)


def _measurement(
    plan: MeasurePlan, place: int, address: SocketAddress, *, stamps_leaving: bool
) -> Measurement:
    first = place * plan.source_ports
    flows = []
    for number in range(first, first + plan.source_ports):
        key = SeriesKey(Path(_HERE, str(number), "measure"), plan.kind)
        flows.append(Flow(PathWindow(key, Window(0))))
    return Measurement(
        plan.targets[place],
        address,
        flows,
        authenticated=plan.secret is not None,
        dscp=plan.dscp,
        stamps_leaving=stamps_leaving,
    )


def _session_plan(plan: MeasurePlan, flow: Flow, place: int) -> SessionPlan:
    return SessionPlan(
        flow.total.key,
        round(plan.interval_s * plan.source_ports * NS_PER_S),
        round(plan.timeout_s * NS_PER_S),
        dscp=plan.dscp,
        port=place % plan.source_ports,
        secret=plan.secret,
        size=plan.size,
    )


def _share(count: int | None, turn: int, flows: int) -> int | None:
    """Return how many of `count` packets that leave in turn are a flow's."""
    return None if count is None else (count - turn + flows - 1) // flows


def _try_echo(address: SocketAddress) -> None:
    try:
        open_echo_socket(address, 0).close()
    except PermissionError as error:
        raise ConfigurationError(error.strerror or str(error)) from error
    except OSError:
        return  # no route yet, perhaps: what cannot be sent is unmeasured
