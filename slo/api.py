"""Objectives over HTTP: GET /api/v1/slos."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from netslo.estate import Estate
from netslo.model import Path
from slo.judge import Judge

_PARAMETERS: Final = ("slo", "path")


def routes(judge: Judge) -> list[web.RouteDef]:
    """Return the routes of this floor.

    `GET /api/v1/slos?slo=NAME&path=ID` answers `{"evaluated": Unix seconds, "slos": [...]}`,
    each as `SloStatus.to_json` has it. Either parameter may be absent, or given more than
    once. What is not known is a 404, what is not understood a 400, as `{"error": text}`.
    """
    estate, names = judge.estate, frozenset(objective.name for objective in judge.objectives)

    async def get_slos(request: web.Request) -> web.Response:
        refusal = _refuse(request, names, estate)
        if refusal is not None:
            return refusal
        slos, paths = (request.query.getall(key, []) for key in _PARAMETERS)
        evaluated_s, statuses = await asyncio.to_thread(judge.judge)
        selected = [
            status.to_json()
            for status in statuses
            if (not slos or status.slo in slos) and (not paths or status.path.id in paths)
        ]
        return web.json_response({"evaluated": evaluated_s, "slos": selected})

    return [web.get("/api/v1/slos", get_slos)]


def _refuse(request: web.Request, names: frozenset[str], estate: Estate) -> web.Response | None:
    for key in request.query:
        if key not in _PARAMETERS:
            return _error(400, f"unknown parameter {key!r}; known are {', '.join(_PARAMETERS)}")
    for slo in request.query.getall("slo", []):
        if slo not in names:
            return _error(404, f"no SLO is named {slo!r}")
    for text in request.query.getall("path", []):
        try:
            path = Path.parse(text)
        except ValueError as error:
            return _error(400, str(error))
        if not estate.knows(path):
            return _error(404, f"no path of the estate is {text!r}")
    return None


def _error(status: int, text: str) -> web.Response:
    body: dict[str, Any] = {"error": text}
    return web.json_response(body, status=status)
