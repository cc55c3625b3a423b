"""What tables do with several results: one row each, columns with names and units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from dashboards.grafana.levels import Steps
from dashboards.grafana.panels import Form, Json, Link, Override, Query

_COLOURED: Final = {"mode": "basic", "type": "color-background"}


def rows(*exprs: str) -> list[Query]:
    """Return instant queries whose results become rows."""
    return [Query(expr, form=Form.TABLE, instant=True) for expr in exprs]


def columns(
    names: Mapping[str, str], order: Sequence[str] = (), without: Sequence[str] = ()
) -> list[Json]:
    """Merge results by their labels; name columns, in an order; leave out the time and others."""
    return [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "excludeByName": dict.fromkeys(("Time", *without), True),
                "indexByName": {name: number for number, name in enumerate(order)},
                "renameByName": dict(names),
            },
        },
    ]


def matrix(row: str, column: str) -> list[Json]:
    """Lay values out by two labels; what is not there stays empty."""
    options = {"columnField": column, "emptyValue": "null", "rowField": row, "valueField": "Value"}
    return [{"id": "groupingToMatrix", "options": options}]


def figure(
    name: str, unit: str, steps: Steps = (), decimals: int | None = None, link: Link | None = None
) -> Override:
    """Return how a column of figures is shown: coloured where there are steps."""
    properties: Json = {"unit": unit, "custom.align": "right"}
    if decimals is not None:
        properties["decimals"] = decimals
    if steps:
        properties["custom.cellOptions"] = _COLOURED
        properties["thresholds"] = {
            "mode": "absolute",
            "steps": [{"color": colour, "value": value} for colour, value in steps],
        }
    return Override(name, properties | _linked(link))


def name_of(name: str, link: Link | None, width: int | None = None) -> Override:
    """Return how a column of names is shown, which may lead somewhere."""
    properties: Json = {} if width is None else {"custom.width": width}
    return Override(name, properties | _linked(link))


def _linked(link: Link | None) -> Json:
    return {} if link is None else {"links": [{"title": link.title, "url": link.url}]}
