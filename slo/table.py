"""Statuses as a table for a person: trouble first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from netslo.units import format_duration, format_ms, format_percent, format_rate
from slo.burn import Severity
from slo.status import SloStatus

QUIET_ROWS_MAX: Final = 20
_BAR_CELLS: Final = 10
_HALF: Final = 0.5  # of a period; a budget of less says little


def by_trouble(statuses: Iterable[SloStatus]) -> list[SloStatus]:
    """Sort the worst first: by alert, by budget left, then those without data."""
    return sorted(statuses, key=_trouble)


def is_trouble(status: SloStatus) -> bool:
    """Whether a person should hear of it: an alert fires, or the budget is overspent."""
    return status.severity is not None or status.overspent


def status_table(statuses: Sequence[SloStatus], *, everything: bool, width: int) -> RenderableType:
    """Return the table of `statuses`, with as many columns as `width` characters allow.

    All that is in trouble is always shown, the rest up to a screenful unless `everything`.
    """
    ranked = by_trouble(statuses)
    trouble = sum(is_trouble(status) for status in ranked)
    shown = ranked if everything else ranked[: max(trouble, QUIET_ROWS_MAX)]
    columns = [column for column in _COLUMNS if column.width_min <= width]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.heading, justify=column.justify, no_wrap=True)
    for status in shown:
        table.add_row(*(column.cell(status) for column in columns))
    return Group(table, *_footer(statuses, len(shown), trouble))


@dataclass(frozen=True, slots=True)
class _Column:
    """One column, and how wide a terminal must be to have it."""

    heading: str
    cell: Callable[[SloStatus], Text | str]
    justify: Literal["left", "right"] = "right"
    width_min: int = 0


def _limit(status: SloStatus) -> str:
    if status.rate is not None:
        return format_rate(status.rate)
    return "any" if status.threshold_s is None else f"{format_ms(status.threshold_s, 1)} ms"


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
        return Text()
    # A budget with anything left shows at least one cell, and only a whole one shows all.
    filled = min(_BAR_CELLS, max(0, math.ceil(remaining * _BAR_CELLS)))
    if 0 < filled == _BAR_CELLS and remaining < 1:
        filled -= 1
    style = "red" if remaining < 0 else "yellow" if remaining < 0.25 else "green"  # noqa: PLR2004
    return Text("█" * filled, style=style).append("░" * (_BAR_CELLS - filled), style="dim")


def _left(status: SloStatus) -> str:
    """Say what is left; in brackets with the excluded times, where they changed it."""
    left = format_percent(status.budget_remaining_ratio, 1)
    if status.remaining_with_excluded is None:
        return left
    return f"{left} ({format_percent(status.remaining_with_excluded, 1)})"


def _burn_over(window: str) -> Callable[[SloStatus], str]:
    def cell(status: SloStatus) -> str:
        burn = status.burn_rate.get(window)
        return "-" if burn is None else f"{burn:.2f}"

    return cell


def _used_up(status: SloStatus) -> str:
    """Say when the budget will be used up: at this rate in an alert, else as the past has it."""
    if status.overspent:
        return "used up"
    if status.severity is not None and status.lasts_s is not None:
        return f"{_span(status.lasts_s)} at burn 1h"
    if status.exhaustion is None:
        return "-"
    dates = status.exhaustion.rolling
    if dates.p10 is None:
        return "never" if not dates.chance else f"never, but for {dates.chance:.1%}"
    now_s = dates.end_s - status.period_s
    middle, *ends = (
        "never" if date_s is None else _span(date_s - now_s)
        for date_s in (dates.p50, dates.p10, dates.p90)
    )
    return f"{middle} ({' - '.join(ends)})"


def _span(seconds: float) -> str:
    """Write how far ahead something is, in the unit that suits."""
    hours = seconds / 3600
    if hours < 2:  # noqa: PLR2004
        return f"{hours * 60:.0f} min"
    return f"{hours / 24:.0f} d" if hours >= 48 else f"{hours:.0f} h"  # noqa: PLR2004


_WIDE, _FAIRLY_WIDE, _WIDER, _WIDEST = 100, 120, 150, 180

_COLUMNS: Final = (
    _Column("state", _state, "left"),
    _Column("SLO", lambda status: status.slo, "left"),
    _Column("path", lambda status: status.path.id, "left"),
    _Column("target %", lambda status: f"{status.objective * 100:.10g}", width_min=_WIDER),
    _Column("limit", _limit, width_min=_WIDER),
    _Column("bad", lambda status: f"{status.bad_events:,}", width_min=_WIDE),
    _Column("events", lambda status: f"{status.events:,}", width_min=_WIDER),
    _Column("coverage", lambda status: format_percent(status.coverage, 1), width_min=_FAIRLY_WIDE),
    _Column("", lambda status: _bar(status.budget_remaining_ratio), "left", _WIDE),
    _Column("budget", _left),
    _Column("burn 5m", _burn_over("5m")),
    _Column("burn 1h", _burn_over("1h"), width_min=_WIDE),
    _Column("burn 6h", _burn_over("6h"), width_min=_WIDER),
    _Column("burn 3d", _burn_over("3d"), width_min=_WIDER),
    _Column("used up in (P10 - P90)", _used_up, width_min=_WIDEST),
)


def _footer(statuses: Sequence[SloStatus], shown: int, trouble: int) -> list[Text]:
    lines = []
    if shown < len(statuses):
        lines.append(Text(f"… and {len(statuses) - shown} more without trouble (--all)"))
    if thin := sum(bool(s.events) and (s.coverage or 0) < _HALF for s in statuses):
        of_all = f"{thin} of {len(statuses)} budgets"
        lines.append(Text(f"{of_all} rest on less than half a period: a young store, or gaps."))
    if not any(status.events for status in statuses):
        periods = sorted({status.period_s for status in statuses})
        spans = ", ".join(format_duration(period_s) for period_s in periods)
        if any(status.remaining_with_excluded is not None for status in statuses):
            lines.append(Text(f"No data: all that was measured in the last {spans} is excluded."))
        else:
            lines.append(Text(f"No data: nothing was measured in the last {spans}."))
    elif trouble:
        lines.append(Text(f"{trouble} of {len(statuses)} budgets in trouble."))
    else:
        lines.append(Text("Every budget with data holds."))
    if any(status.remaining_with_excluded is not None for status in statuses):
        lines.append(Text("(in brackets: with the excluded times, which do not count)"))
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
