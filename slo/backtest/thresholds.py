"""Events judged by a threshold that no probe counted: bounds, from the distributions.

A bucket of the sketch that holds the threshold may be good or bad. All else is known: what was
counted at the old threshold says how many events there were, and how many of them must be good.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.frame import Frame
from analytics.mapping import bucket_index
from analytics.store import WindowStore
from analytics.streams import Streams
from analytics.tables import Distributions, Side
from analytics.windows import ALL, Selector, SketchKey
from netslo.metrics import DELAY, JITTER, RTT
from netslo.model import Direction, Measure, Path
from slo.backtest.history import History
from slo.objective import Objective

Matrix = NDArray[np.int64]

_ELSEWHERE: Final = -1


@dataclass(frozen=True, slots=True)
class Bounds:
    """The same events with as few bad ones as there can be, and with as many."""

    best: History
    worst: History


def bounds_at(
    store: WindowStore,
    history: History,
    counted: Objective,
    limit_s: float,
    selector: Selector = ALL,
) -> Bounds:
    """Judge the events of a history by another threshold.

    Args:
        store: Which has the distributions.
        history: The events of `counted`'s rows, judged by its own limit.
        counted: What the probes judged by.
        limit_s: By what the events are judged instead, seconds.
        selector: Of the rows' paths.

    Raises:
        ValueError: no distribution of what the objective measures is kept; see `metric_of`.
    """
    certain, possible, known = _read_up_to(store, history, counted, limit_s, selector)
    events = history.events.astype(np.int64)
    good = events - history.bad
    # What was counted good without a distribution that says so may lie on either side.
    possible += np.maximum(0, good - known)
    least, most = np.minimum(certain, events), np.minimum(possible, events)
    assert counted.limit is not None
    if limit_s >= counted.limit:  # whatever was good still is
        least, most = np.maximum(least, good), np.maximum(most, good)
    else:  # whatever was bad still is
        least, most = np.minimum(least, good), np.minimum(most, good)
    best, worst = ((events - n).astype(np.uint32) for n in (most, least))
    return Bounds(replace(history, bad=best), replace(history, bad=worst))


def _read_up_to(
    store: WindowStore,
    history: History,
    counted: Objective,
    limit_s: float,
    selector: Selector,
) -> tuple[Matrix, Matrix, Matrix]:
    """Return by row and step how many values are good: certainly, possibly, and all there are."""
    certain, possible, known = found = tuple(
        np.zeros(history.events.shape, dtype=np.int64) for _ in range(3)
    )
    places = np.zeros(0, dtype=np.int64)
    rows = {path: row for row, (_, path) in enumerate(history.keys)}
    with closing(store.history()) as points:
        for frame in points.frames(
            history.start_s, history.end_s, history.step_s, numbers=False, selector=selector
        ):
            if frame.length_s > history.step_s:
                continue
            places = _places(store.streams, rows, counted, places)
            ours = _chosen(frame, places)
            place = places[ours.stream], (ours.start_s - history.start_s) // history.step_s
            for counts, more in zip(found, count_up_to(ours, limit_s), strict=True):
                np.add.at(counts, place, more)
    return certain, possible, known


def count_up_to(rows: Distributions, limit_s: float) -> tuple[Matrix, Matrix, Matrix]:
    """Return by row how many values are at most `limit_s` > 0, and how many there are.

    Returns:
        Certainly, possibly, all; int64, shape (rows,).
    """
    statistics = rows.statistics
    below = statistics.zero_count.astype(np.int64) + _side_up_to(rows.negative, rows.scale)[2]
    certain, possible, known = (
        below + more for more in _side_up_to(rows.positive, rows.scale, limit_s)
    )
    inside = (known > 0) & (statistics.max <= limit_s)
    certain[inside] = possible[inside] = known[inside]
    outside = (known > 0) & (statistics.min > limit_s)
    certain[outside] = possible[outside] = 0
    return certain, possible, known


def _side_up_to(
    side: Side, scales: NDArray[np.int64], limit_s: float = np.inf
) -> tuple[Matrix, Matrix, Matrix]:
    """Return by row the counts of the buckets below a limit's, and with it, and of all."""
    sums = np.concatenate([[0], np.cumsum(side.counts, dtype=np.int64)])
    begins, lengths = side.offsets[:-1], np.diff(side.offsets)
    holds, closed = np.zeros_like(scales), np.zeros(len(scales), dtype=np.bool_)
    for scale in np.unique(scales).tolist() if np.isfinite(limit_s) else ():
        pair = np.array([limit_s, np.nextafter(limit_s, np.inf)])
        index, following = bucket_index(pair, scale).tolist()
        holds[scales == scale] = index
        closed[scales == scale] = following > index  # upper ends are inclusive
    below = sums[begins + np.clip(holds - side.first, 0, lengths)] - sums[begins]
    within = sums[begins + np.clip(holds + 1 - side.first, 0, lengths)] - sums[begins]
    return np.where(closed, within, below), within, sums[side.offsets[1:]] - sums[begins]


def metric_of(objective: Objective) -> tuple[str, str] | None:
    """Return which distribution tells what an objective measures: its metric and direction.

    None where none does: IPDV's differ at the edges of windows, and PDV of one way is kept only
    where its delays are no facts.
    """
    round_trip = objective.direction is Direction.ROUND_TRIP
    if objective.measure is Measure.DELAY:
        return (RTT, "") if round_trip else (DELAY, objective.direction.value)
    return (JITTER, "") if objective.measure is Measure.PDV and round_trip else None


def _places(streams: Streams, rows: dict[Path, int], counted: Objective, known: Matrix) -> Matrix:
    """Return by stream the row it is about, of more of them than are known."""
    wanted = metric_of(counted)
    if wanted is None:
        raise ValueError(f"no distribution tells what {counted.name} measures")
    more = []
    for stream in streams.since(len(known)):
        about, row = stream.about, _ELSEWHERE
        if isinstance(about, SketchKey) and (about.metric, about.direction) == wanted:
            row = rows.get(stream.series.path, _ELSEWHERE)
        more.append(row)
    return np.append(known, np.array(more, dtype=np.int64))


def _chosen(frame: Frame, places: Matrix) -> Distributions:
    return frame.distributions.taken(np.flatnonzero(places[frame.distributions.stream] >= 0))
