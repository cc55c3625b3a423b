"""A real collector on a free port, over a real store, for tests of any floor."""

from __future__ import annotations

import asyncio
import io
import pathlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any

import aiohttp
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)
from some_windows import T0

from analytics.collector.limits import Limits
from analytics.collector.remote_writer import RemoteWrite
from analytics.collector.server import Beside, create_app, serve
from analytics.frame import Frame
from analytics.horizons import HORIZONS
from analytics.otlp import encode_batch
from analytics.store.sqlite import SqliteStore
from analytics.windows import Batch, PathWindow, Selector, SeriesKey
from netslo.estate import Estate, ProbingPlan
from netslo.model import Location, Site, Tier, TrafficClass

NOW_S = T0 + 120.0
PROTOBUF = "application/x-protobuf"


def make_estate() -> Estate:
    """Return the estate of `some_windows.PATHS`, one region each."""
    sites = {
        name: Site(name, Tier.NATIONAL, name, "gb", Location(0, 0), ())
        for name in ("london", "leeds", "dundee")
    }
    classes = {"ef": TrafficClass("ef", 46), "be": TrafficClass("be", 0)}
    return Estate("test", "GBP", sites, classes, (), ProbingPlan(0.2, 1.0))


@dataclass(slots=True)
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def accepted(self) -> ExportMetricsServiceResponse:
        assert self.status == 200, self.reason
        return ExportMetricsServiceResponse.FromString(self.body)

    @property
    def refused_points(self) -> int:
        return self.accepted.partial_success.rejected_data_points

    @property
    def reason(self) -> str:
        """The text of a google.rpc.Status: its field 2, as a partial success has it too."""
        return ExportMetricsPartialSuccess.FromString(self.body).error_message


@dataclass(slots=True)
class Room:
    """A running collector and a client of it."""

    url: str
    writer: SqliteStore
    reader: SqliteStore
    client: aiohttp.ClientSession
    now_s: float = NOW_S

    async def post(self, body: Any, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        headers = {"Content-Type": PROTOBUF, **named}
        if isinstance(body, bytes):
            body = io.BytesIO(body)  # aiohttp warns of large octets
        async with self.client.post(f"{self.url}/v1/metrics", data=body, headers=headers) as got:
            return Answer(got.status, got.headers, await got.read())

    async def send(self, batch: Batch) -> Answer:
        return await self.post(encode_batch(batch))

    async def get(self, path: str, /, **params: str) -> Any:
        async with self.client.get(self.url + path, params=params or None) as got:
            return got.status, await got.json()

    async def text(self, path: str, /, **headers: str) -> str:
        async with self.client.get(self.url + path, headers=headers) as got:
            assert got.status == 200
            return await got.text()

    def stored(self) -> dict[SeriesKey, PathWindow]:
        return self.reader.aggregate(Selector(), 0, 2**33)


class _Figures:
    """A companion that tells when those of the last days are there."""

    def start(self, beside: Beside) -> None:
        self._live = beside.live

    def note(self, frame: Frame) -> None:
        """They are noted elsewhere."""

    def stop(self) -> None:
        """Nothing runs."""

    async def are_made(self) -> None:
        """Wait for the thread that reads the past, however slow the machine is."""
        await asyncio.to_thread(self._live.read, HORIZONS[0], 60.0)


@asynccontextmanager
async def collector(
    file: pathlib.Path,
    *,
    port: int = 0,
    estate: Estate | None = None,
    limits: Limits | None = None,
    clock: Callable[[], float] | None = None,
    wrap: Callable[[SqliteStore], Any] = lambda store: store,
    routes: Iterable[Any] = (),
    collectors: Iterable[Any] = (),
    companions: Sequence[Any] = (),
    remote_write: RemoteWrite | None = None,
) -> AsyncIterator[Room]:
    """Run a collector; its clock stands at `NOW_S` unless one is given."""
    with (
        closing(SqliteStore.open(file)) as writer,
        closing(SqliteStore.open(file, readonly=True)) as reader,
    ):
        figures = _Figures()
        app = create_app(
            wrap(writer),
            estate or make_estate(),
            limits=limits,
            routes=routes,
            collectors=collectors,
            companions=[*companions, figures],
            remote_write=remote_write,
            clock=clock or (lambda: NOW_S),
        )
        async with (
            serve(app, "127.0.0.1", port) as (host, bound),
            aiohttp.ClientSession(auto_decompress=False) as client,
        ):
            await figures.are_made()
            yield Room(f"http://{host}:{bound}", writer, reader, client)
