"""The period of an error budget: OpenSLO's `timeWindow`, read and checked."""

from __future__ import annotations

import re
import zoneinfo
from datetime import date, datetime
from typing import Final

from slo import openslo
from slo.objective import DEFAULT_PERIOD_S, CalendarWindow
from slo.place import Place

# Five weeks hold a month, and are what distributions, readings and late windows are kept for and
# what whole numbers are reckoned for in the ledger (`slo.number`). Below a week the tickets' 3 d
# window outgrows the period.
PERIOD_S_MIN: Final = 7 * 86400
PERIOD_S_MAX: Final = 35 * 86400

_SHORTHAND = re.compile(r"([1-9]\d{0,5})([mhdwMQY])\Z")  # OpenSLO's duration-shorthand
# Of calendar periods, ten years: what is reviewed more seldom, nobody reviews.
_CALENDAR_MAX: Final = {"d": 3660, "w": 522, "M": 120, "Q": 40, "Y": 10}
_ROLLING_S = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def read_period(
    windows: list[openslo.TimeWindow], place: Place
) -> tuple[int, CalendarWindow | None]:
    """Return the rolling period in seconds, and the calendar one if that is what was asked for.

    Budgets and alerts always roll, over 28 d unless the document says otherwise; a calendar
    window is kept for reviews. Problems go to `place`, the document's `timeWindow`.
    """
    if not windows:
        return DEFAULT_PERIOD_S, None
    window, place = windows[0], place.at(0)
    if window.calendar is not None:
        return DEFAULT_PERIOD_S, _read_calendar(window, window.calendar, place)
    return _read_rolling(window, place), None


def _read_rolling(window: openslo.TimeWindow, place: Place) -> int:
    if not window.is_rolling:
        place.report("", "must have isRolling: true, or a calendar")
    match = _SHORTHAND.match(window.duration)
    if match is None or match[2] not in _ROLLING_S:
        place.at("duration").report(
            window.duration, "must be a number above 0 followed by m, h, d or w, such as 28d"
        )
        return DEFAULT_PERIOD_S
    period_s = int(match[1]) * _ROLLING_S[match[2]]
    if not PERIOD_S_MIN <= period_s <= PERIOD_S_MAX:
        place.at("duration").report(
            window.duration,
            "must be from 7d to 35d: budgets do not roll over a longer time; "
            "for a review of one give a calendar, such as a duration of 1Q",
        )
        return DEFAULT_PERIOD_S
    return period_s


def _read_calendar(
    window: openslo.TimeWindow, calendar: openslo.Calendar, place: Place
) -> CalendarWindow:
    if window.is_rolling:
        place.at("isRolling").report("true", "must be false with a calendar")
    match = _SHORTHAND.match(window.duration)
    if match is None or match[2] not in _CALENDAR_MAX:
        place.at("duration").report(
            window.duration, "must be a number above 0 followed by d, w, M, Q or Y, such as 1Q"
        )
    elif int(match[1]) > _CALENDAR_MAX[match[2]]:
        place.at("duration").report(
            window.duration, f"must be at most ten years: {_CALENDAR_MAX[match[2]]}{match[2]}"
        )
    start = place.at("calendar", "startTime")
    if not _is_local_time(calendar.start_time):
        start.report(
            calendar.start_time, "must be a time without a zone, such as 2026-01-01 00:00:00"
        )
    if not _is_time_zone(calendar.time_zone):
        place.at("calendar", "timeZone").report(
            calendar.time_zone, "must be a name of the IANA database, such as Europe/London"
        )
    return CalendarWindow(window.duration, str(calendar.start_time), calendar.time_zone)


def _is_local_time(value: object) -> bool:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return False
    return isinstance(value, date) and getattr(value, "tzinfo", None) is None


def _is_time_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        # A host without any time zone data cannot tell; it does not need to, either.
        return not zoneinfo.available_timezones()
    return True
