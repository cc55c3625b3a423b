"""The events of many paths as arrays: a row for each objective and path, a column for each step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics import _kernels
from analytics.steps import Steps
from analytics.store import WindowStore
from analytics.store.eras import Era, era_at
from analytics.store.interface import HOT_S, WARM_S
from analytics.streams import EVENT_FIELDS, Events, Streams
from analytics.windows import ALL, Selector, SeriesKey
from netslo.model import ProbeKind
from slo.exclusion import Exclusion
from slo.ranges import SpendKey

Counts = NDArray[np.uint32]  # (rows, steps); a step is at most 5 min

_ELSEWHERE: Final = -1


@dataclass(frozen=True, slots=True)
class History:
    """What was counted, `start_s` being where column 0 begins; Unix seconds, UTC."""

    keys: tuple[SpendKey, ...]
    start_s: int
    step_s: int
    events: Counts
    bad: Counts
    unmeasured: Counts

    @property
    def steps(self) -> int:
        return int(self.events.shape[1])

    @property
    def end_s(self) -> int:
        return self.start_s + self.steps * self.step_s

    def first_s(self) -> int | None:
        """Return when the first event was due; None without any."""
        most = (counts.max(axis=0, initial=0) for counts in (self.events, self.unmeasured))
        due = np.logical_or(*most)
        return self.start_s + int(due.argmax()) * self.step_s if due.any() else None

    def column(self, at_s: int) -> int:
        """Return the column which begins at a moment, inside of the history."""
        return min(max(0, (at_s - self.start_s) // self.step_s), self.steps)

    def of(self, name: str) -> History:
        """Return the rows of one objective."""
        rows = [row for row, (slo, _) in enumerate(self.keys) if slo == name]
        return replace(
            self,
            keys=tuple(self.keys[row] for row in rows),
            events=self.events[rows],
            bad=self.bad[rows],
            unmeasured=self.unmeasured[rows],
        )

    def shares(self, eras: Sequence[Era]) -> tuple[tuple[int, Fraction], ...]:
        """Return the first column of each era, and the budget of an event in it."""
        first = era_at(list(eras), self.start_s)
        later = [era for era in eras if self.start_s < era[0] < self.end_s]
        return (
            (0, 1 - Fraction(first[1])),
            *((self.column(since_s), 1 - Fraction(target)) for since_s, target in later),
        )

    def holes(self, exclusions: Iterable[Exclusion]) -> list[Hole]:
        """Return what exclusions take out, as rows and columns."""
        found = []
        for each in exclusions:
            rows = np.array([each.excludes(key) for key in self.keys], dtype=np.bool_)
            low, high = self.column(each.start_s), self.column(each.end_s + self.step_s - 1)
            if low < high and rows.any():
                found.append(Hole(rows, low, high))
        return found


@dataclass(frozen=True, slots=True)
class Hole:
    """Columns [low, high) which do not count for some rows."""

    rows: NDArray[np.bool_]  # (rows,)
    low: int
    high: int


def step_for(lengths_s: Iterable[int]) -> int:
    """Return the longest step of which all these windows are whole numbers: 5 min or 10 s."""
    return WARM_S if all(length_s % WARM_S == 0 for length_s in lengths_s) else HOT_S


def read_history(
    store: WindowStore,
    keys: Sequence[SpendKey],
    start_s: int,
    end_s: int,
    step_s: int = WARM_S,
    selector: Selector = ALL,
) -> History:
    """Read the events due in [start_s, end_s), which is whole steps, of some rows.

    At a step of 10 s what is only kept in windows of 5 min is left out. A `selector` that
    matches the rows' paths and few others makes it quicker.
    """
    _kernels.load()  # numba is here already, for the judging
    steps = (end_s - start_s) // step_s
    counts = np.zeros((len(EVENT_FIELDS), len(keys), steps), dtype=np.uint32)
    places = _Places(store.streams, keys)
    with closing(store.history()) as history:
        to = Steps(start_s, step_s, places.by_stream, counts.reshape(-1, steps))
        history.add_to(to, end_s, selector)
    good, bad, unmeasured = counts
    good += bad  # in place: from here on they are events
    return History(tuple(keys), start_s, step_s, good, bad, unmeasured)


class _Places:
    """Where the counters of some rows go: the good of all rows first, then the others."""

    def __init__(self, streams: Streams, keys: Sequence[SpendKey]) -> None:
        self._streams = streams
        self._keys = keys
        self._events = {slo: [Events(slo, field) for field in EVENT_FIELDS] for slo, _ in keys}
        self._known = np.zeros(0, dtype=np.int64)

    def by_stream(self) -> NDArray[np.int64]:
        """Return the place of each stream that there is, or -1."""
        count = len(self._streams)
        if count > len(self._known):  # bodies bring new ones
            self._known = np.full(count, _ELSEWHERE, dtype=np.int64)
            for (row, (slo, path)), probe in product(enumerate(self._keys), ProbeKind):
                of_series = self._streams.of(SeriesKey(path, probe))
                for field, about in enumerate(self._events[slo] if of_series else ()):
                    number = of_series.get(about, count)
                    if number < count:
                        self._known[number] = field * len(self._keys) + row
        return self._known
