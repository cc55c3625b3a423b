"""PromQL that several dashboards use. Names of metrics come from `netslo.metrics` alone."""

from __future__ import annotations

from typing import Final

from netslo import metrics
from slo.rules.rules import Alert

RATE: Final = "$__rate_interval"
NOW: Final = "5m"  # the shortest window of burn rates and quantiles
_OURS: Final = "|".join(each.value for each in Alert if each is not Alert.WATCHDOG)


def firing(severity: str = "page|ticket") -> str:
    """Return our alerts that fire: a Prometheus may have other people's rules, too."""
    return f'ALERTS{{alertname=~"{_OURS}",alertstate="firing",severity=~"{severity}"}}'


def burn(selector: str = "", window: str = NOW) -> str:
    """Return the burn rates over a window, by the collector's own word."""
    return f'{metrics.PROM_SLO_BURN_RATE}{{{_with(selector)}window="{window}"}}'


def quantile(q: str, selector: str = "", convention: str = "delivered") -> str:
    """Return a quantile of the RTT over the last minutes."""
    return (
        f'{metrics.PROM_RTT_QUANTILE}{{{_with(selector)}quantile=~"{q}",window="{NOW}",'
        f'convention="{convention}"}}'
    )


def loss(selector: str = "", by: str = "path") -> str:
    """Return lost per measured packet; nothing where nothing was measured."""
    lost, measured = (
        f"sum by ({by}) (increase({metrics.PROM_PACKETS}"
        f'{{{_with(selector)}outcome=~"{outcome}"}}[{RATE}]))'
        for outcome in ("lost", "answered|lost")
    )
    return f"{lost} / ({measured} > 0)"


def count_of(expr: str) -> str:
    """Return how many series there are, 0 when none: for counts of what is wrong."""
    return f"count({expr}) or vector(0)"


def probe_age() -> str:
    """Return for how long no window has come from each site, seconds."""
    return f"time() - max by (src_site) ({metrics.PROM_PROBE_LAST_WINDOW})"


def with_region(expr: str, site: str) -> str:
    """Give series the region of the site that a label of theirs names."""
    sites = f"max by (site, region) ({metrics.PROM_SITE_INFO})"
    named = f'label_replace({sites}, "{site}", "$1", "site", "(.+)")'
    return f"({expr}) * on ({site}) group_left (region) {named}"


def _with(selector: str) -> str:
    return f"{selector}," if selector else ""
