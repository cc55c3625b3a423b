"""The numbers of walked points, checked and put into columns: the rules of `otlp.histogram`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import called, compiled
from analytics._kernels.walk_columns import (
    COUNT,
    END,
    FIRST,
    GAUGE_FIELD,
    IS_DOUBLE,
    MAX,
    METRIC,
    MIN,
    SCALE,
    SEEN,
    START,
    SUM,
    THRESHOLD,
    TOTAL,
    VALUE,
    ZEROS,
)

Rows = NDArray[np.int64]
Doubles = NDArray[np.float64]

_EXTREMES = 1 << 12 | 1 << 13  # the fields min and max
_NS_PER_S = 10**9
_TIME_NS_MAX = 2**33 * _NS_PER_S


@called
def _start_s(start: int, end: int, window_s: int) -> int:
    """Return where the window of a point begins, -1 where the point is not inside of one."""
    if not 0 < start < end <= _TIME_NS_MAX:
        return -1
    number = start // (window_s * _NS_PER_S)
    return number * window_s if end <= (number + 1) * window_s * _NS_PER_S else -1


@called
def _is_sketch(
    row: Rows,
    doubles: Doubles,  # the same octets
    lengths: tuple[int, int],
    ranges: Rows,
    limits: tuple[int, int, int],  # of counts, buckets and scale
    smallest: float,
) -> bool:
    """Whether what a sketch says of itself agrees with its buckets."""
    count_max, buckets_max, scale_max = limits
    place = row[SCALE] - scale_max + ranges.shape[0] - 1
    if not 0 <= place < ranges.shape[0] or not 0 <= row[ZEROS] <= count_max:
        return False
    for side in range(2):
        length = lengths[side]
        if length > buckets_max:
            return False
        first = row[FIRST + side]
        if length and not (ranges[place, 0] <= first and first + length - 1 <= ranges[place, 1]):
            return False
    # Each count has 32 bits and there are few, so that no sum can overflow.
    total = row[TOTAL] + row[TOTAL + 1] + row[ZEROS]
    if total != row[COUNT] or total > count_max:
        return False
    if row[ZEROS] and not doubles[THRESHOLD] <= smallest:  # a NaN is no threshold
        return False
    if not total:
        return True
    least, most = doubles[MIN], doubles[MAX]
    ordered = -np.inf < least <= most < np.inf
    return bool(ordered and np.isfinite(doubles[SUM]) and row[SEEN] & _EXTREMES == _EXTREMES)


@called
def _is_number(row: Rows, value: float, gauge: bool, signed: bool, count_max: int) -> bool:
    if gauge:
        return bool(row[IS_DOUBLE] and np.isfinite(value) and (signed or value >= 0))
    return bool(not row[IS_DOUBLE] and 0 <= row[VALUE] <= count_max)


@compiled
def settle(
    metrics: Rows,
    sketches: Rows,
    numbers: Rows,
    doubles: tuple[Doubles, Doubles],  # the octets of sketches and numbers, read as doubles
    offsets: Rows,  # (sketches + 1, 2)
    streams: NDArray[np.int32],  # (numbers,)
    signed: NDArray[np.bool_],  # (metrics,) whether its gauges may be negative
    ranges: Rows,  # (scales, 2) first and last bucket of each scale, the finest one last
    limits: tuple[int, int, int],  # the largest count, most buckets of a side, the finest scale
    smallest: float,  # below which a value counts as zero
    window_s: int,
    columns: Rows,  # (4, sketches) start, scale, first bucket of both sides; written
    statistics: Doubles,  # (3, sketches) sum, min and max; written
    zeros: NDArray[np.uint64],  # (sketches,) written
    number_streams: NDArray[np.int32],  # (numbers,) counters, then gauges; written
    number_starts: Rows,  # (numbers,) likewise
    values: Rows,  # (numbers,) likewise
    total: Doubles,  # (1,) the sum of all counts, in doubles, which do not wrap around; written
) -> int:
    """Return how many numbers are counters; -1 where a number contradicts another or a limit."""
    whole = 0.0
    for n in range(sketches.shape[0]):
        row, real = sketches[n], doubles[0][n]
        start_s = _start_s(row[START], row[END], window_s)
        lengths = (offsets[n + 1, 0] - offsets[n, 0], offsets[n + 1, 1] - offsets[n, 1])
        if start_s < 0 or not _is_sketch(row, real, lengths, ranges, limits, smallest):
            return -1
        columns[0, n], columns[1, n] = start_s, row[SCALE]
        columns[2, n], columns[3, n] = row[FIRST], row[FIRST + 1]
        zeros[n] = np.uint64(row[ZEROS])
        if row[COUNT]:
            statistics[0, n], statistics[1, n], statistics[2, n] = real[SUM], real[MIN], real[MAX]
        else:
            statistics[0, n], statistics[1, n], statistics[2, n] = 0.0, np.inf, -np.inf
        whole += np.float64(row[COUNT])
    counters = 0
    for n in range(numbers.shape[0]):
        counters += metrics[numbers[n, METRIC], 2] != GAUGE_FIELD
    place, behind = 0, counters
    for n in range(numbers.shape[0]):
        row, value = numbers[n], doubles[1][n, VALUE]
        metric = row[METRIC]
        gauge = metrics[metric, 2] == GAUGE_FIELD
        start_s = _start_s(row[START], row[END], window_s)
        if start_s < 0 or not _is_number(row, value, gauge, signed[metric], limits[0]):
            return -1
        if gauge:
            at = behind
            behind += 1
        else:
            at = place
            place += 1
            whole += np.float64(row[VALUE])
        number_streams[at], number_starts[at] = streams[n], start_s
        values[at] = row[VALUE]
    total[0] = whole
    return counters
