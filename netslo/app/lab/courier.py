"""A way out of a namespace: connections made inside are carried on from here.

A socket belongs for good to the namespace in which it was opened. The listening one, and all that
it accepts, were opened inside; the connections that carry on are opened where this loop runs.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from netslo.model import Endpoint

_CHUNK_BYTES: Final = 65_536
_CONNECTIONS_MAX: Final = 32  # of the probe inside, which has a few

LOOPBACK: Final = "127.0.0.1"


def listen() -> socket.socket:
    """Return a listening socket of the namespace in which the calling thread is."""
    return socket.create_server((LOOPBACK, 0))


@asynccontextmanager
async def carrying(inside: socket.socket, to: Endpoint) -> AsyncIterator[None]:
    """Carry every connection that is made to a listening socket on to another address."""
    under_way: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(under_way) >= _CONNECTIONS_MAX:
            writer.close()
            return
        under_way.add(task)
        try:
            await _carry(reader, writer, to)
        finally:
            under_way.discard(task)

    server = await asyncio.start_server(take, sock=inside)
    try:
        yield
    finally:
        server.close()
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: Endpoint) -> None:
    """Carry one connection both ways until both ends have said all."""
    try:
        far_reader, far_writer = await asyncio.open_connection(to.host, to.port)
    except OSError:  # nobody is there: the probe hears that its connection is closed
        writer.close()
        return
    try:
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
    finally:
        for each in (writer, far_writer):
            each.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
