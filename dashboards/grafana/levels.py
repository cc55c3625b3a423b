"""Where colours change, by what the objectives say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from dashboards.grafana.panels import Json
from slo.burn import PAIRS, Severity
from slo.objective import DEFAULT_PERIOD_S, Objective

Steps = Sequence[tuple[str, float | None]]

BUDGET: Final[Steps] = (("red", None), ("orange", 0.1), ("yellow", 0.25), ("green", 0.5))
COVERAGE: Final[Steps] = (("red", None), ("orange", 0.5), ("yellow", 0.9), ("green", 0.99))
ANY_IS_BAD: Final[Steps] = (("green", None), ("red", 1))
ANY_IS_WORTH_A_LOOK: Final[Steps] = (("green", None), ("orange", 1))
LOSS: Final[Steps] = (("green", None), ("yellow", 0.001), ("orange", 0.01), ("red", 0.05))


def silence(after_s: float) -> Steps:
    """Return steps of an age, seconds: red from when an alert counts it as silent."""
    return (("green", None), ("yellow", after_s / 2), ("red", after_s))


def mapping(value: float, text: str, colour: str) -> Json:
    """Return a value mapping: a text and a colour for one value."""
    return {
        "type": "value",
        "options": {f"{value:g}": {"color": colour, "index": 0, "text": text}},
    }


@dataclass(frozen=True, slots=True)
class Levels:
    """Burn rates at which somebody is told, the lowest of all objectives."""

    ticket: float
    page: float

    @classmethod
    def of(cls, objectives: Iterable[Objective]) -> Levels:
        """Take them from the objectives' alert policies; the Workbook's where there are none."""
        found: dict[Severity, float] = {}
        every = [(pair, o.window_s) for o in objectives for pair in o.alerts.pairs]
        for pair, period_s in [*every, *((pair, DEFAULT_PERIOD_S) for pair in PAIRS)]:
            if every and (pair, period_s) not in every and pair.severity in found:
                continue
            rate = float(pair.threshold(period_s))
            found[pair.severity] = min(rate, found.get(pair.severity, rate))
        return cls(found[Severity.TICKET], found[Severity.PAGE])

    @property
    def burn(self) -> Steps:
        """Return steps of a burn rate: above 1 the budget does not last its period."""
        steps: list[tuple[str, float | None]] = [("green", None), ("yellow", 1.0)]
        if self.ticket > 1.0:
            steps.append(("orange", self.ticket))
        if self.page > max(1.0, self.ticket):
            steps.append(("red", self.page))
        return steps
