"""All objectives: what is promised, by whom, and where it stands. For reviews."""

from __future__ import annotations

from typing import Any

from dashboards.grafana import expressions as of
from dashboards.grafana.board import (
    CATALOGUE,
    ON_CALL,
    SLO,
    Row,
    dashboard,
    of_field,
    of_series,
    to_board,
)
from dashboards.grafana.levels import (
    ANY_IS_WORTH_A_LOOK,
    BUDGET,
    COVERAGE,
    Levels,
)
from dashboards.grafana.panels import Field, ModernPanel, Query, Stat, Table, TimeSeries
from dashboards.grafana.tables import columns, figure, name_of, rows
from netslo import metrics

_INFO_LABELS = (
    "slo, display_name, description, service, indicator, objective, "
    "threshold_seconds, least_bits_per_second, period, owner"
)


def catalogue(levels: Levels) -> Any:
    """Return the dashboard."""
    return dashboard(
        CATALOGUE,
        "netslo: SLO catalogue",
        "What is promised, and where each promise stands.",
        [
            Row(4, [(panel, 6) for panel in _stats()]),
            Row(10, [(_table(levels), 24)]),
            Row(9, [(_budgets(), 12), (_overspent(), 12)]),
        ],
        refresh="5m",
        span="now-7d",
    )


def _stats() -> list[ModernPanel]:
    on_call = [to_board("On-call", ON_CALL)]
    return [
        Stat(
            "SLOs",
            "Objectives that the collector judges.",
            [Query(of.count_of(f"count by (slo) ({metrics.PROM_SLO_INFO})"))],
            Field("none", (("blue", None),)),
            links=on_call,
        ),
        Stat(
            "Paths with an SLO",
            "Paths about which something is promised.",
            [Query(of.count_of(f"count by (path) ({metrics.PROM_SLO_EVENTS})"))],
            Field("none", (("blue", None),)),
            links=on_call,
        ),
        Stat(
            "SLOs that overspent",
            "Objectives of which at least one path has no budget left.",
            [Query(of.count_of(f"min by (slo) ({metrics.PROM_SLO_BUDGET_REMAINING}) < 0"))],
            Field("none", ANY_IS_WORTH_A_LOOK),
            links=on_call,
        ),
        Stat(
            "SLOs without an owner",
            "Nobody is told of them by name.",
            [Query(of.count_of(f'count by (slo) ({metrics.PROM_SLO_INFO}{{owner=""}})'))],
            Field("none", ANY_IS_WORTH_A_LOOK),
            links=on_call,
        ),
    ]


def _table(levels: Levels) -> ModernPanel:
    return Table(
        "Objectives",
        "Each objective with the worst of its paths: the least budget, the fastest burn, the "
        "least coverage.",
        rows(
            f"max by ({_INFO_LABELS}) ({metrics.PROM_SLO_INFO})",
            f"min by (slo) ({metrics.PROM_SLO_BUDGET_REMAINING})",
            f"max by (slo) ({of.burn('', '1h')})",
            f"min by (slo) ({metrics.PROM_SLO_COVERAGE})",
            f"count by (slo) ({metrics.PROM_SLO_EVENTS})",
        ),
        Field("short", levels.burn, no_value="unknown"),
        sort_by="burn 1h",
        transformations=[
            {"id": "joinByField", "options": {"byField": "slo", "mode": "outer"}},
            *columns(
                {
                    "Value #B": "least budget left",
                    "Value #C": "burn 1h",
                    "Value #D": "least coverage",
                    "Value #E": "paths",
                    "display_name": "name",
                    "threshold_seconds": "limit, s",
                    "least_bits_per_second": "at least, bit/s",
                },
                (
                    *("slo", "display_name", "objective"),
                    *("threshold_seconds", "least_bits_per_second"),
                    *("Value #B", "Value #C", "Value #D", "Value #E"),
                    *("owner", "period", "service", "indicator", "description"),
                ),
                without=("Value #A",),  # that it is there
            )[1:],
        ],
        overrides=[
            name_of("slo", to_board("This SLO", SLO, slo=of_field("slo"))),
            figure("least budget left", "percentunit", BUDGET, 1),
            figure("burn 1h", "short", levels.burn, 1),
            figure("least coverage", "percentunit", COVERAGE, 2),
        ],
    )


def _budgets() -> ModernPanel:
    return TimeSeries(
        "Least budget left",
        "Of each objective, over time.",
        [Query(f"min by (slo) ({metrics.PROM_SLO_BUDGET_REMAINING})", "{{slo}}")],
        Field("percentunit", BUDGET, most=1),
        links=[to_board("This SLO", SLO, slo=of_series("slo"))],
    )


def _overspent() -> ModernPanel:
    return Table(
        "Paths with least budget",
        "The twenty paths that have least of their period's error budget left.",
        rows(f"bottomk(20, min by (slo, path) ({metrics.PROM_SLO_BUDGET_REMAINING}))"),
        Field("percentunit", BUDGET, decimals=1),
        transformations=columns({"Value": "budget left"}, ("slo", "path", "Value")),
        overrides=[
            name_of(
                "path", to_board("SLO detail", SLO, slo=of_field("slo"), path=of_field("path"))
            ),
            figure("budget left", "percentunit", BUDGET, 1),
        ],
    )
