"""`netslo slo`: objectives, checked and judged."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from netslo.config.options import DATA_DIR, STORE_FILE, config_option, file_option, json_option

if TYPE_CHECKING:  # the commands import what they need, so that --help needs none of it
    from netslo.estate import Estate
    from slo.objective import Objective
    from slo.spec import Specification
    from slo.status import SloStatus

_PIPE_WIDTH = 200
_STORE = pathlib.PurePath(DATA_DIR, STORE_FILE)


@click.group()
def slo() -> None:
    """Check objectives, and see where they stand."""


@slo.command()
@config_option
@json_option
def check(config_dir: pathlib.Path, *, as_json: bool) -> None:
    """Check every SLO document, and say what it promises.

    Exit status: 0 all valid, 2 with every problem of every file.
    """
    from slo.advice import advise

    estate, specification = _load(config_dir)
    objectives = specification.objectives
    notes = [
        *specification.notes,
        *(note for objective in objectives for note in advise(objective, estate)),
    ]
    if as_json:
        _print_json({"slos": [_describe(o, estate) for o in objectives], "notes": notes})
        return
    for objective in objectives:
        click.echo(f"{objective.name}: {_promise(objective, estate)}")
    for note in notes:
        click.echo(f"note: {note}")
    click.echo(f"{len(objectives)} {'SLO' if len(objectives) == 1 else 'SLOs'} ok")


@slo.command()
@config_option
@file_option("--store", "store_file", f"The window store.  [default: DIR/{_STORE}]")
@click.option("--slo", "names", multiple=True, metavar="NAME", help="Only this SLO; repeatable.")
@click.option("--path", "paths", multiple=True, metavar="ID", help="Only this path; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Show also all that is well.")
@json_option
def status(
    config_dir: pathlib.Path,
    store_file: pathlib.Path | None,
    names: tuple[str, ...],
    paths: tuple[str, ...],
    *,
    everything: bool,
    as_json: bool,
) -> None:
    """Show every objective's error budget and burn rates, the worst first.

    Exit status: 0 all well, 1 an alert fires or a budget is overspent, 2 configuration.
    """
    from rich.console import Console

    from slo.table import by_trouble, is_trouble, status_table

    estate, specification = _load(config_dir)
    objectives = _select(specification, names)
    _check_paths(paths, estate)
    statuses = [
        status
        for status in _evaluate(store_file or config_dir / _STORE, objectives, estate)
        if not paths or status.path.id in paths
    ]
    if as_json:
        _print_json({"slos": [status.to_json() for status in by_trouble(statuses)]})
    elif not statuses:
        click.echo("\n".join(specification.notes) or "No objective covers these paths.")
    else:
        # A pipe has no width, and whoever reads it wants whole names.
        console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
        table = status_table(statuses, everything=everything, width=console.width)
        console.print(table)
    if any(is_trouble(status) for status in statuses):
        raise click.exceptions.Exit(1)


def _load(config_dir: pathlib.Path) -> tuple[Estate, Specification]:
    from netslo.config.estate_file import load_estate
    from slo.spec import load_specification

    estate = load_estate(config_dir)
    return estate, load_specification(config_dir, estate)


def _evaluate(
    store_file: pathlib.Path, objectives: Sequence[Objective], estate: Estate
) -> list[SloStatus]:
    import time
    from contextlib import closing

    from analytics.store.sqlite import SqliteStore
    from slo.status import evaluate

    with closing(SqliteStore.open(store_file, readonly=True)) as store:
        return evaluate(store, objectives, estate, time.time())


def _select(specification: Specification, names: Sequence[str]) -> tuple[Objective, ...]:
    from netslo.errors import ConfigurationError

    known = {objective.name: objective for objective in specification.objectives}
    for name in names:
        if name not in known:
            raise ConfigurationError(f"--slo {name}: must be one of {', '.join(known) or 'none'}")
    return tuple(o for o in known.values() if not names or o.name in names)


def _check_paths(paths: Sequence[str], estate: Estate) -> None:
    from netslo.errors import ConfigurationError

    known = {path.id for path in estate.paths}
    for text in paths:
        if text not in known:
            raise ConfigurationError(
                f"--path {text}: must be a path of the estate, as src:dst/class"
            )


def _promise(objective: Objective, estate: Estate) -> str:
    """Say an objective in one line."""
    from netslo.units import format_duration, format_ms

    percent = f"{float(objective.target * 100):.10g} %"
    within = (
        "answered"
        if objective.limit_s is None
        else f"answered within {format_ms(objective.limit_s, 3).rstrip('0').rstrip('.')} ms"
    )
    count = len(objective.paths(estate))
    return (
        f"{percent} of packets {within} over {format_duration(objective.window_s)}, "
        f"on each of {count} {'path' if count == 1 else 'paths'}"
    )


def _describe(objective: Objective, estate: Estate) -> dict[str, Any]:
    from netslo.units import format_duration

    return {
        "slo": objective.name,
        "service": objective.service,
        "indicator": objective.indicator.value,
        "objective": float(objective.target),
        "threshold": objective.limit_s,
        "period": format_duration(objective.window_s),
        "owner": objective.owner,
        "runbook": objective.runbook,
        "paths": [path.id for path in objective.paths(estate)],
    }


def _print_json(value: object) -> None:
    import json

    click.echo(json.dumps(value, indent=2, allow_nan=False))
