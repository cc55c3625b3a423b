"""Servers, good and bad, that the tests of services ask."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trustme

from analytics.windows import SeriesKey
from netslo.model import Path
from netslo.service import kind_of
from probes.services.connection import Connector
from probes.services.exchange import Stopwatch
from probes.services.lookup import Resolver
from probes.services.plan import ServicePlan
from probes.services.tls import new_context
from probes.services.transactions import Transaction

NS = 1_000_000_000


def server_context(authority: trustme.CA, *names: str, expired: bool = False) -> ssl.SSLContext:
    """Return a server's context with a certificate for `names`."""
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    issued = authority.issue_cert(*names, not_after=yesterday if expired else None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    return context


@contextmanager
def serving(
    handle: Callable[[socket.socket], None], context: ssl.SSLContext | None = None
) -> Iterator[int]:
    """Hand each connection to `handle` in a thread of its own; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    ended = threading.Event()

    def one(connection: socket.socket) -> None:
        try:
            connection.settimeout(60)
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
            handle(connection)
        except OSError:
            pass
        finally:
            connection.close()

    def accept() -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(60)


def answering(octets: bytes) -> Callable[[socket.socket], None]:
    """Return a handler that reads a request, says this and closes."""

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(octets)

    return handle


def hanging(connection: socket.socket) -> None:
    """Read for ever, say nothing."""
    while connection.recv(65536):
        pass


async def asked(request, timeout_s=60.0, pem=None, dscp=0):
    """Return what came of one request."""
    context = None if pem is None else new_context(pem)
    transaction = Transaction(request, Connector(Resolver(), dscp), context, Stopwatch())
    return await transaction.run(round(timeout_s * NS))


def ask(request, timeout_s=60.0, pem=None, dscp=0):
    """Return what came of one request, outside of a loop."""
    return asyncio.run(asked(request, timeout_s, pem, dscp))


def plan_of(request, name="web", interval_s=0.05, timeout_s=20.0, **more) -> ServicePlan:
    key = SeriesKey(Path("london", name, "ef"), kind_of(request))
    return ServicePlan(key, request, round(interval_s * NS), round(timeout_s * NS), **more)
