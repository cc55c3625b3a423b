"""The page: what open pages cost the collector, and how soon a browser shows a thousand paths.

The product's collector runs in a process of its own, with a thousand paths and an objective for
all of them; each site delivers every 10 s, and a Prometheus scrapes every 15 s, unless asked not
to: a collector that nobody scrapes has little to do, so pages weigh more beside it. Open pages are
event streams that are read as they come: half of them of the first page, a quarter of the list,
the rest of a path each. With chromium at hand, a first look at each kind of page is timed from
the request until it is live, and how long it takes from the delivery of bad windows until the
first page says so.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
from support.traffic import Mesh

from analytics.otlp import encode_batch
from analytics.warm_up import warm_up
from analytics.windows import Batch, PacketCounts, PathWindow, SeriesKey, SloCounts
from netslo.app.parts.collector import run_collector
from netslo.estate import Estate
from netslo.model import Endpoint, Path, Window
from slo.objective import Indicator, Objective, PathSelector

sys.path.append(str(pathlib.Path(__file__).parents[1] / "tests" / "support"))
from a_browser import PROGRAM, Tab, browser

CLASSES = 2
SCRAPE = {
    "Accept": "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;"
    "encoding=delimited"
}
PAGES = 100
BEFORE = 30  # windows that are there when it begins


def objectives() -> list[Objective]:
    """Return one objective of every path."""
    limit = Objective(
        name="latency",
        display_name="Latency",
        description="",
        service="net",
        indicator=Indicator.LATENCY,
        limit=0.5,
        target_text="0.99",
        selector=PathSelector(),
    )
    return [limit]


def collect(pipe: Any, estate: Estate, folder: str) -> None:
    """Be the collector; tell the address."""

    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_reader(pipe.fileno(), stop.set)
        file = pathlib.Path(folder) / "store.sqlite"
        listen = Endpoint("127.0.0.1", 0)
        await run_collector(estate, objectives(), file, listen, stop, lambda e: pipe.send(str(e)))

    asyncio.run(run())


@contextlib.contextmanager
def collector(estate: Estate) -> Iterator[tuple[str, int]]:
    """Yield its URL and process id."""
    with tempfile.TemporaryDirectory() as folder:
        here, there = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=collect, args=(there, estate, folder))
        process.start()
        yield f"http://{here.recv()}", process.pid
        here.send("stop")
        process.join()


class Feeder:
    """Sends windows as probes do: every site each 10 s, one after the other."""

    def __init__(self, mesh: Mesh, client: aiohttp.ClientSession, url: str) -> None:
        self._mesh, self._client, self._url = mesh, client, url
        self._number = 0

    async def before(self) -> None:
        """Send what lies behind, quickly."""
        for k in range(BEFORE, 0, -1):
            for request in self._window(time.time() - 10 * k):
                await self._post(request.body, "zstd")

    async def run(self) -> None:
        """Go on sending."""
        while True:
            began_s = time.monotonic()
            requests = list(self._window(time.time() - 10))
            for k, request in enumerate(requests):
                await self._post(request.body, "zstd")
                due_s = began_s + 10 * (k + 1) / len(requests)
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    async def scrape(self) -> None:
        """Ask for /metrics as a Prometheus does that takes native histograms."""
        while True:
            async with self._client.get(f"{self._url}/metrics", headers=SCRAPE) as got:
                assert got.status == 200
                await got.read()
            await asyncio.sleep(15)

    async def break_path(self, path: Path) -> None:
        """Tell of a path that lost everything for two minutes."""
        windows = tuple(
            PathWindow(
                SeriesKey(path),
                Window(int(time.time() - 10 * k) // 10 * 10),
                PacketCounts(lost=100_000),
                {},
                {"latency": SloCounts(0, 100_000, 0)},
            )
            for k in range(1, 13)
        )
        await self._post(encode_batch(Batch(path.src, "broken", 1, windows)), None)

    def _window(self, at_s: float) -> Iterator[Any]:
        self._number += 1
        return self._mesh.at(int(at_s) // 10 * 10, self._number)

    async def _post(self, body: bytes, encoding: str | None) -> None:
        headers = {"Content-Type": "application/x-protobuf"}
        if encoding:
            headers["Content-Encoding"] = encoding
        async with self._client.post(f"{self._url}/v1/metrics", data=body, headers=headers) as got:
            assert got.status == 200, await got.text()


@contextlib.asynccontextmanager
async def open_pages(client: aiohttp.ClientSession, url: str, estate: Estate, count: int) -> Any:
    """Keep streams open, and read what comes; yields how many octets that was."""
    paths = [path.id for path in estate.paths]
    views = [
        "/" if n < count / 2 else "/paths" if n < count * 3 / 4 else f"/paths/{paths[7 * n]}"
        for n in range(count)
    ]
    octets = [0]

    async def read(view: str) -> None:
        params = {"view": view}
        async with client.get(f"{url}/events", params=params, timeout=None) as stream:
            assert stream.status == 200
            async for part in stream.content.iter_any():
                octets[0] += len(part)

    tasks = [asyncio.create_task(read(view)) for view in views]
    try:
        yield octets
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def cpu_s(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def costs(pid: int, seconds: float) -> tuple[float, float]:
    """Return the share of a core over a while, and the memory at its end, MiB."""
    await asyncio.sleep(10)  # what begins is over
    before_s, began_s = cpu_s(pid), time.monotonic()
    sizes = []
    while time.monotonic() < began_s + seconds:
        await asyncio.sleep(1)
        sizes.append(rss_mib(pid))
    return (cpu_s(pid) - before_s) / (time.monotonic() - began_s), statistics.mean(sizes)


LIVE = "document.getElementById('live').textContent.startsWith('live')"


async def seen(tab: Tab, url: str) -> float:
    """Return how long a page takes until it is live, seconds."""
    began_s = time.monotonic()
    await tab.go(url)
    await tab.until(LIVE)
    return time.monotonic() - began_s


async def looks(url: str, feeder: Feeder, estate: Estate) -> None:
    """Time what a browser shows."""
    with tempfile.TemporaryDirectory() as profile:
        async with browser(pathlib.Path(profile)) as tab:
            await tab.look(1280)
            await seen(tab, url)  # the browser itself
            path = estate.paths[5]
            for address in ("/", "/paths", f"/paths/{path.id}"):
                times = [await seen(tab, url + address) for _ in range(5)]
                print(f"  {address:24} live after {statistics.median(times):6.2f} s (median of 5)")
            await seen(tab, url)
            told = await tab.run("document.getElementById('news').textContent")
            assert path.id not in told, told
            began_s = time.monotonic()
            await feeder.break_path(path)
            await tab.until(f"document.getElementById('news').textContent.includes('{path.id}')")
            print(f"  bad windows delivered to seen: {time.monotonic() - began_s:6.2f} s")


async def measure(paths: int, pages: int, seconds: float, *, scraped: bool) -> None:
    warm_up()  # so that no compiler is measured
    mesh = Mesh(paths, whole=True, classes=CLASSES)
    with collector(mesh.estate) as (url, pid):
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as client:
            feeder = Feeder(mesh, client, url)
            await feeder.before()
            behind = [asyncio.create_task(feeder.run())]
            if scraped:
                behind.append(asyncio.create_task(feeder.scrape()))
            how = "" if scraped else ", not scraped"
            print(f"{len(mesh.estate.paths)} paths, {seconds:g} s each{how}:")
            await asyncio.sleep(20)  # what the start left to do is done
            nobody = await costs(pid, seconds)
            print(f"  no open page    {nobody[0]:6.1%} of a core  {nobody[1]:6.0f} MiB")
            for count in (1, pages):
                async with open_pages(client, url, mesh.estate, count) as octets:
                    some = await costs(pid, seconds)
                print(
                    f"  {count:3d} open pages  {some[0]:6.1%} of a core  {some[1]:6.0f} MiB"
                    f"  = {some[0] / nobody[0]:.2f} x, {some[1] / nobody[1]:.2f} x"
                    f"  {octets[0] / count / (seconds + 10) / 1e3:.1f} kB/s each"
                )
            again = await costs(pid, seconds)
            print(f"  none, once more {again[0]:6.1%} of a core  {again[1]:6.0f} MiB")
            if PROGRAM is None:
                print("  no chromium: looks are not timed")
            else:
                await looks(url, feeder, mesh.estate)
            for task in behind:
                task.cancel()
            await asyncio.gather(*behind, return_exceptions=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paths", type=int, default=1000)
    parser.add_argument("--pages", type=int, default=PAGES)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--no-scrapes", action="store_true")
    asked = parser.parse_args()
    scraped = not asked.no_scrapes
    asyncio.run(measure(asked.paths, asked.pages, asked.seconds, scraped=scraped))


if __name__ == "__main__":
    main()
