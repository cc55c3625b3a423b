"""A hundred thousand sketches: merging them into one, and reading quantiles from each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from support.engine import peers
from support.engine.array import QS
from support.engine.timing import OURS, Case, Goal, Make, Work, engine

from analytics import _kernels
from analytics.layouts import Runs, Statistics
from analytics.mapping import bucket_index
from analytics.merging import merge_all, merge_groups, pairs_of
from analytics.readout import Rows, cdf, intervals, quantiles

SCALE = 7
READING = "limit: reading the counts"
KLL_AGAIN = "KLL, asked a second time"
_DISTINCT, _VALUES = 1000, 1000
_PEER_SKETCHES = 200


@dataclass(frozen=True, slots=True)
class Sketches:
    runs: Runs
    rows: Rows
    values: NDArray[np.float64]  # (distinct, values): what the peers are filled with

    @property
    def count(self) -> int:
        return len(self.runs)

    @property
    def filled(self) -> float:
        """The mean number of filled buckets."""
        return len(self.rows.positive.counts) / self.count


def sketches(quick: bool) -> Sketches:  # noqa: FBT001
    """Return 100 copies in memory of 1,000 sketches of 1,000 values: about 270 filled buckets."""
    assert _kernels.load(), "the figures are those of the kernels: install numba"
    rng = np.random.default_rng(5)
    medians = rng.lognormal(math.log(0.030), 0.5, (_DISTINCT, 1))
    values = medians * rng.lognormal(0.0, 0.36, (_DISTINCT, _VALUES))
    copies = 10 if quick else 100
    index = bucket_index(values.ravel(), SCALE).reshape(values.shape)
    first = index.min(axis=1)
    counts = [np.bincount(row).astype(np.uint32) for row in index - first[:, None]]
    lengths = np.tile([len(row) for row in counts], copies)
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    runs = Runs(SCALE, np.tile(first, copies), offsets, np.tile(np.concatenate(counts), copies))
    nothing = np.zeros(len(lengths), dtype=np.uint64)
    sums, lows, highs = (np.tile(what(values, axis=1), copies) for what in (np.sum, np.min, np.max))
    statistics = Statistics(nothing, nothing, nothing, nothing, sums, lows, highs)
    return Sketches(runs, Rows(pairs_of(runs), None, statistics), values)


def _reading(data: Sketches) -> Case:
    from support.engine.limits import read_words

    counts = data.runs.counts
    words = counts[: len(counts) // 2 * 2].view(np.uint64)
    return Case(READING, len(data.runs), lambda: read_words(words), limit=True)


def _ours(data: Sketches) -> Case:
    return Case(OURS, len(data.runs), lambda: merge_all(data.runs))


def _ours_in_groups(data: Sketches) -> Case:
    groups = np.random.default_rng(6).integers(0, 1000, len(data.runs), dtype=np.int32)
    work = lambda: merge_groups(data.runs, groups, 1000)  # noqa: E731
    return Case("netslo, into 1,000 groups", len(data.runs), work)


def _peer_merging(kind: type[peers.Peer]) -> Make[Sketches]:
    @engine(kind.name)
    def case(data: Sketches) -> Case:
        peer = kind()
        filled = [peer.filled(peer.prepared(row)) for row in data.values[:_PEER_SKETCHES]]
        return Case(kind.name, len(filled), lambda: peer.merged(filled))

    return case


def _reading_pairs(data: Sketches) -> Case:
    from support.engine.limits import read_words

    counts = data.rows.positive.counts
    words = counts[: len(counts) // 2 * 2].view(np.uint64)
    return Case(READING, len(data.rows) * len(QS), lambda: read_words(words), limit=True)


def _ours_quantiles(data: Sketches) -> Case:
    return Case(OURS, len(data.rows) * len(QS), lambda: quantiles(data.rows, QS))


def _ours_cdf(data: Sketches) -> Case:
    thresholds = [0.010, 0.020, 0.050, 0.100, 0.200]
    name, items = "netslo, CDF at five thresholds", len(data.rows) * len(thresholds)
    return Case(name, items, lambda: cdf(data.rows, thresholds))


def _ours_intervals(data: Sketches) -> Case:
    name = "netslo, 95 % interval of p99"
    return Case(name, len(data.rows), lambda: intervals(data.rows, 0.99))


def _numpy_quantiles(data: Sketches) -> Case:
    some = data.values[:_PEER_SKETCHES]
    name = "numpy.quantile of the 1,000 values"
    return Case(name, some.shape[0] * len(QS), lambda: np.quantile(some, QS, axis=1))


def _peer_quantiles(kind: type[peers.Peer], count: int = 200) -> Make[Sketches]:
    @engine(kind.name)
    def case(data: Sketches) -> Case:
        peer = kind()
        prepared = [peer.prepared(row) for row in data.values[:count]]
        filled: list[object] = []

        def fill() -> None:  # anew: some sort at the first question and remember
            filled[:] = [peer.filled(values) for values in prepared]

        def ask() -> None:
            for sketch in filled:
                peer.quantiles(sketch, QS)

        return Case(kind.name, count * len(QS), ask, before=fill)

    return case


@engine(KLL_AGAIN)
def _kll_again(data: Sketches) -> Case:
    peer = peers.Kll()
    filled = [peer.filled(values) for values in data.values[:_PEER_SKETCHES]]

    def ask() -> None:
        for sketch in filled:
            peer.quantiles(sketch, QS)

    return Case(KLL_AGAIN, len(filled) * len(QS), ask)


MERGE = Work(
    title="{data.count:,} sketches merged into one, {data.filled:.0f} filled buckets each",
    items="sketches",
    data=sketches,
    cases=(
        _reading,
        _ours,
        _ours_in_groups,
        _peer_merging(peers.Kll),
        _peer_merging(peers.Req),
        _peer_merging(peers.FastDigest),
        _peer_merging(peers.Crick),
        _peer_merging(peers.DatasketchesTDigest),
        _peer_merging(peers.DdSketch),
    ),
    goals=(
        Goal(READING, at_most=1.5),
        Goal(peers.Kll.name, at_least=50),
        Goal(peers.DdSketch.name, at_least=400),
    ),
    rounds=7,
)
QUANTILES = Work(
    title="five quantiles of each of {data.count:,} sketches of 1,000 values",
    items="quantiles",
    data=sketches,
    cases=(
        _reading_pairs,
        _ours_quantiles,
        _ours_cdf,
        _ours_intervals,
        _numpy_quantiles,
        _peer_quantiles(peers.FastDigest),
        _peer_quantiles(peers.Kll),
        _kll_again,
        _peer_quantiles(peers.Req),
        _peer_quantiles(peers.DatasketchesTDigest),
        _peer_quantiles(peers.Crick),
        _peer_quantiles(peers.DdSketch, 50),
        _peer_quantiles(peers.HdrHistogram, 4),
    ),
    goals=(
        Goal(peers.FastDigest.name, at_least=8),
        Goal(peers.Kll.name, at_least=10),
        Goal(KLL_AGAIN, at_least=10),  # the stricter reading: it remembers the first answer
    ),
    rounds=7,
)
