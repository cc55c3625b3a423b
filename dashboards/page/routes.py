"""The page over HTTP: `/`, `/paths`, `/paths/src:dst/class`, `/events` and the files they use."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from dashboards.page.rendering import STATIC_TYPES, Renderer, static_files
from dashboards.page.source import Source
from dashboards.page.streams import Broadcast, TooManyStreams
from dashboards.page.views import NoSuchView, View, read_view

_SEND_S: Final = 30.0  # for a reader to take an event
_VIEW_LENGTH_MAX: Final = 400
_FIELDS_MAX: Final = 8
_RETRY_MS: Final = 3_000
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Pages:
    """The routes, and the streams of open pages."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._version, self._files = static_files()
        self._renderer = Renderer(source, self._version)
        self._broadcast = Broadcast(self._fragments, lambda: source.commits, source.trouble)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this floor."""
        return [
            web.get("/", self._page),
            web.get("/paths", self._page),
            web.get("/paths/{path:.+}", self._page),
            web.get("/events", self._events),
            web.get("/static/{version}/{name}", self._static),
        ]

    async def close(self, _app: web.Application | None = None) -> None:
        """Let the streams end, so that the server need not wait for them."""
        await self._broadcast.close()

    def _view(self, path: str, query: dict[str, str]) -> View:
        return read_view(path, query, self._source.estate)

    def _fragments(self, view: View) -> dict[str, str]:
        return self._renderer.fragments(view, self._source.snapshot())

    async def _page(self, request: web.Request) -> web.StreamResponse:
        try:
            view = self._view(request.path, dict(request.query))
        except NoSuchView as refusal:
            text = self._renderer.trouble("Not here", str(refusal))
            return _html(text, refusal.status)
        text = await asyncio.to_thread(lambda: self._renderer.page(view, self._source.snapshot()))
        return _html(text)

    async def _static(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in self._files or request.match_info["version"] != self._version:
            return web.Response(status=404, text="There is no such file.\n")
        return web.Response(
            body=self._files[name],
            content_type=STATIC_TYPES[name],
            charset="utf-8",
            headers={**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"},
        )

    async def _events(self, request: web.Request) -> web.StreamResponse:
        address = request.query.get("view", "/")
        try:
            view = self._view(*_taken_apart(address))
        except (NoSuchView, ValueError) as refusal:
            return web.Response(status=getattr(refusal, "status", 400), text=f"{refusal}\n")
        events = self._broadcast.events(view, request.headers.get("Last-Event-ID", ""))
        async with contextlib.aclosing(events):
            try:
                first = await anext(events, b"")
            except TooManyStreams:
                return web.Response(
                    status=503,
                    text="As many pages as may be are open; this one still works by reload.\n",
                    headers={"Retry-After": "30"},
                )
            response = web.StreamResponse(
                headers={
                    **HEADERS,
                    "Content-Type": "text/event-stream; charset=utf-8",
                    "Cache-Control": "no-store",
                    "X-Accel-Buffering": "no",
                }
            )
            with contextlib.suppress(ConnectionError, TimeoutError):
                await response.prepare(request)
                await response.write(f"retry: {_RETRY_MS}\n\n".encode() + first)
                async for event in events:
                    async with asyncio.timeout(_SEND_S):
                        await response.write(event)
                await response.write_eof()
        return response


def _taken_apart(address: str) -> tuple[str, dict[str, str]]:
    """Return path and query of a view's address.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(address[:_VIEW_LENGTH_MAX])
    if len(address) > _VIEW_LENGTH_MAX or parts.scheme or parts.netloc:
        raise ValueError("A view is a path of this server, and no longer than it need be.")
    return parts.path, dict(parse_qsl(parts.query, max_num_fields=_FIELDS_MAX))


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(
        text=text,
        status=status,
        content_type="text/html",
        charset="utf-8",
        headers={**HEADERS, "Cache-Control": "no-store"},
    )
