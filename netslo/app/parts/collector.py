"""The part that receives, keeps, judges and publishes."""

from __future__ import annotations

import asyncio
import pathlib
import time
from collections.abc import Callable, Sequence
from contextlib import closing

from analytics.collector.remote_writer import RemoteWrite
from analytics.collector.server import create_app, serve
from analytics.store.sqlite import SqliteStore
from analytics.warm_up import warm_up_behind
from netslo.app.children import Link
from netslo.estate import Estate
from netslo.model import Endpoint
from slo.api import routes
from slo.exposition import SloCollector
from slo.judge import Judge
from slo.objective import Objective
from slo.rules.exposition import ThresholdCollector
from slo.slice_totals import FILE_NAME as SLICES_FILE
from slo.slice_totals import SliceTotals
from slo.standings import Standings
from slo.totals import PersistentTotals


async def run_collector(
    estate: Estate,
    objectives: Sequence[Objective],
    store_file: pathlib.Path,
    listen: Endpoint,
    stop: asyncio.Event,
    on_ready: Callable[[Endpoint], None],
    remote_write: RemoteWrite | None = None,
) -> None:
    """Receive, keep and publish until `stop` is set; `on_ready` hears the bound address.

    Raises:
        NetsloError: the store cannot be opened or the address not be bound.
    """
    with closing(SqliteStore.open(store_file)) as store:
        warm_up_behind()
        store.declare_objectives({o.name: o.target_text for o in objectives}, time.time())
        exclusions = [exclusion for o in objectives for exclusion in o.exclusions]
        standings = Standings(store, objectives, estate, exclusions)
        judge = Judge(standings, objectives, estate)
        totals = PersistentTotals(store, exclusions=exclusions)
        slices = SliceTotals(store, objectives, store_file.with_name(SLICES_FILE), exclusions)
        app = create_app(
            store,
            estate,
            routes=routes(judge),
            collectors=[
                SloCollector(judge, lambda: slices.over(totals.read())),
                ThresholdCollector(objectives, estate, lambda: totals.exclusions),
            ],
            companions=[standings],
            remote_write=remote_write,
        )
        async with serve(app, listen.host, listen.port) as (host, port):
            on_ready(Endpoint(host, port))
            await stop.wait()


def collector_part(
    link: Link,
    estate: Estate,
    objectives: Sequence[Objective],
    store_file: pathlib.Path,
    listen: Endpoint,
) -> None:
    """Be the collector of one run; ready with the bound address."""

    async def run() -> None:
        stop = link.stop_event()
        await run_collector(estate, objectives, store_file, listen, stop, link.ready)

    asyncio.run(run())
