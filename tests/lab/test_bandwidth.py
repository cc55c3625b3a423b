"""Bandwidth of a link that is known, and round trips beside a load, as the queue tells them.

The token bucket's timer and the emulator are late on a busy machine, so truth is what they did.
Round trips are held to their goal, for packet sockets see every wait of the network. Rates are held
loosely: `benchmarks/bandwidth.py` has their goals.
"""

from __future__ import annotations

import json
import math
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lab import namespaces
from lab.bottleneck import (
    FRAME,
    SEGMENT,
    Bottleneck,
    Counters,
    bottleneck,
    cross_traffic,
    stamp_rtts_s,
)
from lab.fixtures import require, require_emulator
from lab.link import Link
from lab.namespaces import End, Namespace
from lab.taps import Taps
from lab.wan import Wan

pytestmark = pytest.mark.waits  # with a truth that is as late as what is measured
RATES = pytest.mark.quiet  # a token bucket's timer is late on a busy machine

NETSLO = (sys.executable, "-P", "-m", "netslo")
PORT = 8862
RATE = 30_000_000


@pytest.fixture
def link() -> Iterator[Bottleneck]:
    require(namespaces.available())
    with bottleneck(RATE) as found:
        yield found


@contextmanager
def served(far: End, state: pathlib.Path) -> Iterator[None]:
    process = far.namespace.popen(
        *(*NETSLO, "reflect", "--listen", "0.0.0.0:862", "--bandwidth", f"0.0.0.0:{PORT}"),
        *("--state", str(state)),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    while "bandwidth tests" not in process.stdout.readline():
        assert process.poll() is None
    yield


def measured(near: End, far: End, state: pathlib.Path, *options: str) -> dict[str, Any]:
    command = (*NETSLO, "measure", "bandwidth", f"{far.address4}:{PORT}", "--json")
    more = ("--state", str(state), "--budget", "1TB", *options)
    done = near.namespace.run(*command, *more, timeout_s=200)
    return json.loads(done.stdout)


@RATES
@pytest.mark.parametrize("share", [0.0, 0.3], ids=["quiet", "with others"])
def test_trains_tell_the_token_buckets_rate(
    link: Bottleneck, share: float, tmp_path: pathlib.Path
) -> None:
    with served(link.b, tmp_path / "far"), cross_traffic(link, share or 0.001):
        shape = measured(
            link.a, link.b, tmp_path / "near", "--method", "train", "--direction", "both"
        )
    for found, limit in zip(shape["directions"], (0.05, 0.02), strict=True):
        capacity = found["capacity"]
        assert capacity["frames_bit_per_s"] == pytest.approx(RATE, rel=limit)
        assert capacity["bit_per_s"] == pytest.approx(RATE * 1500 / FRAME, rel=limit)
        assert capacity["shaped"]


@RATES
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_goodput_is_what_the_link_passed(
    link: Bottleneck, direction: str, tmp_path: pathlib.Path
) -> None:
    end = link.far if direction == "forward" else link.near
    options = ("--direction", direction, "--seconds", "6", "--congestion", "cubic")
    with served(link.b, tmp_path / "far"), Counters(end) as counters:
        (found,) = measured(link.a, link.b, tmp_path / "near", *options, "--no-latency")[
            "directions"
        ]
    told = found["throughput"]
    began_s = found["load_began"] + told["warm_up_s"]
    passed = counters.rate_bit_s(began_s, told["measured_s"]) * SEGMENT / FRAME
    average = told["average_bit_per_s"]
    assert average == pytest.approx(passed, rel=0.02)
    assert average <= found["bit_per_s"] <= link.goodput_bit_s * 1.005
    assert told["segment_octets"] == SEGMENT
    assert told["congestion"] == "cubic"
    assert found["received"]["octets"] >= 0.8 * told["octets"]


def assert_agrees(told: dict[str, Any], truth_s: NDArray[np.float64], *quantiles: float) -> None:
    """Hold quantiles to what packet sockets saw, within 2 %.

    Packets whose timestamps are of another class are not among those told: `missing` ranks leave
    room for any of them to have been.
    """
    real_s = np.sort(truth_s)
    missing = real_s.size - told["count"]
    assert 0 <= missing <= 0.2 * real_s.size
    for q in quantiles:
        rank = math.floor(q * (told["count"] - 1))
        value_s = told["quantiles"][f"{q:g}"]["value"]
        assert 0.98 * real_s[rank] <= value_s <= 1.02 * real_s[rank + missing]


def test_round_trips_under_load_are_the_queues_own(
    link: Bottleneck, tmp_path: pathlib.Path
) -> None:
    with served(link.b, tmp_path / "far"), Taps(link.near, link.far) as taps:
        (found,) = measured(
            link.a, link.b, tmp_path / "near", "--seconds", "6", "--congestion", "cubic"
        )["directions"]
        idle, loaded = taps.read()[:2]
    latency = found["loaded_latency"]
    assert latency["by"] == "stamp"
    assert latency["quality"] == "A"
    assert np.quantile(loaded.there_s, 0.5) > 0.01
    assert_agrees(latency["loaded"], loaded.rtt_s, 0.5, 0.9, 0.99)
    assert latency["idle"]["quantiles"]["0.5"]["value"] < 0.01
    assert latency["bufferbloat"]["0.5"] > 0.01
    median_s = latency["loaded"]["quantiles"]["0.5"]["value"]
    assert latency["round_trips_per_minute"] == pytest.approx(60 / median_s)
    assert idle.rtt_s.size > 50


def test_round_trips_are_what_the_emulator_took_idle_and_loaded(tmp_path: pathlib.Path) -> None:
    require_emulator()
    narrow = Link(delay_s=0.010, rate_bit_s=RATE, queue_s=0.060)
    with Namespace("a") as a, Namespace("b") as b, Wan(a, b, narrow, Link(delay_s=0.010)) as wan:
        with served(wan.b, tmp_path / "far"), Taps(wan.a, wan.b) as taps:
            (found,) = measured(
                wan.a, wan.b, tmp_path / "near", "--seconds", "6", "--congestion", "cubic"
            )["directions"]
            sessions = taps.read()
        wan.settle()
        logged = stamp_rtts_s(wan.log())
    for state, seen, log_s in zip(("idle", "loaded"), sessions[:2], logged[:2], strict=True):
        told = found["loaded_latency"][state]
        assert told["count"] > 50
        assert_agrees(told, seen.rtt_s, 0.5, 0.99)
        for q in ("0.5", "0.99"):  # its log lacks its own waits: never more than was measured
            least_s = float(np.quantile(log_s, float(q), method="lower"))
            assert told["quantiles"][q]["value"] >= 0.98 * least_s
