"""A backtest as a person reads it, and as a program does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from netslo.model import Path
from netslo.units import format_duration, format_percent, format_rate
from slo.annotations import format_pairs
from slo.backtest.backtest import Backtest, Outcome
from slo.backtest.replay import Episode
from slo.budget import Spend
from slo.burn import Severity
from slo.exclusion_log import format_time
from slo.explain import guard_text
from slo.feasibility import describe
from slo.number import format_share
from slo.objective import Objective

ROWS_MAX: Final = 20
PATHS_MAX: Final = 10


def report(
    found: Backtest, warnings: Sequence[str] = (), *, everything: bool = False
) -> RenderableType:
    """Return budgets, then the worst paths, then the alerts, with long lists cut short.

    `warnings` say what of the changed objective will surprise.
    """
    outcomes = _named(found)
    _, last = outcomes[-1]
    parts: list[RenderableType] = [Text(line) for line in _heading(found)]
    parts += [Text(f"  warning: {text}") for text in warnings]
    if found.first_s is None:
        return Group(*parts, Text("No data: nothing was measured in this time."))
    parts += ["", _totals(outcomes), ""]
    parts += [_paths(outcomes, everything=everything), ""]
    title = "" if len(outcomes) == 1 else f", {outcomes[-1][0]}"
    parts.append(Text(f"Alerts{title}:" if last.episodes else f"No alert would have fired{title}."))
    if last.episodes:
        parts.append(_alerts(last.episodes, everything=everything))
    return Group(*parts)


def to_json(found: Backtest, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """Return the whole of it: every path and every alert, times in Unix seconds."""
    names = ("changed",) if len(found.changed) == 1 else ("changed_best", "changed_worst")
    return {
        "slo": found.now.objective.name,
        "start": found.start_s,
        "end": found.end_s,
        "step": found.step_s,
        "first_event": found.first_s,
        "kept_from": found.kept_from_s or None,
        "warnings": list(warnings),
        "now": _outcome_json(found.now),
        **{n: _outcome_json(o) for n, o in zip(names, found.changed, strict=False)},
    }


def _named(found: Backtest) -> list[tuple[str, Outcome]]:
    if not found.changed:
        return [("now", found.now)]
    if len(found.changed) == 1:
        return [("now", found.now), ("changed", found.changed[0])]
    best, worst = found.changed
    return [("now", found.now), ("at best", best), ("at worst", worst)]


def _heading(found: Backtest) -> Iterator[str]:
    now = found.now.objective
    yield (
        f"{now.name} from {format_time(found.start_s)} to {format_time(found.end_s)}, "
        f"{len(found.now.spends):,} {'path' if len(found.now.spends) == 1 else 'paths'}, "
        f"judged every {format_duration(found.step_s)}"
    )
    for outcome in found.changed[:1]:
        for text in _differences(now, outcome.objective):
            yield f"  {text}"
    if len(found.changed) > 1:
        yield "  no probe counted at this threshold: bounds are from the distributions"
    if found.start_s < found.kept_from_s:
        yield f"  counts are kept from {format_time(found.kept_from_s)} on"
    elif found.first_s is not None and found.first_s > found.start_s:
        yield f"  nothing was measured before {format_time(found.first_s)}"


def _differences(now: Objective, changed: Objective) -> Iterator[str]:
    if changed.target != now.target:
        yield f"target {_percent(changed)} instead of {_percent(now)}"
    if changed.limit != now.limit:
        yield f"threshold {_limit(changed)} instead of {_limit(now)}"
    if changed.alerts.pairs != now.alerts.pairs:
        yield from _alerts_on(changed)
    if changed.alerts.guard != now.alerts.guard:
        yield f"guard {guard_text(changed)}"
    if changed.missing_data != now.missing_data:
        yield f"missing data taken as {changed.missing_data} instead of {now.missing_data}"
    if changed.coverage_min != now.coverage_min:
        least = [format_share(o.coverage_min) for o in (changed, now)]
        yield f"a burn rate is unknown below a coverage of {least[0]} instead of {least[1]}"
    if changed.exclusions != now.exclusions:
        yield "other times excluded by its document"
    if (changed.slices, changed.window_s) != (now.slices, now.window_s):
        yield "another period or other slices of time"
    if changed == now:
        yield "nothing is changed"


def _alerts_on(changed: Objective) -> Iterator[str]:
    for pair in changed.alerts.pairs:
        yield (
            f"{describe(pair)}: over a burn rate of {float(pair.threshold(changed.window_s)):.4g}, "
            f"{float(pair.budget_share * 100):.4g} % of the budget"
        )
    if not changed.alerts.pairs:
        yield "alerts nobody"


def _percent(objective: Objective) -> str:
    return f"{float(objective.target * 100):.10g} %"


def _limit(objective: Objective) -> str:
    if objective.rate is not None:
        return format_rate(objective.rate)
    return "none" if objective.limit_s is None else f"{objective.limit_s * 1000:.10g} ms"


def _totals(outcomes: Sequence[tuple[str, Outcome]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name, _ in outcomes:
        table.add_column(name, justify="right", no_wrap=True)
    totals = [outcome.total for _, outcome in outcomes]
    rows = {
        "events": [f"{total.events:,}" for total in totals],
        "may be bad": [f"{float(total.budget):,.0f}" for total in totals],
        "bad": [f"{total.bad:,}" for total in totals],
        "coverage": [_ratio(o.covered) for _, o in outcomes],
        "paths overspent": [f"{outcome.overspent:,}" for _, outcome in outcomes],
    }
    for severity in Severity:
        rows[f"{severity.value}s"] = [
            f"{sum(e.pair.severity is severity for e in outcome.episodes):,}"
            for _, outcome in outcomes
        ]
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def _paths(outcomes: Sequence[tuple[str, Outcome]], *, everything: bool) -> RenderableType:
    """Return the paths with the least budget left in the last column."""
    last = outcomes[-1][1]

    def left(path: Path) -> tuple[float, Path]:
        remaining = last.taken(path).remaining
        return (2.0 if remaining is None else float(remaining)), path

    paths = sorted(last.spends, key=left)
    shown = paths if everything else paths[:PATHS_MAX]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("budget left on" if everything else "least budget left on", no_wrap=True)
    for name, _ in outcomes:
        table.add_column(name, justify="right", no_wrap=True)
    for path in shown:
        table.add_row(path.id, *(_left(outcome.taken(path)) for _, outcome in outcomes))
    return _cut(table, len(paths) - len(shown))


def _alerts(episodes: Sequence[Episode], *, everything: bool) -> RenderableType:
    """Return what would have fired by time; cut short, what cost most of a budget stays."""
    severities = list(Severity)
    ranked = sorted(
        episodes, key=lambda e: (severities.index(e.pair.severity), -e.budget_used, e.start_s)
    )
    shown = ranked if everything else ranked[:ROWS_MAX]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "from", "to", "path", "pair"):
        table.add_column(heading, no_wrap=True)
    for heading in ("bad", "of budget"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in sorted(shown, key=lambda e: (e.start_s, severities.index(e.pair.severity), e.key)):
        table.add_row(
            each.pair.severity.value,
            format_time(each.start_s),
            "still fires" if each.end_s is None else format_time(each.end_s),
            each.key[1].id,
            f"{each.pair.long} and {each.pair.short}",
            f"{each.bad:,}",
            f"{each.budget_used * 100:.1f} %",
        )
    return _cut(table, len(ranked) - len(shown))


def _cut(table: Table, more: int) -> RenderableType:
    return Group(table, Text(f"… and {more:,} more (--all)")) if more else table


def _left(spend: Spend) -> str:
    return _ratio(spend.remaining)


def _ratio(exact: Any) -> str:
    return format_percent(None if exact is None else float(exact), 1)


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    objective = outcome.objective
    return {
        "objective": float(objective.target),
        "threshold": objective.limit_s,
        "rate": objective.rate,
        "pairs": format_pairs(objective.alerts.pairs),
        "missing_data": objective.missing_data.value,
        "paths": [_spend_json(outcome, path) for path in sorted(outcome.spends)],
        "alerts": [
            {
                "severity": each.pair.severity.value,
                "path": each.key[1].id,
                "long": each.pair.long,
                "short": each.pair.short,
                "threshold": float(each.pair.threshold(objective.window_s)),
                "start": each.start_s,
                "end": each.end_s,
                "bad_events": each.bad,
                "budget_used_ratio": each.budget_used,
            }
            for each in outcome.episodes
        ],
    }


def _spend_json(outcome: Outcome, path: Path) -> dict[str, Any]:
    taken = outcome.taken(path)
    return {
        "path": path.id,
        "events": taken.events,
        "bad_events": taken.bad,
        "unmeasured_events": outcome.spends[path].unmeasured,
        "budget_events": float(taken.budget),
        "budget_remaining_ratio": None if taken.remaining is None else float(taken.remaining),
    }
