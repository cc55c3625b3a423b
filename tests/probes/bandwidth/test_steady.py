"""A rate with and without stalls, against paths that are drawn; its interval against many draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from probes.bandwidth.steady import STALLED_MAX, rate_of

TICK_S = 0.001
SAMPLE = 50  # ticks


def sampled(rates: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times and octets every 50 ms of a path that has a rate (octet/s) in each tick."""
    octets = np.concatenate([[0.0], np.cumsum(rates) * TICK_S])[::SAMPLE]
    return 7 + np.arange(len(octets)) * SAMPLE * TICK_S, octets


def constant(rate: float, seconds: float = 9.0) -> NDArray[np.float64]:
    return np.full(round(seconds / TICK_S), rate)


@given(
    rate=st.floats(1e4, 1e9),
    stalls=st.lists(st.tuples(st.floats(0, 8.9), st.floats(0.005, 0.08)), max_size=3),
)
def test_a_few_short_stalls_of_a_steady_path_are_left_out_and_said(
    rate: float, stalls: list[tuple[float, float]]
) -> None:
    rates = constant(rate)
    for begin_s, length_s in stalls:
        rates[round(begin_s / TICK_S) : round((begin_s + length_s) / TICK_S)] = 0
    found = rate_of(*sampled(rates))
    assert found.steady
    assert found.bit_per_s == pytest.approx(rate * 8, rel=1e-6)
    assert found.average_bit_per_s == pytest.approx(rates.mean() * 8, rel=1e-6)
    assert found.stalled == pytest.approx(1 - rates.mean() / rate, abs=1e-6)


def test_without_leave_stalls_count() -> None:
    rates = constant(1e6)
    rates[3000:3200] = 0
    found = rate_of(*sampled(rates), robust=False)
    assert found.bit_per_s == found.average_bit_per_s == pytest.approx(rates.mean() * 8)
    assert (found.steady, found.stalled) == (False, 0.0)


@pytest.mark.parametrize(
    "rates",
    [
        np.where(np.arange(9000) < 4000, 1e6, 1.2e6),  # half the time faster
        1e6 * (0.7 + 0.3 * (np.arange(9000) % 1700) / 1700),  # a sawtooth that leaves room
        np.where((np.arange(9000) >= 4000) & (np.arange(9000) < 4400), 0, 1e6),  # 4 % of the time
        np.where(np.arange(9000) % 1000 < 50, 0, 1e6),  # a little in each second
    ],
)
def test_what_is_the_nature_of_a_path_counts(rates: NDArray[np.float64]) -> None:
    found = rate_of(*sampled(rates))
    assert found.bit_per_s == pytest.approx(rates.mean() * 8, rel=1e-6)


def test_a_short_test_has_an_average_and_no_interval() -> None:
    rates = constant(1e6, 2.0)
    rates[500:600] = 0
    found = rate_of(*sampled(rates))
    assert found.bit_per_s == pytest.approx(rates.mean() * 8)
    assert found.low_bit_per_s is found.high_bit_per_s is None


@given(
    st.lists(st.floats(0, 1e8), min_size=2, max_size=400),
    st.lists(st.floats(1e-4, 0.5), min_size=400, max_size=400),
)
def test_the_figure_is_never_below_the_average_nor_far_above(
    octets: list[float], gaps_s: list[float]
) -> None:
    times_s = np.cumsum(gaps_s[: len(octets)])
    found = rate_of(times_s, np.cumsum(octets))
    assert found.average_bit_per_s <= found.bit_per_s
    assert found.bit_per_s <= found.average_bit_per_s / (1 - STALLED_MAX) * (1 + 1e-9)
    assert 0 <= found.stalled <= STALLED_MAX + 1e-9
    if found.low_bit_per_s is not None and found.high_bit_per_s is not None:
        assert 0 <= found.low_bit_per_s <= found.bit_per_s <= found.high_bit_per_s


@pytest.mark.parametrize("noise", [0.02, 0.5])
def test_the_interval_holds_the_rate_as_often_as_it_says(noise: float) -> None:
    """A path whose rate is drawn anew every 10 ms; and acknowledgements up to 5 ms late."""
    draw = np.random.default_rng(6)
    tries, held = 400, 0
    for _ in range(tries):
        rates = np.repeat(draw.normal(1e6, noise * 1e6, 900), 10)
        times_s, octets = sampled(rates)
        late = draw.uniform(0, 0.005, len(octets)) * 1e6
        found = rate_of(times_s, np.maximum.accumulate(octets - late))
        assert found.low_bit_per_s is not None
        assert found.high_bit_per_s is not None
        held += found.low_bit_per_s <= 8e6 <= found.high_bit_per_s
    assert held / tries >= 0.93  # 0.95 wanted; 400 tries tell it to about 0.02
