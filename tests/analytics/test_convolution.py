"""Sums of independent delays against all sums of all pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analytics.convolution import Delay, convolve, shift_groups
from analytics.mapping import bucket_index, lower_bound, relative_error, representative
from analytics.sketch import Sketch

QS = [0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999]
RNG = np.random.default_rng(11)


pytestmark = pytest.mark.usefixtures("kernels")


def delay(values, lost: int = 0, scale: int = 7) -> Delay:
    sketch = Sketch(scale)
    sketch.add(np.asarray(values, dtype=np.float64))
    return Delay.of(sketch, lost)


def lognormal(median: float, sigma: float) -> np.ndarray:
    return median * np.exp(RNG.normal(0, sigma, 1500))


SHAPES = {
    "lognormal": (lognormal(0.03, 0.6), lognormal(0.012, 0.5)),
    "two scales": (lognormal(0.2, 0.4), lognormal(1e-6, 0.4)),
    "Pareto": (0.002 * (1 + RNG.pareto(1.2, 1500)), lognormal(0.012, 0.5)),
    "bimodal": (
        np.concatenate([lognormal(0.01, 0.01), lognormal(0.3, 0.01)]),
        lognormal(0.005, 0.3),
    ),
    "constant": (np.full(1000, 0.0312345), np.full(1000, 0.0312345)),
    "nearly constant": (0.02 + RNG.normal(0, 1e-5, 1500), 0.02 + RNG.normal(0, 1e-5, 1500)),
    "with zeros": (np.append(np.zeros(300), lognormal(0.01, 1)), np.append(lognormal(0.1, 1), 0.0)),
}


@pytest.mark.parametrize("scale", [4, 7, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_quantile_is_within_the_stated_error_of_all_sums(shape, scale) -> None:
    x, y = SHAPES[shape]
    found = convolve(delay(x, scale=scale), delay(y, scale=scale))
    exact = np.sort(np.add.outer(x, y).ravel())
    ranks = np.floor(np.array(QS) * (len(exact) - 1)).astype(int)
    assert found.arrived == len(exact)
    error = np.abs(found.quantiles(QS) - exact[ranks])
    assert (error <= found.relative_error * exact[ranks] * (1 + 1e-9)).all()
    assert found.relative_error < 2 * relative_error(found.scale)


WEIGHTS = st.lists(st.integers(0, 50), min_size=1, max_size=40)


@pytest.mark.parametrize("factor", [1.0, 0.5, 2.0**40])  # not whole; too large to be exact
@settings(deadline=None)
@given(WEIGHTS, WEIGHTS, st.integers(-700, 700), st.integers(1, 8), st.sampled_from([0, 1, 3]))
def test_it_is_the_sum_over_all_pairs_of_buckets(factor, left, right, offset, scale, legs) -> None:
    error = math.tanh(legs * math.atanh(relative_error(scale)))
    a, b = (
        Delay(scale, at, np.array(w, dtype=float) * factor, 0.0, 0.0, error)
        for at, w in ((0, left), (offset, right))
    )
    expected: dict[int, float] = {}
    reps = [representative(np.arange(d.offset, d.offset + len(d.weights)), scale) for d in (a, b)]
    for i, x in enumerate(reps[0]):
        for j, y in enumerate(reps[1]):
            if abs(a.offset + i - b.offset - j) == 1:  # the tie, on its exact side
                index = max(a.offset + i, b.offset + j) + (1 << scale) - 1
            else:
                shrunk = (x + y) / (1 + relative_error(scale) * error)
                index = int(bucket_index(np.array([shrunk]), scale)[0])
            expected[index] = expected.get(index, 0.0) + left[i] * right[j] * factor**2
    found = convolve(a, b, bucket_limit=10**6)
    got = {found.offset + k: w for k, w in enumerate(found.weights.tolist()) if w}
    assert got == {k: w for k, w in expected.items() if w}


EDGES = st.tuples(st.integers(-300, 300), st.booleans())


@settings(deadline=None)
@given(EDGES, EDGES, st.integers(1, 8))
@example((0, True), (228, True), 6)  # 2.0043 alpha, were sums not taken for a little smaller
def test_two_values_at_the_very_ends_of_their_buckets_are_within_two_alpha(one, two, scale) -> None:
    legs, values = [], []
    for (index, low), away in ((one, 1e-3), (two, 1e3)):  # which keeps the extremes away
        edge = float(lower_bound(np.array([index if low else index + 1]), scale)[0])
        usual = math.nextafter(edge, math.inf) if low else edge
        legs.append(Sketch(scale))
        values.append(np.array([usual, usual, usual, usual * away]))
        legs[-1].add(values[-1])
    whole = convolve(*legs, bucket_limit=10**6)
    sums = np.sort(np.add.outer(*values).ravel())
    error = abs(whole.quantiles([0.5])[0] / sums[7] - 1)
    alpha = relative_error(whole.scale)
    assert error <= whole.relative_error * (1 + 1e-12)
    assert whole.relative_error == pytest.approx(2 * alpha / (1 + alpha**2), rel=1e-9)
    for x in (sums[7], math.nextafter(sums[7], 0)):
        low, high = whole.cdf(x)
        assert low <= np.mean(sums <= x) <= high


def test_what_is_lost_on_either_leg_never_arrives() -> None:
    found = convolve(delay([0.01] * 90, lost=10), delay([0.02] * 80, lost=20))
    assert found.arrival_probability == pytest.approx(0.72)
    assert found.quantiles([0.5], "due")[0] == pytest.approx(0.03, rel=0.01)
    assert found.quantiles([0.71, 0.73], "due").tolist()[1] == np.inf
    assert np.isfinite(found.quantiles([1.0])).all()
    low, high = found.cdf(0.031)
    assert low == high == pytest.approx(0.72)
    assert found.cdf(0.001) == (0.0, 0.0)


@pytest.mark.parametrize("scale", range(1, 9))
def test_bounds_hold_a_bit_to_either_side_of_a_bucket_end(scale) -> None:
    ends = np.ldexp(1.0, np.arange(-12, 4))
    for value in np.concatenate([ends, np.nextafter(ends, 0), np.nextafter(ends, np.inf)]):
        sketch = Sketch(scale)
        sketch.add([value])
        delay = Delay.of(sketch)
        for x in (np.nextafter(value, 0), value, np.nextafter(value, np.inf)):
            low, high = delay.cdf(float(x))
            assert low <= float(value <= x) <= high


def test_three_legs_state_their_error() -> None:
    legs = [delay(SHAPES[name][0][:120]) for name in ("lognormal", "Pareto", "bimodal")]
    found = convolve(convolve(legs[0], legs[1]), legs[2])
    values = [SHAPES[name][0][:120] for name in ("lognormal", "Pareto", "bimodal")]
    exact = np.sort(np.add.outer(np.add.outer(values[0], values[1]), values[2]).ravel())
    ranks = np.floor(np.array(QS) * (len(exact) - 1)).astype(int)
    assert np.abs(found.quantiles(QS) / exact[ranks] - 1).max() <= found.relative_error
    assert found.relative_error == pytest.approx(math.tanh(3 * math.atanh(relative_error(7))))


def test_nothing_adds_up_to_nothing() -> None:
    empty, one = delay([]), delay([0.5])
    assert convolve(empty, one).arrived == 0
    assert np.isnan(convolve(empty, one).quantiles([0.5])).all()
    assert np.isnan(empty.arrival_probability)
    assert np.isnan(empty.cdf(1.0)).all()
    zeros = convolve(delay([0.0, 0.0]), delay([0.0]))
    assert (zeros.zero, zeros.quantiles([0.5])[0]) == (2.0, 0.0)


def test_a_sum_that_spans_too_many_buckets_falls_in_scale() -> None:
    wide = delay(np.geomspace(1e-9, 1e3, 1000), scale=7)
    found = convolve(wide, delay([1e-9]), bucket_limit=1000)
    assert len(found.weights) <= 1000
    assert found.scale < 7
    assert 2 * relative_error(7) < found.relative_error < 2 * relative_error(found.scale)


def test_what_are_no_delays_is_refused() -> None:
    for values, scale, message in (([-1.0], 7, "negative"), ([1.0], 0, "no delays")):
        with pytest.raises(ValueError, match=message):
            delay(values, scale=scale)
    with pytest.raises(ValueError, match="lost is -1"):
        delay([1.0], lost=-1)
    with pytest.raises(ValueError, match="from 0 to 1"):
        delay([1.0]).quantiles([2])


@pytest.mark.parametrize("error", [0.0, 0.005, 0.3, 0.9, 2.0])
@pytest.mark.parametrize("scale", range(1, 13))
def test_shifts_fall_one_by_one(scale, error) -> None:
    shifts, firsts = shift_groups(scale, error)
    assert shifts.tolist() == list(range(1 << scale, -1, -1))
    assert firsts[:2].tolist() == [0, 1]
