"""Goodput from TCP_INFO: the struct against `ss`, the slope against a simulated connection."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from dataclasses import replace

import pytest
from fresh_tcp_info import FRESH, MSS
from hypothesis import given
from hypothesis import strategies as st
from lab import namespaces
from lab.fixtures import require
from lab.namespaces import Namespace, veth

from probes.bandwidth.tcp_info import CA_LOSS, SIZE, SSTHRESH_NONE, parse_tcp_info
from probes.bandwidth.throughput import Samples, throughput


def until_acknowledged(sock: socket.socket, octets: int) -> None:
    """Wait for the last acknowledgement, which may be delayed."""
    deadline = time.monotonic() + 60
    while True:
        info = parse_tcp_info(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, SIZE))
        if info is not None and info.bytes_acked == octets:
            return
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_struct_is_read_as_ss_reads_it() -> None:
    if shutil.which("ss") is None:
        pytest.skip("no ss (iproute2)")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
        with ours, theirs:
            ours.sendall(bytes(300_000))
            got = 0
            while got < 300_000:
                got += len(theirs.recv(1 << 20))
            port = ours.getsockname()[1]
            until_acknowledged(ours, 300_001)
            said = subprocess.run(
                ["ss", "-tin", f"sport = :{port}"], capture_output=True, text=True, check=True
            ).stdout
            info = parse_tcp_info(ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, SIZE))
    assert info is not None

    def told(name: str) -> float:
        found = re.search(rf"\b{name}:([\d.]+)", said)
        assert found, said
        return float(found[1])

    assert info.bytes_acked == told("bytes_acked") == 300_001  # and the SYN
    assert info.segments_out == told("data_segs_out")
    assert (info.mss, info.cwnd) == (told("mss"), told("cwnd"))
    assert info.rtt_s * 1e3 == pytest.approx(told("rtt"), abs=0.001)
    assert info.min_rtt_s * 1e3 == pytest.approx(told("minrtt"), abs=0.001)
    assert info.ca_state == info.retransmitted == info.sacked == 0
    assert info.in_slow_start
    assert info.busy_s is not None
    busy = re.search(r"\bbusy:(\d+)ms", said)  # left out where it is less than one
    assert info.busy_s * 1e3 == pytest.approx(float(busy[1]) if busy else 0.0, abs=1.0)


@given(st.binary(max_size=300))
def test_whatever_a_kernel_says_is_read_or_not(octets: bytes) -> None:
    found = parse_tcp_info(octets)
    assert (found is None) == (len(octets) < 168)
    if found is not None:
        assert (found.busy_s is None) == (len(octets) < 192)
        assert (found.timeouts is None) == (len(octets) < 242)


def test_time_outs_are_counted_by_the_kernel() -> None:
    require(namespaces.available())
    with Namespace("a") as a, Namespace("b") as b:
        pair = veth(a, b)
        with b.inside():
            listening = socket.create_server((pair.b.address4, 0))
        with a.inside():
            ours = socket.create_connection(listening.getsockname())
        with listening, ours, listening.accept()[0]:
            before = parse_tcp_info(ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, SIZE))
            assert before is not None
            if before.timeouts is None:
                pytest.skip("this kernel does not count them (Linux 6.7)")
            b.ip("addr", "del", f"{pair.b.address4}/30", "dev", pair.b.device)  # it is deaf now
            ours.sendall(b"anyone?")
            deadline = time.monotonic() + 60
            while True:
                info = parse_tcp_info(ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, SIZE))
                assert info is not None
                if info.ca_state == CA_LOSS:
                    break
                assert time.monotonic() < deadline
                time.sleep(0.01)
    assert info.timeouts is not None
    assert before.timeouts < info.timeouts < before.timeouts + 20


def connection(
    bit_s: float,
    seconds: float,
    *,
    slow_start_s: float,
    stalls: tuple[tuple[float, float], ...] = (),
) -> Samples:
    """Return samples of one connection at a constant rate after slow start.

    In a stall, from and to, a hole keeps acknowledgements back while what follows is SACKed.
    """
    samples = Samples()
    for step in range(int(seconds / 0.05) + 1):
        at_s = step * 0.05
        octets = bit_s / 8 * max(0.0, at_s - slow_start_s) + 1e5 * min(at_s, slow_start_s)
        acked, sacked = int(octets), 0
        for begin_s, end_s in stalls:
            if begin_s <= at_s < end_s:
                held = bit_s / 8 * (at_s - begin_s)
                acked, sacked = int(octets - held), int(held / MSS)
        samples.add(
            100 + at_s,
            [
                replace(
                    FRESH,
                    bytes_acked=acked,
                    sacked=sacked,
                    ssthresh=SSTHRESH_NONE if at_s < slow_start_s else 50,
                    ca_state=3 if sacked else 0,
                    busy_s=at_s,
                    receiver_limited_s=at_s / 4,
                )
            ],
        )
    return samples


@given(
    bit_s=st.floats(1e6, 1e10),
    slow_start_s=st.floats(0.05, 3.0),
    stall=st.tuples(st.floats(0, 10), st.floats(0.01, 0.5)),
)
def test_the_rate_after_slow_start_is_found_whatever_the_ends_fall_into(
    bit_s: float, slow_start_s: float, stall: tuple[float, float]
) -> None:
    samples = connection(
        bit_s, 10, slow_start_s=slow_start_s, stalls=((stall[0], stall[0] + stall[1]),)
    )
    found = throughput(samples, "cubic", "time")
    assert found.goodput_bit_per_s == pytest.approx(bit_s, rel=0.002)
    assert found.warm_up_s >= min(slow_start_s, 1.0)
    assert found.warm_up_s + found.measured_s == pytest.approx(10, abs=1e-6)
    assert found.busy == pytest.approx(1)
    assert found.receiver_limited == pytest.approx(0.25)


@pytest.mark.parametrize("timeouts", [(0, 0), (0, 1), (65_535, 0), (None, None)])
def test_a_stall_is_the_paths_where_a_timer_ran_out_however_shortly(
    timeouts: tuple[int | None, int | None],
) -> None:
    samples, octets = Samples(), 0
    for step in range(201):
        stalled = step in (100, 101)
        octets += 0 if stalled else 62_500  # 10 Mbit/s
        info = replace(FRESH, ssthresh=50, bytes_acked=octets, timeouts=timeouts[step > 101])
        samples.add(step * 0.05, [info])
    found = throughput(samples, "cubic", "time")
    counted = timeouts[0] != timeouts[1]
    assert found.steady is not counted
    assert found.goodput_bit_per_s == pytest.approx(found.average_bit_per_s if counted else 1e7)
    assert found.average_bit_per_s < 0.995e7


def test_a_connection_that_never_meets_a_limit_is_measured_over_two_thirds() -> None:
    samples = Samples()
    for step in range(201):
        samples.add(step * 0.05, [replace(FRESH, bytes_acked=step * 50_000)])
    found = throughput(samples, "bbr", "time")
    assert found.goodput_bit_per_s == pytest.approx(8e6)
    assert found.warm_up_s == pytest.approx(10 / 3, abs=0.06)


def test_connections_side_by_side_add_up() -> None:
    samples = Samples()
    for step in range(101):
        infos = [
            replace(FRESH, ssthresh=20, bytes_acked=step * each, segments_out=step)
            for each in (1000, 3000)
        ]
        samples.add(step * 0.05, infos)
    found = throughput(samples, "cubic", "time")
    assert found.by_stream_bit_per_s == pytest.approx((160_000, 480_000))
    assert found.goodput_bit_per_s == pytest.approx(640_000)
    assert found.sent_segments == 200


@pytest.mark.parametrize("samples", [0, 1, 2])
def test_too_short_a_test_has_no_figure(samples: int) -> None:
    short = Samples()
    for step in range(samples):
        short.add(step * 0.05, [replace(FRESH, bytes_acked=1000)])
    found = throughput(short, "cubic", "a connection broke")
    assert found.goodput_bit_per_s is None
    assert found.why
    assert found.ended_by == "a connection broke"


def test_nothing_acknowledged_is_no_figure_of_zero() -> None:
    still = Samples()
    for step in range(201):
        still.add(step * 0.05, [FRESH])
    found = throughput(still, "cubic", "time")
    assert (found.goodput_bit_per_s, found.why) == (None, "nothing was acknowledged")
