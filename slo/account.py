"""How the budget of one objective on one path came about, with the numbers put in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from analytics.store import SloTotals, WindowStore
from analytics.store.interface import WARM_S
from analytics.windows import Selector
from netslo.estate import Estate
from netslo.model import Path
from netslo.units import format_duration
from slo.budget import Spend
from slo.exclusion import Exclusion, clip, excluded_times
from slo.exclusion_log import format_time
from slo.explain import missing_text, promise
from slo.feasibility import counted_name
from slo.objective import Objective, PathSelector
from slo.ranges import Ranges, add_up
from slo.status import SloStatus, evaluate


@dataclass(frozen=True, slots=True)
class Account:
    """How the budget of one objective on one path came about, from a store."""

    status: SloStatus
    start_s: int
    end_s: int
    by_target: tuple[SloTotals, ...]  # over the period, each target apart
    excluded: Spend  # within the excluded times of the period
    excluded_times: tuple[tuple[int, int], ...]
    exclusions: tuple[Exclusion, ...]


def account(
    store: WindowStore,
    objective: Objective,
    path: Path,
    estate: Estate,
    now_s: float,
    exclusions: Sequence[Exclusion] = (),
) -> Account:
    """Read from a store what the budget of `objective` on `path` is made of."""
    alone = replace(objective, selector=PathSelector(paths=frozenset({path})))
    windows = [format_duration(length_s) for length_s in objective.alerts.windows_s]
    (status,) = evaluate(Ranges(store, (), [alone]), [alone], estate, now_s, windows)
    end_s = int(now_s // 10) * 10
    start_s = int(now_s // WARM_S) * WARM_S - objective.window_s
    of_path = Selector(path=path.id)
    ours = [e for e in exclusions if e.covers.matches(objective.name, path)]
    times = clip(excluded_times(ours, objective.name, path), start_s, end_s)
    excluded = Spend()
    for low_s, high_s in times:
        found = add_up(store.slo_counts(of_path, low_s, high_s))
        excluded += found.get((objective.name, path), Spend())
    totals = tuple(
        total for total in store.slo_counts(of_path, start_s, end_s) if total.slo == objective.name
    )
    in_period = tuple(e for e in ours if e.start_s < end_s and start_s < e.end_s)
    return Account(status, start_s, end_s, totals, excluded, times, in_period)


def account_lines(found: Account, objective: Objective, estate: Estate) -> list[str]:
    """Say the sum with its numbers put in."""
    status, event = found.status, counted_name(objective)
    lines = [
        f"{objective.name} on {status.path.id}",
        (
            f"  from {format_time(found.start_s)} to {format_time(found.end_s)}, "
            f"{promise(objective, estate)}"
        ),
        "",
    ]
    if objective.slices is None:
        for total in found.by_target:
            counts = total.counts
            lines.append(
                f"  under {total.target}: {counts.good:,} good + {counts.bad:,} bad "
                f"= {counts.events:,} {event}s; may be bad: (1 - {total.target}) x "
                f"{counts.events:,} = {_figure(total.budget_events)}"
            )
    if not status.events:
        return [*lines, f"  no {event} was measured, so nothing can be said of the budget"]
    lines += [
        f"  bad        {status.bad_events:,} {event}s",
        f"  may be bad {status.budget_events:,.6g} {event}s",
        (
            f"  remaining  1 - {status.bad_events:,} / {status.budget_events:,.6g} = "
            f"{_percent(status.budget_remaining_ratio)}"
        ),
        (
            f"  coverage   {_percent(status.coverage)}: {status.unmeasured_events:,} {event}s "
            f"unmeasured, {missing_text(objective)}"
        ),
    ]
    return [*lines, *_exclusion_lines(found, event), "", *_burn_lines(status, objective)]


def _exclusion_lines(found: Account, event: str) -> list[str]:
    if not found.exclusions:
        return []
    status, out = found.status, found.excluded
    budget = Fraction(status.budget_events).limit_denominator(10**12) - out.budget
    left = 1 - Fraction(status.bad_events - out.bad) / budget if budget > 0 else None
    lines = [
        (
            f"  excluded   {len(found.exclusions)} exclusions, with {out.events:,} {event}s, "
            f"{out.bad:,} of them bad"
        ),
        (
            f"             without those, remaining = "
            f"{_percent(None if left is None else float(left))}"
        ),
    ]
    return lines + [
        f"             {e.id}: {format_time(e.start_s)} to {format_time(e.end_s)}, "
        f"{e.kind.value}, by {e.author}: {e.reason}"
        for e in found.exclusions
    ]


def _burn_lines(status: SloStatus, objective: Objective) -> list[str]:
    lines = []
    for pair in objective.alerts.pairs:
        threshold = pair.threshold(objective.window_s)
        rates = [
            f"{format_duration(s)} {'unknown' if rate is None else f'{rate:.4g}'}"
            for s in (pair.long_s, pair.short_s)
            for rate in [status.burn_rate.get(format_duration(s))]
        ]
        fires = "FIRES" if pair in status.firing else "silent"
        lines.append(
            f"  {pair.severity.value:6} over {float(threshold):.4g}: burn "
            f"{', '.join(rates)}: {fires}"
        )
    return lines


def account_json(found: Account) -> dict[str, Any]:
    """Return the sum in figures, beside the status."""
    return {
        "status": found.status.to_json(),
        "start": found.start_s,
        "end": found.end_s,
        "by_target": [
            {
                "target": total.target,
                "good": total.counts.good,
                "bad": total.counts.bad,
                "unmeasured": total.counts.unmeasured,
                "budget_events": float(total.budget_events),
            }
            for total in found.by_target
        ],
        "excluded": {
            "times": [list(times) for times in found.excluded_times],
            "events": found.excluded.events,
            "bad_events": found.excluded.bad,
            "budget_events": float(found.excluded.budget),
        },
    }


def _figure(exact: Fraction) -> str:
    return f"{float(exact):,.6g}"


def _percent(ratio: float | None) -> str:
    return "unknown" if ratio is None else f"{ratio * 100:.4f} %"
