"""A site and its region: whether it is the site, its region or the rest of the world."""

from __future__ import annotations

from typing import Any

from dashboards.grafana import expressions as of
from dashboards.grafana.board import (
    HEALTH,
    ON_CALL,
    PATH,
    SITE,
    Row,
    Variable,
    common_annotations,
    dashboard,
    of_field,
    of_series,
    to_board,
)
from dashboards.grafana.levels import BUDGET, LOSS, Levels, silence
from dashboards.grafana.panels import (
    BurnRates,
    Field,
    Matrix,
    ModernPanel,
    Query,
    Stat,
    Table,
    TimeSeries,
)
from dashboards.grafana.tables import columns, figure, matrix, name_of, rows
from netslo import metrics
from slo.rules.expressions import PROBE_SILENT_S

_FROM = 'src_site="$site"'
_TO = 'dst_site="$site"'


def site(levels: Levels) -> Any:
    """Return the dashboard."""
    return dashboard(
        SITE,
        "netslo: site and region",
        "What goes from a site and to it, and how its region does beside the others.",
        [
            Row(4, [(panel, 4) for panel in _stats(levels)]),
            Row(9, [(_paths(levels, "from", _FROM), 12), (_paths(levels, "to", _TO), 12)]),
            Row(8, [(_loss("from", _FROM, "dst_site"), 12), (_loss("to", _TO, "src_site"), 12)]),
            Row(8, [(_rtt(), 12), (_burn(levels), 12)]),
            Row(9, [(_region_matrix(levels), 12), (_region_lines(levels), 12)], "Regions"),
        ],
        variables=[
            Variable(
                "region", "Region", f"label_values({metrics.PROM_SITE_INFO}, region)", many=True
            ),
            Variable(
                "site", "Site", f'label_values({metrics.PROM_SITE_INFO}{{region=~"$region"}}, site)'
            ),
        ],
        annotations=common_annotations(_FROM.replace('"$site"', '~"$site"')),
    )


def _stats(levels: Levels) -> list[ModernPanel]:
    on_call = [to_board("On-call", ON_CALL)]
    health = [to_board("Health", HEALTH)]
    peers = f'{metrics.PROM_SLO_SITE_PEERS}{{site="$site"}}'
    return [
        Stat(
            "Last window of its probe",
            f"How long ago the last window of the site's probe ended; from {PROBE_SILENT_S} s on "
            "its paths count as not measured.",
            [Query(f"max(time() - {metrics.PROM_PROBE_LAST_WINDOW}{{{_FROM}}})")],
            Field("s", silence(PROBE_SILENT_S), decimals=0, no_value="never"),
            links=health,
        ),
        Stat(
            "Peers",
            "Other sites that this one shares an objective with.",
            [Query(f"max({peers})")],
            Field("none", (("blue", None),)),
            links=on_call,
        ),
        Stat(
            "Peers with a fast burning path",
            "Peers of which a path from here burns fast enough to wake somebody: most of them, "
            "and it is the site or its access.",
            [Query(of.count_of(f"max by (dst_site) ({of.burn(_FROM)}) > {levels.page:g}"))],
            Field("none", (("green", None), ("orange", 1), ("red", 2))),
            links=on_call,
        ),
        Stat(
            "Loss from here",
            "Lost per measured packet on all paths from the site.",
            [Query(of.loss(_FROM, "src_site"))],
            Field("percentunit", LOSS, decimals=2, no_value="unknown"),
            links=on_call,
        ),
        Stat(
            "Loss to here",
            "Lost per measured packet on all paths to the site.",
            [Query(of.loss(_TO, "dst_site"))],
            Field("percentunit", LOSS, decimals=2, no_value="unknown"),
            links=on_call,
        ),
        Stat(
            "Least budget left here",
            "Of all SLOs on paths from the site.",
            [Query(f"min({metrics.PROM_SLO_BUDGET_REMAINING}{{{_FROM}}})")],
            Field("percentunit", BUDGET, decimals=1, no_value="unknown"),
            links=on_call,
        ),
    ]


def _paths(levels: Levels, way: str, selector: str) -> ModernPanel:
    return Table(
        f"Paths {way} the site",
        f"Burn rate, p99 of the RTT and budget of every path {way} the site.",
        rows(
            f"max by (path) ({of.burn(selector)})",
            f"max by (path) ({of.quantile('0.99', selector)})",
            f"min by (path) ({metrics.PROM_SLO_BUDGET_REMAINING}{{{selector}}})",
        ),
        Field("short", levels.burn, no_value="unknown"),
        sort_by="burn 5m",
        transformations=columns(
            {"Value #A": "burn 5m", "Value #B": "p99 RTT", "Value #C": "budget left"}
        ),
        overrides=[
            name_of("path", to_board("This path", PATH, path=of_field("path"))),
            figure("burn 5m", "short", levels.burn, 1),
            figure("p99 RTT", "s"),
            figure("budget left", "percentunit", BUDGET, 1),
        ],
    )


def _loss(way: str, selector: str, peer: str) -> ModernPanel:
    return TimeSeries(
        f"Loss {way} the site",
        "Lost per measured packet, by the site at the other end.",
        [Query(of.loss(selector, peer), f"{{{{{peer}}}}}")],
        Field("percentunit", LOSS, least=0),
        links=[to_board("That site", SITE, site=of_series(peer))],
    )


def _rtt() -> ModernPanel:
    return TimeSeries(
        "p99 RTT from the site",
        "By path, over the last 5 minutes, of the packets that were answered.",
        [Query(f"max by (path) ({of.quantile('0.99', _FROM)})", "{{path}}")],
        Field("s", (("green", None),), least=0),
        links=[to_board("This path", PATH, path=of_series("path"))],
    )


def _burn(levels: Levels) -> ModernPanel:
    return BurnRates(
        "Burn rates from the site",
        "By path, over the last 5 minutes, the fastest of its SLOs.",
        [Query(f"max by (path) ({of.burn(_FROM)})", "{{path}}")],
        Field("short", levels.burn, least=0),
        links=[to_board("This path", PATH, path=of_series("path"))],
    )


def _region_matrix(levels: Levels) -> ModernPanel:
    worst = f"max by (src_site, dst_site) ({of.burn()})"
    sources = of.with_region(worst, "src_site")
    renamed = f'label_replace({sources}, "from", "$1", "region", "(.+)")'
    both = of.with_region(f"max by (from, dst_site) ({renamed})", "dst_site")
    return Matrix(
        "From region to region",
        "The worst burn rate of the last 5 minutes, from the region of the row to that of the "
        "column.",
        rows(f"max by (from, region) ({both})"),
        Field("short", levels.burn, decimals=1),
        transformations=matrix("from", "region"),
        panel_links=[to_board("On-call", ON_CALL)],
    )


def _region_lines(levels: Levels) -> ModernPanel:
    regions = of.with_region(f"max by (src_site) ({of.burn()})", "src_site")
    return BurnRates(
        "Burn rates by region",
        "The worst path from each of the chosen regions, over the last 5 minutes.",
        [
            Query(
                f"max by (region) ({regions} and on (region) "
                f'group by (region) ({metrics.PROM_SITE_INFO}{{region=~"$region"}}))',
                "{{region}}",
            )
        ],
        Field("short", levels.burn, least=0),
        links=[to_board("On-call", ON_CALL)],
    )
