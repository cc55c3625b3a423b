"""When a burn rate is worth a person's attention: multi-window, multi-burn-rate pairs.

Google, The Site Reliability Workbook, chapter 5: somebody is told when a given share of the
period's budget would go within a long window, and a short window says it still goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from typing import Final

from netslo.units import format_duration
from slo.budget import Spend

_COUNT_MAX: Final = 1000  # bad events beyond twice the mean: no chance is as small

SHORT_DIVISOR: Final = 12  # the Workbook's: 1 h with 5 min, 3 d with 6 h


class Severity(StrEnum):
    """How soon a person should look, the most urgent first."""

    PAGE = "page"  # now
    TICKET = "ticket"  # within days


@dataclass(frozen=True, slots=True)
class Guard:
    """What few events must show before they wake anybody.

    A few packets lost at random must not: at 99.9 % and one packet a minute, a single loss is a
    burn rate of 16 in the hour. So the long window must hold `bad_events_min` bad events. With
    `confidence`, it must hold so many that, on a path which spends half of its budget evenly,
    this share of periods passes without a false alert of the pair: more where packets are few,
    and no more than the threshold itself where there are many.

    `parts` is what one event counts in the counters: see `slo.slices`.
    """

    bad_events_min: int = 3
    confidence: float | None = None
    parts: int = 1

    def least(self, budget: Fraction, threshold: Fraction, windows: Fraction) -> int:
        """Return how many bad events, in the counters, a long window needs.

        Args:
            budget: The window's budget events.
            threshold: The burn rate above which the pair fires.
            windows: How many such windows a period has.
        """
        if self.confidence is None:
            return self.parts * self.bad_events_min
        # Nobody looks for a burn rate below a half and wants to be told of half of it.
        healthy = float(min(Fraction(1), threshold) / 2 * budget / self.parts)
        false_max = (1 - self.confidence) / float(windows)
        return self.parts * _least_by_chance(self.bad_events_min, healthy, false_max)


GUARD: Final = Guard(3, 0.99)


@lru_cache(maxsize=4096)
def _least_by_chance(at_least: int, mean: float, false_max: float) -> int:
    """Return the least count, from `at_least` on, that chance makes rare enough.

    Of `mean` bad events in a window, each is the last of k with the chance that k - 1 others
    came in the window before it. So k are seen mean * P(X >= k - 1) times a window, or less.
    """
    low, high = at_least, max(at_least, 2 * math.ceil(mean) + _COUNT_MAX)
    while low < high:  # the chance falls as the count grows
        middle = (low + high) // 2
        if mean * chance_of_at_least(middle - 1, mean) <= false_max:
            high = middle
        else:
            low = middle + 1
    return low


def chance_of_at_least(count: int, mean: float) -> float:
    """Return how likely a Poisson variable of `mean` is `count` or more.

    This is below alpha just when the exact lower bound of the mean, at confidence 1 - alpha,
    lies above `mean` (Garwood 1936).
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

    def windows(self, period_s: int) -> Fraction:
        """Return how many long windows a period of `period_s` seconds has."""
        return Fraction(period_s, self.long_s)

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

    def fires(
        self, period_s: int, long: Spend, short: Spend, bad_events_min: int = GUARD.bad_events_min
    ) -> bool:
        """Whether both windows burn faster than the threshold, the long one by so many events."""
        if not (short.bad and long.bad):  # most paths, most of the time
            return False
        threshold = self.threshold(period_s)
        return (
            short.burns_faster(threshold)
            and long.burns_faster(threshold)
            and long.bad >= bad_events_min
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
    bad_events_min: Callable[[BurnPair], int] = lambda _: GUARD.bad_events_min,
) -> tuple[BurnPair, ...]:
    """Return the pairs that fire, the most urgent first.

    Args:
        period_s: The period of the budget, in seconds.
        spends: The spend over the last so many seconds. A pair with a window that is not
            among them cannot be judged and does not fire.
        pairs: Those of the objective.
        bad_events_min: How many the guard asks of a long window: see `slo.due`.
    """
    return tuple(
        pair
        for pair in pairs
        if pair.long_s in spends
        and pair.short_s in spends
        and pair.fires(period_s, spends[pair.long_s], spends[pair.short_s], bad_events_min(pair))
    )
