"""Two delays in a row: the distribution of their sum, from two sketches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from support.engine.timing import OURS, Case, Goal, Work

from analytics import _kernels
from analytics.buckets import Buckets
from analytics.mapping import bucket_index, representative
from analytics.sketch import Sketch

ALL_PAIRS = "all pairs of buckets, SIMD"


_AT_ONCE: Final = 20


@dataclass(frozen=True, slots=True)
class Legs:
    a: Sketch
    b: Sketch
    simulated: int  # values of the Monte Carlo peer


def _legs(quick: bool) -> Legs:  # noqa: FBT001
    assert _kernels.load(), "the figures are those of the kernels: install numba"
    rng = np.random.default_rng(7)
    a, b = Sketch(), Sketch()
    a.add(rng.lognormal(math.log(0.030), 0.6, 1_000_000))
    b.add(rng.lognormal(math.log(0.012), 0.6, 1_000_000))
    return Legs(a, b, 100_000 if quick else 1_000_000)


def _ours(legs: Legs) -> Case:
    from analytics.convolution import convolve

    def work() -> None:
        for _ in range(_AT_ONCE):  # one alone would time cold caches
            convolve(legs.a, legs.b)

    return Case(OURS, _AT_ONCE, work)


def _common_window(legs: Legs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sides = legs.a.positive, legs.b.positive
    first, end = min(s.offset for s in sides), max(s.end for s in sides)

    def spread(side: Buckets) -> NDArray[np.float64]:
        return np.pad(side.counts.astype(np.float64), (side.offset - first, end - side.end))

    return spread(sides[0]), spread(sides[1])


def _all_pairs(legs: Legs) -> Case:
    from support.engine.limits import all_pairs

    a, b = _common_window(legs)
    d = np.arange(len(a), dtype=np.int64)
    sums = representative(np.zeros(1, dtype=np.int64), 7) + representative(d, 7)
    shift = bucket_index(sums, 7)
    out = np.zeros(len(a) + int(shift.max()) + 1)

    def work() -> None:
        for _ in range(_AT_ONCE):
            out[:] = 0.0
            all_pairs(a, b, shift, out)

    return Case(ALL_PAIRS, _AT_ONCE, work)


def _outer(legs: Legs) -> Case:
    a, b = _common_window(legs)
    middles = representative(np.arange(len(a), dtype=np.int64), 7)

    def work() -> NDArray[np.float64]:
        index = np.ceil(np.log2(np.add.outer(middles, middles)) * 128).astype(np.int64)
        return np.bincount(index.ravel(), weights=np.multiply.outer(a, b).ravel())

    return Case("numpy outer sum, log2, bincount", 1, work)


def _simulated(legs: Legs) -> Case:
    rng = np.random.default_rng(8)

    def work() -> NDArray[np.float64]:
        a = rng.lognormal(math.log(0.030), 0.6, legs.simulated)
        b = rng.lognormal(math.log(0.012), 0.6, legs.simulated)
        return np.quantile(a + b, [0.5, 0.99, 0.9999])

    return Case(f"Monte Carlo, {legs.simulated:,} sums", 1, work)


CONVOLUTION = Work(
    title="the convolution of two sketches of a million values, about 1,100 buckets each",
    items="convolutions",
    data=_legs,
    cases=(_ours, _all_pairs, _outer, _simulated),
    goals=(Goal(ALL_PAIRS, at_least=4),),
    rounds=21,
)
