"""Percentiles of the last minute, hour, day, ... of every stream at once.

A horizon is covered by panes. A window is added to the pane of its time and to the counters of
every horizon that reaches back to it; a pane that leaves a horizon is taken from its counters,
exactly, since counts are integers. So what a window costs does not depend on how long a horizon
is, and a late one is as good as any other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analytics.accumulator import Accumulator
from analytics.frame import Frame, concatenated
from analytics.horizons import HORIZONS, Horizon, checked
from analytics.layouts import Pairs, Statistics
from analytics.merging import pairs_of
from analytics.readout import Rows, cdf, intervals, quantiles
from analytics.sketch import BUCKET_LIMIT, SCALE_DEFAULT, Sketch
from analytics.tables import Distributions

_FRAMES_MAX: Final = 16  # of one pane, before they are merged
_COUNTS: Final = ("zero_count", "nan_count", "positive_infinity_count", "negative_infinity_count")


@dataclass(slots=True)
class _Reach:
    """A horizon's counters, and where it begins now."""

    horizon: Horizon
    start_s: int
    positive: Accumulator = field(default_factory=Accumulator)
    negative: Accumulator = field(default_factory=Accumulator)


class Sliding:
    """Distributions by stream over several horizons. Not thread-safe.

    Points whose scale is not the table's are rare: a stream that had one is read from its panes.
    """

    def __init__(self, horizons: tuple[Horizon, ...] = HORIZONS, now_s: int = 0) -> None:
        self.horizons = checked(horizons)
        self.now_s = now_s
        self.expired = 0  # points older than every horizon
        self.early = 0  # points that begin at `now_s` or later
        self._streams = 0
        self._odd: set[int] = set()
        self._reaches = [_Reach(h, h.start_s(now_s)) for h in self.horizons]
        self._panes: dict[int, dict[int, list[Frame]]] = {h.pane_s: {} for h in self.horizons}

    def add(self, frame: Frame) -> None:
        """Add distributions of windows that have begun before `now_s`."""
        table = frame.distributions
        young = table.start_s < self.now_s
        old = table.start_s < min(reach.start_s for reach in self._reaches)
        self.early += int((~young).sum())
        self.expired += int(old.sum())
        kept = np.flatnonzero(young & ~old)
        if not len(kept):
            return
        frame = _only(table.taken(kept)).merged(frame.length_s)
        self._streams = max(self._streams, int(frame.distributions.stream.max()) + 1)
        self._note_odd(frame.distributions)
        for reach in self._reaches:
            self._count(reach, frame.between(reach.start_s, self.now_s), 1)
        for pane_s, panes in self._panes.items():
            for start_s in np.unique(frame.distributions.start_s // pane_s * pane_s).tolist():
                part = frame.between(start_s, start_s + pane_s)
                kept_frames = panes.setdefault(start_s, [])
                kept_frames.append(part)
                if len(kept_frames) > _FRAMES_MAX:
                    panes[start_s] = [self._merged(kept_frames, pane_s, start_s)]

    def advance(self, now_s: int) -> None:
        """Let time pass; what leaves a horizon is taken from it."""
        if now_s <= self.now_s:
            return
        self.now_s = now_s
        for reach in self._reaches:
            start_s = reach.horizon.start_s(now_s)
            panes = self._panes[reach.horizon.pane_s]
            gone = [at for at in panes if reach.start_s <= at < start_s]
            reach.start_s = max(reach.start_s, start_s)
            if len(gone) == sum(at < start_s for at in panes) == len(panes):
                reach.positive, reach.negative = Accumulator(), Accumulator()
                continue
            for at in gone:
                panes[at] = [self._merged(panes[at], reach.horizon.pane_s, at)]
                self._count(reach, panes[at][0], -1)
        for pane_s, panes in self._panes.items():
            oldest_s = min(r.start_s for r in self._reaches if r.horizon.pane_s == pane_s)
            for at in [at for at in panes if at < oldest_s]:
                del panes[at]

    def span(self, horizon: Horizon) -> tuple[int, int]:
        """Return from when to when the figures of a horizon reach, exactly."""
        return self._reach(horizon).start_s, self.now_s

    def quantiles(
        self, horizon: Horizon, qs: ArrayLike, lost: NDArray[np.uint64] | None = None
    ) -> NDArray[np.float64]:
        """Return quantiles by stream, shape (streams, len(qs)); NaN for an empty one."""
        found = quantiles(self._rows(horizon), qs, lost)
        for stream in self._odd:
            losses = 0 if lost is None else int(lost[stream])
            found[stream] = self.sketch(horizon, stream).due_quantiles(qs, losses)
        return found

    def cdf(
        self, horizon: Horizon, xs: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return bounds of the fraction of values at most x, each (streams, len(xs))."""
        low, high = cdf(self._rows(horizon), xs)
        wanted = np.atleast_1d(np.asarray(xs, dtype=np.float64)).tolist()
        for stream in self._odd:
            sketch = self.sketch(horizon, stream)
            low[stream], high[stream] = np.array([sketch.cdf(x) for x in wanted]).T
        return low, high

    def intervals(
        self, horizon: Horizon, q: float, level: float = 0.95
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return a confidence interval of a quantile by stream: low and high, each (streams,)."""
        low, high = intervals(self._rows(horizon), q, level)
        for stream in self._odd:
            ends = self.sketch(horizon, stream).interval(q, level)
            low[stream], high[stream] = (np.nan if end is None else end for end in ends)
        return low, high

    def _rows(self, horizon: Horizon) -> Rows:
        """Return all streams; what stands for odd ones is of no use."""
        reach = self._reach(horizon)
        sides = [
            pairs_of(accumulator.runs(SCALE_DEFAULT, self._streams))
            for accumulator in (reach.positive, reach.negative)
        ]
        negative: Pairs | None = sides[1] if len(sides[1].index) else None
        return Rows(sides[0], negative, self._statistics(reach))

    def sketch(self, horizon: Horizon, stream: int) -> Sketch:
        """Return one stream's distribution, merged from its panes."""
        whole = Sketch()
        for frame in self._frames(self._reach(horizon)):
            table = frame.distributions
            for row in np.flatnonzero(table.stream == stream).tolist():
                whole.merge(table.sketch(row))
        return whole

    def _reach(self, horizon: Horizon) -> _Reach:
        return self._reaches[self.horizons.index(horizon)]

    def _frames(self, reach: _Reach) -> list[Frame]:
        panes = self._panes[reach.horizon.pane_s]
        return [frame for at, frames in panes.items() if at >= reach.start_s for frame in frames]

    def _merged(self, frames: list[Frame], pane_s: int, start_s: int) -> Frame:
        """Return the frames of one pane as one, whose points begin where it begins."""
        whole = concatenated(frames, pane_s).summed(start_s, pane_s)
        self._note_odd(whole.distributions)  # together they may span too much for their scale
        return whole

    def _note_odd(self, table: Distributions) -> None:
        spans = [np.diff(side.offsets) for side in (table.positive, table.negative)]
        odd = (table.scale != SCALE_DEFAULT) | (np.maximum(*spans) > BUCKET_LIMIT)
        self._odd.update(table.stream[odd].tolist())

    def _count(self, reach: _Reach, frame: Frame, sign: int) -> None:
        table = frame.distributions
        if self._odd:
            usual = ~np.isin(table.stream, list(self._odd))
            table = table.taken(np.flatnonzero(usual))
        reach.positive.add(table.positive, table.stream, sign)
        reach.negative.add(table.negative, table.stream, sign)

    def _statistics(self, reach: _Reach) -> Statistics:
        """Return what cannot be taken away again, from the panes: there are thirty at most."""
        found = Statistics.none(self._streams)
        for frame in self._frames(reach):
            stream, statistics = frame.distributions.stream, frame.distributions.statistics
            for name in _COUNTS:
                np.add.at(getattr(found, name), stream, getattr(statistics, name))
            np.add.at(found.sum, stream, statistics.sum)
            np.minimum.at(found.min, stream, statistics.min)
            np.maximum.at(found.max, stream, statistics.max)
        return found


def _only(table: Distributions) -> Frame:
    empty = Frame.empty()
    return Frame(table, empty.counters, empty.gauges)
