"""Delivery: to collectors that are well, ill, away, or no collectors at all."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest
import zstandard
from a_collector import collector
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)
from ports import free_port
from some_windows import PATHS, T0, make_batch, make_window

from analytics.collector.receive import rpc_status
from analytics.otlp import encode_batch
from analytics.windows import SeriesKey
from probes.answer import read_retry_after
from probes.export import Deliverer, metrics_url
from probes.spool import Spool
from probes.suspects import HOLD_MAX_S, KNOWN_MAX, TRIES, Suspects

PROTOBUF = "application/x-protobuf"
PATIENCE_S = 60.0  # with a busy machine
KEY = SeriesKey(PATHS[0])


@pytest.fixture
def spool(tmp_path):
    with Spool(tmp_path / "spool") as spool:
        yield spool


def put(spool: Spool, *payloads: bytes, first=0) -> None:
    for number, payload in enumerate(payloads):
        spool.put(payload, instance_id="i-1", sequence=first + number)


def accept(**partial) -> web.Response:
    answer = ExportMetricsServiceResponse()
    if partial:
        answer.partial_success.CopyFrom(ExportMetricsPartialSuccess(**partial))
    return web.Response(body=answer.SerializeToString(), content_type=PROTOBUF)


class FakeCollector:
    """Answers with what it is given, one after the other; then it accepts."""

    def __init__(self, *answers: Callable[[], web.StreamResponse] | int) -> None:
        self.answers = list(answers)
        self.accepted: list[bytes] = []
        self.requests = 0
        self.headers = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.headers = request.headers
        body = zstandard.decompress(await request.read())
        if self.answers:
            answer = self.answers.pop(0)
            return web.Response(status=answer) if isinstance(answer, int) else answer()
        self.accepted.append(body)
        return accept()

    @asynccontextmanager
    async def running(self):
        app = web.Application(client_max_size=2**26, handler_args={"auto_decompress": False})
        app.router.add_post("/v1/metrics", self.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


def deliverer(spool: Spool, url: str, **options) -> Deliverer:
    quick = {"timeout_s": 60.0, "retry_first_s": 0.001, "retry_max_s": 0.01}
    return Deliverer(spool, url, **(quick | options))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.005)


async def test_everything_arrives_once_and_in_order(spool) -> None:
    fake = FakeCollector()
    put(spool, b"a", b"b", b"c")
    async with fake.running() as url:
        sender = deliverer(spool, url)
        assert await sender.drain(PATIENCE_S) == 0
    assert fake.accepted == [b"a", b"b", b"c"]
    assert sender.counts.delivered == 3
    assert fake.headers["Content-Encoding"] == "zstd"
    assert fake.headers["Content-Type"] == PROTOBUF


async def test_what_is_put_later_leaves_at_once(spool) -> None:
    fake, stop = FakeCollector(), asyncio.Event()
    async with fake.running() as url:
        running = asyncio.create_task(deliverer(spool, url).run(stop))
        for body in (b"a", b"b"):
            await asyncio.to_thread(put, spool, body)
            await until(lambda: spool.depth == 0)
        stop.set()
        await asyncio.wait_for(running, 60)
    assert fake.accepted == [b"a", b"b"]


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 502, 503, 504, 301, 204, 202])
async def test_a_batch_stays_until_it_is_acknowledged(spool, status) -> None:
    fake = FakeCollector(status, status)
    put(spool, b"a", b"b")
    async with fake.running() as url:
        sender = deliverer(spool, url)
        assert await sender.drain(PATIENCE_S) == 0
    assert fake.accepted == [b"a", b"b"]
    assert (sender.counts.failures, sender.counts.delivered, sender.counts.refused) == (2, 2, 0)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="<html>Please log in</html>", content_type="text/html"),
        lambda: web.Response(body=b"\xff\xff", content_type=PROTOBUF),
        lambda: web.Response(body=bytes(100_000), content_type=PROTOBUF),
        lambda: web.Response(body=b"", content_type=PROTOBUF, headers={"Content-Encoding": "gzip"}),
        lambda: web.Response(headers={"Location": "http://127.0.0.1:9/"}, status=307),
        lambda: web.Response(text="Cookie too large", status=400),
    ],
    ids=["login page", "garbage", "too long", "compressed", "redirect", "a proxy's 400"],
)
async def test_an_answer_that_is_no_collector_s_acknowledges_nothing(spool, answer) -> None:
    fake = FakeCollector(answer)
    put(spool, b"a")
    async with fake.running() as url:
        sender = deliverer(spool, url)
        await sender.drain(PATIENCE_S)
    assert fake.accepted == [b"a"]
    assert sender.counts.failures == 1


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_a_hopeless_batch_is_set_aside_and_the_next_one_sent(spool, status, tmp_path) -> None:
    body = rpc_status(3, "the path\nis mad")
    fake = FakeCollector(lambda: web.Response(status=status, body=body, content_type=PROTOBUF))
    put(spool, b"poison", b"good")
    async with fake.running() as url:
        sender = deliverer(spool, url)
        assert await sender.drain(PATIENCE_S) == 0
    assert fake.accepted == [b"good"]
    assert (sender.counts.refused, spool.refused) == (1, 1)
    [reason] = (tmp_path / "spool" / "refused").glob("*.reason.txt")
    assert reason.read_text() == f"HTTP {status}: the path is mad\n"


class ChoosyCollector(FakeCollector):
    """Answers 500 to some payloads, for ever, and accepts all others."""

    def __init__(self, *poison: bytes) -> None:
        super().__init__()
        self.poison = set(poison)
        self.refused: Counter[bytes] = Counter()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = zstandard.decompress(await request.read())
        if body in self.poison:
            self.refused[body] += 1
            return web.Response(status=500)
        self.accepted.append(body)
        return accept()


@pytest.mark.parametrize("poison", [[b"0"], [b"0", b"1"], [b"0", b"2", b"4"]])
async def test_a_batch_that_fails_for_ever_is_held_back_and_not_lost(spool, poison, caplog) -> None:
    payloads = [b"%d" % number for number in range(6)]
    good = [payload for payload in payloads if payload not in poison]
    ill, now_s = ChoosyCollector(*poison), [0.0]

    def clock() -> float:
        now_s[0] += 1.0
        return now_s[0]

    put(spool, *payloads)
    async with ill.running() as url:
        sender = deliverer(spool, url, suspects=Suspects(clock, suspicious_s=5, hold_first_s=1e6))
        stop = asyncio.Event()
        running = asyncio.create_task(sender.run(stop))
        await until(lambda: spool.depth == len(poison))
        assert ill.accepted == good
        put(spool, b"late", first=6)
        await until(lambda: ill.accepted[-1] == b"late")
        await until(lambda: spool.depth == len(poison))  # taken out once the answer is read
        stop.set()
        await running
        assert sender.counts.held_back >= 1
        assert sender.counts.refused == 0
        assert "is held back, others are taken: HTTP 500" in caplog.text
        ill.poison.clear()
        assert await deliverer(spool, url).drain(PATIENCE_S) == 0
    assert sorted(ill.accepted) == sorted([*payloads, b"late"])


async def test_a_batch_held_back_is_tried_again(spool) -> None:
    ill = ChoosyCollector(b"0")
    put(spool, b"0", b"1", b"2")
    async with ill.running() as url:
        suspects = Suspects(time.monotonic, suspicious_s=0, hold_first_s=0.05)
        sender = deliverer(spool, url, suspects=suspects)
        stop = asyncio.Event()
        running = asyncio.create_task(sender.run(stop))
        await until(lambda: ill.accepted == [b"1", b"2"])
        await until(lambda: sender.counts.held_back > 0)
        ill.poison.clear()
        await until(lambda: spool.depth == 0)
        stop.set()
        await running
    assert sender.held == 0


async def test_while_every_batch_fails_none_is_blamed(spool) -> None:
    put(spool, b"0", b"1", b"2")
    away = FakeCollector(*[500] * 40)
    async with away.running() as url:
        sender = deliverer(spool, url, suspects=Suspects(time.monotonic, suspicious_s=0))
        assert await sender.drain(PATIENCE_S) == 0
    assert sender.counts.failures == 40
    assert sorted(away.accepted) == [b"0", b"1", b"2"]


async def test_a_partial_success_is_done_and_its_points_are_counted(spool, caplog) -> None:
    fake = FakeCollector(lambda: accept(rejected_data_points=7, error_message="too old"))
    put(spool, b"a")
    async with fake.running() as url:
        sender = deliverer(spool, url)
        assert await sender.drain(PATIENCE_S) == 0
    assert fake.requests == 1
    assert sender.counts.points_refused == 7
    assert "7 data points" in caplog.text
    assert "too old" in caplog.text


async def test_retry_after_is_obeyed_up_to_the_longest_wait(spool) -> None:
    fake = FakeCollector(lambda: web.Response(status=429, headers={"Retry-After": "1000"}))
    put(spool, b"a")
    async with fake.running() as url:
        sender = deliverer(spool, url, retry_first_s=0.0, retry_max_s=0.3)
        began_s = time.monotonic()
        await sender.drain(PATIENCE_S)
    assert 0.3 <= time.monotonic() - began_s < PATIENCE_S  # not the thousand seconds


async def test_a_collector_that_does_not_answer_is_given_up_in_time(spool) -> None:
    fake, silence = FakeCollector(), asyncio.Event()

    async def silent(_request):
        await silence.wait()

    handle, fake.handle = fake.handle, silent
    put(spool, b"a")
    async with fake.running() as url:
        sender = deliverer(spool, url, timeout_s=0.1)
        assert await sender.drain(0.5) == 1
        assert sender.counts.failures >= 1
        silence.set()
    fake.handle = handle
    async with fake.running() as url:
        assert await deliverer(spool, url).drain(PATIENCE_S) == 0


async def test_a_time_out_of_a_request_in_the_turn_of_the_last_one_ends_both(spool) -> None:
    """A host that stands still has both come at once: aiohttp swallows the outer one."""
    fake, silence = FakeCollector(), asyncio.Event()

    async def silent(_request):
        await silence.wait()

    fake.handle = silent
    put(spool, b"a")
    loop = asyncio.get_running_loop()
    async with fake.running() as url:
        sender = deliverer(spool, url, timeout_s=0.3)
        loop.call_later(0.2, time.sleep, 0.4)
        async with asyncio.timeout(60):
            assert await sender.drain(0.3) == 1
        stop = asyncio.Event()
        running = asyncio.create_task(sender.run(stop))
        loop.call_later(0.2, time.sleep, 0.4)
        loop.call_later(0.3, stop.set)
        async with asyncio.timeout(60):
            await running
        silence.set()
    assert spool.depth == 1


async def test_trouble_is_said_once_and_its_end_too(spool, caplog) -> None:
    caplog.set_level("INFO", "probes.export")
    fake = FakeCollector(*[503] * 5)
    put(spool, b"a")
    async with fake.running() as url:
        await deliverer(spool, url).drain(PATIENCE_S)
    said = [record.getMessage() for record in caplog.records if record.name == "probes.export"]
    assert len(said) == 2
    assert "HTTP 503" in said[0]
    assert "delivering again" in said[1]


async def test_stopping_does_not_wait_for_a_collector_that_is_away(spool) -> None:
    put(spool, b"a")
    stop = asyncio.Event()
    sender = deliverer(spool, "http://127.0.0.1:9", retry_first_s=200, retry_max_s=300)
    running = asyncio.create_task(sender.run(stop))
    await until(lambda: sender.counts.failures > 0)
    stop.set()
    await asyncio.wait_for(running, PATIENCE_S)
    assert spool.depth == 1


async def test_a_bug_of_ours_is_not_swallowed(spool) -> None:
    def broken(_left_out):
        raise RuntimeError("a bug")

    spool.oldest = broken
    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.wait_for(deliverer(spool, "http://127.0.0.1:9").run(asyncio.Event()), 60)


async def test_the_environment_s_proxy_is_not_used(spool, monkeypatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    fake = FakeCollector()
    put(spool, b"a")
    async with fake.running() as url:
        assert await deliverer(spool, url).drain(PATIENCE_S) == 0


async def test_a_large_batch_goes_through(spool) -> None:
    fake, body = FakeCollector(), os.urandom(3 * 2**20)
    put(spool, body)
    async with fake.running() as url:
        assert await deliverer(spool, url).drain(PATIENCE_S) == 0
    assert fake.accepted == [body]


async def test_a_collector_down_and_back_gets_every_window_once(tmp_path, spool) -> None:
    """Spool, deliverer, collector and store together; some answers never reach the probe."""
    file, stop = tmp_path / "store.sqlite", asyncio.Event()
    batches = [make_batch(make_window(T0 + 10 * n), sequence=n, instance="i-1") for n in range(12)]
    bodies = [encode_batch(batch) for batch in batches]
    port = free_port()
    async with collector(file, port=port) as room:
        sender = deliverer(spool, room.url)
        running = asyncio.create_task(sender.run(stop))
        put(spool, *bodies[:4])
        await until(lambda: sender.counts.delivered == 4)
    put(spool, *bodies[4:8], first=4)  # nobody is there
    await until(lambda: sender.counts.failures >= 3)
    async with collector(file) as room:  # these are taken, but the probe does not hear of it
        for body in bodies[4:6]:
            assert (await room.post(body)).status == 200
    async with collector(file, port=port) as room:
        put(spool, *bodies[8:], first=8)
        await until(lambda: spool.depth == 0)
        stop.set()
        await running
        window = room.stored()[KEY]
        assert window.packets.answered == 3 * len(batches)
        assert window.rtt().count == 3 * len(batches)
        duplicates = "netslo_collector_duplicate_batches_total 2.0"
        assert duplicates in await room.text("/metrics")
    assert sender.counts.delivered == len(batches)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h:4318", "http://h:4318/v1/metrics"),
        ("http://h:4318/", "http://h:4318/v1/metrics"),
        ("https://h/otlp", "https://h/otlp/v1/metrics"),
        ("http://h:4318/v1/metrics", "http://h:4318/v1/metrics"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/metrics"),
    ],
)
def test_the_url_of_metrics(url, expected) -> None:
    assert metrics_url(url) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("7", 7.0),
        (formatdate(1_800_000_030, usegmt=True), 30.0),
        (formatdate(1_700_000_000, usegmt=True), 0.0),
        ("soon", None),
        ("-1", None),
        ("²", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, expected) -> None:
    assert read_retry_after(header, 1_800_000_000.0) == expected


@given(st.text())
def test_any_retry_after_is_read(header) -> None:
    waiting_s = read_retry_after(header, 1_800_000_000.0)
    assert waiting_s is None or waiting_s >= 0


class TestSuspects:
    def test_a_hold_doubles_up_to_an_hour(self) -> None:
        now_s = [0.0]
        suspects = Suspects(lambda: now_s[0])
        holds_s = []
        for _ in range(TRIES):
            suspects.failed("bad", "HTTP 500")
        now_s[0] += 30
        assert suspects.delivered("good") == {}  # perhaps the collector was away until now
        for _ in range(8):
            suspects.failed("bad", "HTTP 500")
            assert suspects.delivered("good") == {"bad": "HTTP 500"}
            holds_s.append(suspects.next_release_s)
            assert suspects.left_out() == suspects.held == {"bad"}
            now_s[0] += holds_s[-1]
            assert suspects.next_release_s is None
            assert suspects.delivered("good") == {}  # it has not failed since
        assert holds_s == [300, 600, 1200, 2400, *[HOLD_MAX_S] * 4]

    def test_few_failures_or_recent_ones_are_not_suspicious(self) -> None:
        now_s = [0.0]
        suspects = Suspects(lambda: now_s[0])
        for _ in range(TRIES - 1):
            suspects.failed("bad", "")
        now_s[0] += 100
        assert suspects.delivered("good") == suspects.delivered("good") == {}
        for _ in range(TRIES):
            suspects.failed("new", "")
        assert suspects.delivered("good") == {}
        suspects.failed("new", "")
        assert suspects.delivered("good") == {}

    def test_each_second_turn_is_the_others(self) -> None:
        suspects = Suspects(lambda: 0.0, suspicious_s=0)
        for _ in range(TRIES):
            suspects.failed("bad", "")
        assert [suspects.left_out() for _ in range(4)] == [{"bad"}, set(), {"bad"}, set()]

    def test_what_is_remembered_is_bounded(self) -> None:
        suspects = Suspects(lambda: 0.0)
        for number in range(2 * KNOWN_MAX):
            suspects.failed(str(number), "")
        assert len(suspects._records) == KNOWN_MAX
