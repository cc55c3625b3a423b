"""What burnt a budget, as a person reads it and as a program does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from netslo.model import Path
from netslo.units import format_percent
from slo.attribution.attribution import Attribution
from slo.attribution.incidents import Incident
from slo.exclusion_log import format_time

ROWS_MAX: Final = 10


def report(found: Attribution, *, everything: bool = False) -> RenderableType:
    """Return the incidents, then paths and sites, with long lists cut short."""
    total, paths = found.total, sum(spend.events > 0 for spend in found.spends.values())
    parts: list[RenderableType] = [
        Text(
            f"{found.objective.name} from {format_time(found.start_s)} to "
            f"{format_time(found.end_s)}: {total.bad:,} bad of {total.events:,}, on "
            f"{paths:,} {'path' if paths == 1 else 'paths'} with data"
        )
    ]
    if not total.bad:
        return Group(*parts, Text("  Nothing was bad." if total.events else "  No data."))
    return Group(
        *parts,
        "",
        _incidents(found, everything=everything),
        "",
        _paths(found, everything=everything),
        "",
        _sites("from", found.by_source(), total.bad, everything=everything),
        "",
        _sites("to", found.by_destination(), total.bad, everything=everything),
    )


def _incidents(found: Attribution, *, everything: bool) -> RenderableType:
    """Return the incidents; those not shown and scattered events make up the rest of the sum."""
    total = found.total.bad
    shown = found.incidents if everything else found.incidents[:ROWS_MAX]
    table = _table("incident", "to", "where", "alert")
    _add_figures(table, "bad", "of all", "of a path's budget")
    for each in shown:
        table.add_row(
            format_time(each.start_s),
            format_time(each.end_s),
            where(each),
            "-" if each.severity is None else each.severity.value,
            f"{each.bad:,}",
            _share(each.bad, total),
            _worst(found, each),
        )
    more = found.incidents[len(shown) :]
    if more:
        bad = sum(each.bad for each in more)
        table.add_row(f"{len(more):,} more (--all)", "", "", "", f"{bad:,}", _share(bad, total))
    table.add_row(
        "in no incident", "", "", "", f"{found.scattered:,}", _share(found.scattered, total)
    )
    return table


def where(incident: Incident) -> str:
    """Say in a few words what an incident was about."""
    paths = incident.paths
    if len(paths) == 1:
        return paths[0].id
    if incident.site is not None:
        return f"{incident.site}, {len(paths):,} paths"
    return f"{paths[0].id} and {len(paths) - 1:,} more"


def _worst(found: Attribution, incident: Incident) -> str:
    """Say how much of its budget of this time the worst path lost."""
    by_path: dict[Path, int] = {}
    for run in incident.runs:
        by_path[run.path] = by_path.get(run.path, 0) + run.bad
    budgets = {path: found.spends[path].budget for path in by_path}
    shares = [bad / budgets[path] for path, bad in by_path.items() if budgets[path]]
    return format_percent(float(max(shares)), 1) if shares else "-"


def _paths(found: Attribution, *, everything: bool) -> RenderableType:
    total = found.total.bad
    ranked = [(path, bad) for path, bad in found.by_path().items() if bad]
    shown = ranked if everything else ranked[:ROWS_MAX]
    table = _table("path")
    _add_figures(table, "bad", "of all", "of its budget")
    for path, bad in shown:
        burn = found.spends[path].burn_rate
        spent = format_percent(None if burn is None else float(burn), 1)
        table.add_row(path.id, f"{bad:,}", _share(bad, total), spent)
    more = sum(bad for _, bad in ranked[len(shown) :])
    if more:
        count = len(ranked) - len(shown)
        table.add_row(f"{count:,} more (--all)", f"{more:,}", _share(more, total))
    return table


def _sites(way: str, by_site: Mapping[str, int], total: int, *, everything: bool) -> RenderableType:
    ranked = [(site, bad) for site, bad in by_site.items() if bad]
    shown = ranked if everything else ranked[:ROWS_MAX]
    table = _table(f"{way} site")
    _add_figures(table, "bad", "of all")
    for site, bad in shown:
        table.add_row(site, f"{bad:,}", _share(bad, total))
    more = sum(bad for _, bad in ranked[len(shown) :])
    if more:
        count = len(ranked) - len(shown)
        table.add_row(f"{count:,} more (--all)", f"{more:,}", _share(more, total))
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _add_figures(table: Table, *headings: str) -> None:
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)


def _share(bad: int, total: int) -> str:
    return format_percent(bad / total, 1)


def to_json(found: Attribution) -> dict[str, Any]:
    """Return all of it; each list adds up to `bad_events`, incidents with the scattered ones."""
    total = found.total
    return {
        "slo": found.objective.name,
        "start": found.start_s,
        "end": found.end_s,
        "events": total.events,
        "bad_events": total.bad,
        "budget_events": float(total.budget),
        "paths": [
            {
                "path": path.id,
                "bad_events": bad,
                "budget_events": float(found.spends[path].budget),
            }
            for path, bad in found.by_path().items()
        ],
        "source_sites": [{"site": s, "bad_events": n} for s, n in found.by_source().items()],
        "destination_sites": [
            {"site": s, "bad_events": n} for s, n in found.by_destination().items()
        ],
        "incidents": [
            {
                "start": each.start_s,
                "end": each.end_s,
                "bad_events": each.bad,
                "site": each.site,
                "severity": None if each.severity is None else each.severity.value,
                "paths": [
                    {
                        "path": run.path.id,
                        "start": run.start_s,
                        "end": run.end_s,
                        "bad_events": run.bad,
                    }
                    for run in each.runs
                ],
            }
            for each in found.incidents
        ],
        "in_no_incident": found.scattered,
    }
