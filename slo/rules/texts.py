"""What an alert says to a tired person: what, where, since when, how much, and what to do.

Texts are Prometheus' templates. Their queries run for each alert that fires whenever its rule is
evaluated, and the next notification waits for all of them: what many paths have, they ask of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from netslo import metrics

Texts = dict[str, str]

_OF_PATH: Final = "path='%s',slo='%s'"
_ARGUMENTS: Final = "$labels.path $labels.slo"


@dataclass(frozen=True, slots=True)
class Links:
    """Where runbooks and dashboards are; without a dashboard, Prometheus' own graph."""

    runbooks: str = "docs/runbooks"
    dashboard: str | None = None

    def runbook(self, alert: str) -> str:
        return f"{self.runbooks.rstrip('/')}/{alert}.md"

    def of_path(self) -> str:
        if self.dashboard is not None:
            base = self.dashboard.rstrip("/")
            slo, path = (f"{{{{ $labels.{name} | urlquery }}}}" for name in ("slo", "path"))
            return f"{base}?var-slo={slo}&var-path={path}"
        shown = f'printf "{metrics.PROM_SLO_BURN_RATE}{{{_OF_PATH}}}" $labels.path $labels.slo'
        return (
            "{{ externalURL }}/graph?g0.tab=0&g0.range_input=6h&g0.expr="
            f"{{{{ {shown} | urlquery }}}}"
        )


def burn_texts(alert: str, links: Links) -> Texts:
    """Return the annotations of a burn alert of one path."""
    return {
        "summary": (
            "{{ $labels.slo }} on {{ $labels.path }}: the error budget burns "
            '{{ $value | printf "%.1f" }} times too fast (pair {{ $labels.pair }})'
        ),
        "where": (
            "from {{ $labels.src_site }} to {{ $labels.dst_site }}, class {{ $labels.class }}, "
            "{{ $labels.scope }}"
        ),
        "since": _since(alert, f"{_OF_PATH},pair='%s'", f"{_ARGUMENTS} $labels.pair"),
        "pair": (
            '{{ $labels.pair }}: burn {{ $value | printf "%.2f" }} over the long window; threshold '
            + _one(
                f"max({metrics.PROM_SLO_BURN_THRESHOLD}{{slo='%s',pair='%s'}})",
                "$labels.slo $labels.pair",
                '{{ . | first | value | printf "%.4g" }}',
                "not known",
            )
        ),
        "budget": _budget(),
        "evidence": (
            "p99 RTT now " + _p99("") + ", an hour before " + _p99(" offset 1h") + "; loss now "
            + _loss("") + ", an hour before " + _loss(" offset 1h")
            + _changes("there", "%s", "$labels.path")
            + _changes("back", "%s:%s/%s", "$labels.dst_site $labels.src_site $labels.class")
            + _tested()
        ),
        "owner": _info("owner", "nobody is named"),
        "runbook_url": links.runbook(alert),
        "slo_runbook_url": _info("runbook", ""),
        "dashboard_url": links.of_path(),
    }  # fmt: skip


def site_texts(alert: str, links: Links) -> Texts:
    """Return the annotations of the page for a site."""
    return {
        "summary": (
            "{{ $labels.dst_site }}: paths with {{ $value }} of its peers burn their budgets; "
            "it is the site or its access, not the paths"
        ),
        "where": "every path to and from {{ $labels.dst_site }}",
        "since": _since(alert, "dst_site='%s'", "$labels.dst_site"),
        "evidence": "its probe's last window ended " + _last_window("$labels.dst_site"),
        "runbook_url": links.runbook(alert),
    }


def coverage_texts(alert: str, links: Links) -> Texts:
    """Return the annotations for a path that cannot be judged."""
    return {
        "summary": (
            "{{ $labels.slo }} on {{ $labels.path }} cannot be judged: too little is measured"
        ),
        "where": "from {{ $labels.src_site }} to {{ $labels.dst_site }}, class {{ $labels.class }}",
        "since": _since(alert, _OF_PATH, _ARGUMENTS),
        "evidence": (
            "unmeasured packets in the last hour: "
            + _one(
                f"sum(increase({metrics.PROM_SLO_UNMEASURED_EVENTS}{{{_OF_PATH}}}[1h]))",
                _ARGUMENTS,
                '{{ . | first | value | printf "%.0f" }}',
                "not known",
            )
        ),
        "owner": _info("owner", "nobody is named"),
        "runbook_url": links.runbook(alert),
        "slo_runbook_url": _info("runbook", ""),
        "dashboard_url": links.of_path(),
    }


def probe_texts(alert: str, links: Links) -> Texts:
    """Return the annotations for a site without data."""
    return {
        "summary": "{{ $labels.src_site }}: its probe delivers nothing; its paths are not measured",
        "where": "every path from {{ $labels.src_site }}",
        "since": _since(alert, "src_site='%s'", "$labels.src_site"),
        "evidence": "its last window ended " + _last_window("$labels.src_site"),
        "runbook_url": links.runbook(alert),
    }


def collector_texts(alert: str, links: Links) -> Texts:
    """Return the annotations for a collector that does not work."""
    return {
        "summary": "No collector commits measurements: no objective is judged anywhere",
        "where": "the collector, the way to it, or Prometheus' scrape of it",
        "since": _since(alert),
        "runbook_url": links.runbook(alert),
    }


def watchdog_texts(alert: str, links: Links) -> Texts:
    """Return the annotations of the heartbeat."""
    return {
        "summary": "Always firing: when its notifications stop, alerting itself is broken",
        "runbook_url": links.runbook(alert),
    }


def _one(query: str, arguments: str, text: str, otherwise: str) -> str:
    """Show `text` of the first result of a query, `otherwise` without one."""
    return (
        f'{{{{ with printf "{query}" {arguments} | query }}}}{text}'
        f"{{{{ else }}}}{otherwise}{{{{ end }}}}"
    )


def _budget() -> str:
    """Say how much of a period's budget is spent; of a young series, how many events were bad.

    The period is the longest window, so that the greatest of the least budgets is its own.
    """
    least = f"max by (slo) ({metrics.PROM_SLO_BUDGET_EVENTS_MIN}{{slo='%s'}})"
    spent = (
        f"1 - {metrics.PROM_SLO_BUDGET_REMAINING}{{{_OF_PATH}}} and on (path, slo) "
        f"({metrics.PROM_SLO_BUDGET_EVENTS}{{{_OF_PATH}}} >= on (slo) group_left () {least})"
    )
    young = _one(
        f"sum({metrics.PROM_SLO_BAD_EVENTS}{{{_OF_PATH}}})",
        _ARGUMENTS,
        '{{ . | first | value | printf "%.0f" }} bad events so far, but too little of the period '
        "is measured to say what is left of its budget",
        "how much budget is left is not known",
    )
    return _one(
        spent,
        f"{_ARGUMENTS} {_ARGUMENTS} $labels.slo",
        "{{ $spent := . | first | value }}{{ if gt $spent 1.0 }}"
        '{{ $spent | printf "%.1f" }} times the period\'s budget is spent{{ else }}'
        "{{ $spent | humanizePercentage }} of the period's budget is spent{{ end }}",
        young,
    )


def _since(alert: str, matchers: str = "", arguments: str = "") -> str:
    return _one(
        f"min(ALERTS_FOR_STATE{{alertname='{alert}',{matchers}}})",
        arguments,
        "{{ . | first | value | humanizeTimestamp }}",
        "just now",
    )


def _last_window(site: str) -> str:
    return _one(
        f"time() - max({metrics.PROM_PROBE_LAST_WINDOW}{{src_site='%s'}})",
        site,
        "{{ . | first | value | humanizeDuration }} ago",
        "before the collector started, or never",
    )


def _p99(offset: str) -> str:
    selector = "path='%s',quantile='0.99',window='5m',convention='delivered'"
    return _one(
        f"max({metrics.PROM_RTT_QUANTILE}{{{selector}}}{offset})",
        "$labels.path",
        "{{ . | first | value | humanizeDuration }}",
        "not known",
    )


def _loss(offset: str) -> str:
    packets = f"{metrics.PROM_PACKETS}{{path='%s',outcome"
    lost = f"sum(increase({packets}='lost'}}[5m]{offset}))"
    measured = f"(sum(increase({packets}=~'answered|lost'}}[5m]{offset})) > 0)"
    return _one(
        f"{lost} / {measured}",
        "$labels.path $labels.path",
        "{{ . | first | value | humanizePercentage }}",
        "not known",
    )


def _changes(way: str, path: str, arguments: str) -> str:
    """Say how often the route of a path changed, where it did."""
    return _one(
        f"sum(increase({metrics.PROM_PATH_CHANGES}{{path='{path}'}}[1h])) > 0",
        arguments,
        f"; changes of the route {way} in the last hour: "
        '{{ . | first | value | printf "%.0f" }}',
        "",
    )


def _tested() -> str:
    """Say what capacity tests last found, where they find something and this is about it."""
    tested = f"max by (direction, method) ({metrics.PROM_BANDWIDTH}{{path='%s'}})"
    rated = f"{tested} and on () {metrics.PROM_SLO_INFO}{{slo='%s',indicator='bandwidth'}}"
    return (
        f'{{{{ range printf "{rated}" $labels.path $labels.slo | query }}}}'
        "; {{ .Labels.direction }} by {{ .Labels.method }} {{ .Value | humanize }}bit/s"
        "{{ end }}"
    )


def _info(label: str, otherwise: str) -> str:
    shown = f'{{{{ . | first | label "{label}" }}}}'
    return _one(f"{metrics.PROM_SLO_INFO}{{slo='%s'}}", "$labels.slo", shown, otherwise)
