"""iperf3 through its own program, and what it says read apart."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ports import free_port

from netslo.errors import NetsloError
from netslo.model import Endpoint
from probes.bandwidth.iperf3 import NotConnected, read_iperf3, run_iperf3
from probes.bandwidth.load import Progress
from probes.bandwidth.plan import Direction


@contextmanager
def iperf3_server() -> Iterator[Endpoint]:
    program = shutil.which("iperf3")
    if program is None:
        pytest.skip("no iperf3")
    port = free_port()
    command = [program, "-s", "-B", "127.0.0.1", "-p", str(port), "--forceflush"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            while "Server listening" not in server.stdout.readline():
                assert server.poll() is None
            yield Endpoint("127.0.0.1", port)
        finally:
            server.terminate()


@pytest.mark.parametrize("direction", list(Direction))
def test_its_own_figures_are_told(direction: Direction) -> None:
    with iperf3_server() as server:
        progress = Progress()
        told, received = run_iperf3(server, direction, 2, 1.0, "cubic", progress)
    assert told.goodput_bit_per_s is not None
    assert told.goodput_bit_per_s == pytest.approx(received.octets * 8 / received.seconds)
    assert len(told.by_stream_bit_per_s) == 2
    assert sum(told.by_stream_bit_per_s) == pytest.approx(told.goodput_bit_per_s, rel=0.01)
    assert told.congestion == "cubic"
    assert progress.begun
    assert progress.ended


def test_nobody_there_is_said_in_its_words() -> None:
    if shutil.which("iperf3") is None:
        pytest.skip("no iperf3")
    server = Endpoint("127.0.0.1", free_port())
    progress = Progress()
    with pytest.raises(NotConnected, match=r"iperf3: .*refused"):
        run_iperf3(server, Direction.FORWARD, 1, 1.0, None, progress)
    assert not progress.begun


def test_a_missing_program_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(NetsloError, match="iperf3 is not installed"):
        run_iperf3(Endpoint("127.0.0.1", 1), Direction.FORWARD, 1, 1.0, None, Progress())


@pytest.mark.parametrize("said", [b"", b"{}", b"[]", b"iperf3: usage", b'{"end": 3, "start": {}}'])
def test_what_is_no_result_is_an_error(said: bytes) -> None:
    with pytest.raises(NetsloError, match="cannot be read"):
        read_iperf3(said)
    with pytest.raises(NetsloError, match="the server is busy"):
        read_iperf3(json.dumps({"error": "the server is busy running a test"}).encode())


@given(st.dictionaries(st.sampled_from(["start", "end", "error"]), st.lists(st.integers())))
def test_no_json_makes_it_crash(value: object) -> None:
    with pytest.raises(NetsloError):
        read_iperf3(json.dumps(value).encode())


SENDER = {"min_rtt": 100, "mean_rtt": 200}
RECEIVER = {"bits_per_second": 8e6}


@pytest.mark.parametrize(
    ("received", "sent", "receiver"),
    [
        ({"bytes": math.inf, "seconds": 1.0}, {}, RECEIVER),
        ({"bytes": 10**400, "seconds": 1.0}, {}, RECEIVER),
        ({"bytes": -1, "seconds": 1.0}, {}, RECEIVER),
        ({"bytes": 1, "seconds": math.nan}, {}, RECEIVER),
        ({"bytes": 1, "seconds": 1e-300}, {}, RECEIVER),
        ({"bytes": 1, "seconds": 1.0}, {"retransmits": -1}, RECEIVER),
        ({"bytes": 1, "seconds": 1.0}, {}, {"bits_per_second": math.inf}),
    ],
)
def test_figures_that_cannot_be_are_refused(
    received: dict[str, float], sent: dict[str, int], receiver: dict[str, float]
) -> None:
    with pytest.raises(NetsloError, match="cannot be read"):
        read_iperf3(json.dumps(_result(received, sent, receiver)).encode())


def test_what_it_does_not_tell_is_not_known() -> None:
    told, _ = read_iperf3(json.dumps(_result({"bytes": 10**6, "seconds": 1.0}, {})).encode())
    assert told.goodput_bit_per_s == 8e6
    assert (told.sent_segments, told.retransmitted_segments) == (None, None)


def _result(
    received: dict[str, float], sent: dict[str, int], receiver: dict[str, float] = RECEIVER
) -> dict[str, object]:
    streams = [{"sender": SENDER, "receiver": receiver}]
    return {"start": {}, "end": {"sum_received": received, "sum_sent": sent, "streams": streams}}
