"""The part that receives, keeps, judges and publishes."""

from __future__ import annotations

import asyncio
import pathlib
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final

from analytics.collector.remote_writer import RemoteWrite
from analytics.collector.server import create_app, serve
from analytics.store.sqlite import SqliteStore
from analytics.warm_up import warm_up_behind
from dashboards.page.routes import Pages
from dashboards.page.source import Source
from netslo.app.children import Link
from netslo.estate import Estate
from netslo.model import Endpoint
from slo.api import routes as slo_routes
from slo.engine.api import routes as alert_routes
from slo.engine.engine import FILE_NAME as ALERTS
from slo.engine.engine import AlertEngine
from slo.exclusion_log import FILE_NAME as EXCLUSIONS
from slo.exclusion_watch import ExclusionWatch
from slo.exposition import SloCollector
from slo.forecast.forecaster import Forecaster
from slo.judge import Judge
from slo.objective import Objective
from slo.rules.exposition import ThresholdCollector
from slo.rules.texts import Links
from slo.slice_totals import FILE_NAME as SLICES_FILE
from slo.slice_totals import SliceTotals
from slo.standings import Standings
from slo.totals import FILE_NAME as EXCLUDED
from slo.totals import PersistentTotals

_ANYWHERE: Final = ("", "0.0.0.0", "::")  # noqa: S104 - to know them, not to listen


async def run_collector(
    estate: Estate,
    objectives: Sequence[Objective],
    store_file: pathlib.Path,
    listen: Endpoint,
    stop: asyncio.Event,
    on_ready: Callable[[Endpoint], None],
    remote_write: RemoteWrite | None = None,
    alertmanagers: Sequence[str] = (),
    links: Links | None = None,
) -> None:
    """Receive, keep and publish until `stop` is set; `on_ready` hears the bound address.

    Exclusions are read from beside the store, and alerts that were told are kept there.

    Args:
        estate: What is measured.
        objectives: What is promised.
        store_file: Where windows are kept.
        listen: Where to receive and publish.
        stop: Ends it.
        on_ready: Hears the bound address.
        remote_write: A Prometheus that is told all of /metrics.
        alertmanagers: Base URLs of who is told alerts; none shows them only.
        links: Where runbooks and dashboards are.

    Raises:
        NetsloError: the store cannot be opened or the address not be bound.
        ConfigurationError: the log of exclusions has faults, or a URL is none.
    """
    data_dir = store_file.parent
    with closing(SqliteStore.open(store_file)) as store:
        warm_up_behind()
        store.declare_objectives({o.name: o.target_text for o in objectives}, time.time())
        targets = store.targets()
        watch = ExclusionWatch(data_dir / EXCLUSIONS, objectives)
        standings = Standings(store, objectives, estate, watch.current())
        totals = PersistentTotals(
            store, data_dir / EXCLUDED, watch.current(), taken_back=watch.taken_back
        )
        watch.listen(standings.exclude)
        watch.listen(totals.exclude)
        forecaster = Forecaster(store, objectives, estate, watch.current())
        watch.listen(forecaster.exclude)
        judge = Judge(
            standings, objectives, estate, exhaustions=forecaster.current, targets=targets
        )
        slices = SliceTotals(store, objectives, data_dir / SLICES_FILE, watch.current())
        watch.listen(slices.exclude)
        engine = AlertEngine(
            standings,
            objectives,
            estate,
            alertmanagers,
            file=data_dir / ALERTS,
            exclusions=watch.current,
            links=links,
            targets=targets,
            source=source_of(listen),
            store=store,
        )
        source = Source(store, judge, engine.to_json, standing=standings.standing)
        pages = Pages(source)
        app = create_app(
            store,
            estate,
            routes=[*slo_routes(judge), *alert_routes(engine), *pages.routes()],
            collectors=[
                SloCollector(judge, lambda: slices.over(totals.read())),
                ThresholdCollector(objectives, estate, watch.current, targets=targets),
            ],
            companions=[watch, standings, engine, source, forecaster],
            remote_write=remote_write,
        )
        app.on_shutdown.append(pages.close)
        async with serve(app, listen.host, listen.port) as (host, port):
            on_ready(Endpoint(host, port))
            await stop.wait()
        totals.note()


def source_of(listen: Endpoint) -> str:
    """Return the collector's URL for others; empty where it listens says nothing of that."""
    anywhere = not listen.port or listen.host in _ANYWHERE
    return "" if anywhere else f"http://{listen}"


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
