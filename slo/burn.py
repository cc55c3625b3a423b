"""When a burn rate is worth a person's attention: multi-window, multi-burn-rate pairs.

Google, The Site Reliability Workbook, chapter 5: somebody is told when a given share of the
period's budget would go within a long window, and a short window says it still goes on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

from netslo.units import format_duration
from slo.budget import Spend

SHORT_DIVISOR: Final = 12  # the Workbook's: 1 h with 5 min, 3 d with 6 h


class Severity(StrEnum):
    """How soon a person should look, the most urgent first."""

    PAGE = "page"  # now
    TICKET = "ticket"  # within days


@dataclass(frozen=True, slots=True)
class Guard:
    """What few events must show before they wake anybody.

    Three packets a month lost at random must not: at 99.9 % and one packet a minute, a single
    loss is a burn rate of 16 in the hour. From three on, false pages are rare. With
    `confidence`, the long window must also be worse than its threshold at that level of
    confidence (one-sided, Garwood 1936), whatever the number of bad events.
    """

    bad_events_min: int = 3
    confidence: float | None = None

    def admits(self, spend: Spend, threshold: Fraction) -> bool:
        """Whether a long window that burns faster than `threshold` is more than chance."""
        if spend.bad < self.bad_events_min:
            return False
        if self.confidence is None:
            return True
        return chance_of_at_least(spend.bad, float(threshold * spend.budget)) < 1 - self.confidence


GUARD: Final = Guard()
BAD_EVENTS_MIN: Final = GUARD.bad_events_min


def chance_of_at_least(count: int, mean: float) -> float:
    """Return how likely a Poisson variable of `mean` is `count` or more.

    This is below alpha just when the exact lower bound of the mean, at confidence 1 - alpha,
    lies above `mean`.
    """
    if count <= 0:
        return 1.0
    if mean <= 0:
        return 0.0
    if count > mean:
        return min(1.0, _poisson_sum(count, mean, 1))
    return max(0.0, 1.0 - _poisson_sum(count - 1, mean, -1))


def _poisson_sum(first: int, mean: float, step: int) -> float:
    """Add the probabilities of `first` and all beyond it, away from the mean."""
    term = math.exp(first * math.log(mean) - mean - math.lgamma(first + 1))
    total, k = 0.0, first
    while term > total * 1e-16 and k >= 0:
        total += term
        term *= mean / (k + 1) if step > 0 else k / mean
        k += step
    return total


@dataclass(frozen=True, slots=True)
class BurnPair:
    """Fires when `budget_share` of a period's budget would be spent within `long_s` seconds.

    The short window must burn too, and so ends the alert soon; it is a twelfth of the long one
    unless given.
    """

    severity: Severity
    budget_share: Fraction
    long_s: int
    short_s: int = 0

    def __post_init__(self) -> None:
        if not self.short_s:
            object.__setattr__(self, "short_s", self.long_s // SHORT_DIVISOR)

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

    def fires(self, period_s: int, long: Spend, short: Spend, guard: Guard = GUARD) -> bool:
        """Whether both windows burn faster than the threshold, by more than chance."""
        if long.burn_rate is None or short.burn_rate is None:
            return False
        threshold = self.threshold(period_s)
        return (
            long.burn_rate > threshold
            and short.burn_rate > threshold
            and guard.admits(long, threshold)
        )


PAIRS: Final = (
    BurnPair(Severity.PAGE, Fraction(2, 100), 3600),
    BurnPair(Severity.PAGE, Fraction(5, 100), 6 * 3600),
    BurnPair(Severity.TICKET, Fraction(10, 100), 86400),
    BurnPair(Severity.TICKET, Fraction(10, 100), 3 * 86400),
)

WINDOWS_S: Final = tuple(sorted({s for pair in PAIRS for s in (pair.short_s, pair.long_s)}))


def firing(
    period_s: int,
    spends: Mapping[int, Spend],
    pairs: Sequence[BurnPair] = PAIRS,
    guard: Guard = GUARD,
) -> tuple[BurnPair, ...]:
    """Return the pairs that fire, the most urgent first.

    Args:
        period_s: The period of the budget, in seconds.
        spends: The spend over the last so many seconds. A pair with a window that is not
            among them cannot be judged and does not fire.
        pairs: Those of the objective.
        guard: That of the objective.
    """
    return tuple(
        pair
        for pair in pairs
        if pair.long_s in spends
        and pair.short_s in spends
        and pair.fires(period_s, spends[pair.long_s], spends[pair.short_s], guard)
    )
