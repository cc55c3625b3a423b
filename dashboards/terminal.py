"""What a run shows on a terminal: the paths in trouble first, the rest as far as there is room."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from netslo.units import format_ms, format_percent

_SCOPES: Final = ("edge", "regional", "national")
_FRAME_LINES: Final = 5  # title, headings, legend, what is left out, and a margin
_LOG_LINES_MAX: Final = 5
_PATH_WIDTH_MIN: Final = 16  # a path is cut rather than a figure, but no further than that
_LEGEND: Final = "* too few samples to bound it · jitter: p99 of RFC 5481 · worst paths first"
_FLOOR_LEGEND: Final = "~ less than three noise floors: the probe's own host may explain it"
_BAR_WIDTH: Final = 8
_BARS: Final = " ▏▎▍▌▋▊▉█"
_LOW_BUDGET: Final = 0.25
_OVERSPENT_SHOWN: Final = -9.99


@dataclass(frozen=True, slots=True)
class PathRow:
    """The figures of one path; None where one cannot be said."""

    path: str
    scope: str
    due: int
    loss_ratio: float | None
    p50_s: float | None
    p99_s: float | None
    p999_s: float | None
    p999_bounded: bool  # whether the sample is large enough to bound it from above
    jitter_s: float | None  # p99 of the packet delay variation (RFC 5481)
    budget_remaining_ratio: float | None  # of its worst objective
    burn: float | None  # of its fastest-burning objective, over the view's window
    burning: bool  # fast enough to page somebody
    near_floor: frozenset[str] = frozenset()  # quantiles that the probe's host could explain


@dataclass(frozen=True, slots=True)
class EstateView:
    """Everything that is shown at one moment."""

    title: str
    elapsed_s: float
    remaining_s: float | None
    rows: tuple[PathRow, ...]
    paths_expected: int
    log: tuple[str, ...] = ()
    burn_window: str = "5m"

    def by_trouble(self) -> list[PathRow]:
        """The rows, worst first: burning, then budget spent, then loss, then name."""
        return sorted(self.rows, key=_trouble)


def _trouble(row: PathRow) -> tuple[bool, float, float, str]:
    remaining = row.budget_remaining_ratio
    budget = 1.0 if remaining is None else remaining
    return (not row.burning, budget, -(row.loss_ratio or 0.0), row.path)


def render(view: EstateView, height: int, width: int) -> RenderableType:
    """Return what to draw on a terminal of `height` lines and `width` columns; it fits both."""
    log = _last_lines(view.log, width, max(1, min(_LOG_LINES_MAX, (height - _FRAME_LINES) // 2)))
    room = max(1, height - _FRAME_LINES - len(log))
    rows = view.by_trouble()
    floored = any(row.near_floor for row in rows)
    room = max(1, room - floored)
    parts: list[RenderableType] = [_headline(view, width)]
    if rows:
        parts += [_table(rows[:room], width, view.burn_window), _line(_LEGEND, "dim")]
        if floored:
            parts.append(_line(_FLOOR_LEGEND, "dim"))
        if len(rows) > room:
            parts.append(_line(_left_out(rows[room:]), "dim"))
    else:
        parts.append(_line("Waiting for the first windows to close (10 s each) …", "dim"))
    parts += [_line(line, "yellow") for line in log]
    return Group(*parts)


def _line(text: str, style: str) -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _last_lines(log: Iterable[str], width: int, lines_max: int) -> list[str]:
    """Return the end of the log as lines of the terminal; of a long entry its beginning stays."""
    entries = [textwrap.wrap(entry, width, subsequent_indent="  ") for entry in log]
    lines: list[str] = []
    for entry in reversed(entries):
        if lines and len(lines) + len(entry) > lines_max:
            break
        lines = entry[:lines_max] + lines
    return lines


def _left_out(rows: list[PathRow]) -> str:
    burning = sum(row.burning for row in rows)
    return f"… and {len(rows)} more paths, {burning or 'none'} of them burning"


def plain_lines(view: EstateView) -> list[str]:
    """Return a few short lines for a pipe or a log file: one per scope, then paths that burn."""
    lines = [_headline(view).plain]
    for scope, rows in _by_scope(view.rows):
        worst = max(rows, key=lambda row: row.p99_s or 0.0)
        losses = [row.loss_ratio for row in rows if row.loss_ratio is not None]
        lines.append(
            f"  {scope:8} {len(rows):4} paths  p50 {format_ms(_median(r.p50_s for r in rows))} ms"
            f"  worst p99 {format_ms(worst.p99_s)} ms ({worst.path})"
            f"  worst loss {format_percent(max(losses, default=None))}"
        )
    lines += [
        f"  BURNING  {row.path}  p99 {format_ms(row.p99_s)} ms"
        f"  budget left {_budget(row.budget_remaining_ratio)}  burn {_burn(row.burn)}"
        for row in view.by_trouble()
        if row.burning
    ]
    return lines


def _headline(view: EstateView, width: int | None = None) -> Text:
    """Return one line; where `width` is too little the title is cut, the verdict never."""
    burning = sum(row.burning for row in view.rows)
    state = Text(f"  {_clock(view.elapsed_s)}")
    if view.remaining_s is not None:
        state.append(f", {_clock(view.remaining_s)} left", style="dim")
    state.append(f"  {len(view.rows)} of {view.paths_expected} paths")
    if burning:
        state.append(f"  ▲ {burning} burning", style="bold red")
    elif view.rows:
        state.append("  ✓ none burning", style="green")
    title = Text(view.title, style="bold")
    if width is not None:
        title.truncate(max(0, width - state.cell_len), overflow="ellipsis")
    line = Text.assemble(title, state)
    line.no_wrap = True
    return line


def _table(rows: list[PathRow], width: int, burn_window: str) -> Table:
    """Return the table, with as many columns as the terminal has room for."""
    every = tuple(
        replace(column, heading=f"burn {burn_window}") if column is _BURN else column
        for column in _COLUMNS
    )
    columns, path_width = _columns_that_fit(every, rows, width)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(
            column.heading,
            justify=column.justify,
            no_wrap=True,
            max_width=path_width if column is _PATH else None,
        )
    for row in rows:
        table.add_row(*(column.cell(row) for column in columns), style=_mark(row)[1])
    return table


def _columns_that_fit(
    every: tuple[_Column, ...], rows: list[PathRow], width: int
) -> tuple[list[_Column], int]:
    """Leave out columns until no figure need be cut; return the rest and the room for paths.

    A figure without its last digits is a wrong figure, a path without its end still a path.
    """
    widths = {
        column: max(len(column.heading), *(len(column.cell(row)) for row in rows))
        for column in every
    }
    columns = list(every)
    while True:
        others = sum(widths[column] + 1 for column in columns if column is not _PATH)
        least = min(columns, key=lambda column: column.rank)
        if width - others >= widths[_PATH] or least.rank == _ESSENTIAL:
            return columns, max(_PATH_WIDTH_MIN, width - others)
        columns.remove(least)


def _mark(row: PathRow) -> tuple[str, str]:
    """Return a mark and a colour; the mark says the same without colour."""
    remaining = row.budget_remaining_ratio
    if row.burning:
        return "▲", "bold red"
    if remaining is not None and remaining < 0:
        return "!", "yellow"
    if remaining is not None and remaining < _LOW_BUDGET:
        return "·", "yellow"
    return "", ""


def _bar(ratio: float | None) -> str:
    """Draw what is left of a budget in eighths of a character."""
    if ratio is None:
        return ""
    eighths = round(min(max(ratio, 0.0), 1.0) * _BAR_WIDTH * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (_BARS[part] if part else "")).ljust(_BAR_WIDTH, "░")


def _by_scope(rows: Iterable[PathRow]) -> list[tuple[str, list[PathRow]]]:
    groups = [(scope, [row for row in rows if row.scope == scope]) for scope in _SCOPES]
    return [(scope, group) for scope, group in groups if group]


def _median(values: Iterable[float | None]) -> float | None:
    known = sorted(value for value in values if value is not None)
    return known[len(known) // 2] if known else None


def _budget(ratio: float | None) -> str:
    """Write what is left; far below nothing, the exact figure tells a reader no more."""
    if ratio is not None and ratio < _OVERSPENT_SHOWN:
        return f"< {format_percent(_OVERSPENT_SHOWN, 0)}"
    return format_percent(ratio, 0)


def _burn(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}x"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def _p999(row: PathRow) -> str:
    if row.p999_s is None:
        return "-"
    return _rtt(row, "0.999", row.p999_s) + (" " if row.p999_bounded else "*")


def _rtt(row: PathRow, quantile: str, value_s: float | None) -> str:
    return "~" * (quantile in row.near_floor) + format_ms(value_s)


_ESSENTIAL: Final = 9


@dataclass(frozen=True, slots=True)
class _Column:
    heading: str
    cell: Callable[[PathRow], str]
    justify: JustifyMethod = "right"
    rank: int = _ESSENTIAL  # a narrow terminal does without the lowest first


_PATH: Final = _Column("path", lambda row: row.path, "left")
_BURN: Final = _Column("burn", lambda row: _burn(row.burn), rank=6)
_COLUMNS: Final = (
    _Column("", lambda row: _mark(row)[0], "left"),
    _PATH,
    _Column("scope", lambda row: row.scope, "left", rank=3),
    _Column("p50 ms", lambda row: _rtt(row, "0.5", row.p50_s), rank=5),
    _Column("p99 ms", lambda row: _rtt(row, "0.99", row.p99_s)),
    _Column("p99.9 ms", _p999, rank=4),
    _Column("loss", lambda row: format_percent(row.loss_ratio)),
    _Column("jitter ms", lambda row: format_ms(row.jitter_s), rank=2),
    _BURN,
    _Column("budget left", lambda row: _budget(row.budget_remaining_ratio)),
    _Column("", lambda row: _bar(row.budget_remaining_ratio), "left", rank=1),
)
