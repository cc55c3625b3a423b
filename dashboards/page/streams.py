"""Server-sent events: every open page is told what changed, all from one evaluation.

A view that nobody watches costs nothing. One that many watch is read, rendered and encoded once;
each stream sends the same octets. All views together take a small share of a core: the more it
takes to make them, the longer they rest, but for news of a path that burns. A reader who is slow,
or comes back, is sent the whole of the latest state instead of what it missed, so that no stream
keeps a queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from dashboards.page.views import View

STREAMS_MAX: Final = 256
HEARTBEAT_S: Final = 15.0
LOOK_S: Final = 1.0  # for what was committed
REFRESH_S: Final = 30.0  # at least so often: silence is news, too
SHARE: Final = 1 / 200  # of a core, for making views; after REFRESH_S they are made in any case
NEWS_SHARE: Final = 1 / 20  # when a path has begun to burn, or ceased to

_log = logging.getLogger(__name__)


class TooManyStreams(Exception):
    """As many pages as may be are open."""


@dataclass(slots=True)
class Channel:
    """One view, as those who watch it see it."""

    view: View
    watchers: int = 0
    version: int = 0
    state: dict[str, str] = field(default_factory=dict)
    whole: bytes = b""  # made when somebody asks for it
    change: bytes = b""  # from the version before


class Broadcast:
    """Keeps the watched views up to date.

    Args:
        fragments: Renders a view; called in a thread, one at a time.
        commits: A number that changes when something was committed.
        trouble: What changes when a path begins to burn, or ceases to; must be cheap.
    """

    def __init__(
        self,
        fragments: Callable[[View], dict[str, str]],
        commits: Callable[[], int],
        trouble: Callable[[], Hashable] = lambda: None,
    ) -> None:
        self._fragments = fragments
        self._commits = commits
        self._trouble = trouble
        self._channels: dict[str, Channel] = {}
        self._news = asyncio.Condition()
        self._boot = secrets.token_hex(4)  # versions of an earlier start mean nothing
        self._streams = 0
        self._pump: asyncio.Task[None] | None = None
        self._awaited = asyncio.Event()  # a view that was never made
        self._closing = asyncio.Event()

    @property
    def streams(self) -> int:
        """How many pages are open."""
        return self._streams

    async def close(self) -> None:
        """Let every stream end."""
        self._closing.set()
        async with self._news:
            self._news.notify_all()
        if self._pump is not None:
            self._pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pump

    async def events(self, view: View, last_id: str) -> AsyncGenerator[bytes, None]:
        """Yield what to send: events as they come, and a heartbeat where there is none.

        Args:
            view: What to watch.
            last_id: The last event the reader has seen, or nothing.

        Raises:
            TooManyStreams: before anything is yielded.
        """
        async with self._watching(view) as channel:
            seen = self._version_of(last_id, view)
            while not self._closing.is_set():
                if channel.version and seen != channel.version:
                    follows = seen == channel.version - 1
                    payload = channel.change if follows else self._whole(channel)
                    seen = channel.version
                    yield payload
                    continue
                try:
                    async with asyncio.timeout(HEARTBEAT_S), self._news:
                        await self._news.wait_for(
                            lambda: self._closing.is_set() or channel.version != seen  # noqa: B023
                        )
                except TimeoutError:
                    yield b": nothing new\n\n"

    @asynccontextmanager
    async def _watching(self, view: View) -> AsyncIterator[Channel]:
        if self._streams >= STREAMS_MAX or self._closing.is_set():
            raise TooManyStreams
        channel = self._channels.setdefault(view.key, Channel(view))
        channel.watchers += 1
        if not channel.version:
            self._awaited.set()
        self._streams += 1
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._keep_up())
        try:
            yield channel
        finally:
            self._streams -= 1
            channel.watchers -= 1
            if not channel.watchers:
                self._channels.pop(view.key, None)

    async def _keep_up(self) -> None:
        """Refresh what is watched, soon after a commit and once in a while; end without readers."""
        loop = asyncio.get_running_loop()
        refreshed_s, spent_s = -REFRESH_S, 0.0
        known: tuple[int, Hashable] = (-1, None)
        while self._channels:
            now = self._commits(), await asyncio.to_thread(self._trouble)
            share = SHARE if now[1] == known[1] else NEWS_SHARE
            since_s = loop.time() - refreshed_s
            if since_s >= REFRESH_S or (since_s >= spent_s / share and now != known):
                refreshed_s, known = loop.time(), now
                spent_s = sum([await self._refresh(each) for each in list(self._channels.values())])
            else:
                for channel in [each for each in self._channels.values() if not each.version]:
                    await self._refresh(channel)  # somebody waits for it
            self._awaited.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._awaited.wait()

    async def _refresh(self, channel: Channel) -> float:
        """Make a view anew; return what that took, seconds of a core."""
        try:
            state, spent_s = await asyncio.to_thread(self._made, channel.view)
        except Exception:  # noqa: BLE001 - said, and tried again: other pages go on
            _log.exception("the page %s could not be made", channel.view.key)
            return 0.0
        await self._tell(channel, state)
        return spent_s

    def _made(self, view: View) -> tuple[dict[str, str], float]:
        began_s = time.thread_time()
        return self._fragments(view), time.thread_time() - began_s

    async def _tell(self, channel: Channel, state: dict[str, str]) -> None:
        changed = {name: text for name, text in state.items() if channel.state.get(name) != text}
        if not changed:
            return
        channel.version += 1
        channel.state = state
        channel.whole = b""
        channel.change = self._encode(channel, changed)
        async with self._news:
            self._news.notify_all()

    def _whole(self, channel: Channel) -> bytes:
        if not channel.whole:
            channel.whole = self._encode(channel, channel.state)
        return channel.whole

    def _encode(self, channel: Channel, fragments: dict[str, str]) -> bytes:
        data = json.dumps(fragments, separators=(",", ":"))  # one line: that is what SSE needs
        return f"id: {self._boot}-{channel.version}\nevent: parts\ndata: {data}\n\n".encode()

    def _version_of(self, last_id: str, view: View) -> int:
        boot, _, version = last_id.partition("-")
        known = boot == self._boot and version.isascii() and version.isdecimal()
        return int(version) if known and view.key in self._channels and len(version) < 10 else 0  # noqa: PLR2004
