"""Counters of objectives by time slice, which only grow and outlive the windows they come from.

The store's totals are of packets. So slices are judged from its windows, and what has settled is
noted in a file beside it before it can expire.
"""

from __future__ import annotations

import logging
import pathlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from analytics.store import WindowStore
from slo.beforehand import Beforehand, times_of
from slo.budget import Spend
from slo.exclusion import Exclusion
from slo.kept import from_rows, load, save, to_rows
from slo.objective import Objective
from slo.ranges import SpendKey, Spends
from slo.rising import Rising
from slo.slice_reader import spends_by_slice

FILE_NAME: Final = "slices.json"
_FRESH_S: Final = 30.0  # a slice is a minute at least
_SETTLED_S: Final = 6 * 3600  # later windows change a slice no more, in these counters
_STEP_S: Final = 3600
_FIRST_S: Final = 48 * 3600  # how far back a new file begins: as far as slices of 1 min can be seen

_log = logging.getLogger(__name__)

# Until when slices have settled, their totals, what was said beyond them, which times are left out.
_Kept = tuple[int, Spends, Spends, tuple[Exclusion, ...] | None]


class SliceTotals:
    """Totals of slices by objective and path. Thread-safe.

    As in `slo.totals`, exclusions count from when they were known. A slice that a late window
    makes better is not taken back, for a counter never goes back.

    Args:
        store: Whose windows are judged.
        objectives: Those of them by time slice are counted.
        file: Where what has settled is kept; without one, only the last two days count.
        exclusions: Slices that touch one do not count, from when it was known.
        clock: Unix seconds.
    """

    def __init__(
        self,
        store: WindowStore,
        objectives: Sequence[Objective],
        file: pathlib.Path | None = None,
        exclusions: Sequence[Exclusion] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._objectives = [o for o in objectives if o.slices is not None]
        self._file = file
        self._clock = clock
        begin_s = int(clock() - _FIRST_S) // _STEP_S * _STEP_S
        nothing: _Kept = (begin_s, {}, {}, None)
        self._until_s, self._settled, self._held, times = load(
            file, _parsed, nothing, "slices are counted anew"
        )
        self._beforehand = Beforehand(times, self._counted)
        said = self._settled | self._held
        self._rising = Rising(self._work_out, _FRESH_S, clock, said, self._hold)
        self._lock = threading.Lock()  # nothing is counted while it is decided what is
        if file is not None and not file.exists():
            self._warn_of_lost(file)
        self.exclude(exclusions)

    def _warn_of_lost(self, file: pathlib.Path) -> None:
        """Say that counters begin anew, where there were some."""
        names = {objective.name for objective in self._objectives}
        if lost := sorted(names & {total.slo for total in self._store.slo_totals()}):
            _log.warning(
                "%s is not there: the counters of %s in /metrics begin anew with two days of them: "
                "Prometheus knows no burn rate until they are as old as its window",
                file,
                ", ".join(lost),
            )

    def exclude(self, exclusions: Sequence[Exclusion]) -> None:
        """Leave out slices that touch these from now on."""
        with self._lock:
            if self._objectives and self._beforehand.follow(exclusions, self._clock()):
                self._note()  # before anybody hears of a counter that follows from it

    def read(self) -> Spends:
        """Return the totals, worked out anew after a few seconds."""
        return self._rising.read() if self._objectives else {}

    def _work_out(self, now_s: float) -> Spends:
        with self._lock:
            self._settle(now_s)
            return added(self._settled, self._judge(self._until_s, int(now_s)))

    def _hold(self, sums: Mapping[SpendKey, Spend], said: Mapping[SpendKey, Spend]) -> None:
        """Note what is said beyond the sums, so that no restart forgets it."""
        held = {key: most for key, most in said.items() if most != sums.get(key)}
        if held != self._held:
            self._held = held
            self._note()

    def over(self, totals: Mapping[SpendKey, Spend]) -> Mapping[SpendKey, Spend]:
        """Return totals of packets with slices in the place of those that only judge slices."""
        names = {objective.name for objective in self._objectives}
        return {key: spend for key, spend in totals.items() if key[0] not in names} | self.read()

    def _settle(self, now_s: float) -> None:
        """Take what is old enough for good, an hour at a time."""
        until_s = int(now_s - _SETTLED_S) // _STEP_S * _STEP_S
        if until_s <= self._until_s:
            # A clock that was ahead has let all there was settle. Now it goes on from here: what
            # of the last hour was counted cannot be told from what was not.
            ahead_s = int(now_s) // _STEP_S * _STEP_S + _STEP_S
            if self._until_s > ahead_s:
                self._until_s = ahead_s
                self._note()
            return
        self._settled = added(self._settled, self._judge(self._until_s, until_s))
        self._until_s = until_s
        self._note()

    def _note(self) -> None:
        totals, held = to_rows(self._settled), to_rows(self._held)
        times = self._beforehand.to_json()
        save(self._file, {"until": self._until_s, "totals": totals, "held": held, "times": times})

    def _judge(self, start_s: int, end_s: int) -> Spends:
        times = self._beforehand.times
        return spends_by_slice(self._store, self._objectives, start_s, end_s, times)

    def _counted(self, exclusion: Exclusion, start_s: int, end_s: int) -> bool:
        until_s = min(end_s, int(self._clock()))  # what ends later nobody has counted
        found = spends_by_slice(self._store, self._objectives, start_s, until_s)
        return any(exclusion.excludes(key) for key in found)


def added(some: Mapping[SpendKey, Spend], more: Mapping[SpendKey, Spend]) -> Spends:
    """Return the sums by objective and path."""
    nothing, keys = Spend(), dict.fromkeys([*some, *more])
    return {key: some.get(key, nothing) + more.get(key, nothing) for key in keys}


def _parsed(data: Any) -> _Kept:
    totals, held = from_rows(data["totals"]), from_rows(data["held"])
    return int(data["until"]), totals, held, times_of(data.get("times"))
