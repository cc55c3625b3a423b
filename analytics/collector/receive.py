"""POST /v1/metrics: OTLP over HTTP with protobuf (OTLP 1.x, "OTLP/HTTP").

A body is read with bounds on its size, its time and on all bodies together; the writer's thread
does the rest. The answer goes out after the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from analytics.collector.ingest import Receipt, Request
from analytics.collector.limits import Limits, Refusal
from analytics.collector.telemetry import Telemetry
from analytics.otlp.compression import ENCODINGS

PROTOBUF: Final = "application/x-protobuf"
_MESSAGE_CHARACTERS_MAX: Final = 1000

Take = Callable[[Request], Awaitable[Receipt]]

# google.rpc.Code, where HTTP's own status has a counterpart
_RPC_CODES: Final = {
    HTTPStatus.BAD_REQUEST: 3,  # INVALID_ARGUMENT
    HTTPStatus.REQUEST_TIMEOUT: 4,  # DEADLINE_EXCEEDED
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: 3,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: 3,
    HTTPStatus.TOO_MANY_REQUESTS: 8,  # RESOURCE_EXHAUSTED
    HTTPStatus.SERVICE_UNAVAILABLE: 14,  # UNAVAILABLE
}
_RPC_UNKNOWN: Final = 2


class Receiver:
    """The handler of /v1/metrics. `take` makes a body durable, or raises `Refusal`."""

    def __init__(self, take: Take, limits: Limits, telemetry: Telemetry) -> None:
        self._take = take
        self._limits = limits
        self._telemetry = telemetry
        self._requests = 0
        self._pending_bytes = 0

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        try:
            receipt = await self._receive(request)
        except Refusal as refusal:
            response = _refused(refusal)
            if request.can_read_body and not request.content.at_eof():
                response.force_close()  # the rest of the body is not worth reading
        else:
            response = _accepted(receipt)
        self._telemetry.answered(response.status)
        return response

    async def _receive(self, request: web.Request) -> Receipt:
        encoding = _encoding(request)
        with self._room_for(request.content_length):
            body = await self._read(request)
            self._telemetry.received_bytes.inc(len(body))
            return await self._take(Request(body, encoding))

    @contextmanager
    def _room_for(self, length: int | None) -> Iterator[None]:
        """Hold room for a body until it is committed; of unknown length, for the largest."""
        limits = self._limits
        if length is not None and length > limits.body_bytes_max:
            raise _too_large(limits)
        size = limits.body_bytes_max if length is None else length
        if (
            self._requests >= limits.requests_max
            or self._pending_bytes + size > limits.pending_bytes_max
        ):
            raise Refusal(429, "too many requests at once", limits.retry_after_s)
        self._requests += 1
        self._pending_bytes += size
        try:
            yield
        finally:
            self._requests -= 1
            self._pending_bytes -= size

    async def _read(self, request: web.Request) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > self._limits.body_bytes_max:
                        raise _too_large(self._limits)
        except TimeoutError as error:
            raise Refusal(408, "the body came too slowly") from error
        except (web.RequestPayloadError, HttpProcessingError, ConnectionResetError) as error:
            raise Refusal(400, "the body is not complete") from error
        return bytes(body)


def _encoding(request: web.Request) -> str:
    """Return the content-encoding of an OTLP request.

    Raises:
        Refusal: 415 for another content type or encoding.
    """
    if request.content_type != PROTOBUF:
        raise Refusal(415, f"the content-type must be {PROTOBUF}")
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ENCODINGS:
        raise Refusal(415, f"the content-encoding must be one of {', '.join(ENCODINGS)}")
    return encoding


def _accepted(receipt: Receipt) -> web.Response:
    answer = ExportMetricsServiceResponse()
    if receipt.refused_points:
        partial = ExportMetricsPartialSuccess(
            rejected_data_points=receipt.refused_points,
            error_message=receipt.message[:_MESSAGE_CHARACTERS_MAX],
        )
        answer.partial_success.CopyFrom(partial)
    return web.Response(body=answer.SerializeToString(), content_type=PROTOBUF)


def _refused(refusal: Refusal) -> web.Response:
    status = HTTPStatus(refusal.status)
    headers = {}
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(refusal.retry_after_s)
    return web.Response(
        status=status,
        body=rpc_status(_RPC_CODES.get(status, _RPC_UNKNOWN), str(refusal)),
        content_type=PROTOBUF,
        headers=headers,
    )


def rpc_status(code: int, message: str) -> bytes:
    """Return a google.rpc.Status: `int32 code = 1; string message = 2`."""
    text = message[:_MESSAGE_CHARACTERS_MAX].encode()
    return bytes([0x08, code, 0x12]) + _varint(len(text)) + text


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits to an octet
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def _too_large(limits: Limits) -> Refusal:
    return Refusal(413, f"the body is larger than {limits.body_bytes_max} octets")
