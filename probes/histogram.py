"""A distribution drawn in characters: one line a bin, on a logarithmic axis, from a sketch.

Bins are runs of the sketch's own buckets, so every count is exact. Without colour, and without
a character that a plain terminal lacks where the caller says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from analytics.mapping import lower_bound
from analytics.sketch import Sketch
from netslo.units import TimeUnit

ROWS_MAX: Final = 16
_BAR_MAX: Final = 50
_EIGHTHS: Final = "▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Bin:
    """Values in (low, high], or all that are not above 0 where `low` is None."""

    low: float | None
    high: float
    count: int


def bins_of(sketch: Sketch, rows_max: int = ROWS_MAX) -> list[Bin]:
    """Return bins of one width on a logarithmic axis, from the smallest value to the largest."""
    positive = sketch.positive
    width = max(1, -(-len(positive.counts) // rows_max))
    rest = sketch.count - positive.total()
    bins = [Bin(None, 0.0, rest)] if rest else []
    if not positive.total():
        return bins
    starts = np.arange(0, len(positive.counts), width)
    counts = np.add.reduceat(positive.counts, starts).tolist()
    edges = lower_bound(positive.offset + np.append(starts, starts[-1] + width), sketch.scale)
    bins += [
        Bin(low, high, int(count))
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    return bins


def histogram_lines(
    sketch: Sketch,
    unit: TimeUnit,
    width: int,
    marks: Mapping[str, float],
    *,
    rows_max: int = ROWS_MAX,
    ascii_only: bool = False,
) -> list[str]:
    """Return the lines of a histogram, none longer than `width` where that can be helped.

    Args:
        sketch: The values, seconds.
        unit: What to write them in.
        width: Columns.
        marks: Names of values to be shown where they fall, such as percentiles.
        rows_max: The most lines.
        ascii_only: Draw with `#`.
    """
    bins = bins_of(sketch, rows_max)
    if not bins:
        return []
    edges = [("<=", unit.format(b.high)) if b.low is None else _edges(b, unit) for b in bins]
    left, right = (max(len(pair[side]) for pair in edges) for side in (0, 1))
    digits = max(len(f"{b.count:,}") for b in bins)
    notes = [" ".join(name for name, at in marks.items() if _holds(b, at)) for b in bins]
    head = left + 3 + right + 2 + digits + 2
    room = max(1, min(_BAR_MAX, width - head - 1 - max(map(len, notes))))
    most = max(b.count for b in bins)
    lines = []
    for each, (low, high), note in zip(bins, edges, notes, strict=True):
        joint = " - " if each.low is not None else "   "
        bar = _bar(each.count / most * room, some=each.count > 0, ascii_only=ascii_only)
        line = f"{low:>{left}}{joint}{high:>{right}}  {each.count:>{digits},}  {bar} {note}"
        lines.append(line.rstrip())
    return lines


def _edges(each: Bin, unit: TimeUnit) -> tuple[str, str]:
    return unit.format(each.low), unit.format(each.high)


def _holds(each: Bin, value: float) -> bool:
    return value <= 0 if each.low is None else each.low < value <= each.high


def _bar(length: float, *, some: bool, ascii_only: bool) -> str:
    """Draw a bar in eighths of a character; the least count is still seen."""
    if ascii_only:
        return "#" * max(round(length), int(some))
    full, part = divmod(max(round(length * 8), int(some)), 8)
    return "█" * full + (_EIGHTHS[part - 1] if part else "")
