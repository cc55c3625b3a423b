"""What an event may add to a budget, when the target has changed within a window."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from fractions import Fraction

from slo.objective import Objective

Targets = Mapping[str, Sequence[tuple[int, str]]]  # by objective: (in force since, ratio), in order


def least_share(objective: Objective, targets: Targets, start_s: float) -> Fraction:
    """Return the least budget of an event since `start_s`, under whichever target it came.

    A window with little budget is one in which little was measured only if its events are taken
    under the targets that they came under: a laxer target would else make each window that
    reaches back before it unknown, for as long as days.
    """
    eras = targets.get(objective.name, ())
    first = max(0, bisect_right([since_s for since_s, _ in eras], start_s) - 1)
    return min(
        1 - Fraction(text) for text in (objective.target_text, *(t for _, t in eras[first:]))
    )
