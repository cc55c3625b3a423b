"""Planned exclusions as Alertmanager's time intervals.

Alertmanager knows times of day on days of a month of a year, to the minute, so an interval is cut
at midnight, UTC, and widened to whole minutes; whole days are told by the month.
"""

from __future__ import annotations

import calendar
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from slo.exclusion import Exclusion, Interval
from slo.exclusion_log import format_time

_MINUTE_S: Final = 60
_DAY: Final = timedelta(days=1)
_END_OF_DAY: Final = "24:00"


def mute_names(exclusions: Iterable[Exclusion]) -> dict[tuple[str, Interval], str]:
    """Return names of time intervals by an exclusion's id and when it is.

    An id is one exclusion's in the log and in each document, but not in all of them: a change may
    be declared for several objectives. Where their times differ, the name says which it is.
    """
    times = {(each.id, each.interval): each for each in exclusions}
    uses = Counter(exclusion_id for exclusion_id, _ in times)
    return {
        key: f"exclusion-{each.id}"
        if uses[each.id] == 1
        else f"exclusion-{each.id} {format_time(each.start_s)} {format_time(each.end_s)}"
        for key, each in times.items()
    }


def time_intervals(start_s: int, end_s: int) -> list[dict[str, Any]]:
    """Return the interval, Unix seconds: a day each, and all whole days of a month at once."""
    start = _at(start_s - start_s % _MINUTE_S)
    end = _at(-(-end_s // _MINUTE_S) * _MINUTE_S)
    found: list[dict[str, Any]] = []
    while start < end:
        until = min(end, _midnight(start) + _DAY)
        if start == _midnight(start) and until - start == _DAY:
            last_day = calendar.monthrange(start.year, start.month)[1]
            until += min((end - until) // _DAY, last_day - start.day) * _DAY
        last = until - timedelta(minutes=1)
        found.append(
            {
                "times": [
                    {
                        "start_time": f"{start:%H:%M}",
                        "end_time": _END_OF_DAY if until == _midnight(until) else f"{until:%H:%M}",
                    }
                ],
                "days_of_month": [
                    str(start.day) if last.day == start.day else f"{start.day}:{last.day}"
                ],
                "months": [str(start.month)],
                "years": [str(start.year)],
            }
        )
        start = until
    return found


def _midnight(moment: datetime) -> datetime:
    return datetime(moment.year, moment.month, moment.day, tzinfo=UTC)


def _at(unix_s: int) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
