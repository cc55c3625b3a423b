"""When budgets will be used up: an interval from futures like the past, or never.

Of a rolling period, what leaves it at its old end counts as much as what comes in: a budget that
was spent by an incident three weeks ago comes back next week. Of a calendar period nothing leaves,
and its whole budget is known only by how many events are still to come.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from analytics.store.interface import DAY_S
from netslo.errors import NetsloError
from slo._kernels.exhausting import use_up_by_end, use_up_rolling
from slo.calendar_period import period_at
from slo.exclusion import Interval
from slo.forecast.days import Amounts, Course, DailySpends
from slo.objective import CalendarWindow, Objective
from slo.ranges import SpendKey

QUANTILES: Final = (0.1, 0.5, 0.9)
FUTURES: Final = 400  # so that the 10th percentile is of forty of them
DAYS_MIN: Final = 3  # of the past: of fewer nothing can be said


@dataclass(frozen=True, slots=True)
class Dates:
    """When one budget is used up, Unix seconds, by quantile of the futures; None: never.

    Never means not before `end_s`: of a rolling period within one more period, of a calendar
    one before it is over. A budget that is used up already is so now.
    """

    p10: float | None
    p50: float | None
    p90: float | None
    chance: float  # of being used up before the end
    end_s: int

    def by_quantile(self) -> list[tuple[float, float | None]]:
        """Return each quantile with its date."""
        return list(zip(QUANTILES, (self.p10, self.p50, self.p90), strict=True))

    def to_json(self) -> dict[str, Any]:
        """Return the shape of `exhaustion` in `slo status --json` and /api/v1/slos."""
        return {
            "p10": self.p10,
            "p50": self.p50,
            "p90": self.p90,
            "chance": self.chance,
            "until": self.end_s,
        }


@dataclass(frozen=True, slots=True)
class SoFar:
    """What was spent of a calendar period's budget by now, as far as counts are kept."""

    start_s: int  # of the period, Unix seconds
    since_s: int  # from when on that is known; later than the start where counts have expired
    bad: float  # events
    budget: float  # of what was due since then

    def to_json(self) -> dict[str, Any]:
        return {
            "start": self.start_s,
            "since": self.since_s,
            "bad_events": self.bad,
            "budget_events": self.budget,
        }


@dataclass(frozen=True, slots=True)
class Exhaustion:
    """The dates of the rolling budget, and of the calendar one where there is one."""

    rolling: Dates
    calendar: Dates | None = None
    so_far: SoFar | None = None  # of the calendar one

    def to_json(self) -> dict[str, Any]:
        calendar = None
        if self.calendar is not None:
            so_far = {} if self.so_far is None else self.so_far.to_json()
            calendar = self.calendar.to_json() | so_far
        return {"rolling": self.rolling.to_json(), "calendar": calendar}


def forecast(
    days: DailySpends,
    objectives: Sequence[Objective],
    now_s: float,
    on_trouble: Callable[[str], None],
) -> Mapping[SpendKey, Exhaustion]:
    """Return the dates of every row of which enough days are known.

    Args:
        days: What was spent; of these objectives.
        objectives: Those of `days`.
        now_s: Unix seconds.
        on_trouble: Hears which calendar's period is not known, and why; what it says of has only
            the date of its rolling budget.
    """
    present_s = int(now_s)
    kept_s = days.kept_from_s()
    days_from_s = present_s - max((o.window_s for o in objectives), default=DAY_S)
    calendars: dict[CalendarWindow, Interval] = {}
    for objective in objectives:
        if objective.calendar is not None and objective.calendar not in calendars:
            try:
                calendars[objective.calendar] = period_at(objective.calendar, now_s)
            except NetsloError as error:
                on_trouble(f"{objective.name}: {error}")
    known_s = {max(kept_s, start_s) for start_s, _ in calendars.values()}
    cuts_s = known_s | {at_s + DAYS_MIN * DAY_S for at_s in known_s}
    course = days.read(days_from_s, present_s, cuts_s)
    found: dict[SpendKey, Exhaustion] = {}
    for objective in objectives:
        rows = [row for row, key in enumerate(course.keys) if key[0] == objective.name]
        found |= _of_objective(_rows_of(course, rows), objective, kept_s, calendars)
    return found


def _rows_of(course: Course, rows: Sequence[int]) -> Course:
    keys = tuple(course.keys[row] for row in rows)
    return Course(keys, course.edges_s, course.bad[rows], course.budget[rows])


def _of_objective(
    course: Course,
    objective: Objective,
    kept_s: int,
    calendars: Mapping[CalendarWindow, Interval],
) -> dict[SpendKey, Exhaustion]:
    now_s = int(course.edges_s[-1])
    steps = math.ceil(objective.window_s / DAY_S)
    step_s = objective.window_s / steps
    edges_s = now_s - objective.window_s + step_s * np.arange(steps + 1, dtype=np.float64)
    bad, budget = course.between(edges_s)
    enough = np.flatnonzero(np.count_nonzero(budget > 0, axis=1) >= DAYS_MIN)
    keys = [course.keys[row] for row in enough.tolist()]
    bad, budget = bad[enough], budget[enough]
    after = np.empty((len(keys), FUTURES))
    use_up_rolling(bad, budget, _seeds(keys, "rolling"), after)
    rolling = _dates(after, now_s, step_s, now_s + objective.window_s)
    if objective.calendar is None or objective.calendar not in calendars:
        return {key: Exhaustion(dates) for key, dates in zip(keys, rolling, strict=True)}
    start_s, end_s = calendars[objective.calendar]
    known_s = max(start_s, kept_s)
    since = course.between(np.array([known_s, now_s], dtype=np.float64))
    spent, allowed = (amounts[enough, 0] for amounts in since)
    # Days that are no longer kept are drawn as those to come are; a young store has none.
    before = max(0, known_s - start_s) / step_s if _reaches_back(course, known_s) else 0.0
    use_up_by_end(
        bad,
        budget,
        spent,
        allowed,
        before,
        (end_s - now_s) / step_s,
        _seeds(keys, "calendar"),
        after,
    )
    calendar = _dates(after, now_s, step_s, end_s)
    so_far = (
        SoFar(start_s, known_s, bad_events, budget_events)
        for bad_events, budget_events in zip(spent.tolist(), allowed.tolist(), strict=True)
    )
    figures = zip(rolling, calendar, so_far, strict=True)
    return {key: Exhaustion(*each) for key, each in zip(keys, figures, strict=True)}


def _reaches_back(course: Course, known_s: int) -> bool:
    """Whether anything was measured in the first days that are kept."""
    edges_s = np.array([known_s, known_s + DAYS_MIN * DAY_S], dtype=np.float64)
    return bool(course.between(edges_s)[1].any())


def _seeds(keys: Sequence[SpendKey], what: str) -> Any:
    """Return a seed for each row: the same past always has the same futures."""
    texts = (f"{what} {slo} {path.id}".encode() for slo, path in keys)
    return np.array([zlib.crc32(text) for text in texts], dtype=np.uint64)


def _dates(after: Amounts, now_s: int, step_s: float, end_s: int) -> list[Dates]:
    """Turn steps into dates; a quantile that is never is None."""
    after = np.sort(after, axis=1)
    chance = np.isfinite(after).mean(axis=1)
    ranks = [math.ceil(q * after.shape[1]) - 1 for q in QUANTILES]

    def date(steps: float) -> float | None:
        return now_s + steps * step_s if math.isfinite(steps) else None

    return [
        Dates(date(low), date(middle), date(high), share, end_s)
        for (low, middle, high), share in zip(
            after[:, ranks].tolist(), chance.tolist(), strict=True
        )
    ]
