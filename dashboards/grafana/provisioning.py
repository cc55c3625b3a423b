"""Files from which Grafana sets itself up: the data source, the folder of dashboards."""

from __future__ import annotations

from typing import Any, Final

from dashboards.grafana.board import DATASOURCE_UID

FOLDER: Final = "netslo"
MOUNT: Final = "/var/lib/grafana/dashboards/netslo"
ALERTMANAGER_UID: Final = "netslo-alertmanager"


def literal(text: str) -> str:
    """Return a text of which Grafana takes no part for a variable of its environment."""
    return text.replace("$", "$$")


def datasources(prometheus_url: str, alertmanager_url: str | None = None) -> dict[str, Any]:
    """Return provisioning/datasources/netslo.yaml; None leaves the Alertmanager out."""
    prometheus: dict[str, Any] = {
        "name": "netslo",
        "uid": DATASOURCE_UID,
        "type": "prometheus",
        "access": "proxy",
        "url": literal(prometheus_url),
        "isDefault": True,
        "editable": False,
        "jsonData": {
            "httpMethod": "POST",
            "prometheusType": "Prometheus",
            "timeInterval": "15s",
            "manageAlerts": True,
        },
    }
    found = [prometheus]
    if alertmanager_url is not None:
        prometheus["jsonData"]["alertmanagerUid"] = ALERTMANAGER_UID
        found.append(
            {
                "name": "netslo-alertmanager",
                "uid": ALERTMANAGER_UID,
                "type": "alertmanager",
                "access": "proxy",
                "url": literal(alertmanager_url),
                "editable": False,
                # Grafana's own alerts stay Grafana's.
                "jsonData": {"implementation": "prometheus", "handleGrafanaManagedAlerts": False},
            }
        )
    return {"apiVersion": 1, "datasources": found}


def providers(mount: str) -> dict[str, Any]:
    """Return provisioning/dashboards/netslo.yaml; `mount` is where Grafana sees the boards."""
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": FOLDER,
                "folder": FOLDER,
                "folderUid": FOLDER,
                "type": "file",
                "disableDeletion": False,
                "allowUiUpdates": False,
                "updateIntervalSeconds": 30,
                "options": {"path": mount, "foldersFromFilesStructure": False},
            }
        ],
    }
