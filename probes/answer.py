"""What a collector's answer to a batch means: taken, not now, or never."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import aiohttp
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

PROTOBUF: Final = "application/x-protobuf"

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


class NotNow(Exception):
    """The batch was not acknowledged and keeps its place; worth another attempt."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Never(Exception):
    """The collector will not take this batch, now or later."""


async def read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """Return the body.

    Raises:
        NotNow: it is longer than any answer of a collector.
    """
    body = bytearray()
    async for chunk in response.content.iter_chunked(_RESPONSE_BYTES_MAX):
        body += chunk
        if len(body) > _RESPONSE_BYTES_MAX:
            raise NotNow(f"HTTP {response.status} with an answer too long for a collector")
    return bytes(body)


def understand(response: aiohttp.ClientResponse, body: bytes) -> ExportMetricsServiceResponse:
    """Return the acknowledgement in an answer, or raise what else it means.

    Raises:
        NotNow: it acknowledges nothing.
        Never: the collector refuses the batch as such.
    """
    is_otlp = response.content_type == PROTOBUF and "Content-Encoding" not in response.headers
    if response.status in _HOPELESS and (is_otlp or response.status == _TOO_LARGE):
        raise Never(f"HTTP {response.status}: {_status_message(body)}")
    if response.status != HTTPStatus.OK:
        reason = f"HTTP {response.status}: {_status_message(body) or response.reason}"
        raise NotNow(reason, read_retry_after(response.headers.get("Retry-After"), time.time()))
    if not is_otlp:  # a login page of some gateway says 200 as well
        raise NotNow(f"HTTP 200, but {response.content_type} is no answer of a collector")
    try:
        return ExportMetricsServiceResponse.FromString(body)
    except DecodeError as error:
        raise NotNow("HTTP 200, but the answer is no OTLP") from error


def read_retry_after(header: str | None, now_s: float) -> float | None:
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
    return printable(text)


def printable(text: str) -> str:
    """Make a peer's words fit for a log line."""
    clean = "".join(c if c.isprintable() else " " for c in text[:_MESSAGE_CHARACTERS_MAX])
    return clean.strip()
