"""A bandwidth test of one target: trains, round trips and loads, one after the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from netslo.errors import ConfigurationError, NetsloError
from netslo.model import NS_PER_S, Endpoint
from probes.address import SocketAddress, resolve
from probes.bandwidth.client import BandwidthClient, Refused, Unreachable
from probes.bandwidth.control import OCTETS_MAX
from probes.bandwidth.iperf3 import run_iperf3
from probes.bandwidth.load import NoSuchCongestionControl, Progress
from probes.bandwidth.loaded import (
    IDLE_S,
    STAMP_FRAME,
    Beside,
    Companion,
    ControlCompanion,
    StampCompanion,
    interval_beside,
    measure_idle,
)
from probes.bandwidth.plan import BandwidthPlan, Direction, Method
from probes.bandwidth.result import BandwidthResult, DirectionResult
from probes.bandwidth.trains import ETHERNET, IP4_UDP, PAYLOAD_MAX, octets_of

OCTETS_UNKNOWN: Final = 1_250_000_000  # of a load where trains say nothing: 1 Gbit/s for 10 s
_ROOM: Final = 1.25  # for a load, above what the trains let expect
_ROOM_OCTETS: Final = 2_000_000
_HEADERS: Final = 1514 / 1448  # frames by payload, TCP with timestamps over IPv4
_SESSION_S: Final = 30.0  # of each direction, beside its load
_CONTROL_OCTETS: Final = 100_000
_LOAD_OCTETS_MIN: Final = 100_000


class Spending(Protocol):
    """Allows octets before they are used, and learns how many were."""

    def allow(self, expected: int, most: int) -> None:
        """Take `most` from the budget, of which `expected` will be used.

        Raises:
            NetsloError: that is more than is left.
        """


class Unlimited:
    """Allows everything."""

    def allow(self, expected: int, most: int) -> None:
        pass


def resolve_target(target: Endpoint) -> SocketAddress:
    """Return the address of a target.

    Raises:
        ConfigurationError: the name does not resolve.
    """
    try:
        return resolve(target)
    except OSError as error:
        raise ConfigurationError(f"{target.host} does not resolve: {error.strerror}") from error


def session_seconds(plan: BandwidthPlan) -> float:
    """Return how long a test takes at most: the time to lease the bottleneck for."""
    return len(plan.directions) * (plan.seconds + _SESSION_S)


def octets_of_trains(plan: BandwidthPlan) -> int:
    """Return the octets of frames of all trains of one direction."""
    return octets_of(plan.trains, plan.packets, PAYLOAD_MAX, IP4_UDP) + _CONTROL_OCTETS


class BandwidthMeasuring:
    """A test under way. `run` in one thread; the rest is for whoever looks on.

    Args:
        plan: What to do.
        client: A control channel that has begun the test; None for iperf3.
        spending: Asked before each part; what it raises ends the test.
        usable: Whether the bottleneck is still leased; looked at all the time.
    """

    def __init__(
        self,
        plan: BandwidthPlan,
        client: BandwidthClient | None,
        spending: Spending | None = None,
        usable: Callable[[], bool] = lambda: True,
    ) -> None:
        self.plan = plan
        self.result = BandwidthResult(str(plan.target), plan.method)
        self.phase = ""
        self.progress = Progress()
        self._client = client
        self._spending = spending or Unlimited()
        self._usable = usable
        self._stop = threading.Event()
        self._companion: Companion | None = None
        self._uncounted = False  # a part was sent of which nobody knows how much
        if client is not None:
            self.result.address = str(client.target)

    @property
    def used(self) -> int | None:
        """Octets that the test used; None: it broke off, and nobody knows."""
        return None if self._uncounted else self.result.octets_used

    @property
    def octets(self) -> int:
        """What the load under way has carried so far."""
        return self.progress.octets

    def stop(self) -> None:
        """End early; from any thread."""
        self._stop.set()
        self.progress.stop = True

    def run(self) -> BandwidthResult:
        """Test each direction.

        Raises:
            NetsloError: the far end or the lease is gone, or the budget does not allow it; what
                was found before is in `result`.
        """
        for direction in self.plan.directions:
            if self._stop.is_set():
                break
            found = DirectionResult(direction, self.plan.method, began_ns=time.time_ns())
            self.result.directions.append(found)
            try:
                self._test(found)
            except (Refused, Unreachable, NoSuchCongestionControl) as error:
                found.failure = str(error)
                raise
            finally:
                found.ended_ns = time.time_ns()
        self.result.stopped = self._stop.is_set()
        return self.result

    def check_lease(self) -> None:
        """End the test if the bottleneck is not its own any more."""
        if not self._usable():
            self.stop()

    def _test(self, found: DirectionResult) -> None:
        if self.plan.method is Method.IPERF3:
            self._load_by_iperf3(found)
            return
        if self.plan.method is Method.TRAIN or self.plan.octets_max is None:
            self._trains(found)
        if self.plan.method is Method.TCP and not self._stop.is_set():
            self._load(found)

    def _trains(self, found: DirectionResult) -> None:
        octets = octets_of_trains(self.plan)
        self._allow(octets, octets)
        self.phase = f"trains, {found.direction}"

        def note(trains: int) -> None:
            self.phase = f"trains, {found.direction}: {trains} of {self.plan.trains}"
            self.check_lease()

        self._uncounted = True
        found.capacity = self._far.trains(
            found.direction, self.plan.trains, self.plan.packets, note, self._stop
        )
        self.result.octets_used += found.capacity.octets
        self._uncounted = False

    def _load(self, found: DirectionResult) -> None:
        capacity = found.capacity
        expected, most = octets_of_load(self.plan, None if capacity is None else capacity.bit_per_s)
        self._allow(expected, most)
        companion = self._idle(found)
        self.phase = f"TCP, {found.direction}"
        self.progress = Progress(stop=self._stop.is_set())
        payload = int((most - _beside_octets(self.plan)) / _HEADERS)
        payload = min(max(payload, 1), OCTETS_MAX)
        plan = self.plan

        def load() -> None:
            found.throughput, found.received = self._far.load(
                found.direction, plan.streams, plan.seconds, payload, plan.congestion, self.progress
            )

        found.began_ns = time.time_ns()
        self._beside(found, companion, load)
        if found.throughput is not None:
            self.result.octets_used += int(found.throughput.octets * _HEADERS)

    def _load_by_iperf3(self, found: DirectionResult) -> None:
        plan = self.plan
        expected, most = octets_of_load(plan, None)
        self._allow(expected, most)
        companion = self._idle(found)
        self.phase = f"iperf3, {found.direction}"
        self.progress = Progress(stop=self._stop.is_set())

        def load() -> None:
            found.throughput, found.received = run_iperf3(
                plan.target,
                found.direction,
                plan.streams,
                plan.seconds,
                plan.congestion,
                self.progress,
            )

        found.began_ns = time.time_ns()
        self._beside(found, companion, load)
        if found.throughput is not None:
            self.result.octets_used += int(found.throughput.octets * _HEADERS)

    def _beside(
        self, found: DirectionResult, companion: Companion | None, load: Callable[[], None]
    ) -> None:
        """Run a load, with round trips beside it where there is a companion."""
        if companion is not None:
            self.result.octets_used += _beside_octets(self.plan)
        try:
            if companion is None or found.loaded is None:
                load()
            else:
                with Beside(companion, found.loaded, self.progress):
                    load()
        finally:
            self._uncounted = self.progress.begun and found.throughput is None
        if self.progress.begun:
            past_s = time.monotonic() - self.progress.began_s
            found.load_began_ns = time.time_ns() - round(past_s * NS_PER_S)

    def _idle(self, found: DirectionResult) -> Companion | None:
        """Measure round trips without load; return by what, or None where that is not wanted."""
        if not self.plan.loaded_latency or self._stop.is_set():
            return None
        companions = self._companions(found)
        if not companions:
            return None
        self.phase = "round trips without load"
        companion, found.loaded = measure_idle(companions, self._stop)
        return companion

    def _companions(self, found: DirectionResult) -> list[Companion]:
        """Return what can measure round trips, the best first."""
        found_bit_s = None if found.capacity is None else found.capacity.bit_per_s
        companions: list[Companion] = []
        reflector = self.plan.stamp
        client = self._client
        if reflector is None and client is not None and client.stamp_port is not None:
            reflector = Endpoint(client.target.host, client.stamp_port)
        if reflector is not None:
            interval_s = interval_beside(found_bit_s)
            companions.append(StampCompanion(reflector, self.plan.secret, interval_s))
        if client is not None:
            companions.append(ControlCompanion(client))
        return companions

    def _allow(self, expected: int, most: int) -> None:
        self._spending.allow(expected, most)
        self.result.octets_reserved += most

    @property
    def _far(self) -> BandwidthClient:
        if self._client is None:
            raise NetsloError("no control channel")
        return self._client


def octets_least(plan: BandwidthPlan) -> int:
    """Return the least that `octets_max` may be: TCP's share of it has to be worth a test."""
    return _beside_octets(plan) + _LOAD_OCTETS_MIN


def octets_of_load(plan: BandwidthPlan, bit_per_s: float | None) -> tuple[int, int]:
    """Return the octets of frames that a load is expected to take, and takes at most.

    Args:
        plan: The test.
        bit_per_s: What trains found, for IP packets; None: nothing.
    """
    beside = _beside_octets(plan)
    if plan.octets_max is not None:
        return plan.octets_max, plan.octets_max
    if bit_per_s is None:
        return OCTETS_UNKNOWN + beside, OCTETS_UNKNOWN + beside
    expected = bit_per_s * (1 + ETHERNET / (PAYLOAD_MAX + IP4_UDP)) * plan.seconds / 8
    return int(expected) + beside, int(expected * _ROOM) + _ROOM_OCTETS + beside


def _beside_octets(plan: BandwidthPlan) -> int:
    """Return the octets of packets that measure round trips in one direction's test, both ways."""
    if not plan.loaded_latency:
        return 0
    return int((IDLE_S + plan.seconds) / interval_beside(None) * STAMP_FRAME * 2)


__all__ = [
    "BandwidthMeasuring",
    "Direction",
    "Spending",
    "octets_of_load",
    "octets_of_trains",
    "resolve_target",
    "session_seconds",
]
