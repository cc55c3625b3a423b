"""A request's points as the walk found them, and as a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.frame import Frame
from analytics.layouts import Statistics
from analytics.mapping import SCALE_MIN, SMALLEST_NORMAL, index_range
from analytics.sketch import BUCKET_LIMIT, COUNT_MAX, SCALE_DEFAULT
from analytics.tables import Distributions, Numbers, Side
from netslo.model import WINDOW_S

_RANGES: Final = np.array([index_range(scale) for scale in range(SCALE_MIN, SCALE_DEFAULT + 1)])
_LIMITS: Final = (COUNT_MAX, BUCKET_LIMIT, SCALE_DEFAULT)

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


def frame_of(
    walked: Walked,
    sketch_streams: NDArray[np.int32],
    number_streams: NDArray[np.int32],
    signed: NDArray[np.bool_],
) -> tuple[Frame, int] | None:
    """Return the points as a frame, and the sum of all counts.

    None where a number contradicts another or a limit. `signed` says by metric whether a gauge
    may be negative.
    """
    from analytics._kernels import points as kernel

    rows, numbers = len(walked.sketches), len(walked.numbers)
    columns, statistics = np.empty((4, rows), dtype=np.int64), np.empty((3, rows))
    zeros, none = np.empty(rows, dtype=np.uint64), np.zeros(rows, dtype=np.uint64)
    streams = np.empty(numbers, dtype=np.int32)
    starts, values = np.empty(numbers, dtype=np.int64), np.empty(numbers, dtype=np.int64)
    total = np.empty(1)
    counters = kernel.settle(
        walked.metrics,
        walked.sketches,
        walked.numbers,
        (walked.sketches.view(np.float64), walked.numbers.view(np.float64)),
        walked.offsets,
        number_streams,
        signed,
        _RANGES,
        _LIMITS,
        SMALLEST_NORMAL,
        WINDOW_S,
        columns,
        statistics,
        zeros,
        streams,
        starts,
        values,
        total,
    )
    if counters < 0:
        return None
    offsets = walked.offsets.T.copy()
    frame = Frame(
        Distributions(
            sketch_streams,
            columns[0],
            columns[1],
            Side(columns[2], offsets[0], walked.positive),
            Side(columns[3], offsets[1], walked.negative),
            Statistics(zeros, none, none, none, *statistics),
        ),
        Numbers(streams[:counters], starts[:counters], values[:counters].view(np.uint64)),
        Numbers(streams[counters:], starts[counters:], values[counters:].view(np.float64)),
    )
    return frame, int(total[0])
