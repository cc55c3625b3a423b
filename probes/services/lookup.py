"""Where a service's name leads now, asked of the system as any program on the host would."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from contextlib import suppress
from typing import Any, Final

from netslo.service import ServiceResult, Where
from probes.address import SocketAddress
from probes.services.exchange import Failed

PENDING_MAX: Final = 8  # lookups of one name that no resolver answers; then none is added
ADDRESSES_MAX: Final = 4  # of a name, that are tried one after the other

_FAMILIES: Final = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}


class Resolver:
    """Asks the system, each time in a thread of its own. For one event loop.

    A lookup cannot be called off: a resolver that is gone holds its thread for a while. So that
    such threads stay few, a name with `PENDING_MAX` of them waits for its time-out.
    """

    def __init__(self) -> None:
        self._pending: Counter[Where] = Counter()

    async def resolve(self, where: Where, kind: socket.SocketKind) -> list[SocketAddress]:
        """Return the addresses in the order in which the system would try them (RFC 6724).

        Raises:
            Failed: the name has none.
        """
        with suppress(socket.gaierror):  # then it is a name
            return _ask(where, kind, socket.AI_NUMERICHOST)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[SocketAddress]] = loop.create_future()
        if self._pending[where] >= PENDING_MAX:
            return await future  # which ends with the exchange's time
        self._pending[where] += 1

        def settle(found: list[SocketAddress], failure: OSError | None) -> None:
            self._pending[where] -= 1
            if future.done():
                return
            if failure is None:
                future.set_result(found)
            else:
                future.set_exception(failure)

        def work() -> None:
            found, failure = [], None
            try:
                found = _ask(where, kind)
            except OSError as error:
                failure = error
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, found, failure)

        threading.Thread(target=work, name=f"resolve {where.host}", daemon=True).start()
        try:
            return await future
        except socket.gaierror as error:
            raise Failed(ServiceResult.UNRESOLVED, error.strerror or "") from error


def _ask(where: Where, kind: socket.SocketKind, flags: int = 0) -> list[SocketAddress]:
    found: list[Any] = socket.getaddrinfo(
        where.host, where.port, family=_FAMILIES[where.ip], type=kind, flags=flags
    )
    addresses = [SocketAddress(family, address) for family, _, _, _, address in found]
    return list(dict.fromkeys(addresses))[:ADDRESSES_MAX]
