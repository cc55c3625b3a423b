"""Events of every objective on every path, over every window that alerts look at, from memory.

A row is one objective on one path. What a batch adds costs the same however long the windows are,
and reading all of them is a few additions of arrays. The store keeps the same counters on disk:
a ledger is made from it at the start, and then kept up as batches are committed.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.frame import Frame
from analytics.horizons import Horizon
from analytics.sliding import Sliding
from analytics.store.interface import DAY_S, WARM_S
from analytics.streams import Events, Streams
from analytics.tables import Numbers
from slo.budget import Spend
from slo.exclusion import Exclusion
from slo.ranges import SpendKey

_FIELDS: Final = ("good", "bad", "unmeasured")
_STEPS_S: Final = (10, 60, 300, 1800, 3600, DAY_S)  # each a whole number of the one before
_PANES_MIN: Final = 28  # so that a window is never short by more than a twenty-eighth
_COUNTED, _EXCLUDED = 0, 1
_CLOSE: Final = 1e-9  # relative; nearer to a threshold than this, integers decide
_ZERO: Final = Fraction(0)
_ELSEWHERE: Final = -1

Counts = NDArray[np.int64]
Era = tuple[int, str]  # (since_s, target), as the store has them


def horizon_of(length_s: int) -> Horizon:
    """Return the horizon of a window: its panes are at most a twenty-eighth of it."""
    return Horizon(length_s, max(s for s in _STEPS_S if s <= max(10, length_s // _PANES_MIN)))


@dataclass(frozen=True, slots=True)
class Standing:
    """How all rows stand at one moment.

    Arrays have the shape (windows, rows). Budgets are in units of 1 / `unit` events, so that
    they are exact; `unmeasured_budget` is what more there would be, were the unmeasured events.
    """

    now_s: int
    keys: tuple[SpendKey, ...]
    rows: Mapping[SpendKey, int]  # where each key is
    lengths_s: tuple[int, ...]
    starts_s: tuple[int, ...]  # where each window begins
    events: NDArray[np.int64]
    bad: NDArray[np.int64]
    unmeasured: NDArray[np.int64]
    budget: NDArray[np.int64]
    unit: NDArray[np.int64]  # (rows,)
    unmeasured_budget: NDArray[np.int64]
    exclusions: tuple[Exclusion, ...] = ()  # what was left out

    def place(self, length_s: int) -> int:
        """Return the row of a window in the arrays.

        Raises:
            ValueError: the ledger keeps no such window.
        """
        return self.lengths_s.index(length_s)

    def burn_rates(self) -> NDArray[np.float64]:
        """Return bad events per budget event, shape (windows, rows); NaN without a budget."""
        with np.errstate(divide="ignore", invalid="ignore"):
            rates = self.bad * self.unit.astype(np.float64) / self.budget
        rates[self.budget == 0] = np.nan
        return rates

    @classmethod
    def of_spends(
        cls, spends: Mapping[int, Mapping[SpendKey, Spend]], lengths_s: Sequence[int]
    ) -> Standing:
        """Return rows that are known in another way, by length of window, to lie beside others."""
        keys = tuple(sorted({key for of_one in spends.values() for key in of_one}))
        nothing = Spend()
        each = [[spends[length_s].get(key, nothing) for key in keys] for length_s in lengths_s]
        unit = [
            math.lcm(*(b.denominator for line in each for b in _budgets(line[row])))
            for row in range(len(keys))
        ]

        def table(figure: Callable[[Spend, int], Fraction | int]) -> Counts:
            rows = [[int(figure(x, u)) for x, u in zip(line, unit, strict=True)] for line in each]
            return np.array(rows, dtype=np.int64).reshape(len(lengths_s), len(keys))

        return cls(
            now_s=0,
            keys=keys,
            rows={key: row for row, key in enumerate(keys)},
            lengths_s=tuple(lengths_s),
            starts_s=(0,) * len(lengths_s),
            events=table(lambda x, _: x.events),
            bad=table(lambda x, _: x.bad),
            unmeasured=table(lambda x, _: x.unmeasured),
            budget=table(lambda x, unit: x.budget * unit),
            unit=np.array(unit, dtype=np.int64),
            unmeasured_budget=table(lambda x, unit: x.unmeasured_budget * unit),
        )

    def beside(self, other: Standing) -> Standing:
        """Return all rows of this standing and those of another, over the same windows."""
        if not other.keys:
            return self

        def joined(one: Counts, more: Counts) -> Counts:
            return np.concatenate([one, more], axis=one.ndim - 1)

        whole = self.keys + other.keys
        return replace(
            self,
            keys=whole,
            rows={key: row for row, key in enumerate(whole)},
            events=joined(self.events, other.events),
            bad=joined(self.bad, other.bad),
            unmeasured=joined(self.unmeasured, other.unmeasured),
            budget=joined(self.budget, other.budget),
            unmeasured_budget=joined(self.unmeasured_budget, other.unmeasured_budget),
            unit=joined(self.unit, other.unit),
        )

    def spend(self, length_s: int, row: int) -> Spend:
        """Return one figure exactly."""
        at = self.place(length_s), row
        unit = int(self.unit[row])
        return Spend(
            int(self.events[at]),
            int(self.bad[at]),
            int(self.unmeasured[at]),
            _share(int(self.budget[at]), unit),
            _share(int(self.unmeasured_budget[at]), unit),
        )

    def exceeds(self, length_s: int, threshold: Fraction) -> NDArray[np.bool_]:
        """Return by row whether its burn rate over a window is above a threshold, exactly."""
        at, limit = self.place(length_s), float(threshold)
        with np.errstate(divide="ignore", invalid="ignore"):
            rates = self.bad[at] * self.unit.astype(np.float64) / self.budget[at]
            above: NDArray[np.bool_] = rates > limit
            close = np.abs(rates - limit) <= _CLOSE * limit
        for row in np.flatnonzero(close).tolist():
            above[row] = self.spend(length_s, row).burns_faster(threshold)
        above[self.budget[at] == 0] = False
        return above


def _share(count: int, unit: int) -> Fraction:
    return Fraction(count, unit) if count else _ZERO  # which is most of them, and costs nothing


class Ledger:
    """Keeps events by row over several windows. Not thread-safe.

    Args:
        streams: What the points of frames are about.
        keys: The rows.
        eras: The targets of each objective, as `analytics.store.eras` has them.
        lengths_s: Of the windows. They end at the present and begin up to a pane late.
        exclusions: Times that do not count; what lies in them is kept apart.
        now_s: The present.
    """

    distributions = False

    def __init__(
        self,
        streams: Streams,
        keys: Sequence[SpendKey],
        eras: Mapping[str, Sequence[Era]],
        lengths_s: Collection[int],
        exclusions: Sequence[Exclusion] = (),
        now_s: int = 0,
    ) -> None:
        self.keys = tuple(keys)
        self._streams = streams
        self._rows = {key: row for row, key in enumerate(self.keys)}
        self._lengths_s = tuple(sorted(set(lengths_s)))
        self._horizons = tuple(horizon_of(length_s) for length_s in self._lengths_s)
        self._sliding = Sliding(self._horizons, now_s)
        self._changes_s, self._weights, self._unit = _weights(self.keys, eras)
        self._exclusions = tuple(exclusions)
        self._masks = [np.array([x.covers.matches(*key) for key in self.keys]) for x in exclusions]
        self._places = np.zeros(0, dtype=np.int64)  # by stream: field * rows + row

    @property
    def now_s(self) -> int:
        return self._sliding.now_s

    def advance(self, now_s: int) -> None:
        """Let time pass."""
        self._sliding.advance(now_s)

    def spans(self) -> list[tuple[int, int, int]]:
        """Return what to add to an empty ledger: (from, to, length of the longest windows).

        Days in which a target or an exclusion begins or ends are wanted in windows of 5 min.
        """
        return [
            part
            for start_s, end_s, window_s in self._sliding.spans()
            for part in _cut(start_s, end_s, window_s, self._edges_s)
        ]

    def wanted(self, frame: Frame) -> Frame:
        """Return the points that count here."""
        self._learn()
        counters = frame.counters
        ours = np.flatnonzero(self._places[counters.stream] >= 0)
        empty = Frame.empty(frame.length_s)
        return replace(empty, counters=counters.taken(ours))

    def add(self, frame: Frame) -> None:
        """Add such points, of windows that have begun."""
        counters, start_s = frame.counters, frame.counters.start_s
        if not len(start_s):
            return
        place = self._places[counters.stream]
        era = np.searchsorted(self._changes_s, start_s, side="right")
        block = 2 * era + self._excluded(place, start_s)
        stream = block * len(_FIELDS) * len(self.keys) + place
        numbers = Numbers(stream.astype(np.int32), start_s, counters.value)
        self._sliding.add(replace(frame, counters=numbers))

    def standing(self, *, with_exclusions: bool = False) -> Standing:
        """Return all windows of all rows now; later batches change nothing of it.

        `with_exclusions`: as if no time had been excluded.
        """
        eras, rows = self._weights.shape
        totals = np.zeros((5, len(self._horizons), rows), dtype=np.int64)
        events, bad, unmeasured, budget, unmeasured_budget = totals
        # A window at a time, so that it stays in cache.
        counts = np.zeros((eras, 2, len(_FIELDS), rows), dtype=np.int64)
        flat = counts.reshape(-1)
        for at, horizon in enumerate(self._horizons):
            found = self._sliding.counters(horizon)
            flat[: len(found)], flat[len(found) :] = found, 0
            kept = counts.sum(axis=1) if with_exclusions else counts[:, _COUNTED]
            for (good, missed, unknown), weights in zip(kept, self._weights, strict=True):
                measured = good + missed
                events[at] += measured
                bad[at] += missed
                unmeasured[at] += unknown
                budget[at] += measured * weights
                unmeasured_budget[at] += unknown * weights
        return Standing(
            self.now_s,
            self.keys,
            self._rows,
            self._lengths_s,
            tuple(self._sliding.span(horizon)[0] for horizon in self._horizons),
            events,
            bad,
            unmeasured,
            budget,
            self._unit,
            unmeasured_budget,
            () if with_exclusions else self._exclusions,
        )

    @property
    def _edges_s(self) -> list[int]:
        edges = {edge for span in self._exclusions for edge in (span.start_s, span.end_s)}
        return sorted(edges.union(self._changes_s.tolist()))

    def _excluded(self, place: NDArray[np.int64], start_s: NDArray[np.int64]) -> NDArray[np.int64]:
        found = np.full(len(place), _COUNTED, dtype=np.int64)
        first_s, last_s = int(start_s.min()), int(start_s.max())
        row = place % len(self.keys)
        for span, mask in zip(self._exclusions, self._masks, strict=True):
            if span.start_s <= last_s and first_s < span.end_s:
                inside = (start_s >= span.start_s) & (start_s < span.end_s)
                found[inside & mask[row]] = _EXCLUDED
        return found

    def _learn(self) -> None:
        fresh = []
        for stream in self._streams.since(len(self._places)):
            about = stream.about
            row = None
            if isinstance(about, Events):
                row = self._rows.get((about.slo, stream.series.path))
            if row is None or not isinstance(about, Events):
                fresh.append(_ELSEWHERE)
            else:
                fresh.append(_FIELDS.index(about.field) * len(self.keys) + row)
        if fresh:
            self._places = np.append(self._places, np.array(fresh, dtype=np.int64))


def _weights(
    keys: Sequence[SpendKey], eras: Mapping[str, Sequence[Era]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return when targets change, the budget of an event by era and row, and its unit by row.

    An event's budget, 1 - target, is a whole number of units, whatever the era.
    """
    slos = sorted({slo for slo, _ in keys})
    changes_s = sorted({since_s for slo in slos for since_s, _ in eras[slo] if since_s > 0})
    moments_s = [0, *changes_s]
    weight, unit = {}, {}
    for slo in slos:
        shares = [1 - Fraction(_target_at(eras[slo], at_s)) for at_s in moments_s]
        unit[slo] = math.lcm(*(share.denominator for share in shares))
        weight[slo] = [int(share * unit[slo]) for share in shares]
    by_row = np.array([weight[slo] for slo, _ in keys], dtype=np.int64)
    return (
        np.array(changes_s, dtype=np.int64),
        np.ascontiguousarray(by_row.reshape(len(keys), len(moments_s)).T),
        np.array([unit[slo] for slo, _ in keys], dtype=np.int64),
    )


def _target_at(eras: Sequence[Era], at_s: int) -> str:
    return eras[max(0, bisect_right([since_s for since_s, _ in eras], at_s) - 1)][1]


def _cut(
    start_s: int, end_s: int, window_s: int, edges_s: Sequence[int]
) -> list[tuple[int, int, int]]:
    """Part a span of long windows where something begins or ends inside of one."""
    if window_s <= WARM_S:
        return [(start_s, end_s, window_s)]
    inside = (at_s - at_s % window_s for at_s in edges_s if start_s <= at_s < end_s)
    odd = {max(start_s, at_s): min(at_s + window_s, end_s) for at_s in inside}
    bounds = sorted({start_s, end_s, *odd.keys(), *odd.values()})
    return [
        (low_s, high_s, WARM_S if low_s in odd else window_s)
        for low_s, high_s in itertools.pairwise(bounds)
    ]


def _budgets(spend: Spend) -> tuple[Fraction, Fraction]:
    return spend.budget, spend.unmeasured_budget
