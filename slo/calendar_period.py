"""The periods of a calendar window, in elapsed seconds: a quarter has the hours it has.

A day in spring has 23 hours and one in autumn 25, where clocks change. So a period is never so
many times 24 hours: it runs from one local midnight to another.
"""

from __future__ import annotations

import zoneinfo
from datetime import datetime, timedelta
from typing import Final

from netslo.errors import NetsloError
from slo.exclusion import Interval
from slo.objective import CalendarWindow

_MONTHS: Final = {"M": 1, "Q": 3, "Y": 12}
_DAYS: Final = {"d": 1, "w": 7}


def period_at(window: CalendarWindow, at_s: float) -> Interval:
    """Return the period of a calendar window in which a moment falls, in Unix seconds.

    Periods before the window's start time are counted back from it.

    Raises:
        NetsloError: this host does not know the time zone, or there are no years so far off.
    """
    zone = _zone(window.time_zone)
    try:
        return _period_at(window, zone, at_s)
    except (ValueError, OverflowError) as error:
        raise NetsloError(
            f"no period of {window.duration} from {window.start_time} on holds the present: {error}"
        ) from error


def _period_at(window: CalendarWindow, zone: zoneinfo.ZoneInfo, at_s: float) -> Interval:
    first = datetime.fromisoformat(window.start_time)
    local = datetime.fromtimestamp(at_s, zone).replace(tzinfo=None)
    number = _guess(window, first, local)
    while _unix_s(_begin(window, first, number), zone) > at_s:
        number -= 1
    while _unix_s(_begin(window, first, number + 1), zone) <= at_s:
        number += 1
    return (
        _unix_s(_begin(window, first, number), zone),
        _unix_s(_begin(window, first, number + 1), zone),
    )


def _begin(window: CalendarWindow, first: datetime, number: int) -> datetime:
    """Return the local time at which the period of a number begins; that of `first` is 0."""
    count, unit = int(window.duration[:-1]), window.duration[-1]
    if unit in _DAYS:
        return first + timedelta(days=number * count * _DAYS[unit])
    month = first.month - 1 + number * count * _MONTHS[unit]
    year, month = first.year + month // 12, month % 12 + 1
    return first.replace(year=year, month=month, day=min(first.day, _days_in(year, month)))


def _guess(window: CalendarWindow, first: datetime, local: datetime) -> int:
    count, unit = int(window.duration[:-1]), window.duration[-1]
    if unit in _DAYS:
        return (local - first).days // (count * _DAYS[unit])
    months = (local.year - first.year) * 12 + local.month - first.month
    return months // (count * _MONTHS[unit])


def _days_in(year: int, month: int) -> int:
    following = datetime(year + month // 12, month % 12 + 1, 1)  # noqa: DTZ001 - of no zone
    return (following - timedelta(days=1)).day


def _unix_s(local: datetime, zone: zoneinfo.ZoneInfo) -> int:
    return int(local.replace(tzinfo=zone).timestamp())


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise NetsloError(
            f"this host does not know the time zone {name}: install its tzdata package"
        ) from error
