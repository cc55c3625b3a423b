"""Delivery of spooled batches to the collector: oldest first, at least once, for ever.

opentelemetry's own HTTP exporter calls a partial success a success, gives up on a 500 and knows
no spool. This one keeps a batch until the collector has answered for it (OTLP/HTTP, "Response").
"""

from __future__ import annotations

import asyncio
import io
import logging
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_base, wait_exponential, wait_random

from netslo.tasks import cancelled
from probes.answer import PROTOBUF, Never, NotNow, printable, read_bounded, understand
from probes.suspects import Suspects

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from probes.spool import Spool, SpooledBatch

REQUEST_TIMEOUT_S: Final = 10.0
RETRY_FIRST_S: Final = 0.5
RETRY_MAX_S: Final = 30.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class DeliveryCounts:
    """What became of the batches since the start."""

    delivered: int = 0  # acknowledged by the collector
    refused: int = 0  # set aside: the collector will never take them
    failures: int = 0  # attempts that will be repeated
    points_refused: int = 0  # data points the collector left out of accepted batches
    held_back: int = 0  # how often a batch was, that failed while others were taken


class _WaitAsTold(wait_base):
    """Retry-After where the collector gave one, else exponential with jitter; both bounded."""

    def __init__(self, first_s: float, max_s: float) -> None:
        self._max_s = max_s
        self._backoff = wait_exponential(multiplier=first_s, max=max_s) + wait_random(0, first_s)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome is not None else None
        if isinstance(error, NotNow) and error.retry_after_s is not None:
            return min(error.retry_after_s, self._max_s)
        return min(float(self._backoff(retry_state)), self._max_s)


class Deliverer:
    """Sends what waits in a spool to one collector. All methods belong to one event loop."""

    def __init__(
        self,
        spool: Spool,
        url: str,
        *,
        timeout_s: float = REQUEST_TIMEOUT_S,
        retry_first_s: float = RETRY_FIRST_S,
        retry_max_s: float = RETRY_MAX_S,
        suspects: Suspects | None = None,
    ) -> None:
        """Prepare delivery; nothing is sent yet.

        Args:
            spool: What it holds, now and later, is sent.
            url: The collector, such as `http://host:4318`; `/v1/metrics` is added.
            timeout_s: How long one request may take.
            retry_first_s: How long to wait after a first failure, before jitter.
            retry_max_s: The longest wait, also when the collector asks for a longer one.
            suspects: Who judges batches that fail again and again.
        """
        self.counts = DeliveryCounts()
        self._spool = spool
        self._url = metrics_url(url)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._retrying = AsyncRetrying(
            retry=retry_if_exception_type(NotNow),
            wait=_WaitAsTold(retry_first_s, retry_max_s),
            before_sleep=self._note_failure,
        )
        self._suspects = suspects or Suspects(time.monotonic)
        self._trouble = ""  # said once, not at every attempt

    @property
    def held(self) -> int:
        """How many batches are held back now."""
        return len(self._suspects.held)

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set. A batch under way then is sent again by `drain`."""
        put = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(put.set)

        self._spool.notify(wake)
        worker = asyncio.create_task(self._deliver_for_ever(put))
        stopper = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({worker, stopper}, return_when=asyncio.FIRST_COMPLETED)
            if worker.done():
                worker.result()  # it ends only by a bug of ours, which must be seen
        finally:
            self._spool.notify(None)
            await cancelled(worker, stopper)

    async def drain(self, deadline_s: float) -> int:
        """Deliver what waits, for at most `deadline_s`; return how many batches remain."""
        # Not asyncio.timeout, whose one cancellation may be swallowed.
        worker = asyncio.create_task(self._deliver_once())
        try:
            await asyncio.wait({worker}, timeout=deadline_s)
            if worker.done():
                worker.result()
            else:
                _log.warning(
                    "%s: %d batches are not delivered; what is on disk waits for the next start",
                    self._url,
                    self._spool.depth,
                )
        finally:
            await cancelled(worker)
        return self._spool.depth

    async def _deliver_once(self) -> None:
        async with self._session() as session:
            await self._deliver_all(session)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        # No proxy nor netrc from the environment, and an answer is never decompressed: a
        # collector's is short, and anybody else's could be a bomb.
        async with aiohttp.ClientSession(
            timeout=self._timeout,
            trust_env=False,
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=1),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "Content-Type": PROTOBUF,
                "Content-Encoding": "zstd",
                "Accept-Encoding": "identity",
                "User-Agent": "netslo-probe",
            },
        ) as session:
            yield session

    async def _deliver_for_ever(self, put: asyncio.Event) -> None:
        async with self._session() as session:
            while True:
                put.clear()
                await self._deliver_all(session)
                # Not wait_for, which in Python 3.11 may swallow that we are cancelled.
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._suspects.next_release_s):
                        await put.wait()

    async def _deliver_all(self, session: aiohttp.ClientSession) -> None:
        while await self._retrying(self._deliver_oldest, session):
            pass

    async def _deliver_oldest(self, session: aiohttp.ClientSession) -> bool:
        """Deliver or set aside one batch; return whether there was one.

        Raises:
            NotNow: it stays where it is.
        """
        batch = await self._next()
        if batch is None:
            return False
        try:
            answer = await self._post(session, batch)
        except Never as refusal:
            self.counts.refused += 1
            self._suspects.forget(batch.name)
            await asyncio.to_thread(self._spool.refuse, batch.name, str(refusal))
            return True
        except NotNow as failure:
            self._suspects.failed(batch.name, str(failure))
            raise
        await asyncio.to_thread(self._spool.remove, batch.name)
        self._note_success(batch, answer)
        return True

    async def _next(self) -> SpooledBatch | None:
        """Return the batch whose turn it is: the oldest, but for those that fail all the time.

        Raises:
            NotNow: the spool cannot be read.
        """
        try:
            batch = await asyncio.to_thread(self._spool.oldest, self._suspects.left_out())
            return batch or await asyncio.to_thread(self._spool.oldest, self._suspects.held)
        except OSError as error:
            raise NotNow(f"the spool cannot be read: {error.strerror}") from error

    async def _post(
        self, session: aiohttp.ClientSession, batch: SpooledBatch
    ) -> ExportMetricsServiceResponse:
        """Return the collector's answer to an accepted batch.

        Raises:
            NotNow: no answer, or one that promises nothing.
            Never: the collector refuses the batch as such.
        """
        try:
            data = io.BytesIO(batch.body)  # sent piece by piece, where octets would go at once
            async with session.post(self._url, data=data, allow_redirects=False) as response:
                body = await read_bounded(response)
                return understand(response, body)
        except (aiohttp.ClientError, OSError) as error:  # OSError: also a time-out
            reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            raise NotNow(reason or type(error).__name__) from error

    def _note_failure(self, retry_state: RetryCallState) -> None:
        self.counts.failures += 1
        error = retry_state.outcome.exception() if retry_state.outcome is not None else None
        if str(error) != self._trouble:
            self._trouble = str(error)
            _log.warning(
                "%s: not delivered, %d batches wait: %s", self._url, self._spool.depth, error
            )

    def _note_success(self, batch: SpooledBatch, answer: ExportMetricsServiceResponse) -> None:
        self.counts.delivered += 1
        for name, reason in self._suspects.delivered(batch.name).items():
            self.counts.held_back += 1
            _log.warning("%s: %s is held back, others are taken: %s", self._url, name, reason)
        if self._trouble:
            self._trouble = ""
            _log.info("%s: delivering again, %d batches wait", self._url, self._spool.depth)
        partial = answer.partial_success
        if partial.rejected_data_points > 0:
            self.counts.points_refused += partial.rejected_data_points
            _log.warning(
                "%s: %d data points of %s were refused: %s",
                self._url,
                partial.rejected_data_points,
                batch.name,
                printable(partial.error_message),
            )


def metrics_url(url: str) -> str:
    """Return where OTLP metrics go: the base URL and `v1/metrics`, unless it is there already."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    if not path.endswith("/v1/metrics"):
        path += "/v1/metrics"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
