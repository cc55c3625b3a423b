"""The part that measures."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Callable, Mapping, Sequence

from netslo.app.children import Link
from netslo.config.keys import read_keys
from netslo.estate import Estate
from netslo.model import Endpoint, Path, ProbeKind, SloThreshold
from probes.abilities import lacking
from probes.agent import Plan, ProbeAgent
from probes.bandwidth.agenda import RegularTest, plan_tests
from probes.bandwidth.evidence import shared_loads
from probes.plan import PathPlan, plan_paths
from probes.services.plan import plan_services


def plan_estate(
    estate: Estate,
    sites: Sequence[str],
    thresholds: Mapping[Path, tuple[SloThreshold, ...]],
    endpoints: Mapping[Path, Endpoint],
    states: Mapping[str, pathlib.Path] | None = None,
) -> tuple[Plan, ...]:
    """Plan what is measured from `sites`, and read the keys and certificates for it.

    A path is probed at its far site's first address, unless `endpoints` gives another. What
    bandwidth tests spoil, by the state directories of the sites, is no evidence.

    Raises:
        ConfigurationError: a file of keys or certificates is no good.
    """
    far = {path.dst for path in estate.paths if path.src in sites}
    keys = read_keys({file for site, file in estate.key_files.items() if site in far})
    loads = shared_loads(estate, states or {})
    between = plan_paths(estate, sites, thresholds, endpoints, keys, loads)
    services = plan_services(estate, sites, thresholds, loads)
    return (*between, *services, *plan_tests(estate, states or {}, keys))


def describe(plans: Sequence[Plan], sites: Sequence[str]) -> str:
    """Say what is measured from where."""
    tests = sum(isinstance(plan, RegularTest) for plan in plans)
    beside = f", testing the bandwidth of {tests}" if tests else ""
    return f"measuring {len(plans) - tests} paths from {', '.join(sites)}{beside}"


def new_agent(
    sites: Sequence[str],
    plans: Sequence[Plan],
    collector_url: str,
    spool_dir: pathlib.Path,
    say: Callable[[str], None],
) -> ProbeAgent:
    """Return an agent, having said what this host lacks."""
    measured = [plan for plan in plans if not isinstance(plan, RegularTest)]
    notices = lacking(
        echo=any(plan.key.probe is ProbeKind.ICMP for plan in measured),
        trace=any(isinstance(plan, PathPlan) and plan.watch is not None for plan in measured),
    )
    for notice in notices:
        say(f"this host has {notice}")
    return ProbeAgent(sites, plans, collector_url, spool_dir, notices=notices)


def probes_part(
    link: Link,
    plans: Sequence[Plan],
    sites: Sequence[str],
    collector_url: str,
    spool_dir: pathlib.Path,
) -> None:
    """Probe from several sites as part of one run; ready with the number of paths.

    Answers a request: `("reload", plans)`.
    """

    async def run() -> None:
        loop, stop = asyncio.get_running_loop(), link.stop_event()
        agent = new_agent(sites, plans, collector_url, spool_dir, lambda _: None)

        def reload(request: tuple[str, Sequence[Plan]]) -> None:
            loop.call_soon_threadsafe(agent.reload, request[1])

        def ready() -> None:
            link.ready(len(plans))
            link.answer_requests(reload)

        await agent.run(stop, on_ready=ready)

    asyncio.run(run())
