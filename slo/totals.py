"""Counters that only grow: all events ever, but for those in times that were excluded beforehand.

The store's totals never expire, its counts by time do. So what lies in excluded times is noted in a
file of its own before it can expire. The file also says which times these are, so that no restart
decides otherwise. Without the file both are worked out again, of what is left and of what was
declared and taken back.
"""

from __future__ import annotations

import logging
import pathlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from analytics.store import WindowStore
from analytics.store.interface import COUNTS_RETENTION_S, DAY_S, WARM_RETENTION_S
from analytics.windows import Selector
from slo.beforehand import Beforehand, times_of
from slo.budget import Spend
from slo.exclusion import Exclusion
from slo.kept import from_rows, load, save, to_rows
from slo.ranges import SpendKey, Spends, add_up, covered, cut
from slo.rising import Rising

FILE_NAME: Final = "excluded.json"
_FRESH_S: Final = 5.0
_SETTLED_S: Final = WARM_RETENTION_S + 5 * DAY_S  # so old windows are refused: notes are complete
_NOTE_S: Final = 3600.0

_Part = tuple[int, int]
_Kept = tuple[tuple[Exclusion, ...] | None, dict[_Part, Spends]]

_log = logging.getLogger(__name__)


class PersistentTotals:
    """Totals by objective and path. Thread-safe.

    Exclusions count here from when they were known, see `slo.beforehand`: what is excluded later
    stays in a counter, and burn rates and budgets are corrected instead.

    Args:
        store: Where totals and windows are.
        file: Where what lies in excluded times is noted; None notes nothing.
        exclusions: Those that are declared.
        clock: Unix seconds.
        taken_back: What was over of others when they were taken back, for who has lost the file.
    """

    def __init__(
        self,
        store: WindowStore,
        file: pathlib.Path | None = None,
        exclusions: Sequence[Exclusion] = (),
        clock: Callable[[], float] = time.time,
        taken_back: Sequence[Exclusion] = (),
    ) -> None:
        self._store = store
        self._file = file
        self._clock = clock
        nothing: _Kept = (None, {})
        kept = load(file, _parsed, nothing, "old planned exclusions count again")
        times, self._noted = kept
        self._beforehand = Beforehand(times, self._counted)
        self._missing = file is not None and not file.exists()
        self._noted_s = clock()
        self._rising = Rising(self._work_out, _FRESH_S, clock)
        self._lock = threading.Lock()  # nothing is counted while it is decided what is
        if kept is nothing and taken_back:
            self.exclude([*taken_back, *exclusions])
        self.exclude(exclusions)

    def exclude(self, exclusions: Sequence[Exclusion]) -> None:
        """Leave out these times from now on."""
        with self._lock:
            if self._beforehand.follow(exclusions, self._clock()):
                self.note()  # before anybody hears of a counter that follows from it

    def read(self) -> Mapping[SpendKey, Spend]:
        """Return the totals, worked out anew after a few seconds."""
        return self._rising.read()

    def _work_out(self, now_s: float) -> Spends:
        with self._lock:
            return self._sum_up(now_s)

    def _sum_up(self, now_s: float) -> Spends:
        # Totals first: what is committed in between may be missing for a moment, never be counted.
        totals = add_up(self._store.slo_totals())
        if self._missing and totals:
            self._missing = False
            self._warn_of_lost(now_s)
        excluded = self._excluded(now_s)
        return {key: _minus(total, excluded.get(key, Spend())) for key, total in totals.items()}

    def _counted(self, exclusion: Exclusion, start_s: int, end_s: int) -> bool:
        found = self._store.slo_counts(Selector(), start_s, end_s)
        return any(exclusion.excludes((each.slo, each.path)) for each in found)

    def _warn_of_lost(self, now_s: float) -> None:
        """Say which exclusions nobody knows the figures of any more."""
        from_s = now_s - COUNTS_RETENTION_S
        lost = {x.id for x in self._beforehand.times if x.start_s < from_s}
        if lost:
            _log.warning(
                "%s is not there, and counts of planned exclusions have expired: the counters "
                "of /metrics count again what lay in %s; budgets of the period are right",
                self._file,
                ", ".join(sorted(lost)),
            )

    def _excluded(self, now_s: float) -> Spends:
        times = self._beforehand.times
        span = (min(x.start_s for x in times), max(x.end_s for x in times)) if times else (0, 0)
        parts = {(low_s, high_s): xs for low_s, high_s, xs in cut(*span, times) if xs}
        self._noted = {k: v for k, v in self._noted.items() if k in parts or not _touches(k, parts)}
        for part, in_force in parts.items():
            fresh = part not in self._noted or part[1] > now_s - _SETTLED_S
            if part[0] < now_s and fresh:
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
        """Write down which times are left out, and what lies in them."""
        self._noted_s = self._clock()
        noted = [[*part, to_rows(spends)] for part, spends in self._noted.items()]
        save(self._file, {"times": self._beforehand.to_json(), "excluded": noted})


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


def _parsed(data: Any) -> _Kept:
    """Return which times are left out, if that is known, and what lies in them."""
    if isinstance(data, list):  # of a version that did not keep the times
        data = {"times": None, "excluded": data}
    noted = {(int(low), int(high)): from_rows(rows) for low, high, rows in data["excluded"]}
    return times_of(data["times"]), noted
