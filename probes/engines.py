"""What an engine is to those who use one, and which one a host gets."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from analytics.windows import PacketCounts
from netslo.model import ProbeKind
from probes.address import SocketAddress
from probes.channel import Report
from probes.engine import Engine
from probes.instant import Instant
from probes.session import SessionPlan
from probes.timestamps import enable_timestamps
from probes.warm_up import warm_up


class Measured(Protocol):
    """A session of an engine, for whoever wants to look at it while it runs."""

    @property
    def totals(self) -> PacketCounts:
        """The packets settled so far."""

    @property
    def source_port(self) -> int | None:
        """The UDP port which its packets leave from; None while, or where, there is none."""

    def recent_rtt_s(self, packets: int) -> NDArray[np.float64]:
        """Return round trips of the last packets, oldest first, seconds."""


class MeasuringEngine(Protocol):
    """Runs sessions until each has finished, or until `stop`."""

    def measure(
        self,
        plan: SessionPlan,
        target: SocketAddress | None,
        *,
        start: Instant | None = None,
        phase_ns: int | None = None,
        count: int | None = None,
    ) -> Measured:
        """Add a session, before `run` or while it goes on; from any thread.

        Without a target its packets are unmeasured.
        """

    def retire(self, measured: Any) -> None:
        """Let nothing further of a session become due; from any thread."""

    def retarget(self, measured: Any, target: SocketAddress) -> None:
        """Send a session's packets to another address from now on; from any thread."""

    def stop(self) -> None:
        """Let nothing further become due; from any thread."""

    def run(self, *, until_stopped: bool = False) -> None:
        """Measure; returns when every session has finished and its windows were reported.

        `until_stopped`: and not before `stop`, for there may be further sessions.
        """


def fits_fast_engine(plan: SessionPlan) -> bool:
    """Whether the fast engine can do a session; the plain one can do each."""
    return plan.key.probe is ProbeKind.STAMP and not plan.size


def new_engine(on_report: Callable[[dict[str, Report]], None]) -> MeasuringEngine:
    """Return the fast engine where the host has what it needs, or else the plain one.

    Args:
        on_report: Called with the reports by source site, about once a second and whenever
            windows were closed, in the thread of `run`; must return quickly.
    """
    if tells_when_packets_leave() and warm_up():
        from probes.batched import BatchedEngine

        return BatchedEngine(on_report)
    return Engine(on_report)


def tells_when_packets_leave() -> bool:
    """Whether the kernel does: the fast engine reads answers too late to take times itself."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
            return enable_timestamps(trial, transmit=True)
    except OSError:
        return False
