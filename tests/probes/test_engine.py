"""The engine on loopback, against a reflector written from the RFC with `struct` alone."""

import errno
import pathlib
import socket
import struct
import threading
import time
from collections import Counter
from contextlib import contextmanager

import pytest
from ports import free_udp_port

import probes.channel
import probes.schedule
import probes.session
from analytics.whole_numbers import counts_by_number
from analytics.windows import (
    BROKE,
    KEPT,
    CountKey,
    PacketCounts,
    PathWindow,
    SeriesKey,
    SketchKey,
)
from netslo import metrics
from netslo.model import Endpoint, Path, Quality, SloThreshold, Window
from probes import _kernels
from probes.address import SocketAddress, resolve
from probes.channel import LATE_REPLY, NO_ADDRESS, NO_SOCKET, OVERLONG, REFUSED, Report
from probes.engine import Engine
from probes.instant import Instant
from probes.session import SessionPlan
from probes.sockets import Datagram
from probes.stamp.events import ReplyFault
from probes.warm_up import warm_up

pytestmark = [pytest.mark.usefixtures("patient"), pytest.mark.waits]
MS = 1_000_000
PATIENCE_MS = 2_000  # for answers that do come; the compiled engine waits for duplicates
NTP_1970 = 2_208_988_800


def ntp_now() -> int:
    seconds, ns = divmod(time.time_ns(), 10**9)
    return (seconds + NTP_1970) << 32 | (ns << 32) // 10**9


def reply_to(request: bytes, dwell_s: float = 0.0) -> bytes:
    """RFC 8762 §4.3.1, from its text."""
    seq, t1, error = struct.unpack_from("!IQH", request)
    (ssid,) = struct.unpack_from("!H", request, 14)
    t2 = ntp_now()
    time.sleep(dwell_s)
    return struct.pack("!IQHHQIQHHB3x", seq, ntp_now(), 1, ssid, t2, seq, t1, error, 0, 64)


class Far:
    """A far end that does to each request what `behave(number, request)` says: replies in order."""

    def __init__(self, behave=None, host="127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.address = resolve(Endpoint(host, self.sock.getsockname()[1]))
        self.requests: list[bytes] = []
        self.traffic_classes: set[int] = set()
        self._behave = behave or (lambda _, request: [reply_to(request)])

    def serve(self) -> None:
        if self.sock.family == socket.AF_INET:
            self.sock.setsockopt(socket.IPPROTO_IP, 13, 1)  # IP_RECVTOS
        while True:
            request, ancillary, _, peer = self.sock.recvmsg(2000, 200)
            if request == b"end":
                return
            self.traffic_classes.update(octets[0] for _, _, octets in ancillary)
            for reply in self._behave(len(self.requests), request):
                self.sock.sendto(reply, peer)
            self.requests.append(request)


@contextmanager
def far_end(behave=None, host="127.0.0.1"):
    far = Far(behave, host)
    thread = threading.Thread(target=far.serve)
    thread.start()
    try:
        yield far
    finally:
        with socket.socket(far.sock.family, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"end", far.address.sockaddr)
        thread.join(60)
        far.sock.close()


@pytest.fixture
def closed_port() -> SocketAddress:
    return resolve(Endpoint("127.0.0.1", free_udp_port()))


NOW = Instant(1_800_000_000 * 10**9, 50 * 10**9)


@pytest.mark.parametrize(
    ("stamp_ns", "arrived_ns"),
    [
        pytest.param(NOW.wall_ns - 7, NOW.mono_ns - 7, id="the kernel's"),
        pytest.param(None, NOW.mono_ns, id="ours, where the kernel says none"),
        pytest.param(NOW.wall_ns + 1, NOW.mono_ns, id="ours, when the clock was set back since"),
        pytest.param(NOW.wall_ns - 11 * 10**9, NOW.mono_ns, id="ours, when it was set forward"),
    ],
)
def test_the_time_of_arrival_is(stamp_ns, arrived_ns):
    datagram = Datagram(b"", None, truncated=False, received_ns=stamp_ns)
    assert probes.channel._arrival(datagram, NOW).mono_ns == arrived_ns


class Run:
    """An engine, and what it reported, added up."""

    def __init__(self, engine=Engine) -> None:
        self.engine = engine(self.take_in)
        self.packets: Counter[str] = Counter()
        self.windows = []
        self.total: dict[str, PacketCounts] = {}
        self.lateness_s: list[float] = []
        self.discarded: Counter[str] = Counter()
        self.clocks = []

    def take_in(self, reports: dict[str, Report]) -> None:
        for report in reports.values():
            self.windows += report.windows
            self.lateness_s += report.lateness_s
            self.discarded += report.discarded
            self.clocks.append(report.clock)
            for window in report.windows:
                name = window.key.path.dst
                self.total.setdefault(name, PacketCounts()).add(window.packets)

    def add(self, name, target, *, count=20, interval_ms=5, timeout_ms=PATIENCE_MS, dscp=0):
        plan = SessionPlan(
            SeriesKey(Path("here", name, "ef")),
            interval_ms * MS,
            timeout_ms * MS,
            (SloThreshold("fast", 0.1), SloThreshold("instant", 0.0)),
            dscp,
        )
        return self.engine.measure(plan, target, count=count)

    def run(self) -> "Run":
        self.engine.run()
        return self


def engines():
    yield Engine
    if _kernels.available():
        from probes.batched import BatchedEngine

        yield BatchedEngine


@pytest.fixture(params=engines(), ids=lambda engine: engine.__name__)
def run(request) -> Run:
    if request.param is not Engine:
        warm_up()
    return Run(request.param)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_reflector_that_is_not_ours_is_measured(run, host):
    with far_end(host=host) as far:
        run.add("leeds", far.address)
        run.run()
    assert run.total == {"leeds": PacketCounts(answered=20)}
    assert run.discarded == {}
    assert len(run.lateness_s) == 20
    assert all(late_s >= 0 for late_s in run.lateness_s)
    rtt = run.windows[0].rtt()
    assert 0 < rtt.min <= rtt.max < PATIENCE_MS / 1000
    assert {q for window in run.windows for q, n in window.samples().items() if n} == {Quality.C}
    slo = run.windows[0].slo
    assert slo["instant"].bad == run.windows[0].packets.answered
    assert any(clock is not None for clock in run.clocks)


def test_the_far_ends_dwell_is_not_in_the_round_trip(run):
    with far_end(lambda _, request: [reply_to(request, dwell_s=0.1)]) as far:
        run.add("leeds", far.address, count=4, interval_ms=120)
        run.run()
    assert run.total["leeds"].answered == 4
    assert min(window.rtt().min for window in run.windows) < 0.1


def test_losses_duplicates_and_reorderings_are_what_the_far_end_made_of_it(run):
    held: list[bytes] = []

    def behave(number: int, request: bytes) -> list[bytes]:
        reply = reply_to(request)
        match number % 10:
            case 3:
                return []  # lost
            case 5:
                return [reply, reply]  # duplicated
            case 7:
                held.append(reply)  # overtaken by the next
                return []
            case 8:
                return [reply, held.pop()]
            case _:
                return [reply]

    with far_end(behave) as far:
        run.add("leeds", far.address, count=40, timeout_ms=2000)
        run.run()
    assert run.total["leeds"] == PacketCounts(answered=36, lost=4, duplicates=4, reordered=4)
    whole = PathWindow(run.windows[0].key, Window(0))
    for window in run.windows:
        whole.absorb(window)
    assert counts_by_number(whole.sketches[SketchKey(metrics.LOSS_PERIOD)]) == {1: 4}
    assert counts_by_number(whole.sketches[SketchKey(metrics.LOSS_DISTANCE)]) == {10: 3}
    assert counts_by_number(whole.sketches[SketchKey(metrics.REORDERING_EXTENT)]) == {1: 4}
    assert whole.counts[CountKey(metrics.TRANSITIONS, BROKE)] == 4
    assert whole.counts[CountKey(metrics.TRANSITIONS, KEPT)] == 31
    ipdv = [sketch.count for key, sketch in whole.sketches.items() if key.metric == metrics.IPDV]
    assert sum(ipdv) == 31


def test_forged_and_late_replies_are_counted_and_change_nothing(run):
    late: list[bytes] = []

    def behave(number: int, request: bytes) -> list[bytes]:
        if number == 0:
            late.append(reply_to(request))
            return [b"", b"garbage", bytes(44), bytes(9500)]
        return [reply_to(request)] + (late if number == 19 else [])

    with far_end(behave) as far:
        run.add("leeds", far.address, timeout_ms=1000, interval_ms=100)  # the last in 1.9 s
        run.run()
    assert (run.total["leeds"].answered, run.total["leeds"].lost) == (19, 1)
    assert run.discarded == {
        ReplyFault.SHORT.value: 2,
        ReplyFault.SENDER_TIMESTAMP.value: 1,
        OVERLONG: 1,
        LATE_REPLY: 1,
    }


def test_a_dead_target_loses_its_own_packets_and_delays_nobody(run, closed_port):
    with far_end() as far:
        run.add("dead", closed_port, timeout_ms=1000)
        run.add("alive", far.address)
        run.run()
    assert run.total["alive"] == PacketCounts(answered=20)
    assert run.total["dead"] == PacketCounts(lost=20)
    if isinstance(run.engine, Engine):  # the other's sockets are not the target's alone
        assert run.discarded.keys() == {REFUSED}
    assert sorted(run.lateness_s)[len(run.lateness_s) // 2] < 0.5  # half a time-out


def test_a_path_this_host_cannot_send_on_is_unmeasured_and_not_lost(run):
    broadcast = SocketAddress(socket.AF_INET, ("255.255.255.255", 862))  # needs an option
    run.add("nowhere", broadcast, count=5)
    run.add("unknown", None, count=5)
    run.run()
    assert run.total["nowhere"] == PacketCounts(unmeasured=5)
    assert run.total["unknown"] == PacketCounts(unmeasured=5)
    not_sent = NO_SOCKET if isinstance(run.engine, Engine) else "not sent: EACCES"
    assert run.discarded == {not_sent: 5, NO_ADDRESS: 5}
    assert all(w.slo["fast"].unmeasured == w.packets.unmeasured for w in run.windows)


def errors(*numbers: int):
    """A transmit that fails with these error numbers (0: succeeds) and then works."""
    pending = list(numbers)
    real = probes.channel._transmit

    def transmit(sock: socket.socket, datagram: bytes) -> int:
        number = pending.pop(0) if pending else 0
        return number or real(sock, datagram)

    return transmit


SEND_ERRORS = {
    "no buffer: unmeasured": ([errno.ENOBUFS], 1, {"not sent: ENOBUFS": 1}),
    "a local firewall: unmeasured": ([errno.EPERM], 1, {"not sent: EPERM": 1}),
    "ICMP news of an earlier packet: sent again": ([errno.ECONNREFUSED, 0], 0, {REFUSED: 1}),
    "other ICMP news: sent again": (
        [errno.EHOSTUNREACH, 0],
        0,
        {"ICMP error: EHOSTUNREACH": 1},
    ),
}


@pytest.mark.parametrize(
    ("numbers", "unmeasured", "discarded"), SEND_ERRORS.values(), ids=SEND_ERRORS.keys()
)
def test_a_send_error(monkeypatch, numbers, unmeasured, discarded):
    monkeypatch.setattr(probes.channel, "_transmit", errors(*numbers))
    run = Run()
    with far_end() as far:
        run.add("leeds", far.address, count=5)
        run.run()
    assert run.total["leeds"] == PacketCounts(answered=5 - unmeasured, unmeasured=unmeasured)
    assert run.discarded == discarded


def test_a_network_that_goes_away_for_a_while_is_unmeasured_until_it_is_back(monkeypatch):
    monkeypatch.setattr(probes.channel, "_transmit", errors(*[errno.ENETUNREACH] * 2))
    monkeypatch.setattr(probes.channel, "REOPEN_NS", 30 * MS)
    run = Run()
    with far_end() as far:
        run.add("leeds", far.address, count=200)
        run.run()
    counts = run.total["leeds"]
    assert counts.due == 200
    assert counts.lost == 0
    assert 5 <= counts.unmeasured <= 195
    assert run.discarded["not sent: ENETUNREACH"] == 1
    assert run.discarded[NO_SOCKET] == counts.unmeasured - 1


def test_the_dscp_of_the_class_is_on_the_packets(run):
    with far_end() as far:
        run.add("leeds", far.address, count=3, dscp=46)
        run.run()
    assert 46 << 2 in far.traffic_classes


def running(run: Run) -> threading.Thread:
    thread = threading.Thread(target=run.run)
    thread.start()
    return thread


def until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class OneSecondWindow(Window):
    """A window that ends within the patience of a test."""

    @classmethod
    def containing(cls, unix_ns: int, length_s: int = 1) -> Window:
        return super().containing(unix_ns, length_s)


def test_windows_are_reported_while_it_measures_each_session_and_window_once(monkeypatch):
    monkeypatch.setattr(probes.session, "Window", OneSecondWindow)
    monkeypatch.setattr(probes.schedule, "Window", OneSecondWindow)
    run = Run()
    with far_end() as far:
        for number in range(10):  # more than are closed in one turn
            run.add(f"s{number}", far.address, count=None, interval_ms=50, timeout_ms=100)
        thread = running(run)
        until(lambda: len(run.windows) >= 20)
        run.engine.stop()
        thread.join(60)
    keys = [(w.key, w.window) for w in run.windows]
    assert len(keys) == len(set(keys))
    whole = [w for w in run.windows if w.packets.due == 20]
    assert len(whole) >= 10  # the first and the last may be cut


def test_a_stop_waits_for_what_is_in_flight_and_closes_every_window(run):
    with far_end(lambda _, request: [reply_to(request, dwell_s=0.004)]) as far:
        channel = run.add("leeds", far.address, count=None, interval_ms=1)
        thread = running(run)
        until(lambda: len(far.requests) > 20)
        run.engine.stop()
        thread.join(60)
        assert not thread.is_alive()
    counts = run.total["leeds"]
    assert counts.unmeasured == 0
    assert counts.answered + counts.lost >= len(far.requests)
    assert counts == channel.totals


def test_a_target_that_becomes_known_later_is_measured_from_then_on(run):
    with far_end() as far:
        channel = run.add("leeds", None, count=None)
        thread = running(run)
        until(lambda: channel.totals.unmeasured >= 3)
        run.engine.retarget(channel, far.address)
        until(lambda: channel.totals.answered >= 3)
        run.engine.stop()
        thread.join(60)
    assert run.total["leeds"].lost == 0


def test_sessions_come_and_go_while_it_measures(run, monkeypatch):
    monkeypatch.setattr(probes.session, "Window", OneSecondWindow)
    monkeypatch.setattr(probes.schedule, "Window", OneSecondWindow)
    with far_end() as far:
        thread = threading.Thread(target=run.engine.run, kwargs={"until_stopped": True})
        thread.start()
        first = run.add("leeds", far.address, count=None)
        until(lambda: first.totals.answered >= 3)
        second = run.add("dundee", far.address, count=None)
        third = run.add("brief", far.address, count=3)
        until(lambda: second.totals.answered >= 3 and third.totals.answered == 3)
        run.engine.retire(first)
        until(lambda: run.total.get("leeds") == first.totals)  # told once it is drained
        before, more = first.totals.due, second.totals.answered + 10
        until(lambda: second.totals.answered >= more)
        assert first.totals.due == before
        run.engine.stop()
        thread.join(60)
        assert not thread.is_alive()
    assert run.total == {
        "leeds": first.totals,
        "dundee": second.totals,
        "brief": PacketCounts(answered=3),
    }


def test_sessions_that_come_and_go_for_long_take_no_more_room(run, monkeypatch):
    """As when a name flaps between addresses: each is measured anew."""
    monkeypatch.setattr(probes.session, "Window", OneSecondWindow)
    monkeypatch.setattr(probes.schedule, "Window", OneSecondWindow)

    def descriptors() -> int:
        return len(list(pathlib.Path("/proc/self/fd").iterdir()))

    with far_end() as far:
        steady = run.add("steady", far.address, count=None)
        thread = threading.Thread(target=run.engine.run, kwargs={"until_stopped": True})
        thread.start()
        names = [f"s{number}" for number in range(12)]
        held = []
        for name in names:
            session = run.add(name, far.address, count=None, timeout_ms=30)
            until(lambda session=session: session.totals.answered >= 2)
            held.append(descriptors())
            run.engine.retire(session)
            until(lambda name=name: run.total.get(name, PacketCounts()).answered >= 2)
        until(lambda: steady.totals.answered >= 10)
        run.engine.stop()
        thread.join(60)
        assert not thread.is_alive()
    assert max(held) - held[0] <= 1
    assert set(run.total) == {"steady", *names}
    assert run.total["steady"] == steady.totals
    assert all(run.total[name].answered >= 2 for name in names)
    if hasattr(run.engine, "_plant"):
        assert len(run.engine._plant.targets) <= 4


def test_commands_to_an_engine_that_has_ended_do_nothing(run):
    channel = run.add("leeds", None, count=1)
    run.run()
    run.engine.stop()
    run.engine.retarget(channel, resolve(Endpoint("127.0.0.1", 1)))


def test_an_engine_without_sessions_ends_at_once(run):
    assert run.run().windows == []


def test_a_hundred_sessions_share_a_thread(run):
    with far_end() as far:
        for number in range(100):
            run.add(f"s{number}", far.address, count=10, interval_ms=50)
        run.run()
    assert len(run.total) == 100
    assert sum(counts.due for counts in run.total.values()) == 1000
    # Not all on a busy machine, where a packet that nobody could send in time is unmeasured.
    assert sum(counts.answered for counts in run.total.values()) >= 500
