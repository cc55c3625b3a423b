"""The part that measures."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Callable, Mapping, Sequence

from netslo.app.children import Link
from netslo.estate import Estate
from netslo.model import Endpoint, Path, SloThreshold
from probes.agent import ProbeAgent


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
