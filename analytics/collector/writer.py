"""The threads which commit and maintain, as the event loop sees them."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from aiohttp import web

from analytics.collector.ingest import Ingest, Receipt, Request
from analytics.store import StoreFull

MAINTAIN_INTERVAL_S: Final = 30.0
STUCK_S: Final = 60.0  # a request waits longer than this for its commit: a sick disk
_TOGETHER_MAX: Final = 20  # requests in one commit: then syncing costs each of them little

_log = logging.getLogger(__name__)

_Waiting = tuple[Request, "Future[Receipt]"]
_Errand = Callable[[], None]


class Writer:
    """Runs an `Ingest` in a thread of its own: what waits is committed together.

    Maintenance has another thread, and the store sees to it that neither waits long.
    """

    def __init__(self, ingest: Ingest, maintain_interval_s: float = MAINTAIN_INTERVAL_S) -> None:
        self._ingest = ingest
        self._maintain_interval_s = maintain_interval_s
        self._waiting: queue.SimpleQueue[_Waiting | _Errand | None] = queue.SimpleQueue()
        self._began_s: dict[object, float] = {}  # of the requests that wait for their commit

    async def __aenter__(self) -> None:
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._commit, name="writer", daemon=True),
            threading.Thread(target=self._maintain, name="maintenance", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        self._waiting.put(None)
        for thread in self._threads:  # after what is under way is committed
            await asyncio.to_thread(thread.join)

    async def take(self, request: Request) -> Receipt:
        """Make a body durable; see `Ingest.take_all`.

        Raises:
            Refusal: it was not kept, or not all of it.
        """
        token = object()
        self._began_s[token] = time.monotonic()
        done: Future[Receipt] = Future()
        self._waiting.put((request, done))
        try:
            return await asyncio.wrap_future(done)
        finally:
            del self._began_s[token]

    def between(self, errand: Callable[[], None]) -> None:
        """Have something done in the writer's thread while no commit is under way; soon."""
        self._waiting.put(errand)

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

    def _commit(self) -> None:
        while (first := self._waiting.get()) is not None:
            together, then = self._gather(first)
            if together:
                self._take(together)
            if then is None:
                return
            self._run(then)

    def _gather(self, first: _Waiting | _Errand) -> tuple[list[_Waiting], _Errand | None]:
        """Return what waits, to be committed together, and what to do then; None is to end."""
        together: list[_Waiting] = []
        item: _Waiting | _Errand | None = first
        while isinstance(item, tuple):
            together.append(item)
            if len(together) == _TOGETHER_MAX:
                return together, _nothing
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                return together, _nothing
        return together, item

    def _take(self, together: list[_Waiting]) -> None:
        try:
            results = self._ingest.take_all([request for request, _ in together])
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            results = [error] * len(together)
        for (_, done), result in zip(together, results, strict=True):
            if not done.set_running_or_notify_cancel():
                continue  # the client has gone; what it sent is kept all the same
            if isinstance(result, Exception):
                done.set_exception(result)
            else:
                done.set_result(result)

    def _run(self, errand: _Errand) -> None:
        try:
            errand()
        except Exception:  # noqa: BLE001 - commits go on
            _log.exception("an errand between commits failed")

    def _maintain(self) -> None:
        while not self._stopping.wait(self._maintain_interval_s):
            try:
                self._ingest.maintain()
            except StoreFull as error:
                _log.warning("maintenance: %s", error)
            except Exception:  # noqa: BLE001 - said with its traceback; the next one may succeed
                _log.exception("maintenance failed")


def _nothing() -> None:
    """Go on."""
