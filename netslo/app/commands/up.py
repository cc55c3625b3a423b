"""`netslo up`: collector, reflectors and probes of a real estate, on one host."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

import click

from netslo.app.commands.options import read_endpoint
from netslo.config.options import DATA_DIR, NumberRange, config_option, directory_option
from netslo.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netslo.estate import Estate
    from slo.objective import Objective


@click.command()
@config_option
@click.option(
    "--site",
    "sites",
    multiple=True,
    metavar="NAME",
    help="A site that this host stands at.  [default: each site with an address of this host]",
)
@click.option(
    "--listen",
    callback=read_endpoint,
    metavar="HOST:PORT",
    default="127.0.0.1:4318",
    show_default=True,
    help="Where the collector listens.",
)
@directory_option("--data", "data_dir", f"Where store and spool live.  [default: DIR/{DATA_DIR}]")
@click.option(
    "--duration",
    "duration_s",
    type=NumberRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop after so long.  [default: at Ctrl-C]",
)
def up(
    config_dir: pathlib.Path,
    sites: tuple[str, ...],
    listen: Endpoint,
    data_dir: pathlib.Path | None,
    duration_s: float | None,
) -> None:
    """Run this host's part of an estate: answer, measure, keep, judge and show.

    The reflector of each site here answers on the site's addresses, its probes measure every
    path that starts here, and the collector keeps and publishes what they find. On several
    hosts use the parts: netslo reflect, netslo probe, netslo collect.

    SIGHUP reads the configuration again; what is the same in it goes on untouched.
    """
    from netslo.app.commands.options import make_directory
    from netslo.app.up import run_up
    from netslo.config.estate_file import load_estate
    from slo.spec import load_objectives

    def load() -> tuple[Estate, Sequence[Objective]]:
        estate = load_estate(config_dir)
        return estate, load_objectives(config_dir, estate)

    load()  # what is wrong with it comes before a folder is made
    directory = make_directory(data_dir or config_dir / DATA_DIR, "data")
    run_up(load, sites, listen, directory, duration_s)
