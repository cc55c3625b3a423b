"""The delay of two legs in a row: the distribution of a sum of independent delays.

Two values in buckets d apart add up to a value d + e(d) buckets above the smaller one, and e has
few distinct values: pairs of one e are summed by prefix sums, in O((n + m) 2**scale) instead of
O(n m). A packet lost on either leg never arrives, so the mass of a sum may be below one.

Error. The values x of a bucket have a representative r in [(1 - a) x, (1 + a) x], and what its
own bucket makes of a sum of two r is from 1 - a to 1 + a of it: together at most 1 + 2 a + a**2,
but at least 1 - 2 a + a**2. So sums are shared out as if they were 1 + a**2 times smaller, which
makes both sides the same: 2 a / (1 + a**2), never above 2 a. An error r of what is added makes it
(a + r) / (1 + a r), as velocities add up. No sum is further off, so no order statistic of sums is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analytics import _kernels
from analytics.mapping import ROUNDING, relative_error, representative
from analytics.sketch import BUCKET_LIMIT, Sketch

Convention = Literal["delivered", "due"]
Groups = tuple[NDArray[np.int64], NDArray[np.int64]]

_ENOUGH: Final = 64  # binades apart, a sum is the larger summand


@dataclass(frozen=True, slots=True)
class Delay:
    """A distribution of delays, some of which may never arrive.

    Bucket `offset + i` at `scale` has the weight `weights[i]`; weights of counted packets are
    their counts. `relative_error` bounds each quantile's error.
    """

    scale: int
    offset: int
    weights: NDArray[np.float64]
    zero: float  # weight of delays of zero
    lost: float  # weight of what never arrives
    relative_error: float

    @classmethod
    def of(cls, sketch: Sketch, lost: int = 0) -> Delay:
        """Return the distribution that a sketch of delays and a count of losses stand for.

        Raises:
            ValueError: a delay is negative, the scale is not above 0, or `lost` is negative.
        """
        if len(sketch.negative.counts):
            raise ValueError("a delay is negative; differences of clocks cannot be added up")
        if sketch.scale < 1:
            raise ValueError(f"scale is {sketch.scale}; values that far apart are no delays")
        if lost < 0:
            raise ValueError(f"lost is {lost}, must not be negative")
        side = sketch.positive
        return cls(
            sketch.scale,
            side.offset,
            side.counts.astype(np.float64),
            float(sketch.zero_count),
            float(lost),
            sketch.relative_error,
        )

    @property
    def arrived(self) -> float:
        """The weight of what arrives."""
        return float(self.weights.sum()) + self.zero

    @property
    def arrival_probability(self) -> float:
        """The fraction that arrives; NaN of nothing."""
        total = self.arrived + self.lost
        return self.arrived / total if total else float("nan")

    def quantiles(self, qs: ArrayLike, convention: Convention = "delivered") -> NDArray[np.float64]:
        """Return quantiles of what arrives, or of all (`due`), of which the lost are +Inf.

        Raises:
            ValueError: a q is not from 0 to 1.
        """
        wanted = np.atleast_1d(np.asarray(qs, dtype=np.float64))
        if not ((wanted >= 0) & (wanted <= 1)).all():
            raise ValueError("a quantile is not from 0 to 1")
        arrived = self.arrived
        total = arrived + (self.lost if convention == "due" else 0.0)
        if not total:
            return np.full(wanted.shape, np.nan)
        values = np.concatenate([[0.0], self._values(), [np.inf]])
        cumulative = np.cumsum(np.concatenate([[self.zero], self.weights]))
        # One weight is one packet: ranks as a sketch has them.
        rank = np.floor(wanted * max(total - 1, 0.0))
        place = np.searchsorted(cumulative, rank, side="right")
        last = np.flatnonzero(np.diff(cumulative, prepend=0.0) > 0)[-1] if arrived else -1
        place = np.where(rank < arrived, np.minimum(place, last), len(values) - 1)
        found: NDArray[np.float64] = values[place]
        return found

    def cdf(self, x: float) -> tuple[float, float]:
        """Return bounds of the probability that a packet arrives within x."""
        total = self.arrived + self.lost
        if not total or np.isnan(x):
            return (float("nan"), float("nan"))
        # A value at its bucket's end is off by just the error, and what is computed by a bit more.
        reach = self.relative_error + ROUNDING
        bounds = []
        for limit in (x * (1 - reach), x * (1 + reach)):
            within = self._values() <= limit
            zero = self.zero if x >= 0 else 0.0
            bounds.append((float(self.weights[within].sum()) + zero) / total)
        return (bounds[0], bounds[1])

    def coarser(self, steps: int) -> Delay:
        """Return the distribution at a scale `steps` lower."""
        weights, offset = self.weights, self.offset
        for _ in range(steps):
            weights = np.pad(weights, (offset & 1, (len(weights) + offset) & 1))
            weights = weights.reshape(-1, 2).sum(axis=1)
            offset >>= 1
        scale = self.scale - steps
        error = relative_error(scale)
        if self.relative_error > relative_error(self.scale):  # not all values lie in their buckets
            error = (1 + self.relative_error) * (1 + error) - 1
        return Delay(scale, offset, weights, self.zero, self.lost, error)

    def _values(self) -> NDArray[np.float64]:
        index = np.arange(self.offset, self.offset + len(self.weights), dtype=np.int64)
        return representative(index, self.scale)


def convolve(a: Delay | Sketch, b: Delay | Sketch, bucket_limit: int = BUCKET_LIMIT) -> Delay:
    """Return the distribution of the sum of two independent delays.

    At the coarser of the two scales, or coarser still where the sum spans more than
    `bucket_limit` buckets.

    Raises:
        ValueError: a sketch is not one of delays; see `Delay.of`.
    """
    a, b = (Delay.of(each) if isinstance(each, Sketch) else each for each in (a, b))
    scale = min(a.scale, b.scale)
    a, b = (each if each.scale == scale else each.coarser(each.scale - scale) for each in (a, b))
    lost = 0.0
    if a.lost or b.lost:
        arrivals = a.arrived, b.arrived
        lost = arrivals[0] * b.lost + a.lost * (arrivals[1] + b.lost)
    error = max(a.relative_error, b.relative_error)
    offset, weights = _sums(a, b, error)
    steps = 0
    while len(weights) >> steps > bucket_limit - 1 and scale - steps > 1:
        steps += 1
    if steps:  # anew, for less is lost by summands that are coarser than by a sum that is
        return convolve(a.coarser(steps), b.coarser(steps), bucket_limit)
    return Delay(scale, offset, weights, a.zero * b.zero, lost, _error_of_sums(scale, error))


def _shrunk(scale: int, error: float) -> float:
    """Return by what a sum is multiplied before its bucket is looked for."""
    # An error of 1 says nothing any more; a little less keeps a sum in the larger one's bucket.
    return 1 / (1 + relative_error(scale) * min(error, 0.99))


def _error_of_sums(scale: int, error: float) -> float:
    alpha, shrunk = relative_error(scale), _shrunk(scale, error)
    above = (1 + alpha) * shrunk * (1 + error) - 1
    below = 1 - (1 - alpha) * shrunk * (1 - error)
    return max(above, below)


def _sums(a: Delay, b: Delay, error: float) -> tuple[int, NDArray[np.float64]]:
    """Return the first bucket of the sums, and the weights from there to the last one."""
    low = min(a.offset, b.offset)
    size = max(a.offset + len(a.weights), b.offset + len(b.weights)) - low
    out = np.zeros(size + (1 << a.scale) + 1)
    begin, end = 0, -1
    if len(a.weights) and len(b.weights):
        groups = shift_groups(a.scale, error)
        begin, end = _add_sums(a, b, low, size, groups, out)
    for one, other in ((a, b), (b, a)):  # nothing and a delay is that delay
        if one.zero and len(other.weights):
            start = other.offset - low
            out[start : start + len(other.weights)] += one.zero * other.weights
            end = -1
    if end < 0:
        filled = np.flatnonzero(out)
        begin, end = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0)
    return (low + begin, out[begin:end]) if begin < end else (0, out[:0])


def _add_sums(
    a: Delay, b: Delay, low: int, size: int, groups: Groups, out: NDArray[np.float64]
) -> tuple[int, int]:
    """Add all sums to `out`; return between which of its buckets they are, (0, -1) if unknown."""
    shifts, firsts = groups
    if _kernels.pays(size * len(shifts)):
        from analytics._kernels import convolution as kernel

        places = (a.weights, a.offset - low, b.weights, b.offset - low, size)
        found = kernel.add_whole(*places, shifts, firsts, out)
        if found[1] >= 0:
            return found
    windows = []
    for each in (a, b):
        window = np.zeros(size)
        window[each.offset - low : each.offset - low + len(each.weights)] = each.weights
        windows.append(window)
    _add_half(windows[0], windows[1], shifts, firsts, 0, out)
    _add_half(windows[1], windows[0], shifts, firsts, 1, out)
    return 0, -1


@lru_cache(maxsize=64)
def shift_groups(scale: int, error: float) -> Groups:
    """Return the distinct e, and the first distance d that has each; the last has all beyond.

    They are 2**scale, which distance 0 alone has, and then all down to 0. The sum of the
    representatives of buckets i and i + d counts in bucket i + d + e(d), `error` being the
    relative error of what is added.
    """
    per_binade = 1 << scale
    d = np.arange(_ENOUGH * per_binade, dtype=np.float64)
    # Of a representative above its bucket's end, less what keeps both sides of the error alike.
    middle = np.log2(1 + relative_error(scale)) + np.log2(_shrunk(scale, error))
    reach = (middle + np.log2(1 + np.exp2(-d / per_binade))) * per_binade
    e = np.ceil(reach).astype(np.int64) - 1
    # Exactly a tie where there is no error: c (1 + base) = 2 base, the inclusive end of a bucket.
    e[1] = per_binade - 1
    firsts = np.flatnonzero(np.diff(e, prepend=e[0] + 1))
    return e[firsts], firsts


def _add_half(
    small: NDArray[np.float64],
    large: NDArray[np.float64],
    shifts: NDArray[np.int64],
    firsts: NDArray[np.int64],
    begin: int,
    out: NDArray[np.float64],
) -> None:
    if _kernels.pays(len(small) * len(shifts)):
        from analytics._kernels import convolution as kernel

        kernel.add_half(small, large, shifts, firsts, begin, out)
        return
    n = len(small)
    before = np.concatenate(([0.0], np.cumsum(small)))
    for shift, first, following in zip(shifts, firsts, [*firsts[1:], n], strict=True):
        least, end = max(int(first), begin), min(int(following), n)
        if least < end:
            j = np.arange(least, n)
            pairs = before[j - least + 1] - before[np.maximum(j - end + 1, 0)]
            out[least + shift : n + shift] += large[least:] * pairs
