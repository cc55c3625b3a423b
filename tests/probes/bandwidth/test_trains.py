"""Capacity from arrival times: against links that are simulated packet by packet."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.address import SocketAddress
from probes.bandwidth import train_io
from probes.bandwidth.train_io import train_of
from probes.bandwidth.trains import (
    Train,
    capacity,
    decode_packet,
    encode_packet,
    filling_size,
)

PAYLOAD = 1472
FRAME = 1514


def through_link(
    bit_s: float,
    rng: random.Random,
    packets: int = 60,
    *,
    cross: float = 0.0,
    noise_ns: float = 0.0,
    burst: int = 0,
    queue: int = 10_000,
) -> Train:
    """Return a train behind a link with one queue, into which others' packets come at any time.

    The train comes spread over a third of the time it takes on the link, so that packets of others
    get in between; `burst` octets pass at once at the beginning.
    """
    gap_ns = FRAME * 8e9 / bit_s
    spread_ns = packets * gap_ns / 3
    coming = [(spread_ns * n / packets, n) for n in range(packets)]
    at_ns = 0.0
    while cross and at_ns < packets * gap_ns:
        at_ns += rng.expovariate(cross / gap_ns)
        coming.append((at_ns, -1))
    free_ns, tokens, arrivals = 0.0, burst, []
    for come_ns, n in sorted(coming):
        if free_ns - come_ns > queue * gap_ns:
            continue  # the queue is full
        tokens -= FRAME
        free_ns = max(free_ns, come_ns) + (0 if tokens >= 0 else gap_ns)
        if n >= 0:
            arrivals.append((n, round(free_ns + rng.uniform(0, noise_ns))))
    return Train(packets, 50_000, tuple(arrivals))


@given(
    bit_s=st.floats(1e6, 1e9),
    noise=st.floats(0, 0.2),
    burst=st.sampled_from([0, 16_000, 30_000]),
    seed=st.integers(0, 1 << 32),
)
@settings(max_examples=60, deadline=None)
def test_a_quiet_link_is_told_to_a_percent(
    bit_s: float, noise: float, burst: int, seed: int
) -> None:
    rng = random.Random(seed)
    noise_ns = noise * FRAME * 8e9 / bit_s
    trains = [through_link(bit_s, rng, noise_ns=noise_ns, burst=burst) for _ in range(10)]
    found = capacity(trains, PAYLOAD)
    if found.bit_per_s is None:  # the fastest are no slower than the sender was
        assert bit_s * 1500 / 1514 > 0.9 * 59 * 1500 * 8e9 / 50_000
        return
    assert found.frames_bit_per_s == pytest.approx(bit_s, rel=0.01)
    assert found.bit_per_s == pytest.approx(bit_s * 1500 / 1514, rel=0.01)
    assert (found.sent, found.arrived, found.octets) == (600, 600, 600 * 1514)
    assert found.spread is not None
    assert found.spread < 0.02


def test_a_token_bucket_is_noticed_and_a_plain_link_is_none() -> None:
    rng = random.Random(1)
    assert capacity([through_link(2e7, rng, burst=16_000) for _ in range(5)], PAYLOAD).shaped
    assert not capacity([through_link(2e7, rng) for _ in range(5)], PAYLOAD).shaped


@pytest.mark.parametrize("burst", range(20_000, 100_000, 5_000))
@pytest.mark.parametrize("bit_s", [2e7, 8.7e7])
def test_a_bucket_of_any_size_never_passes_for_a_faster_path(bit_s: float, burst: int) -> None:
    rng = random.Random(burst)
    trains = []
    for _ in range(10):
        whole = through_link(bit_s, rng, burst=burst, noise_ns=2000)
        trains.append(Train(whole.sent, whole.arrivals[19][1] * 3, whole.arrivals))
    found = capacity(trains, PAYLOAD)
    if burst <= 55_000:
        assert found.frames_bit_per_s == pytest.approx(bit_s, rel=0.01)
        assert found.shaped
    elif found.bit_per_s is not None:
        assert found.frames_bit_per_s == pytest.approx(bit_s, rel=0.02)
    else:
        assert "a token bucket" in (found.why or "")


def test_cross_traffic_of_a_third_between_the_packets_shows_as_spread_and_less() -> None:
    """The limit, stated: where others' packets come between, it is less than the capacity."""
    rng = random.Random(2)
    found = capacity([through_link(5e7, rng, cross=0.3) for _ in range(10)], PAYLOAD)
    assert found.frames_bit_per_s is not None
    assert 0.85 * 5e7 < found.frames_bit_per_s <= 5e7 * 1.001


@given(
    lost=st.lists(st.sets(st.integers(0, 59), max_size=40), min_size=8, max_size=8),
    seed=st.integers(0, 1 << 32),
)
@settings(max_examples=60, deadline=None)
def test_lost_packets_never_make_it_faster_or_slower(lost: list[set[int]], seed: int) -> None:
    rng = random.Random(seed)
    trains = []
    for gone in lost:
        whole = through_link(3e7, rng)
        kept = tuple(each for each in whole.arrivals if each[0] not in gone)
        trains.append(Train(60, 50_000, kept))
    found = capacity(trains, PAYLOAD)
    if found.bit_per_s is None:
        assert found.why is not None
        assert f"{found.arrived} of 480 packets arrived" in found.why
        assert found.usable < 5
    else:
        assert found.frames_bit_per_s == pytest.approx(3e7, rel=0.01)


def test_too_few_trains_give_no_figure() -> None:
    rng = random.Random(3)
    found = capacity([through_link(3e7, rng) for _ in range(4)], PAYLOAD)
    assert found.bit_per_s is None
    assert found.quality is None
    assert found.why == "4 of 4 trains were usable, at least 5 must be: 240 of 240 packets arrived"
    assert capacity([], PAYLOAD).bit_per_s is None


def test_a_path_faster_than_its_sender_gives_no_figure() -> None:
    rng = random.Random(4)
    slow = [through_link(1e9, rng) for _ in range(6)]
    slow = [Train(60, 59 * 1500 * 8, each.arrivals) for each in slow]  # sent at 1 Gbit/s
    found = capacity(slow, PAYLOAD)
    assert found.bit_per_s is None
    assert found.why is not None
    assert "faster than the sender" in found.why


def test_a_clock_that_is_set_back_meanwhile_spoils_only_its_windows() -> None:
    rng = random.Random(5)
    trains = []
    for _ in range(6):
        whole = through_link(3e7, rng)
        stepped = tuple((n, t - (10**9 if n > 40 else 0)) for n, t in whole.arrivals)
        trains.append(Train(60, 50_000, stepped))
    assert capacity(trains, PAYLOAD).frames_bit_per_s == pytest.approx(3e7, rel=0.01)


def test_a_packet_that_a_far_end_counts_twice_counts_once() -> None:
    assert train_of(3, 1, ((0, 0), (2, 5), (0, 9), (2, 9), (3, 9), (1, 9))).arrivals == (
        (0, 0),
        (2, 5),
        (1, 9),
    )


@given(
    arrivals=st.lists(
        st.tuples(st.integers(-(1 << 62), 1 << 62), st.integers(-(1 << 62), 1 << 62)), max_size=80
    )
)
def test_a_far_end_that_invents_arrivals_gets_no_infinite_figure(
    arrivals: list[tuple[int, int]],
) -> None:
    trains = [train_of(60, 1000, tuple(arrivals))] * 5
    found = capacity(trains, PAYLOAD)
    assert found.bit_per_s is None or 0 < found.bit_per_s < 1e15


def test_only_packets_of_this_train_and_token_count() -> None:
    token, filling = bytes(range(16)), bytes(filling_size(PAYLOAD))
    packet = encode_packet(token, 7, 59, filling)
    assert len(packet) == PAYLOAD
    assert decode_packet(packet, token, 7, 60) == 59
    assert decode_packet(packet, token, 7, 59) is None  # beyond its end
    assert decode_packet(packet, token, 6, 60) is None
    assert decode_packet(packet, bytes(16), 7, 60) is None
    assert decode_packet(packet[:23], token, 7, 60) is None


def test_rubbish_that_drips_in_does_not_hold_up_whoever_collects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(train_io, "TRAIN_S", 0.5)
    ended = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        here = train_io.open_train_socket(
            socket.AF_INET, SocketAddress(socket.AF_INET, ("127.0.0.1", 0))
        )
        other.connect(here.getsockname())

        def drip() -> None:
            while not ended.wait(0.1):
                with suppress(OSError):
                    other.send(b"rubbish")

        dripping = threading.Thread(target=drip)
        dripping.start()
        began_s = time.monotonic()
        found = train_io.collect_train(here, bytes(16), 1, 200)
        took_s = time.monotonic() - began_s
        ended.set()
        dripping.join()
        here.close()
    assert found == ()
    assert took_s < 60  # by the count of datagrams alone it would be 200 s
