"""Packed days of many series at once: what they count as a frame, or added where it is wanted."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics import _kernels
from analytics.day_layout import (
    STEP_S,
    STEPS,
    DamagedDay,
    Day,
    column_count,
    is_sound,
    pack,
    unpack,
)
from analytics.frame import Frame, concatenated
from analytics.older_days import FIRST_OCTET, unpack_older
from analytics.tables import Numbers

_PLAINLY: Final = 1000  # values which numpy counts in the time that it takes for a day

Places = NDArray[np.int64]


class Days(NamedTuple):
    """Packed days of any series; `starts_s` are their midnights, UTC, in Unix seconds."""

    starts_s: Sequence[int]
    octets: Sequence[bytes]


def pack_days(
    counters: Numbers, series_of: NDArray[np.int32], start_s: int, series: Sequence[int]
) -> list[bytes]:
    """Return what each of some series counted on the day that begins at `start_s`.

    Counters of 5 min windows; gauges are not kept.
    """
    day = Day.of(counters, start_s)
    return pack(day, series_of[day.streams], series)


def unpack_days(days: Days) -> Frame:
    """Return the counters of packed days as windows of 5 min.

    Raises:
        DamagedDay: one of them is none.
    """
    days, older = _by_age(days)
    pairs = zip(unpack_older(*older), older.starts_s, strict=True)
    frames = [_frame(day.counters(start_s)) for day, start_s in pairs]
    return concatenated([*frames, *_unpacked(days)], STEP_S)


def add_days(
    days: Days,
    start_s: int,
    span: tuple[int, int],
    places: Places,
    out: NDArray[np.uint32],
) -> None:
    """Add packed days to rows of 5 min steps.

    Args:
        days: What is added.
        start_s: Where the first column begins, Unix seconds, a multiple of 5 min.
        span: The columns that are added to, from one to before another, all in `out`.
        places: By number of stream its row in `out`, or -1.
        out: Counts, shape (rows, steps).

    Raises:
        DamagedDay: one of them is none.
    """
    days, older = _by_age(days)
    first = _columns(days, start_s)
    if _kernels.pays(_PLAINLY * len(days.octets)):
        from analytics._kernels import days as kernel

        if not kernel.add_days(*_joined(days), first, *span, places, out):
            raise DamagedDay
    else:
        for octets, column in zip(days.octets, first.tolist(), strict=True):
            _add_plainly(unpack(octets), column, span, places, out)
    for day, column in zip(unpack_older(*older), _columns(older, start_s).tolist(), strict=True):
        _add_plainly(day, column, span, places, out)


def _columns(days: Days, start_s: int) -> NDArray[np.int64]:
    """Return where each day begins, in steps from `start_s` on."""
    return (np.array(days.starts_s, dtype=np.int64) - start_s) // STEP_S


def _by_age(days: Days) -> tuple[Days, Days]:
    """Return those of the layout that is written today, which are sound, and all others."""
    oldest = bytes((FIRST_OCTET,))
    is_old = [octets.startswith(oldest) for octets in days.octets]
    if not any(is_old):
        older = Days([], [])
    else:
        days, older = _chosen(days, [not old for old in is_old]), _chosen(days, is_old)
    if not all(map(is_sound, days.octets)):
        raise DamagedDay
    return days, older


def _chosen(days: Days, which: Sequence[bool]) -> Days:
    chosen = itertools.compress(days.starts_s, which), itertools.compress(days.octets, which)
    return Days(list(chosen[0]), list(chosen[1]))


def _joined(days: Days) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the octets of all days, and where each ends."""
    ends = np.cumsum([len(octets) for octets in days.octets], dtype=np.int64)
    return np.frombuffer(b"".join(days.octets), dtype=np.uint8), ends


def _unpacked(days: Days) -> list[Frame]:
    if not _kernels.pays(_PLAINLY * len(days.octets)):
        pairs = zip(days.octets, days.starts_s, strict=True)
        return [_frame(unpack(octets).counters(start_s)) for octets, start_s in pairs]
    from analytics._kernels import days as kernel

    octets, ends = _joined(days)
    room = STEPS * sum(map(column_count, days.octets))
    stream, start_s = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.int64)
    value = np.empty(room, dtype=np.uint64)
    starts_s = np.array(days.starts_s, dtype=np.int64)
    count = kernel.unpack_days(octets, ends, starts_s, stream, start_s, value)
    if count < 0:
        raise DamagedDay
    return [_frame(Numbers(stream[:count].copy(), start_s[:count].copy(), value[:count].copy()))]


def _frame(counters: Numbers) -> Frame:
    empty = Frame.empty(STEP_S)
    return Frame(empty.distributions, counters, empty.gauges, STEP_S)


def _add_plainly(
    day: Day, first: int, span: tuple[int, int], places: Places, out: NDArray[np.uint32]
) -> None:
    low, high = max(span[0], first), min(span[1], first + STEPS)
    if low >= high:
        return
    counted = day.values[:, low - first : high - first]
    for stream, counts in zip(day.streams.tolist(), counted, strict=True):
        if stream < len(places) and places[stream] >= 0:
            out[places[stream], low:high] += counts.astype(np.uint32)
