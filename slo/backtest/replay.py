"""Judges a whole history at once: at each step, what `slo.burn.firing` would have said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.shared import shared
from netslo.estate import Estate
from slo.backtest.history import History, Hole
from slo.backtest.sums import Places, Sums, room_for, runs_of
from slo.budget import Spend
from slo.burn import BurnPair
from slo.due import bad_events_min, events_min
from slo.exclusion import Exclusion
from slo.ledger import Era
from slo.objective import Objective
from slo.ranges import SpendKey

THREADS: Final = 2
_BLOCK_CELLS: Final = 1_000_000  # of what is worked on at once: with fewer, threads wait more


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
    estate: Estate,
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
        estate: Whose probing plan says what is due in a window.
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
    judge = _Judge.of(history, objective, estate, eras, span, history.holes(exclusions))
    size = max(1, min(len(history.keys), _BLOCK_CELLS // max(1, history.steps)))
    blocks = [
        slice(low, min(low + size, len(history.keys))) for low in range(0, len(history.keys), size)
    ]

    def work(own: Sequence[slice]) -> list[tuple[list[Spend], list[Episode]]]:
        room, found = room_for(size, history.steps), []
        for rows in own:
            found.append(judge.block(rows, room))
            on_rows(rows.stop - rows.start)
        return found

    count = max(1, min(threads, len(blocks)))
    edges = [len(blocks) * k // count for k in range(count + 1)]
    shares = [(blocks[first:last],) for first, last in pairwise(edges)]
    parts = list(chain.from_iterable(shared(work, shares)))
    episodes = [episode for _, some in parts for episode in some]
    episodes.sort(key=lambda e: (e.start_s, e.key, e.pair.long_s))
    return Replay(tuple(spend for some, _ in parts for spend in some), tuple(episodes))


@dataclass(frozen=True, slots=True)
class _Rule:
    """A pair with what it asks for under its objective, worked out once."""

    pair: BurnPair
    threshold: Fraction
    bad_min: int  # events in the long window
    events_min: tuple[tuple[int, int], ...]  # in a window of so many seconds

    @classmethod
    def of(cls, pair: BurnPair, objective: Objective, estate: Estate) -> _Rule:
        lengths_s = pair.long_s, pair.short_s
        least = tuple((s, events_min(objective, estate, s)) for s in lengths_s)
        bad_min = bad_events_min(objective, estate, pair)
        return cls(pair, pair.threshold(objective.window_s), bad_min, least)


@dataclass(frozen=True, slots=True)
class _Judge:
    history: History
    objective: Objective
    rules: Sequence[_Rule]
    shares: tuple[tuple[int, Fraction], ...]  # the first column of each era, an event's budget
    low: int  # columns in which alerts and budgets are wanted
    high: int
    holes: Sequence[Hole]

    @classmethod
    def of(
        cls,
        history: History,
        objective: Objective,
        estate: Estate,
        eras: Sequence[Era],
        span: tuple[int, int],
        holes: Sequence[Hole],
    ) -> _Judge:
        low, high = (history.column(at_s) for at_s in span)
        rules = [_Rule.of(pair, objective, estate) for pair in objective.alerts.pairs]
        return cls(history, objective, rules, history.shares(eras), low, high, holes)

    def block(self, rows: slice, room: NDArray[np.int64]) -> tuple[list[Spend], list[Episode]]:
        """Return the spends and alerts of some rows."""
        events, bad, unmeasured = (
            counts[rows]
            for counts in (self.history.events, self.history.bad, self.history.unmeasured)
        )
        holes = [(hole, hole.rows[rows]) for hole in self.holes if hole.rows[rows].any()]
        if holes:
            events, bad, unmeasured = events.copy(), bad.copy(), unmeasured.copy()
        for hole, chosen in holes:
            for counts in (events, bad, unmeasured):
                counts[chosen, hole.low : hole.high] = 0
        sums = Sums.of(events, bad, unmeasured, self.shares, room)
        spends = sums.spends_between(self.low, self.high)
        taken = sums.taking(self.objective.missing_data)
        keys = self.history.keys[rows]
        found = [self._episodes(keys, rule, taken) for rule in self.rules]
        return spends, [episode for of_pair in found for episode in of_pair]

    def _episodes(self, keys: Sequence[SpendKey], rule: _Rule, sums: Sums) -> list[Episode]:
        step_s, pair = self.history.step_s, rule.pair
        long, short = pair.long_s // step_s, pair.short_s // step_s
        at = sums.burning(rule.threshold, long, short, rule.bad_min)
        kept = (at[1] >= self.low) & (at[1] < self.high)
        at = _where(at, kept)
        for length_s, least in rule.events_min:
            at = _where(at, sums.known(at, length_s // step_s, least))
        row, first, last = runs_of(at)
        if not len(row):
            return []
        bad = sums.bad_over((row, last), long + last - first)
        periods = sums.budget_by_step(row) * (self.objective.window_s / step_s)
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
                (bad / periods).tolist(),
                strict=True,
            )
        ]


def _where(at: Places, kept: NDArray[np.bool_]) -> Places:
    return at[0][kept], at[1][kept]
