"""One array into one sketch."""

from __future__ import annotations

import math
import os
from functools import partial

import numpy as np
from numpy.typing import NDArray
from support.engine import peers
from support.engine.timing import OURS, Case, Goal, Make, Work, engine

QS = [0.5, 0.9, 0.99, 0.999, 0.9999]
SUM = "limit: sum of the array, SIMD"
SIGNED = f"{OURS}, half negative"
EXACT = "numpy.quantile (exact, five quantiles)"

Values = NDArray[np.float64]


def lognormal(count: int, seed: int = 1) -> Values:
    """Return delays in seconds: median 30 ms, a tail as a busy network has it."""
    return np.random.default_rng(seed).lognormal(math.log(0.030), 0.6, count)


def _values(quick: bool) -> Values:  # noqa: FBT001
    return lognormal(1_000_000 if quick else 10_000_000)


def _sum(values: Values) -> Case:
    from support.engine.limits import stream_sum

    return Case(SUM, len(values), lambda: stream_sum(values), limit=True)


def _numpy_sum(values: Values) -> Case:
    return Case("limit: numpy.sum", len(values), values.sum, limit=True)


def _scatter(values: Values) -> Case:
    from support.engine.limits import scatter

    places = np.random.default_rng(2).integers(0, 512, len(values), dtype=np.uint32)
    counts = np.zeros(512, dtype=np.uint32)
    name = "limit: increments at 512 given places"
    return Case(name, len(values), lambda: scatter(places, counts), limit=True)


def _ours(values: Values) -> Case:
    from analytics import _kernels
    from analytics.sketch import Sketch

    if os.environ.get("NETSLO_NUMBA") != "0":
        assert _kernels.load(), "the figures are those of the kernels: install numba"
    return Case(OURS, len(values), lambda: Sketch().add(values))


def _among(share: float, odd: float) -> Make[Values]:
    """Return what makes a case with so many odd values among the others."""
    name = f"{OURS}, {share:.1%} {odd:g}"

    @engine(name)
    def case(values: Values) -> Case:
        ours = _ours(np.where(np.random.default_rng(3).random(len(values)) < share, odd, values))
        return Case(name, ours.items, ours.run)

    return case


@engine(SIGNED)
def _signed(values: Values) -> Case:
    signs = np.random.default_rng(4).choice([-1.0, 1.0], len(values))
    ours = _ours(values * signs)
    return Case(SIGNED, ours.items, ours.run)


def _exact(values: Values) -> Case:
    return Case(EXACT, len(values), lambda: np.quantile(values, QS))


def _bincount(values: Values) -> Case:
    def count() -> NDArray[np.int64]:
        return np.bincount((np.ceil(np.log2(values) * 128) + 4096).astype(np.int64))

    return Case("numpy log2 and bincount (inexact)", len(values), count)


def _peer(kind: type[peers.Peer]) -> Make[Values]:
    @engine(kind.name)
    def case(values: Values) -> Case:
        peer = kind()
        some = values[: kind.size]
        return Case(kind.name, len(some), partial(peer.filled, peer.prepared(some)))

    return case


ARRAY = Work(
    title="{data.size:,} lognormal values into one sketch, all statistics",
    items="values",
    data=_values,
    cases=(
        *(_sum, _scatter, _ours, _among(0.001, 0.0), _among(0.001, math.nan), _signed),
        *(_bincount, _exact, *map(_peer, peers.PEERS)),
    ),
    goals=(
        Goal(SUM, at_most=3.0),
        Goal(EXACT, at_least=12),
        Goal(peers.Kll.name, at_least=25),
        Goal(peers.DdSketch.name, at_least=450),
        Goal(peers.OpenTelemetry.name, at_least=1500),
    ),
)
WITHOUT_NUMBA = Work(
    title="the same without numba, as a site's probe runs it",
    items="values",
    data=_values,
    cases=(_numpy_sum, _ours, _exact),
    environment={"NETSLO_NUMBA": "0"},
)
