"""Panels as Grafana 12 and 13 read them, on grafanalib's object model.

grafanalib 0.7.1 writes options of Grafana 5 to 8 for most kinds of panel. Here it keeps titles,
targets and places; options and field configuration are our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Final

import grafanalib.core as grafana

Json = dict[str, Any]

_HIDE_FROM: Final = {"legend": False, "tooltip": False, "viz": False}


class Form(StrEnum):
    """What a data source makes of a result."""

    SERIES = "time_series"
    TABLE = "table"
    HEATMAP = "heatmap"


@dataclass(frozen=True, slots=True)
class Query:
    """One target: an expression, and the name of what comes of it."""

    expr: str
    legend: str = ""
    form: Form = Form.SERIES
    instant: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """Where a panel leads to."""

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Field:
    """How values are shown. `steps` are colours from a value on; None is from the least."""

    unit: str = "short"
    steps: Sequence[tuple[str, float | None]] = (("green", None),)
    decimals: int | None = None
    least: float | None = None
    most: float | None = None
    no_value: str | None = None
    mappings: Sequence[Json] = ()

    def defaults(self, *, colour: Json) -> Json:
        """Return the field configuration; what is None is left out later."""
        return {
            "color": colour,
            "decimals": self.decimals,
            "mappings": list(self.mappings),
            "max": self.most,
            "min": self.least,
            "noValue": self.no_value,
            "thresholds": {
                "mode": "absolute",
                "steps": [{"color": colour, "value": value} for colour, value in self.steps],
            },
            "unit": self.unit,
        }


@dataclass(frozen=True, slots=True)
class Override:
    """What is different for one field: properties by their ids."""

    name: str
    properties: Json = field(default_factory=dict)
    regex: bool = False

    def to_json(self) -> Json:
        """Return the override."""
        return {
            "matcher": {"id": "byRegexp" if self.regex else "byName", "options": self.name},
            "properties": [{"id": key, "value": value} for key, value in self.properties.items()],
        }


def dashed(name: str, *, regex: bool = False, **more: Any) -> Override:
    """Return how a line is shown that is a limit, and no measurement."""
    line = {"custom.fillOpacity": 0, "custom.lineStyle": {"dash": [8, 8], "fill": "dash"}}
    return Override(name, {**line, **more}, regex)


class ModernPanel(grafana.Panel):  # type: ignore[misc]
    """What all panels share: a description, a unit, thresholds and a link onward."""

    kind: ClassVar[str]
    colour: ClassVar[Json] = {"mode": "thresholds"}

    def __init__(
        self,
        title: str,
        description: str,
        queries: Sequence[Query],
        shown: Field,
        *,
        links: Sequence[Link] = (),
        panel_links: Sequence[Link] = (),
        overrides: Sequence[Override] = (),
        transformations: Sequence[Json] = (),
    ) -> None:
        """Make a panel; `links` belong to each value, `panel_links` to the panel."""
        targets = [
            grafana.Target(
                expr=query.expr,
                legendFormat=query.legend,
                refId=chr(ord("A") + number),
                format=query.form.value,
                instant=query.instant,
            )
            for number, query in enumerate(queries)
        ]
        super().__init__(
            title=title,
            description=description,
            targets=targets,
            transformations=list(transformations),
            links=[panel_link(link) for link in panel_links],
            maxDataPoints=None,
        )
        self.shown = shown
        self.value_links = links
        self.overrides = overrides

    def options(self) -> Json:
        """Return the options of this kind of panel."""
        raise NotImplementedError

    def custom(self) -> Json:
        """Return what this kind of panel has for each field."""
        return {}

    def to_json_data(self) -> Json:
        """Return the panel, with what grafanalib adds; see `modernise`."""
        defaults = self.shown.defaults(colour=self.colour)
        defaults["links"] = [{"title": link.title, "url": link.url} for link in self.value_links]
        defaults["custom"] = self.custom()
        made: Json = self.panel_json({"type": self.kind, "options": self.options()})
        made["fieldConfig"] = {
            "defaults": defaults,
            "overrides": [override.to_json() for override in self.overrides],
        }
        return made


class Stat(ModernPanel):
    """One number, coloured."""

    kind = "stat"

    def options(self) -> Json:
        return {
            "colorMode": "background",
            "graphMode": "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "percentChangeColorMode": "standard",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "showPercentChange": False,
            "textMode": "auto",
            "wideLayout": True,
        }


class TimeSeries(ModernPanel):
    """Lines over time, with the thresholds drawn."""

    kind = "timeseries"
    colour: ClassVar[Json] = {"mode": "palette-classic"}
    stacking: ClassVar[str] = "none"
    fill: ClassVar[int] = 8
    scale: ClassVar[Json] = {"type": "linear"}

    def options(self) -> Json:
        return {
            "legend": {
                "calcs": ["lastNotNull", "max"],
                "displayMode": "table",
                "placement": "bottom",
                "showLegend": True,
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        }

    def custom(self) -> Json:
        drawn = len(self.shown.steps) > 1
        return {
            "axisPlacement": "auto",
            "drawStyle": "line",
            "fillOpacity": self.fill,
            "hideFrom": _HIDE_FROM,
            "lineInterpolation": "linear",
            "lineWidth": 1,
            "pointSize": 5,
            "scaleDistribution": self.scale,
            "showPoints": "auto",
            "spanNulls": False,  # a gap is a gap
            "stacking": {"group": "A", "mode": self.stacking},
            "thresholdsStyle": {"mode": "dashed" if drawn else "off"},
        }


class BurnRates(TimeSeries):
    """Burn rates: logarithmic from 1 on, so that a threshold is seen below any fire."""

    fill = 0
    scale: ClassVar[Json] = {"type": "symlog", "log": 10, "linearThreshold": 1}


class Stacked(TimeSeries):
    """Parts of a whole over time."""

    stacking = "normal"
    fill = 40


class Table(ModernPanel):
    """Rows, the first column's order given; cells coloured where an override says so."""

    kind = "table"

    def __init__(self, *args: Any, sort_by: str | None = None, **named: Any) -> None:
        super().__init__(*args, **named)
        self.sort_by = sort_by

    def options(self) -> Json:
        sort = [] if self.sort_by is None else [{"desc": True, "displayName": self.sort_by}]
        return {"cellHeight": "sm", "frameIndex": 0, "showHeader": True, "sortBy": sort}

    def custom(self) -> Json:
        return {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True}


class Matrix(Table):
    """A table in which every cell is coloured."""

    def custom(self) -> Json:
        return {
            "align": "center",
            "cellOptions": {"mode": "basic", "type": "color-background"},
            "minWidth": 60,
        }


class Heatmap(ModernPanel):
    """Native histograms over time, on a logarithmic axis of the histograms' own buckets."""

    kind = "heatmap"

    def options(self) -> Json:
        return {
            "calculate": False,
            "cellGap": 0,
            "color": {
                "exponent": 0.5,
                "fill": "dark-orange",
                "mode": "scheme",
                "reverse": False,
                "scale": "exponential",
                "scheme": "Oranges",
                "steps": 64,
            },
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "showValue": "never",
            "tooltip": {"mode": "single", "showColorScale": True, "yHistogram": True},
            "yAxis": {"axisPlacement": "left", "unit": self.shown.unit},
        }

    def custom(self) -> Json:
        return {"hideFrom": _HIDE_FROM, "scaleDistribution": {"type": "linear"}}


class StateTimeline(ModernPanel):
    """Since when something is so."""

    kind = "state-timeline"

    def options(self) -> Json:
        return {
            "alignValue": "left",
            "legend": {
                "calcs": [],
                "displayMode": "list",
                "placement": "bottom",
                "showLegend": False,
            },
            "mergeValues": True,
            "rowHeight": 0.9,
            "showValue": "auto",
            "tooltip": {"mode": "single", "sort": "none"},
        }

    def custom(self) -> Json:
        return {"fillOpacity": 80, "hideFrom": _HIDE_FROM, "lineWidth": 0}


class SiteMap(ModernPanel):
    """Sites on a map; rows need `latitude` and `longitude` as numbers, and `burn rate`."""

    kind = "geomap"

    def options(self) -> Json:
        style = {
            "color": {"field": "burn rate", "fixed": "dark-green"},
            "opacity": 0.8,
            "size": {"fixed": 9, "max": 15, "min": 5},
            "symbol": {"fixed": "img/icons/marker/circle.svg", "mode": "fixed"},
            "text": {"field": "site", "fixed": "", "mode": "field"},
            "textConfig": {
                "fontSize": 12,
                "offsetX": 0,
                "offsetY": -14,
                "textAlign": "center",
                "textBaseline": "middle",
            },
        }
        return {
            "basemap": {"config": {}, "name": "Base map", "type": "default"},
            "controls": {
                "mouseWheelZoom": False,
                "showAttribution": True,
                "showDebug": False,
                "showMeasure": False,
                "showScale": False,
                "showZoom": True,
            },
            "layers": [
                {
                    "config": {"showLegend": True, "style": style},
                    "location": {
                        "latitude": "latitude",
                        "longitude": "longitude",
                        "mode": "coords",
                    },
                    "name": "Sites",
                    "tooltip": True,
                    "type": "markers",
                }
            ],
            "tooltip": {"mode": "details"},
            "view": {"allLayers": True, "id": "fit", "lat": 0, "lon": 0, "padding": 20, "zoom": 5},
        }

    def custom(self) -> Json:
        return {"hideFrom": _HIDE_FROM}


def panel_link(link: Link) -> Json:
    """Return a link of a whole panel."""
    return {
        "asDropdown": False,
        "icon": "external link",
        "includeVars": False,
        "keepTime": True,
        "tags": [],
        "targetBlank": False,
        "title": link.title,
        "tooltip": "",
        "type": "link",
        "url": link.url,
    }
