"""The laboratory itself, proved: what it does to packets is what was asked, and it logs it all."""

from __future__ import annotations

import collections
import contextlib
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lab import namespaces
from lab import wan as emulator
from lab.fixtures import require
from lab.link import Link
from lab.namespaces import End, Namespace, Pair, execute, shape
from lab.wan import Wan
from lab.wan_log import (
    FORWARD,
    ICMP,
    LOG,
    REVERSE,
    UDP,
    Rows,
    Verdict,
    arrivals,
    bursts,
    deliveries,
    duplicates,
    reordered,
    rtt_of,
    select,
    transit_ns,
)
from probes.timestamps import keep_stamping

_SO_TIMESTAMPNS = 35
Sites = tuple[Namespace, Namespace]
PORT = 8620
BUFFER = 32 << 20  # octets
EXPEDITED, ASSURED = 46, 10
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
TOS = {4: (socket.IPPROTO_IP, socket.IP_TOS), 6: (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)}
HOPS = {
    4: (socket.IPPROTO_IP, socket.IP_TTL),
    6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
}
RECEIVE = {
    4: [(socket.IPPROTO_IP, socket.IP_RECVTOS), (socket.IPPROTO_IP, 12)],  # IP_RECVTTL
    6: [(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS), (socket.IPPROTO_IPV6, 51)],  # ..HOPLIMIT
}
TOS_SEEN = {socket.IP_TOS, socket.IPV6_TCLASS}
ECHO = {4: (socket.IPPROTO_ICMP, 8, 0), 6: (socket.IPPROTO_ICMPV6, 128, 129)}


@pytest.fixture
def sites() -> Iterator[Sites]:
    """Two namespaces which nothing joins yet."""
    require(emulator.available())
    with Namespace("a") as a, Namespace("b") as b:
        yield a, b


@contextlib.contextmanager
def open_socket(
    end: End, version: int, kind: int = socket.SOCK_DGRAM, protocol: int = 0
) -> Iterator[socket.socket]:
    """Open a socket at an end, with a buffer which a second's traffic does not fill."""
    with end.namespace.inside():
        opened = socket.socket(FAMILY[version], kind, protocol)
    with opened:
        opened.setsockopt(socket.SOL_SOCKET, 33, BUFFER)  # SO_RCVBUFFORCE
        opened.settimeout(60)
        yield opened


@contextlib.contextmanager
def receiver(end: End, version: int = 4) -> Iterator[socket.socket]:
    with open_socket(end, version) as opened:
        opened.bind((end.address(version), PORT))
        yield opened


def send_evenly(
    opened: socket.socket, to: tuple[str, int], rate: float, packets: Iterable[bytes]
) -> None:
    """Send packets at absolute times, `rate` a second; a late one goes at once."""
    begin = time.monotonic()
    for number, packet in enumerate(packets):
        if (wait_s := begin + number / rate - time.monotonic()) > 0:
            time.sleep(wait_s)
        opened.sendto(packet, to)


def numbered(count: int, size: int = 44) -> list[bytes]:
    return [struct.pack("!I", number).ljust(size, b"\0") for number in range(count)]


def received(opened: socket.socket) -> list[bytes]:
    """Return what is there."""
    packets = []
    opened.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        while True:
            packets.append(opened.recv(2048))
    return packets


def numbers(packets: list[bytes]) -> list[int]:
    return [int.from_bytes(packet[:4]) for packet in packets]


def echo_requests(version: int, count: int) -> list[bytes]:
    _, kind, _ = ECHO[version]
    requests = []
    for number in range(count):
        # The checksum of a message whose words sum to less than 2^16; for ICMPv6 the kernel's.
        checksum = ~((kind << 8) + 77 + number) & 0xFFFF
        requests.append(struct.pack("!BBHHH", kind, 0, checksum, 77, number))
    return requests


def receive(opened: socket.socket, header: int) -> tuple[bytes, int]:
    """Return a packet without its header, and when the kernel had it, Unix nanoseconds."""
    packet, [(_, kind, value)], _, _ = opened.recvmsg(100, 100)
    assert kind == _SO_TIMESTAMPNS
    seconds, nanoseconds = struct.unpack("@qq", value)
    return packet[header:], seconds * 1_000_000_000 + nanoseconds


@pytest.mark.parametrize("version", [4, 6])
def test_echo_through_the_wan_has_the_delay_asked_for(wan: Wan, version: int) -> None:
    protocol, _, reply = ECHO[version]
    spans_ns = {}
    with open_socket(wan.a, version, socket.SOCK_RAW, protocol) as opened:
        assert keep_stamping()
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)  # waking up is not in the span
        for number, request in enumerate(echo_requests(version, 20)):
            sent_ns = time.time_ns()
            opened.sendto(request, (wan.b.address(version), 0))
            while (answer := receive(opened, 20 if version == 4 else 0))[0][0] != reply:
                pass
            assert struct.unpack_from("!HH", answer[0], 4) == (77, number)
            spans_ns[77 << 16 | number] = answer[1] - sent_ns
    keys, true_ns = rtt_of(wan.log(), protocol=protocol, version=version)
    assert keys.tolist() == list(spans_ns)
    over_ns = np.array(list(spans_ns.values())) - true_ns
    assert over_ns.min() > 0
    assert true_ns.min() > 20_000_000
    # A busy machine holds up some of them, never all.
    assert np.quantile(over_ns, 0.1) < 2_000_000
    assert np.quantile(true_ns, 0.1) < 23_000_000


@pytest.mark.parametrize("version", [4, 6])
def test_every_datagram_is_accounted_for(sites: Sites, version: int) -> None:
    count = 10_000
    link = Link(
        delay_s=0.02,
        jitter_s=0.001,
        p=0.02,
        r=0.25,
        duplicate=0.01,
        reorder=0.02,
        reorder_extra_s=0.003,
    )
    with (
        Wan(*sites, link, seed=version) as wan,
        receiver(wan.b, version) as sink,
        open_socket(wan.a, version) as source,
    ):
        send_evenly(source, (wan.b.address(version), PORT), 5_000, numbered(count))
        wan.settle()
        came = numbers(received(sink))
    log = select(wan.log(), protocol=UDP, destination_port=PORT)
    entered, left = arrivals(log, FORWARD), deliveries(log, FORWARD)
    assert entered["sequence"].tolist() == list(range(count))
    assert left["sequence"].tolist() == came  # one by one, in this order
    counts = collections.Counter(came)
    assert duplicates(log, FORWARD)["sequence"].tolist() == [n for n in counts if counts[n] == 2]
    assert set(np.unique(log["verdict"])) == {Verdict.DELIVERED, Verdict.LOST}
    assert (left["release_ns"] >= left["due_ns"]).all()
    lost = entered[entered["verdict"] == Verdict.LOST]["sequence"]
    assert set(range(count)) - set(came) == set(lost.tolist())

    check_loss(link, bursts(log, FORWARD), count)
    check_share(len(duplicates(log, FORWARD)), count - len(lost), link.duplicate)
    # Fifteen packets pass a late one, all but the few that a loss or the jitter spares.
    check_share(len(reordered(log, FORWARD)), count - len(lost), link.reorder)


def check_loss(link: Link, lengths: NDArray[np.int64], count: int) -> None:
    """Check runs of losses against Gilbert-Elliott, to four standard errors."""
    runs = len(lengths)
    assert abs(lengths.mean() - 1 / link.r) < 4 * np.sqrt((1 - link.r) / runs) / link.r
    check_share(int((lengths == 1).sum()), runs, link.r)
    check_share(int((lengths > 4).sum()), runs, (1 - link.r) ** 4)
    lost = link.p / (link.p + link.r)
    memory = 1 - link.p - link.r
    variance = lost * (1 - lost) * (1 + memory) / (1 - memory) / count
    assert abs(lengths.sum() / count - lost) < 4 * np.sqrt(variance)


def check_share(seen: int, of: int, expected: float) -> None:
    assert abs(seen - of * expected) < 4 * np.sqrt(of * expected * (1 - expected))


@pytest.mark.quiet
def test_ten_thousand_round_trips_a_second_lose_nothing(wan: Wan) -> None:
    count = 10_000
    protocol, _, _ = ECHO[4]
    with open_socket(wan.a, 4, socket.SOCK_RAW, protocol) as opened:
        send_evenly(opened, (wan.b.address4, 0), 10_000, echo_requests(4, count))
        wan.settle()
    log = select(wan.log(), protocol=ICMP)
    for direction in (FORWARD, REVERSE):
        assert len(arrivals(log, direction)) == count
        assert len(deliveries(log, direction)) == count
        assert len(reordered(log, direction)) == 0
    entered = arrivals(log, FORWARD)["arrival_ns"]
    assert count / (entered[-1] - entered[0]) * 1e9 > 8_000
    keys, _ = rtt_of(log)
    assert len(keys) == count
    late_us = (log["release_ns"] - log["due_ns"]) / 1e3
    print("release after due, us:", np.percentile(late_us, [50, 99, 99.9, 100]).round())
    assert np.median(late_us) < 1_000


def test_the_same_seed_is_the_same_fate(sites: Sites) -> None:
    fates = []
    link = Link(p=0.05, r=0.3, duplicate=0.1)
    for seed in (5, 5, 6):
        with Wan(*sites, link, seed=seed) as wan:
            with open_socket(wan.a, 4) as source:
                send_evenly(source, (wan.b.address4, PORT), 20_000, numbered(300))
            wan.settle()
        log = select(wan.log(), direction=FORWARD)
        fates.append([(row["index"], row["copy"], row["verdict"]) for row in log])
    assert fates[0] == fates[1] != fates[2]


@pytest.mark.parametrize("version", [4, 6])
def test_the_receiver_sees_the_class_rewritten_and_the_hops_gone(wan: Wan, version: int) -> None:
    wan.change(Link(dscp_map={EXPEDITED: ASSURED, 0: 63}, hops=3))
    seen = []
    with receiver(wan.b, version) as sink, open_socket(wan.a, version) as source:
        for option in RECEIVE[version]:
            sink.setsockopt(*option, 1)
        for hops, dscp in ((64, EXPEDITED), (255, 0), (4, 20), (3, EXPEDITED)):
            source.setsockopt(*TOS[version], dscp << 2 | 1)  # and an ECN mark, which stays
            source.setsockopt(*HOPS[version], hops)
            source.sendto(b"1234", (wan.b.address(version), PORT))
        for _ in range(3):
            _, controls, _, _ = sink.recvmsg(100, 100)
            found = {kind in TOS_SEEN: value[0] for _, kind, value in controls}
            seen.append((found[False], found[True] >> 2, found[True] & 3))
        wan.settle()
    assert seen == [(61, ASSURED, 1), (252, 63, 1), (1, 20, 1)]
    log = select(wan.log(), protocol=UDP)
    assert log["dscp"].tolist() == [EXPEDITED, 0, 20, EXPEDITED]
    assert log["dscp_out"].tolist()[:3] == [ASSURED, 63, 20]
    assert log["verdict"].tolist() == [Verdict.DELIVERED] * 3 + [Verdict.EXPIRED]


def test_checksums_hold_for_every_class_and_identification(wan: Wan) -> None:
    wan.change(Link(dscp_map={old: 63 - old for old in range(64)}, hops=1))
    count = 64 * 16
    with receiver(wan.b) as sink, open_socket(wan.a, 4) as source:
        for number, packet in enumerate(numbered(count)):
            source.setsockopt(*TOS[4], number % 64 << 2)
            source.setsockopt(*HOPS[4], 2 + number % 200)
            source.sendto(packet[: 4 + number % 40], (wan.b.address4, PORT))
        wan.settle()
        assert numbers(received(sink)) == list(range(count))  # the kernel drops a wrong one


def test_links_change_at_work(wan: Wan) -> None:
    with receiver(wan.b) as sink, open_socket(wan.a, 4) as source:
        to = (wan.b.address4, PORT)
        for delay_s in (0.001, 0.05, 0.001):
            wan.change(Link(delay_s=delay_s))
            source.sendto(b"1234", to)
            sink.recv(100)
        wan.change(Link(loss_good=1.0))
        source.sendto(b"1234", to)
        wan.settle()
    log = select(wan.log(), protocol=UDP)
    first, second, third = transit_ns(log[:3]).tolist()
    assert 1_000_000 <= min(first, third) <= max(first, third) < 50_000_000 <= second
    assert log["verdict"][3] == Verdict.LOST


def test_the_wan_has_a_bottleneck_of_its_own(wan: Wan) -> None:
    rate_bit_s, queue_s = 10e6, 0.05
    wan.change(Link(rate_bit_s=rate_bit_s, queue_s=queue_s))
    with receiver(wan.b) as sink, open_socket(wan.a, 4) as source:
        send_evenly(source, (wan.b.address4, PORT), 2_000, numbered(400, size=972))  # 16 Mbit/s
        wan.settle()
        came = received(sink)
    log = select(wan.log(), direction=FORWARD)
    left = deliveries(log, FORWARD)
    assert set(log["length"].tolist()) == {1000}
    assert len(left) == len(came)
    assert len(left) + len(select(log, verdict=Verdict.QUEUE_FULL)) == 400
    assert len(left) < 400
    due = left["due_ns"]
    gaps_ns = np.diff(due)
    assert gaps_ns.min() > 0.999 * 8e12 / rate_bit_s
    assert np.median(gaps_ns) == pytest.approx(8e12 / rate_bit_s, rel=1e-3)
    waited = due - left["arrival_ns"]
    assert queue_s * 0.9e9 < waited.max() < queue_s * 1e9 + 1e6


@pytest.mark.quiet
@pytest.mark.parametrize("rate_bit_s", [8_000_000, 20_000_000])
def test_a_token_bucket_limits_the_rate(pair: Pair, rate_bit_s: int) -> None:
    shape(pair.a.namespace, pair.a.device, rate_bit_s, burst_bytes=8_000, latency_s=0.01)
    times = []
    with receiver(pair.b) as sink, open_socket(pair.a, 4) as source:
        sink.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
        sink.settimeout(1)
        to = (pair.b.address4, PORT)
        send_evenly(source, to, 2 * rate_bit_s / 8_000, numbered(800, size=958))
        with contextlib.suppress(TimeoutError):
            while True:
                _, controls, _, _ = sink.recvmsg(2048, 100)
                seconds, nanoseconds = struct.unpack("qq", controls[0][2])
                times.append(seconds * 10**9 + nanoseconds)
    assert len(times) < 800
    frame_bits = 8 * (958 + 42)
    steady = np.array(times[50:])  # without what the bucket held at first
    assert frame_bits * (len(steady) - 1) / (steady[-1] - steady[0]) * 1e9 < 1.03 * rate_bit_s
    rates = frame_bits * 20 / (steady[20:] - steady[:-20]) * 1e9
    assert np.median(rates) == pytest.approx(rate_bit_s, rel=0.03)


@pytest.mark.parametrize("version", [4, 6])
def test_a_wire_carries_both_versions_at_once(pair: Pair, version: int) -> None:
    with receiver(pair.b, version) as sink, open_socket(pair.a, version) as source:
        source.sendto(b"over the wire", (pair.b.address(version), PORT))
        assert sink.recv(100) == b"over the wire"


def test_only_the_calling_thread_moves(pair: Pair) -> None:
    def devices() -> set[str]:
        return {name for _, name in socket.if_nameindex()}

    before, elsewhere = devices(), []
    with pair.a.namespace.inside():
        assert devices() == {"lo", pair.a.device}
        with pair.b.namespace.inside():
            assert devices() == {"lo", pair.b.device}
        assert devices() == {"lo", pair.a.device}
    assert devices() == before
    with pytest.raises(ZeroDivisionError), pair.a.namespace.inside():
        _ = 1 / 0
    assert devices() == before

    entered, looked = threading.Event(), threading.Event()

    def look() -> None:
        entered.wait()
        elsewhere.append(devices())
        looked.set()

    other = threading.Thread(target=look)
    other.start()
    with pair.a.namespace.inside():
        entered.set()
        looked.wait()
    other.join()
    assert elsewhere == [before]


def test_commands_run_inside(pair: Pair) -> None:
    done = pair.a.namespace.run("ip", "-br", "addr", "show", "dev", pair.a.device)
    assert pair.a.address4 in done.stdout
    assert pair.a.address6 in done.stdout
    with pytest.raises(RuntimeError, match="nothing"):
        pair.a.namespace.run("ip", "link", "show", "nothing")
    pair.a.namespace.set_sysctl("net.ipv4.ip_forward", 1)
    assert pair.a.namespace.sysctl("net.ipv4.ip_forward") == "1"
    assert pair.b.namespace.sysctl("net.ipv4.ip_forward") == "0"


def test_nothing_is_left_behind() -> None:
    require(emulator.available())
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); "
    orphan = "import subprocess as s; s.Popen(['sleep', '99'], stdout=-3, stderr=-3)"
    with (
        pytest.raises(ZeroDivisionError),
        Namespace("a") as a,
        Namespace("b") as b,
        Wan(a, b) as wan,
    ):
        assert namespaces.names() == {a.name, b.name}
        a.run(sys.executable, "-c", orphan)
        command = (sys.executable, "-c", stubborn + "time.sleep(99)")
        process = b.popen(*command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        pids = [*a.pids(), *b.pids()]
        assert process.pid in pids
        assert len(pids) == 2
        pids.append(wan.pid)
        _ = 1 / 0
    assert namespaces.names() == set()
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    """Whether a process is there and not just waiting to be asked how it ended."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def test_what_a_killed_run_leaves_ends_and_is_swept() -> None:
    require(emulator.available())
    program = f"""
import os, sys
sys.path.insert(0, {str(pathlib.Path(__file__).parents[1])!r})
from lab.namespaces import Namespace
from lab.wan import Wan
wan = Wan(Namespace("a").__enter__(), Namespace("b").__enter__()).__enter__()
print(wan.pid, wan.a.namespace.name, flush=True)
os.kill(os.getpid(), {signal.SIGKILL})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid, name = done.stdout.decode().split()
    deadline = time.monotonic() + 60
    while alive(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(int(pid))
    assert name in execute("ip", "netns", "list").stdout
    namespaces.sweep()
    assert name not in execute("ip", "netns", "list").stdout


def test_the_number_of_a_process_is_not_taken_for_the_process() -> None:
    """What a killed run left is swept also when another process has its number by now."""
    require(namespaces.available())
    with subprocess.Popen(["sleep", "60"]) as living, Namespace("mine") as mine:
        try:
            own = namespaces._began(living.pid)
            assert own is not None
            left, held = (f"netslo-{living.pid}-{began}-a" for began in (int(own) - 1, own))
            for name in (left, held):
                execute("ip", "netns", "add", name)
            try:
                namespaces.sweep()
                there = execute("ip", "netns", "list").stdout.split()
                assert left not in there
                assert {held, mine.name} <= {*there}
            finally:
                execute("ip", "netns", "del", held)
        finally:
            living.kill()
    namespaces.sweep()


def wait_for_the_end(wan: Wan) -> None:
    deadline = time.monotonic() + 60
    while alive(wan.pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_emulator_that_failed_says_why(sites: Sites) -> None:
    with pytest.raises(RuntimeError, match="log is full"), Wan(*sites, log_rows=200) as wan:
        with open_socket(wan.a, 4) as source:
            send_evenly(source, (wan.b.address4, PORT), 20_000, numbered(200))
        wait_for_the_end(wan)
    assert 50 < len(wan.log()) <= 200
    with pytest.raises(RuntimeError, match="a device is gone"), Wan(*sites) as wan:
        sites[0].ip("link", "del", "wan0")
        wait_for_the_end(wan)
    sites[0].close()
    with pytest.raises(RuntimeError, match="No such file or directory"), Wan(*sites):
        pass


def test_without_root_it_skips_and_in_ci_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    require(None)
    with pytest.raises(pytest.skip.Exception, match="not root"):
        require("not root")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="not root"):
        require("not root")


def test_the_reason_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert namespaces.available.__wrapped__() == "not root"


@pytest.mark.parametrize(
    "wrong",
    [{"p": 1.1}, {"r": float("nan")}, {"delay_s": -1}, {"dscp_map": {64: 0}}, {"jitter_time_s": 0}],
)
def test_impossible_links_are_refused(wrong: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        Link(**wrong)


def make_log(*rows: tuple[int, int, Verdict, int, int]) -> Rows:
    """Return a log of direction, index, verdict, release, copy."""
    log = np.zeros(len(rows), LOG)
    for column, values in zip(
        ("direction", "index", "verdict", "release_ns", "copy"),
        zip(*rows, strict=True),
        strict=True,
    ):
        log[column] = values
    log["sequence"] = log["index"]
    return log


def test_runs_of_losses() -> None:
    gone, here = Verdict.LOST, Verdict.DELIVERED
    verdicts = [gone, here, gone, gone, here, here, gone]
    log = make_log(*[(FORWARD, i, verdict, i, 0) for i, verdict in enumerate(verdicts)])
    assert bursts(log, FORWARD).tolist() == [1, 2, 1]
    assert bursts(log, REVERSE).tolist() == []
    assert bursts(log[1:2], FORWARD).tolist() == []
    assert bursts(log[:1], FORWARD).tolist() == [1]


def test_reordering_by_rfc_4737() -> None:
    here = Verdict.DELIVERED
    order = [0, 3, 1, 2, 4, 6, 5]
    rows = [(FORWARD, index, here, 100 + place, 0) for place, index in enumerate(order)]
    rows += [(FORWARD, 1, here, 200, 1), (FORWARD, 7, Verdict.LOST, 0, 0), (REVERSE, 0, here, 1, 0)]
    log = make_log(*sorted(rows, key=lambda row: row[1]))
    assert reordered(log, FORWARD)["index"].tolist() == [1, 2, 5]
    assert duplicates(log, FORWARD)["index"].tolist() == [1]
    assert reordered(log, REVERSE).tolist() == []
    assert reordered(log[:0], FORWARD).tolist() == []


def test_round_trips_are_matched_by_key_and_ports() -> None:
    here = Verdict.DELIVERED
    log = make_log(
        (FORWARD, 0, here, 30, 0),
        (FORWARD, 1, here, 40, 0),
        (FORWARD, 1, here, 45, 1),
        (FORWARD, 2, here, 50, 0),
        (REVERSE, 0, here, 60, 0),
        (REVERSE, 1, here, 70, 0),
        (REVERSE, 2, Verdict.LOST, 0, 0),
        (FORWARD, 3, here, 80, 0),  # another flow
    )
    log["arrival_ns"] = [10, 20, 20, 30, 55, 68, 0, 79]
    log["sender_sequence"] = [-1, -1, -1, -1, 1, 0, 2, -1]  # replies in the other order
    log["source_port"] = [7, 7, 7, 7, PORT, PORT, PORT, 8]
    log["destination_port"] = [PORT] * 4 + [7] * 3 + [PORT]
    keys, span_ns = rtt_of(log, reply_key="sender_sequence", source_port=7, destination_port=PORT)
    assert dict(zip(keys.tolist(), span_ns.tolist(), strict=True)) == {0: 22, 1: 25}
    keys, _ = rtt_of(log, reply_key="sender_sequence", source_port=8)
    assert keys.tolist() == []
