"""What an objective means in figures: windows, thresholds, times, budget, probes."""

from __future__ import annotations

from typing import Any

from netslo.estate import Estate
from netslo.units import format_duration, format_ms, format_rate
from slo.budget import MissingData
from slo.feasibility import ERROR_RATIOS, Figures, PairFigures, event_name, warn
from slo.objective import Indicator, Objective


def promise(objective: Objective, estate: Estate) -> str:
    """Say an objective in one line."""
    percent = f"{float(objective.target * 100):.10g} %"
    count = len(objective.paths(estate))
    return (
        f"{percent} of {_what_is_good(objective)} over {format_duration(objective.window_s)}, "
        f"on each of {count} {'path' if count == 1 else 'paths'}"
    )


def _what_is_good(objective: Objective) -> str:
    if objective.indicator is Indicator.BANDWIDTH:
        packets = f"at least {format_rate(objective.limit or 0)} {objective.direction.value}"
    else:
        packets = _good_packets(objective)
    if objective.slices is None:
        return f"packets {packets}"
    length = format_duration(objective.slices.length_s)
    ratio = objective.slices.good_ratio_min
    if objective.indicator is Indicator.BANDWIDTH:
        return f"{length} slices with {packets}"
    if ratio is None:
        return f"packets {packets}, on average of {length} slices,"
    return f"{length} slices with {float(ratio * 100):.10g} % of packets {packets}"


def _good_packets(objective: Objective) -> str:
    if objective.limit_s is None:
        return "answered"
    limit = f"{format_ms(objective.limit_s, 3).rstrip('0').rstrip('.')} ms"
    way = objective.direction.value
    match objective.indicator:
        case Indicator.JITTER:
            return f"with a {way} {objective.measure.name} of at most {limit}"
        case Indicator.DELAY:
            return f"arrived {way} within {limit}"
    return f"answered within {limit}"


def explain_lines(objective: Objective, estate: Estate) -> list[str]:
    """Say what an objective means here, in lines for a person; the pairs are a table."""
    figures, event = Figures.of(objective, estate), event_name(objective)
    lines = [
        f"{objective.name}: {promise(objective, estate)}",
        (
            f"  events    one {event} every {float(figures.interval_s):g} s on a path: "
            f"{float(figures.events):,.0f} in {format_duration(objective.window_s)}"
        ),
        (
            f"  budget    (1 - {objective.target_text}) x {float(figures.events):,.0f} = "
            f"{float(figures.budget_events):,.6g} bad {event}s, "
            f"or {float(figures.outage_s) / 60:,.4g} minutes of full outage"
        ),
        *_measured_lines(objective, estate),
        f"  missing   {missing_text(objective)}",
        f"  guard     {guard_text(objective)}",
    ]
    lines += [f"  {key:9} {text}" for key, text in _people(objective) if text]
    return lines


def _measured_lines(objective: Objective, estate: Estate) -> list[str]:
    """Say which tests tell a bandwidth, and what of that was chosen for lack of a word."""
    if objective.indicator is not Indicator.BANDWIDTH:
        return []
    testing, tested = estate.testing, set(estate.tested_paths)
    paths = objective.paths(estate)
    count = sum(path in tested for path in paths)
    how = "no test is planned"
    if testing is not None and count:
        how = (
            f"the plan tests {count} of {len(paths)} by {testing.method} every "
            f"{format_duration(testing.interval_s)}"
        )
    return [
        f"  measured  {objective.direction.value} by {objective.method}; {how}",
        "            a slice is good when each of its readings is, and unmeasured without any",
    ]


def guard_text(objective: Objective) -> str:
    """Say how many bad events an alert waits for."""
    guard = objective.alerts.guard
    text = f"at least {guard.bad_events_min} bad {event_name(objective)}s in the long window"
    if guard.confidence is None:
        return text
    periods = 1 / (1 - guard.confidence)
    return f"{text}; chance, at half of the budget, alerts once in {periods:.4g} periods at most"


def missing_text(objective: Objective) -> str:
    if objective.missing_data is MissingData.IGNORE:
        share = float(objective.coverage_min * 100)
        return f"not counted; below {share:.4g} % coverage a burn rate is unknown"
    return f"counted as {objective.missing_data.value}"


def _people(objective: Objective) -> list[tuple[str, str]]:
    targets = ", ".join(f"{t.name} ({t.target})" for t in objective.alerts.targets)
    return [
        ("owner", objective.owner or ""),
        ("runbook", objective.runbook or ""),
        ("tells", targets),
        ("escalates", objective.alerts.escalation or ""),
    ]


def to_json(objective: Objective, estate: Estate) -> dict[str, Any]:
    """Return the same in figures: seconds and ratios; null is never, or unknown."""
    figures = Figures.of(objective, estate)
    return {
        "slo": objective.name,
        "promise": promise(objective, estate),
        "objective": float(objective.target),
        "threshold": objective.limit_s,
        "rate": objective.rate,
        "direction": objective.direction.value,
        "method": objective.method,
        "period": format_duration(objective.window_s),
        "event": event_name(objective),
        "event_interval": float(figures.interval_s),
        "events": float(figures.events),
        "budget_events": float(figures.budget_events),
        "budget_outage": float(figures.outage_s),
        "missing_data": objective.missing_data.value,
        "coverage_min": float(objective.coverage_min),
        "guard": {
            "bad_events_min": objective.alerts.guard.bad_events_min,
            "confidence": objective.alerts.guard.confidence,
        },
        "pairs": [_pair_json(each) for each in figures.pairs],
        "warnings": warn(objective, estate),
    }


def _pair_json(each: PairFigures) -> dict[str, Any]:
    detection = {f"{float(ratio):g}": each.detection_s(ratio) for ratio in ERROR_RATIOS}
    return {
        "severity": each.pair.severity.value,
        "long": each.pair.long,
        "short": each.pair.short,
        "budget_share": float(each.pair.budget_share),
        "burn_rate": float(each.burn_rate),
        "error_ratio": float(each.error_ratio),
        "can_fire": each.can_fire,
        "bad_events": float(each.bad_events),
        "detection": {
            ratio: None if time_s is None else float(time_s) for ratio, time_s in detection.items()
        },
        "bad_events_min": each.bad_events_min,
        "event_interval_max": float(each.interval_max_s),
    }
