"""A one-off measurement of one or several targets from a shell."""

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
from analytics.sketch import Sketch
from analytics.summary import distribution
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
_HERE: Final = "here"  # a measurement is of no estate
LATE_S: Final = 0.001  # a packet that left later is said to be late


@dataclass(frozen=True, slots=True)
class MeasurePlan:
    """What to measure; `count` packets to each target, None goes on until stopped."""

    targets: tuple[Endpoint, ...]
    interval_s: float = 0.2
    timeout_s: float = 1.0
    count: int | None = None
    dscp: int = 0
    family: socket.AddressFamily | None = None
    kind: ProbeKind = ProbeKind.STAMP  # or ICMP: then a target's port means nothing


@dataclass(slots=True)
class Measurement:
    """What came of one target. `total` holds the sketches only when the measurement is over."""

    target: Endpoint
    address: SocketAddress
    total: PathWindow

    @property
    def kind(self) -> ProbeKind:
        return self.total.key.probe

    @property
    def name(self) -> str:
        """The target as the user wrote it, with its port if it has one."""
        return self.target.host if self.kind is ProbeKind.ICMP else str(self.target)

    @property
    def where(self) -> str:
        """The address measured, with its port if it has one."""
        echo = self.kind is ProbeKind.ICMP
        return str(self.address.sockaddr[0]) if echo else str(self.address)

    def to_json(self) -> dict[str, Any]:
        """Return the stable shape of a target's figures; what is not known is null."""
        return {
            "target": self.name,
            "address": self.where,
            "kind": self.kind.value,
            **window_figures(self.total),
        }


@dataclass(slots=True)
class Measurements:
    """What came of all targets, and of the prober itself."""

    targets: list[Measurement]
    discarded: Counter[str] = field(default_factory=Counter)
    lateness: Sketch = field(default_factory=Sketch)  # of the packets sent, seconds
    late: int = 0  # packets that left more than LATE_S after they were due

    @property
    def packets(self) -> PacketCounts:
        """The packets of all targets."""
        whole = PacketCounts()
        for measurement in self.targets:
            whole.add(measurement.total.packets)
        return whole

    @property
    def refused(self) -> bool:
        """Whether a target's host said that nothing listens on the port."""
        return self.discarded[REFUSED] > 0

    def take_in(self, reports: Mapping[str, Report]) -> None:
        """Add what the engine reports."""
        for report in reports.values():
            for window in report.windows:
                self.targets[int(window.key.path.dst)].total.absorb(window)
            self.discarded += report.discarded
            late_s = np.array(report.lateness_s)
            self.lateness.add(late_s)
            self.late += int((late_s > LATE_S).sum())

    def to_json(self) -> dict[str, Any]:
        """Return the stable shape of `measure rtt --json`; of several targets, a list of them."""
        prober = {
            "send_lateness": distribution(self.lateness),
            "late": self.late,
            "discarded": dict(self.discarded),
        }
        shapes = [measurement.to_json() for measurement in self.targets]
        return {**shapes[0], **prober} if len(shapes) == 1 else {"targets": shapes, **prober}


class Measuring:
    """A measurement under way, in a thread of its own.

    Raises:
        ConfigurationError: a target does not resolve, or no echo is allowed; nothing was started.
    """

    def __init__(self, plan: MeasurePlan) -> None:
        found = [_resolve(target, plan.family) for target in plan.targets]
        keys = [SeriesKey(Path(_HERE, str(n), "measure"), plan.kind) for n in range(len(found))]
        self.result = Measurements(
            [
                Measurement(target, address, PathWindow(key, Window(0)))
                for target, address, key in zip(plan.targets, found, keys, strict=True)
            ]
        )
        if plan.kind is ProbeKind.ICMP:
            _try_echo(found[0])
            self._engine: MeasuringEngine = Engine(self.result.take_in)
        else:
            self._engine = new_engine(self.result.take_in)
        interval_ns, timeout_ns = (
            round(each_s * NS_PER_S) for each_s in (plan.interval_s, plan.timeout_s)
        )
        self._measured = [
            self._engine.measure(
                SessionPlan(key, interval_ns, timeout_ns, dscp=plan.dscp),
                address,
                phase_ns=place * interval_ns // len(found),  # the first at once: a person waits
                count=plan.count,
            )
            for place, (key, address) in enumerate(zip(keys, found, strict=True))
        ]
        self._failure: BaseException | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="measure", daemon=True)

    @property
    def counts(self) -> list[PacketCounts]:
        """The packets settled so far, by target."""
        return [measured.totals for measured in self._measured]

    def recent_rtt_s(self, place: int) -> NDArray[np.float64]:
        """Return round trips of a target's last answers, at most `RECENT`, seconds."""
        return self._measured[place].recent_rtt_s(RECENT)

    def run(self, on_tick: Callable[[], None], tick_s: float = 0.1) -> Measurements:
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


def _resolve(target: Endpoint, family: socket.AddressFamily | None) -> SocketAddress:
    try:
        return resolve(target, family)
    except OSError as error:
        kind = "" if family is None else f" to an address of {_FAMILIES[family]}"
        raise ConfigurationError(
            f"{target.host} does not resolve{kind}: {error.strerror}"
        ) from error
