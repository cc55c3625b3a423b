"""Percentiles of the last minute, hour, day, ... of every stream at once.

A window is added to the counters of every horizon that reaches back to it, and taken from a
horizon's counters when its pane leaves, exactly, since counts are integers. So what a window
costs does not depend on how long a horizon is, and a late one is as good as any other.

Until then each point is kept once: in panes as short as those of the shortest horizon that still
covers it, and when it has left that one, in the panes of the next longer one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analytics.accumulator import Accumulator
from analytics.frame import Frame, concatenated
from analytics.horizons import HORIZONS, Horizon, checked
from analytics.layouts import Pairs, Statistics
from analytics.merging import pairs_of
from analytics.panes import Pane
from analytics.readout import Rows, cdf, intervals, quantiles
from analytics.sketch import BUCKET_LIMIT, SCALE_DEFAULT, Sketch
from analytics.tables import Distributions, numbers_of

_EVER_S: Final = 2**33
_SETTLED_S: Final = 20  # after its end, most of a pane has come
_REACH: Final = 1 << 15  # buckets on either side of 1: values from 2**-256 to 2**256
_SPECIALS: Final = (
    "zero_count",
    "nan_count",
    "positive_infinity_count",
    "negative_infinity_count",
)


@dataclass(slots=True)
class _Reach:
    """A horizon's counters, and where it begins now."""

    horizon: Horizon
    start_s: int
    positive: Accumulator = field(default_factory=Accumulator)
    negative: Accumulator = field(default_factory=Accumulator)
    specials: NDArray[np.int64] = field(  # (4, streams)
        default_factory=lambda: np.zeros((len(_SPECIALS), 0), dtype=np.int64)
    )
    counters: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def grow(self, streams: int) -> None:
        more = streams - len(self.counters)
        if more > 0:
            self.specials = np.pad(self.specials, ((0, 0), (0, more)))
            self.counters = np.pad(self.counters, (0, more))


@dataclass(frozen=True, slots=True)
class View:
    """All streams over one horizon."""

    start_s: int
    end_s: int
    rows: Rows  # by stream; what stands there for an odd one is of no use
    counters: NDArray[np.int64]  # (streams,) the sum of each stream's counter
    odd: Mapping[int, Sketch]  # streams see `Sliding`

    def sketch(self, stream: int) -> Sketch:
        """Return one stream's distribution as a sketch of its own."""
        if stream in self.odd:
            return self.odd[stream].copy()
        return self.rows.sketch(stream)

    def counts(self) -> NDArray[np.int64]:
        """Return the number of values of each stream, shape (streams,)."""
        found = self.rows.counts()
        for stream, sketch in self.odd.items():
            found[stream] = sketch.count
        return found

    def quantiles(
        self, qs: ArrayLike, lost: NDArray[np.uint64] | None = None
    ) -> NDArray[np.float64]:
        """Return quantiles by stream, shape (streams, len(qs)); NaN for an empty one.

        `lost`, shape (streams,), are further values that are +Inf.
        """
        found = quantiles(self.rows, qs, lost)
        for stream, sketch in self.odd.items():
            found[stream] = sketch.due_quantiles(qs, 0 if lost is None else int(lost[stream]))
        return found

    def cdf(self, xs: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return bounds of the fraction of values at most x, each (streams, len(xs))."""
        low, high = cdf(self.rows, xs)
        wanted = np.atleast_1d(np.asarray(xs, dtype=np.float64)).tolist()
        for stream, sketch in self.odd.items():
            low[stream], high[stream] = np.array([sketch.cdf(x) for x in wanted]).T
        return low, high

    def intervals(
        self, q: float, level: float = 0.95
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return a confidence interval of a quantile by stream: low and high, each (streams,)."""
        low, high = intervals(self.rows, q, level)
        for stream, sketch in self.odd.items():
            ends = sketch.interval(q, level)
            low[stream], high[stream] = (np.nan if end is None else end for end in ends)
        return low, high


class Sliding:
    """Distributions and counters by stream over several horizons. Not thread-safe.

    A stream is odd when it had a point of another scale than the table's, or values so large or
    small that no index of 16 bits tells them from all others. That is rare: odd streams are read
    from their panes.
    """

    def __init__(self, horizons: tuple[Horizon, ...] = HORIZONS, now_s: int = 0) -> None:
        self.horizons = checked(horizons)
        self.now_s = now_s
        self.expired = 0  # points older than every horizon
        self.early = 0  # points that begin at `now_s` or later
        self._streams = 0
        self._odd: set[int] = set()
        self._reaches = [_Reach(h, h.start_s(now_s)) for h in self.horizons]
        steps = sorted({horizon.pane_s for horizon in self.horizons})
        self._panes: dict[int, dict[int, Pane]] = {pane_s: {} for pane_s in steps}

    @property
    def nbytes(self) -> int:
        """About how much memory all of it takes."""
        counters = [each for reach in self._reaches for each in (reach.positive, reach.negative)]
        panes = [pane for level in self._panes.values() for pane in level.values()]
        dense = sum(reach.specials.nbytes + reach.counters.nbytes for reach in self._reaches)
        return dense + sum(each.nbytes for each in counters) + sum(pane.nbytes for pane in panes)

    def spans(self) -> list[tuple[int, int, int]]:
        """Return what to add to an empty table: (from, to, length of the longest windows).

        The last one has no end yet: its windows may still come.
        """
        found, end_s = [], _EVER_S
        for pane_s in self._panes:
            oldest_s = self._oldest_s(pane_s)
            found.append((oldest_s, end_s, pane_s))
            end_s = oldest_s
        return found[::-1]

    def add(self, frame: Frame) -> None:
        """Add distributions and counters of windows that have begun before `now_s`."""
        frame = replace(frame, gauges=numbers_of((), np.float64))
        began_s = min(reach.start_s for reach in self._reaches)
        for table in frame.tables:
            self.early += int((table.start_s >= self.now_s).sum())
            self.expired += int((table.start_s < began_s).sum())
        frame = frame.between(began_s, self.now_s)
        if not frame.points:
            return
        for table in frame.tables:
            self._streams = max(self._streams, int(table.stream.max(initial=-1)) + 1)
        self._note_odd(frame.distributions)
        for reach in self._reaches:
            self._count(reach, frame.between(reach.start_s, self.now_s), 1)
        end_s = self.now_s
        for pane_s in self._panes:
            oldest_s = self._oldest_s(pane_s)
            self._keep(pane_s, frame.between(oldest_s, end_s))
            end_s = min(end_s, oldest_s)

    def advance(self, now_s: int) -> None:
        """Let time pass; what leaves a horizon is taken from it."""
        if now_s <= self.now_s:
            return
        self.now_s = now_s
        steps = list(self._panes)
        for pane_s, next_s in itertools.zip_longest(steps, steps[1:]):
            for reach in self._reaches:
                if reach.horizon.pane_s == pane_s:
                    self._leave(reach)
            self._hand_on(pane_s, next_s)
        self._pack_newest()

    def span(self, horizon: Horizon) -> tuple[int, int]:
        """Return from when to when the figures of a horizon reach, exactly."""
        return self._reach(horizon).start_s, self.now_s

    def counters(self, horizon: Horizon) -> NDArray[np.int64]:
        """Return the sum of each stream's counter over a horizon, shape (streams,); to be read."""
        return self._reach(horizon).counters

    def view(self, horizon: Horizon) -> View:
        """Return what a horizon holds now; later windows change nothing of it."""
        reach = self._reach(horizon)
        reach.grow(self._streams)
        sides = [
            pairs_of(accumulator.runs(SCALE_DEFAULT, self._streams))
            for accumulator in (reach.positive, reach.negative)
        ]
        negative: Pairs | None = sides[1] if len(sides[1].index) else None
        rows = Rows(sides[0], negative, self._statistics(reach))
        odd = {stream: self._odd_sketch(horizon, stream) for stream in self._odd}
        return View(*self.span(horizon), rows, reach.counters.copy(), odd)

    def _odd_sketch(self, horizon: Horizon, stream: int) -> Sketch:
        """Return the distribution of an odd stream, merged from its panes."""
        whole = Sketch()
        for pane in self._covering(self._reach(horizon)):
            found = pane.sketches(self._odd).get(stream)
            if found is not None:
                whole.merge(found)
        return whole

    def _reach(self, horizon: Horizon) -> _Reach:
        return self._reaches[self.horizons.index(horizon)]

    def _oldest_s(self, pane_s: int) -> int:
        """Return from when on panes of this length hold the points."""
        return min(reach.start_s for reach in self._reaches if reach.horizon.pane_s == pane_s)

    def _covering(self, reach: _Reach) -> Iterator[Pane]:
        """Yield the panes with the points of a horizon."""
        for pane_s, panes in self._panes.items():
            if pane_s <= reach.horizon.pane_s:
                yield from (pane for at, pane in panes.items() if at >= reach.start_s)

    def _keep(self, pane_s: int, frame: Frame) -> None:
        """Put points into the panes of one length."""
        if not frame.points:
            return
        first_s, last_s = (edge // pane_s * pane_s for edge in frame.span())
        if first_s == last_s:
            starts = [first_s]
        else:
            each = [np.unique(table.start_s // pane_s) for table in frame.tables]
            starts = (np.unique(np.concatenate(each)) * pane_s).tolist()
        panes = self._panes[pane_s]
        for start_s in starts:
            pane = panes.setdefault(start_s, Pane(start_s, pane_s))
            pane.add(frame.between(start_s, start_s + pane_s))

    def _leave(self, reach: _Reach) -> None:
        """Take from a horizon what it does not cover any more; its panes hold all of that."""
        start_s = reach.horizon.start_s(self.now_s)
        if start_s - reach.start_s >= reach.horizon.length_s:  # nothing of it is left
            reach.positive, reach.negative = Accumulator(), Accumulator()
            reach.specials[:], reach.counters[:] = 0, 0
        else:
            for at, pane in self._panes[reach.horizon.pane_s].items():
                if reach.start_s <= at < start_s:
                    for frame in pane.frames():
                        self._count(reach, frame, -1)
        reach.start_s = max(reach.start_s, start_s)

    def _hand_on(self, pane_s: int, next_s: int | None) -> None:
        """Move the panes which no horizon of their length covers into longer ones."""
        panes, oldest_s = self._panes[pane_s], self._oldest_s(pane_s)
        gone = [panes.pop(at) for at in sorted(panes) if at < oldest_s]
        if next_s is None:
            return
        for pane in gone:
            whole = concatenated(pane.frames(), pane_s)
            self._note_odd(whole.distributions)  # merged they may have spanned too much
            self._keep(next_s, whole)
        for at, longer in self._panes[next_s].items():
            if at + next_s <= oldest_s:
                longer.pack()

    def _pack_newest(self) -> None:
        """Pack the shortest panes soon after they have ended: they are most of the memory."""
        (pane_s, panes), *_ = self._panes.items()
        for at, pane in panes.items():
            if at + pane_s <= self.now_s - _SETTLED_S:
                pane.pack()

    def _note_odd(self, table: Distributions) -> None:
        spans = [np.diff(side.offsets) for side in (table.positive, table.negative)]
        odd = (table.scale != SCALE_DEFAULT) | (np.maximum(*spans) > BUCKET_LIMIT)
        for side, span in zip((table.positive, table.negative), spans, strict=True):
            far = (side.first < -_REACH) | (side.first + span > _REACH)
            odd |= far & (span > 0)
        self._odd.update(table.stream[odd].tolist())

    def _count(self, reach: _Reach, frame: Frame, sign: int) -> None:
        reach.grow(self._streams)
        table, counters = frame.distributions, frame.counters
        np.add.at(reach.counters, counters.stream, sign * counters.value.astype(np.int64))
        if self._odd:
            usual = ~np.isin(table.stream, list(self._odd))
            table = table.taken(np.flatnonzero(usual))
        reach.positive.add(table.positive, table.stream, sign)
        reach.negative.add(table.negative, table.stream, sign)
        for row, name in enumerate(_SPECIALS):
            counts = getattr(table.statistics, name)
            if counts.any():
                np.add.at(reach.specials[row], table.stream, sign * counts.astype(np.int64))

    def _statistics(self, reach: _Reach) -> Statistics:
        reach.grow(self._streams)
        found = Statistics.none(self._streams)
        for row, name in enumerate(_SPECIALS):
            getattr(found, name)[:] = reach.specials[row]
        for pane in self._covering(reach):
            for part in pane.extremes():
                with np.errstate(over="ignore", invalid="ignore"):  # a sum may be infinite
                    np.add.at(found.sum, part.stream, part.sum)
                np.minimum.at(found.min, part.stream, part.min)
                np.maximum.at(found.max, part.stream, part.max)
        return found
