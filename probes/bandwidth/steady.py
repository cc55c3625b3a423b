"""From octets and times to a rate, and how sure it is. No socket, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SPAN_S: Final = 0.5
_STEP_S: Final = 0.05
_SPANS_MIN: Final = 8  # beside each other, below which a median says no more than the average
SPREAD_MAX: Final = 0.03  # between spans: interquartile range by median
STALLED_MAX: Final = 0.03  # of the time
_BATCHES: Final = 16
_T: Final = 2.131  # Student's t, 15 degrees of freedom, 97.5 %
_PER_BATCH_MIN: Final = 4  # samples


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast octets came, in bit/s.

    `bit_per_s` is the average, or the median of all spans of half a second where that is more and
    the path carries steadily. Then moments in which a router or a host got no processor and the
    full queue stood still do not count, nor acknowledgements that were late at the end; `stalled`
    says which part of the time that was. Where spans differ by more than `SPREAD_MAX`, or more than
    `STALLED_MAX` of the time is missing, that is the path's nature, and the average is the figure.
    """

    bit_per_s: float
    average_bit_per_s: float
    low_bit_per_s: float | None  # 95 % interval; None: too few samples to say
    high_bit_per_s: float | None
    steady: bool
    stalled: float  # share of the time that is left out; 0 where not steady


def rate_of(
    times_s: NDArray[np.float64], octets: NDArray[np.float64], *, robust: bool = True
) -> Rate:
    """Return the rate at which octets came.

    Args:
        times_s: Of the samples, rising; at least two.
        octets: All so far, at each.
        robust: Whether a stall may be left out, if the path is steady else.
    """
    length_s = float(times_s[-1] - times_s[0])
    average = float(octets[-1] - octets[0]) / length_s
    typical = _typical(times_s, octets, average) if robust else None
    rate = average if typical is None else max(average, typical)
    around = _half_interval(times_s, octets)
    return Rate(
        bit_per_s=rate * 8,
        average_bit_per_s=average * 8,
        low_bit_per_s=None if around is None else max(0.0, rate - around) * 8,
        high_bit_per_s=None if around is None else (rate + around) * 8,
        steady=typical is not None,
        stalled=1 - average / rate if rate else 0.0,
    )


def _typical(
    times_s: NDArray[np.float64], octets: NDArray[np.float64], average: float
) -> float | None:
    """Return the median rate of the spans; None: the path does not carry steadily."""
    last_s = times_s[-1] - SPAN_S
    if last_s - times_s[0] < (_SPANS_MIN - 1) * SPAN_S:
        return None
    begins_s = np.arange(times_s[0], last_s, _STEP_S)
    carried = np.interp(begins_s + SPAN_S, times_s, octets) - np.interp(begins_s, times_s, octets)
    low, middle, high = (float(each) / SPAN_S for each in np.quantile(carried, [0.25, 0.5, 0.75]))
    if high - low > SPREAD_MAX * middle or abs(average - middle) > STALLED_MAX * middle:
        return None
    return middle


def _half_interval(times_s: NDArray[np.float64], octets: NDArray[np.float64]) -> float | None:
    """Return half of the 95 % interval of the average, by batch means; octets a second.

    What the batches share at their ends makes it rather too wide than too narrow.
    """
    if len(times_s) < _BATCHES * _PER_BATCH_MIN:
        return None
    ends_s = np.linspace(times_s[0], times_s[-1], _BATCHES + 1)
    rates = np.diff(np.interp(ends_s, times_s, octets)) / (ends_s[1] - ends_s[0])
    return float(_T * rates.std(ddof=1) / np.sqrt(_BATCHES))
