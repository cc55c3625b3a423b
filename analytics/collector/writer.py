"""The one thread which decodes, commits and maintains, as the event loop sees it."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from aiohttp import web

from analytics.collector.ingest import Ingest, Receipt
from analytics.store import StoreFull

MAINTAIN_INTERVAL_S: Final = 30.0
STUCK_S: Final = 60.0  # a request waits longer than this for its commit: a sick disk

_log = logging.getLogger(__name__)


class Writer:
    """Runs an `Ingest` in a thread of its own; what it is given, in order."""

    def __init__(self, ingest: Ingest, maintain_interval_s: float = MAINTAIN_INTERVAL_S) -> None:
        self._ingest = ingest
        self._maintain_interval_s = maintain_interval_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._began_s: dict[object, float] = {}  # of the requests that wait for their commit

    async def __aenter__(self) -> None:
        self._maintaining = asyncio.create_task(self._maintain())

    async def __aexit__(self, *_: object) -> None:
        self._maintaining.cancel()
        with suppress(asyncio.CancelledError):
            await self._maintaining
        await asyncio.to_thread(self._thread.shutdown)  # after what is under way is committed

    async def take(self, body: bytes, encoding: str) -> Receipt:
        """Make a body durable; see `Ingest.take`."""
        token = object()
        self._began_s[token] = time.monotonic()
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._ingest.take, body, encoding)
        finally:
            del self._began_s[token]

    async def healthz(self, _request: web.Request) -> web.Response:
        """Answer 200 while windows are taken and kept, else 503 and why not."""
        state = self._ingest.state
        problem = None
        if state.full:
            problem = "the disk is full"
        elif state.trouble is not None:
            problem = state.trouble
        elif self._began_s and time.monotonic() - min(self._began_s.values()) > STUCK_S:
            problem = "the writer is stuck"
        return web.json_response(
            {
                "status": "ok" if problem is None else problem,
                "last_commit": state.last_commit_s,
                "waiting": len(self._began_s),
            },
            status=200 if problem is None else 503,
        )

    async def _maintain(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._maintain_interval_s)
            try:
                await loop.run_in_executor(self._thread, self._ingest.maintain)
            except StoreFull as error:
                _log.warning("maintenance: %s", error)
            except Exception:  # noqa: BLE001 - said with its traceback; receiving must go on
                _log.exception("maintenance failed")
