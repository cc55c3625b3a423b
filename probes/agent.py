"""The probe of one or several sites: measures their paths and delivers what it counted."""

from __future__ import annotations

import asyncio
import logging
import pathlib
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from analytics.windows import SeriesKey
from netslo.estate import Estate
from netslo.model import NS_PER_S, Endpoint, Path, SloThreshold
from probes.address import SocketAddress, resolve
from probes.channel import Channel, Report
from probes.engine import Engine
from probes.instant import read_clocks
from probes.outbox import Outbox
from probes.session import Session, SessionPlan

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

    async def run(self, stop: asyncio.Event, *, on_ready: Callable[[], None] | None = None) -> None:
        """Measure until `stop` is set, then deliver what is left, for a few seconds at most.

        What the collector did not take stays in the spool for the next start.

        Raises:
            NetsloError: a spool cannot be used; nothing was started.
        """
        with ExitStack() as opened:
            for site in self._sites:
                outbox = Outbox(site, self._collector_url, self._spool_dir / site)
                opened.callback(outbox.close)
                self._outboxes[site] = outbox
            async with asyncio.TaskGroup() as tasks:
                await self._work(tasks, stop, on_ready)
            await asyncio.gather(*(x.deliverer.drain(DRAIN_S) for x in self._outboxes.values()))

    async def _work(
        self,
        tasks: asyncio.TaskGroup,
        stop: asyncio.Event,
        on_ready: Callable[[], None] | None,
    ) -> None:
        ended = asyncio.Event()  # the engine's last report is in
        loop = asyncio.get_running_loop()
        engine = Engine(lambda reports: loop.call_soon_threadsafe(self._take_in, reports))
        joining = [tasks.create_task(x) for x in await self._add_sessions(engine)]
        shipping = tasks.create_task(self._ship(ended))
        delivering = [
            tasks.create_task(x.deliverer.run(ended)) for x in self._outboxes.values()
        ]
        measuring = loop.run_in_executor(None, engine.run)
        try:
            if on_ready is not None:
                on_ready()
            stopping = tasks.create_task(stop.wait())
            await asyncio.wait([measuring, stopping], return_when=asyncio.FIRST_COMPLETED)
            if measuring.done():
                measuring.result()  # raises, if it ended by a fault
            await stopping
        finally:
            for task in joining:
                task.cancel()
            engine.stop()
            await measuring
            ended.set()
        await asyncio.gather(shipping, *delivering)

    async def _add_sessions(self, engine: Engine) -> list[Callable[[], None]]:
        raise NotImplementedError

    def _take_in(self, reports: Mapping[str, Report]) -> None:
        for site, report in reports.items():
            self._outboxes[site].take_in(report)
