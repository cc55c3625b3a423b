"""Links from panels to what to do: the runbook of the alert that stands on the same figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dashboards.grafana.panels import Link, panel_link
from slo.rules.rules import Alert
from slo.rules.texts import Links

BY_PANEL: Final[Mapping[str, Alert]] = {
    "Pages firing": Alert.BURN_PAGE,
    "Tickets firing": Alert.BURN_TICKET,
    "Least coverage": Alert.COVERAGE_LOW,
    "Silent probes": Alert.PROBE_DOWN,
    "Last commit": Alert.COLLECTOR_DOWN,
    "What burns": Alert.BURN_PAGE,
    "Since when": Alert.BURN_PAGE,
    "From site to site": Alert.SITE_PAGE,
    "Burn rates and thresholds": Alert.BURN_PAGE,
    "What fires": Alert.BURN_PAGE,
    "Coverage": Alert.COVERAGE_LOW,
    "Fastest burn": Alert.BURN_PAGE,
    "Last window of its probe": Alert.PROBE_DOWN,
    "Peers with a fast burning path": Alert.SITE_PAGE,
    "Sites with a silent probe": Alert.PROBE_DOWN,
    "Since the last commit": Alert.COLLECTOR_DOWN,
    "Since the last window": Alert.PROBE_DOWN,
    "Batches waiting": Alert.PROBE_DOWN,
    "First certificate to end": Alert.CERTIFICATE,
    "Certificate's time left": Alert.CERTIFICATE,
}
_ALERTS: Final = "Alerts"  # the table: each row has its own
_NAME: Final = "alert"  # its column


def link_runbooks(board: dict[str, Any], links: Links) -> None:
    """Add links to runbooks to the panels of a dashboard."""
    for panel in board["panels"]:
        alert = BY_PANEL.get(panel["title"])
        if alert is not None:
            link = Link(f"Runbook: {alert.value}", links.runbook(alert.value))
            panel.setdefault("links", []).append(panel_link(link))
        if panel["title"] == _ALERTS:
            url = links.runbook(f"${{__data.fields.{_NAME}}}")
            panel["fieldConfig"]["overrides"].append(
                {
                    "matcher": {"id": "byName", "options": _NAME},
                    "properties": [{"id": "links", "value": [{"title": "Runbook", "url": url}]}],
                }
            )
