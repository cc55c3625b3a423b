"""The collector's door: what comes in is kept once, and what must not come in breaks nothing."""

import asyncio
import contextlib
import gzip
import socket
import threading
import zlib

import pytest
import zstandard
from a_collector import NOW_S, PROTOBUF, collector, make_estate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
)
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from some_windows import PATHS, T0, make_batch, make_window

from analytics.collector.limits import Limits
from analytics.collector.receive import rpc_status
from analytics.collector.server import create_app, serve
from analytics.otlp import encode_batch
from analytics.otlp.compression import NotDecompressed, TooLarge, decompress
from analytics.store import StoreFull
from analytics.windows import SeriesKey
from netslo.errors import NetsloError
from netslo.model import Path

KEY = SeriesKey(PATHS[0])


@pytest.fixture
async def room(tmp_path):
    async with collector(tmp_path / "store.sqlite") as room:
        yield room


async def works(room, sequence=9999) -> None:
    """What was stored is still there, and the next good batch is taken."""
    before = room.stored()[KEY].packets.answered if KEY in room.stored() else 0
    answer = await room.send(make_batch(make_window(T0 + 50), sequence=sequence))
    assert answer.refused_points == 0
    assert room.stored()[KEY].packets.answered == before + 3


class Wrapped:
    """A store of which a test overrides something."""

    def __init__(self, store) -> None:
        self.store = store

    def __getattr__(self, name):
        return getattr(self.store, name)


class TestGoodRequests:
    async def test_a_batch_is_durable_when_it_is_acknowledged(self, room) -> None:
        answer = await room.send(make_batch(make_window(lost=2, duplicates=1)))
        assert answer.headers["Content-Type"] == PROTOBUF
        assert answer.accepted.ListFields() == []
        window = room.stored()[KEY]
        assert (window.packets.answered, window.packets.lost) == (3, 2)
        assert window.rtt().max == 0.020

    @pytest.mark.parametrize(
        ("encoding", "compress"),
        [
            ("identity", bytes),
            ("gzip", gzip.compress),
            ("zstd", zstandard.ZstdCompressor().compress),
            ("GZIP", gzip.compress),
        ],
    )
    async def test_every_promised_encoding_is_understood(self, room, encoding, compress) -> None:
        body = compress(encode_batch(make_batch(make_window())))
        answer = await room.post(body, content_encoding=encoding)
        assert answer.refused_points == 0
        assert room.stored()[KEY].packets.due == 3

    async def test_a_batch_that_comes_again_is_acknowledged_and_not_counted(self, room) -> None:
        batch = make_batch(make_window())
        for _ in range(3):
            assert (await room.send(batch)).refused_points == 0
        assert room.stored()[KEY].packets.due == 3

    async def test_many_senders_at_once_all_count(self, room) -> None:
        batches = [make_batch(make_window(T0 + n % 9 * 10), sequence=n) for n in range(60)]
        answers = await asyncio.gather(*(room.send(batch) for batch in batches * 2))
        assert {answer.status for answer in answers} == {200}
        assert room.stored()[KEY].packets.answered == 180

    async def test_a_body_in_chunks_of_unknown_length_is_taken(self, room) -> None:
        body = encode_batch(make_batch(make_window()))

        async def chunks():
            for start in range(0, len(body), 100):
                yield body[start : start + 100]

        assert (await room.post(chunks())).status == 200
        assert KEY in room.stored()

    async def test_opentelemetry_s_own_encoder_with_gzip_is_understood(self, room) -> None:
        def points(value):
            attributes = {"src_site": "london", "dst_site": "leeds", "class": "ef", **value[0]}
            times = {"start_time_unix_nano": T0 * 10**9, "time_unix_nano": (T0 + 10) * 10**9}
            return sdk.NumberDataPoint(attributes=attributes, value=value[1], **times)

        delta = sdk.AggregationTemporality.DELTA
        packets = sdk.Sum([points(({"outcome": "lost"}, 4))], delta, is_monotonic=True)
        histogram = sdk.ExponentialHistogram(
            [
                sdk.ExponentialHistogramDataPoint(
                    attributes={"src_site": "london", "dst_site": "leeds", "class": "ef"},
                    start_time_unix_nano=T0 * 10**9,
                    time_unix_nano=(T0 + 10) * 10**9,
                    count=3,
                    sum=0.06,
                    scale=10,  # finer than ours
                    zero_count=0,
                    positive=sdk.Buckets(-6000, [1, 0, 2]),
                    negative=sdk.Buckets(0, []),
                    flags=0,
                    min=0.0172,
                    max=0.0173,
                )
            ],
            delta,
        )
        metrics = [
            sdk.Metric("network.probe.packets", "", "{packet}", packets),
            sdk.Metric("network.probe.rtt", "", "s", histogram),
        ]
        scope = sdk.ScopeMetrics(InstrumentationScope("not-ours"), metrics, "")
        resource = Resource({"service.name": "somebody-else", "service.instance.id": "x"})
        data = sdk.MetricsData([sdk.ResourceMetrics(resource, [scope], "")])
        body = gzip.compress(encode_metrics(data).SerializeToString())
        for _ in range(2):  # sent again without any sequence number, it is recognised
            answer = await room.post(body, content_encoding="gzip")
            assert answer.refused_points == 0, answer.accepted
        window = room.stored()[KEY]
        assert window.packets.lost == 4
        assert window.rtt().count == 3
        assert window.rtt().quantile(0.5) == pytest.approx(0.0172, rel=0.01)


class TestRefusedRequests:
    @pytest.mark.parametrize(
        ("body", "headers", "status", "reason"),
        [
            (b"{}", {"content_type": "application/json"}, 415, "content-type"),
            (b"", {"content_type": "text/html"}, 415, "content-type"),
            (b"", {"content_encoding": "br"}, 415, "gzip, zstd"),
            (b"", {"content_encoding": "gzip, gzip"}, 415, "content-encoding"),
            (b"not protobuf", {}, 400, "protobuf"),
            (b"\x0a\xff\xff\xff\xff\x7f", {}, 400, "protobuf"),
            (b"plain", {"content_encoding": "gzip"}, 400, "not gzip"),
            (b"plain", {"content_encoding": "zstd"}, 400, "not zstd"),
            (b"", {"content_encoding": "gzip"}, 400, "truncated"),
            (b"", {"content_encoding": "zstd"}, 400, "truncated"),
            (gzip.compress(b"", mtime=0) + b"x", {"content_encoding": "gzip"}, 400, "follow"),
            (zstandard.compress(b"") + b"x", {"content_encoding": "zstd"}, 400, "follow"),
            (bytes(4 * 2**20 + 1), {}, 413, "4194304"),
        ],
    )
    async def test_refused_with_the_reason(self, room, body, headers, status, reason) -> None:
        answer = await room.post(body, **headers)
        assert answer.status == status
        assert answer.headers["Content-Type"] == PROTOBUF
        assert reason in answer.reason
        await works(room)

    @pytest.mark.parametrize("part", [0.2, 0.9])
    @pytest.mark.parametrize(
        ("encoding", "compress"),
        [("gzip", gzip.compress), ("zstd", zstandard.ZstdCompressor().compress)],
    )
    async def test_a_truncated_stream_is_never_half_counted(
        self, room, encoding, compress, part
    ) -> None:
        body = compress(encode_batch(make_batch(*(make_window(T0 + 10 * n) for n in range(20)))))
        answer = await room.post(body[: int(len(body) * part)], content_encoding=encoding)
        assert (answer.status, answer.reason) == (400, f"the {encoding} body is truncated")
        assert room.stored() == {}
        await works(room)

    @pytest.mark.parametrize(
        ("encoding", "bomb"),
        [
            ("gzip", lambda: gzip.compress(bytes(200 * 2**20), 9, mtime=0)),
            ("zstd", lambda: zstandard.ZstdCompressor().compress(bytes(200 * 2**20))),
            (  # RLE blocks of a frame that does not say its size
                "zstd",
                lambda: b"\x28\xb5\x2f\xfd\x00\x58" + b"\x02\x00\x10\x00" * 2000 + b"\x01\x00\x00",
            ),
        ],
        ids=["gzip", "zstd", "zstd without a size"],
    )
    async def test_a_bomb_is_put_out_early(self, room, encoding, bomb) -> None:
        body = bomb()  # not made by every worker that only collects this module
        assert len(body) < 2**20
        answer = await room.post(body, content_encoding=encoding)
        assert answer.status == 413
        await works(room)

    async def test_a_chunked_body_is_cut_off_at_the_limit(self, room) -> None:
        sent = 0

        async def endless():
            nonlocal sent
            while True:
                sent += 65536
                yield bytes(65536)

        with contextlib.suppress(OSError):  # the server hangs up while we still send
            assert (await room.post(endless())).status == 413
        assert sent < 64 * 2**20
        await works(room)

    async def test_a_deeply_nested_value_is_refused(self, room) -> None:
        octets = b""
        for _ in range(3000):  # AnyValue.array_value.values
            octets = _field(5, _field(1, octets))
        for number in (2, 1, 1, 1):  # resource_metrics.resource.attributes.value
            octets = _field(number, octets)
        assert (await room.post(octets)).status == 400
        await works(room)

    async def test_a_sender_that_hangs_up_is_no_error_of_ours(self, room, caplog) -> None:
        _, port = room.url.rsplit(":", 1)
        head = f"POST /v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\n"
        _, sender = await asyncio.open_connection("127.0.0.1", int(port))
        sender.write(f"{head}Content-Length: 1000\r\n\r\nab".encode())
        await sender.drain()
        await works(room)  # by then its head was read
        sender.transport.abort()
        async with asyncio.timeout(60):
            while 'code="400"' not in await room.text("/metrics"):
                pass
        assert not [record for record in caplog.records if record.exc_info]

    @pytest.mark.parametrize(
        "octets",
        [
            b"GET / HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\x02\x00",
            b"POST /v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        ],
        ids=["version", "tls", "length", "header"],
    )
    async def test_what_is_no_http_fills_no_log(self, room, caplog, octets) -> None:
        _, port = room.url.rsplit(":", 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(octets)
        await writer.drain()
        assert b" 400 " in await asyncio.wait_for(reader.readline(), 60)
        writer.close()
        await works(room)
        assert not caplog.records

    async def test_a_body_that_trickles_in_is_given_up(self, tmp_path) -> None:
        limits = Limits(body_timeout_s=2.0)  # which a whole body keeps on any machine
        async with collector(tmp_path / "store.sqlite", limits=limits) as room:

            async def trickle():
                yield b"\x0a"
                await asyncio.sleep(30)

            assert (await room.post(trickle())).status == 408
            await works(room)

    async def test_a_sender_that_hangs_up_in_the_middle_changes_nothing(self, room) -> None:
        host, port = room.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        body = encode_batch(make_batch(make_window()))
        head = f"POST /v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:50])
        await writer.drain()
        writer.close()
        await works(room)
        assert room.stored()[KEY].packets.due == 3

    @pytest.mark.parametrize(
        "first", [b"", b"POST /v1/met", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /h"]
    )
    async def test_a_connection_that_never_gets_to_the_point_is_closed(
        self, tmp_path, monkeypatch, first
    ) -> None:
        monkeypatch.setattr("analytics.collector.server._KEEPALIVE_S", 0.2)
        async with collector(tmp_path / "store.sqlite") as room:
            host, port = room.url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(first)
            await asyncio.wait_for(reader.read(), 60)  # up to the end
            writer.close()

    async def test_octets_that_are_no_http_are_answered_and_forgotten(self, room) -> None:
        host, port = room.url.removeprefix("http://").split(":")
        for octets in (b"\x00\x01\x02\x03\r\n\r\n", b"GET " + b"a" * 100_000 + b"\r\n\r\n"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(octets)
            assert b"400" in await reader.read(100)
            writer.close()
        await works(room)

    async def test_beyond_the_room_there_is_a_retry_after(self, tmp_path) -> None:
        limits = Limits(requests_max=2, retry_after_s=7)
        release = threading.Event()

        class Slow(Wrapped):
            def append_all(self, batches, received_s):
                release.wait(60)
                return self.store.append_all(batches, received_s)

        async with collector(tmp_path / "store.sqlite", limits=limits, wrap=Slow) as room:
            under_way = [
                asyncio.create_task(room.send(make_batch(make_window(), sequence=n)))
                for n in range(2)
            ]
            while (await room.get("/healthz"))[1]["waiting"] < 2:
                pass
            answer = await room.send(make_batch(make_window(), sequence=2))
            assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
            release.set()
            assert {task.status for task in await asyncio.gather(*under_way)} == {200}

    async def test_a_large_body_waits_when_too_much_is_pending(self, tmp_path) -> None:
        limits = Limits(pending_bytes_max=2000)
        async with collector(tmp_path / "store.sqlite", limits=limits) as room:
            assert (await room.post(bytes(2001))).status == 429
            await works(room)

    async def test_a_full_disk_is_said_and_gets_over(self, tmp_path, caplog) -> None:
        full = True

        class Disk(Wrapped):
            def append_all(self, batches, received_s):
                if full:
                    raise StoreFull("the store's disk is full")
                return self.store.append_all(batches, received_s)

        async with collector(tmp_path / "store.sqlite", wrap=Disk) as room:
            answer = await room.send(make_batch(make_window()))
            assert (answer.status, answer.reason) == (503, "the store's disk is full")
            assert int(answer.headers["Retry-After"]) > 0
            assert (await room.send(make_batch(make_window()))).status == 503
            assert caplog.text.count("refused until it has room") == 1
            assert await room.get("/healthz") == (
                503,
                {"status": "the disk is full", "last_commit": None, "waiting": 0},
            )
            full = False
            await works(room)
            assert "has room again" in caplog.text
            assert (await room.get("/healthz"))[0] == 200

    async def test_our_own_failure_is_a_500_and_shown_by_healthz(self, tmp_path, caplog) -> None:
        broken = True

        class Broken(Wrapped):
            def append_all(self, batches, received_s):
                if broken:
                    raise RuntimeError("a bug")
                return self.store.append_all(batches, received_s)

        async with collector(tmp_path / "store.sqlite", wrap=Broken) as room:
            assert (await room.send(make_batch(make_window()))).status == 500
            assert "a bug" in caplog.text
            assert (await room.get("/healthz"))[1]["status"] == "RuntimeError: a bug"
            broken = False
            await works(room)

    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(
        st.binary(max_size=300),
        st.sampled_from(["identity", "gzip", "zstd"]),
        st.booleans(),
    )
    def test_any_octets_get_an_answer(self, tmp_path_factory, octets, encoding, packed) -> None:
        async def check() -> None:
            file = tmp_path_factory.mktemp("any") / "store.sqlite"
            async with collector(file) as room:
                await room.send(make_batch(make_window()))
                body = octets
                if packed:
                    body = {
                        "identity": bytes,
                        "gzip": gzip.compress,
                        "zstd": zstandard.ZstdCompressor().compress,
                    }[encoding](octets)
                assert (await room.post(body, content_encoding=encoding)).status in (200, 400)
                await works(room)

        asyncio.run(check())

    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(st.data())
    def test_any_damage_to_a_good_request_is_survived(self, tmp_path_factory, data) -> None:
        good = bytearray(encode_batch(make_batch(make_window(T0, rtts=(0.01,)))))
        for _ in range(data.draw(st.integers(1, 4))):
            good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))

        async def check() -> None:
            file = tmp_path_factory.mktemp("damage") / "store.sqlite"
            async with collector(file) as room:
                assert (await room.post(bytes(good))).status in (200, 400)
                await works(room)

        asyncio.run(check())


class TestRefusedPoints:
    @pytest.mark.parametrize(
        ("window", "reason"),
        [
            (make_window(path=Path("london", "atlantis", "ef")), "not of this estate"),
            (make_window(path=Path("london", "leeds", "gold")), "not of this estate"),
            (make_window(path=Path("leeds", "dundee", "ef")), "not the site of the probe"),
            (make_window(int(NOW_S) + 310), "in the future"),
            (make_window(T0 - 36 * 86400), "older than the retention"),
            (make_window(T0 + 10, lost=10**10), "larger than any path"),
        ],
        ids=["unknown site", "unknown class", "foreign source", "future", "expired", "implausible"],
    )
    async def test_left_out_and_told(self, room, window, reason) -> None:
        answer = await room.send(make_batch(make_window(), window))
        partial = answer.accepted.partial_success
        encoded = ExportMetricsServiceRequest.FromString(encode_batch(make_batch(window)))
        points = sum(
            len(getattr(metric, metric.WhichOneof("data")).data_points)
            for metric in encoded.resource_metrics[0].scope_metrics[0].metrics
        )
        assert partial.rejected_data_points == points
        assert reason in partial.error_message
        assert list(room.stored()) == [KEY]  # the good window of the same batch
        assert room.stored()[KEY].packets.due == 3
        await works(room)

    async def test_a_little_ahead_of_our_clock_is_taken(self, room) -> None:
        answer = await room.send(make_batch(make_window(int(NOW_S) + 280)))
        assert answer.refused_points == 0

    async def test_a_probe_of_no_site_of_ours_is_refused(self, room) -> None:
        request = ExportMetricsServiceRequest.FromString(encode_batch(make_batch(make_window())))
        for attribute in request.resource_metrics[0].resource.attributes:
            if attribute.key == "netslo.site":
                attribute.value.string_value = "atlantis"
        answer = await room.post(request.SerializeToString())
        assert "no site of this estate" in answer.accepted.partial_success.error_message
        assert room.stored() == {}

    async def test_points_the_codec_cannot_use_are_counted_with_its_reason(self, room) -> None:
        request = ExportMetricsServiceRequest.FromString(encode_batch(make_batch(make_window())))
        metric = request.resource_metrics[0].scope_metrics[0].metrics.add(name="cpu.load")
        metric.gauge.data_points.add(as_double=1.0)
        answer = await room.post(request.SerializeToString())
        assert answer.refused_points == 1
        assert "unknown metric" in answer.accepted.partial_success.error_message
        assert room.stored()[KEY].packets.due == 3


class TestServer:
    async def test_a_port_in_use_is_one_message(self, room, tmp_path) -> None:
        port = int(room.url.rpartition(":")[2])
        with pytest.raises(NetsloError, match=rf"127\.0\.0\.1:{port}: the port is in use"):
            async with collector(tmp_path / "other.sqlite", port=port):
                pass

    @pytest.mark.parametrize(
        ("host", "reason"),
        [("192.0.2.1", "no address of this host"), ("no-such-host.invalid", "does not resolve")],
    )
    async def test_an_address_that_cannot_be_bound_is_one_message(
        self, room, host, reason, monkeypatch
    ) -> None:
        def resolve(*_args, **_kwargs):
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

        if host.endswith(".invalid"):
            monkeypatch.setattr(socket, "getaddrinfo", resolve)
        app = create_app(room.writer, make_estate())
        with pytest.raises(NetsloError, match=reason):
            async with serve(app, host, 4318):
                pass

    async def test_ipv6_is_served(self, room) -> None:
        app = create_app(room.writer, make_estate())
        async with (
            serve(app, "::1", 0) as (host, port),
            room.client.get(f"http://[{host}]:{port}/healthz") as response,
        ):
            assert response.status == 200

    async def test_what_is_under_way_at_the_end_is_committed(self, tmp_path) -> None:
        began, release = threading.Event(), threading.Event()

        class Slow(Wrapped):
            def append_all(self, batches, received_s):
                began.set()
                release.wait(60)
                return self.store.append_all(batches, received_s)

        file = tmp_path / "store.sqlite"
        async with collector(file, wrap=Slow) as room:
            sending = asyncio.create_task(room.send(make_batch(make_window())))
            await asyncio.to_thread(began.wait, 60)
            asyncio.get_running_loop().call_later(0.1, release.set)
        sending.cancel()  # its client was closed before the server
        async with collector(file) as room:
            assert room.stored()[KEY].packets.due == 3


def test_decompression_stops_at_its_limit_exactly() -> None:
    for encoding, body in {
        "identity": b"x" * 1000,
        "gzip": gzip.compress(b"x" * 1000),
        "zstd": zstandard.compress(b"x" * 1000),
    }.items():
        assert decompress(body, encoding, 1000) == b"x" * 1000
        with pytest.raises(TooLarge, match="more than 999 octets"):
            decompress(body, encoding, 999)


def test_zlib_without_the_gzip_header_is_not_gzip() -> None:
    with pytest.raises(NotDecompressed, match="not gzip"):
        decompress(zlib.compress(b"x"), "gzip", 100)


@given(st.integers(0, 16), st.text(max_size=400))
def test_a_status_is_what_protobuf_would_write(code, message) -> None:
    # The same two fields with the same numbers; google.rpc.Status itself is not installed.
    reference = ExportMetricsPartialSuccess(rejected_data_points=code, error_message=message)
    assert ExportMetricsPartialSuccess.FromString(rpc_status(code, message)) == reference


def _field(number: int, octets: bytes) -> bytes:
    length, head = len(octets), bytearray([number << 3 | 2])
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*head, length]) + octets


async def test_errands_run_in_the_writers_thread_between_commits_and_may_fail(tmp_path) -> None:
    done: list[str] = []

    class Companion:
        def start(self, beside) -> None:
            def fail() -> None:
                done.append(threading.current_thread().name)
                raise ZeroDivisionError

            beside.between(fail)

        def note(self, frame) -> None:
            done.append(f"{threading.current_thread().name}: {frame.points > 0}")

        def stop(self) -> None:
            done.append("stopped")

    async with collector(tmp_path / "store.sqlite", companions=[Companion()]) as room:
        assert (await room.send(make_batch(make_window()))).status == 200
    assert done == ["writer", "writer: True", "stopped"]
