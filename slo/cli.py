"""`netslo slo`: objectives, checked and judged."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from netslo.config.options import config_option, json_option
from slo.commands.attribution import attribute
from slo.commands.backtest import backtest
from slo.commands.exclusions import exclude
from slo.commands.prometheus import prometheus_commands
from slo.commands.shared import (
    PIPE_WIDTH,
    check_paths,
    load,
    load_log,
    open_store,
    path_option,
    print_json,
    select,
    slo_option,
    store_option,
)
from slo.commands.specification import specification_commands

if TYPE_CHECKING:  # the commands import what they need, so that --help needs none of it
    from netslo.estate import Estate
    from slo.objective import Objective
    from slo.status import SloStatus


_MANY: Final = 500  # budgets, from which on kernels save more than loading them takes


@click.group()
def slo() -> None:
    """Check objectives, and see where they stand."""


@slo.command()
@config_option
@store_option
@slo_option
@path_option
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

    Exit status: 0 all well, 1 an alert fires or a budget is overspent, 2 configuration, or no
    store that can be read.
    """
    from rich.console import Console

    from slo.table import by_trouble, is_trouble, status_table

    estate, specification = load(config_dir)
    objectives = select(specification, names)
    check_paths(paths, estate)
    statuses = _evaluate(config_dir, store_file, objectives, estate, paths)
    if as_json:
        print_json({"slos": [status.to_json() for status in by_trouble(statuses)]})
    elif not statuses:
        click.echo("\n".join(specification.notes) or "No objective covers these paths.")
    else:
        # A pipe has no width, and whoever reads it wants whole names.
        console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
        table = status_table(statuses, everything=everything, width=console.width)
        console.print(table)
    if any(is_trouble(status) for status in statuses):
        raise click.exceptions.Exit(1)


def _evaluate(
    config_dir: pathlib.Path,
    store_file: pathlib.Path | None,
    objectives: Sequence[Objective],
    estate: Estate,
    path_ids: Sequence[str],
) -> list[SloStatus]:
    import time

    from analytics import _kernels
    from analytics.store.interface import WARM_S
    from analytics.windows import ALL, Selector
    from netslo.model import Path
    from slo.burn import WINDOWS_S
    from slo.exclusion import touching
    from slo.forecast.days import DailySpends
    from slo.forecast.exhaustion import forecast
    from slo.ranges import Ranges, cuts_at
    from slo.status import evaluate, with_both

    paths = frozenset(map(Path.parse, path_ids)) or None
    selector = Selector(path=path_ids[0]) if len(path_ids) == 1 else ALL
    count = sum(len(objective.paths(estate)) for objective in objectives)
    if selector is ALL and count >= _MANY:
        _kernels.load()  # numba is here already, for the dates
    exclusions = (*load_log(config_dir, store_file), *(x for o in objectives for x in o.exclusions))
    with open_store(config_dir, store_file) as store:
        now_s = time.time()
        lengths_s = {
            *WINDOWS_S,
            *(s for o in objectives for s in (o.window_s, *o.alerts.windows_s)),
        }
        ranges = Ranges(store, exclusions, objectives, cuts_at(now_s, lengths_s), selector)
        days = DailySpends(ranges, objectives, estate)
        exhaustions = forecast(days, objectives, now_s, _note_no_date)
        judge = partial(evaluate, objectives=objectives, estate=estate, now_s=now_s, paths=paths)
        statuses = judge(ranges, exhaustions=exhaustions)
        oldest_s = now_s - max((o.window_s for o in objectives), default=0) - WARM_S
        if not touching(exclusions, oldest_s, now_s):
            return statuses
        return with_both(statuses, judge(ranges.whole()), exclusions)


def _note_no_date(reason: str) -> None:
    click.echo(f"note: no date can be said at which a budget is used up: {reason}", err=True)


for _command in (*specification_commands(), *prometheus_commands(), exclude, backtest, attribute):
    slo.add_command(_command)
