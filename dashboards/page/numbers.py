"""Figures as a reader of the page wants them: few digits, a unit, a dash for what is unknown."""

from __future__ import annotations

import math
import time
from typing import Final
from urllib.parse import urlsplit

UNKNOWN: Final = "-"
_FEW_DIGITS: Final = 100


def ms(seconds: float | None) -> str:
    """Write seconds as milliseconds, without the unit, to three or four digits."""
    if seconds is None or math.isnan(seconds):
        return UNKNOWN
    if math.isinf(seconds):
        return "∞"
    value = seconds * 1e3
    whole = len(f"{abs(value):.0f}") if abs(value) >= 1 else 0
    digits = max(0, 3 - whole)
    return f"{value:,.{digits}f}"


def percent(ratio: float | None, digits: int = 2) -> str:
    """Write a ratio as a percentage; one that is not 0 is never written as 0."""
    if ratio is None or math.isnan(ratio):
        return UNKNOWN
    value = ratio * 100
    if value and abs(value) < 10**-digits / 2:
        return f"< {10**-digits:g} %" if value > 0 else f"> {-(10**-digits):g} %"
    return f"{value:,.{digits}f} %"


def objective(ratio: float) -> str:
    """Write a target with the digits it has: 99.9 %, 99.95 %."""
    return f"{ratio * 100:.6g} %"


def count(number: int | None) -> str:
    return UNKNOWN if number is None else f"{number:,}"


def burn(rate: float | None) -> str:
    """Write a burn rate as a multiple of what the period allows."""
    if rate is None:
        return UNKNOWN
    return f"{rate:.1f}x" if rate < _FEW_DIGITS else f"{rate:,.0f}x"


def ago(seconds: float) -> str:
    """Write a length of time, coarsely."""
    seconds = max(0.0, seconds)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def clock(unix_s: float | None) -> str:
    """Write a moment of today, UTC."""
    return UNKNOWN if unix_s is None else time.strftime("%H:%M:%S", time.gmtime(unix_s))


def day_and_clock(unix_s: float | None) -> str:
    """Write a moment of any day, UTC."""
    return UNKNOWN if unix_s is None else time.strftime("%d %b %H:%M:%S", time.gmtime(unix_s))


def bits(per_second: float | None) -> str:
    """Write bit/s with a unit in which it has one to three digits before the point."""
    if per_second is None or not math.isfinite(per_second):
        return UNKNOWN
    for size, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if per_second >= size * 0.9995:
            return f"{per_second / size:.3g} {unit}"
    return f"{per_second:.3g} bit/s"


def moment(unix_s: float | None) -> str:
    """Write a moment as RFC 3339 has it, UTC."""
    return "" if unix_s is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_s))


def web_link(url: object) -> str | None:
    """Return an address that may be followed: http or https, nothing that runs."""
    text = str(url)
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return text if parts.scheme in {"http", "https"} and parts.netloc else None
