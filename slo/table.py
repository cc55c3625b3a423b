"""Statuses as a table for a person: trouble first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from netslo.units import format_duration, format_ms, format_percent
from slo.burn import Severity
from slo.status import SloStatus

QUIET_ROWS_MAX: Final = 20
_BAR_CELLS: Final = 10
_BURN_WINDOWS: Final = ("5m", "1h", "6h", "3d")


def by_trouble(statuses: Iterable[SloStatus]) -> list[SloStatus]:
    """Sort the worst first: by alert, by budget left, then those without data."""
    return sorted(statuses, key=_trouble)


def is_trouble(status: SloStatus) -> bool:
    """Whether a person should hear of it: an alert fires, or the budget is overspent."""
    return status.severity is not None or status.overspent


def status_table(statuses: Sequence[SloStatus], *, everything: bool) -> RenderableType:
    """Return the table of `statuses`; without `everything` only the worst that are not in trouble.

    Everything that is in trouble is always shown.
    """
    ranked = by_trouble(statuses)
    trouble = sum(is_trouble(status) for status in ranked)
    shown = ranked if everything else ranked[: max(trouble, QUIET_ROWS_MAX)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("state", "SLO", "path"):
        table.add_column(heading, no_wrap=True)
    table.add_column("target %", justify="right")
    table.add_column("RTT ms", justify="right")
    table.add_column("bad / events", justify="right")
    table.add_column("budget left", no_wrap=True)
    for window in _BURN_WINDOWS:
        table.add_column(f"burn {window}", justify="right")
    for status in shown:
        table.add_row(*_row(status))
    return Group(table, *_footer(statuses, len(shown), trouble))


def _row(status: SloStatus) -> list[Text | str]:
    threshold = "any" if status.threshold_s is None else format_ms(status.threshold_s, 1)
    return [
        _state(status),
        status.slo,
        status.path.id,
        f"{status.objective * 100:.6g}",
        threshold,
        f"{status.bad_events:,} / {status.events:,}",
        _bar(status.budget_remaining_ratio),
        *(_burn(status.burn_rate.get(window)) for window in _BURN_WINDOWS),
    ]


def _state(status: SloStatus) -> Text:
    if status.severity is not None:
        style = "bold red" if status.severity is Severity.PAGE else "yellow"
        return Text(status.severity.value.upper(), style=style)
    if status.overspent:
        return Text("OVERSPENT", style="yellow")
    if status.budget_remaining_ratio is None:
        return Text("no data", style="dim")
    return Text("ok", style="green")


def _bar(remaining: float | None) -> Text:
    """Draw the share of the budget left; the figure beside it says what colour cannot."""
    if remaining is None:
        return Text("-", style="dim")
    # A budget with anything left shows at least one cell, and only a whole one shows all.
    filled = min(_BAR_CELLS, max(0, math.ceil(remaining * _BAR_CELLS)))
    if 0 < filled == _BAR_CELLS and remaining < 1:
        filled -= 1
    style = "red" if remaining < 0 else "yellow" if remaining < 0.25 else "green"  # noqa: PLR2004
    bar = Text("█" * filled, style=style)
    bar.append("░" * (_BAR_CELLS - filled), style="dim")
    return bar.append(f" {format_percent(remaining, 1)}", style="")


def _burn(burn: float | None) -> str:
    return "-" if burn is None else f"{burn:.2f}"


def _footer(statuses: Sequence[SloStatus], shown: int, trouble: int) -> list[Text]:
    lines = []
    if shown < len(statuses):
        lines.append(Text(f"… and {len(statuses) - shown} more without trouble (--all)"))
    if not any(status.events for status in statuses):
        periods = sorted({status.period_s for status in statuses})
        spans = ", ".join(format_duration(period_s) for period_s in periods)
        lines.append(Text(f"No data: nothing was measured in the last {spans}."))
    elif trouble:
        lines.append(Text(f"{trouble} of {len(statuses)} budgets in trouble."))
    else:
        lines.append(Text("Every budget with data holds."))
    return lines


def _trouble(status: SloStatus) -> tuple[int, bool, float, str, str]:
    severities = list(Severity)
    rank = len(severities) if status.severity is None else severities.index(status.severity)
    remaining = status.budget_remaining_ratio
    return (
        rank,
        remaining is None,
        0.0 if remaining is None else remaining,
        status.slo,
        status.path.id,
    )
