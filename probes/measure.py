"""A one-off measurement of one target from a shell."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analytics.figures import window_figures
from analytics.windows import PacketCounts, PathWindow, SeriesKey
from netslo.errors import ConfigurationError
from netslo.model import NS_PER_S, Endpoint, Path, ProbeKind, Window
from probes.address import SocketAddress, resolve
from probes.channel import REFUSED, Report
from probes.engine import Engine
from probes.engines import MeasuringEngine, new_engine
from probes.icmp.socket import open_echo_socket
from probes.session import RECENT, SessionPlan

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
    kind: ProbeKind = ProbeKind.STAMP  # or ICMP: then the target's port means nothing


@dataclass(slots=True)
class Measurement:
    """What came of it so far. `total` holds the sketches only when the measurement is over."""

    plan: MeasurePlan
    address: SocketAddress
    total: PathWindow = field(default_factory=lambda: PathWindow(_KEY, Window(0)))
    discarded: Counter[str] = field(default_factory=Counter)

    @property
    def where(self) -> str:
        """The address measured, with its port if it has one."""
        return str(self.address.sockaddr[0]) if self._echo else str(self.address)

    @property
    def _echo(self) -> bool:
        return self.plan.kind is ProbeKind.ICMP

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
            "target": self.plan.target.host if self._echo else str(self.plan.target),
            "address": self.where,
            "kind": self.plan.kind.value,
            **window_figures(self.total),
            "discarded": dict(self.discarded),
        }


class Measuring:
    """A measurement under way, in a thread of its own.

    Raises:
        ConfigurationError: the target does not resolve, or no echo is allowed; nothing was started.
    """

    def __init__(self, plan: MeasurePlan) -> None:
        key = SeriesKey(_KEY.path, plan.kind)
        self.result = Measurement(plan, _resolve(plan), PathWindow(key, Window(0)))
        session_plan = SessionPlan(
            key=key,
            interval_ns=round(plan.interval_s * NS_PER_S),
            timeout_ns=round(plan.timeout_s * NS_PER_S),
            dscp=plan.dscp,
        )
        if plan.kind is ProbeKind.ICMP:
            _try_echo(self.result.address)
            self._engine: MeasuringEngine = Engine(self.result.take_in)
        else:
            self._engine = new_engine(self.result.take_in)
        self._measured = self._engine.measure(
            session_plan,
            self.result.address,
            phase_ns=0,  # a person waits for the first packet
            count=plan.count,
        )
        self._failure: BaseException | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="measure", daemon=True)

    @property
    def counts(self) -> PacketCounts:
        """The packets settled so far."""
        return self._measured.totals

    @property
    def recent_rtt_s(self) -> NDArray[np.float64]:
        """The round trips of the last answers, at most `RECENT`, seconds."""
        return self._measured.recent_rtt_s(RECENT)

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


def _try_echo(address: SocketAddress) -> None:
    try:
        open_echo_socket(address, 0).close()
    except PermissionError as error:
        raise ConfigurationError(error.strerror or str(error)) from error
    except OSError:
        return  # no route yet, perhaps: what cannot be sent is unmeasured


def _resolve(plan: MeasurePlan) -> SocketAddress:
    try:
        return resolve(plan.target, plan.family)
    except OSError as error:
        kind = "" if plan.family is None else f" to an address of {_FAMILIES[plan.family]}"
        raise ConfigurationError(
            f"{plan.target.host} does not resolve{kind}: {error.strerror}"
        ) from error
