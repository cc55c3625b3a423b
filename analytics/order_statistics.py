"""Distribution-free confidence intervals of a quantile, from order statistics.

The number of n independent values at or below the population's q-quantile is Binomial(n, q);
so the interval from the l-th to the u-th smallest value covers the quantile with probability
P(l <= B < u) (David and Nagaraja, Order Statistics, 3rd edition, section 7.1).
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_REACH_SIGMA = 12.0  # beyond that, a binomial has less mass than a double resolves
_EXACT_SIGMA = 10_000.0  # beyond that, the expansion below errs by far less than one rank


@lru_cache(maxsize=4096)
def interval_ranks(count: int, q: float, level: float) -> tuple[int | None, int | None]:
    """Return the zero-based ranks of an equal-tailed interval of the q-quantile.

    Each tail is at most (1 - level) / 2. A rank is None where `count` values cannot bound
    the quantile on that side.

    Raises:
        ValueError: `q` or `level` is not strictly between 0 and 1.
    """
    if not (0 < q < 1 and 0 < level < 1):
        raise ValueError(f"q = {q} and level = {level} must be strictly between 0 and 1")
    if count <= 0:
        return (None, None)
    tail = (1 - level) / 2
    if math.sqrt(count * q * (1 - q)) > _EXACT_SIGMA:
        return _expanded_ranks(count, q, tail)
    first, cumulative = _binomial_cdf(count, q)
    # Low: the largest l (one-based) with P(B <= l - 1) <= tail; rank l - 1.
    low = first + int(np.searchsorted(cumulative, tail, side="right")) - 1
    # High: the smallest u (one-based) with P(B >= u) <= tail; rank u - 1.
    high = first + int(np.searchsorted(cumulative, 1 - tail, side="left"))
    return (low if low >= 0 else None, high if high < count else None)


def rank_of(count: int, q: float) -> int:
    """Return the zero-based rank floor(q (count - 1)) that stands for the q-quantile."""
    # In doubles a rank above 2**53 may round up to the one behind the last.
    return min(math.floor(q * (count - 1)), count - 1)


def enclosing_ranks(count: int, q: float, level: float) -> tuple[int | None, int | None]:
    """Return `interval_ranks`, widened to hold the rank that stands for the quantile.

    That rank is the lower one of two, and of few values in the tail the interval may begin at
    the upper one. Wider it covers the population's quantile no less often.

    Raises:
        ValueError: see `interval_ranks`.
    """
    low, high = interval_ranks(count, q, level)
    if count <= 0:
        return (low, high)
    rank = rank_of(count, q)
    return (None if low is None else min(low, rank), None if high is None else max(high, rank))


def _expanded_ranks(count: int, q: float, tail: float) -> tuple[int, int]:
    """Return the ranks by the Cornish-Fisher expansion, one rank wider than it says.

    In constant space and time, whatever count a peer claims.
    """
    z = NormalDist().inv_cdf(1 - tail)
    skew = (1 - 2 * q) * (z * z - 1) / 6
    middle, reach = count * q + skew, z * math.sqrt(count * q * (1 - q))
    return math.floor(middle - reach) - 1, math.ceil(middle + reach) + 1


def _binomial_cdf(count: int, q: float) -> tuple[int, NDArray[np.float64]]:
    """Return k0 and P(B <= k0 + i) for the k that matter."""
    mean, sigma = count * q, math.sqrt(count * q * (1 - q))
    first = max(0, math.floor(mean - _REACH_SIGMA * sigma - 1))
    last = min(count, math.ceil(mean + _REACH_SIGMA * sigma + 40))
    k = np.arange(first, last + 1, dtype=np.float64)
    log_pmf = np.empty(len(k))
    log_pmf[0] = (
        math.lgamma(count + 1)
        - math.lgamma(first + 1)
        - math.lgamma(count - first + 1)
        + first * math.log(q)
        + (count - first) * math.log1p(-q)
    )
    odds = math.log(q) - math.log1p(-q)
    log_pmf[1:] = log_pmf[0] + np.cumsum(np.log((count - k[1:] + 1) / k[1:]) + odds)
    pmf = np.exp(log_pmf)
    cumulative = np.cumsum(pmf)
    return first, np.minimum(cumulative / cumulative[-1], 1.0)
