"""When an objective alerts, and whom."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from slo.burn import GUARD, PAIRS, BurnPair, Guard


@dataclass(frozen=True, slots=True)
class NotificationTarget:
    """Whom an alert is for: an OpenSLO AlertNotificationTarget."""

    name: str
    target: str  # what it is, such as email, slack or webhook
    display_name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """When somebody is told, and who.

    `pairs` stand the most urgent first; none at all is an objective that alerts nobody.
    `escalation` names the receiver of pages that nobody took up.
    """

    pairs: tuple[BurnPair, ...] = PAIRS
    guard: Guard = GUARD
    targets: tuple[NotificationTarget, ...] = ()
    escalation: str | None = None

    @property
    def windows_s(self) -> tuple[int, ...]:
        """The lengths of all windows that the pairs look at, in seconds, sorted."""
        return tuple(sorted({s for pair in self.pairs for s in (pair.short_s, pair.long_s)}))


DEFAULT_POLICY: Final = AlertPolicy()
DEFAULT_COVERAGE_MIN: Final = Fraction(1, 2)
