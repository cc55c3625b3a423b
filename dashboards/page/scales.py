"""Where a figure is drawn: axes and lines of SVG pictures, as numbers and strings of numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps values from `low` to `high` to places from `start` to `end`, in pixels."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Return the place of a value; what lies outside is put at the edge."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 1)

    def places(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the places of many values, as `at` does; NaN stays NaN. For linear axes."""
        if self.high <= self.low:
            share = np.where(np.isnan(values), np.nan, 0.5)
        else:
            inside = np.clip(values.astype(np.float64), self.low, self.high)
            share = (inside - self.low) / (self.high - self.low)
        return np.round(self.start + share * (self.end - self.start), 1)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def decimal_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten from `low` to `high`; fewer over many decades."""
    steps = (1, 2, 5) if high / low < 200 else (1,)  # noqa: PLR2004 - two decades and a bit
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    return [tick for tick in found if low <= tick <= high]


def round_ticks(high: float, most: int = 4) -> list[float]:
    """Return at most about `most` round values from 0 to the first not below `high`."""
    if not high > 0:
        return [0.0, 1.0]
    raw = high / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * (1 - 1e-9))
    return [step * n for n in range(math.ceil(high / step - 1e-9) + 1)]


def polyline(points: Iterable[tuple[float, float] | None]) -> str:
    """Return the `d` of a path; None breaks the line, a lonely point is a dot."""
    parts: list[str] = []
    run: list[tuple[float, float]] = []
    for point in (*points, None):
        if point is not None:
            run.append(point)
            continue
        if run:
            if len(run) == 1:
                run.append((run[0][0] + 0.1, run[0][1]))
            parts.append("M" + "L".join(f"{x:g} {y:g}" for x, y in run))
        run = []
    return "".join(parts)


def thinned(
    times_s: NDArray[np.float64], values: NDArray[Any], start_s: float, end_s: float, most: int
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return times and values of at most `most` points of those from `start_s` to `end_s`.

    Of those that fall together the highest stays, and of equal ones the first: no peak goes. A
    NaN between points stays where its part has no other value.
    """
    part = np.floor((times_s - start_s) / ((end_s - start_s) / most))
    order = np.lexsort((np.where(np.isnan(values), np.inf, -values), part))
    part = part[order]
    kept = order[np.append(True, part[1:] != part[:-1])[: len(order)]]
    return times_s[kept], values[kept]
