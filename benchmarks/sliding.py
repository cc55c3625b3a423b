"""Sliding percentiles: what a window costs six horizons, what a stream takes, what reading costs.

A window of each path comes every 10 s, a tenth of them at a time. The shortest
horizon alone, in the same process, shows that the length of a horizon costs nothing.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np

from analytics import _kernels
from analytics.frame import Frame
from analytics.horizons import HORIZONS, Horizon
from analytics.layouts import Statistics
from analytics.sliding import Sliding
from analytics.tables import Distributions, Side

T0 = 1_800_000_000
STEP_S = 10
ADDS = 10  # per window: the collector adds what has come once a second


def windows(paths: int, rng: np.random.Generator) -> list[Frame]:
    """Return one window of each path, 20 to 100 buckets, a tenth of the paths at a time."""
    return [
        _frame(streams.astype(np.int32), rng)
        for streams in np.array_split(np.arange(paths), ADDS)
        if len(streams)
    ]


def _frame(streams: np.ndarray, rng: np.random.Generator) -> Frame:
    rows = len(streams)
    lengths = rng.integers(20, 100, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    first = -800 + streams.astype(np.int64) % 400 + rng.integers(0, 20, rows)
    positive = Side(first, offsets, rng.integers(0, 3, offsets[-1]).astype(np.uint64))
    negative = Side(np.zeros(rows, np.int64), np.zeros(rows + 1, np.int64), np.zeros(0, np.uint64))
    table = Distributions(
        streams,
        np.zeros(rows, dtype=np.int64),
        np.full(rows, 7),
        positive,
        negative,
        replace(Statistics.none(rows), sum=rng.random(rows), min=rng.random(rows)),
    )
    return replace(Frame.empty(), distributions=table)


def feed(horizons: tuple[Horizon, ...], paths: int, steps: int) -> tuple[Sliding, float]:
    """Return a table after so many windows, and the seconds that a window of a path took."""
    rng = np.random.default_rng(1)
    sliding, taken_s = Sliding(horizons, T0), 0.0
    for step in range(steps):
        frames = windows(paths, rng)
        for frame in frames:
            frame.distributions.start_s[:] = T0 + step * STEP_S
        began_s = time.perf_counter()
        sliding.advance(T0 + (step + 1) * STEP_S)
        for frame in frames:
            sliding.add(frame)
        taken_s += time.perf_counter() - began_s
    return sliding, taken_s / (paths * steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer windows")
    steps = 60 if parser.parse_args().quick else 400
    _kernels.load()
    feed(HORIZONS, 1_000, 40)  # loads what is compiled
    print("paths   horizons  us a window  KB a path   us to read p50, p90, p99, p99.9 of a path")
    for paths in (1_000, 10_000):
        for horizons in (HORIZONS[:1], HORIZONS):
            sliding, cost_s = feed(horizons, paths, steps if paths < 10_000 else steps // 4)
            began_s = time.perf_counter()
            sliding.view(horizons[-1]).quantiles([0.5, 0.9, 0.99, 0.999])
            read_s = (time.perf_counter() - began_s) / paths
            memory = sliding.nbytes / paths / 1e3
            print(
                f"{paths:6,} {len(horizons):9} {cost_s * 1e6:12.2f} {memory:10.1f} "
                f"{read_s * 1e6:10.2f}"
            )


if __name__ == "__main__":
    main()
