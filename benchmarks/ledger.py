"""All burn windows of 10,000 paths at once, and what keeping them up costs."""

from __future__ import annotations

import resource
import statistics
import time
from fractions import Fraction

import numpy as np

from analytics.frame import Frame
from analytics.streams import Events, Streams
from analytics.tables import Numbers
from analytics.windows import SeriesKey
from netslo.model import Path
from slo.burn import WINDOWS_S
from slo.ledger import Ledger

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


main()
