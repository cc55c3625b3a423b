"""When a burn rate is worth a person's attention: multi-window, multi-burn-rate pairs.

Google, The Site Reliability Workbook, chapter 5: somebody is told when a given share of the
period's budget would go within a long window, and a short window says it still goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

from netslo.units import format_duration
from slo.budget import Spend

# Three probe packets a month lost at random must not wake anybody: at 99.9 % and one packet a
# minute, a single loss is a burn rate of 16 in the hour. From three on, false pages are rare.
BAD_EVENTS_MIN: Final = 3

_SHORT_DIVISOR = 12  # the Workbook's: 1 h with 5 min, 3 d with 6 h


class Severity(StrEnum):
    """How soon a person should look, the most urgent first."""

    PAGE = "page"  # now
    TICKET = "ticket"  # within days


@dataclass(frozen=True, slots=True)
class BurnPair:
    """Fires when `budget_share` of a period's budget would be spent within `long_s` seconds."""

    severity: Severity
    budget_share: Fraction
    long_s: int

    @property
    def short_s(self) -> int:
        """The window, in seconds, which must burn too and so ends the alert soon."""
        return self.long_s // _SHORT_DIVISOR

    @property
    def long(self) -> str:
        return format_duration(self.long_s)

    @property
    def short(self) -> str:
        return format_duration(self.short_s)

    def threshold(self, period_s: int) -> Fraction:
        """Return the burn rate to exceed, for a budget of `period_s` seconds."""
        return self.budget_share * period_s / self.long_s

    def error_ratio_min(self, target: Fraction, period_s: int) -> Fraction:
        """Return the error ratio to exceed; at 1 and above the pair can never fire."""
        return self.threshold(period_s) * (1 - target)

    def detection_s(
        self, target: Fraction, period_s: int, error_ratio: Fraction
    ) -> Fraction | None:
        """Return how long a constant error ratio from a clean start takes to fire.

        Seconds; None when it never does. Reporting and evaluation come on top.
        """
        needed = self.error_ratio_min(target, period_s)
        return needed * self.long_s / error_ratio if error_ratio > needed else None

    def fires(self, period_s: int, long: Spend, short: Spend) -> bool:
        """Whether both windows burn faster than the threshold, by enough bad events."""
        if long.bad < BAD_EVENTS_MIN or long.burn_rate is None or short.burn_rate is None:
            return False
        threshold = self.threshold(period_s)
        return long.burn_rate > threshold and short.burn_rate > threshold


PAIRS: Final = (
    BurnPair(Severity.PAGE, Fraction(2, 100), 3600),
    BurnPair(Severity.PAGE, Fraction(5, 100), 6 * 3600),
    BurnPair(Severity.TICKET, Fraction(10, 100), 86400),
    BurnPair(Severity.TICKET, Fraction(10, 100), 3 * 86400),
)

WINDOWS_S: Final = tuple(sorted({s for pair in PAIRS for s in (pair.short_s, pair.long_s)}))


def firing(period_s: int, spends: Mapping[int, Spend]) -> tuple[BurnPair, ...]:
    """Return the pairs that fire, the most urgent first.

    Args:
        period_s: The period of the budget, in seconds.
        spends: The spend over the last so many seconds. A pair with a window that is not
            among them cannot be judged and does not fire.
    """
    return tuple(
        pair
        for pair in PAIRS
        if pair.long_s in spends
        and pair.short_s in spends
        and pair.fires(period_s, spends[pair.long_s], spends[pair.short_s])
    )
