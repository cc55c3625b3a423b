"""Alerts over HTTP: GET /api/v1/alerts."""

from __future__ import annotations

import asyncio

from aiohttp import web

from slo.engine.engine import AlertEngine


def routes(engine: AlertEngine) -> list[web.RouteDef]:
    """Return the route of this floor: it answers what `AlertEngine.to_json` says."""

    async def get_alerts(_request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(engine.to_json))

    return [web.get("/api/v1/alerts", get_alerts)]
