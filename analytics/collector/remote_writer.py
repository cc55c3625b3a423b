"""Sending all metrics to a Prometheus (or what speaks its remote write) at an interval.

For where nobody can scrape the collector. Requests wait in a bounded queue while the receiver is
away and go out in the order they were made: a receiver refuses what is older than it has.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import aiohttp
from prometheus_client import CollectorRegistry, Counter, Gauge

from analytics.prometheus.families import NativeSource
from analytics.prometheus.remote_write import HEADERS, Series, snappy
from netslo import metrics
from netslo.tasks import cancelled

QUEUE_BYTES_MAX: Final = 64 * 2**20
_BACKOFF_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
_TIMEOUT_S: Final = 30.0
_RETRIED: Final = frozenset({408, 429})
_REASON_CHARACTERS: Final = 300

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RemoteWrite:
    """Where to write, how often (seconds), and as which `job` and `instance`."""

    url: str
    interval_s: float = 15.0
    job: str = "netslo"
    instance: str = ""


class RemoteWriter:
    """Collects and sends until it is closed. One event loop uses it."""

    def __init__(
        self,
        to: RemoteWrite,
        registry: CollectorRegistry,
        native: NativeSource,
        clock: Callable[[], float],
    ) -> None:
        self._to = to
        self._registry = registry
        self._native = native
        self._clock = clock
        self._series = Series({"job": to.job, "instance": to.instance})
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._more = asyncio.Event()
        self._sent = Counter(
            metrics.PROM_REMOTE_WRITE_SENT, "Requests that the receiver took", registry=registry
        )
        self._dropped = Counter(
            metrics.PROM_REMOTE_WRITE_DROPPED,
            "Requests that were given up: refused by the receiver, or the queue was full",
            ["reason"],
            registry=registry,
        )
        for reason in ("refused", "queue"):
            self._dropped.labels(reason)
        Gauge(
            metrics.PROM_REMOTE_WRITE_QUEUE, "Octets that wait to be sent", registry=registry
        ).set_function(lambda: self._bytes)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work in the background for as long as the context lasts."""
        tasks = [asyncio.create_task(self._collect()), asyncio.create_task(self._send())]
        try:
            yield
        finally:
            await cancelled(*tasks)

    async def collect_once(self) -> None:
        """Put the requests of this moment in the queue; the oldest go where it is full."""
        unix_ms = int(self._clock() * 1000)
        for request in await asyncio.to_thread(self._requests, unix_ms):
            self._queue.append(request)
            self._bytes += len(request)
            while self._bytes > QUEUE_BYTES_MAX and len(self._queue) > 1:
                self._forget_first()
                self._dropped.labels("queue").inc()
        self._more.set()

    def _requests(self, unix_ms: int) -> list[bytes]:
        native = self._native.collect_native()
        return [snappy(r) for r in self._series.requests(self._registry, native, unix_ms)]

    async def _collect(self) -> None:
        while True:
            try:
                await self.collect_once()
            except Exception:  # noqa: BLE001 - said with its traceback; the next may succeed
                _log.exception("remote write: collecting failed")
            await asyncio.sleep(self._to.interval_s)

    async def _send(self) -> None:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as client:
            failures = 0
            while True:
                await self._more.wait()
                if not self._queue:
                    self._more.clear()
                    continue
                trouble = await self._post(client, self._queue[0])
                if trouble is None:
                    failures = 0
                    continue
                if not failures:
                    _log.warning("remote write to %s: %s; trying again", self._to.url, trouble)
                await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                failures += 1

    async def _post(self, client: aiohttp.ClientSession, request: bytes) -> str | None:
        """Send the first request; return why it must be sent again, None when it is done with."""
        try:
            async with client.post(self._to.url, data=request, headers=HEADERS) as answer:
                status = answer.status
                text = (await answer.content.read(_REASON_CHARACTERS)).decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        if status >= 500 or status in _RETRIED:  # noqa: PLR2004 - HTTP
            return f"status {status}: {text.strip()}"
        with suppress(IndexError):
            if self._queue[0] is request:  # a full queue may have dropped it meanwhile
                self._forget_first()
        if status >= 300:  # noqa: PLR2004 - HTTP
            self._dropped.labels("refused").inc()
            _log.warning("remote write: dropped, status %d: %s", status, text.strip())
        else:
            self._sent.inc()
        return None

    def _forget_first(self) -> None:
        self._bytes -= len(self._queue.popleft())
