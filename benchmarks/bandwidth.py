"""Bandwidth through a token bucket in namespaces, beside iperf3 in the same run: goals and figures.

Needs root, iproute2, ethtool and iperf3 (Debian packages); without iperf3 it is left out, and said.
Truth is the token bucket's rate, and what its device counted meanwhile. The queue is 60 ms, and the
bucket holds 4 ms of tokens (rate/HZ, tc-tbf(8)) but 16 kB at least, and for trains no more. Of
round trips it is what packet sockets on both sides of the queue or of the WAN emulator saw; the
emulator's own log stands beside.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))
from lab.bottleneck import (
    BURST,
    FRAME,
    SEGMENT,
    Bottleneck,
    Counters,
    bottleneck,
    burst_for,
    cross_traffic,
    stamp_rtts_s,
)
from lab.link import Link
from lab.namespaces import End, Namespace
from lab.taps import Taps
from lab.wan import Wan

NETSLO = (sys.executable, "-P", "-m", "netslo")
PORT = 8862
TCP_RATES = (20, 50, 200)  # Mbit/s
TRAIN_RATES = (13, 34, 87, 160)  # not those that the estimator was chosen by
CROSS = 0.3
LATENCY_RATES = (20, 50)
QS = (0.5, 0.99)
IPERF3_PORT = 5201


@dataclass(frozen=True, slots=True)
class Row:
    """A goal beside what was measured; without one, a figure to be told."""

    claim: str
    value: float
    goal: float | None

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.value <= self.goal

    def __str__(self) -> str:
        said = f"  {self.claim:66}{self.value:9.3f} %"
        if self.goal is None:
            return f"{said}   no goal"
        return f"{said}   <= {self.goal:<5g} {'met' if self.met else 'MISSED'}"


@contextlib.contextmanager
def served(far: End) -> Iterator[None]:
    """Run netslo's far end, and iperf3's where there is one."""
    with tempfile.TemporaryDirectory() as state:
        command = (*NETSLO, "reflect", "--listen", "0.0.0.0:862", "--state", state)
        reflector = far.namespace.popen(
            *command, "--bandwidth", f"0.0.0.0:{PORT}", stdout=subprocess.PIPE
        )
        assert reflector.stdout is not None
        while "bandwidth tests" not in reflector.stdout.readline():
            assert reflector.poll() is None
        if shutil.which("iperf3"):
            iperf3 = far.namespace.popen(
                "iperf3", "-s", "--forceflush", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            assert iperf3.stdout is not None
            while "listening" not in iperf3.stdout.readline():
                assert iperf3.poll() is None
        yield


def netslo(near: End, far: End, *options: str) -> dict[str, Any]:
    """Run `netslo measure bandwidth` and return what it says of its one direction."""
    with tempfile.TemporaryDirectory() as state:
        done = near.namespace.run(
            *(*NETSLO, "measure", "bandwidth", f"{far.address4}:{PORT}", "--json"),
            *("--state", state, "--budget", "1TB", *options),
            timeout_s=240,
            check=False,
        )
    if not done.stdout:
        raise RuntimeError(done.stderr)
    (found,) = json.loads(done.stdout)["directions"]
    return found


def iperf3(link: Bottleneck, seconds: float, *, reverse: bool) -> float:
    """Return the goodput that iperf3's receiver saw, its first second left out; bit/s."""
    options = ("--json", "-t", f"{seconds:g}", "-C", "cubic", "-O", "1")
    back = ("-R",) if reverse else ()
    done = link.a.namespace.run("iperf3", "-c", link.b.address4, *options, *back, timeout_s=120)
    return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"])


def off(value: float, truth: float) -> float:
    """Return how far a figure is off, percent."""
    return abs(value / truth - 1) * 100


def compare_tcp(seconds: float, rounds: int) -> Iterator[Row]:
    """Print the goodput at each rate beside iperf3's; return the goals."""
    print(f"\nTCP goodput, cubic, one connection, {rounds} x {seconds:g} s each way, interleaved")
    print("  Mbit/s   segments   way      truth   netslo    off %", end="")
    print("  device says  off %   iperf3    off %")
    if not shutil.which("iperf3"):
        print("  iperf3 is not installed: left out")
    for rate, offload in itertools.product(TCP_RATES, (True, False)):
        errors: dict[str, list[float]] = {"netslo": [], "device": [], "iperf3": []}
        with bottleneck(rate * 1_000_000, offload=offload) as link, served(link.b):
            for _ in range(rounds):
                for way in ("forward", "reverse"):
                    _one_tcp(link, way, seconds, errors, offload=offload)
        middle = {name: statistics.median(each) for name, each in errors.items() if each}
        if not offload:  # where each frame goes alone, the device's counter tells what went
            claim = f"TCP goodput at {rate} Mbit/s, off what the bucket's device counted"
            yield Row(claim, middle["device"], 0.5)
            continue
        claim = f"TCP goodput at {rate} Mbit/s, off the token bucket's rate"
        yield Row(claim, middle["netslo"], 0.5)
        if "iperf3" in middle:
            more = middle["netslo"] - middle["iperf3"]
            yield Row("... worse than iperf3 in the same run, by points", more, 0.3)


def _one_tcp(
    link: Bottleneck, way: str, seconds: float, errors: dict[str, list[float]], *, offload: bool
) -> None:
    truth = link.goodput_bit_s
    end = link.far if way == "forward" else link.near
    options = ("--direction", way, "--seconds", f"{seconds:g}", "--congestion", "cubic")
    with Counters(end) as counters:
        found = netslo(link.a, link.b, *options, "--no-latency")
    told, ours = found["throughput"], found["bit_per_s"]
    errors["netslo"].append(off(ours, truth))
    line = f"  {link.rate_bit_s // 1_000_000:6}   {'together' if offload else 'alone':8}   {way}"
    line += f"{truth / 1e6:9.3f}{ours / 1e6:9.3f}{off(ours, truth):9.3f}"
    if offload:
        line += " " * 20
        if shutil.which("iperf3"):
            theirs = iperf3(link, seconds, reverse=way == "reverse")
            errors["iperf3"].append(off(theirs, truth))
            line += f"{theirs / 1e6:9.3f}{off(theirs, truth):9.3f}"
    else:
        began_s = found["load_began"] + told["warm_up_s"]
        passed = counters.rate_bit_s(began_s, told["measured_s"]) * SEGMENT / FRAME
        errors["device"].append(off(ours, passed))
        line += f"{passed / 1e6:13.3f}{off(ours, passed):7.3f}"
    print(line, flush=True)


def compare_trains(rounds: int) -> Iterator[Row]:
    """Print what trains say of rates that did not choose the estimator; return the goals."""
    print(f"\npacket trains, forward, capacity in frames, {rounds} x")
    print("  Mbit/s   cross traffic     off %, each                      worst")
    for share, goal in ((0.0, 1.0), (CROSS, 5.0)):
        worst = []
        for rate in TRAIN_RATES:
            errors = []
            with bottleneck(rate * 1_000_000, burst=BURST) as link, served(link.b):
                around = cross_traffic(link, share) if share else contextlib.nullcontext()
                with around:
                    for _ in range(rounds):
                        found = netslo(link.a, link.b, "--method", "train")
                        errors.append(_train_error(found, link))
            said = ", ".join(f"{error:.2f}" for error in errors)
            print(f"  {rate:6}   {share:12.0%}      {said:32}{max(errors):8.2f}")
            worst.append(max(errors))
        name = f"with {share:.0%} cross traffic" if share else "quiet"
        rates = ", ".join(str(rate) for rate in TRAIN_RATES)
        yield Row(f"trains at {rates} Mbit/s, {name}, worst", max(worst), goal)


def _train_error(found: dict[str, Any], link: Bottleneck) -> float:
    told = found["capacity"]["frames_bit_per_s"]
    if told is None:
        print(f"  no figure: {found['why']}")
        return 100.0
    return off(told, link.rate_bit_s)


def show_limit() -> None:
    """Print where trains stop telling: behind a slow access link, and through a large bucket."""
    print("\nthe limit: trains with 30 % cross traffic behind an access link of n x the bottleneck")
    for times in (1.5, 3, 10):
        rate = 34_000_000
        with (
            bottleneck(rate, round(rate * times), burst=BURST) as link,
            served(link.b),
            cross_traffic(link, CROSS),
        ):
            found = netslo(link.a, link.b, "--method", "train")["capacity"]
        told = found["frames_bit_per_s"]
        text = "no figure" if told is None else f"{told / rate - 1:+.1%}, {found['quality']}"
        print(f"  {times:4g} x: {text}")
    print("... and trains of 91 kB through buckets that hold 4 ms of tokens, quiet")
    for rate in TRAIN_RATES:
        with bottleneck(rate * 1_000_000) as link, served(link.b):
            found = netslo(link.a, link.b, "--method", "train")
        capacity = found["capacity"]
        told = None if capacity is None else capacity["frames_bit_per_s"]
        text = (
            f"no figure: {found['why']}" if told is None else f"{told / link.rate_bit_s - 1:+.1%}"
        )
        print(f"  {rate} Mbit/s, {burst_for(link.rate_bit_s) / 1e3:.1f} kB: {text}")


def compare_latency(seconds: float, rounds: int) -> Iterator[Row]:
    """Print round trips, and what others say that the network took; return the goals."""
    print(f"\nround trips without load and beside TCP (cubic), {rounds} x {seconds:g} s")
    print("truth: packet sockets, with the kernel's times, on both sides of the queue or emulator;")
    print("no goal: sockets at both sites; the emulator's log, which lacks what it waits itself")
    print("  Mbit/s   truth              state        n  of    p50 ms    truth    off %", end="")
    print("    p99 ms    truth    off %")
    for rate in LATENCY_RATES:
        errors: Errors = {}
        shares = []
        for _ in range(rounds):
            with bottleneck(rate * 1_000_000) as link, served(link.b):
                shares.append(_one_by_bucket(link, seconds, errors))
            _one_by_emulator(rate * 1_000_000, seconds, errors)
        for (truth, state, q), each in sorted(errors.items()):
            claim = f"RTT p{q * 100:g} {state} at {rate} Mbit/s, off {truth}"
            yield Row(claim, statistics.median(each), 2.0 if truth in JUDGES else None)
        claim = f"TCP goodput beside STAMP at {rate} Mbit/s, its share taken off"
        yield Row(claim, statistics.median(shares), 0.5)


Errors = dict[tuple[str, str, float], list[float]]
AROUND_QUEUE = "sockets, bucket"
AROUND_EMULATOR = "sockets, emulator"
AT_SITES = "sockets, sites"
LOG = "emulator's log"
JUDGES = (AROUND_QUEUE, AROUND_EMULATOR)


def _one_by_bucket(link: Bottleneck, seconds: float, errors: Errors) -> float:
    """Measure through a token bucket; return how far the goodput is off, STAMP's share taken off.

    An idle queue takes a few microseconds, of a round trip of some more: what the sites' own
    devices saw is printed, and too little for a goal in percent.
    """
    with Taps(link.near, link.far) as queue, Taps(link.a, link.b) as sites:
        found = netslo(link.a, link.b, "--seconds", f"{seconds:g}", "--congestion", "cubic")
        _, loaded = queue.read()[:2]
        idle, _ = sites.read()[:2]
    _judge(AT_SITES, "idle", link.rate_bit_s, found, idle.rtt_s, errors)
    _judge(AROUND_QUEUE, "loaded", link.rate_bit_s, found, loaded.rtt_s, errors)
    return off(found["bit_per_s"], (link.rate_bit_s - loaded.rate_bit_s) * SEGMENT / FRAME)


def _one_by_emulator(rate_bit_s: int, seconds: float, errors: Errors) -> None:
    """Measure through the emulator, 10 ms each way, with packet sockets on both of its devices.

    It is a program: what it waits between the kernel's handing it a packet and its reading the
    clock is in every round trip and between the sockets, but not in its log.
    """
    narrow = Link(delay_s=0.010, rate_bit_s=float(rate_bit_s), queue_s=0.060)
    with Namespace("a") as a, Namespace("b") as b, Wan(a, b, narrow, Link(delay_s=0.010)) as wan:
        with served(wan.b), Taps(wan.a, wan.b) as taps:
            found = netslo(wan.a, wan.b, "--seconds", f"{seconds:g}", "--congestion", "cubic")
            sessions = taps.read()
        wan.settle()
        logged = stamp_rtts_s(wan.log())
    for state, seen, log in zip(("idle", "loaded"), sessions, logged, strict=False):
        _judge(AROUND_EMULATOR, state, rate_bit_s, found, seen.rtt_s, errors)
        _judge(LOG, state, rate_bit_s, found, log, errors)


def _judge(
    truth: str,
    state: str,
    rate_bit_s: int,
    found: dict[str, Any],
    truth_s: NDArray[np.float64],
    errors: Errors,
) -> None:
    told = found["loaded_latency"][state]
    line = f"  {rate_bit_s // 1_000_000:6}   {truth:19}{state:7}{told['count']:7}{truth_s.size:4}"
    for q in QS:
        value = told["quantiles"][f"{q:g}"]["value"]
        real = float(np.quantile(truth_s, q, method="lower"))
        errors.setdefault((truth, state, q), []).append(off(value, real))
        line += f"{value * 1e3:10.3f}{real * 1e3:9.3f}{off(value, real):9.3f}"
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("tcp", "trains", "latency"))
    parser.add_argument("--json", type=pathlib.Path, help="write the goals to this file too")
    chosen = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("this makes network namespaces and needs root")
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    rows: list[Row] = []
    if chosen.only in (None, "tcp"):
        rows += compare_tcp(chosen.seconds, chosen.rounds)
    if chosen.only in (None, "trains"):
        rows += compare_trains(chosen.rounds)
        show_limit()
    if chosen.only in (None, "latency"):
        rows += compare_latency(chosen.seconds, chosen.rounds)
    print(f"\ngoals (load of this machine at the end: {os.getloadavg()[0]:.1f})")
    for row in rows:
        print(row)
    if chosen.json:
        goals = [asdict(row) | {"met": row.met} for row in rows]
        chosen.json.write_text(json.dumps(goals, indent=2) + "\n")


if __name__ == "__main__":
    main()
