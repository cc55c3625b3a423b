"""Counters that only grow: all events ever, but for those in times that were excluded beforehand.

The store's totals never expire, its windows do. So what lies in excluded times is noted in a file
of its own before it can expire. Without the file it is worked out again of what windows are left.
"""

from __future__ import annotations

import logging
import pathlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from analytics.store import WindowStore
from analytics.store.interface import WARM_RETENTION_S
from analytics.windows import Selector
from slo.budget import Spend
from slo.exclusion import Exclusion, ExclusionKind
from slo.kept import from_rows, load, save, to_rows
from slo.ranges import SpendKey, Spends, add_up, covered, cut
from slo.rising import Rising

FILE_NAME: Final = "excluded.json"
_FRESH_S: Final = 5.0
_SETTLED_S: Final = 40 * 86_400  # by then windows have expired, and what is noted is all there is
_NOTE_S: Final = 3600.0

_Part = tuple[int, int]

_log = logging.getLogger(__name__)


class PersistentTotals:
    """Totals by objective and path. Thread-safe.

    Only planned exclusions count here: a counter that has counted something never goes back, so
    what is excluded later stays in it, and burn rates and budgets are corrected instead.
    """

    def __init__(
        self,
        store: WindowStore,
        file: pathlib.Path | None = None,
        exclusions: Sequence[Exclusion] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._exclusions = tuple(exclusions)
        self._store = store
        self._file = file
        self._clock = clock
        nothing: dict[_Part, Spends] = {}
        self._noted = load(file, _parts, nothing, "old planned exclusions count again")
        self._missing = file is not None and not file.exists()
        self._noted_s = clock()
        self._rising = Rising(self._work_out, _FRESH_S, clock)

    def exclude(self, exclusions: Sequence[Exclusion]) -> None:
        """Leave out these times from now on."""
        self._exclusions = tuple(exclusions)

    def read(self) -> Mapping[SpendKey, Spend]:
        """Return the totals, worked out anew after a few seconds."""
        return self._rising.read()

    def _work_out(self, now_s: float) -> Spends:
        # Totals first: what is committed in between may be missing for a moment, never be counted.
        totals = add_up(self._store.slo_totals())
        if self._missing and totals:
            self._missing = False
            self._warn_of_lost(now_s)
        excluded = self._excluded(now_s)
        return {key: _minus(total, excluded.get(key, Spend())) for key, total in totals.items()}

    def _warn_of_lost(self, now_s: float) -> None:
        """Say which exclusions nobody knows the figures of any more."""
        from_s = now_s - WARM_RETENTION_S
        lost = [
            x.id for x in self._exclusions if x.kind is ExclusionKind.PLANNED and x.start_s < from_s
        ]
        if lost:
            _log.warning(
                "%s is not there, and windows of planned exclusions have expired: the counters "
                "of /metrics count again what lay in %s; budgets of the period are right",
                self._file,
                ", ".join(sorted(lost)),
            )

    def _excluded(self, now_s: float) -> Spends:
        planned = [x for x in self._exclusions if x.kind is ExclusionKind.PLANNED]
        span = (
            (min(x.start_s for x in planned), max(x.end_s for x in planned)) if planned else (0, 0)
        )
        parts = {(low_s, high_s): xs for low_s, high_s, xs in cut(*span, planned) if xs}
        self._noted = {k: v for k, v in self._noted.items() if k in parts or not _touches(k, parts)}
        for part, in_force in parts.items():
            if part[0] < now_s and part[1] > now_s - _SETTLED_S:
                noted = self._noted.setdefault(part, {})
                for key, spend in add_up(self._store.slo_counts(Selector(), *part)).items():
                    if covered(key, in_force):
                        noted[key] = spend.at_least(noted.get(key, spend))
        if not 0 <= now_s - self._noted_s <= _NOTE_S:
            self.note()
        found: Spends = {}
        for noted in self._noted.values():
            for key, spend in noted.items():
                found[key] = found[key] + spend if key in found else spend
        return found

    def note(self) -> None:
        """Write down what lies in excluded times."""
        self._noted_s = self._clock()
        if self._noted:
            save(self._file, [[*part, to_rows(spends)] for part, spends in self._noted.items()])


def _touches(part: _Part, others: Iterable[_Part]) -> bool:
    return any(part[0] < high_s and low_s < part[1] for low_s, high_s in others)


def _minus(total: Spend, part: Spend) -> Spend:
    return Spend(
        total.events - part.events,
        total.bad - part.bad,
        total.unmeasured - part.unmeasured,
        total.budget - part.budget,
        total.unmeasured_budget - part.unmeasured_budget,
    )


def _parts(data: Any) -> dict[_Part, Spends]:
    return {(int(low), int(high)): from_rows(rows) for low, high, rows in data}
