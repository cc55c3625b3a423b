"""Files from which Grafana sets itself up: the data source, the folder of dashboards."""

from __future__ import annotations

from typing import Any, Final

from dashboards.grafana.board import DATASOURCE_UID

FOLDER: Final = "netslo"
MOUNT: Final = "/var/lib/grafana/dashboards/netslo"


def datasources(prometheus_url: str) -> dict[str, Any]:
    """Return provisioning/datasources/netslo.yaml."""
    return {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "netslo",
                "uid": DATASOURCE_UID,
                "type": "prometheus",
                "access": "proxy",
                "url": prometheus_url,
                "isDefault": True,
                "editable": False,
                "jsonData": {
                    "httpMethod": "POST",
                    "prometheusType": "Prometheus",
                    "timeInterval": "15s",
                    "manageAlerts": True,
                },
            }
        ],
    }


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
