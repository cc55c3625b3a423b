"""Estate on-call: what burns, where, since when, what next. For who was just woken."""

from __future__ import annotations

from typing import Any

from dashboards.grafana import expressions as of
from dashboards.grafana.board import (
    CATALOGUE,
    HEALTH,
    ON_CALL,
    PATH,
    SITE,
    SLO,
    Row,
    Variable,
    dashboard,
    of_field,
    of_series,
    to_board,
)
from dashboards.grafana.levels import (
    ANY_IS_BAD,
    ANY_IS_WORTH_A_LOOK,
    BUDGET,
    COVERAGE,
    Levels,
    mapping,
    silence,
)
from dashboards.grafana.panels import (
    BurnRates,
    Field,
    Link,
    Matrix,
    ModernPanel,
    Query,
    SiteMap,
    Stat,
    StateTimeline,
    Table,
)
from dashboards.grafana.tables import columns, figure, matrix, name_of, rows
from netslo import metrics
from slo.rules.expressions import BURN_ALERT, COLLECTOR_SILENT_S, PROBE_SILENT_S

_CHOSEN = 'class=~"$class",scope=~"$scope",slo=~"$slo"'


def on_call(levels: Levels) -> Any:
    """Return the dashboard: twelve panels, the first row answered at a glance."""
    return dashboard(
        ON_CALL,
        "netslo: estate on-call",
        "What burns, where, since when, and what to do next.",
        [
            Row(4, [(panel, 4) for panel in _counts()]),
            Row(9, [(_burning(levels), 14), (_alerts(), 10)]),
            Row(11, [(_matrix(levels), 14), (_map(levels), 10)]),
            Row(8, [(_lines(levels), 14), (_since(levels), 10)]),
        ],
        variables=[
            Variable("slo", "SLO", f"label_values({metrics.PROM_SLO_INFO}, slo)", many=True),
            Variable(
                "class", "Class", f"label_values({metrics.PROM_SLO_EVENTS}, class)", many=True
            ),
            Variable(
                "scope", "Scope", f"label_values({metrics.PROM_SLO_EVENTS}, scope)", many=True
            ),
        ],
    )


def _counts() -> list[ModernPanel]:
    catalogue, health = to_board("All SLOs", CATALOGUE), to_board("Health", HEALTH)

    def stat(title: str, description: str, expr: str, shown: Field, link: Link) -> ModernPanel:
        return Stat(title, description, [Query(expr)], shown, links=[link])

    return [
        stat(
            "Pages firing",
            "Alerts that wake somebody. Each has a runbook: see the table of alerts.",
            of.count_of(of.firing("page")),
            Field("none", ANY_IS_BAD),
            catalogue,
        ),
        stat(
            "Tickets firing",
            "Alerts for working hours.",
            of.count_of(of.firing("ticket")),
            Field("none", ANY_IS_WORTH_A_LOOK),
            catalogue,
        ),
        stat(
            "Budgets overspent",
            "Paths of an SLO whose error budget of the period is gone.",
            of.count_of(
                f"max by (slo, path) ({metrics.PROM_SLO_BUDGET_REMAINING}{{{_CHOSEN}}}) < 0"
            ),
            Field("none", ANY_IS_WORTH_A_LOOK),
            catalogue,
        ),
        stat(
            "Least coverage",
            "Measured packets per packet due over the period, of the path that has least. What is "
            "not measured is neither good nor bad.",
            f"min({metrics.PROM_SLO_COVERAGE}{{{_CHOSEN}}})",
            Field("percentunit", COVERAGE, decimals=2, no_value="unknown"),
            catalogue,
        ),
        stat(
            "Silent probes",
            f"Sites of which no window has ended for {PROBE_SILENT_S} s: their paths are not "
            "measured.",
            of.count_of(f"{of.probe_age()} > {PROBE_SILENT_S}"),
            Field("none", ANY_IS_BAD),
            health,
        ),
        stat(
            "Last commit",
            f"Since when no collector has kept anything. After {COLLECTOR_SILENT_S} s nothing on "
            "this page is of now.",
            f"time() - max({metrics.PROM_COLLECTOR_LAST_COMMIT})",
            Field("s", silence(COLLECTOR_SILENT_S), decimals=0, no_value="no collector"),
            health,
        ),
    ]


def _burning(levels: Levels) -> ModernPanel:
    path = to_board("This path", PATH, path=of_field("path"))
    slo = to_board("This SLO", SLO, slo=of_field("slo"), path=of_field("path"))
    by = "slo, path"
    return Table(
        "What burns",
        "The paths that spend their error budget fastest now. A burn rate of 1 spends it just in "
        "its period. A path without a figure is not known to be well.",
        rows(
            f"topk(20, max by ({by}) ({of.burn(_CHOSEN)}))",
            f"max by ({by}) ({of.burn(_CHOSEN, '1h')}) "
            f"and on ({by}) topk(20, max by ({by}) ({of.burn(_CHOSEN)}))",
            f"min by ({by}) ({metrics.PROM_SLO_BUDGET_REMAINING}{{{_CHOSEN}}}) "
            f"and on ({by}) topk(20, max by ({by}) ({of.burn(_CHOSEN)}))",
        ),
        Field("short", levels.burn, no_value="unknown"),
        sort_by="burn 5m",
        transformations=columns(
            {"Value #A": "burn 5m", "Value #B": "burn 1h", "Value #C": "budget left"},
            ("path", "slo", "Value #A", "Value #B", "Value #C"),
        ),
        overrides=[
            name_of("path", path, 230),
            name_of("slo", slo),
            figure("burn 5m", "short", levels.burn, 1),
            figure("burn 1h", "short", levels.burn, 1),
            figure("budget left", "percentunit", BUDGET, 1),
        ],
    )


def _alerts() -> ModernPanel:
    told = f"ALERTS_FOR_STATE * 1000 and ignoring (alertstate) {of.firing()}"
    for end in ("src_site", "dst_site"):  # of alerts about a site; a path names both of its own
        told = f'label_replace({told}, "site", "$1", "{end}", "(.+)")'
    told = f'label_replace({told}, "site", "", "path", ".+")'
    return Table(
        "Alerts",
        "What fires, and since when. The name leads to the runbook in docs/runbooks of the "
        "project; Alertmanager's notification has the evidence.",
        rows(f"max by (alertname, severity, slo, path, site) ({told})"),
        Field("dateTimeFromNow", ANY_IS_BAD, no_value="nothing fires"),
        transformations=columns(
            {"Value": "since", "alertname": "alert"},
            ("severity", "alertname", "Value", "path", "slo", "site"),
        ),
        overrides=[
            name_of("path", to_board("This path", PATH, path=of_field("path"))),
            name_of("slo", to_board("This SLO", SLO, slo=of_field("slo"))),
            name_of("severity", None, 80),
        ],
    )


def _matrix(levels: Levels) -> ModernPanel:
    return Matrix(
        "From site to site",
        "The worst burn rate of the last 5 minutes, from the site of the row to that of the "
        "column. A whole row and column in colour is a site or its access; one cell is a path. "
        "An empty cell has no objective or is unknown.",
        rows(f"max by (src_site, dst_site) ({of.burn(_CHOSEN)})"),
        Field("short", levels.burn, decimals=1),
        transformations=matrix("src_site", "dst_site"),
        panel_links=[to_board("Sites and regions", SITE)],
    )


def _map(levels: Levels) -> ModernPanel:
    worst = f"max by (src_site) ({of.burn(_CHOSEN)})"
    here = f'label_replace({worst}, "site", "$1", "src_site", "(.+)")'
    place = f"max by (site, region, latitude, longitude) ({metrics.PROM_SITE_INFO})"
    return SiteMap(
        "Sites",
        "Where sites stand; the colour is the worst burn rate of the paths from a site, -1 where "
        "none is known.",
        rows(
            f"{place} * on (site) group_left () max by (site) ({here})\nor on (site) ({place} * -1)"
        ),
        Field("short", levels.burn, decimals=1, mappings=[mapping(-1, "unknown", "gray")]),
        transformations=[
            {
                "id": "convertFieldType",
                "options": {
                    "conversions": [
                        {"destinationType": "number", "targetField": "latitude"},
                        {"destinationType": "number", "targetField": "longitude"},
                    ],
                    "fields": {},
                },
            },
            {
                "id": "organize",
                "options": {
                    "excludeByName": {"Time": True},
                    "indexByName": {},
                    "renameByName": {"Value": "burn rate"},
                },
            },
        ],
        links=[to_board("This site", SITE, site=of_field("site"))],
    )


def _lines(levels: Levels) -> ModernPanel:
    rates = f"max by (slo, path) ({of.burn(_CHOSEN)})"
    # Of the whole picture, not of each moment: else the legend has a hundred names.
    most = f"topk(5, max by (slo, path) (max_over_time({of.burn(_CHOSEN)}[$__range] @ end())))"
    return BurnRates(
        "Fastest burning",
        "Burn rates of the last 5 minutes, of the five paths that burned fastest at any moment "
        "shown. Dashed: where somebody is told at the earliest.",
        [Query(f"{rates} and on (slo, path) {most}", "{{slo}} {{path}}")],
        Field("short", levels.burn, least=0),
        links=[
            to_board("This path", PATH, path=of_series("path")),
            to_board("This SLO", SLO, slo=of_series("slo"), path=of_series("path")),
        ],
    )


def _since(levels: Levels) -> ModernPanel:
    return StateTimeline(
        "Since when",
        "Pairs of windows that fire: the burn rate of the long window. By Prometheus' rules; "
        "empty is good.",
        [Query(f"max by (path, slo) ({BURN_ALERT}{{{_CHOSEN}}})", "{{path}} {{slo}}")],
        Field("short", levels.burn, decimals=0, no_value="nothing fires"),
        links=[to_board("This path", PATH, path=of_series("path"))],
    )
