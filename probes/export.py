"""Delivery of spooled batches to the collector: oldest first, at least once, for ever.

opentelemetry's own HTTP exporter calls a partial success a success, gives up on a 500 and knows
no spool. This one keeps a batch until the collector has answered for it (OTLP/HTTP, "Response").
"""

from __future__ import annotations

import asyncio
import io
import logging
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_base, wait_exponential_jitter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from probes.spool import Spool, SpooledBatch

REQUEST_TIMEOUT_S: Final = 10.0
RETRY_FIRST_S: Final = 0.5
RETRY_MAX_S: Final = 30.0

_CONTENT_TYPE: Final = "application/x-protobuf"
_RESPONSE_BYTES_MAX: Final = 64 * 1024
_MESSAGE_CHARACTERS_MAX: Final = 300
_TOO_LARGE: Final = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
# The collector understood the batch and will never take it. Of these, only a refusal for its size
# is believed from somebody who does not answer in OTLP: proxies have limits too.
_HOPELESS: Final = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        _TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class DeliveryCounts:
    """What became of the batches since the start."""

    delivered: int = 0  # acknowledged by the collector
    refused: int = 0  # set aside: the collector will never take them
    failures: int = 0  # attempts that will be repeated
    points_refused: int = 0  # data points the collector left out of accepted batches


class _NotNowError(Exception):
    """The batch was not acknowledged and keeps its place; worth another attempt."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class _NeverError(Exception):
    """The collector will not take this batch, now or later."""


class _WaitAsTold(wait_base):
    """Retry-After where the collector gave one, else exponential with jitter; both bounded."""

    def __init__(self, first_s: float, max_s: float) -> None:
        self._max_s = max_s
        self._backoff = wait_exponential_jitter(multiplier=first_s, max=max_s, jitter=first_s)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome is not None else None
        if isinstance(error, _NotNowError) and error.retry_after_s is not None:
            return min(error.retry_after_s, self._max_s)
        return float(self._backoff(retry_state))


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
    ) -> None:
        """Prepare delivery; nothing is sent yet.

        Args:
            spool: What it holds, now and later, is sent.
            url: The collector, such as `http://host:4318`; `/v1/metrics` is added.
            timeout_s: How long one request may take.
            retry_first_s: How long to wait after a first failure, before jitter.
            retry_max_s: The longest wait, also when the collector asks for a longer one.
        """
        self.counts = DeliveryCounts()
        self._spool = spool
        self._url = metrics_url(url)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._retrying = AsyncRetrying(
            retry=retry_if_exception_type(_NotNowError),
            wait=_WaitAsTold(retry_first_s, retry_max_s),
            before_sleep=self._note_failure,
        )
        self._trouble = ""  # said once, not at every attempt

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
            for task in (worker, stopper):
                task.cancel()
            await asyncio.gather(worker, stopper, return_exceptions=True)

    async def drain(self, deadline_s: float) -> int:
        """Deliver what waits, for at most `deadline_s`; return how many batches remain."""
        try:
            async with asyncio.timeout(deadline_s), self._session() as session:
                await self._deliver_all(session)
        except TimeoutError:
            _log.warning(
                "%s: %d batches stay in the spool for the next start", self._url, self._spool.depth
            )
        return self._spool.depth

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
                "Content-Type": _CONTENT_TYPE,
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
                await put.wait()

    async def _deliver_all(self, session: aiohttp.ClientSession) -> None:
        while await self._retrying(self._deliver_oldest, session):
            pass

    async def _deliver_oldest(self, session: aiohttp.ClientSession) -> bool:
        """Deliver or set aside one batch; return whether there was one.

        Raises:
            _NotNowError: it stays where it is.
        """
        try:
            batch = await asyncio.to_thread(self._spool.oldest)
        except OSError as error:
            raise _NotNowError(f"the spool cannot be read: {error.strerror}") from error
        if batch is None:
            return False
        try:
            answer = await self._post(session, batch)
        except _NeverError as refusal:
            self.counts.refused += 1
            await asyncio.to_thread(self._spool.refuse, batch.name, str(refusal))
            return True
        await asyncio.to_thread(self._spool.remove, batch.name)
        self._note_success(batch, answer)
        return True

    async def _post(
        self, session: aiohttp.ClientSession, batch: SpooledBatch
    ) -> ExportMetricsServiceResponse:
        """Return the collector's answer to an accepted batch.

        Raises:
            _NotNowError: no answer, or one that promises nothing.
            _NeverError: the collector refuses the batch as such.
        """
        try:
            data = io.BytesIO(batch.body)  # sent piece by piece, where octets would go at once
            async with session.post(self._url, data=data, allow_redirects=False) as response:
                body = await _read_bounded(response)
                return _understand(response, body)
        except (aiohttp.ClientError, OSError) as error:  # OSError: also a time-out
            reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            raise _NotNowError(reason or type(error).__name__) from error

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
                _printable(partial.error_message),
            )


def metrics_url(url: str) -> str:
    """Return where OTLP metrics go: the base URL and `v1/metrics`, unless it is there already."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    if not path.endswith("/v1/metrics"):
        path += "/v1/metrics"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """Return the body.

    Raises:
        _NotNowError: it is longer than any answer of a collector.
    """
    body = bytearray()
    async for chunk in response.content.iter_chunked(_RESPONSE_BYTES_MAX):
        body += chunk
        if len(body) > _RESPONSE_BYTES_MAX:
            raise _NotNowError(f"HTTP {response.status} with an answer too long for a collector")
    return bytes(body)


def _understand(response: aiohttp.ClientResponse, body: bytes) -> ExportMetricsServiceResponse:
    """Return the acknowledgement in an answer, or raise what else it means."""
    is_otlp = response.content_type == _CONTENT_TYPE and "Content-Encoding" not in response.headers
    if response.status in _HOPELESS and (is_otlp or response.status == _TOO_LARGE):
        raise _NeverError(f"HTTP {response.status}: {_status_message(body)}")
    if response.status != HTTPStatus.OK:
        reason = f"HTTP {response.status}: {_status_message(body) or response.reason}"
        raise _NotNowError(reason, _retry_after_s(response.headers.get("Retry-After"), time.time()))
    if not is_otlp:  # a login page of some gateway says 200 as well
        raise _NotNowError(f"HTTP 200, but {response.content_type} is no answer of a collector")
    try:
        return ExportMetricsServiceResponse.FromString(body)
    except DecodeError as error:
        raise _NotNowError("HTTP 200, but the answer is no OTLP") from error


def _retry_after_s(header: str | None, now_s: float) -> float | None:
    """Read Retry-After, seconds or a date (RFC 9110 §10.2.3); None when it says neither."""
    if header is None:
        return None
    if header.isascii() and header.isdigit():
        return float(header[:9])
    try:
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.fromtimestamp(now_s, UTC)).total_seconds())


def _status_message(body: bytes) -> str:
    """Return what a google.rpc.Status says (field 2), or a text that came instead."""
    # A partial success has the same field with the same meaning, and an integer before it too.
    try:
        text = ExportMetricsPartialSuccess.FromString(body).error_message
    except DecodeError:
        text = body.decode("utf-8", "replace")
    return _printable(text)


def _printable(text: str) -> str:
    """Make a peer's words fit for a log line."""
    clean = "".join(c if c.isprintable() else " " for c in text[:_MESSAGE_CHARACTERS_MAX])
    return clean.strip()
