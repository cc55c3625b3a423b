"""The agent's traces: every path from time to time, and out of turn when its windows say so."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from analytics.windows import PathWindow, SeriesKey
from netslo.estate import TraceSettings
from netslo.model import Endpoint, Path
from netslo.route import FLOWS_MAX, RouteObservation, TraceProtocol
from probes.address import SocketAddress
from probes.trace.carrier import PORTS
from probes.trace.memory import Remembered, RouteMemory, Way
from probes.trace.once import PathTrace, TraceResult
from probes.trace.steps import Cause, StepDetector
from probes.trace.tracing import TracePlan

_log = logging.getLogger(__name__)

FIRST_S: Final = 30.0  # after the start each path is traced within this, or its interval
AGAIN_S: Final = 30.0  # between traces of one path, whatever its windows say
SETTLE_S: Final = 1.0  # from a window that says so to the trace: routing may be at it yet
MTU_EVERY_S: Final = 3600.0
PATHS_PER_WORKER: Final = 64  # that are traced in turn; each at a time loads the first routers
WORKERS_MAX: Final = 8

REACHED: Final = "reached"
NOT_REACHED: Final = "not_reached"  # by one of the flows at least
FAILED: Final = "failed"  # no trace: no route to the target, no permission, no address

_DEFAULT_PORTS: Final = {TraceProtocol.UDP: 33434, TraceProtocol.TCP: 443, TraceProtocol.ICMP: 0}


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """How often and how the routes of one path are traced."""

    interval_s: float
    trace: TracePlan


@dataclass(frozen=True, slots=True)
class TraceReport:
    """What one trace of a path came to."""

    result: str  # REACHED, NOT_REACHED or FAILED
    observations: tuple[RouteObservation, ...] = ()
    discarded: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Watched:
    """One path whose routes are watched."""

    key: SeriesKey
    plan: WatchPlan
    endpoint: Endpoint
    address: SocketAddress | None
    next_s: float  # of the loop's clock
    memory: RouteMemory
    detector: StepDetector = field(default_factory=StepDetector)
    begun_s: float = -1e9
    running: PathTrace | None = None
    lengths: Mapping[int, int] = field(default_factory=dict)
    mtus: dict[int, int | None] | None = None
    mtu_s: float = 0.0  # when they were searched
    trouble: str = ""  # said once, not at every attempt

    @property
    def path(self) -> Path:
        return self.key.path

    @property
    def way(self) -> Way | None:
        """What its packets are traced by; None: nobody knows the address."""
        if self.address is None:
            return None
        trace = self.plan.trace
        return Way(self.address.host, trace.protocol, trace.port, trace.source_port, trace.dscp)

    def forget(self, known: Remembered | None = None) -> None:
        """Begin anew, with what is known of this target if anything is."""
        same = known is not None and known.way == self.way
        self.memory = RouteMemory(self.path, known.sights if known is not None and same else ())
        self.lengths, self.mtus = {}, None


def plan_watch(settings: TraceSettings | None, path: Path, dscp: int) -> WatchPlan | None:
    """Return how a path is traced by the estate's plan; None: not at all.

    The flows of a path have the same ports in every trace, also after a restart: another port
    might take another branch, which would not be a change.
    """
    if settings is None:
        return None
    digest = hashlib.blake2b(path.id.encode(), digest_size=4).digest()
    blocks = len(PORTS) // FLOWS_MAX
    trace = TracePlan(
        protocol=settings.protocol,
        port=settings.port or _DEFAULT_PORTS[settings.protocol],
        flows=settings.flows,
        source_port=PORTS[int.from_bytes(digest) % blocks * FLOWS_MAX],
        dscp=dscp,
    )
    return WatchPlan(settings.interval_s, trace)


class RouteWatch:
    """Traces the paths it is given. All methods belong to one event loop.

    Args:
        on_report: Told what became of each trace, by the source site of its path.
        known: The routes of a run before this one: what has changed since is a change.
    """

    def __init__(
        self,
        on_report: Callable[[str, TraceReport], None],
        known: Mapping[SeriesKey, Remembered] | None = None,
    ) -> None:
        self._on_report = on_report
        self._known = dict(known or {})
        self._watched: dict[SeriesKey, _Watched] = {}
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(WORKERS_MAX, thread_name_prefix="trace")

    def arrange(
        self,
        wanted: Mapping[SeriesKey, tuple[WatchPlan, Endpoint]],
        addresses: Mapping[Endpoint, tuple[SocketAddress, ...]],
    ) -> None:
        """Watch these paths and no others; what is the same goes on untouched."""
        now_s = asyncio.get_running_loop().time()
        for key in [key for key in self._watched if key not in wanted]:
            self._end(self._watched.pop(key))
        self._known = {key: each for key, each in self._known.items() if key in wanted}
        for key, (plan, endpoint) in wanted.items():
            address = next(iter(addresses.get(endpoint, ())), None)
            watched = self._watched.get(key)
            if watched is not None and (watched.plan, watched.endpoint) == (plan, endpoint):
                continue
            if watched is not None:
                self._end(watched)
            first_s = now_s + random.uniform(0, min(FIRST_S, plan.interval_s))
            memory = RouteMemory(key.path)
            watched = _Watched(key, plan, endpoint, address, first_s, memory)
            watched.forget(self._known.get(key))
            self._watched[key] = watched
        self._changed.set()

    def redirect(self, endpoint: Endpoint, addresses: tuple[SocketAddress, ...]) -> None:
        """Trace an endpoint's paths to its first address from now on."""
        address = next(iter(addresses), None)
        for watched in self._watched.values():
            if watched.endpoint == endpoint and watched.address != address:
                watched.address = address
                watched.forget(self._known.get(watched.key))

    def known(self, site: str) -> dict[SeriesKey, Remembered]:
        """Return what is known of the routes from a site, with all that was reported."""
        return {key: each for key, each in self._known.items() if key.path.src == site}

    def look(self, windows: Iterable[PathWindow]) -> None:
        """Look at windows that were closed, and trace the paths in which something changed."""
        for window in windows:
            watched = self._watched.get(window.key)
            cause = None if watched is None else watched.detector.look(window)
            if watched is not None and cause is not None:
                self._hasten(watched, cause)

    async def run(self) -> None:
        """Trace until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            now_s = loop.time()
            for watched in sorted(self._watched.values(), key=lambda each: each.next_s):
                if watched.next_s <= now_s and watched.running is None and self._has_room:
                    self._begin(watched, now_s)
            waiting = [w.next_s for w in self._watched.values() if w.running is None]
            pause_s = None
            if waiting and self._has_room:
                pause_s = max(0.0, min(waiting) - loop.time())
            # Not wait_for, which in Python 3.11 may swallow that we are cancelled.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()

    async def close(self) -> None:
        """End the traces under way; what they found is not told."""
        for watched in self._watched.values():
            self._end(watched)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=False)

    @property
    def _has_room(self) -> bool:
        return len(self._tasks) < min(WORKERS_MAX, 1 + len(self._watched) // PATHS_PER_WORKER)

    def _hasten(self, watched: _Watched, cause: Cause) -> None:
        """Trace a path soon, but not too often: the last cause of a series is not lost."""
        now_s = asyncio.get_running_loop().time()
        soon_s = max(now_s + SETTLE_S, watched.begun_s + min(AGAIN_S, watched.plan.interval_s))
        if soon_s < watched.next_s:
            _log.info("%s: %s; its routes are traced", watched.path, cause)
            watched.next_s = soon_s
            self._changed.set()

    def _begin(self, watched: _Watched, now_s: float) -> None:
        watched.begun_s, watched.next_s = now_s, now_s + watched.plan.interval_s
        if watched.address is None:
            self._failed(watched, f"{watched.endpoint.host} does not resolve")
            return
        fresh = now_s - watched.mtu_s < MTU_EVERY_S
        watched.running = PathTrace(
            watched.plan.trace,
            watched.address,
            watched.memory.differs,
            watched.lengths,
            watched.mtus if fresh else None,
        )
        task = asyncio.create_task(self._trace(watched, watched.running, watched.memory))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()

    async def _trace(self, watched: _Watched, trace: PathTrace, memory: RouteMemory) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, trace.run)
        except OSError as error:
            self._failed(watched, error.strerror or str(error))
            return
        finally:
            watched.running = None
        # Where the target has moved meanwhile, or nobody wants to know any more, it is no news.
        if found is not None and watched.memory is memory:
            self._take_in(watched, found)

    def _take_in(self, watched: _Watched, found: TraceResult) -> None:
        watched.trouble = ""
        watched.lengths = found.lengths
        if found.searched:
            watched.mtus = {route.flow: route.path_mtu for route in found.routes}
            watched.mtu_s = asyncio.get_running_loop().time()
        observations = tuple(
            watched.memory.observe(route, found.ended_ns) for route in found.routes
        )
        if watched.way is not None:
            self._known[watched.key] = Remembered(watched.way, watched.memory.sights)
        for seen in observations:
            if seen.previous is not None:
                _log.info(
                    "%s, flow %d: another route: %s, before %s",
                    watched.path,
                    seen.route.flow,
                    " ".join(map(str, seen.route.hops)) or "nobody answers",
                    " ".join(map(str, seen.previous.hops)) or "nobody answered",
                )
        result = REACHED if all(route.reached for route in found.routes) else NOT_REACHED
        self._on_report(watched.path.src, TraceReport(result, observations, found.discarded))

    def _failed(self, watched: _Watched, trouble: str) -> None:
        if trouble != watched.trouble:
            watched.trouble = trouble
            _log.warning("%s: its routes cannot be traced: %s", watched.path, trouble)
        self._on_report(watched.path.src, TraceReport(FAILED))

    def _end(self, watched: _Watched) -> None:
        watched.forget()
        if watched.running is not None:
            watched.running.stop()
