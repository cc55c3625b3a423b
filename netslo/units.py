"""Durations and figures as people write and read them; seconds and ratios inside."""

from __future__ import annotations

import math
import re

_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])\Z")


def parse_duration(text: str) -> float:
    """Read a Prometheus- or OpenSLO-style duration such as `250ms`, `5m` or `28d`; seconds.

    Raises:
        ValueError: not a number followed by ms, s, m, h, d or w, or not positive.
    """
    match = _DURATION.match(text.strip())
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is not a positive duration such as 250ms, 5m or 28d")
    return float(match[1]) * _UNITS_S[match[2]]


def format_duration(seconds: float) -> str:
    """Write whole seconds in the largest unit that divides them: 300 as `5m`."""
    for unit in ("w", "d", "h", "m"):
        size = _UNITS_S[unit]
        if seconds >= size and seconds % size == 0 and unit != "w":
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def format_ms(seconds: float | None, digits: int = 2) -> str:
    """Write seconds as milliseconds for a reader; an unknown figure is a dash, never 0."""
    if seconds is None or math.isnan(seconds):
        return "-"
    if math.isinf(seconds):
        return "inf"
    return f"{seconds * 1000:.{digits}f}"


def format_percent(ratio: float | None, digits: int = 2) -> str:
    """Write a ratio as a percentage for a reader; an unknown figure is a dash, never 0."""
    if ratio is None or math.isnan(ratio):
        return "-"
    return f"{ratio * 100:.{digits}f} %"
