"""The probe of one or several sites: measures their paths and delivers what it counted."""

from __future__ import annotations

import asyncio
import logging
import pathlib
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from analytics.windows import SeriesKey
from netslo.estate import Estate
from netslo.model import NS_PER_S, Endpoint, Path, SloThreshold
from probes.address import SocketAddress, resolve
from probes.channel import Report
from probes.engines import Measured, MeasuringEngine, new_engine
from probes.instant import read_clocks
from probes.outbox import Outbox
from probes.session import SessionPlan

_log = logging.getLogger(__name__)

RESOLVE_WAIT_S: Final = 5.0  # before the start; names that take longer join later
RESOLVE_RETRY_S: Final = 30.0
LINGER_S: Final = 0.25  # windows end together: what closes in this time is one batch
DRAIN_S: Final = 5.0


class ProbeAgent:
    """Measures every path of `endpoints` that starts at one of `sites`.

    One thread measures for all of them; each site has its own instance id, batches and spool
    (`spool_dir/SITE`). A target whose name does not resolve is unmeasured until it does.

    Args:
        estate: Classes and probing plan.
        sites: The sites this process stands at.
        thresholds: What to count good and bad at, by path.
        endpoints: Where each path is probed.
        collector_url: The collector's base URL, `http://HOST:PORT`.
        spool_dir: Where batches wait for the collector.
    """

    def __init__(
        self,
        estate: Estate,
        sites: Sequence[str],
        thresholds: Mapping[Path, tuple[SloThreshold, ...]],
        endpoints: Mapping[Path, Endpoint],
        collector_url: str,
        spool_dir: pathlib.Path,
    ) -> None:
        self._estate = estate
        self._sites = tuple(sites)
        self._thresholds = thresholds
        self._endpoints = {path: at for path, at in endpoints.items() if path.src in self._sites}
        self._collector_url = collector_url
        self._spool_dir = spool_dir
        self._outboxes: dict[str, Outbox] = {}
        self._arrived = asyncio.Event()  # windows to ship, or the end

    async def run(self, stop: asyncio.Event, *, on_ready: Callable[[], None] | None = None) -> None:
        """Measure until `stop` is set, then deliver what is left, for a few seconds at most.

        What the collector did not take stays in the spool for the next start.

        Raises:
            NetsloError: a spool cannot be used; nothing was started.
        """
        try:
            for site in self._sites:
                outbox = Outbox(site, self._collector_url, self._spool_dir / site)
                self._outboxes[site] = outbox
            # Not the loop's own threads: names that resolve slowly may occupy all of those.
            with ThreadPoolExecutor(2, thread_name_prefix="probe") as threads:
                async with asyncio.TaskGroup() as tasks:
                    await self._work(tasks, threads, stop, on_ready)
            await asyncio.gather(*(x.deliverer.drain(DRAIN_S) for x in self._outboxes.values()))
        finally:
            closing = (asyncio.to_thread(outbox.close) for outbox in self._outboxes.values())
            await asyncio.gather(*closing)

    async def _work(
        self,
        tasks: asyncio.TaskGroup,
        threads: Executor,
        stop: asyncio.Event,
        on_ready: Callable[[], None] | None,
    ) -> None:
        """Measure, ship and deliver side by side; `ended` says that the last report is in."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        engine = new_engine(lambda reports: _post(loop, self._take_in, reports))
        joining = await self._add_sessions(engine, tasks)
        tasks.create_task(self._ship(threads, ended))
        for outbox in self._outboxes.values():
            tasks.create_task(outbox.deliverer.run(ended))
        measuring = loop.run_in_executor(threads, engine.run)
        try:
            if on_ready is not None:
                on_ready()
            stopping = tasks.create_task(stop.wait())
            either: list[asyncio.Future[Any]] = [measuring, stopping]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not measuring.done() or measuring.exception() is None:
                await stopping  # an engine without a session has nothing to do
        finally:
            for task in joining:
                task.cancel()
            engine.stop()
            await asyncio.wait([measuring])
            ended.set()
            self._arrived.set()
        measuring.result()

    async def _add_sessions(
        self, engine: MeasuringEngine, tasks: asyncio.TaskGroup
    ) -> list[asyncio.Task[None]]:
        """Resolve the targets and add a session for each path; return the tasks still resolving."""
        attempts = {at: tasks.create_task(_attempt(at)) for at in set(self._endpoints.values())}
        if attempts:
            await asyncio.wait(attempts.values(), timeout=RESOLVE_WAIT_S)
        channels: dict[Endpoint, list[Measured]] = {at: [] for at in attempts}
        start = read_clocks()
        for path, at in self._endpoints.items():
            address = attempts[at].result() if attempts[at].done() else None
            channel = engine.measure(self._session_plan(path), address, start=start)
            if address is None:
                channels[at].append(channel)
        return [
            tasks.create_task(_join(engine, at, attempts[at], waiting))
            for at, waiting in channels.items()
            if waiting
        ]

    def _session_plan(self, path: Path) -> SessionPlan:
        return SessionPlan(
            key=SeriesKey(path),
            interval_ns=round(self._estate.plan.interval_s * NS_PER_S),
            timeout_ns=round(self._estate.plan.timeout_s * NS_PER_S),
            thresholds=self._thresholds.get(path, ()),
            dscp=self._estate.classes[path.traffic_class].dscp,
        )

    def _take_in(self, reports: Mapping[str, Report]) -> None:
        for site, report in reports.items():
            self._outboxes[site].take_in(report)
            if report.windows:
                self._arrived.set()

    async def _ship(self, threads: Executor, ended: asyncio.Event) -> None:
        """Spool the windows of each site as one batch whenever some were closed."""
        loop = asyncio.get_running_loop()
        ending = False
        while not ending:
            await self._arrived.wait()
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), LINGER_S)
            self._arrived.clear()
            ending = ended.is_set()  # then nothing arrives any more
            for outbox in self._outboxes.values():
                windows = outbox.take_windows()
                if windows:
                    await loop.run_in_executor(threads, outbox.put, windows)


def _post(
    loop: asyncio.AbstractEventLoop,
    take_in: Callable[[Mapping[str, Report]], None],
    reports: Mapping[str, Report],
) -> None:
    """Hand reports to the loop's thread; a loop that has been closed wants none."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(take_in, reports)


async def _attempt(endpoint: Endpoint) -> SocketAddress | None:
    """Resolve once; None when it does not resolve."""
    try:
        return await asyncio.to_thread(resolve, endpoint)
    except OSError as error:
        _log.warning("%s does not resolve: %s", endpoint.host, error.strerror)
        return None


async def _join(
    engine: MeasuringEngine,
    endpoint: Endpoint,
    attempt: asyncio.Task[SocketAddress | None],
    channels: Sequence[Measured],
) -> None:
    """Give channels their target as soon as its name resolves."""
    address = await attempt
    while address is None:
        await asyncio.sleep(RESOLVE_RETRY_S * random.uniform(0.5, 1.5))
        address = await _attempt(endpoint)
    for channel in channels:
        engine.retarget(channel, address)
