"""Packed days added to rows of steps; the layout is in `analytics.day_columns`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import called, compiled

_STEPS = 288
_HEAD = 8
_PER_COLUMN = 5
_WIDTHS = (1, 2, 4, 8)


@called
def _word(octets: NDArray[np.uint8], at: Any) -> Any:
    number = np.int64(0)
    for k in range(4):
        number |= np.int64(octets[at + k]) << np.int64(8 * k)
    return number


@called
def _add(octets: NDArray[np.uint8], width: Any, first: Any, row: NDArray[np.uint32]) -> None:
    """Add a column, from its step `first` on, to as many steps of a row."""
    one = np.uint32(1)
    if width == 1:
        low = octets[first : first + len(row)]
        for i in range(len(row)):
            row[i] += max(np.uint32(low[i]), one) - one
    elif width == 2:
        low = octets[first : first + len(row)]
        high = octets[_STEPS + first : _STEPS + first + len(row)]
        for i in range(len(row)):
            value = np.uint32(low[i]) | (np.uint32(high[i]) << np.uint32(8))
            row[i] += max(value, one) - one
    else:
        for i in range(len(row)):
            word = np.uint64(0)
            for k in range(width):
                word |= np.uint64(octets[k * _STEPS + first + i]) << np.uint64(8 * k)
            if word:
                row[i] += np.uint32(word - np.uint64(1))


@compiled
def add_days(
    octets: NDArray[np.uint8],
    ends: NDArray[np.int64],  # (days,) where each ends
    older: NDArray[np.bool_],  # (days,) of another layout: left out
    columns: NDArray[np.int64],  # (days,) of `out`, where each begins; may lie outside
    low: int,  # columns [low, high) of `out` are added to
    high: int,
    places: NDArray[np.int64],  # by stream, its row in `out` or -1
    out: NDArray[np.uint32],  # (rows, steps)
) -> bool:
    """Return whether all days are sound; those up to the first that is not are added."""
    end = np.int64(0)
    for day in range(ends.shape[0]):
        begin, end = end, ends[day]
        if older[day]:
            continue
        if end - begin < _HEAD or _word(octets, begin) != 1:
            return False
        count = _word(octets, begin + 4)
        widths = begin + _HEAD + 4 * count
        at = widths + count
        if at > end:
            return False
        first, last = max(low, columns[day]), min(high, columns[day] + _STEPS)
        for k in range(count):
            width = np.int64(octets[widths + k])
            if width not in _WIDTHS or at + width * _STEPS > end:
                return False
            stream = _word(octets, begin + _HEAD + 4 * k)
            row = places[stream] if stream < len(places) else np.int64(-1)
            if row >= 0 and first < last:
                column = octets[at : at + width * _STEPS]
                _add(column, width, first - columns[day], out[row, first:last])
            at += width * _STEPS
        if at != end:
            return False
    return True
