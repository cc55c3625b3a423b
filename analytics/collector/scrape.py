"""GET /metrics: computed off the event loop, and once for all who ask within some seconds."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.openmetrics import exposition as openmetrics

CACHE_S: Final = 3.0

Writer = Callable[[CollectorRegistry], bytes]

_OPENMETRICS: Final = "application/openmetrics-text"
# Not prometheus-client's own choice by Accept header, which trusts the header to be well-formed.
_FORMATS: Final[Mapping[bool, tuple[Writer, str]]] = {
    False: (exposition.generate_latest, "text/plain; version=0.0.4; charset=utf-8"),
    True: (openmetrics.generate_latest, f"{_OPENMETRICS}; version=1.0.0; charset=utf-8"),
}


class Scrape:
    """The handler of /metrics."""

    def __init__(
        self, registry: CollectorRegistry, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry = registry
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._kept: dict[bool, tuple[float, bytes]] = {}

    async def handle(self, request: web.Request) -> web.Response:
        """Answer in OpenMetrics or in Prometheus' older text format, as asked."""
        wants_openmetrics = _OPENMETRICS in request.headers.get("Accept", "")
        write, content_type = _FORMATS[wants_openmetrics]
        async with self._lock:
            made_s, body = self._kept.get(wants_openmetrics, (-math.inf, b""))
            if self._monotonic() - made_s >= CACHE_S:
                body = await asyncio.to_thread(write, self._registry)
                self._kept[wants_openmetrics] = (self._monotonic(), body)
        return web.Response(body=body, headers={"Content-Type": content_type})
