"""What every objective spent on every path, day by day: the past that forecasts are drawn from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.store.interface import DAY_S
from netslo.estate import Estate
from slo.budget import MissingData
from slo.objective import Objective
from slo.ranges import Ranges, SpendKey

_OPEN_DAYS: Final = 2  # of which late windows are still looked for
_LONG_S: Final = 28 * DAY_S  # read at once where days are not asked for: a seventh of the cost

Amounts = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Course:
    """Bad and budget events of all rows over time, as sums from the beginning on.

    Edges are midnights, UTC, and where else the past was cut; some weeks apart before the days
    that were asked for.
    """

    keys: tuple[SpendKey, ...]
    edges_s: NDArray[np.int64]  # (n + 1,) Unix seconds, ascending; the last is the present
    bad: Amounts  # (rows, n + 1)
    budget: Amounts  # (rows, n + 1)

    def between(self, edges_s: Amounts) -> tuple[Amounts, Amounts]:
        """Return bad and budget events between moments, shape (rows, moments - 1).

        Exactly from edge to edge; between edges they are taken to be spread evenly.
        """
        at = np.interp(edges_s, self.edges_s, np.arange(len(self.edges_s)))
        low = np.minimum(at.astype(np.int64), len(self.edges_s) - 2)
        part = at - low
        bad, budget = (
            np.diff(sums[:, low] * (1 - part) + sums[:, low + 1] * part, axis=1)
            for sums in (self.bad, self.budget)
        )
        return bad, budget


@dataclass(slots=True)
class DailySpends:
    """Reads days and parts of days, and remembers those that are over. Not thread-safe.

    A window that is more than two days late is not seen until a new one is made.
    """

    ranges: Ranges
    objectives: Sequence[Objective]
    estate: Estate
    _keys: tuple[SpendKey, ...] = field(default=(), init=False)
    _rows: dict[SpendKey, int] = field(default_factory=dict, init=False, repr=False)
    _missing: dict[str, MissingData] = field(default_factory=dict, init=False)
    _parts: dict[tuple[int, int], tuple[Amounts, Amounts]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        self._keys = tuple((o.name, path) for o in self.objectives for path in o.paths(self.estate))
        self._rows = {key: row for row, key in enumerate(self._keys)}
        self._missing = {o.name: o.missing_data for o in self.objectives}

    def kept_from_s(self) -> int:
        """Return from when on counts are kept, Unix seconds; 0: none has expired yet."""
        return self.ranges.store.kept_from().counts_s

    def read(self, days_from_s: int, now_s: int, cuts_s: Collection[int] = ()) -> Course:
        """Return the course to the present: by day from that of `days_from_s` on.

        It has edges at `cuts_s`, too, and begins with the first of them where that is earlier.
        """
        days_s, today_s = (at_s // DAY_S * DAY_S for at_s in (days_from_s, now_s))
        inside = {cut_s for cut_s in cuts_s if cut_s < now_s}
        first_s = min([days_s, *inside])
        # Multiples of a length, so that a part that was read is one tomorrow, too.
        long_s = range(first_s // _LONG_S * _LONG_S + _LONG_S, days_s, _LONG_S)
        edges_s = sorted({*long_s, *range(days_s, today_s, DAY_S), today_s, now_s, *inside})
        spans = list(pairwise(edges_s))
        self._forget(spans)
        parts = [self._part(span, today_s) for span in spans]
        bad, budget = (
            np.cumsum([np.zeros(len(self._keys)), *(part[n] for part in parts)], axis=0).T
            for n in range(2)
        )
        return Course(self._keys, np.array(edges_s, dtype=np.int64), bad, budget)

    def _forget(self, wanted: Collection[tuple[int, int]]) -> None:
        for span in self._parts.keys() - set(wanted):
            del self._parts[span]

    def _part(self, span: tuple[int, int], today_s: int) -> tuple[Amounts, Amounts]:
        if span[0] >= today_s - _OPEN_DAYS * DAY_S:
            return self._count(*span)
        if span not in self._parts:
            self._parts[span] = self._count(*span)
        return self._parts[span]

    def _count(self, start_s: int, end_s: int) -> tuple[Amounts, Amounts]:
        bad, budget = np.zeros(len(self._keys)), np.zeros(len(self._keys))
        for key, spend in self.ranges.count(start_s, end_s).items():
            row = self._rows.get(key)
            if row is not None:
                taken = spend.taking(self._missing[key[0]])
                bad[row], budget[row] = taken.bad, float(taken.budget)
        return bad, budget
