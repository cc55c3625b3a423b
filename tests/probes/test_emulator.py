"""The emulated WAN: its statistics, its log, and both against a real echo on loopback."""

import math
import pathlib
import random
import socket
import struct
import threading
import time

import numpy as np
import pytest

from netslo.config.estate_file import load_estate
from netslo.model import NS_PER_S, Endpoint, Location, Path
from probes.emulator.geography import distance_m, propagation_s
from probes.emulator.log import DROPPED, FORWARD, REVERSE, FlowLog
from probes.emulator.model import Character, Direction, Impairment, ordinary
from probes.emulator.relay import Emulator, Flow, estate_flows

UK = pathlib.Path(__file__).parents[2] / "examples" / "uk"
PATH = Path("london", "leeds", "ef")


@pytest.mark.parametrize(
    ("a", "b", "kilometres"),
    [
        (Location(51.5074, -0.1278), Location(55.9533, -3.1883), 534),  # London, Edinburgh
        (Location(51.5074, -0.1278), Location(40.7128, -74.0060), 5570),  # New York
        (Location(0, 0), Location(0, 180), 20015),
        (Location(10, 20), Location(10, 20), 0),
    ],
)
def test_distances_are_those_of_the_atlas(a, b, kilometres) -> None:
    assert distance_m(a, b) / 1000 == pytest.approx(kilometres, rel=0.005, abs=0.1)


def test_light_in_fibre_takes_five_microseconds_a_kilometre() -> None:
    a, b = Location(51.5074, -0.1278), Location(55.9533, -3.1883)
    assert propagation_s(a, b, stretch=1) == pytest.approx(534e3 * 4.9e-9, rel=0.01)


def draw(direction: Direction, packets: int, step_s: float) -> list[int | None]:
    return [direction.delay_ns(round(k * step_s * NS_PER_S)) for k in range(packets)]


def test_the_queueing_delay_is_log_normal_with_the_given_median_and_spread() -> None:
    direction = Direction(Character(0.005, 0.0004, 0.45, 0.0), seed=1)
    delays = np.array(draw(direction, 20_000, 10.0)) / NS_PER_S - 0.005
    logs = np.log(delays / 0.0004)
    assert logs.mean() == pytest.approx(0, abs=4 * 0.45 / math.sqrt(20_000))
    assert logs.std() == pytest.approx(0.45, rel=0.03)


def test_delays_close_in_time_are_alike_and_far_apart_are_not() -> None:
    def correlation(step_s: float) -> float:
        direction = Direction(Character(0.0, 0.001, 0.45, 0.0), seed=2)
        logs = np.log(draw(direction, 20_000, step_s))
        return float(np.corrcoef(logs[:-1], logs[1:])[0, 1])

    assert correlation(0.2) == pytest.approx(math.exp(-0.1), abs=0.02)
    assert abs(correlation(20.0)) < 0.03


def test_loss_is_as_often_as_it_says_and_adds_up_in_an_incident() -> None:
    direction = Direction(Character(0.001, 0.001, 0.4, 0.02), seed=3)
    direction.impairment = Impairment(loss=0.05)
    lost = sum(delay is None for delay in draw(direction, 40_000, 0.2))
    expected = 1 - 0.98 * 0.95
    assert lost / 40_000 == pytest.approx(expected, abs=3 * math.sqrt(expected / 40_000))


def test_an_impairment_adds_its_delay_and_can_be_lifted() -> None:
    direction = Direction(Character(0.001, 1e-9, 0.0, 0.0), seed=4)
    assert direction.delay_ns(0) == pytest.approx(1_000_000, abs=10)
    direction.impairment = Impairment(extra_delay_s=0.06)
    assert direction.delay_ns(1) == pytest.approx(61_000_000, abs=10)
    direction.impairment = None
    assert direction.delay_ns(2) == pytest.approx(1_000_000, abs=10)


def test_the_same_seed_gives_the_same_network() -> None:
    one, other = (Direction(Character(0.001, 0.001, 0.4, 0.1), seed=5) for _ in range(2))
    assert draw(one, 500, 0.2) == draw(other, 500, 0.2)


def test_an_ordinary_day_keeps_the_estates_objectives() -> None:
    uk = load_estate(UK)
    for path in uk.paths:
        there = Direction(ordinary(uk, path), seed=6)
        back = Direction(ordinary(uk, path.reverse), seed=7)
        pairs = zip(draw(there, 2000, 5.0), draw(back, 2000, 5.0), strict=True)
        rtts = np.array([a + b for a, b in pairs if a and b]) / NS_PER_S
        limit_s = 0.100 if uk.scope(path) == "national" else 0.009
        assert np.quantile(rtts, 0.999) < limit_s


def test_truth_matches_both_ways_of_each_packet() -> None:
    log = FlowLog()
    log.note(0, FORWARD, 100, 300)
    log.note(1, FORWARD, 100, DROPPED)
    log.note(2, FORWARD, 100, 400)
    log.note(3, FORWARD, 100, 500)  # under way
    log.note(2, REVERSE, 1000, DROPPED)
    log.note(0, REVERSE, 1000, 1050)
    truth = log.truth()
    assert (truth.due, truth.lost) == (4, 2)
    assert (truth.rtt_s * NS_PER_S).round().tolist() == [250]


def test_an_empty_log_has_no_truth() -> None:
    assert FlowLog().truth().due == 0


class Echo:
    """A far end of the test's own: a STAMP-shaped reply, at once."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.endpoint = Endpoint(*self.sock.getsockname())
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                data, peer = self.sock.recvfrom(100)
            except OSError:
                return
            self.sock.sendto(struct.pack("!24xI16x", struct.unpack_from("!I", data)[0]), peer)


@pytest.fixture
def emulated():
    """A flow of 5 ms each way to an echo, the emulator running."""
    echo = Echo()
    directions = [Direction(Character(0.005, 1e-4, 0.3, 0.0), seed) for seed in (1, 2)]
    emulator = Emulator([Flow(PATH, echo.endpoint, *directions)])
    stop = threading.Event()
    thread = threading.Thread(target=emulator.run, args=(stop,))
    thread.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(60)
        entrance = emulator.ports[PATH]
        sock.connect((entrance.host, entrance.port))
        yield emulator, sock
    stop.set()
    thread.join(60)
    echo.sock.close()
    assert not thread.is_alive()


def exchange(sock: socket.socket, packet: int) -> float | None:
    """Send a packet and return its round trip in seconds; None when nothing comes back."""
    began = time.perf_counter()
    sock.send(struct.pack("!I40x", packet))
    try:
        reply = sock.recv(100)
    except TimeoutError:
        return None
    assert struct.unpack_from("!24xI", reply)[0] == packet
    return time.perf_counter() - began


def test_what_a_sender_sees_is_what_the_log_says(emulated) -> None:
    emulator, sock = emulated
    seen = np.array([exchange(sock, packet) for packet in range(100)], dtype=float)
    truth = emulator.truth(PATH)
    assert (truth.due, truth.lost, len(truth.rtt_s)) == (100, 0, 100)
    assert truth.rtt_s.min() >= 0.010
    # The sender begins earlier and ends later, on a busy machine some packets much later.
    over_s = seen - truth.rtt_s
    assert over_s.min() > 0
    assert np.quantile(over_s, 0.1) < 0.001


def test_a_degraded_path_drops_what_it_should_and_logs_it(emulated) -> None:
    emulator, sock = emulated
    emulator.degrade(PATH, Impairment(loss=1.0))
    sock.settimeout(0.1)
    assert exchange(sock, 7) is None
    deadline = time.monotonic() + 60
    while emulator.truth(PATH).lost < 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    emulator.degrade(PATH, None)
    sock.settimeout(60)
    assert exchange(sock, 8) is not None


def test_short_datagrams_are_no_packets(emulated) -> None:
    emulator, sock = emulated
    for size in (0, 1, 3):
        sock.send(random.Random(size).randbytes(size))
    assert exchange(sock, 9) is not None
    assert emulator.truth(PATH).due == 1


def test_a_path_that_is_not_carried_cannot_be_degraded(emulated) -> None:
    with pytest.raises(KeyError):
        emulated[0].degrade(PATH.reverse, None)


def test_every_path_of_an_estate_is_carried_to_its_far_site() -> None:
    uk = load_estate(UK)
    targets = {name: site.addresses[0] for name, site in uk.sites.items()}
    flows = estate_flows(uk, targets, seed=1)
    assert [flow.path for flow in flows] == list(uk.paths)
    assert all(flow.target == targets[flow.path.dst] for flow in flows)
