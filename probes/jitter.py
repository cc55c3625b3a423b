"""Delay variation, by three definitions that answer three questions."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from probes.outcome import Outcomes, State

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


def ipdv_ns(
    outcomes: Outcomes, before: Outcomes | None, interval_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return D(i) - D(i-1) of consecutive packets (RFC 3393), signed, and the quality of each.

    The selection function takes each packet and the one due an interval before it, when both
    were answered and their timestamps are of one quality. D is the round trip without the far
    end's dwell.

    Args:
        outcomes: The packets of a window, in the order of sending.
        before: The packet before the first of them, shape (1,), if there was one.
        interval_ns: From one due time to the next.
    """
    rows = outcomes if before is None else np.concatenate([before, outcomes])
    answered = rows["state"] == State.ANSWERED
    pairs = answered[1:] & answered[:-1] & (np.diff(rows["due_ns"]) == interval_ns)
    pairs &= rows["quality"][1:] == rows["quality"][:-1]
    return np.diff(rows["rtt_ns"])[pairs], rows["quality"][1:][pairs]


def packet_delay_variation(delays_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return D(i) - Dmin for each delay (RFC 5481 §4.2), seconds, shape (n,).

    It is never negative and needs no synchronised clocks; Dmin is the least of `delays_s`.
    """
    return delays_s - delays_s.min() if delays_s.size else delays_s
