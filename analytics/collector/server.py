"""The collector as a web application, and the server it runs in."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client.registry import Collector

from analytics.collector.api import Api
from analytics.collector.cumulative import Cumulative
from analytics.collector.exposition import ArrivalCollector, HealthCollector, PathCollector
from analytics.collector.ingest import Ingest
from analytics.collector.limits import Limits
from analytics.collector.live import Live
from analytics.collector.path_api import PathApi
from analytics.collector.paths import CapacityCollector
from analytics.collector.receive import Receiver
from analytics.collector.remote_writer import RemoteWrite, RemoteWriter
from analytics.collector.scrape import Scrape
from analytics.collector.sites import SiteCollector
from analytics.collector.state import Arrivals, HealthBoard, LastStates, LastWindows, ProbeReport
from analytics.collector.telemetry import Telemetry
from analytics.collector.writer import Writer
from analytics.frame import Frame
from analytics.store import WindowStore
from analytics.windows import Selector, SeriesKey
from netslo.errors import NetsloError
from netslo.estate import Estate

_KEEPALIVE_S: Final = 75.0  # an idle connection, or one whose request never begins
_SHUTDOWN_S: Final = 10.0  # for requests under way when the server stops
_RECENT_S: Final = 300


@dataclass(frozen=True, slots=True)
class Beside:
    """What a companion finds beside it. All of it may be called by any thread."""

    between: Callable[[Callable[[], None]], None]  # have something done while nothing is committed
    live: Live
    ends: Callable[[], Mapping[SeriesKey, int]]  # when the last window of each series ended
    last_ends: Callable[[], Mapping[str, float]]  # the same of each site, never in the future
    last_late: Callable[[], Mapping[str, float]]  # when each site last delivered what was over
    last_commit_s: Callable[[], float | None]
    reports: Callable[[float], Sequence[ProbeReport]]  # what probes said of themselves, by now_s
    noise_floors: Callable[[float], Mapping[str, Mapping[str, float | None]]]


class Companion(Protocol):
    """What another floor keeps up beside the store."""

    def start(self, beside: Beside) -> None:
        """Begin with what the store holds; nothing has been committed yet."""

    def note(self, frame: Frame) -> None:
        """Take what was committed, in the writer's thread; must return quickly."""

    def stop(self) -> None:
        """End."""


def create_app(
    store: WindowStore,
    estate: Estate,
    *,
    limits: Limits | None = None,
    routes: Iterable[web.RouteDef] = (),
    collectors: Iterable[Collector] = (),
    companions: Sequence[Companion] = (),
    remote_write: RemoteWrite | None = None,
    clock: Callable[[], float] = time.time,
) -> web.Application:
    """Return the application: /v1/metrics, /metrics, /healthz and /api/v1/.

    Args:
        store: Written to by two threads of the application, and read by others; the caller
            opens and closes it.
        estate: Windows of other paths are refused.
        limits: Bounds of what is taken from the network.
        routes: What other floors add to the API.
        collectors: What other floors add to /metrics.
        companions: What other floors keep up beside the store.
        remote_write: Where to send all of /metrics, besides answering who asks.
        clock: Unix time in seconds.
    """
    limits = limits or Limits()
    telemetry, board = Telemetry(), HealthBoard(limits.probes_max)
    last_windows = LastWindows(store.streams)
    live = Live(store.streams, clock)
    cumulative = Cumulative(store.streams, estate, clock)
    last_states, arrivals = LastStates(store.streams), Arrivals(store.streams, clock)
    own_listeners = (
        last_windows.note_frame,
        last_states.note_frame,
        arrivals.note_frame,
        live.note,
        cumulative.note,
    )
    listeners = (*own_listeners, *(each.note for each in companions))
    ingest = Ingest(store, estate, limits, telemetry, board, clock, listeners)
    writer = Writer(ingest)
    own = [
        PathCollector(store, estate, live, last_states, clock),
        HealthCollector(board, clock),
        ArrivalCollector(arrivals, estate),
        SiteCollector(estate),
        CapacityCollector(store, estate, clock),
    ]
    for collector in [*own, *collectors]:
        telemetry.registry.register(collector)

    sender = (
        None
        if remote_write is None
        else RemoteWriter(remote_write, telemetry.registry, cumulative, clock)
    )

    async def running(_app: web.Application) -> AsyncIterator[None]:
        recent = store.windows(Selector(), int(clock()) - _RECENT_S, int(clock()) + 1)
        known = Frame.of(await asyncio.to_thread(list, recent), store.streams)
        last_windows.note_frame(known)
        last_states.note_frame(known)
        arrivals.note_known(known, await asyncio.to_thread(store.late_arrivals))
        cumulative.start(await asyncio.to_thread(store.distribution_totals))
        beside = Beside(
            between=writer.between,
            live=live,
            ends=last_windows.ends,
            last_ends=arrivals.last_ends,
            last_late=arrivals.last_late,
            last_commit_s=lambda: ingest.state.last_commit_s,
            reports=board.reports,
            noise_floors=board.noise_floors,
        )
        live.start(store.history, writer.between)  # before the first batch is committed
        for companion in companions:
            companion.start(beside)
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(writer)
                if sender is not None:
                    await stack.enter_async_context(sender.running())
                yield
        finally:
            for stop in (live.stop, *(companion.stop for companion in companions)):
                await asyncio.to_thread(stop)

    app = web.Application(
        handler_args={
            "auto_decompress": False,  # we bound it ourselves
            "keepalive_timeout": _KEEPALIVE_S,
            "lingering_time": 5.0,
            "access_log": None,
        }
    )
    app.cleanup_ctx.append(running)
    app.on_response_prepare.append(_forbid_guessing)
    app.router.add_post("/v1/metrics", Receiver(writer.take, limits, telemetry).handle)
    app.router.add_get("/metrics", Scrape(telemetry.registry, cumulative).handle)
    app.router.add_get("/healthz", writer.healthz)
    app.add_routes(Api(store, estate, last_windows, live, board, clock).routes())
    app.add_routes([*PathApi(store, estate, clock).routes(), *routes])
    return app


async def _forbid_guessing(_request: web.Request, response: web.StreamResponse) -> None:
    """Let no browser take for a page what is none."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")


@asynccontextmanager
async def serve(app: web.Application, host: str, port: int) -> AsyncIterator[tuple[str, int]]:
    """Serve an application; yield the bound host and port, and stop gracefully.

    Requests under way at the end are finished, and what they brought is committed.

    Raises:
        NetsloError: the address cannot be bound; the message says why and what to do.
    """
    logging.getLogger("aiohttp.server").addFilter(_is_ours)
    runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise NetsloError(_why_not_bound(host, port, error)) from error
        bound = runner.addresses[0]
        yield bound[0], bound[1]
    finally:
        await runner.cleanup()


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a record tells of a fault here, not of octets that are no HTTP."""
    kind = (record.exc_info or (None,))[0]
    return kind is None or not issubclass(kind, HttpProcessingError)


def _why_not_bound(host: str, port: int, error: OSError) -> str:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(error, socket.gaierror):
        return f"cannot listen on {where}: the host name does not resolve"
    match error.errno:
        case errno.EADDRINUSE:
            advice = "the port is in use; stop its owner or take another with --listen HOST:PORT"
        case errno.EACCES:
            advice = "no permission; take a port from 1024 on, or grant CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL | None:  # Python 3.13's asyncio passes such addresses over
            advice = "it is no address of this host"
        case _:
            advice = error.strerror or str(error)
    return f"cannot listen on {where}: {advice}"
