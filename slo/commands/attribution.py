"""`netslo slo attribute`: what burnt the budgets."""

from __future__ import annotations

import pathlib
import sys

import click

from netslo.config.options import config_option, json_option
from slo.commands.shared import (
    PIPE_WIDTH,
    check_paths,
    load,
    load_log,
    open_store,
    path_option,
    print_json,
    read_span,
    select,
    slo_option,
    span_options,
    store_option,
)


@click.command()
@config_option
@store_option
@slo_option
@path_option
@span_options
@click.option("--all", "everything", is_flag=True, help="Show every path, site and incident.")
@json_option
def attribute(
    config_dir: pathlib.Path,
    store_file: pathlib.Path | None,
    names: tuple[str, ...],
    paths: tuple[str, ...],
    start: str | None,
    end: str | None,
    *,
    everything: bool,
    as_json: bool,
) -> None:
    """Say which incidents, paths and sites the bad events of each SLO's period belong to.

    An incident is a time in which paths burn their budgets by more than chance; those that share
    a site are one. Each list adds up to all bad events.

    Exit status: 0 said, 2 configuration.
    """
    import time

    from rich.console import Console

    from slo.attribution.attribution import attribute as attribute_to
    from slo.attribution.report import report, to_json

    estate, specification = load(config_dir)
    objectives = select(specification, names)
    check_paths(paths, estate)
    logged = load_log(config_dir, store_file)
    found = []
    with open_store(config_dir, store_file) as store:
        targets, now_s = store.targets(), time.time()
        for objective in objectives:
            covered = [path for path in objective.paths(estate) if not paths or path.id in paths]
            if not covered:
                continue
            span = read_span(start, end, [objective], now_s)
            eras = targets.get(objective.name) or [(0, objective.target_text)]
            exclusions = (*logged, *objective.exclusions)
            found.append(attribute_to(store, objective, estate, covered, span, eras, exclusions))
    if as_json:
        print_json({"slos": [to_json(each) for each in found]})
        return
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)
    for each in found:
        console.print(report(each, everything=everything))
        console.print()
    if not found:
        click.echo("\n".join(specification.notes) or "No objective covers these paths.")
