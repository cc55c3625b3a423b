"""From what grafanalib writes to what Grafana 12 and 13 read.

grafanalib writes schema version 12, nulls, and keys that are gone since Grafana 8. This layer
leaves them out, names data sources by type and uid, and gives ids that stay.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any, Final

from grafanalib._gen import DashboardEncoder

SCHEMA_VERSION: Final = 42
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
PANEL_IDS: Final = 1_000_000

_BOARD_KEYS: Final = frozenset(
    (
        "annotations",
        "description",
        "editable",
        "fiscalYearStartMonth",
        "graphTooltip",
        "links",
        "liveNow",
        "panels",
        "refresh",
        "schemaVersion",
        "tags",
        "templating",
        "time",
        "timezone",
        "title",
        "uid",
        "weekStart",
    )
)
_PANEL_KEYS: Final = frozenset(
    (
        "description",
        "fieldConfig",
        "gridPos",
        "id",
        "links",
        "options",
        "targets",
        "title",
        "transformations",
        "type",
    )
)
_EMPTY_MEANS_ABSENT: Final = ("links", "mappings", "transformations", "custom")


def modernise(dashboard: Any) -> dict[str, Any]:
    """Return a `grafanalib.core.Dashboard` as JSON's plain data."""
    raw = json.loads(json.dumps(dashboard.to_json_data(), cls=DashboardEncoder))
    board = {key: value for key, value in _without_nulls(raw).items() if key in _BOARD_KEYS}
    board["schemaVersion"] = SCHEMA_VERSION
    board["timepicker"] = {}
    board["panels"] = [_panel(panel) for panel in raw["panels"]]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids), f"{raw['title']}: two panels have one title, or one id"
    return board


def to_text(board: Mapping[str, Any]) -> str:
    """Return a dashboard as text, the same octets each time."""
    return json.dumps(board, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def panel_id(title: str) -> int:
    """Return an id that stays while the title does, wherever the panel goes."""
    return zlib.crc32(title.encode()) % PANEL_IDS + 1


def _panel(raw: dict[str, Any]) -> dict[str, Any]:
    number = panel_id(raw["title"])
    if raw["type"] == "row":
        return {
            "collapsed": False,
            "gridPos": raw["gridPos"],
            "id": number,
            "panels": [],
            "title": raw["title"],
            "type": "row",
        }
    panel = {key: raw[key] for key in _PANEL_KEYS & raw.keys()} | {"id": number}
    panel = dict(_without_nulls(panel))
    for part in (panel, panel["fieldConfig"]["defaults"]):
        for key in _EMPTY_MEANS_ABSENT:
            if not part.get(key):
                part.pop(key, None)
    if raw["targets"]:
        panel["datasource"] = DATASOURCE
        panel["targets"] = [_target(target) for target in raw["targets"]]
    else:
        del panel["targets"]
        del panel["fieldConfig"]
    return panel


def _target(raw: dict[str, Any]) -> dict[str, Any]:
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": raw["expr"],
        "format": raw["format"],
        "instant": raw["instant"],
        "legendFormat": raw["legendFormat"] or "__auto",
        "range": not raw["instant"],
        "refId": raw["refId"],
    }


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            # The first step of thresholds is from null on.
            key: part if key == "steps" else _without_nulls(part)
            for key, part in value.items()
            if part is not None
        }
    if isinstance(value, list):
        return [_without_nulls(part) for part in value]
    return value
