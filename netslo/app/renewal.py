"""A part that begins anew with another configuration, at the address it has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from netslo.errors import NetsloError
from netslo.model import Endpoint

_AGAIN_S: Final = 0.1

C = TypeVar("C")

Live = Callable[[C, Endpoint, asyncio.Event, Callable[[Endpoint], None]], Awaitable[None]]


class Renewal(Generic[C]):
    """Runs a part with one configuration after the other. For the thread of the running loop.

    Args:
        live: Runs the part: with a configuration, where to listen, an event that ends it, and
            whom to tell the bound address.
        config: The first configuration.
        listen: Where to listen; later lives get the address that the first one bound.
    """

    def __init__(self, live: Live[C], config: C, listen: Endpoint) -> None:
        self._live = live
        self._config = config
        self._listen = listen
        self._end: asyncio.Event | None = None  # of the present life
        self._running = asyncio.Event()  # the first one has an address
        self._next: tuple[C, asyncio.Future[Endpoint]] | None = None

    async def run(self, stop: asyncio.Event, on_ready: Callable[[Endpoint], None]) -> None:
        """Run until `stop` is set; `on_ready` hears the address of the first life.

        Raises:
            NetsloError: the first life could not begin, or the one before cannot go on.
        """
        stopped = asyncio.create_task(self._pass_on(stop))
        try:
            await self._one(self._config, on_ready)
            while self._next is not None and not stop.is_set():
                (config, begun), self._next = self._next, None
                await self._begin_anew(config, begun)
        finally:
            stopped.cancel()
            if self._next is not None:
                self._next[1].cancel()

    async def renew(self, config: C) -> Endpoint:
        """Begin anew with another configuration; return the address once that is so.

        Raises:
            NetsloError: it could not; the configuration before is in force again.
        """
        await self._running.wait()
        assert self._end is not None
        assert self._next is None, "one at a time"
        begun: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
        self._next = (config, begun)
        self._end.set()
        return await begun

    async def _begin_anew(self, config: C, begun: asyncio.Future[Endpoint]) -> None:
        def accept(bound: Endpoint) -> None:
            self._config = config
            begun.set_result(bound)

        try:
            await self._one(config, accept)
        except NetsloError as error:
            if begun.done():  # it had begun, and what ended it is no matter of the change
                raise
            refusal = error

            def refuse(_bound: Endpoint) -> None:
                begun.set_exception(refusal)

            await self._one(self._config, refuse)

    async def _one(self, config: C, on_ready: Callable[[Endpoint], None]) -> None:
        self._end = asyncio.Event()

        def ready(bound: Endpoint) -> None:
            self._listen = bound
            self._running.set()
            on_ready(bound)

        await self._live(config, self._listen, self._end, ready)

    async def _pass_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        while True:  # a life that begins meanwhile must hear of it, too
            if self._end is not None:
                self._end.set()
            await asyncio.sleep(_AGAIN_S)
