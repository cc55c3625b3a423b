"""Error budgets and burn rates, exactly: integers and fractions in, fractions out.

Of n valid events under a target ratio T, (1 - T) n may be bad: the budget. The burn rate
over a window is bad / budget of that window: 1 spends a period's budget in one period.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Self


def budget_events(target: Fraction, events: int) -> Fraction:
    """Return how many of `events` may be bad under the target ratio `target`.

    Raises:
        ValueError: the target is not inside (0, 1), or `events` is negative.
    """
    if not 0 < target < 1:
        raise ValueError(f"target is {target}, must be greater than 0 and less than 1")
    if events < 0:
        raise ValueError(f"events is {events}, must not be negative")
    return (1 - target) * events


class MissingData(StrEnum):
    """What an event is taken for that could not be measured."""

    IGNORE = "ignore"  # for nothing: coverage falls, and below its minimum burn is unknown
    BAD = "bad"
    GOOD = "good"


@dataclass(frozen=True, slots=True)
class Spend:
    """What one objective had and spent on one path over one window.

    Spends add up: those of two windows side by side give that of both, and the budget stays
    right when the target changed in between.
    """

    events: int = 0
    bad: int = 0
    unmeasured: int = 0  # due, but neither good nor bad: never an event
    budget: Fraction = Fraction(0)  # bad events allowed
    unmeasured_budget: Fraction = Fraction(0)  # what more would be allowed, were they events

    @classmethod
    def under(cls, target: Fraction, events: int, bad: int, unmeasured: int = 0) -> Self:
        """Return the spend of a window which had one target all along."""
        return cls(
            events,
            bad,
            unmeasured,
            budget_events(target, events),
            budget_events(target, unmeasured),
        )

    def taking(self, missing: MissingData) -> Spend:
        """Return the spend with what is unmeasured taken for bad, for good or for nothing."""
        if missing is MissingData.IGNORE:
            return self
        return Spend(
            self.events + self.unmeasured,
            self.bad + (self.unmeasured if missing is MissingData.BAD else 0),
            0,
            self.budget + self.unmeasured_budget,
        )

    def __add__(self, other: Spend) -> Spend:
        return Spend(
            self.events + other.events,
            self.bad + other.bad,
            self.unmeasured + other.unmeasured,
            self.budget + other.budget,
            _sum(self.unmeasured_budget, other.unmeasured_budget),
        )

    def at_least(self, other: Spend) -> Spend:
        """Return each count where it is highest: counters never go back."""
        return Spend(
            max(self.events, other.events),
            max(self.bad, other.bad),
            max(self.unmeasured, other.unmeasured),
            max(self.budget, other.budget),
            max(self.unmeasured_budget, other.unmeasured_budget),
        )

    @property
    def burn_rate(self) -> Fraction | None:
        """Bad events per budget event; None without a budget, for 0/0 is not 0."""
        return self.bad / self.budget if self.budget else None

    def burns_faster(self, threshold: Fraction) -> bool:
        """Whether the burn rate is above a threshold; never without a budget."""
        return self.bad > 0 and self.budget > 0 and self.bad > threshold * self.budget

    @property
    def remaining(self) -> Fraction | None:
        """The share of the budget that is left: negative when overspent, None without one."""
        burn = self.burn_rate
        return None if burn is None else 1 - burn


def _sum(one: Fraction, other: Fraction) -> Fraction:
    """Return the sum, without an addition where one is 0, as mostly."""
    return one + other if one and other else one or other
