"""Where names lead: asked again as time goes by, and at once when a target falls silent."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from netslo.model import Endpoint
from probes.address import SocketAddress, read_address, resolve_all

_log = logging.getLogger(__name__)

ASK_AGAIN_S: Final = 60.0
RETRY_S: Final = 30.0  # after a name did not resolve
ASK_SPACING_S: Final = 5.0  # at least, whatever happens
_JITTER: Final = 0.25

Addresses = tuple[SocketAddress, ...]


class Names:
    """Knows the addresses of endpoints, and tells when they change. For one event loop.

    Each name is asked for in a thread of its own: a resolver that does not answer holds up
    nobody but the name it was asked for. A name that does not resolve any more keeps the
    addresses it had, for it is more often the resolver that is gone than the target.
    """

    def __init__(self, on_change: Callable[[Endpoint, Addresses], None]) -> None:
        self.addresses: dict[Endpoint, Addresses] = {}
        self._on_change = on_change
        self._followed: dict[Endpoint, asyncio.Task[None]] = {}
        self._doubts: dict[Endpoint, asyncio.Event] = {}
        self._asked: dict[Endpoint, asyncio.Event] = {}  # at least once
        self._troubles: dict[Endpoint, str] = {}  # said once, not at every attempt

    def follow(self, endpoints: Iterable[Endpoint]) -> None:
        """Follow these endpoints and no others; addresses written as such are known at once."""
        wanted = set(endpoints)
        for endpoint in [each for each in self._followed if each not in wanted]:
            self._followed.pop(endpoint).cancel()
        self.addresses = {at: known for at, known in self.addresses.items() if at in wanted}
        for endpoint in wanted - self.addresses.keys() - self._followed.keys():
            address = read_address(endpoint)
            if address is not None:
                self.addresses[endpoint] = (address,)
                continue
            self._doubts[endpoint], self._asked[endpoint] = asyncio.Event(), asyncio.Event()
            self._followed[endpoint] = asyncio.create_task(self._follow(endpoint))

    async def settle(self, wait_s: float) -> None:
        """Wait until every name was asked for once, for so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                for endpoint in list(self._followed):
                    await self._asked[endpoint].wait()

    def doubt(self, endpoint: Endpoint) -> None:
        """Ask soon whether a name still leads to where it led; of an address, there is no doubt."""
        if endpoint in self._followed:
            self._doubts[endpoint].set()

    async def close(self) -> None:
        """Ask nobody any more."""
        tasks = list(self._followed.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, endpoint: Endpoint) -> None:
        while True:
            resolved = await self._ask(endpoint)
            self._asked[endpoint].set()
            await asyncio.sleep(ASK_SPACING_S)
            pause_s = ASK_AGAIN_S if resolved else RETRY_S
            pause_s *= random.uniform(1 - _JITTER, 1 + _JITTER)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, pause_s - ASK_SPACING_S)):
                    await self._doubts[endpoint].wait()
            self._doubts[endpoint].clear()

    async def _ask(self, endpoint: Endpoint) -> bool:
        """Take in where a name leads now; returns whether it resolved."""
        try:
            found = await _in_its_own_thread(endpoint)
        except OSError as error:
            if self._troubles.get(endpoint) != error.strerror:
                self._troubles[endpoint] = error.strerror or str(error)
                _log.warning("%s does not resolve: %s", endpoint.host, error.strerror)
            return False
        self._troubles.pop(endpoint, None)
        known = self.addresses.get(endpoint)
        if found != known:
            if known is not None:
                _log.info("%s leads to %s now", endpoint.host, ", ".join(map(str, found)))
            self.addresses[endpoint] = found
            self._on_change(endpoint, found)
        return True


async def _in_its_own_thread(endpoint: Endpoint) -> Addresses:
    """Resolve in a thread that nobody waits for at the end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Addresses] = loop.create_future()

    def work() -> None:
        try:
            found, failure = resolve_all(endpoint), None
        except OSError as error:
            found, failure = (), error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(_settle, future, found, failure)

    threading.Thread(target=work, name=f"resolve {endpoint.host}", daemon=True).start()
    return await future


def _settle(future: asyncio.Future[Addresses], found: Addresses, failure: OSError | None) -> None:
    if future.done():
        return
    if failure is not None:
        future.set_exception(failure)
    else:
        future.set_result(found)
