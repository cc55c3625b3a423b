"""The collector: sketches per second from received bytes to commit, and through HTTP.

Each measurement is a process of its own. `chain` is one core: decompress, validate, decode,
refuse duplicates, commit (20 requests each, synchronous=FULL), and merge each sketch into the
total of its stream, as the collector does for native histograms; 2 % of the requests sent twice.
The first window of all paths, when attributes are met for the first time, is timed apart (`new`).
`plain` does the same to the same bytes in plain Python: protobuf objects, a numpy array per
sketch, a merge and an SQLite row each. `http` is a collector process, all its horizons with it,
with compaction and a reader that asks for the last minutes all the time, fed by a connection of
each site; its clock follows the windows. Its CPU time is counted apart by thread, and apart from
the client's, which shares the cores.
`backlog` is ten minutes of a hundred probes at once, some of it sent twice.

What is compared, `chain` and `plain` of round trips, takes turns for so many rounds; the ratios at
the end are medians of those within a round. All else runs once. A goal wants `--rounds 5`, which
takes some 20 minutes; one round, the default, keeps the whole under ten on a quiet machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import pathlib
import re
import resource
import sqlite3
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from support.traffic import T0, Mesh, Request

from analytics import _kernels
from analytics.collector import ingest
from analytics.collector.limits import Limits
from analytics.collector.server import Beside, create_app, serve
from analytics.collector.state import HealthBoard, LastWindows
from analytics.collector.telemetry import Telemetry
from analytics.frame import Frame
from analytics.horizons import HORIZONS
from analytics.running_total import RunningTotal
from analytics.store.sqlite import SqliteStore
from analytics.windows import Selector

TOGETHER = 20
WINDOWS = {1000: 60, 10_000: 16, 100_000: 3}  # by paths
ROUNDS = 1
GOAL_ROUNDS = 5
THREADS = {
    "MainThread": "HTTP",
    "writer": "writer",
    "read": "reader",
    "compact": "compaction",
    "figures of the last days": "horizons",
}
PROBES_MAX = 100  # connections; the collector takes more at once
HEAD = (
    b"POST /v1/metrics HTTP/1.1\r\nHost: collector\r\nContent-Type: application/x-protobuf\r\n"
    b"Content-Encoding: zstd\r\nContent-Length: %d\r\n\r\n"
)


def chain(paths: int, windows: int, *, whole: bool) -> dict[str, Any]:
    """Measure the product's own way, without HTTP."""
    requests = list(Mesh(paths, whole=whole).requests(windows))
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "store.sqlite"
        with closing(SqliteStore.open(file)) as store:
            warm_up(paths, whole=whole)
            return measured(requests, Chain(store, paths), file, windows)


class Chain:
    """What makes requests durable, and merges what they bring."""

    def __init__(self, store: SqliteStore, paths: int) -> None:
        self._now_s = float(T0)
        self._total = RunningTotal()
        self._ingest = ingest.Ingest(
            store,
            Mesh(paths, whole=False).estate,
            Limits(),
            Telemetry(),
            HealthBoard(1000),
            lambda: self._now_s,
            [LastWindows(store.streams).note_frame, self._total.add],
        )

    def take(self, requests: list[Request]) -> None:
        self._now_s = max(self._now_s, *(float(request.end_s) for request in requests))
        results = self._ingest.take_all([ingest.Request(r.body, "zstd") for r in requests])
        assert all(isinstance(r, ingest.Receipt) and not r.refused_points for r in results), results

    def merged(self) -> int:
        """Return how many values the sketches have that were merged, in all."""
        table = self._total.settle()
        return int(table.positive.counts.sum()) + int(table.statistics.zero_count.sum())


def plain(paths: int, windows: int, *, whole: bool) -> dict[str, Any]:
    """Measure the same in plain Python."""
    requests = list(Mesh(paths, whole=whole).requests(windows))
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "store.sqlite"
        with closing(sqlite3.connect(file, isolation_level=None)) as db:
            for pragma in ("journal_mode = WAL", "synchronous = FULL"):
                db.execute(f"PRAGMA {pragma}")
            db.execute("CREATE TABLE batches(id TEXT PRIMARY KEY) WITHOUT ROWID")
            db.execute(
                "CREATE TABLE points(t INTEGER, stream INTEGER, n INTEGER, s REAL, lo REAL,"
                " hi REAL, first INTEGER, scale INTEGER, counts BLOB, UNIQUE(t, stream))"
            )
            return measured(requests, PlainPython(db), file, windows)


class PlainPython:
    """What one writes first: an object per point."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._numbers: dict[Any, int] = {}
        self._sums: dict[int, dict[int, int]] = {}

    def take(self, requests: list[Request]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        for request in requests:
            body = zstandard.ZstdDecompressor().decompress(request.body)
            self._one(ExportMetricsServiceRequest.FromString(body))
        self._db.execute("COMMIT")

    def merged(self) -> int:
        """Return how many values the sketches have that were merged, in all."""
        return sum(int(counts.sum()) for _, counts in self._sums.values())

    def _one(self, request: ExportMetricsServiceRequest) -> None:
        (resource_metrics,) = request.resource_metrics
        who = {a.key: a.value for a in resource_metrics.resource.attributes}
        identity = (
            f"{who['service.instance.id'].string_value}/{who['netslo.batch.sequence'].int_value}"
        )
        if not self._db.execute("INSERT OR IGNORE INTO batches VALUES (?)", (identity,)).rowcount:
            return
        rows = []
        for metric in resource_metrics.scope_metrics[0].metrics:
            kind = metric.WhichOneof("data")
            for point in getattr(metric, kind).data_points:
                key = (metric.name, *((a.key, a.value.string_value) for a in point.attributes))
                stream = self._numbers.setdefault(key, len(self._numbers))
                start_s = point.start_time_unix_nano // 10**9
                if kind != "exponential_histogram":
                    value = point.as_int if point.HasField("as_int") else point.as_double
                    rows.append((start_s, stream, value, None, None, None, None, None, None))
                    continue
                counts = np.array(point.positive.bucket_counts, dtype=np.uint64)
                self._merge(stream, point.positive.offset, counts)
                rows.append(
                    (
                        start_s,
                        stream,
                        point.count,
                        point.sum,
                        point.min,
                        point.max,
                        point.positive.offset,
                        point.scale,
                        counts.astype("<u4").tobytes(),
                    )
                )
        self._db.executemany("INSERT INTO points VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _merge(self, stream: int, first: int, counts: np.ndarray) -> None:
        low, total = self._sums.get(stream, (first, np.zeros(0, dtype=np.uint64)))
        new_low, new_high = min(low, first), max(low + len(total), first + len(counts))
        if (new_low, new_high) != (low, low + len(total)):
            grown = np.zeros(new_high - new_low, dtype=np.uint64)
            grown[low - new_low : low - new_low + len(total)] = total
            low, total = new_low, grown
        total[first - low : first - low + len(counts)] += counts
        self._sums[stream] = (low, total)


def measured(
    requests: list[Request], way: Chain | PlainPython, file: pathlib.Path, windows: int
) -> dict[str, Any]:
    """Return the cost of taking requests, on one core; that of the first window apart."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    first, once = requests[: len(requests) // windows], requests
    new_s = time.perf_counter()
    for start in range(0, len(first), TOGETHER):
        way.take(first[start : start + TOGETHER])
    new_s = time.perf_counter() - new_s
    requests = with_duplicates(requests[len(first) :])
    count = sum(r.sketches for r in requests)
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for start in range(0, len(requests), TOGETHER):
        way.take(requests[start : start + TOGETHER])
    merged = way.merged()  # the last of them now
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    count_all = count + sum(r.sketches for r in first)
    size = sum(f.stat().st_size for f in file.parent.iterdir() if "ballast" not in f.name)
    return {
        "sketches": count,
        "per_second": count / wall_s,
        "us": cpu_s / count * 1e6,
        "new_us": new_s / sum(r.sketches for r in first) * 1e6,
        "octets": size / count_all,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "exact": merged == sum(r.values for r in once),
    }


def warm_up(paths: int, *, whole: bool) -> None:
    """Load and compile the kernels, which is not what is measured."""
    _kernels.load()
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(SqliteStore.open(pathlib.Path(folder) / "warm.sqlite")) as store,
    ):
        chain, mesh = Chain(store, paths), Mesh(paths, whole=whole)
        for number in range(2):
            chain.take([next(mesh.at(T0 + 10 * number, number))])
            chain.merged()


def with_duplicates(requests: list[Request]) -> list[Request]:
    """Return the requests with every fiftieth sent again at the end."""
    return requests + requests[::50]


def http(
    paths: int, windows: int, *, whole: bool, classes: int = 5, spooled: bool = False
) -> dict[str, Any]:
    """Measure through HTTP, with compaction and a reader at work.

    The collector's clock is at the end of the youngest window sent; of the last where all of them
    were `spooled`.
    """
    once = list(Mesh(paths, whole=whole, classes=classes).requests(windows))
    requests = with_duplicates(once)
    count, expected = sum(r.sketches for r in requests), sum(r.answered for r in once)
    last = sum(r.answered for r in once if r.end_s > T0 + 10 * (windows - 6))
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "store.sqlite"
        here, there = multiprocessing.Pipe()
        spawn = multiprocessing.get_context("spawn")
        now_s = spawn.Value("d", T0 + 10.0 * windows if spooled else float(T0), lock=False)
        server = spawn.Process(target=run_collector, args=(there, file, paths, classes, now_s))
        server.start()
        port = here.recv()
        first = len(once) // windows
        asyncio.run(send(once[:first], port, first, now_s))
        here.send("begin")
        here.recv()
        count -= sum(r.sketches for r in once[:first])
        began_s, client_s = time.perf_counter(), time.process_time()
        asyncio.run(send(requests[first:], port, first, now_s))
        wall_s, client_s = time.perf_counter() - began_s, time.process_time() - client_s
        here.send("stop")
        threads_s = here.recv()
        report = here.recv()
        server.join()
        with closing(SqliteStore.open(file, readonly=True)) as store:
            answered = sum(p.answered for p in store.packet_totals().values())
        size = sum(f.stat().st_size for f in file.parent.iterdir() if "ballast" not in f.name)
    return {
        "sketches": count,
        "per_second": count / wall_s,
        "us": threads_s["all"] / count * 1e6,
        "client_us": client_s / count * 1e6,
        "threads_us": {name: cpu_s / count * 1e6 for name, cpu_s in threads_s.items()},
        "octets": size / sum(r.sketches for r in once),
        "rss_mb": report["rss_mb"],
        "reads": report["reads"],
        "compactions": report["compactions"],
        "exact": answered == expected and report["minute"] == last,
    }


async def send(requests: list[Request], port: int, probes: int, now_s: Any) -> None:
    """Send requests in order by so many connections; each must be accepted whole.

    `now_s` is the clock that the collector shares.

    By HTTP/1.1 written by hand: a client that costs more than the server would measure itself.
    """
    waiting = iter(requests)

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in waiting:
            now_s.value = max(now_s.value, float(request.end_s))
            status = await posted(request.body, reader, writer)
            assert status == 200, status  # there is room for so many at once
        writer.close()

    await asyncio.gather(*(work() for _ in range(min(probes, PROBES_MAX))))


async def posted(body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """Send a body; return the status of the answer, which refuses nothing of what was sent."""
    writer.write(HEAD % len(body) + body)
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    assert length is not None, head
    answer = await reader.readexactly(int(length[1]))
    assert answer == b"", (head, answer)
    return int(head.split(b" ", 2)[1])


class Minute:
    """A companion that knows the collector's horizons: what the shortest one holds."""

    def start(self, beside: Beside) -> None:
        self._live = beside.live

    def note(self, frame: Frame) -> None:
        """Nothing is kept here."""

    def stop(self) -> None:
        """Nothing goes on here."""

    def answered(self) -> int:
        """Return how many packets were answered in the last minute, all that came counted."""
        recent = self._live.read(HORIZONS[0], patience_s=60.0)
        return 0 if recent is None else int(recent.ledger()[:, 0].sum())


def run_collector(pipe: Any, file: pathlib.Path, paths: int, classes: int, now_s: Any) -> None:
    """Be a collector until told to stop; then say what it took since it was told to begin."""
    warm_up(paths, whole=True)
    done, before = threading.Event(), {}
    counts = {"reads": 0, "compactions": 0, "minute": 0}
    with closing(SqliteStore.open(file)) as store:
        estate = Mesh(paths, whole=False, classes=classes).estate
        site = next(iter(estate.sites))

        def read() -> None:
            while not done.wait(0.2):
                store.aggregate(Selector(src=site), T0, T0 + 3600)
                counts["reads"] += 1

        def compact() -> None:
            while not done.wait(2.0):
                store.maintain(now_s.value + 7200.0)  # when all that is there is old enough
                counts["compactions"] += 1

        async def run() -> None:
            minute = Minute()
            app = create_app(store, estate, clock=lambda: float(now_s.value), companions=[minute])
            async with serve(app, "127.0.0.1", 0) as (_, port):
                pipe.send(port)
                await asyncio.to_thread(pipe.recv)
                before.update(by_thread())
                pipe.send("begun")
                await asyncio.to_thread(pipe.recv)
                counts["minute"] = await asyncio.to_thread(minute.answered)
                now = by_thread()
                pipe.send({name: now[name] - before.get(name, 0.0) for name in now})

        threads = [
            threading.Thread(target=work, name=work.__name__, daemon=True)
            for work in (read, compact)
        ]
        for thread in threads:
            thread.start()
        asyncio.run(run())
        done.set()
        for thread in threads:
            thread.join()
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send({"rss_mb": rss_mb, **counts})


def by_thread() -> dict[str, float]:
    """Return the CPU time of each thread, seconds."""
    found = {
        thread.name: time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        for thread in threading.enumerate()
        if thread.ident is not None
    }
    return {"all": time.process_time(), **found}


def backlog(paths: int, windows: int, *, whole: bool) -> dict[str, Any]:
    """Measure a hundred probes that come back with what they have spooled."""
    return http(paths, windows, whole=whole, classes=1, spooled=True)


WAYS = {"backlog": backlog, "chain": chain, "plain": plain, "http": http}


def in_a_process(way: str, paths: int, windows: int, *, whole: bool) -> dict[str, Any]:
    """Run one measurement in a fresh process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_child, args=(there, way, paths, windows, whole))
    process.start()
    result = here.recv()
    process.join()
    return {"way": way, "paths": paths, "windows": windows, "whole": whole, **result}


def _child(pipe: Any, way: str, paths: int, windows: int, whole: bool) -> None:  # noqa: FBT001
    pipe.send(WAYS[way](paths, windows, whole=whole))


def remarks(result: dict[str, Any]) -> str:
    """Return what else a run has shown."""
    said = "every window once" if result["exact"] else "COUNTS DIFFER"
    if "threads_us" not in result:
        return f"  {said}"
    parts: defaultdict[str, float] = defaultdict(float)
    for name, us in result["threads_us"].items():
        if name != "all":
            parts[THREADS.get(name, "others")] += us
    shares = ", ".join(f"{name} {us:.1f}" for name, us in parts.items())
    return (
        f"  {said}; {result['reads']} reads, {result['compactions']} compactions;"
        f" us by thread: {shares}; client {result['client_us']:.1f}"
    )


@dataclass(frozen=True, slots=True)
class Run:
    """What one process measures."""

    way: str
    paths: int
    windows: int
    whole: bool = False


def compared(windows: dict[int, int]) -> list[Run]:
    """Return what a round consists of; plain Python gets a third of the windows."""
    return [
        Run(way, paths, count if way == "chain" else max(2, count // 3))
        for paths, count in windows.items()
        for way in ("chain", "plain")
    ]


def once_each(windows: dict[int, int], *, quick: bool) -> list[Run]:
    """Return what is measured once, beside."""
    runs = [Run("chain", paths, count, whole=True) for paths, count in windows.items()]
    runs += [
        Run("http", paths, count if paths < max(WINDOWS) else 2) for paths, count in windows.items()
    ]
    return runs if quick else [*runs, Run("backlog", 9_900, 60)]


def ratios(rounds: list[dict[tuple[str, int], float]]) -> Iterator[tuple[str, list[float]]]:
    """Yield what a goal is of, and the ratio of CPU times a sketch in each round."""
    sizes = sorted({paths for _, paths in rounds[0]})
    for paths in sizes:
        found = [us["plain", paths] / us["chain", paths] for us in rounds]
        yield f"plain / chain, {paths:,} paths", found
    few, many = sizes[0], sizes[-1]
    found = [us["chain", many] / us["chain", few] for us in rounds]
    yield f"chain, {many:,} paths / {few:,}", found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round, fewer windows and paths")
    parser.add_argument(
        "--rounds",
        type=int,
        default=ROUNDS,
        help="of what is compared; %(default)s takes under 10 min, the 5 that goals want 20",
    )
    parser.add_argument("--json", type=pathlib.Path, help="write the figures to this file")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    windows = {1000: 20, 10_000: 6} if options.quick else WINDOWS
    count = 1 if options.quick else options.rounds
    results: list[dict[str, Any]] = []

    def measure(run: Run) -> float:
        result = in_a_process(run.way, run.paths, run.windows, whole=run.whole)
        results.append(result)
        print(
            f"{run.way:7} {run.paths:7,} {run.windows:7} {'whole' if run.whole else 'rtt':>9}"
            f" {result['per_second']:12,.0f} {result['us']:7.2f}"
            f" {result.get('new_us', float('nan')):7.1f} {result['octets']:7.0f}"
            f" {result['rss_mb']:7.0f}"
            f"{remarks(result)}",
            flush=True,
        )
        return float(result["us"])

    print("way       paths windows    points   sketches/s  us CPU  us new  octets  RSS MB")
    rounds = [
        {(run.way, run.paths): measure(run) for run in compared(windows)} for _ in range(count)
    ]
    for run in once_each(windows, quick=options.quick):
        measure(run)
    print(f"\nratios of us CPU, median of {count} round{'s' * (count > 1)} (least to largest)")
    if count < GOAL_ROUNDS:
        print(f"Goals want {GOAL_ROUNDS} rounds: these are provisional.")
    said = {}
    for what, found in ratios(rounds):
        said[what] = {"median": statistics.median(found), "rounds": found}
        print(f"{what:36} {statistics.median(found):6.2f} ({min(found):.2f} to {max(found):.2f})")
    if options.json:
        options.json.write_text(json.dumps({"runs": results, "ratios": said}, indent=1))


if __name__ == "__main__":
    main()
