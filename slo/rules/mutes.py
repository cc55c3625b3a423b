"""Planned exclusions as Alertmanager's time intervals.

Alertmanager knows times of day on days of a month of a year, to the minute, so an interval is cut
at midnight, UTC, and widened to whole minutes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from slo.exclusion import Exclusion

_MINUTE_S: Final = 60
_END_OF_DAY: Final = "24:00"


def mute_name(exclusion: Exclusion) -> str:
    """Return the name of an exclusion's time interval."""
    return f"exclusion-{exclusion.id}"


def time_intervals(exclusion: Exclusion) -> list[dict[str, Any]]:
    """Return the interval, a day each."""
    start = _at(exclusion.start_s - exclusion.start_s % _MINUTE_S)
    end = _at(-(-exclusion.end_s // _MINUTE_S) * _MINUTE_S)
    found = []
    while start < end:
        midnight = datetime(start.year, start.month, start.day, tzinfo=UTC) + timedelta(days=1)
        until = min(end, midnight)
        found.append(
            {
                "times": [
                    {
                        "start_time": f"{start:%H:%M}",
                        "end_time": _END_OF_DAY if until == midnight else f"{until:%H:%M}",
                    }
                ],
                "days_of_month": [str(start.day)],
                "months": [str(start.month)],
                "years": [str(start.year)],
            }
        )
        start = until
    return found


def _at(unix_s: int) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
