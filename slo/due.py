"""What the probing plan makes due, and how much of it a window must have to say anything.

One place decides for all who judge: engine, rules, status and backtest. What a probe did not even
report is missing as much as what it could not measure, so windows are held against the plan.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

from netslo.estate import Estate
from netslo.model import Path
from slo.budget import MissingData, Spend
from slo.burn import BurnPair
from slo.exclusion import Exclusion, Interval, clip, excluded_times, merge
from slo.objective import Indicator, Objective
from slo.rates import GRACE_S
from slo.targets import Targets, least_share

_NOTHING = Spend()


def events_due(objective: Objective, estate: Estate, window_s: int) -> Fraction:
    """Return how many events the probing plan makes due on a path in a window."""
    if objective.slices is not None:
        return Fraction(window_s, objective.slices.length_s) * objective.slices.events_per_slice
    return window_s / objective.interval_s(estate)


def events_min(objective: Objective, estate: Estate, window_s: int) -> int:
    """Return the events without which a window says nothing: a young series, a gap.

    That is the objective's least coverage of what the probing plan makes due in the window. An
    objective that takes missing data for good or bad judges from its first event on.
    """
    if objective.missing_data is not MissingData.IGNORE:
        return 1
    return max(1, math.ceil(objective.coverage_min * events_due(objective, estate, window_s)))


def budget_events_min(
    objective: Objective, estate: Estate, window_s: int, share: Fraction | None = None
) -> Fraction:
    """Return the same in budget events.

    `share` is the budget of an event, if not that of the target: see `slo.targets.least_share`.
    It is half an event less, for Prometheus' differences of floats fall short of a whole one.
    """
    one = 1 - objective.target if share is None else share
    return one * (events_min(objective, estate, window_s) - Fraction(1, 2))


def bad_events_min(objective: Objective, estate: Estate, pair: BurnPair, scale: int = 1) -> int:
    """Return how many bad events a long window needs, by the objective's guard.

    With a confidence it depends on the budget; here that of a window in which all is measured,
    which asks for no less than any other. `scale` is how much faster windows go by in a trial.
    """
    budget = (1 - objective.target) * events_due(objective, estate, pair.long_s) / scale
    return objective.guard.least(
        budget, pair.threshold(objective.window_s), pair.windows(objective.window_s)
    )


def lacking_s(objective: Objective) -> int:
    """Return for how long after an excluded time the shortest window may lack events; seconds.

    A slice that touches the time does not count either, and those of bandwidth are told late.
    """
    shortest_s = min(objective.alerts.windows_s, default=0)
    if objective.slices is None:
        return shortest_s
    return shortest_s + objective.slices.length_s + GRACE_S


class Due:
    """The same of one estate again and again: what does not change is worked out once."""

    def __init__(self, estate: Estate, targets: Targets | None = None) -> None:
        """`targets` are those that objectives ever had, if they changed."""
        self._estate = estate
        self._targets = targets or {}
        self._events_min: dict[tuple[str, int], int] = {}
        self._bad_min: dict[tuple[str, BurnPair], int] = {}
        self._least: dict[tuple[str, int], tuple[float, Fraction]] = {}  # and when it was asked
        self._planned: dict[tuple[str, float], tuple[Interval, Fraction]] = {}  # by interval

    def budget_least(self, objective: Objective, window_s: int, now_s: float) -> Fraction:
        """Return the budget events without which a window that ends now says nothing."""
        key = objective.name, window_s
        known = self._least.get(key)
        if known is None or known[0] != now_s:
            if key not in self._events_min:
                self._events_min[key] = events_min(objective, self._estate, window_s)
            share = least_share(objective, self._targets, now_s - window_s)
            known = self._least[key] = now_s, share * (self._events_min[key] - Fraction(1, 2))
        return known[1]

    def known(self, objective: Objective, spend: Spend, window_s: int, now_s: float) -> Spend:
        """Return what a window says of burning: nothing when too little of it was measured.

        What was reported as missing counts as the objective says.
        """
        taken = spend.taking(objective.missing_data)
        return taken if taken.budget >= self.budget_least(objective, window_s, now_s) else _NOTHING

    def bad_least(self, objective: Objective, pair: BurnPair) -> int:
        """Return how many bad events the long window of a pair needs."""
        key = objective.name, pair
        if key not in self._bad_min:
            self._bad_min[key] = bad_events_min(objective, self._estate, pair)
        return self._bad_min[key]

    def planned(
        self,
        objective: Objective,
        path: Path,
        span: Interval,
        exclusions: Iterable[Exclusion] = (),
    ) -> Fraction:
        """Return how many events the plan makes due on a path in a span, excluded times left out.

        Unlike the least events of a window, this goes by the interval of the path itself.
        """
        out = excluded_times(exclusions, objective.name, path)
        if out:
            return self._planned_without(objective, path, span, out)
        key = objective.name, self._estate.interval_s(path)
        known = self._planned.get(key)
        if known is None or known[0] != span:
            known = self._planned[key] = span, self._planned_without(objective, path, span, ())
        return known[1]

    def _planned_without(
        self, objective: Objective, path: Path, span: Interval, out: Sequence[Interval]
    ) -> Fraction:
        start_s, end_s = span
        if objective.slices is None:
            out_s = sum(high_s - low_s for low_s, high_s in clip(out, start_s, end_s))
            return (end_s - start_s - out_s) / self.interval_s(path)
        # Whole slices that have ended, as `slo.slice_reader` has them.
        length_s = objective.slices.length_s
        grace_s = GRACE_S if objective.indicator is Indicator.BANDWIDTH else 0
        first, end = ((at_s - grace_s) // length_s for at_s in span)
        touched = merge((low_s // length_s, -(-high_s // length_s)) for low_s, high_s in out)
        gone = sum(high - low for low, high in clip(touched, first, end))
        return Fraction((end - first - gone) * objective.slices.events_per_slice)

    def interval_s(self, path: Path) -> Fraction:
        """Return how long it is from one packet to the next on a path."""
        return Fraction(str(self._estate.interval_s(path)))


def events_expected(planned: Fraction, counted: int) -> Fraction:
    """Return what was due of a span of which `counted` events were reported, measured or not.

    That is what the plan makes due, and no less than was reported: a plan may have asked for
    more before it was changed.
    """
    return planned if planned >= counted else Fraction(counted)


def coverage_of(measured: int, expected: Fraction) -> float | None:
    """Return measured events per event due; None where nothing was. Rounded once."""
    return measured * expected.denominator / expected.numerator if expected else None
