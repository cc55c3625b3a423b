"""The end of a demo: its final state as JSON, and what it says to a person."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analytics.figures import window_figures
from analytics.summary import exact_distribution
from analytics.windows import PathWindow
from netslo.app.incident import Incident
from netslo.app.lab.report import lab_lines
from netslo.app.watch import Watch
from netslo.model import Path
from netslo.units import format_ms, format_percent
from probes.emulator.log import Truth


def final_state(
    watch: Watch, incident: Incident, truth: Mapping[Path, Truth], ended_s: float
) -> dict[str, Any]:
    """Return the shape of `demo --json`: measured, true, judged."""
    return {
        "started": _rfc3339(watch.started_s),
        "ended": _rfc3339(ended_s),
        "paths": [
            _path_state(watch, window, truth[key.path])
            for key, window in sorted(watch.windows.items())
        ],
        "slos": [status.to_json() for status in watch.statuses],
        "incident": incident.to_json() | {"cost": _cost(watch, incident)},
    }


def _cost(watch: Watch, incident: Incident) -> dict[str, float]:
    """Return, by objective, which share of a whole period's budget the path's bad events are.

    The schedule is fixed, so the budget of a whole period is known before it has passed.
    """
    interval_s = watch.estate.plan.interval_s
    return {
        status.slo: status.bad_events / ((1 - status.objective) * status.period_s / interval_s)
        for status in watch.statuses
        if status.path == incident.path and status.bad_events
    }


def _path_state(watch: Watch, window: PathWindow, truth: Truth) -> dict[str, Any]:
    return {
        "path": window.key.path.id,
        "scope": watch.estate.scope(window.key.path).value,
        **window_figures(window),
        "truth": {"rtt": exact_distribution(truth.rtt_s), "lost": truth.lost},
    }


def summary(state: Mapping[str, Any]) -> RenderableType:
    """Say what was measured, how near the truth it was, what broke and what it cost."""
    paths = state["paths"]
    due, lost = sum(p["due"] for p in paths), sum(p["lost"] for p in paths)
    unmeasured = sum(p["unmeasured"] for p in paths)
    lines = [
        Text(
            f"{due:,} packets due on {len(paths)} paths: {lost:,} lost, {unmeasured:,} unmeasured."
        ),
        Text(_agreement(paths)),
        *(Text(line) for line in _incident_lines(state)),
        *(Text(line) for line in lab_lines(state)),
    ]
    return Group(Text("\nSummary", style="bold"), *lines, _scope_table(paths))


def _agreement(paths: list[dict[str, Any]]) -> str:
    """Compare with the emulator's log, the way the project's own test does."""
    p50 = sum(_within(p, "0.5", 0.02, 0.0003) for p in paths)
    p99 = sum(_within(p, "0.99", 0.05, 0.001) for p in paths)
    true_lost = sum(p["truth"]["lost"] for p in paths)
    return (
        f"Against the emulator's own log: p50 within 2 % + 0.3 ms on {p50} of {len(paths)} paths, "
        f"p99 within 5 % + 1 ms on {p99}; it dropped {true_lost:,}."
    )


def _within(path: dict[str, Any], q: str, ratio: float, margin_s: float) -> bool:
    measured, true = (side["quantiles"][q]["value"] for side in (path["rtt"], path["truth"]["rtt"]))
    if measured is None or true is None:
        return measured is true
    return bool(abs(measured - true) <= ratio * true + margin_s)


def _incident_lines(state: Mapping[str, Any]) -> list[str]:
    incident = state["incident"]
    if incident["started"] is None:
        return ["The run ended before the incident began."]
    visible = incident["visible_after"]
    lines = [
        f"Incident on {incident['path']}: "
        + (
            "its burn was not seen."
            if visible is None
            else f"its burn was seen after {visible:.0f} s."
        )
    ]
    for slo in state["slos"]:
        if slo["path"] == incident["path"] and slo["bad_events"]:
            cost = format_percent(incident["cost"][slo["slo"]])
            lines.append(
                f"  {slo['slo']}: {slo['bad_events']} of {slo['events']} events were bad; "
                f"that costs {cost} of the budget of {slo['period']}"
            )
    return lines


def _scope_table(paths: list[dict[str, Any]]) -> Table:
    """One line a scope: the range of its paths' figures, in milliseconds."""
    table = Table(box=None, pad_edge=False)
    for heading in ("scope", "paths", "p50 median", "p50 worst", "p99 median", "p99 worst", "lost"):
        table.add_column(heading, justify="left" if heading == "scope" else "right")
    for scope in ("edge", "regional", "national"):
        group = [p for p in paths if p["scope"] == scope]
        if not group:
            continue
        cells = []
        for q in ("0.5", "0.99"):
            values = [p["rtt"]["quantiles"][q]["value"] for p in group]
            known = sorted(value for value in values if value is not None)
            cells += [
                format_ms(known[len(known) // 2] if known else None),
                format_ms(known[-1] if known else None),
            ]
        table.add_row(scope, str(len(group)), *cells, str(sum(p["lost"] for p in group)))
    return table


def _rfc3339(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")
