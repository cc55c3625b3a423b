"""The parameters of the JSON API: read strictly, refused with a sentence."""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import datetime
from typing import Final

from multidict import MultiMapping

from netslo.estate import Estate
from netslo.model import WINDOW_S, Path
from netslo.units import parse_duration

TIME_S_MAX: Final = 2**33  # the year 2242
RANGE_S_MAX: Final = 92 * 86400


class BadQuery(Exception):
    """The query cannot be answered: status 400 (not understood) or 404 (no such thing)."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def check_names(query: MultiMapping[str], known: Collection[str]) -> None:
    """Refuse parameters nobody reads: a misspelt one must not be ignored.

    Raises:
        BadQuery: one is unknown, or stands there twice.
    """
    for name in query:
        if name not in known:
            raise BadQuery(f"unknown parameter {name!r}; known are {', '.join(known)}")
        if len(query.getall(name)) > 1:
            raise BadQuery(f"parameter {name!r} stands there twice")


def read_path(text: str | None, estate: Estate) -> Path:
    """Return a path of the estate.

    Raises:
        BadQuery: missing, not `src:dst/class`, or not of the estate.
    """
    if text is None:
        raise BadQuery("parameter path is missing, such as path=london:leeds/ef")
    try:
        path = Path.parse(text)
    except ValueError as error:
        raise BadQuery(str(error)) from error
    if not estate.knows(path):
        raise BadQuery(f"no path of the estate is {text!r}", 404)
    return path


def read_time(name: str, text: str) -> float:
    """Return Unix seconds from a number or an RFC 3339 date with its offset.

    Raises:
        BadQuery: neither, or out of range.
    """
    try:
        unix_s = float(text)
    except ValueError:
        unix_s = _read_date(text)
    if not 0 <= unix_s <= TIME_S_MAX:  # NaN is not
        raise BadQuery(f"{name}={text} is neither Unix seconds nor RFC 3339 with an offset")
    return unix_s


def read_whole(name: str, text: str, least: int, most: int) -> int:
    """Return a whole number from `least` to `most`.

    Raises:
        BadQuery: it is none.
    """
    value = int(text) if len(text) <= len(str(most)) and text.isdecimal() else least - 1
    if not least <= value <= most:
        raise BadQuery(f"{name}={text[:40]} is not a whole number from {least} to {most}")
    return value


def read_duration(name: str, text: str) -> int:
    """Return whole windows of 10 s, in seconds.

    Raises:
        BadQuery: no duration, not a multiple of 10 s, or longer than a quarter.
    """
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise BadQuery(f"{name}: {error}") from error
    if seconds > RANGE_S_MAX or seconds % WINDOW_S:
        raise BadQuery(f"{name}={text} is not a multiple of 10s up to {RANGE_S_MAX // 86400}d")
    return int(seconds)


def _read_date(text: str) -> float:
    try:
        # A plus sign that was not escaped has become a space on its way.
        date = datetime.fromisoformat(text.replace(" ", "+"))
        return date.timestamp() if date.tzinfo is not None else math.nan
    except (ValueError, OverflowError):
        return math.nan
