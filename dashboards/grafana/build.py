"""All files of the dashboards, as text: the same octets for the same objectives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

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


def files(
    objectives: Sequence[Objective],
    prometheus_url: str = PROMETHEUS_URL,
    mount: str = MOUNT,
    runbooks: str | None = None,
) -> dict[str, str]:
    """Return texts by their names below the output's folder.

    Args:
        objectives: Where their alerts fire, colours change.
        prometheus_url: Where Grafana finds Prometheus.
        mount: Where Grafana will see the folder of dashboards.
        runbooks: The URL below which runbooks are; None links to none.
    """
    found = {
        f"dashboards/{board['uid']}.json": to_text(board) for board in boards(objectives, runbooks)
    }
    return found | {
        "provisioning/datasources/netslo.yaml": to_yaml(datasources(prometheus_url), _HEAD),
        "provisioning/dashboards/netslo.yaml": to_yaml(providers(mount), _HEAD),
    }
