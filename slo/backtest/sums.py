"""Running sums of a history: any window of any row is one subtraction, in whole numbers.

A pair burns over a window when bad * unit * d > budget * n, with its threshold n / d and the
budget in 1 / unit of an event.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slo._kernels.burning import add_up, add_up_weighted, mark_burning
from slo.budget import MissingData, Spend

_INT64_MAX: Final = 2**63 - 1

Places = tuple[NDArray[np.int64], NDArray[np.int64]]  # rows and columns, sorted
Whole = NDArray[Any]  # of int64, or of Python's integers where those would not do
Shares = tuple[tuple[int, Fraction], ...]  # the first column of each era, an event's budget in it


@dataclass(frozen=True, slots=True)
class Sums:
    """Of some rows; arrays have the shape (rows, steps + 1), the sums of the steps before."""

    events: NDArray[np.int64]
    bad: NDArray[np.int64]
    unmeasured: NDArray[np.int64] | None  # None: nothing was
    shares: Shares

    @classmethod
    def of(
        cls,
        events: NDArray[np.uint32],
        bad: NDArray[np.uint32],
        unmeasured: NDArray[np.uint32],
        shares: Shares,
        room: NDArray[np.int64] | None = None,
    ) -> Sums:
        """Add up counts by step, shape (rows, steps).

        They are put into `room`, shape (3, at least rows, steps + 1). Whoever adds up many
        blocks gives the same each time: fresh memory costs more than the sums.
        """
        into = room_for(*events.shape) if room is None else room[:, : len(events)]
        add_up(events, into[0])
        add_up(bad, into[1])
        if not unmeasured.max(initial=0):
            return cls(into[0], into[1], None, shares)
        add_up(unmeasured, into[2])
        return cls(into[0], into[1], into[2], shares)

    def taking(self, missing: MissingData) -> Sums:
        """Return the sums with what is unmeasured taken for bad, for good or for nothing."""
        if missing is MissingData.IGNORE or self.unmeasured is None:
            return self
        bad = self.bad + self.unmeasured if missing is MissingData.BAD else self.bad
        return replace(self, events=self.events + self.unmeasured, bad=bad, unmeasured=None)

    def spends_between(self, low: int, high: int) -> list[Spend]:
        """Return what each row spent in the columns [low, high)."""
        found = []
        for row in range(len(self.events)):
            events, budget = _by_era(self.events[row], self.shares, low, high)
            more, unmeasured_budget = 0, Fraction(0)
            if self.unmeasured is not None:
                more, unmeasured_budget = _by_era(self.unmeasured[row], self.shares, low, high)
            bad = int(self.bad[row, high] - self.bad[row, low])
            found.append(Spend(events, bad, more, budget, unmeasured_budget))
        return found

    def row_budget(self, row: int, low: int, high: int) -> Fraction:
        """Return the budget of one row in the columns [low, high), exactly."""
        return _by_era(self.events[row], self.shares, low, high)[1]

    def burning(self, threshold: Fraction, long: int, short: int, bad_min: int) -> Places:
        """Return where both windows burn too fast and the long one has so many bad events."""
        budget, share = self._budget()
        per_bad = share.denominator * threshold.denominator
        per_budget = share.numerator * threshold.numerator
        most_bad, most = (int(sums[:, -1].max(initial=1)) for sums in (self.bad, budget))
        if budget.dtype == object or max(most_bad * per_bad, most * per_budget) > _INT64_MAX:
            return self._burning_slowly(threshold, long, short, bad_min)
        burning = np.zeros((len(self.bad), self.bad.shape[1] - 1), dtype=np.bool_)
        burns = np.zeros(len(self.bad), dtype=np.bool_)
        at_least = max(1, bad_min)  # without any, nothing burns
        mark_burning(self.bad, budget, per_bad, per_budget, long, short, at_least, burning, burns)
        rows = np.flatnonzero(burns)
        row, column = np.nonzero(burning[rows])
        return rows[row], column

    def _burning_slowly(self, threshold: Fraction, long: int, short: int, bad_min: int) -> Places:
        """Return the same of a threshold with many digits, by integers of any size."""
        budget, share = self._budget()
        excess = self.bad.astype(object) * (share.denominator * threshold.denominator)
        excess -= budget.astype(object) * (share.numerator * threshold.numerator)
        burning = (_over(excess, long) > 0) & (_over(excess, short) > 0)
        row, column = np.nonzero(burning.astype(np.bool_))
        enough: NDArray[np.bool_] = self.bad_over((row, column), long) >= bad_min
        return row[enough], column[enough]

    def bad_over(self, at: Places, length: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the bad events of the last `length` steps, at some places."""
        found: NDArray[np.int64] = _at(self.bad, at, length)
        return found

    def known(self, at: Places, length: int, events_min: int) -> NDArray[np.bool_]:
        """Whether windows have the budget of so many events, exactly: see `slo.due`.

        Of the targets within a window it is that which allows an event least.
        """
        if len(self.shares) == 1:
            plenty: NDArray[np.bool_] = _at(self.events, at, length) >= events_min
            return plenty
        budget, unit = self._budget()
        weights = [int(share / unit) for _, share in self.shares]
        column, least = at[1], np.full(len(at[1]), max(weights), dtype=object)
        edges = [*(first for first, _ in self.shares), self.events.shape[1]]
        for weight, (first, end) in zip(weights, pairwise(edges), strict=True):
            inside = (first <= column) & (column + 1 - length < end)
            least[inside] = np.minimum(least[inside], np.array(weight, dtype=object))
        enough = 2 * _at(budget, at, length).astype(object) >= least * (2 * events_min - 1)
        return np.asarray(enough, dtype=np.bool_)

    def budget_by_step(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the mean budget of a step that has events, of some rows; of the whole history."""
        edges = [column for column, _ in self.shares] + [self.events.shape[1] - 1]
        distinct, where = np.unique(rows, return_inverse=True)
        events = self.events[distinct]
        parts = np.diff(events[:, edges], axis=1)
        budgets = (parts * np.array([float(share) for _, share in self.shares])).sum(axis=1)
        measured = np.count_nonzero(events[:, 1:] != events[:, :-1], axis=1)
        by_step: NDArray[np.float64] = (budgets / np.maximum(1, measured))[where]
        return by_step

    def _budget(self) -> tuple[Whole, Fraction]:
        """Return sums, shape (rows, steps + 1), and the share of them that is a budget."""
        if len(self.shares) == 1:
            return self.events, self.shares[0][1]
        unit = math.lcm(*(share.denominator for _, share in self.shares))
        weights = [int(share * unit) for _, share in self.shares]
        lengths = np.diff([column for column, _ in self.shares] + [self.events.shape[1] - 1])
        if int(self.events[:, -1].max(initial=1)) * max(weights) > _INT64_MAX:
            by_step = np.repeat(np.array(weights, dtype=object), lengths)
            weighted: Whole = np.zeros(self.events.shape, dtype=object)
            weighted[:, 1:] = np.cumsum(np.diff(self.events, axis=1) * by_step, axis=1)
        else:
            weighted = np.empty_like(self.events)
            add_up_weighted(self.events, np.repeat(np.array(weights), lengths), weighted)
        return weighted, Fraction(1, unit)


def runs_of(at: Places) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the row, the first and the last column of each run of neighbours."""
    row, column = at
    breaks = np.flatnonzero((np.diff(row) != 0) | (np.diff(column) != 1))
    edge = min(len(row), 1)  # none without any
    first = np.concatenate([np.zeros(edge, dtype=np.int64), breaks + 1])
    last = np.concatenate([breaks, np.full(edge, len(row) - 1, dtype=np.int64)])
    return row[first], column[first], column[last]


def room_for(rows: int, steps: int) -> NDArray[np.int64]:
    """Return room for the sums of so many rows."""
    return np.empty((3, rows, steps + 1), dtype=np.int64)


def _by_era(sums: NDArray[np.int64], shares: Shares, low: int, high: int) -> tuple[int, Fraction]:
    """Return the events of the columns [low, high), and their budget, exactly."""
    budget = Fraction(0)
    edges = [*(column for column, _ in shares), high]
    for (first, last), (_, share) in zip(pairwise(edges), shares, strict=True):
        begin, end = max(low, first), min(high, last)
        if begin < end:
            budget += share * int(sums[end] - sums[begin])
    return int(sums[high] - sums[low]), budget


def _over(sums: Whole, length: int) -> Whole:
    """Return the sum over the last `length` steps, at each step."""
    over = sums[:, 1:].copy()
    over[:, length:] -= sums[:, 1:-length]
    return over


def _at(sums: Whole, at: Places, length: int | NDArray[np.int64]) -> Whole:
    """Return the same at some places only."""
    row, column = at
    found: Whole = sums[row, column + 1] - sums[row, np.maximum(column + 1 - length, 0)]
    return found
