"""Objectives by time slice: an event is a slice of time rather than a packet.

OpenSLO's `Timeslices` calls a slice good when enough of its packets were good; its
`RatioTimeslices` adds up the share of good packets of each slice, whatever their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from analytics.windows import SloCounts

# The shares of RatioTimeslices are counted in millionths of a slice: counters stay whole
# numbers, and a slice is off by half a millionth at most.
PARTS: Final = 1_000_000

LENGTHS_S: Final = (60, 300, 600, 900, 1800, 3600)  # whole 5 min windows, or hot ones only
# Capacity tests may be hours apart; a day is whole slices of each.
RATE_LENGTHS_S: Final = (*LENGTHS_S, *(hours * 3600 for hours in (2, 3, 4, 6, 8, 12, 24)))


@dataclass(frozen=True, slots=True)
class TimeSlices:
    """How time is cut, UTC-aligned, and when a slice is good.

    `good_ratio_min` is the share of a slice's packets that must be good; None counts the share
    itself (RatioTimeslices). With fewer than `packets_min` measured packets a slice is
    unmeasured.
    """

    length_s: int
    good_ratio_min: Fraction | None
    packets_min: int = 1

    @property
    def events_per_slice(self) -> int:
        """What one slice adds to the counters."""
        return 1 if self.good_ratio_min is not None else PARTS

    def judge(self, packets: SloCounts) -> SloCounts:
        """Turn the packets of one whole slice, good, bad and unmeasured, into its events."""
        if packets.events < max(1, self.packets_min):
            return SloCounts(unmeasured=self.events_per_slice)
        if self.good_ratio_min is None:
            bad = _round(Fraction(PARTS * packets.bad, packets.events))
            return SloCounts(PARTS - bad, bad)
        good = packets.good >= self.good_ratio_min * packets.events
        return SloCounts(int(good), int(not good))


def _round(exact: Fraction) -> int:
    """Round half up, so that a tie is never flattering."""
    return (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)
