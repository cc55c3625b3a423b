"""The parts of a running estate: collector, reflectors, probes and the WAN emulator.

Each of the first three runs alone from the command line on its own host; a run on one host
starts them as child processes through the functions that take a `Link`.
"""

from __future__ import annotations

import asyncio
import pathlib
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

from analytics.collector.server import create_app, serve
from analytics.store.sqlite import SqliteStore
from netslo.app.children import Link
from netslo.estate import Estate
from netslo.model import Endpoint, Path, SloThreshold
from probes.agent import ProbeAgent
from probes.emulator.relay import Emulator, estate_flows
from probes.reflector import ReflectorServer
from slo.api import routes
from slo.exposition import SloCollector
from slo.objective import Objective


def stop_on_signals() -> asyncio.Event:
    """Return an event of the running loop which SIGTERM and SIGINT set."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    return event


async def run_collector(
    estate: Estate,
    objectives: Sequence[Objective],
    store_file: pathlib.Path,
    listen: Endpoint,
    stop: asyncio.Event,
    on_ready: Callable[[Endpoint], None],
) -> None:
    """Receive, keep and publish until `stop` is set; `on_ready` hears the bound address.

    Raises:
        NetsloError: the store cannot be opened or the address not be bound.
    """
    with (
        closing(SqliteStore.open(store_file)) as writer,
        closing(SqliteStore.open(store_file, readonly=True)) as reader,
    ):
        writer.declare_objectives({o.name: o.target_text for o in objectives}, time.time())
        app = create_app(
            writer,
            reader,
            estate,
            routes=routes(reader, objectives, estate),
            collectors=[SloCollector(reader, objectives, estate)],
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


def reflectors_part(link: Link, listen: Mapping[str, Endpoint]) -> None:
    """Answer for several sites; ready with the bound address of each."""
    server = ReflectorServer(listen.values())
    link.ready(dict(zip(listen, server.endpoints, strict=True)))
    server.run(link.stopped)


async def run_probes(
    estate: Estate,
    sites: Sequence[str],
    thresholds: Mapping[Path, tuple[SloThreshold, ...]],
    endpoints: Mapping[Path, Endpoint],
    collector_url: str,
    spool_dir: pathlib.Path,
    stop: asyncio.Event,
    on_ready: Callable[[int], None],
) -> None:
    """Measure every path that starts at one of `sites` until `stop` is set.

    A path is probed at its far site's first address, unless `endpoints` gives another.
    """
    paths = [path for path in estate.paths if path.src in sites]
    targets = {path: endpoints.get(path) or estate.sites[path.dst].addresses[0] for path in paths}
    agent = ProbeAgent(estate, sites, thresholds, targets, collector_url, spool_dir)
    await agent.run(stop, on_ready=lambda: on_ready(len(paths)))


def probes_part(
    link: Link,
    estate: Estate,
    sites: Sequence[str],
    thresholds: Mapping[Path, tuple[SloThreshold, ...]],
    endpoints: Mapping[Path, Endpoint],
    collector_url: str,
    spool_dir: pathlib.Path,
) -> None:
    """Probe from several sites as part of one run; ready with the number of paths."""

    async def run() -> None:
        stop = link.stop_event()
        await run_probes(
            estate, sites, thresholds, endpoints, collector_url, spool_dir, stop, link.ready
        )

    asyncio.run(run())


def emulator_part(
    link: Link, estate: Estate, targets: Mapping[str, Endpoint], seed: int | None
) -> None:
    """Carry every path of the estate over an emulated WAN; ready with the port of each path.

    Answers two requests: `("degrade", path, impairment or None)` and `("truth",)`, the
    log's own figures by path.
    """
    emulator = Emulator(estate_flows(estate, targets, seed))

    def handle(request: tuple[Any, ...]) -> Any:
        if request[0] == "degrade":
            emulator.degrade(request[1], request[2])
            return None
        return {path: emulator.truth(path) for path in estate.paths}

    link.answer_requests(handle)
    link.ready(emulator.ports)
    emulator.run(link.stopped)
