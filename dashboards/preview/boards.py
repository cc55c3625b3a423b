"""Dashboards as `netslo dashboards build` wrote them, checked for what the preview relies on."""

from __future__ import annotations

import json
import pathlib
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, ValidationError

from netslo.errors import ConfigurationError, Problem

_FOLDER: Final = "dashboards"
_ORDER: Final = ("on-call", "slo", "path", "site", "health", "catalogue")
_BYTES_MAX: Final = 4 * 2**20


class _GridPos(BaseModel):
    x: Annotated[int, Field(ge=0, le=23)]
    y: Annotated[int, Field(ge=0, le=1000)]
    w: Annotated[int, Field(ge=1, le=24)]
    h: Annotated[int, Field(ge=1, le=100)]


class _Target(BaseModel):
    expr: str
    instant: bool
    legendFormat: str  # noqa: N815 - Grafana's name
    refId: str  # noqa: N815


class _Panel(BaseModel):
    type: Literal[
        "gauge", "geomap", "heatmap", "row", "stat", "state-timeline", "table", "text", "timeseries"
    ]
    id: int
    title: str
    gridPos: _GridPos  # noqa: N815
    targets: list[_Target] = []


class _Variable(BaseModel):
    name: str
    type: str


class _Templating(BaseModel):
    list: list[_Variable]


class _Annotations(BaseModel):
    list: list[dict[str, Any]]


class _Board(BaseModel):
    uid: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
    title: str
    panels: list[_Panel]
    templating: _Templating
    annotations: _Annotations


def load_boards(directory: pathlib.Path) -> list[dict[str, Any]]:
    """Return the dashboards below the folder that they were built into, on-call first.

    Raises:
        ConfigurationError: there are none, or files are not as they were made; with all faults.
    """
    files = sorted((directory / _FOLDER).glob("*.json"))
    if not files:
        raise ConfigurationError(
            f"{directory / _FOLDER} has no dashboards: netslo dashboards build -o {directory}"
        )
    problems: list[Problem] = []
    boards = [board for file in files if (board := _load(file, problems)) is not None]
    if problems:
        raise ConfigurationError(problems)
    return sorted(boards, key=_place)


def _load(file: pathlib.Path, problems: list[Problem]) -> dict[str, Any] | None:
    try:
        with file.open("rb") as opened:
            found: dict[str, Any] = json.loads(opened.read(_BYTES_MAX))
        _Board.model_validate(found)
    except (OSError, ValueError) as error:
        if isinstance(error, ValidationError):
            problems += [
                Problem(
                    str(file), None, ".".join(map(str, e["loc"])), str(e["input"])[:60], e["msg"]
                )
                for e in error.errors()
            ]
        else:
            problems.append(Problem(str(file), None, "", "", f"must be a dashboard: {error}"))
        return None
    return found


def _place(board: dict[str, Any]) -> tuple[int, str]:
    name = board["uid"].removeprefix("netslo-")
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)
