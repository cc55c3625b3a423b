"""Services: which fail and why, what takes the time, and whose certificate ends."""

from __future__ import annotations

from typing import Any, Final

from dashboards.grafana import expressions as of
from dashboards.grafana.board import (
    CATALOGUE,
    ON_CALL,
    PATH,
    SERVICES,
    Row,
    Variable,
    common_annotations,
    dashboard,
    of_field,
    to_board,
)
from dashboards.grafana.levels import ANY_IS_BAD, BUDGET, LOSS, Levels, Steps
from dashboards.grafana.panels import (
    Field,
    Link,
    ModernPanel,
    Query,
    Stacked,
    Stat,
    Table,
    TimeSeries,
    dashed,
)
from dashboards.grafana.tables import columns, figure, name_of, rows
from netslo import metrics
from slo.burn import Severity
from slo.rules.certificates import LEFT_S

_SERVICE: Final = 'scope="service"'
_PATH: Final = f'{_SERVICE},path="$service"'
_PLAIN: Final[Steps] = (("green", None),)
_LEFT: Final[Steps] = (
    ("red", None),
    ("orange", LEFT_S[Severity.PAGE]),
    ("green", LEFT_S[Severity.TICKET]),
)
_PHASES: Final = {
    "DNS": metrics.PROM_PHASE_DNS,
    "connect": metrics.PROM_PHASE_CONNECT,
    "TLS": metrics.PROM_PHASE_TLS,
    "first byte": metrics.PROM_PHASE_FIRST_BYTE,
    "transfer": metrics.PROM_PHASE_TRANSFER,
}


def services(levels: Levels) -> Any:
    """Return the dashboard."""
    return dashboard(
        SERVICES,
        "netslo: services",
        "What sites ask of web servers, name servers and ports, as their users do.",
        [
            Row(4, [(panel, 6) for panel in _stats()]),
            Row(9, [(_table(levels), 24)]),
            Row(8, [(_means(), 12), (_results(), 12)], "One service from one site: $service"),
            Row(8, [(_slowest(), 8), (_total(), 8), (_certificate(), 8)]),
        ],
        variables=[
            Variable(
                "service", "Service", f"label_values({metrics.PROM_RESULTS}{{{_SERVICE}}}, path)"
            )
        ],
        annotations=[  # nothing is known of the way to a service
            each
            for each in common_annotations('path="$service"')
            if each["name"] in {"Deployments", "Exclusions"}
        ],
    )


def _onward() -> list[Link]:
    return [to_board("On-call", ON_CALL), to_board("SLO catalogue", CATALOGUE)]


def _failing(selector: str) -> str:
    """Return by path how many of the requests had no right answer; nothing where none was made."""
    requests = f"{metrics.PROM_RESULTS}{{{selector}"
    wrong = f'sum by (path) (increase({requests},result!="ok"}}[{of.RATE}]))'
    every = f"sum by (path) (increase({requests}}}[{of.RATE}]))"
    # A result that was never seen has no series yet.
    return f"({wrong} or 0 * {every}) / ({every} > 0)"


def _left(selector: str = "", by: str = "path") -> str:
    return f"min by ({by}) ({metrics.PROM_PROBE_CERTIFICATE}{{{selector}}}) - time()"


def _stats() -> list[ModernPanel]:
    return [
        Stat(
            "Services that fail",
            "Pairs of a site and a service of which requests have no right answer just now.",
            [Query(of.count_of(f"{_failing(_SERVICE)} > 0"))],
            Field("none", ANY_IS_BAD),
            links=_onward(),
        ),
        Stat(
            "Requests without a right answer",
            "Of all services together.",
            [
                Query(
                    f'1 - sum(rate({metrics.PROM_RESULTS}{{{_SERVICE},result="ok"}}[{of.RATE}])) '
                    f"/ sum(rate({metrics.PROM_RESULTS}{{{_SERVICE}}}[{of.RATE}]))"
                )
            ],
            Field("percentunit", LOSS, decimals=2, no_value="no service"),
            links=_onward(),
        ),
        Stat(
            "Slowest p99",
            "Of a right answer, from the name to its last octet, over the last 5 minutes.",
            [Query(f"max({of.quantile('0.99', _SERVICE)})")],
            Field("s", (("blue", None),), no_value="unknown"),
            links=_onward(),
        ),
        Stat(
            "First certificate to end",
            f"A ticket from {LEFT_S[Severity.TICKET] // 86_400} days before its end on, a page "
            f"from {LEFT_S[Severity.PAGE] // 86_400}. Below 0 it has ended.",
            [Query(f"min({metrics.PROM_PROBE_CERTIFICATE}) - time()")],
            Field("s", _LEFT, decimals=1, no_value="none seen"),
            links=_onward(),
        ),
    ]


def _table(levels: Levels) -> ModernPanel:
    return Table(
        "All services",
        "From each site that asks them: what fails, how long right answers take, what that costs "
        "of error budgets, and how long the certificate is good.",
        rows(
            _failing(_SERVICE),
            f"max by (path) ({of.quantile('0.5', _SERVICE)})",
            f"max by (path) ({of.quantile('0.99', _SERVICE)})",
            f"max by (path) ({of.burn(_SERVICE)})",
            f"min by (path) ({metrics.PROM_SLO_BUDGET_REMAINING}{{{_SERVICE}}})",
            _left(),
        ),
        Field("short", levels.burn, no_value="unknown"),
        sort_by="failing",
        transformations=columns(
            {
                "Value #A": "failing",
                "Value #B": "p50",
                "Value #C": "p99",
                "Value #D": "burn 5m",
                "Value #E": "least budget left",
                "Value #F": "certificate",
            },
            ("path", *(f"Value #{letter}" for letter in "ABCDEF")),
        ),
        overrides=[
            name_of("path", to_board("This service", SERVICES, service=of_field("path"))),
            figure("failing", "percentunit", LOSS, 2),
            figure("p50", "s"),
            figure("p99", "s"),
            figure("burn 5m", "short", levels.burn, 1),
            figure("least budget left", "percentunit", BUDGET, 1),
            figure("certificate", "s", _LEFT, 1),
        ],
    )


def _means() -> ModernPanel:
    def mean(metric: str) -> str:
        rate = f"sum(rate({metric}{{{_PATH}}}[{of.RATE}]))"
        return f"histogram_sum({rate}) / (histogram_count({rate}) > 0)"

    return Stacked(
        "What takes the time",
        "Means of the parts of a request (native histograms), which add up as parts do: the "
        "name's addresses, TCP, TLS, the wait for the first octet of an answer, the rest of it.",
        [Query(mean(metric), name) for name, metric in _PHASES.items()],
        Field("s", _PLAIN, least=0),
        links=[to_board("Path detail", PATH, path="${service:percentencode}")],
    )


def _results() -> ModernPanel:
    requests = f"{metrics.PROM_RESULTS}{{{_PATH}}}"
    seen = f"sum by (result) (increase({requests}[$__range] @ end())) > 0"
    return Stacked(
        "How requests end",
        "Each result beside ok says why there was no right answer; docs/services.md lists them. "
        "Those that never came in the time shown are left out.",
        [
            Query(
                f"sum by (result) (rate({requests}[{of.RATE}])) and on (result) ({seen})",
                "{{result}}",
            )
        ],
        Field("reqps", _PLAIN, least=0),
        links=[to_board("Path detail", PATH, path="${service:percentencode}")],
    )


def _slowest() -> ModernPanel:
    return TimeSeries(
        "p99 of each part",
        "Of requests that got so far (native histograms). Percentiles of parts do not add up.",
        [
            Query(
                f"histogram_quantile(0.99, sum(rate({metric}{{{_PATH}}}[{of.RATE}])))",
                name,
            )
            for name, metric in _PHASES.items()
        ],
        Field("s", _PLAIN, least=0),
        links=_onward(),
    )


def _total() -> ModernPanel:
    return TimeSeries(
        "Right answers and limits",
        "The whole request over the last 5 minutes; dashed: the limits of the SLOs of this path.",
        [
            Query(
                f"max by (quantile) ({of.quantile('0.5|0.9|0.99', _PATH)})", "quantile {{quantile}}"
            ),
            Query(f"max by (slo) ({metrics.PROM_SLO_LIMIT}{{{_PATH}}})", "limit of {{slo}}"),
        ],
        Field("s", _PLAIN, least=0),
        overrides=[dashed("limit of .*", regex=True, color={"fixedColor": "red", "mode": "fixed"})],
        links=[to_board("On-call", ON_CALL)],
    )


def _certificate() -> ModernPanel:
    return TimeSeries(
        "Certificate's time left",
        "As the last good handshake from the site showed it. It should rise by itself, long before "
        "the lines; of an expired certificate the results tell.",
        [Query(_left('path="$service"', "site"), "seen from {{site}}")],
        Field("s", _LEFT, no_value="without TLS"),
        links=[to_board("All services", SERVICES, service="${service:percentencode}")],
    )
