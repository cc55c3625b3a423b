"""The numbers of walked points, checked all at once: the rules of `fields` and `histogram`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics._kernels import walk_columns as at
from analytics.frame import Frame
from analytics.layouts import Statistics
from analytics.mapping import SCALE_MIN, SMALLEST_NORMAL, index_range
from analytics.sketch import BUCKET_LIMIT, COUNT_MAX, SCALE_DEFAULT
from analytics.tables import Distributions, Numbers, Side
from netslo.model import NS_PER_S, WINDOW_S

_TIME_NS_MAX: Final = 2**33 * NS_PER_S
_WINDOW_NS: Final = WINDOW_S * NS_PER_S
_RANGES: Final = np.array([index_range(scale) for scale in range(SCALE_MIN, SCALE_DEFAULT + 1)])

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Walked:
    """A request's points as the walk found them; columns as `walk_columns` names them."""

    body: bytes
    octets: NDArray[np.uint8]
    resource: slice
    metrics: Rows
    sketches: Rows
    numbers: Rows
    offsets: Rows  # (sketches + 1, 2)
    positive: NDArray[np.uint32]
    negative: NDArray[np.uint32]

    def total(self) -> int:
        """Return the sum of all counts, in doubles, which do not wrap around."""
        counts = self.numbers[:, at.VALUE][self.numbers[:, at.IS_DOUBLE] == 0]
        both = (self.sketches[:, at.COUNT], counts)
        return sum(int(part.sum(dtype=np.float64)) for part in both)


def frame_of(
    walked: Walked,
    sketch_streams: NDArray[np.int32],
    number_streams: NDArray[np.int32],
    signed: NDArray[np.bool_],
) -> Frame | None:
    """Return the points as a frame; None where a number contradicts another or a limit.

    `signed` says by metric whether a gauge may be negative.
    """
    gauge = walked.metrics[:, 2][walked.numbers[:, at.METRIC]] == at.GAUGE_FIELD
    if not (
        _times_sound(walked.sketches)
        and _times_sound(walked.numbers)
        and _sketches_sound(walked)
        and _numbers_sound(walked.numbers, gauge, signed[walked.numbers[:, at.METRIC]])
    ):
        return None
    numbers = walked.numbers
    start_s, value = _start_s(numbers), numbers[:, at.VALUE]
    return Frame(
        _distributions(walked, sketch_streams),
        Numbers(number_streams[~gauge], start_s[~gauge], value[~gauge].astype(np.uint64)),
        Numbers(number_streams[gauge], start_s[gauge], value[gauge].view(np.float64)),
    )


def _start_s(rows: Rows) -> NDArray[np.int64]:
    return rows[:, at.START] // _WINDOW_NS * WINDOW_S


def _times_sound(rows: Rows) -> bool:
    start, end = rows[:, at.START], rows[:, at.END]
    window_end = (start // _WINDOW_NS + 1) * _WINDOW_NS
    good = (start > 0) & (start < end) & (end <= _TIME_NS_MAX) & (end <= window_end)
    return bool(good.all())


def _numbers_sound(rows: Rows, gauge: NDArray[np.bool_], signed: NDArray[np.bool_]) -> bool:
    value, is_double = rows[:, at.VALUE], rows[:, at.IS_DOUBLE] != 0
    state = value.view(np.float64)
    good_gauge = is_double & np.isfinite(state) & (signed | (state >= 0))
    good_count = ~is_double & (value >= 0) & (value <= COUNT_MAX)
    return bool(np.where(gauge, good_gauge, good_count).all())


def _sketches_sound(walked: Walked) -> bool:
    rows = walked.sketches
    if not len(rows):
        return True
    sum_, least, most, threshold = (
        np.ascontiguousarray(rows[:, column]).view(np.float64)
        for column in (at.SUM, at.MIN, at.MAX, at.THRESHOLD)
    )
    scale, zeros, seen = rows[:, at.SCALE], rows[:, at.ZEROS], rows[:, at.SEEN]
    totals = rows[:, at.TOTAL : at.TOTAL + 2]
    lengths = np.diff(walked.offsets, axis=0)
    # Each count has 32 bits and there are few, so that no sum can overflow; zeros come apart.
    fits = (scale >= SCALE_MIN) & (scale <= SCALE_DEFAULT) & (lengths <= BUCKET_LIMIT).all(axis=1)
    fits &= (zeros >= 0) & (zeros <= COUNT_MAX)
    if not fits.all():
        return False
    total = totals.sum(axis=1) + zeros
    good = (total == rows[:, at.COUNT]) & (total <= COUNT_MAX)
    good &= (zeros == 0) | (threshold <= SMALLEST_NORMAL)  # a NaN is no threshold
    extremes = (seen >> 12 & 1 != 0) & (seen >> 13 & 1 != 0)
    ordered = (least > -np.inf) & (least <= most) & (most < np.inf)
    good &= (total == 0) | (np.isfinite(sum_) & extremes & ordered)
    ranges = _RANGES[scale - SCALE_MIN]
    for side in range(2):
        first, length = rows[:, at.FIRST + side], lengths[:, side]
        inside = (first >= ranges[:, 0]) & (first + length - 1 <= ranges[:, 1])
        good &= (length == 0) | inside
    return bool(good.all())


def _distributions(walked: Walked, streams: NDArray[np.int32]) -> Distributions:
    rows = walked.sketches
    none = np.zeros(len(rows), dtype=np.uint64)
    empty = rows[:, at.COUNT] == 0
    doubles = np.ascontiguousarray(rows[:, at.DOUBLES]).view(np.float64)
    return Distributions(
        streams,
        _start_s(rows),
        rows[:, at.SCALE].copy(),
        Side(rows[:, at.FIRST].copy(), walked.offsets[:, 0].copy(), walked.positive),
        Side(rows[:, at.FIRST + 1].copy(), walked.offsets[:, 1].copy(), walked.negative),
        Statistics(
            rows[:, at.ZEROS].astype(np.uint64),
            none,
            none,
            none,
            np.where(empty, 0.0, doubles[:, 0]),
            np.where(empty, np.inf, doubles[:, 1]),
            np.where(empty, -np.inf, doubles[:, 2]),
        ),
    )
