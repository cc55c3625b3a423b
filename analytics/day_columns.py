"""Packed days of many series at once: what they count as a frame, or added where it is wanted."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics import _kernels
from analytics.blobs import DamagedBlob
from analytics.day_layout import COLUMN, HEAD, STEP_S, STEPS, Day, is_sound, pack, unpack
from analytics.frame import Frame, concatenated
from analytics.older_days import FIRST_OCTET, frame_of_day, unpack_older
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
    streams, index = np.unique(counters.stream, return_inverse=True)
    at = index, (counters.start_s - start_s) // STEP_S
    day = Day(
        streams,
        np.zeros((len(streams), STEPS), dtype=np.bool_),
        np.zeros((len(streams), STEPS), dtype=np.uint64),
    )
    day.present[at], day.values[at] = True, counters.value
    return pack(day, series_of[streams], series)


def unpack_days(days: Days) -> Frame:
    """Return the counters of packed days as windows of 5 min.

    Raises:
        DamagedBlob: one of them is none.
    """
    days, older = _by_age(days)
    recent = [_unpacked(days)] if days.octets else []
    return concatenated([unpack_older(*older), *recent], STEP_S)


def add_days(
    days: Days,
    start_s: int,
    span: tuple[int, int],
    places: Places,
    out: NDArray[np.uint32],
) -> Frame:
    """Add packed days to rows of 5 min steps; return those of older stores, as a frame.

    Args:
        days: What is added.
        start_s: Where the first column begins, Unix seconds, a multiple of 5 min.
        span: The columns that are added to, from one to before another, all in `out`.
        places: By number of stream its row in `out`, or -1.
        out: Counts, shape (rows, steps).

    Raises:
        DamagedBlob: one of them is none.
    """
    days, older = _by_age(days)
    first = (np.array(days.starts_s, dtype=np.int64) - start_s) // STEP_S
    if _kernels.pays(_PLAINLY * len(days.octets)):
        from analytics._kernels import days as kernel

        if not kernel.add_days(*_joined(days), first, *span, places, out):
            raise DamagedBlob("a packed day is damaged")
    else:
        for octets, column in zip(days.octets, first.tolist(), strict=True):
            _add_plainly(unpack(octets), column, span, places, out)
    return unpack_older(*older)


def _by_age(days: Days) -> tuple[Days, Days]:
    """Return those of the layout that is written today, which are sound, and all others."""
    oldest = bytes((FIRST_OCTET,))
    is_old = [octets.startswith(oldest) for octets in days.octets]
    if not any(is_old):
        older = Days([], [])
    else:
        days, older = _chosen(days, [not old for old in is_old]), _chosen(days, is_old)
    if not all(map(is_sound, days.octets)):
        raise DamagedBlob("a packed day is damaged")
    return days, older


def _chosen(days: Days, which: Sequence[bool]) -> Days:
    chosen = itertools.compress(days.starts_s, which), itertools.compress(days.octets, which)
    return Days(list(chosen[0]), list(chosen[1]))


def _joined(days: Days) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the octets of all days, and where each ends."""
    ends = np.cumsum([len(octets) for octets in days.octets], dtype=np.int64)
    return np.frombuffer(b"".join(days.octets), dtype=np.uint8), ends


def _unpacked(days: Days) -> Frame:
    if not _kernels.pays(_PLAINLY * len(days.octets)):
        pairs = zip(days.octets, days.starts_s, strict=True)
        return concatenated([frame_of_day(unpack(each), at_s) for each, at_s in pairs], STEP_S)
    from analytics._kernels import days as kernel

    octets, ends = _joined(days)
    columns = np.maximum(np.diff(ends, prepend=0) - HEAD.itemsize, 0) // COLUMN.itemsize
    room = STEPS * int(columns.sum())
    stream, start_s = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.int64)
    value = np.empty(room, dtype=np.uint64)
    starts_s = np.array(days.starts_s, dtype=np.int64)
    count = kernel.unpack_days(octets, ends, starts_s, stream, start_s, value)
    if count < 0:
        raise DamagedBlob("a packed day is damaged")
    counters = Numbers(stream[:count].copy(), start_s[:count].copy(), value[:count].copy())
    empty = Frame.empty(STEP_S)
    return Frame(empty.distributions, counters, empty.gauges, STEP_S)


def _add_plainly(
    day: Day, first: int, span: tuple[int, int], places: Places, out: NDArray[np.uint32]
) -> None:
    low, high = max(span[0], first), min(span[1], first + STEPS)
    if low >= high:
        return
    counted = day.values[:, low - first : high - first].astype(np.uint32)
    for stream, counts in zip(day.streams.tolist(), counted, strict=True):
        if stream < len(places) and places[stream] >= 0:
            out[places[stream], low:high] += counts
