"""The sketch against numpy's exact quantiles, and against itself in any order."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analytics.buckets import Buckets
from analytics.mapping import bucket_index
from analytics.order_statistics import enclosing_ranks
from analytics.sketch import Sketch
from analytics.summary import exact_distribution
from analytics.table import SketchTable

RNG = np.random.default_rng(20261123)
SHAPES = {
    "constant": np.full(1000, 0.020),
    "lognormal": RNG.lognormal(np.log(0.020), 0.5, 100_000),
    "Pareto with a heavy tail": 0.001 * (1 + RNG.pareto(1.2, 100_000)),
    "bimodal (failover)": np.concatenate(
        [RNG.normal(0.020, 1e-3, 9000), RNG.normal(0.180, 5e-3, 1000)]
    ),
    "one packet": np.array([0.020]),
    "negative (one-way delay of a wrong clock)": RNG.normal(-0.003, 0.004, 50_000),
    "zeros among them": np.concatenate([np.zeros(500), RNG.exponential(0.01, 500)]),
    "twenty decades": 10.0 ** RNG.uniform(-10, 10, 10_000),
}
QS = [0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0]
TAILS = [0.001, 0.05, 0.5, 0.9, 0.99, 0.999]

ANY = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)
ANY_ARRAY = arrays(np.float64, st.integers(0, 60), elements=ANY)
MEASURABLE = st.floats(1e-7, 1e3) | st.floats(-1e3, -1e-7) | st.just(0.0)


def sketch_of(values, scale=7, **options) -> Sketch:
    sketch = Sketch(scale, **options)
    sketch.add(values)
    return sketch


@pytest.mark.parametrize("values", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("scale", [5, 7, 8])
def test_a_quantile_is_within_the_promised_error_of_the_exact_one(values, scale) -> None:
    sketch = sketch_of(values, scale)
    exact = np.quantile(values, QS, method="lower")
    found = sketch.quantiles(QS)
    assert np.all(np.abs(found - exact) <= sketch.relative_error * np.abs(exact) * (1 + 1e-9))


@given(arrays(np.float64, st.integers(1, 200), elements=MEASURABLE), st.floats(0, 1))
def test_no_data_breaks_the_promise(values, q) -> None:
    sketch = sketch_of(values)
    exact = np.quantile(values, q, method="lower")
    assert abs(sketch.quantile(q) - exact) <= sketch.relative_error * abs(exact) * (1 + 1e-9)


@given(ANY_ARRAY)
def test_nothing_disappears(values) -> None:
    sketch = sketch_of(values)
    finite = values[np.isfinite(values)]
    assert sketch.count == len(finite)
    assert sketch.nan_count == np.isnan(values).sum()
    assert sketch.positive_infinity_count == (values == np.inf).sum()
    assert sketch.negative_infinity_count == (values == -np.inf).sum()
    assert sketch.zero_count == (np.abs(finite) < 2.0**-1022).sum()
    assert sketch.min == (finite.min() if len(finite) else None)
    assert sketch.max == (finite.max() if len(finite) else None)


@given(ANY_ARRAY, st.lists(st.integers(0, 60), max_size=5), st.randoms())
def test_any_split_and_any_order_of_merging_gives_the_same_counts(values, cuts, random) -> None:
    parts = [sketch_of(part, bucket_limit=64) for part in np.split(values, sorted(cuts))]
    random.shuffle(parts)
    merged = Sketch(bucket_limit=64)
    for part in parts:
        merged.merge(part)
    assert merged._identity() == sketch_of(values, bucket_limit=64)._identity()


@given(ANY_ARRAY, ANY_ARRAY, st.integers(-4, 8), st.integers(-4, 8))
def test_sketches_of_two_scales_merge_at_the_coarser(a, b, scale_a, scale_b) -> None:
    one, other = sketch_of(a, scale_a), sketch_of(b, scale_b)
    there, back = one.copy(), other.copy()
    there.merge(other)
    back.merge(one)
    both = sketch_of(np.concatenate([a, b]), min(scale_a, scale_b))
    assert there._identity() == back._identity() == both._identity()


def test_merging_leaves_the_other_as_it_was() -> None:
    one, other = sketch_of([1.0, 2.0]), sketch_of([1e9, -3.0])
    before = other.copy()
    one.merge(other)
    one.add([5.0])
    assert other == before


def test_counters_are_those_of_the_mapping() -> None:
    values = SHAPES["lognormal"]
    positive = sketch_of(values).positive
    index, counts = np.unique(bucket_index(values, 7), return_counts=True)
    assert positive.offset == index[0]
    assert positive.counts[index - index[0]].tolist() == counts.tolist()
    assert positive.total() == len(values)


def test_the_scale_falls_until_the_buckets_fit() -> None:
    sketch = sketch_of([1e-9, 1.0, 1e9], bucket_limit=160)
    assert sketch.scale == 1
    assert len(sketch.positive.counts) <= 160
    assert sketch.quantile(0.5) == pytest.approx(1.0, rel=sketch.relative_error)


@given(ANY_ARRAY)
def test_parts_make_the_same_sketch_again(values) -> None:
    sketch = sketch_of(values)
    again = Sketch.from_parts(
        scale=sketch.scale,
        positive=sketch.positive,
        negative=sketch.negative,
        zero_count=sketch.zero_count,
        sum_=sketch.sum,
        min_=sketch.min,
        max_=sketch.max,
        nan_count=sketch.nan_count,
        positive_infinity_count=sketch.positive_infinity_count,
        negative_infinity_count=sketch.negative_infinity_count,
    )
    assert again._identity() == sketch._identity()


@pytest.mark.parametrize(
    "change",
    [
        {"zero_count": -1},
        {"zero_count": 2**63},
        {"sum_": math.nan},
        {"min_": 3.0, "max_": 2.0},
        {"min_": math.nan},
        {"sum_": math.inf},
        {"max_": math.inf},
        {"positive": Buckets(1024 << 7, np.ones(1, np.uint64))},
        {"positive": Buckets((1024 << 7) - 1, np.ones(2, np.uint64))},
        {"negative": Buckets((-1022 << 7) - 2, np.ones(1, np.uint64))},
        {"positive": Buckets(0, np.full(3, 2**63 - 1, np.uint64))},
        {"positive": Buckets(0, np.full(4, 2**62, np.uint64))},
        {"scale": 9},
        {"scale": -11},
    ],
    ids=[
        "a count below zero",
        "a count that 64 bits barely hold",
        "a sum that is NaN",
        "a minimum above the maximum",
        "a minimum that is NaN",
        "an infinite sum",
        "an infinite maximum",
        "a bucket above the largest double",
        "a bucket that ends above the largest double",
        "a bucket below the smallest normal double",
        "counts that add up to more than 64 bits",
        "counts that wrap to zero",
        "a scale too fine",
        "a scale too coarse",
    ],
)
def test_parts_that_cannot_be_are_refused(change) -> None:
    parts = {
        "scale": 7,
        "positive": Buckets(0, np.ones(2, np.uint64)),
        "negative": Buckets(),
        "zero_count": 0,
        "sum_": 2.0,
        "min_": 1.0,
        "max_": 1.01,
    }
    with pytest.raises(ValueError):
        Sketch.from_parts(**(parts | change))


def test_parts_without_extremes_take_the_ends_of_the_outermost_buckets() -> None:
    for values in ([-3.0, -1.5], [-3.0, 0.0], [0.0, 2.5], [1.5, 2.5], [-1.0, 2.5], [0.0]):
        known = sketch_of(values)
        guessed = Sketch.from_parts(
            scale=7,
            positive=known.positive,
            negative=known.negative,
            zero_count=known.zero_count,
            sum_=known.sum,
            min_=None,
            max_=None,
        )
        slack = 1 + 2.001 * known.relative_error
        assert min(values) - abs(min(values)) * (slack - 1) <= guessed.min <= min(values)
        assert max(values) <= guessed.max <= max(values) + abs(max(values)) * (slack - 1)


def test_the_widest_parts_that_can_be_merge_with_any_others() -> None:
    ends = Buckets((-1022 << 7) - 1, np.ones(1, np.uint64)), Buckets((1024 << 7) - 1, np.ones(1))
    merged = sketch_of([0.02])
    for positive in ends:
        extreme = Sketch.from_parts(
            scale=7,
            positive=Buckets(positive.offset, positive.counts.astype(np.uint64)),
            negative=Buckets(),
            zero_count=0,
            sum_=1.0,
            min_=None,
            max_=None,
        )
        merged.merge(extreme)
    assert merged.count == 3
    assert 0 < merged.relative_error <= 1
    assert np.isfinite(merged.quantiles(QS)).all()


def test_a_reading_is_renewed_with_every_value() -> None:
    sketch = sketch_of([1.0])
    assert sketch.quantile(1.0) == 1.0
    sketch.add(2.0)
    assert sketch.quantile(1.0) == 2.0
    sketch.merge(sketch_of([3.0]))
    assert sketch.quantile(1.0) == 3.0


def test_a_sketch_merges_with_itself() -> None:
    sketch = sketch_of([1.0, -2.0, 0.0, np.nan])
    sketch.merge(sketch)
    assert sketch == sketch_of([1.0, -2.0, 0.0, np.nan] * 2)


def test_sketches_are_equal_whatever_the_order_of_summation_but_not_of_another_sum() -> None:
    values = SHAPES["lognormal"]
    forward, backward = Sketch(), Sketch()
    for part in np.split(values, 100):
        forward.add(part)
    for part in np.split(values, 100)[::-1]:
        backward.add(part[::-1])
    assert forward == backward
    assert forward.sum == pytest.approx(math.fsum(values), rel=1e-12)
    backward.sum *= 1.001
    assert forward != backward
    assert forward != "a sketch"


def test_sums_of_the_largest_doubles_stay_finite() -> None:
    sketch = sketch_of(np.full(10, np.finfo(np.float64).max))
    sketch.merge(sketch)
    assert sketch.sum == np.finfo(np.float64).max
    assert sketch == sketch.copy()


@given(arrays(np.float64, st.integers(1, 100), elements=MEASURABLE), st.floats(-2e3, 2e3))
def test_cdf_bounds_hold_the_exact_fraction(values, x) -> None:
    low, high = sketch_of(values).cdf(x)
    assert low <= (values <= x).mean() <= high


def test_cdf_is_exact_at_a_buckets_end() -> None:
    sketch = sketch_of([0.5, 1.0, 1.5, 2.0, 3.0])
    assert sketch.cdf(1.0) == (0.4, 0.4)
    assert sketch.cdf(2.0) == (0.8, 0.8)


def test_lost_packets_are_slow_packets() -> None:
    sketch = sketch_of(np.linspace(0.01, 0.02, 98))
    assert sketch.due_quantiles([0.5, 0.97, 0.99, 1.0], lost=2).tolist()[2:] == [np.inf, np.inf]
    assert sketch.due_quantiles([0.5], lost=2)[0] == pytest.approx(0.015, rel=0.01)
    assert np.isnan(Sketch().due_quantiles([0.5], lost=0)[0])
    assert Sketch().due_quantiles([0.5], lost=1)[0] == np.inf


@given(arrays(np.float64, st.integers(1, 60), elements=MEASURABLE), st.integers(0, 60))
def test_due_quantiles_are_those_of_the_data_with_infinities(values, lost) -> None:
    sketch = sketch_of(values)
    due = np.concatenate([values, np.full(lost, np.inf)])
    exact = np.sort(due)[np.floor(np.array(QS) * (len(due) - 1)).astype(int)]
    found = sketch.due_quantiles(QS, lost)
    assert (np.isinf(found) == np.isinf(exact)).all()
    known = np.isfinite(exact)
    slack = sketch.relative_error * np.abs(exact[known]) * (1 + 1e-9)
    assert np.all(np.abs(found[known] - exact[known]) <= slack)


@pytest.mark.parametrize("values", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("q", [0.5, 0.99])
def test_an_interval_is_that_of_the_exact_order_statistics(values, q) -> None:
    sketch, ordered = sketch_of(values), np.sort(values)
    ranks = enclosing_ranks(len(values), q, 0.95)
    for found, rank in zip(sketch.interval(q), ranks, strict=True):
        if rank is None:
            assert found is None
        else:
            assert found == pytest.approx(ordered[rank], rel=sketch.relative_error * 2.01)


@given(arrays(np.float64, st.integers(6, 90), elements=MEASURABLE), st.integers(-10, 8))
def test_an_interval_encloses_the_exact_one(values, scale) -> None:
    sketch, ordered = Sketch(scale), np.sort(values)
    sketch.add(values)
    low, high = sketch.interval(0.5)
    exact_low, exact_high = (ordered[rank] for rank in enclosing_ranks(len(values), 0.5, 0.95))
    assert ordered[0] <= low <= exact_low <= sketch.interval(0.5)[1]
    assert exact_high <= high <= ordered[-1]


@given(arrays(np.float64, st.integers(1, 90), elements=MEASURABLE), st.sampled_from(TAILS))
def test_no_quantile_is_outside_its_interval(values, q) -> None:
    sketch = Sketch()
    sketch.add(values)
    low, high = sketch.interval(q)
    assert low is None or low <= sketch.quantile(q)
    assert high is None or high >= sketch.quantile(q)
    exact = exact_distribution(values, [q])["quantiles"][f"{q:g}"]
    assert exact["low"] is None or exact["low"] <= exact["value"]


def test_the_tail_of_few_values_begins_at_the_value_that_is_given_for_it() -> None:
    sketch = sketch_of(np.arange(1.0, 21.0))
    low, high = sketch.interval(0.999)
    assert (low, high) == (pytest.approx(19, rel=0.006), None)
    assert low <= 19 <= sketch.quantile(0.999) * (1 + sketch.relative_error)


def test_an_empty_sketch_says_nothing() -> None:
    empty = Sketch()
    assert (empty.count, empty.min, empty.max, empty.sum) == (0, None, None, 0.0)
    assert math.isnan(empty.quantile(0.5))
    assert empty.interval(0.5) == (None, None)
    assert all(math.isnan(bound) for bound in empty.cdf(1.0))


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_a_quantile_out_of_range_is_refused(q) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        sketch_of([1.0]).quantile(q)


def test_less_than_nothing_cannot_be_lost() -> None:
    with pytest.raises(ValueError, match="negative"):
        sketch_of([1.0]).due_quantiles([0.5], lost=-1)


@pytest.mark.parametrize("options", [{"scale": 9}, {"scale": -11}, {"bucket_limit": 1}])
def test_a_sketch_out_of_range_is_refused(options) -> None:
    with pytest.raises(ValueError, match="must be"):
        Sketch(**options)


@pytest.mark.parametrize("dtype", ["f4", "i2", ">f8", "u1", "?"])
def test_any_real_numbers_count(dtype) -> None:
    values = np.arange(20).astype(dtype)
    assert sketch_of(values[::2]) == sketch_of(values[::2].astype(float))


@pytest.mark.parametrize("kind", [Fraction, Decimal, int])
def test_real_numbers_of_python_count(kind) -> None:
    values = [kind(10) ** 20, kind(3)]
    assert sketch_of(values) == sketch_of([1e20, 3.0])


@pytest.mark.parametrize(
    "values",
    [
        np.array([1 + 5j]),
        np.array(["2020-01-01"], "datetime64[s]"),
        np.array([5], "timedelta64[s]"),
        ["1.5"],
        [b"1.5"],
        [None],
        [1.0, None],
        [1j, None],
        [10**400],
    ],
    ids=str,
)
def test_what_is_no_real_number_is_refused(values) -> None:
    sketch, table = Sketch(), SketchTable(1)
    with pytest.raises(ValueError, match=r"real number|larger than any double"):
        sketch.add(values)
    with pytest.raises(ValueError, match=r"real number|larger than any double"):
        table.add(np.zeros(len(values), dtype=np.int32), values)
    assert not sketch.count
    assert not table.count.any()


def test_a_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        Sketch().add([[1.0]])
