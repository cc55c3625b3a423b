"""Native histograms through restarts and late windows, and remote write through failures."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from contextlib import ExitStack, asynccontextmanager

import pytest
from a_collector import NOW_S, collector
from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge
from prometheus_messages import counts_of, delimited, message, unsnapped
from real_prometheus import prometheus, wait_until
from some_windows import PATHS, T0, make_batch, make_window, sketch_of

from analytics.collector import remote_writer
from analytics.collector.remote_writer import RemoteWrite, RemoteWriter
from analytics.prometheus.exposition import CONTENT_TYPE
from analytics.store.sqlite import SqliteStore
from analytics.windows import Selector, SketchKey
from netslo.metrics import DELAY
from netslo.model import Quality

NATIVE = "--enable-feature=native-histograms"
RTT_OF_PATH = f'network_probe_rtt_seconds{{path="{PATHS[0].id}"}}'


async def eventually(server, expression: str, value: float) -> None:
    await asyncio.to_thread(wait_until, lambda: server.value(expression) == value, expression)


async def histograms(room) -> dict[str, dict[tuple[str, str], Counter]]:
    """Scrape; return the buckets of each native histogram, with its count under None."""
    async with room.client.get(f"{room.url}/metrics", headers={"Accept": CONTENT_TYPE}) as answer:
        assert answer.headers["Content-Type"] == CONTENT_TYPE
        families = delimited(await answer.read())
    found = {}
    for name in ("network_probe_rtt_seconds", "network_probe_delay_seconds"):
        found[name] = {}
        for metric in families[name].metric if name in families else ():
            labels = {pair.name: pair.value for pair in metric.label}
            histogram = metric.histogram
            buckets = counts_of(histogram.positive_span, histogram.positive_delta)
            key = labels["path"], labels.get("direction", "")
            found[name][key] = Counter({**buckets, None: histogram.sample_count})
    return found


async def test_counters_never_go_back_through_late_windows_compaction_and_a_kill(tmp_path) -> None:
    file = tmp_path / "store.sqlite"
    before = Counter()
    key = PATHS[0].id, ""

    async def check(room, expected: int) -> None:
        nonlocal before
        now = (await histograms(room))["network_probe_rtt_seconds"][key]
        assert now >= before  # bucket by bucket
        assert now[None] == expected
        before = now

    async with collector(file) as room:
        await room.send(make_batch(make_window()))
        await check(room, 3)
    # Nothing was closed in order: the store on disk is all there is.
    late = T0 - 20 * 86400
    with ExitStack() as stack:
        store = SqliteStore.open(file)
        stack.callback(store.close)
        store.append(make_batch(make_window(late, rtts=(0.5,)), sequence=1), NOW_S)
        store.maintain(NOW_S + 3600)
    async with collector(file) as room:
        await check(room, 4)
        await room.send(make_batch(make_window(late + 10, rtts=(0.4, 0.4)), sequence=2))
        await room.send(make_batch(make_window(late + 10, rtts=(0.4, 0.4)), sequence=2))  # again
    with ExitStack() as stack:
        store = SqliteStore.open(file)
        stack.callback(store.close)
        store.maintain(NOW_S + 60 * 86400)  # all windows expire, what was counted stays
        store.append(make_batch(make_window(int(NOW_S + 60 * 86400)), sequence=3), NOW_S)
        store.maintain(NOW_S + 70 * 86400)
        assert not list(store.windows(Selector(), T0 - 30 * 86400, T0 + 300, 300))
    async with collector(file) as room:
        await check(room, 9)


async def test_delays_carry_their_direction_and_foreign_paths_are_not_shown(tmp_path) -> None:
    window = make_window()
    window.sketches[SketchKey(DELAY, Quality.C, "forward")] = sketch_of([0.004, -0.001])
    async with collector(tmp_path / "store.sqlite") as room:
        await room.send(make_batch(window))
        found = await histograms(room)
        assert found["network_probe_delay_seconds"][PATHS[0].id, "forward"][None] == 2
        assert set(found["network_probe_rtt_seconds"]) == {(PATHS[0].id, "")}


async def test_an_older_store_gets_the_table_it_lacks(tmp_path) -> None:
    file = tmp_path / "store.sqlite"
    SqliteStore.open(file).close()
    with sqlite3.connect(file) as connection:
        connection.executescript(
            "DROP TABLE ever; DROP TABLE late_arrivals; DROP TABLE routes;"
            "DROP TABLE path_changes; DROP TABLE path_change_totals;"
            "DROP TABLE readings; DROP TABLE latest_readings; DROP TABLE warm_days;"
            "PRAGMA user_version = 2"
        )
    connection.close()
    store = SqliteStore.open(file)
    store.append(make_batch(make_window(T0)), T0)
    store.maintain(T0 + 3600)
    assert store.distribution_totals().distributions.positive.counts.sum() == 3
    store.close()


class Receiver:
    """A receiver of remote write that answers as it is told."""

    def __init__(self) -> None:
        self.statuses: list[int] = []  # of the next answers; 204 when there are none
        self.times: list[int] = []  # of what was accepted
        self.asked = 0

    async def handle(self, request: web.Request) -> web.Response:
        self.asked += 1
        assert request.headers["Content-Encoding"] == "snappy"
        status = self.statuses.pop(0) if self.statuses else 204
        if status == 204:
            decoded = message("WriteRequest").FromString(unsnapped(await request.read()))
            self.times.append(decoded.timeseries[0].samples[0].timestamp)
        return web.Response(status=status, text="no" if status != 204 else None)


@asynccontextmanager
async def remote(monkeypatch):
    """Run a receiver and a writer to it whose clock goes on by a second with each collection."""
    monkeypatch.setattr(remote_writer, "_BACKOFF_S", (0.0,))
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/write", receiver.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    registry = CollectorRegistry()
    Gauge("depth", "Queue", registry=registry).set(1)
    seconds = iter(range(1000, 2000))
    to = RemoteWrite(f"http://{host}:{port}/write", interval_s=3600)
    writer = RemoteWriter(to, registry, Nothing(), lambda: float(next(seconds)))

    def value(name: str, **labels: str) -> float:
        return registry.get_sample_value(name, labels) or 0.0

    try:
        async with writer.running():
            yield receiver, writer, value
    finally:
        await runner.cleanup()


class Nothing:
    def collect_native(self):
        return ()


async def until(done) -> None:
    await asyncio.to_thread(wait_until, done, "the writer is done", 60, 0.01)


async def test_requests_go_out_in_order_and_again_until_they_are_taken(monkeypatch, caplog) -> None:
    async with remote(monkeypatch) as (receiver, writer, value):
        receiver.statuses = [503, 500, 429]
        await until(lambda: len(receiver.times) == 1)
        for _ in range(3):
            await writer.collect_once()
        await until(lambda: len(receiver.times) == 4)
        assert receiver.times == [1_000_000, 1_001_000, 1_002_000, 1_003_000]
        assert receiver.asked == 7
        await until(lambda: value("netslo_remote_write_requests_total") == 4)
        assert "503" in caplog.text


async def test_what_is_refused_is_dropped_and_says_why(monkeypatch, caplog) -> None:
    async with remote(monkeypatch) as (receiver, writer, value):
        await until(lambda: receiver.times)
        receiver.statuses = [400]
        await writer.collect_once()
        await writer.collect_once()
        await until(lambda: len(receiver.times) == 2)
        assert value("netslo_remote_write_dropped_requests_total", reason="refused") == 1
        assert "status 400: no" in caplog.text


async def test_a_receiver_that_stays_away_costs_bounded_memory(monkeypatch) -> None:
    monkeypatch.setattr(remote_writer, "QUEUE_BYTES_MAX", 5000)
    async with remote(monkeypatch) as (receiver, writer, value):
        receiver.statuses = [503] * 10**6
        for _ in range(100):
            await writer.collect_once()
        assert value("netslo_remote_write_queue_bytes") <= 5000
        assert value("netslo_remote_write_dropped_requests_total", reason="queue") > 0
        receiver.statuses = []
        await until(lambda: receiver.times and receiver.times[-1] == 1_100_000)
        assert receiver.times == sorted(receiver.times)


async def test_a_real_prometheus_takes_what_is_written(tmp_path) -> None:
    config = {"global": {"scrape_interval": "1m"}}
    flags = (NATIVE, "--web.enable-remote-write-receiver")
    with ExitStack() as stack:
        server = await asyncio.to_thread(stack.enter_context, prometheus(tmp_path, config, *flags))
        to = RemoteWrite(f"{server.url}/api/v1/write", 1.0, instance="one")
        async with collector(tmp_path / "s.sqlite", clock=time.time, remote_write=to) as room:
            await room.send(make_batch(make_window(int(time.time()) // 10 * 10 - 20)))
            await eventually(server, f"histogram_count({RTT_OF_PATH})", 3)
            await eventually(server, 'netslo_collector_windows_total{job="netslo"}', 1)
            median = f"histogram_quantile(0.5, {RTT_OF_PATH})"
            found = await asyncio.to_thread(server.value, median)
            assert found == pytest.approx(0.012, rel=0.01)


async def test_a_silent_probe_and_a_backlog_can_be_told_from_the_metrics(tmp_path) -> None:
    """What rules look at: where each site's last window ends, and when old ones came."""

    async def samples(room) -> dict[str, float]:
        text = await room.text("/metrics")
        return {
            line.split("{")[0] + line.split('"')[1]: float(line.split()[-1])
            for line in text.splitlines()
            if line.startswith("netslo_probe_la") and "timestamp_seconds{src_site" in line
        }

    last, late = (
        f"netslo_probe_{name}_timestamp_seconds" for name in ("last_window", "late_arrival")
    )
    file = tmp_path / "store.sqlite"
    fresh = int(NOW_S) - 20
    async with collector(file) as room:
        await room.send(make_batch(make_window(fresh)))
        assert await samples(room) == {f"{last}london": fresh + 10}
    async with collector(file) as room:  # a restart forgets nobody, and takes nothing for late
        assert await samples(room) == {f"{last}london": fresh + 10}
    async with collector(tmp_path / "other.sqlite") as room:
        await room.send(make_batch(make_window(T0 - 7200), make_window(fresh)))
        assert await samples(room) == {f"{last}london": fresh + 10, f"{late}london": NOW_S}
