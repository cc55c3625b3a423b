"""GET /metrics: computed off the event loop, and once for all who ask within some seconds.

Prometheus' own protobuf for who asks for it, with native histograms, which the text formats lack.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.openmetrics import exposition as openmetrics

from analytics.prometheus.exposition import CONTENT_TYPE, encode_exposition
from analytics.prometheus.families import NativeSource

CACHE_S: Final = 3.0

Write = Callable[[], bytes]

_PROTOBUF: Final = "application/vnd.google.protobuf"
_OPENMETRICS: Final = "application/openmetrics-text"
_TEXT: Final = "text/plain"
_CONTENT_TYPES: Final[Mapping[str, str]] = {
    _PROTOBUF: CONTENT_TYPE,
    _OPENMETRICS: f"{_OPENMETRICS}; version=1.0.0; charset=utf-8",
    _TEXT: f"{_TEXT}; version=0.0.4; charset=utf-8",
}


class Scrape:
    """The handler of /metrics."""

    def __init__(
        self,
        registry: CollectorRegistry,
        native: NativeSource | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        def protobuf() -> bytes:
            return encode_exposition(registry, native.collect_native() if native else ())

        self._writers: Mapping[str, Write] = {
            _PROTOBUF: protobuf,
            _OPENMETRICS: partial(openmetrics.generate_latest, registry),
            _TEXT: partial(exposition.generate_latest, registry),
        }
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._kept: dict[str, tuple[float, bytes]] = {}

    async def handle(self, request: web.Request) -> web.Response:
        """Answer in protobuf, in OpenMetrics or in Prometheus' older text format, as asked."""
        kind = preferred(request.headers.get("Accept", ""))
        async with self._lock:
            made_s, body = self._kept.get(kind, (-math.inf, b""))
            if self._monotonic() - made_s >= CACHE_S:
                body = await asyncio.to_thread(self._writers[kind])
                self._kept[kind] = (self._monotonic(), body)
        return web.Response(body=body, headers={"Content-Type": _CONTENT_TYPES[kind]})


def preferred(accept: str) -> str:
    """Return the format to answer in: the one of ours that the header names first.

    Prometheus lists what it takes in the order of its liking. Not prometheus-client's own
    choice, which trusts the header to be well-formed.
    """
    for offer in accept.split(","):
        kind, _, parameters = offer.strip().partition(";")
        wanted = parameters.replace(" ", "")
        if kind == _PROTOBUF:
            if "MetricFamily" in wanted and "encoding=delimited" in wanted:
                return _PROTOBUF
        elif kind == _OPENMETRICS:
            return _OPENMETRICS
        elif kind == _TEXT:
            return _TEXT
    return _TEXT
