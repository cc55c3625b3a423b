"""Confidence intervals: exact small cases, and coverage on data whose quantile is known."""

import math

import numpy as np
import pytest

from analytics import order_statistics
from analytics.order_statistics import enclosing_ranks, interval_ranks


def binomial_cdf(k: int, n: int, q: float) -> float:
    return math.fsum(math.comb(n, i) * q**i * (1 - q) ** (n - i) for i in range(k + 1))


@pytest.mark.parametrize("n", [1, 5, 6, 10, 59, 100, 500])
@pytest.mark.parametrize("q", [0.01, 0.5, 0.9, 0.99])
def test_each_tail_is_the_largest_that_is_allowed(n: int, q: float) -> None:
    low, high = interval_ranks(n, q, 0.95)
    # P(the quantile lies below the value of zero-based rank r) = P(B <= r).
    if low is None:
        assert binomial_cdf(0, n, q) > 0.025
    else:
        assert binomial_cdf(low, n, q) <= 0.025 < binomial_cdf(low + 1, n, q)
    if high is None:
        assert 1 - binomial_cdf(n - 1, n, q) > 0.025
    else:
        assert 1 - binomial_cdf(high, n, q) <= 0.025
        assert 1 - binomial_cdf(high - 1, n, q) > 0.025 or high == 0


@pytest.mark.parametrize("q", [1e-4, 0.001, 0.05, 0.5, 0.95, 0.99, 0.999, 0.9999])
@pytest.mark.parametrize("level", [0.1, 0.95])
def test_the_rank_of_the_quantile_is_never_outside(q: float, level: float) -> None:
    for count in (*range(1, 400), 10**6, 10**12, 2**53):
        ranks = zip(interval_ranks(count, q, level), enclosing_ranks(count, q, level), strict=True)
        (low, lower), (high, higher) = ranks
        rank = min(math.floor(q * (count - 1)), count - 1)
        assert (lower is None) == (low is None)
        assert (higher is None) == (high is None)
        assert lower is None or lower <= min(rank, low)
        assert higher is None or higher >= max(rank, high)


def test_too_few_samples_bound_nothing() -> None:
    assert interval_ranks(0, 0.5, 0.95) == (None, None)
    assert interval_ranks(100, 0.999, 0.95)[1] is None
    assert interval_ranks(5, 0.5, 0.95) == (None, None)


def test_the_interval_covers_the_true_quantile_as_often_as_it_says() -> None:
    rng, n, q = np.random.default_rng(7), 400, 0.99
    low, high = interval_ranks(n, q, 0.95)
    assert low is not None
    samples = np.sort(rng.random((4000, n)), axis=1)  # the true quantile is q itself
    above = samples[:, high] >= q if high is not None else np.ones(4000, dtype=bool)
    covered = ((samples[:, low] <= q) & above).mean()
    assert covered > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 4000)


def test_a_million_values_are_no_trouble() -> None:
    low, high = interval_ranks(1_000_000, 0.999, 0.95)
    half = 1.96 * math.sqrt(1_000_000 * 0.999 * 0.001)
    assert low == pytest.approx(999_000 - half, abs=2)
    assert high == pytest.approx(999_000 + half, abs=2)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_beyond_the_exact_sum_the_interval_is_at_most_two_ranks_wider(
    q, level, monkeypatch
) -> None:
    count = 10**9
    low, high = interval_ranks(count, q, level)
    monkeypatch.setattr(order_statistics, "_EXACT_SIGMA", math.inf)
    interval_ranks.cache_clear()
    exact_low, exact_high = interval_ranks(count, q, level)
    interval_ranks.cache_clear()
    assert exact_low - 2 <= low <= exact_low
    assert exact_high <= high <= exact_high + 2


def test_any_count_a_peer_may_claim_takes_no_room() -> None:
    low, high = interval_ranks(2**53, 0.999, 0.95)
    assert 0 < low < 0.999 * 2**53 < high < 2**53


@pytest.mark.parametrize(("q", "level"), [(0.0, 0.95), (1.0, 0.95), (0.5, 1.0), (0.5, 0.0)])
def test_an_impossible_question_is_refused(q: float, level: float) -> None:
    with pytest.raises(ValueError, match="strictly between"):
        interval_ranks(10, q, level)
