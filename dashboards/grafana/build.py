"""All files of the dashboards, as text: the same octets for the same objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from dashboards.grafana.alerting import alerting
from dashboards.grafana.catalogue import catalogue
from dashboards.grafana.health import health
from dashboards.grafana.levels import Levels
from dashboards.grafana.modernise import modernise, to_text
from dashboards.grafana.on_call import on_call
from dashboards.grafana.path_detail import path_detail
from dashboards.grafana.provisioning import MOUNT, datasources, providers
from dashboards.grafana.runbooks import link_runbooks
from dashboards.grafana.services import services
from dashboards.grafana.site import site
from dashboards.grafana.slo_detail import slo_detail
from slo.objective import Objective
from slo.rules.texts import Links
from slo.rules.yaml_text import to_yaml

_HEAD: Final = "Made by `netslo dashboards build`: do not edit, make it anew."
PROMETHEUS_URL: Final = "http://prometheus:9090"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What Grafana finds, and where.

    Attributes:
        prometheus_url: The data source.
        mount: Where Grafana will see the folder of dashboards.
        runbooks: The URL below which runbooks are; None links to none.
        alertmanager_url: An Alertmanager whose alerts and silences Grafana shows.
        contact_url: The web hook that Grafana's own alerting tells; None leaves that to others.
    """

    prometheus_url: str = PROMETHEUS_URL
    mount: str = MOUNT
    runbooks: str | None = None
    alertmanager_url: str | None = None
    contact_url: str | None = None


def boards(objectives: Sequence[Objective], runbooks: str | None = None) -> list[dict[str, Any]]:
    """Return every dashboard as JSON's plain data; colours change where the objectives say."""
    levels = Levels.of(objectives)
    made = [
        modernise(board)
        for board in (
            on_call(levels),
            slo_detail(levels),
            path_detail(levels),
            site(levels),
            services(levels),
            health(),
            catalogue(levels),
        )
    ]
    if runbooks is not None:
        for board in made:
            link_runbooks(board, Links(runbooks))
    return made


def files(objectives: Sequence[Objective], around: Surroundings | None = None) -> dict[str, str]:
    """Return texts by their names below the output's folder; colours change by the objectives."""
    around = around or Surroundings()
    found = {
        f"dashboards/{board['uid']}.json": to_text(board)
        for board in boards(objectives, around.runbooks)
    }
    sources = datasources(around.prometheus_url, around.alertmanager_url)
    found |= {
        "provisioning/datasources/netslo.yaml": to_yaml(sources, _HEAD),
        "provisioning/dashboards/netslo.yaml": to_yaml(providers(around.mount), _HEAD),
    }
    if around.contact_url is not None:
        told = alerting(around.contact_url, around.runbooks)
        found["provisioning/alerting/netslo.yaml"] = to_yaml(told, _HEAD)
    return found
