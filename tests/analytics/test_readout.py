"""Many rows at once against one sketch at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analytics.layouts import Pairs, Runs, Statistics
from analytics.mapping import relative_error, representative
from analytics.merging import halved, merge_all, merge_groups, pairs_of, runs_of
from analytics.readout import Rows, cdf, intervals, quantiles
from analytics.sketch import Sketch
from analytics.tables import distributions_of

LARGEST = float(np.finfo(np.float64).max)
QS = [0.99, 0.0, 0.5, 0.999, 1.0, 0.5, 0.25]
ORDINARY = st.floats(1e-6, 1e3) | st.floats(-1e3, -1e-6) | st.just(0.0)
WIDE = st.floats(2.0**-200, 2.0**200)


pytestmark = pytest.mark.usefixtures("kernels")


def sketch_of(values) -> Sketch:
    sketch = Sketch()
    sketch.add(np.array(values, dtype=np.float64))
    return sketch


def rows_of(sketches) -> Rows:
    table = distributions_of([(0, 0)] * len(sketches), sketches)
    sides = [
        pairs_of(Runs(7, side.first, side.offsets, side.counts))
        for side in (table.positive, table.negative)
    ]
    return Rows(sides[0], sides[1] if len(sides[1].index) else None, table.statistics)


LISTS = st.lists(st.lists(ORDINARY, max_size=30), min_size=1, max_size=6)


@settings(deadline=None)
@given(LISTS, st.data())
def test_quantiles_are_the_sketches_own(lists, data) -> None:
    sketches = [sketch_of(values) for values in lists]
    lost = np.array([data.draw(st.integers(0, 5)) for _ in lists], dtype=np.uint64)
    rows = rows_of(sketches)
    expected = [s.due_quantiles(QS, int(n)) for s, n in zip(sketches, lost, strict=True)]
    assert np.array_equal(quantiles(rows, QS, lost), expected, equal_nan=True)
    plain = [s.quantiles(QS) for s in sketches]
    assert np.array_equal(quantiles(rows, QS), plain, equal_nan=True)


@settings(deadline=None)
@example([[1.0, LARGEST]], [LARGEST, -LARGEST])
@given(LISTS, st.lists(ORDINARY | st.just(np.inf) | st.just(np.nan), min_size=1, max_size=5))
def test_cdf_bounds_are_the_sketches_own(lists, xs) -> None:
    xs = [*xs, *(v for values in lists for v in values[:2]), -np.inf]
    sketches = [sketch_of(values) for values in lists]
    low, high = cdf(rows_of(sketches), xs)
    expected = np.array([[s.cdf(x) for x in xs] for s in sketches])
    assert np.array_equal(low, expected[:, :, 0], equal_nan=True)
    assert np.array_equal(high, expected[:, :, 1], equal_nan=True)


@pytest.mark.parametrize("q", [0.5, 0.01, 0.99])
def test_intervals_are_the_sketches_own(q) -> None:
    rng = np.random.default_rng(3)
    sketches = [sketch_of(rng.lognormal(size=n) - (n % 2)) for n in (0, 1, 5, 90, 400, 5000)]
    low, high = intervals(rows_of(sketches), q)
    expected = np.array([s.interval(q) for s in sketches], dtype=np.float64)  # None is NaN
    assert np.array_equal(low, expected[:, 0], equal_nan=True)
    assert np.array_equal(high, expected[:, 1], equal_nan=True)


@pytest.mark.parametrize("width", [np.uint32, np.uint64])
@pytest.mark.parametrize("most", [2**20, 2**27, 2**31, 2**32 - 1])
def test_rows_of_more_values_than_fit_32_bits_are_read_right(most, width) -> None:
    rng = np.random.default_rng(17)
    qs, rows, size = np.linspace(0.001, 0.999, 40), 60, 45
    counts = rng.integers(1, most, rows * size, dtype=np.uint64, endpoint=True).astype(width)
    index = np.sort(rng.permuted(np.tile(np.arange(900), (rows, 1)), axis=1)[:, :size])
    offsets = np.arange(rows + 1, dtype=np.int64) * size
    pairs = Pairs(7, -400, offsets, index.ravel().astype(np.uint16), counts)
    statistics = Statistics.none(rows)
    statistics.min[:], statistics.max[:] = 0.0, LARGEST
    found = quantiles(Rows(pairs, None, statistics), qs)
    cumulative = np.cumsum(counts.reshape(rows, size).astype(np.int64), axis=1)
    for row, total in enumerate(cumulative[:, -1].tolist()):
        ranks = (qs * (total - 1)).astype(np.int64)
        entries = np.searchsorted(cumulative[row], ranks, side="right")
        expected = representative(index[row, entries].astype(np.int64) - 400, 7)
        assert found[row].tolist() == expected.tolist()


def test_quantiles_are_within_alpha_of_numpy() -> None:
    rng = np.random.default_rng(5)
    lists = [rng.lognormal(-3, s, 3000) for s in (0.01, 0.5, 3)] + [rng.pareto(1.2, 3000)]
    found = quantiles(rows_of([sketch_of(values) for values in lists]), QS)
    exact = np.array([np.quantile(values, QS, method="lower") for values in lists])
    assert np.abs(found / exact - 1).max() <= relative_error(7) * (1 + 1e-9)


@settings(deadline=None)
@given(st.lists(st.lists(WIDE, max_size=10), max_size=8), st.integers(1, 4), st.data())
def test_groups_are_merged_as_sketches_are(lists, count, data) -> None:
    groups = [data.draw(st.integers(-1, count - 1)) for _ in lists]
    sketches = [Sketch(bucket_limit=10**6) for _ in lists]
    expected = [Sketch(bucket_limit=10**6) for _ in range(count)]
    for sketch, values, group in zip(sketches, lists, groups, strict=True):
        sketch.add(np.array(values))
        if group >= 0:
            expected[group].merge(sketch)
    side = distributions_of([(0, 0)] * len(lists), sketches).positive
    runs = Runs(7, side.first, side.offsets, side.counts.astype(np.uint32))
    merged = merge_groups(runs, np.array(groups, dtype=np.int32), count)
    again = runs_of(pairs_of(merged))
    for k, sketch in enumerate(expected):
        for found in (merged, again):
            counts = found.counts[found.offsets[k] : found.offsets[k + 1]]
            assert counts.tolist() == sketch.positive.counts.tolist()
            assert not len(counts) or found.first[k] == sketch.positive.offset
    coarse = halved(merged, 2)
    for k, sketch in enumerate(expected):
        side = sketch.positive
        for _ in range(2):
            side.halve_scale()
        counts = coarse.counts[coarse.offsets[k] : coarse.offsets[k + 1]]
        assert counts.tolist() == side.counts.tolist()
    assert merge_all(runs).counts.sum() == sum(len(values) for values in lists)


def test_rows_too_far_apart_for_pairs_are_refused() -> None:
    runs = Runs(7, np.array([0, 70_000]), np.array([0, 1, 2]), np.ones(2, dtype=np.uint64))
    with pytest.raises(ValueError, match="70001 buckets"):
        pairs_of(runs)
