"""Durations and figures as people write and read them; seconds and ratios inside."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])\Z")
DURATION_S_MAX: Final = 1e9  # 31 years; nanoseconds of it fit 64 bits, with room


def parse_duration(text: str) -> float:
    """Read a Prometheus- or OpenSLO-style duration such as `250ms`, `5m` or `28d`; seconds.

    Raises:
        ValueError: not a number followed by ms, s, m, h, d or w, not positive, or of decades.
    """
    match = _DURATION.match(text.strip())
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is not a positive duration such as 250ms, 5m or 28d")
    seconds = float(match[1]) * _UNITS_S[match[2]]
    if seconds > DURATION_S_MAX:
        raise ValueError(f"{text[:40]!r} is longer than 31 years")
    return seconds


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
    return f"{seconds * 1000:z.{digits}f}"  # nothing is not -0.00


@dataclass(frozen=True, slots=True)
class TimeUnit:
    """A unit that a table of short times is written in."""

    name: str
    per_s: float
    digits: int

    def format(self, seconds: float | None) -> str:
        """Write seconds in the unit, without its name; an unknown figure is a dash, never 0."""
        if seconds is None or math.isnan(seconds):
            return "-"
        return f"{seconds * self.per_s:.{self.digits}f}"


MICROSECONDS: Final = TimeUnit("µs", 1e6, 2)
MILLISECONDS: Final = TimeUnit("ms", 1e3, 3)
_MICROSECONDS_BELOW_S: Final = 1e-4


def time_unit(typical_s: float | None) -> TimeUnit:
    """Return the unit for a table whose typical figure is `typical_s`."""
    if typical_s is not None and abs(typical_s) < _MICROSECONDS_BELOW_S:
        return MICROSECONDS
    return MILLISECONDS


def format_percent(ratio: float | None, digits: int = 2) -> str:
    """Write a ratio as a percentage for a reader; an unknown figure is a dash, never 0."""
    if ratio is None or math.isnan(ratio):
        return "-"
    return f"{ratio * 100:.{digits}f} %"


_RATE_UNITS = {"bit/s": 1.0, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9, "Tbit/s": 1e12}
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?bit/s)\Z")


def parse_rate(text: str) -> float:
    """Read a rate such as `10Gbit/s`; bits per second, decimal prefixes.

    Raises:
        ValueError: not a number followed by bit/s, kbit/s, Mbit/s, Gbit/s or Tbit/s, or zero.
    """
    match = _RATE.match(text.strip())
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is not a positive rate such as 100Mbit/s or 10Gbit/s")
    return float(match[1]) * _RATE_UNITS[match[2]]


def format_rate(bits_per_second: float) -> str:
    """Write a rate in the largest unit that leaves at least 1: 1e10 as `10 Gbit/s`."""
    for unit, size in reversed(_RATE_UNITS.items()):
        if bits_per_second >= size:
            return f"{bits_per_second / size:g} {unit}"
    return f"{bits_per_second:g} bit/s"


_SIZE_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?B)\Z")


def parse_octets(text: str) -> int:
    """Read an amount of data such as `2GB`; octets, decimal prefixes.

    Raises:
        ValueError: not a number followed by B, kB, MB, GB or TB, or less than an octet.
    """
    match = _SIZE.match(text.strip())
    octets = 0 if match is None else round(float(match[1]) * _SIZE_UNITS[match[2]])
    if octets < 1:
        raise ValueError(f"{text[:40]!r} is not an amount of data such as 500MB or 2GB")
    return octets


def format_octets(octets: float) -> str:
    """Write an amount of data in the largest unit that leaves at least 1: 2e9 as `2 GB`."""
    for unit, size in reversed(_SIZE_UNITS.items()):
        if abs(octets) >= size:
            return f"{octets / size:.4g} {unit}"
    return f"{octets:.0f} B"
