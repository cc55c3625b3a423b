"""Grafana's own alerting, for who has no Alertmanager: it tells what Prometheus found.

Three rules for any number of objectives. They read `ALERTS`, in which Prometheus says what fires
by the rules of `netslo slo rules`: nothing is judged twice, and both can never disagree. The third
is the watchdog's other end. Each rule names its contact point itself, so that no policy of the
Grafana that reads these files is changed.

Fields as of `pkg/services/provisioning/alerting` of Grafana 12 and 13. Grafana replaces `$NAME` in
every text of such files but queries and annotations, hence `literal`.
"""

from __future__ import annotations

from typing import Any, Final

from dashboards.grafana import expressions as of
from dashboards.grafana.board import DATASOURCE_UID, ON_CALL
from dashboards.grafana.modernise import panel_id
from dashboards.grafana.provisioning import FOLDER, literal
from slo.burn import Severity
from slo.rules.rules import Alert
from slo.rules.texts import Links

CONTACT: Final = "netslo"
_INTERVAL: Final = "30s"  # as often as Prometheus looks at the quickest of its rules
_BACK_S: Final = 300  # as far as an instant query looks back
_NAME: Final = "alert"  # Grafana keeps `alertname` for the title of its own rule
_TOLD: Final = (
    "{{ $labels.alert }}:"
    "{{ with $labels.slo }} {{ . }}{{ end }}"
    "{{ with $labels.path }} on {{ . }}{{ end }}"
    "{{ with $labels.src_site }} from {{ . }}{{ end }}"
    "{{ with $labels.dst_site }} to {{ . }}{{ end }}"
)


def alerting(contact_url: str, runbooks: str | None = None) -> dict[str, Any]:
    """Return provisioning/alerting/netslo.yaml.

    Args:
        contact_url: The web hook that is told.
        runbooks: The URL below which runbooks are.
    """

    def runbook(alert: str) -> str | None:
        return None if runbooks is None else Links(runbooks).runbook(alert)

    rules = [
        _rule(
            f"netslo {severity.value}s",
            firing(severity),
            _TOLD,
            runbook(f"{{{{ $labels.{_NAME} }}}}"),
        )
        for severity in Severity
    ]
    silent = _rule(
        "netslo rules are not evaluated",
        silence(),
        "No rule of netslo is evaluated: nothing would be told of any path.",
        runbook(Alert.WATCHDOG.value),
        labels={"severity": Severity.PAGE.value},
        held="5m",
        failing="Alerting",  # who cannot ask Prometheus does not know that all is well
    )
    return {
        "apiVersion": 1,
        "contactPoints": [
            {
                "orgId": 1,
                "name": CONTACT,
                "receivers": [
                    {
                        "uid": f"{FOLDER}-webhook",
                        "type": "webhook",
                        "settings": {"url": literal(contact_url)},
                    }
                ],
            }
        ],
        "groups": [
            {
                "orgId": 1,
                "name": FOLDER,
                "folder": FOLDER,
                "interval": _INTERVAL,
                "rules": [*rules, silent],
            }
        ],
    }


def firing(severity: Severity) -> str:
    """Return what fires of a severity: one series each, under a name that Grafana leaves alone."""
    named = f'label_replace({of.firing(severity.value)}, "{_NAME}", "$1", "alertname", "(.+)")'
    return f"max without (alertname, alertstate) ({named})"


def silence() -> str:
    """Return something only where the alert that always fires does not."""
    return f'absent(ALERTS{{alertname="{Alert.WATCHDOG.value}",alertstate="firing"}})'


def _rule(
    title: str,
    expr: str,
    summary: str,
    runbook: str | None,
    *,
    labels: dict[str, str] | None = None,
    held: str = "0s",
    failing: str = "KeepLast",  # a restart of Prometheus is no page; `silence` tells of more
) -> dict[str, Any]:
    annotations = {"summary": summary} | ({"runbook_url": runbook} if runbook else {})
    return {
        "uid": f"netslo-{panel_id(title)}",
        "title": title,
        "condition": "B",
        "data": [_query(expr), _above_zero()],
        "dashboardUid": ON_CALL,
        "panelId": panel_id("Alerts"),
        "noDataState": "OK",  # nothing fires
        "execErrState": failing,
        "for": held,
        "labels": labels or {},
        "annotations": annotations,
        "notification_settings": {
            "receiver": CONTACT,
            "group_by": ["grafana_folder", "alertname", _NAME, "slo"],
        },
    }


def _query(expr: str) -> dict[str, Any]:
    return {
        "refId": "A",
        "relativeTimeRange": {"from": _BACK_S, "to": 0},
        "datasourceUid": DATASOURCE_UID,
        "model": {
            "datasource": {"type": "prometheus", "uid": DATASOURCE_UID},
            "editorMode": "code",
            "expr": expr,
            "instant": True,
            "range": False,
            "refId": "A",
        },
    }


def _above_zero() -> dict[str, Any]:
    expression = {"type": "__expr__", "uid": "__expr__"}
    return {
        "refId": "B",
        "relativeTimeRange": {"from": 0, "to": 0},
        "datasourceUid": "__expr__",
        "model": {
            "datasource": expression,
            "type": "threshold",
            "expression": "A",
            "refId": "B",
            "conditions": [{"evaluator": {"type": "gt", "params": [0]}}],
        },
    }
