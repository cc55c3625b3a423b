"""When an objective alerts, and whom."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from netslo.model import WINDOW_S
from slo.burn import GUARD, PAIRS, BurnPair, Guard

HEARTBEAT: Final = "heartbeat"  # the receiver that hears the watchdog, and nothing else


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


def accelerated(policy: AlertPolicy, times: int) -> AlertPolicy:
    """Return a policy whose windows go by `times` faster, for a trial of minutes.

    Burn rates to exceed stay as they are. No window is shorter than one of the probes'.
    """
    pairs = []
    for pair in policy.pairs:
        long_s, short_s = (
            max(WINDOW_S, length_s // times // WINDOW_S * WINDOW_S)
            for length_s in (pair.long_s, pair.short_s)
        )
        share = pair.budget_share * long_s / pair.long_s
        pairs.append(replace(pair, budget_share=share, long_s=long_s, short_s=short_s))
    return replace(policy, pairs=tuple(pairs))


DEFAULT_POLICY: Final = AlertPolicy()
DEFAULT_COVERAGE_MIN: Final = Fraction(1, 2)
