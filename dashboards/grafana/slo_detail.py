"""One objective: what it promises, how fast its budget goes, and when it will be gone."""

from __future__ import annotations

from typing import Any

from dashboards.grafana import expressions as of
from dashboards.grafana.board import (
    CATALOGUE,
    ON_CALL,
    PATH,
    SLO,
    Row,
    Variable,
    common_annotations,
    dashboard,
    of_field,
    of_series,
    to_board,
)
from dashboards.grafana.levels import BUDGET, COVERAGE, Levels
from dashboards.grafana.panels import (
    BurnRates,
    Field,
    ModernPanel,
    Override,
    Query,
    Stacked,
    Stat,
    StateTimeline,
    Table,
    TimeSeries,
    dashed,
)
from dashboards.grafana.tables import columns, figure, name_of, rows
from netslo import metrics
from slo.rules.expressions import BURN_ALERT

_SLO = 'slo="$slo"'
_PATHS = 'slo="$slo",path=~"$path"'
_DAY_S = 86400.0


def slo_detail(levels: Levels) -> Any:
    """Return the dashboard."""
    return dashboard(
        SLO,
        "netslo: SLO detail",
        "One objective: budget, burn rates against their thresholds, and when the budget is gone.",
        [
            Row(4, [(panel, 4) for panel in _stats(levels)]),
            Row(9, [(_burn(levels), 14), (_pairs(), 10)]),
            Row(9, [(_budget(), 12), (_exhaustion(), 12)]),
            Row(9, [(_error_ratio(), 12), (_events(), 12)]),
            Row(9, [(_by_path(levels), 14), (_firing(levels), 10)]),
        ],
        variables=[
            Variable("slo", "SLO", f"label_values({metrics.PROM_SLO_INFO}, slo)"),
            Variable(
                "path",
                "Path",
                f"label_values({metrics.PROM_SLO_EVENTS}{{{_SLO}}}, path)",
                many=True,
            ),
        ],
        span="now-24h",
        annotations=common_annotations('path=~"$path"'),
    )


def _stats(levels: Levels) -> list[ModernPanel]:
    catalogue = [to_board("All SLOs", CATALOGUE)]
    on_call = [to_board("On-call", ON_CALL)]
    return [
        Stat(
            "Objective",
            "The ratio of events that should be good.",
            [Query(f"max({metrics.PROM_SLO_OBJECTIVE}{{{_SLO}}})")],
            Field("percentunit", (("blue", None),), decimals=3),
            links=catalogue,
        ),
        Stat(
            "Limit",
            "The most that a good event may take. An objective of loss or availability has none.",
            [Query(f"max({metrics.PROM_SLO_LIMIT}{{{_SLO}}})")],
            Field("s", (("blue", None),), no_value="none"),
            links=catalogue,
        ),
        Stat(
            "Least budget left",
            "Of the chosen paths, the one with least of its period's error budget; below 0 it is "
            "overspent.",
            [Query(f"min({metrics.PROM_SLO_BUDGET_REMAINING}{{{_PATHS}}})")],
            Field("percentunit", BUDGET, decimals=1, no_value="unknown"),
            links=catalogue,
        ),
        Stat(
            "Fastest burn, 5 minutes",
            "Of the chosen paths, the fastest. 1 spends the budget just in its period.",
            [Query(f"max({of.burn(_PATHS)})")],
            Field("short", levels.burn, decimals=1, no_value="unknown"),
            links=on_call,
        ),
        Stat(
            "Fastest burn, 1 hour",
            "The same over an hour: a short fault shows less.",
            [Query(f"max({of.burn(_PATHS, '1h')})")],
            Field("short", levels.burn, decimals=1, no_value="unknown"),
            links=on_call,
        ),
        Stat(
            "Coverage",
            "Measured packets per packet due over the period, of the path that has least.",
            [Query(f"min({metrics.PROM_SLO_COVERAGE}{{{_PATHS}}})")],
            Field("percentunit", COVERAGE, decimals=2, no_value="unknown"),
            links=catalogue,
        ),
    ]


def _burn(levels: Levels) -> ModernPanel:
    return BurnRates(
        "Burn rates and thresholds",
        "The fastest of the chosen paths over each window. A pair fires when its long and its "
        "short window are both above its dashed line.",
        [
            Query(f"max by (window) ({metrics.PROM_SLO_BURN_RATE}{{{_PATHS}}})", "{{window}}"),
            Query(
                f"max by (pair, severity) ({metrics.PROM_SLO_BURN_THRESHOLD}{{{_SLO}}})",
                "{{severity}} above, {{pair}}",
            ),
        ],
        Field("short", levels.burn, least=0),
        overrides=[dashed(".* above, .*", regex=True)],
        links=[to_board("On-call", ON_CALL)],
    )


def _pairs() -> ModernPanel:
    return Table(
        "Pairs of windows",
        "At which burn rate each pair fires, and how many bad events it needs at least.",
        rows(
            f"max by (pair, severity) ({metrics.PROM_SLO_BURN_THRESHOLD}{{{_SLO}}})",
            f"max by (pair) ({metrics.PROM_SLO_BAD_EVENTS_MIN}{{{_SLO}}})",
        ),
        Field("short", (("blue", None),)),
        sort_by="fires above",
        transformations=columns({"Value #A": "fires above", "Value #B": "bad events, at least"}),
        panel_links=[to_board("On-call", ON_CALL)],
    )


def _budget() -> ModernPanel:
    return TimeSeries(
        "Budget burn-down",
        "What is left of the period's error budget on each path; below 0 it is overspent. A "
        "rolling period gives back what it spent when that is over.",
        [Query(f"min by (path) ({metrics.PROM_SLO_BUDGET_REMAINING}{{{_PATHS}}})", "{{path}}")],
        Field("percentunit", BUDGET, most=1),
        links=[to_board("This path", PATH, path=of_series("path"))],
    )


def _exhaustion() -> ModernPanel:
    left = f"{metrics.PROM_SLO_BUDGET_REMAINING}{{{_PATHS}}}"
    pace = f"clamp_min({left}, 0) / -(deriv({left}[1h]) < 0)"
    date = f'{metrics.PROM_SLO_EXHAUSTION}{{{_PATHS},quantile="0.5"}}'
    return TimeSeries(
        "Budget gone in",
        "Until nothing is left of a path's budget: at the pace of the last hour, or in the middle "
        "one of the futures that its past allows, whichever is sooner. A path that keeps its "
        "budget has no line.",
        [Query(f"min by (path) ({pace} or clamp_min({date} - time(), 0))", "{{path}}")],
        Field(
            "s",
            (("red", None), ("orange", _DAY_S), ("yellow", 7 * _DAY_S), ("green", 28 * _DAY_S)),
            least=0,
            no_value="not at this pace",
        ),
        links=[to_board("This path", PATH, path=of_series("path"))],
    )


def _error_ratio() -> ModernPanel:
    bad, events = (
        f"sum by (path) (increase({metric}{{{_PATHS}}}[{of.RATE}]))"
        for metric in (metrics.PROM_SLO_BAD_EVENTS, metrics.PROM_SLO_EVENTS)
    )
    return TimeSeries(
        "Bad events",
        "Bad events per event, by path, and the ratio that the objective allows.",
        [
            Query(f"{bad} / ({events} > 0)", "{{path}}"),
            Query(f"1 - max({metrics.PROM_SLO_OBJECTIVE}{{{_SLO}}})", "allowed"),
        ],
        Field("percentunit", (("green", None),), least=0),
        overrides=[
            dashed("allowed", links=[])  # it is of no path
        ],
        links=[to_board("This path", PATH, path=of_series("path"))],
    )


def _events() -> ModernPanel:
    def rate(metric: str) -> str:
        return f"sum(rate({metric}{{{_PATHS}}}[{of.RATE}]))"

    events, bad = rate(metrics.PROM_SLO_EVENTS), rate(metrics.PROM_SLO_BAD_EVENTS)
    return Stacked(
        "Events",
        "What is judged each second, and what could not be: unmeasured is neither good nor bad.",
        [
            Query(f"{events} - {bad}", "good"),
            Query(bad, "bad"),
            Query(rate(metrics.PROM_SLO_UNMEASURED_EVENTS), "unmeasured"),
        ],
        Field("cps", (("green", None),), least=0),
        overrides=[
            Override(name, {"color": {"fixedColor": colour, "mode": "fixed"}})
            for name, colour in (("good", "green"), ("bad", "red"), ("unmeasured", "gray"))
        ],
        links=[to_board("All SLOs", CATALOGUE)],
    )


def _by_path(levels: Levels) -> ModernPanel:
    return Table(
        "Paths",
        "Where each path of this objective stands.",
        rows(
            f"min by (path) ({metrics.PROM_SLO_BUDGET_REMAINING}{{{_PATHS}}})",
            f"max by (path) ({of.burn(_PATHS)})",
            f"max by (path) ({of.burn(_PATHS, '1h')})",
            f"min by (path) ({metrics.PROM_SLO_COVERAGE}{{{_PATHS}}})",
        ),
        Field("short", levels.burn, no_value="unknown"),
        transformations=columns(
            {
                "Value #A": "budget left",
                "Value #B": "burn 5m",
                "Value #C": "burn 1h",
                "Value #D": "coverage",
            }
        ),
        sort_by="burn 1h",
        overrides=[
            name_of("path", to_board("This path", PATH, path=of_field("path"))),
            figure("budget left", "percentunit", BUDGET, 1),
            figure("burn 5m", "short", levels.burn, 1),
            figure("burn 1h", "short", levels.burn, 1),
            figure("coverage", "percentunit", COVERAGE, 2),
        ],
    )


def _firing(levels: Levels) -> ModernPanel:
    return StateTimeline(
        "What fires",
        "Paths and pairs of windows that fire: the burn rate of the long window; empty is good.",
        [Query(f"max by (path, pair) ({BURN_ALERT}{{{_PATHS}}})", "{{path}} {{pair}}")],
        Field("short", levels.burn, decimals=0, no_value="nothing fires"),
        links=[to_board("This path", PATH, path=of_series("path"))],
    )
