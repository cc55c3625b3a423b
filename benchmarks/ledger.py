"""All burn windows of 10,000 paths at once, what keeping them up costs, and a look at alerts.

A look is all that the engine does every five seconds: 10,100 paths x 3 SLOs judged by all pairs, in
four states of the network. Standings are made up; the engine is that of the collector.
"""

from __future__ import annotations

import resource
import statistics
import time
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from analytics.frame import Frame
from analytics.streams import Events, Streams
from analytics.tables import Numbers
from analytics.windows import SeriesKey
from netslo.estate import Estate, ProbingPlan
from netslo.model import Location, Path, Site, Tier, TrafficClass
from slo.burn import WINDOWS_S
from slo.engine.engine import LOOK_S, AlertEngine
from slo.ledger import Ledger, Standing
from slo.objective import Indicator, Objective, PathSelector

PATHS = 10_000
LENGTHS_S = (*WINDOWS_S, 28 * 86_400)
NOW_S = 1_790_000_000 // 86_400 * 86_400 + 43_200
RUNS = 51
FIELDS = ("good", "bad", "unmeasured")


def main() -> None:
    streams = Streams()
    keys = [("loss", Path(f"s{n // 100}", f"d{n % 100}", "be")) for n in range(PATHS)]
    number = np.array(
        [[streams.number(SeriesKey(path), Events(slo, f)) for f in FIELDS] for slo, path in keys],
        dtype=np.int32,
    )
    ledger = Ledger(streams, keys, {"loss": [(0, "0.999")]}, LENGTHS_S, now_s=NOW_S)
    empty, rng = Frame.empty(), np.random.default_rng(1)

    def window(start_s: int, step: int = 1) -> Frame:
        chosen = number[::step].ravel()
        values = rng.integers(0, 50, len(chosen)).astype(np.uint64)
        values[1::3] = rng.random(len(chosen) // 3) < 0.01  # bad ones are rare
        counters = Numbers(chosen, np.full(len(chosen), start_s), values)
        return Frame(empty.distributions, counters, empty.gauges)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for start_s in range(NOW_S - 28 * 86_400, NOW_S - 7200, 3600):
        ledger.add(ledger.wanted(window(start_s)))
    added = []
    for start_s in range(NOW_S - 3600, NOW_S, 10):
        frame = window(start_s)
        began = time.perf_counter()
        ledger.advance(start_s + 10)
        ledger.add(ledger.wanted(frame))
        added.append(time.perf_counter() - began)
    read, judged = [], []
    for _ in range(RUNS):
        began = time.perf_counter()
        standing = ledger.standing()
        standing.burn_rates()
        read.append(time.perf_counter() - began)
    for _ in range(RUNS):
        began = time.perf_counter()
        for length_s in WINDOWS_S:
            standing.exceeds(length_s, Fraction(14))
        judged.append(time.perf_counter() - began)
    for what, taken_s in (
        (f"{len(LENGTHS_S)} windows of {PATHS:,} paths, burn rates", read),
        (f"thresholds of {len(WINDOWS_S)} windows", judged),
        ("10 s of all paths taken in", added),
    ):
        print(f"{what:<45} {statistics.median(taken_s) * 1e3:8.3f} ms (median)")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"memory {grown / PATHS:.1f} kB a path at most")
    look()


@dataclass
class Ready:
    """Standings that are known."""

    now: Standing

    def standing(self) -> Standing:
        return self.now


def look() -> None:
    """Print what one look of the alert engine costs."""
    sites = {f"s{n:03}": Site(f"s{n:03}", Tier.NATIONAL, f"s{n}", "gb", Location(0, 0), ())
             for n in range(101)}  # fmt: skip
    classes = {"ef": TrafficClass("ef", 46)}
    estate = Estate("uk", "GBP", sites, classes, (), ProbingPlan(1.0, 1.0))
    slos = [
        Objective(name, "", "", "", Indicator.LOSS, None, "0.999", PathSelector())
        for name in ("latency", "loss", "jitter")
    ]
    lengths_s = sorted(LENGTHS_S)
    keys = tuple((slo.name, path) for slo in slos for path in estate.paths)
    due = np.repeat(np.array(lengths_s)[:, None], len(keys), axis=1)
    at_site = np.array([path.dst == "s000" or path.src == "s000" for _, path in keys])
    nothing = np.zeros_like(due)
    states = {
        "nothing is wrong": (due, due // 5000),
        "one site of 101 is dead": (due, np.where(at_site, due // 2, due // 5000)),
        "a tenth of all paths burns": (due, np.where(np.arange(len(keys)) % 10 == 0, due // 2, 0)),
        "nothing is measured": (nothing, nothing),
    }
    for state, (events, bad) in states.items():
        standing = Standing(
            NOW_S, keys, {key: row for row, key in enumerate(keys)}, tuple(lengths_s),
            tuple(NOW_S - s for s in lengths_s), events, bad, nothing, events,
            np.full(len(keys), 1000), nothing,
        )  # fmt: skip
        clock = [float(NOW_S)]
        engine = AlertEngine(Ready(standing), slos, estate, clock=lambda clock=clock: clock[0])
        taken_s = []
        for _ in range(5):
            clock[0] += LOOK_S if events.any() else 601.0  # until it has lasted long enough
            began = time.perf_counter()
            engine.look()
            taken_s.append(time.perf_counter() - began)
        told = len(engine.to_json()["alerts"])
        print(
            f"a look at {len(keys):,} budgets, {state}: {told:,} alerts, "
            f"with all texts {taken_s[0] * 1e3:.0f} ms, else "
            f"{statistics.median(taken_s[2:]) * 1e3:.0f} ms (every {LOOK_S:.0f} s)"
        )


main()
