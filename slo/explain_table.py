"""The alert pairs of an objective as a table for a person."""

from __future__ import annotations

from fractions import Fraction

from rich.table import Table

from netslo.estate import Estate
from slo.feasibility import ERROR_RATIOS, Figures, PairFigures, say_time
from slo.objective import Objective


def pairs_table(objective: Objective, estate: Estate) -> Table:
    """Return one row a pair: when it fires, how soon, and how often it needs a probe."""
    figures = Figures.of(objective, estate)
    packets = objective.slices is None
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 1), header_style="bold")
    table.add_column("  alert", no_wrap=True)
    for heading in (
        "long",
        "short",
        "of budget",
        "burn >",
        "errors >",
        *(f"seen at {float(ratio * 100):g} %" for ratio in ERROR_RATIOS),
        "bad events",
        "guard",
        "needs 1 event / (not to be slow)",
        "has 1 /",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for each in figures.pairs:
        table.add_row(f"  {each.pair.severity.value}", *_cells(each, figures, packets=packets))
    return table


def _cells(each: PairFigures, figures: Figures, *, packets: bool) -> list[str]:
    return [
        each.pair.long,
        each.pair.short,
        f"{float(each.pair.budget_share * 100):.4g} %",
        f"{float(each.burn_rate):.4g}",
        f"{float(each.error_ratio * 100):.4g} %",
        *(say_time(each.detection_s(ratio)) for ratio in ERROR_RATIOS),
        _count(each.bad_events),
        f"{each.bad_events_min:,}",
        f"{say_time(each.longest_interval_s(1))} / {say_time(each.interval_max_s)}",
        say_time(figures.interval_s),
        _verdict(each, packets=packets),
    ]


def _verdict(each: PairFigures, *, packets: bool) -> str:
    if not each.can_fire:
        return "NEVER fires"
    if each.rests_on_one and packets:
        return "RESTS ON ONE"
    return "slow" if each.slow else "ok"


def _count(exact: Fraction) -> str:
    return f"{float(exact):,.0f}" if exact >= 100 else f"{float(exact):.3g}"  # noqa: PLR2004
