"""`netslo measure budget`: what capacity tests of a site took, and what they may take today."""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING, Any

import click

from netslo.config.options import json_option, state_option

if TYPE_CHECKING:
    from probes.bandwidth.budget import Budget, Day


@click.command()
@state_option
@json_option
def budget(state_dir: pathlib.Path | None, *, as_json: bool) -> None:
    """Show the byte budget of this site's bandwidth tests, by day (UTC) and by whom.

    Exit status 1 when nothing is left for today.
    """
    from netslo.errors import NetsloError
    from probes.bandwidth.budget import Budget
    from probes.bandwidth.state import StateDirectory, default_state_directory

    found = Budget(StateDirectory(state_dir or default_state_directory()))
    if as_json:
        click.echo(json.dumps(_as_json(found), indent=2))
    else:
        _print(found)
    if found.left <= 0:
        raise NetsloError("nothing is left of today's budget")


def _as_json(budget: Budget) -> dict[str, Any]:
    return {
        "limit": budget.limit,
        "today": _day(budget.today()),
        "left": budget.left,
        "days": [_day(day) for day in budget.days()],
    }


def _day(day: Day) -> dict[str, Any]:
    return {
        "day": day.day,
        "used": day.used.total(),
        "reserved": day.spent - day.used.total(),
        "forced": day.forced,
        "by": day.by_whom(),
    }


def _print(budget: Budget) -> None:
    from rich.console import Console
    from rich.table import Table

    from netslo.units import format_octets

    console, today = Console(), budget.today()
    console.print(
        f"{today.day} (UTC): {format_octets(today.spent)} of {format_octets(budget.limit)} used, "
        f"{format_octets(max(budget.left, 0))} left",
        highlight=False,
    )
    days = budget.days()
    if not days:
        return
    table = Table("day", "used", "reserved", "forced", "by", box=None)
    for day in days:
        whom = "\n".join(f"{who} {format_octets(n)}" for who, n in day.by_whom().items())
        reserved = format_octets(day.spent - day.used.total())
        table.add_row(day.day, format_octets(day.spent), reserved, str(day.forced), whom)
    console.print("", table, highlight=False)
