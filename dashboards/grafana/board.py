"""What all dashboards share: places of panels, variables, annotations, the ways between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grafanalib.core as grafana

from dashboards.grafana.modernise import DATASOURCE
from dashboards.grafana.panels import Json, Link, ModernPanel
from netslo import metrics

COLUMNS: Final = 24
TAG: Final = "netslo"
DATASOURCE_UID: Final = "netslo-prometheus"  # of the provisioned data source

ON_CALL: Final = "netslo-on-call"
SLO: Final = "netslo-slo"
PATH: Final = "netslo-path"
SITE: Final = "netslo-site"
SERVICES: Final = "netslo-services"
HEALTH: Final = "netslo-health"
CATALOGUE: Final = "netslo-catalogue"

_ALL: Final = ".*"


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side, each with its width in columns, all of one height."""

    height: int
    panels: Sequence[tuple[ModernPanel, int]]
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice for who looks: what Prometheus has of a label."""

    name: str
    label: str
    query: str
    many: bool = False

    def to_json(self) -> Json:
        """Return the variable."""
        made: Json = {
            "datasource": DATASOURCE,
            "includeAll": self.many,
            "label": self.label,
            "multi": self.many,
            "name": self.name,
            "options": [],
            "query": {"query": self.query, "refId": f"variable-{self.name}"},
            "refresh": 2,
            "regex": "",
            "sort": 1,
            "type": "query",
        }
        if self.many:
            made |= {"allValue": _ALL, "current": {"text": ["All"], "value": ["$__all"]}}
        return made


def dashboard(
    uid: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    *,
    variables: Sequence[Variable] = (),
    refresh: str = "30s",
    span: str = "now-6h",
    annotations: Sequence[Json] | None = None,
) -> Any:
    """Return a `grafanalib.core.Dashboard`."""
    made = grafana.Dashboard(
        title=title,
        uid=uid,
        description=description,
        tags=[TAG],
        timezone="utc",
        refresh=refresh,
        time=grafana.Time(span, "now"),
        panels=list(_placed(rows)),
        links=[_ways()],
        annotations=grafana.Annotations(
            list=list(common_annotations() if annotations is None else annotations)
        ),
        graphTooltip=1,
    )
    made.templating = {"list": [_datasource(), *(variable.to_json() for variable in variables)]}
    return made


def _placed(rows: Sequence[Row]) -> Iterator[Any]:
    top = 0
    for row in rows:
        if row.title is not None:
            yield grafana.RowPanel(
                title=row.title, gridPos=grafana.GridPos(h=1, w=COLUMNS, x=0, y=top)
            )
            top += 1
        left = 0
        for panel, width in row.panels:
            panel.gridPos = grafana.GridPos(h=row.height, w=width, x=left, y=top)
            left += width
            yield panel
        assert left <= COLUMNS, f"{row.title}: {left} columns"
        top += row.height


def _datasource() -> Json:
    return {
        "current": {"text": "netslo", "value": DATASOURCE_UID},
        "includeAll": False,
        "label": "Data source",
        "multi": False,
        "name": "datasource",
        "options": [],
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "type": "datasource",
    }


def _ways() -> Json:
    return {
        "asDropdown": False,
        "icon": "external link",
        "includeVars": False,
        "keepTime": True,
        "tags": [TAG],
        "targetBlank": False,
        "title": "netslo",
        "tooltip": "The other dashboards",
        "type": "dashboards",
        "url": "",
    }


# Label values go into addresses encoded: a path's id has a colon and a slash in it.


def to_board(title: str, uid: str, **values: str) -> Link:
    """Return a link to a dashboard; values of its variables may be Grafana's templates."""
    chosen = "".join(f"&var-{name}={value}" for name, value in values.items())
    return Link(title, f"/d/{uid}?${{__url_time_range}}&var-datasource=${{datasource}}{chosen}")


def of_field(label: str) -> str:
    """Return the template of another column's value in the same row of a table."""
    return f"${{__data.fields.{label}:percentencode}}"


def of_series(label: str) -> str:
    """Return the template of a label of the series pointed at."""
    return f"${{__field.labels.{label}:percentencode}}"


def common_annotations(selector: str = "") -> tuple[Json, ...]:
    """Return the marks that every graph should have, of the paths that `selector` names."""
    return (
        {
            "datasource": {"type": "grafana", "uid": "-- Grafana --"},
            "enable": True,
            "hide": False,
            "iconColor": "blue",
            "name": "Deployments",
            "target": {"limit": 100, "matchAny": False, "tags": ["deployment"], "type": "tags"},
        },
        _annotation(
            "Exclusions",
            "purple",
            f"max by (slo, path) ({metrics.PROM_SLO_EXCLUDED}{{{selector}}}) > 0",
            "Excluded: {{slo}} on {{path}}",
        ),
        _annotation(
            "Route changes",
            "orange",
            f"sum by (path) "
            f"(increase({metrics.PROM_PATH_CHANGES}{{{selector}}}[$__rate_interval])) > 0",
            "Another route: {{path}}",
        ),
        _annotation(
            "TTL changes",
            "yellow",
            f"sum by (path, direction) "
            f"(increase({metrics.PROM_TTL_CHANGES}{{{selector}}}[$__rate_interval])) > 0",
            "Another length: {{path}}, {{direction}}",
        ),
    )


def _annotation(name: str, colour: str, expr: str, title: str) -> Json:
    return {
        "datasource": DATASOURCE,
        "enable": True,
        "expr": expr,
        "hide": False,
        "iconColor": colour,
        "name": name,
        "step": "60s",
        "titleFormat": title,
    }
