"""One-way delays, as far as the clocks at both ends allow them to be told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.windows import FORWARD, IMPRECISE, REVERSE, UNSYNCHRONISED
from netslo.model import NS_PER_S
from probes.clock import ClockState
from probes.outcome import NO_SPAN, UNKNOWN, Outcomes

SPANS = {FORWARD: "forward_ns", REVERSE: "backward_ns"}

_SYNCHRONISED = 0x8000
_SCALE, _MULTIPLIER = 0x3F, 0xFF


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """The far clock minus ours, at one moment, and how far that may be off."""

    offset_s: float
    error_s: float


def known(answered: Outcomes, direction: str) -> Outcomes:
    """Return the answers of which the far end told its times."""
    found: Outcomes = answered[answered[SPANS[direction]] != NO_SPAN]
    return found


def error_s_max(answered: Outcomes, clock: ClockState) -> float | None:
    """Return how far any one-way delay may be off: this clock's error and the far one's.

    None when either clock does not follow UTC, by its own words: the kernel's here (adjtimex,
    which chrony, ntpd and ptp4l feed), the Error Estimate of the replies there (RFC 8762 §4.2).
    """
    if not clock.synchronised or clock.error_s_max is None or not len(answered):
        return None
    told = np.unique(answered["far_error"])
    multiplier, scale = told & _MULTIPLIER, (told >> 8) & _SCALE
    if ((told == UNKNOWN) | (told & _SYNCHRONISED == 0) | (multiplier == 0)).any():
        return None
    far_s: NDArray[np.float64] = multiplier * np.exp2(scale - 32.0)
    return clock.error_s_max + float(far_s.max())


def why_withheld(delays_s: NDArray[np.float64], error_s: float | None) -> str | None:
    """Return why delays are not facts; None when each is larger than the clocks' error.

    A delay that is smaller than the error, or negative, says of the clocks, not of the network;
    and the clocks were the same for its neighbours.
    """
    if error_s is None:
        return UNSYNCHRONISED
    return None if delays_s.min() > error_s else IMPRECISE


def clock_offset(answered: Outcomes) -> ClockOffset | None:
    """Return the far clock's offset by the quickest round trip; None where no times are told.

    ((T2 - T1) + (T3 - T4)) / 2, as NTP has it (RFC 5905 §8). Neither way can take less than
    nothing, so the offset is within half the round trip of this, whatever the clocks say.
    """
    told = known(answered, FORWARD)
    if not len(told):
        return None
    best = told[np.argmin(told["forward_ns"] + told["backward_ns"])]
    forward_ns, backward_ns = int(best["forward_ns"]), int(best["backward_ns"])
    return ClockOffset(
        (forward_ns - backward_ns) / 2 / NS_PER_S,
        max(0, forward_ns + backward_ns) / 2 / NS_PER_S,
    )
