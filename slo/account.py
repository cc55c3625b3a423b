"""How the budget of one objective on one path came about, with the numbers put in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analytics.store import SloTotals, WindowStore
from analytics.store.interface import HOT_S, WARM_S
from analytics.windows import Selector
from netslo.estate import Estate
from netslo.model import Path
from netslo.units import format_duration, format_rate
from slo.exclusion import Exclusion, one_line
from slo.exclusion_log import format_time, to_json
from slo.explain import missing_text, promise
from slo.feasibility import counted_name
from slo.objective import Indicator, Objective
from slo.ranges import Ranges
from slo.rates import Kind
from slo.slice_reader import slices_by_target
from slo.status import SloStatus, evaluate


@dataclass(frozen=True, slots=True)
class Account:
    """How the budget of one objective on one path came about, from a store."""

    status: SloStatus  # without the excluded times, as `slo status` has it
    with_excluded: SloStatus  # as if no time had been excluded
    start_s: int
    end_s: int
    by_target: tuple[
        SloTotals, ...
    ]  # all packets, or slices of bandwidth, of the period, each target apart
    exclusions: tuple[Exclusion, ...]  # that touch the period
    readings: tuple[float, ...] = ()  # of bandwidth in the period, bit/s

    @property
    def excluded_events(self) -> int:
        return self.with_excluded.events - self.status.events

    @property
    def excluded_bad_events(self) -> int:
        return self.with_excluded.bad_events - self.status.bad_events


def account(
    store: WindowStore,
    objective: Objective,
    path: Path,
    estate: Estate,
    now_s: float,
    exclusions: Sequence[Exclusion] = (),
) -> Account:
    """Read from a store what the budget of `objective` on `path` is made of."""
    of_path = Selector(path=path.id)
    ours = [e for e in exclusions if e.covers.matches(objective.name, path)]
    windows = [format_duration(length_s) for length_s in objective.alerts.windows_s]
    status, with_excluded = (
        evaluate(
            Ranges(store, excluded, [objective], selector=of_path),
            [objective],
            estate,
            now_s,
            windows,
            paths={path},
        )[0]
        for excluded in (ours, ())
    )
    end_s = int(now_s // HOT_S) * HOT_S
    start_s = int(now_s // WARM_S) * WARM_S - objective.window_s
    in_period = tuple(e for e in ours if e.start_s < end_s and start_s < e.end_s)
    readings: tuple[float, ...] = ()
    if objective.indicator is Indicator.BANDWIDTH:
        totals = slices_by_target(store, objective, start_s, end_s).get(path, [])
        told = Kind.of(objective).between(store, start_s, end_s)
        readings = tuple(each.value for each in told if each.path == path)
    else:
        totals = [
            total
            for total in store.slo_counts(of_path, start_s, end_s)
            if total.slo == objective.name
        ]
    return Account(status, with_excluded, start_s, end_s, tuple(totals), in_period, readings)


def account_lines(found: Account, objective: Objective, estate: Estate) -> list[str]:
    """Say the sum with its numbers put in."""
    status, event = found.status, counted_name(objective)
    lines = [
        f"{objective.name} on {status.path.id}: {promise(objective, estate)}",
        f"  from       {format_time(found.start_s)} to {format_time(found.end_s)}",
    ]
    lines += _reading_lines(found, objective)
    counted = "packets" if objective.rate is None else "slices"
    for total in found.by_target:
        counts = total.counts
        lines.append(
            f"  {counted:10} {counts.good:,} good + {counts.bad:,} bad = {counts.events:,}, "
            f"{counts.unmeasured:,} unmeasured, under a target of {total.target}"
        )
    lines += _exclusion_lines(found, event)
    if not status.events:
        return [*lines, f"  no {event} was measured, so nothing can be said of the budget"]
    lines += [
        f"  {event + 's':10} {status.events:,} count, {status.bad_events:,} of them bad",
        f"  may be bad {_budget_sum(found)}",
        f"  remaining  1 - {status.bad_events:,} / {status.budget_events:,.6g} = "
        + _percent(status.budget_remaining_ratio)
        + _beside(found),
        f"  coverage   {_coverage_sum(found, event)}; what is missing is {missing_text(objective)}",
    ]
    return [*lines, *_burn_lines(status, objective)]


def _reading_lines(found: Account, objective: Objective) -> list[str]:
    """Say what capacity tests told, which is not yet by slice."""
    if objective.rate is None:
        return []
    kind = f"{objective.direction.value} by {objective.method}"
    if not found.readings:
        return [f"  readings   none {kind}"]
    low = sum(value < objective.rate for value in found.readings)
    least, most = (
        format_rate(_short(value)) for value in (min(found.readings), max(found.readings))
    )
    said = f"{low:,} of them below {format_rate(objective.rate)}; from {least} to {most}"
    return [f"  readings   {len(found.readings):,} {kind}, {said}"]


def _short(rate: float) -> float:
    return float(f"{rate:.3g}")


def _budget_sum(found: Account) -> str:
    status = found.status
    result = f"{status.budget_events:,.6g}"
    if len({total.target for total in found.by_target}) != 1:
        return f"{result}, each packet under the target of its time"
    return f"(1 - {found.by_target[0].target}) x {status.events:,} = {result}"


def _coverage_sum(found: Account, event: str) -> str:
    due = f"{found.status.measured_events:,} of {found.status.due_events:,.10g} {event}s due"
    return f"{due} = {_percent(found.status.coverage)}"


def _beside(found: Account) -> str:
    if not found.exclusions:
        return ""
    return f" ({_percent(found.with_excluded.budget_remaining_ratio)} with the excluded times)"


def _exclusion_lines(found: Account, event: str) -> list[str]:
    if not found.exclusions:
        return []
    events, bad = found.excluded_events, found.excluded_bad_events
    return [
        f"  excluded   {events:,} {event}s, {bad:,} of them bad, by",
        *(
            f"    {e.id}: {format_time(e.start_s)} to {format_time(e.end_s)}, "
            f"{e.kind.value}, {one_line(e.author)}: {one_line(e.reason)}"
            for e in found.exclusions
        ),
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
        silent = "unknown" if any("unknown" in rate for rate in rates) else "silent"
        fires = "FIRES" if pair in status.firing else silent
        lines.append(
            f"  {pair.severity.value:10} over {float(threshold):.4g}: burn "
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
        "readings": None
        if not found.readings
        else {
            "count": len(found.readings),
            "min": min(found.readings),
            "max": max(found.readings),
        },
        "excluded": {
            "exclusions": [to_json(exclusion) for exclusion in found.exclusions],
            "events": found.excluded_events,
            "bad_events": found.excluded_bad_events,
        },
        "with_excluded": found.with_excluded.to_json(),
    }


def _percent(ratio: float | None) -> str:
    return "unknown" if ratio is None else f"{ratio * 100:.4f} %"
