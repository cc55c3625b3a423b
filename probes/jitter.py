"""Delay variation, by two definitions that answer two questions."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_GAIN: Final = 16  # RFC 3550 §6.4.1: "a good noise reduction ratio"


class InterarrivalJitter:
    """The running estimate of RFC 3550 §6.4.1 and appendix A.8: J += (|D| - J) / 16.

    D is the change of transit time from one arrival to the next, in arrival order. Here the
    transit is the round trip without the far end's dwell.
    """

    __slots__ = ("_estimate_s", "_previous_s")

    def __init__(self) -> None:
        self._estimate_s: float | None = None
        self._previous_s: float | None = None

    @property
    def estimate_s(self) -> float | None:
        """Seconds; None before the second arrival."""
        return self._estimate_s

    def observe(self, transit_s: float) -> None:
        """Take in the next arrival."""
        if self._previous_s is not None:
            change_s = abs(transit_s - self._previous_s)
            estimate_s = self._estimate_s or 0.0
            self._estimate_s = estimate_s + (change_s - estimate_s) / _GAIN
        self._previous_s = transit_s


def packet_delay_variation(delays_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return D(i) - Dmin for each delay (RFC 5481 §4.2), seconds, shape (n,).

    It is never negative and needs no synchronised clocks; Dmin is the least of `delays_s`.
    """
    return delays_s - delays_s.min() if delays_s.size else delays_s
