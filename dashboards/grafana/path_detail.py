"""One path: its whole distribution, its loss, and what changed on the way."""

from __future__ import annotations

from typing import Any

from dashboards.grafana import expressions as of
from dashboards.grafana.board import (
    HEALTH,
    ON_CALL,
    PATH,
    SITE,
    SLO,
    Row,
    Variable,
    common_annotations,
    dashboard,
    of_series,
    to_board,
)
from dashboards.grafana.levels import LOSS, Levels
from dashboards.grafana.panels import (
    Field,
    Form,
    Heatmap,
    Link,
    ModernPanel,
    Override,
    Query,
    Stat,
    TimeSeries,
    dashed,
)
from netslo import metrics

_PATH = 'path="$path"'
_PLAIN = (("green", None),)
_LIMIT = Query(f"max by (slo) ({metrics.PROM_SLO_LIMIT}{{{_PATH}}})", "limit of {{slo}}")
_LIMIT_LINE = dashed("limit of .*", regex=True, color={"fixedColor": "red", "mode": "fixed"})


def path_detail(levels: Levels) -> Any:
    """Return the dashboard."""
    return dashboard(
        PATH,
        "netslo: path detail",
        "One path in one direction and traffic class. Its reverse is another path.",
        [
            Row(4, [(panel, 4) for panel in _stats(levels)]),
            Row(10, [(_heatmap(), 12), (_bands(), 12)]),
            Row(8, [(_loss(), 8), (_loss_each_way(), 8), (_bursts(), 8)]),
            Row(8, [(_jitter(), 8), (_variation(), 8), (_due(), 8)], "Variation"),
            Row(8, [(_delay(), 12), (_clock(), 12)], "Each way"),
            Row(8, [(_route_changes(), 8), (_hops(), 8), (_mtu(), 8)], "Routes"),
            Row(8, [(_bandwidth(), 12), (_loaded(), 12)], "Capacity"),
            Row(8, [(_changes(), 8), (_order(), 8), (_flows(), 8)], "On the way"),
        ],
        variables=[Variable("path", "Path", f"label_values({metrics.PROM_PACKETS}, path)")],
        annotations=common_annotations(_PATH),
    )


def _onward() -> list[Link]:
    return [to_board("On-call", ON_CALL), to_board("Sites and regions", SITE)]


def _stats(levels: Levels) -> list[ModernPanel]:
    def rtt(title: str, q: str) -> ModernPanel:
        return Stat(
            title,
            "Round-trip time of the packets that were answered, over the last 5 minutes.",
            [Query(f"max({of.quantile(q, _PATH)})")],
            Field("s", (("blue", None),), no_value="unknown"),
            links=_onward(),
        )

    return [
        rtt("Median RTT", "0.5"),
        rtt("p99 RTT", "0.99"),
        rtt("p99.9 RTT", "0.999"),
        Stat(
            "Loss now",
            "Lost per measured packet.",
            [Query(f"max({of.loss(_PATH)})")],
            Field("percentunit", LOSS, decimals=2, no_value="unknown"),
            links=_onward(),
        ),
        Stat(
            "Fastest burn",
            "Of the SLOs of this path, over the last 5 minutes.",
            [Query(f"max by (slo) ({of.burn(_PATH)})", "{{slo}}")],
            Field("short", levels.burn, decimals=1, no_value="unknown"),
            links=[to_board("This SLO", SLO, slo=of_series("slo"), path="${path:percentencode}")],
        ),
        Stat(
            "Excluded",
            "SLOs for which this path does not count just now.",
            [Query(of.count_of(f"max by (slo) ({metrics.PROM_SLO_EXCLUDED}{{{_PATH}}}) > 0"))],
            Field("none", (("green", None), ("purple", 1))),
            links=[to_board("SLO detail", SLO)],
        ),
    ]


def _heatmap() -> ModernPanel:
    return Heatmap(
        "Round-trip times",
        "Every answered packet, by native histograms: Prometheus must scrape them (from 2.40 with "
        "--enable-feature=native-histograms; Prometheus 3: scrape_native_histograms). Two bands "
        "are two ways. The limits of the SLOs are in the panel beside.",
        [Query(f"sum(rate({metrics.PROM_RTT}{{{_PATH}}}[{of.RATE}]))", form=Form.HEATMAP)],
        Field("s"),
        panel_links=_onward(),
    )


def _bands() -> ModernPanel:
    fills = [("p99", "p90"), ("p90", "p50")]
    return TimeSeries(
        "RTT quantiles and limits",
        "Quantiles of the last 5 minutes of the packets that were answered; dashed: the limits of "
        "the SLOs of this path.",
        [
            *(
                Query(f"max({of.quantile(q, _PATH)})", name)
                for q, name in (("0.5", "p50"), ("0.9", "p90"), ("0.99", "p99"), ("0.999", "p99.9"))
            ),
            _LIMIT,
        ],
        Field("s", _PLAIN, least=0),
        overrides=[
            *(
                Override(upper, {"custom.fillBelowTo": lower, "custom.fillOpacity": 20})
                for upper, lower in fills
            ),
            _LIMIT_LINE,
        ],
        links=_onward(),
    )


def _loss() -> ModernPanel:
    return TimeSeries(
        "Loss",
        "Lost per measured packet, there and back.",
        [Query(of.loss(_PATH), "lost")],
        Field("percentunit", LOSS, least=0),
        links=_onward(),
    )


def _loss_each_way() -> ModernPanel:
    return TimeSeries(
        "Packets lost each way",
        "Where packets were lost, as far as the far end's sequence numbers tell.",
        [
            Query(
                f"sum by (direction) (rate({metrics.PROM_DIRECTED_LOSS}{{{_PATH}}}[{of.RATE}]))",
                "{{direction}}",
            )
        ],
        Field("pps", (("green", None), ("red", 1)), least=0),
        links=_onward(),
    )


def _bursts() -> ModernPanel:
    periods = f"sum(rate({metrics.PROM_LOSS_PERIOD}{{{_PATH}}}[{of.RATE}]))"

    def after(transition: str) -> str:
        return (
            f'sum(rate({metrics.PROM_TRANSITIONS}{{{_PATH},transition="{transition}"}}[{of.RATE}]))'
        )

    stays, ends = after("lost-lost"), after("lost-answered")
    return TimeSeries(
        "Loss in a row",
        "The mean length of a loss period (RFC 3357, native histogram), and the chance that a "
        "loss follows a loss: near the loss itself it is chance, far above it is bursts.",
        [
            Query(f"histogram_sum({periods}) / (histogram_count({periods}) > 0)", "mean length"),
            Query(f"{stays} / (({stays} + {ends}) > 0)", "loss after loss"),
        ],
        Field("short", (("green", None), ("orange", 2)), least=0),
        overrides=[Override("loss after loss", {"unit": "percentunit"})],
        links=_onward(),
    )


def _jitter() -> ModernPanel:
    return TimeSeries(
        "Jitter",
        "Packet delay variation of the round trip (RFC 5481), and the interarrival jitter "
        "(RFC 3550).",
        [
            Query(
                f'max by (quantile) ({metrics.PROM_JITTER}{{{_PATH},window="{of.NOW}"}})',
                "PDV, quantile {{quantile}}",
            ),
            Query(f"max({metrics.PROM_INTERARRIVAL_JITTER}{{{_PATH}}})", "interarrival"),
        ],
        Field("s", (("green", None), ("orange", 0.03)), least=0),
        links=_onward(),
    )


def _variation() -> ModernPanel:
    selector = f'{_PATH},quantile="0.99",window="{of.NOW}"'
    return TimeSeries(
        "Delay variation each way",
        "p99 of the one-way delay variation (RFC 5481), told where the clocks cannot tell the "
        "delay itself.",
        [
            Query(
                f"max by (direction) ({metrics.PROM_DELAY_VARIATION_QUANTILE}{{{selector}}})",
                "{{direction}}",
            )
        ],
        Field("s", (("green", None), ("orange", 0.03)), least=0, no_value="see the delay"),
        links=_onward(),
    )


def _due() -> ModernPanel:
    return TimeSeries(
        "RTT with lost as slow",
        "Quantiles of all packets that were due: a lost one took forever, so that a line ends "
        "where more was lost than it allows.",
        [
            Query(
                f"max by (quantile) ({of.quantile('0.5|0.9|0.99|0.999', _PATH, 'due')})",
                "quantile {{quantile}}",
            ),
            _LIMIT,
        ],
        Field("s", _PLAIN, least=0),
        overrides=[_LIMIT_LINE],
        links=_onward(),
    )


def _delay() -> ModernPanel:
    selector = f'{_PATH},quantile=~"0.5|0.99",window="{of.NOW}"'
    return TimeSeries(
        "One-way delay",
        "Each way (RFC 7679), told only where both clocks allow it; and how far it may be off by "
        "the clocks' own words.",
        [
            Query(
                f"max by (direction, quantile) ({metrics.PROM_DELAY_QUANTILE}{{{selector}}})",
                "{{direction}}, quantile {{quantile}}",
            ),
            Query(f"max({metrics.PROM_DELAY_ERROR}{{{_PATH}}})", "may be off by"),
        ],
        Field("s", _PLAIN, no_value="clocks do not allow it"),
        links=_onward(),
    )


def _clock() -> ModernPanel:
    return TimeSeries(
        "Clocks",
        "The far clock less ours, by the quickest round trip of each window, and how far that "
        "may be off: half the round trip.",
        [
            Query(f"max({metrics.PROM_CLOCK_OFFSET}{{{_PATH}}})", "offset"),
            Query(f"max({metrics.PROM_CLOCK_OFFSET_ERROR}{{{_PATH}}})", "may be off by"),
        ],
        Field("s", (("green", None), ("orange", 0.1))),
        links=[to_board("Health", HEALTH)],
    )


def _bandwidth() -> ModernPanel:
    return TimeSeries(
        "Bandwidth",
        "As the last test of each direction and method found it; dashed: what the estate says of "
        "the link, where one joins the two sites.",
        [
            Query(
                f"max by (direction, method) ({metrics.PROM_BANDWIDTH}{{{_PATH}}})",
                "{{direction}} by {{method}}",
            ),
            Query(f"max({metrics.PROM_LINK_CAPACITY}{{{_PATH}}})", "the link"),
        ],
        Field("bps", _PLAIN, least=0, no_value="not measured"),
        overrides=[dashed("the link", color={"fixedColor": "red", "mode": "fixed"})],
        links=_onward(),
    )


def _loaded() -> ModernPanel:
    return TimeSeries(
        "RTT idle and under load",
        "The round trip before a bandwidth test and while it loads the path: how far queues fill.",
        [
            Query(
                f"max by (state, quantile, direction) ({metrics.PROM_LOADED_RTT}{{{_PATH}}})",
                "{{state}}, quantile {{quantile}}, {{direction}}",
            )
        ],
        Field("s", _PLAIN, least=0, no_value="not measured"),
        links=_onward(),
    )


def _hops() -> ModernPanel:
    return TimeSeries(
        "Hops",
        "How many routers each flow of the path meets, its end included. A change of route of "
        "equal length is in the panel beside.",
        [
            Query(
                f"max by (protocol, flow) ({metrics.PROM_PATH_HOPS}{{{_PATH}}})",
                "{{protocol}}, flow {{flow}}",
            )
        ],
        Field("none", _PLAIN, decimals=0, least=0, no_value="not traced"),
        links=_onward(),
    )


def _route_changes() -> ModernPanel:
    return TimeSeries(
        "Changes of routes",
        "Flows that took another route than when they were traced before. The hops before and "
        "after are in /api/v1/path_changes and on the collector's page.",
        [Query(f"sum(increase({metrics.PROM_PATH_CHANGES}{{{_PATH}}}[{of.RATE}]))", "changes")],
        Field("none", (("green", None), ("orange", 1)), least=0, no_value="not traced"),
        links=_onward(),
    )


def _mtu() -> ModernPanel:
    return TimeSeries(
        "Path MTU",
        "The largest packet that passes unfragmented, of the flows of the path the least.",
        [Query(f"min({metrics.PROM_PATH_MTU}{{{_PATH}}})", "path MTU")],
        Field("decbytes", _PLAIN, least=0, no_value="not known"),
        links=_onward(),
    )


def _changes() -> ModernPanel:
    return TimeSeries(
        "Other ways and other marks",
        "Changes of the TTL at arrival: the path has another length. Packets that arrived with "
        "another DSCP: another treatment.",
        [
            Query(
                f"sum by (direction) (increase({metrics.PROM_TTL_CHANGES}{{{_PATH}}}[{of.RATE}]))",
                "TTL changes, {{direction}}",
            ),
            Query(
                f"sum by (dscp) (increase({metrics.PROM_REMARKED}{{{_PATH}}}[{of.RATE}]))",
                "arrived with DSCP {{dscp}}",
            ),
        ],
        Field("none", (("green", None), ("orange", 1)), least=0),
        links=_onward(),
    )


def _order() -> ModernPanel:
    return TimeSeries(
        "Out of order and twice",
        "Answers out of order (RFC 4737) and answers that came again (RFC 5560).",
        [
            Query(f"sum(rate({metric}{{{_PATH}}}[{of.RATE}]))", name)
            for metric, name in (
                (metrics.PROM_REORDERED, "out of order"),
                (metrics.PROM_DUPLICATES, "twice"),
            )
        ],
        Field("pps", (("green", None), ("orange", 1)), least=0),
        links=_onward(),
    )


def _flows() -> ModernPanel:
    return TimeSeries(
        "Equal-cost ways",
        "Median round trip and loss of each flow of a path that is probed from several source "
        "ports: flows that differ take other ways.",
        [
            Query(f"max by (flow) ({metrics.PROM_PROBE_FLOW_RTT}{{{_PATH}}})", "{{flow}}"),
            Query(f"max by (flow) ({metrics.PROM_PROBE_FLOW_LOSS}{{{_PATH}}})", "loss of {{flow}}"),
        ],
        Field("s", _PLAIN, least=0, no_value="one source port"),
        overrides=[Override("loss of .*", {"unit": "percentunit"}, regex=True)],
        links=_onward(),
    )
