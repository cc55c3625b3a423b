"""Judges a whole history at once: at each step, what `slo.burn.firing` would have said.

Sums from the first step on turn any window into one subtraction. A pair burns over a window when
bad * unit * d > events * share * n, with its threshold n / d and a budget of share / unit for
each event: so one sum of whole numbers, which is above zero or not, decides both windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analytics.store.eras import era_at
from slo._kernels.burning import mark_burning
from slo.backtest.history import History, Hole
from slo.budget import MissingData, Spend
from slo.burn import BurnPair, Guard
from slo.exclusion import Exclusion
from slo.ledger import Era
from slo.objective import Objective
from slo.ranges import SpendKey

THREADS: Final = 2
_BLOCK_CELLS: Final = 150_000  # of what is worked on at once: it stays in the processor's cache
_INT64_MAX: Final = 2**63 - 1

Places = tuple[NDArray[np.int64], NDArray[np.int64]]  # rows and columns, sorted
Whole = NDArray[Any]  # of int64, or of Python's integers where those would not do


@dataclass(frozen=True, slots=True)
class Episode:
    """One alert that would have fired.

    `end_s` is the first step at which it no longer fires, None when it did at the end of the
    history. `bad` and `budget_used` are from the begin of the long window on; the latter is the
    share of a period's budget, at the mean rate of events of the history.
    """

    key: SpendKey
    pair: BurnPair
    start_s: int
    end_s: int | None
    bad: int
    budget_used: float


@dataclass(frozen=True, slots=True)
class Replay:
    """What one objective would have said of its rows between two moments."""

    spends: tuple[Spend, ...]  # by row, over the range
    episodes: tuple[Episode, ...]  # by time


def replay(
    history: History,
    objective: Objective,
    eras: Sequence[Era],
    span: tuple[int, int],
    exclusions: Sequence[Exclusion] = (),
    on_rows: Callable[[int], None] = lambda _: None,
    threads: int = THREADS,
) -> Replay:
    """Judge the rows of `objective` at the end of every step of a span.

    Windows which reach back before the history see only what it has, as a young ledger does.

    Args:
        history: Of this objective's rows alone.
        objective: Its pairs, guard, period and policy of missing data count.
        eras: Its targets, as `analytics.store.eras` has them.
        span: Unix seconds in which alerts and budgets are wanted; in the history.
        exclusions: Times that do not count.
        on_rows: Told, from any thread, how many more rows are done.
        threads: That work at once.

    Raises:
        ValueError: a window of a pair is not whole steps.
    """
    for length_s in objective.alerts.windows_s:
        if length_s % history.step_s:
            raise ValueError(f"a window of {length_s} s is not whole steps of {history.step_s} s")
    judge = _Judge.of(history, objective, eras, span, history.holes(exclusions))
    size = max(1, _BLOCK_CELLS // max(1, history.steps))
    blocks = [
        slice(low, min(low + size, len(history.keys))) for low in range(0, len(history.keys), size)
    ]

    def work(rows: slice) -> tuple[list[Spend], list[Episode]]:
        found = judge.block(rows)
        on_rows(rows.stop - rows.start)
        return found

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(work, blocks))
    episodes = [episode for _, some in parts for episode in some]
    episodes.sort(key=lambda e: (e.start_s, e.key, e.pair.long_s))
    return Replay(tuple(spend for some, _ in parts for spend in some), tuple(episodes))


@dataclass(frozen=True, slots=True)
class _Judge:
    history: History
    objective: Objective
    weights: NDArray[np.int64]  # (steps,) budget of an event, in 1 / unit
    unit: int
    low: int  # columns in which alerts and budgets are wanted
    high: int
    holes: Sequence[Hole]

    @classmethod
    def of(
        cls,
        history: History,
        objective: Objective,
        eras: Sequence[Era],
        span: tuple[int, int],
        holes: Sequence[Hole],
    ) -> _Judge:
        known = list(eras)
        starts_s = range(history.start_s, history.end_s, history.step_s)
        shares = {text: 1 - Fraction(text) for _, text in known}
        unit = math.lcm(*(share.denominator for share in shares.values()))
        in_force = (era_at(known, at_s)[1] for at_s in starts_s)
        weights = np.array([int(shares[text] * unit) for text in in_force], dtype=np.int64)
        low, high = (history.column(at_s) for at_s in span)
        return cls(history, objective, weights, unit, low, high, holes)

    def block(self, rows: slice) -> tuple[list[Spend], list[Episode]]:
        """Return the spends and alerts of some rows."""
        events, bad, unmeasured = (
            counts[rows].astype(np.int64)
            for counts in (self.history.events, self.history.bad, self.history.unmeasured)
        )
        for hole in self.holes:
            chosen = hole.rows[rows]
            for counts in (events, bad, unmeasured):
                counts[chosen, hole.low : hole.high] = 0
        inside = slice(self.low, self.high)
        spends = self._spends(events[:, inside], bad[:, inside], unmeasured[:, inside])
        missing = self.objective.missing_data
        if missing is not MissingData.IGNORE:
            events += unmeasured
            if missing is MissingData.BAD:
                bad += unmeasured
            unmeasured = np.zeros_like(unmeasured)
        keys = self.history.keys[rows]
        sums = _Sums(events, bad, unmeasured, self.weights, self.unit)
        found = [self._episodes(keys, pair, sums) for pair in self.objective.alerts.pairs]
        return spends, [episode for of_pair in found for episode in of_pair]

    def _spends(self, *counts: NDArray[np.int64]) -> list[Spend]:
        events, bad, unmeasured = counts
        weights = self.weights[self.low : self.high]
        sums = (
            events.sum(1),
            bad.sum(1),
            unmeasured.sum(1),
            events @ weights,
            unmeasured @ weights,
        )
        return [
            Spend(due, lost, missing, Fraction(budget, self.unit), Fraction(more, self.unit))
            for due, lost, missing, budget, more in zip(*(c.tolist() for c in sums), strict=True)
        ]

    def _episodes(self, keys: Sequence[SpendKey], pair: BurnPair, sums: _Sums) -> list[Episode]:
        step_s, objective = self.history.step_s, self.objective
        long, short = pair.long_s // step_s, pair.short_s // step_s
        threshold, guard = pair.threshold(objective.window_s), objective.guard
        at = sums.burning(threshold, long, short, guard.parts * guard.bad_events_min)
        kept = (at[1] >= self.low) & (at[1] < self.high)
        at = _where(at, kept)
        if objective.missing_data is MissingData.IGNORE:
            least = objective.coverage_min
            at = _where(at, sums.covered(at, long, least))
            at = _where(at, sums.covered(at, short, least))
        if guard.confidence is not None:
            at = _where(at, sums.admitted(at, long, guard, pair, objective.window_s))
        row, first, last = _runs(at)
        if not len(row):
            return []
        bad = sums.bad_over((row, last), long + last - first)
        periods = sums.budgets() * objective.window_s / (sums.measured() * step_s)
        begins = self.history.start_s + (first + 1) * step_s
        ends = self.history.start_s + (last + 2) * step_s
        going_on = last + 1 == self.high
        return [
            Episode(keys[r], pair, begin, None if still else end, n, share)
            for r, begin, end, still, n, share in zip(
                row.tolist(),
                begins.tolist(),
                ends.tolist(),
                going_on.tolist(),
                bad.tolist(),
                (bad / periods[row]).tolist(),
                strict=True,
            )
        ]


class _Sums:
    """Sums of some rows from the first step on; a window is one subtraction."""

    def __init__(
        self,
        events: NDArray[np.int64],
        bad: NDArray[np.int64],
        unmeasured: NDArray[np.int64],
        weights: NDArray[np.int64],
        unit: int,
    ) -> None:
        self._events, self._bad, self._unmeasured = events, bad, unmeasured
        self._weights = weights
        self._unit = unit
        self._largest = int(events.sum(axis=1).max(initial=0))

    def burning(self, threshold: Fraction, long: int, short: int, bad_min: int) -> Places:
        """Return where both windows burn too fast and the long one has so many bad events."""
        per_bad, share = self._unit * threshold.denominator, threshold.numerator
        heaviest = share * int(self._weights.max(initial=1))
        if 2 * self._largest * max(per_bad, heaviest) > _INT64_MAX:
            return self._burning_slowly(per_bad, share, long, short, bad_min)
        burning = np.zeros(self._events.shape, dtype=np.bool_)
        per_event = self._weights * share
        mark_burning(self._events, self._bad, per_event, per_bad, long, short, bad_min, burning)
        row, column = np.nonzero(burning)
        return row, column

    def _burning_slowly(
        self, per_bad: int, share: int, long: int, short: int, bad_min: int
    ) -> Places:
        """Return the same of a threshold with many digits, by integers of any size."""
        spent = self._bad.astype(object) * per_bad
        sums = np.cumsum(spent - (self._events * self._weights).astype(object) * share, axis=1)
        burning = (_over(sums, long) > 0) & (_over(sums, short) > 0)
        row, column = np.nonzero(burning.astype(np.bool_))
        enough: NDArray[np.bool_] = self.bad_over((row, column), long) >= bad_min
        return _where((row, column), enough)

    def bad_over(self, at: Places, length: int | NDArray[np.int64]) -> Whole:
        return _at(self._bad_sums, at, length)

    def covered(self, at: Places, length: int, least: Fraction) -> NDArray[np.bool_]:
        """Whether enough of a window was measured, exactly."""
        if not self._unmeasured.any():
            return np.ones(len(at[0]), dtype=np.bool_)
        events = _at(self._event_sums, at, length)
        due = events + _at(self._unmeasured_sums, at, length)
        enough: NDArray[np.bool_] = events * least.denominator >= least.numerator * due
        return enough

    def admitted(
        self, at: Places, length: int, guard: Guard, pair: BurnPair, period_s: int
    ) -> NDArray[np.bool_]:
        """Whether the bad events of a long window are more than chance."""
        budgets = _at(np.cumsum(self._events * self._weights, axis=1), at, length)
        distinct, place = np.unique(budgets, return_inverse=True)  # most windows have the same
        threshold, windows = pair.threshold(period_s), pair.windows(period_s)
        least = [
            guard.least(Fraction(units, self._unit), threshold, windows)
            for units in distinct.tolist()
        ]
        enough: NDArray[np.bool_] = (
            self.bad_over(at, length) >= np.array(least, dtype=np.int64)[place]
        )
        return enough

    def budgets(self) -> NDArray[np.float64]:
        """Return the budget of the whole history by row, in events."""
        budgets: NDArray[np.float64] = (self._events @ self._weights) / self._unit
        return budgets

    def measured(self) -> NDArray[np.int64]:
        """Return how many steps have events, at least one, by row."""
        steps: NDArray[np.int64] = np.maximum(1, np.count_nonzero(self._events, axis=1))
        return steps

    @cached_property
    def _bad_sums(self) -> Whole:
        return np.cumsum(self._bad, axis=1)

    @cached_property
    def _event_sums(self) -> Whole:
        return np.cumsum(self._events, axis=1)

    @cached_property
    def _unmeasured_sums(self) -> Whole:
        return np.cumsum(self._unmeasured, axis=1)


def _over(sums: Whole, length: int) -> Whole:
    """Return the sum over the last `length` steps, at each step."""
    over = sums.copy()
    over[:, length:] -= sums[:, :-length]
    return over


def _at(sums: Whole, at: Places, length: int | NDArray[np.int64]) -> Whole:
    """Return the same at some places only."""
    row, column = at
    before = column - length
    return sums[row, column] - np.where(before >= 0, sums[row, np.maximum(before, 0)], 0)


def _where(at: Places, kept: NDArray[np.bool_]) -> Places:
    return at[0][kept], at[1][kept]


def _runs(at: Places) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the row, the first and the last column of each run of neighbours."""
    row, column = at
    breaks = np.flatnonzero((np.diff(row) != 0) | (np.diff(column) != 1))
    edge = min(len(row), 1)  # none without any
    first = np.concatenate([np.zeros(edge, dtype=np.int64), breaks + 1])
    last = np.concatenate([breaks, np.full(edge, len(row) - 1, dtype=np.int64)])
    return row[first], column[first], column[last]
