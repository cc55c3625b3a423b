"""Whether what measures and what judges is well: probes, collector, delivery."""

from __future__ import annotations

from typing import Any

from dashboards.grafana import expressions as of
from dashboards.grafana.board import (
    HEALTH,
    ON_CALL,
    SITE,
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
    Steps,
    silence,
)
from dashboards.grafana.panels import (
    Field,
    Link,
    ModernPanel,
    Override,
    Query,
    Stat,
    Table,
    TimeSeries,
)
from dashboards.grafana.tables import columns, name_of, rows
from netslo import metrics
from slo.rules.expressions import COLLECTOR_SILENT_S, PROBE_SILENT_S

_SITE = 'site=~"$site"'
_PLAIN: Steps = (("green", None),)


def health() -> Any:
    """Return the dashboard."""
    return dashboard(
        HEALTH,
        "netslo: prober and engine health",
        "Whether probes measure as they should and the collector keeps what they send.",
        [
            Row(4, [(panel, 6) for panel in _stats()]),
            Row(8, [(_age(), 12), (_lateness(), 12)], "Probes"),
            Row(8, [(_spool(), 8), (_discarded(), 8), (_clocks(), 8)]),
            Row(8, [(_lacks(), 14), (_noise(), 10)]),
            Row(8, [(_requests(), 8), (_windows(), 8), (_refused(), 8)], "Collector"),
            Row(8, [(_commit(), 8), (_bytes(), 8), (_remote_write(), 8)]),
        ],
        variables=[
            Variable("site", "Site", f"label_values({metrics.PROM_SITE_INFO}, site)", many=True)
        ],
    )


def _onward() -> list[Link]:
    return [to_board("On-call", ON_CALL)]


def _of_site(label: str = "site") -> list[Link]:
    return [to_board("This site", SITE, site=of_series(label))]


def _stats() -> list[ModernPanel]:
    return [
        Stat(
            "Sites with a silent probe",
            f"No window of theirs has ended for {PROBE_SILENT_S} s.",
            [Query(of.count_of(f"{of.probe_age()} > {PROBE_SILENT_S}"))],
            Field("none", ANY_IS_BAD),
            links=_onward(),
        ),
        Stat(
            "Since the last commit",
            f"Nothing is kept while this grows; {COLLECTOR_SILENT_S} s wake somebody.",
            [Query(f"time() - max({metrics.PROM_COLLECTOR_LAST_COMMIT})")],
            Field("s", silence(COLLECTOR_SILENT_S), decimals=0, no_value="no collector"),
            links=_onward(),
        ),
        Stat(
            "Batches waiting",
            "Windows that probes could not deliver yet; they keep them.",
            [Query(f"sum(max by (site, instance) ({metrics.PROM_PROBE_SPOOL}{{{_SITE}}}))")],
            Field("none", (("green", None), ("orange", 60), ("red", 600))),
            links=_onward(),
        ),
        Stat(
            "What hosts lack",
            "Notices of probes about their hosts: see the table.",
            [Query(of.count_of(f"{metrics.PROM_PROBE_LACKS}{{{_SITE}}}"))],
            Field("none", ANY_IS_WORTH_A_LOOK),
            links=_onward(),
        ),
    ]


def _age() -> ModernPanel:
    return TimeSeries(
        "Since the last window",
        "How long ago each probe's last window ended.",
        [
            Query(
                f"time() - max by (src_site) "
                f'({metrics.PROM_PROBE_LAST_WINDOW}{{src_site=~"$site"}})',
                "{{src_site}}",
            )
        ],
        Field("s", silence(PROBE_SILENT_S), least=0),
        links=_of_site("src_site"),
    )


def _lateness() -> ModernPanel:
    return TimeSeries(
        "Lateness of sending",
        "The latest that a packet left after its due time. A host that sends late has no time "
        "for measuring.",
        [Query(f"max by (site) ({metrics.PROM_PROBE_LATENESS}{{{_SITE}}})", "{{site}}")],
        Field("s", (("green", None), ("yellow", 0.01), ("red", 0.1)), least=0),
        links=_of_site(),
    )


def _spool() -> ModernPanel:
    return TimeSeries(
        "Spools",
        "Batches waiting for delivery, and those held back because they fail while others are "
        "taken.",
        [
            Query(f"max by (site) ({metrics.PROM_PROBE_SPOOL}{{{_SITE}}})", "{{site}}"),
            Query(f"max by (site) ({metrics.PROM_PROBE_HELD}{{{_SITE}}})", "{{site}}, held"),
        ],
        Field("none", (("green", None), ("orange", 60)), least=0),
        links=_of_site(),
    )


def _discarded() -> ModernPanel:
    return TimeSeries(
        "Discarded packets",
        "What arrived at a probe and could not be used: damaged, late, forged or not asked for.",
        [
            Query(
                f"sum by (site, reason) "
                f"(rate({metrics.PROM_PROBE_DISCARDED}{{{_SITE}}}[{of.RATE}]))",
                "{{site}}: {{reason}}",
            )
        ],
        Field("pps", (("green", None), ("orange", 1)), least=0),
        links=_of_site(),
    )


def _clocks() -> ModernPanel:
    return TimeSeries(
        "Errors of clocks",
        "The largest error of each probe's wall clock; one-way delays are off by as much.",
        [Query(f"max by (site) ({metrics.PROM_PROBE_CLOCK_ERROR}{{{_SITE}}})", "{{site}}")],
        Field("s", (("green", None), ("yellow", 0.001), ("red", 0.01)), least=0),
        links=_of_site(),
    )


def _lacks() -> ModernPanel:
    return Table(
        "Notices",
        "What a probe's host lacks for a better measurement; `netslo doctor` there tells how to "
        "mend it.",
        rows(f"max by (site, instance, notice) ({metrics.PROM_PROBE_LACKS}{{{_SITE}}})"),
        Field("none", ANY_IS_WORTH_A_LOOK, no_value="nothing is lacking"),
        transformations=columns({}, ("site", "instance", "notice")),
        overrides=[name_of("site", to_board("This site", SITE, site=of_field("site")), 130)],
    )


def _noise() -> ModernPanel:
    return TimeSeries(
        "Noise of hosts",
        "The round trip of a probe's host to itself: no figure below three times that is sure.",
        [
            Query(
                f"max by (site, quantile) ({metrics.PROM_PROBE_NOISE_FLOOR}{{{_SITE}}})",
                "{{site}}, quantile {{quantile}}",
            )
        ],
        Field("s", (("green", None), ("yellow", 0.001), ("red", 0.01)), least=0),
        links=_of_site(),
    )


def _requests() -> ModernPanel:
    return TimeSeries(
        "Deliveries",
        "Requests of probes by the status they got: 429 and 503 come again, 4xx are lost.",
        [Query(f"sum by (code) (rate({metrics.PROM_COLLECTOR_REQUESTS}[{of.RATE}]))", "{{code}}")],
        Field("reqps", _PLAIN, least=0),
        links=_onward(),
    )


def _windows() -> ModernPanel:
    return TimeSeries(
        "Windows kept",
        "And batches that came again and were not counted again.",
        [
            Query(f"sum(rate({metrics.PROM_COLLECTOR_WINDOWS}[{of.RATE}]))", "windows"),
            Query(f"sum(rate({metrics.PROM_COLLECTOR_DUPLICATES}[{of.RATE}]))", "batches again"),
        ],
        Field("ops", _PLAIN, least=0),
        links=_onward(),
    )


def _refused() -> ModernPanel:
    return TimeSeries(
        "Data points refused",
        "What was not counted, by reason: a probe of another estate, or a fault.",
        [
            Query(
                f"sum by (reason) (rate({metrics.PROM_COLLECTOR_REFUSED}[{of.RATE}]))",
                "{{reason}}",
            )
        ],
        Field("ops", (("green", None), ("orange", 0.1)), least=0),
        links=_onward(),
    )


def _commit() -> ModernPanel:
    buckets = f"sum by (le) (rate({metrics.PROM_COLLECTOR_COMMIT}_bucket[{of.RATE}]))"
    return TimeSeries(
        "Time of a commit",
        "How long it takes to make a batch durable: the disk's time.",
        [
            Query(f"histogram_quantile(0.5, {buckets})", "median"),
            Query(f"histogram_quantile(0.99, {buckets})", "p99"),
        ],
        Field("s", (("green", None), ("yellow", 0.1), ("red", 1)), least=0),
        links=_onward(),
    )


def _bytes() -> ModernPanel:
    return TimeSeries(
        "Received",
        "Bodies of requests, as they came.",
        [Query(f"sum(rate({metrics.PROM_COLLECTOR_BYTES}[{of.RATE}]))", "received")],
        Field("Bps", _PLAIN, least=0),
        links=_onward(),
    )


def _remote_write() -> ModernPanel:
    return TimeSeries(
        "Remote write",
        "Requests to a Prometheus, those that were dropped, and what waits; without "
        "--remote-write there is nothing to see.",
        [
            Query(f"sum(rate({metrics.PROM_REMOTE_WRITE_SENT}[{of.RATE}]))", "sent"),
            Query(
                f"sum by (reason) (rate({metrics.PROM_REMOTE_WRITE_DROPPED}[{of.RATE}]))",
                "dropped: {{reason}}",
            ),
            Query(f"sum({metrics.PROM_REMOTE_WRITE_QUEUE})", "waiting, bytes"),
        ],
        Field("reqps", _PLAIN, least=0, no_value="no remote write"),
        overrides=[Override("waiting, bytes", {"unit": "bytes"})],
        links=_onward(),
    )
