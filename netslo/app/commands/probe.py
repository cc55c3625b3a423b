"""`netslo probe`: measure from one site, or from several."""

from __future__ import annotations

import asyncio
import pathlib
from typing import TYPE_CHECKING

import click

from netslo.config.options import (
    DATA_DIR,
    SPOOL_DIR,
    config_option,
    directory_option,
    state_option,
)
from netslo.errors import ConfigurationError

if TYPE_CHECKING:
    from netslo.estate import Estate
    from probes.agent import Plan


@click.command()
@config_option
@click.option(
    "--site",
    "sites",
    multiple=True,
    required=True,
    metavar="NAME",
    help="The site this host stands at; repeat for several.",
)
@click.option(
    "--collector",
    "collector_url",
    default="http://127.0.0.1:4318",
    show_default=True,
    metavar="URL",
    help="Where windows are delivered.",
)
@directory_option(
    "--spool",
    "spool_dir",
    f"Where windows wait for the collector.  [default: DIR/{DATA_DIR}/{SPOOL_DIR}]",
)
@state_option
def probe(
    config_dir: pathlib.Path,
    sites: tuple[str, ...],
    collector_url: str,
    spool_dir: pathlib.Path | None,
    state_dir: pathlib.Path | None,
) -> None:
    """Measure every path that starts at a site, and deliver its windows.

    SIGHUP reads the configuration again: what is the same goes on untouched. Under systemd use
    Type=notify-reload.
    """
    from netslo.app.commands.options import make_directory
    from netslo.app.parts.probes import describe, new_agent, plan_estate
    from netslo.app.service import Service
    from netslo.config.estate_file import load_estate
    from probes.bandwidth.state import default_state_directory, state_directories
    from slo.spec import load_objectives, thresholds_by_path

    def plan() -> tuple[Plan, ...]:
        estate = load_estate(config_dir)
        check_sites(estate, sites)
        thresholds = thresholds_by_path(load_objectives(config_dir, estate), estate)
        return plan_estate(estate, sites, thresholds, {}, states)

    states = state_directories(sites, state_dir or default_state_directory())
    plans = plan()
    check_url(collector_url)
    if spool_dir is None:
        spool_dir = config_dir / DATA_DIR / SPOOL_DIR
    directory = make_directory(spool_dir, "spool")

    async def run() -> None:
        async def reload() -> str:
            plans = await asyncio.to_thread(plan)
            agent.reload(plans)
            return describe(plans, sites)

        service = Service("probe", reload)
        agent = new_agent(sites, plans, collector_url, directory, service.say)
        service.healthy = lambda: agent.measuring
        service.listen()
        await agent.run(service.stop, on_ready=lambda: service.ready(describe(plans, sites)))

    asyncio.run(run())


def check_sites(estate: Estate, sites: tuple[str, ...]) -> None:
    """Refuse names that are not of the estate.

    Raises:
        ConfigurationError: with the names there are.
    """
    unknown = [site for site in sites if site not in estate.sites]
    if unknown:
        raise ConfigurationError(
            f"--site {', '.join(unknown)}: no such site in the estate; "
            f"it has {', '.join(estate.sites)}"
        )


def check_url(url: str) -> None:
    """Refuse what is no http or https address.

    Raises:
        ConfigurationError: with the form expected.
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(f"--collector {url}: expected http://HOST:PORT")
