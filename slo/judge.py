"""One place that judges for many askers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

from analytics.store.interface import WARM_S
from netslo.estate import Estate
from slo.exclusion import touching
from slo.forecast.exhaustion import Exhaustion
from slo.ledger import Standing
from slo.objective import Objective
from slo.ranges import SpendKey
from slo.status import SloStatus, SpendReader, evaluate, with_both
from slo.sweep import Sweep
from slo.targets import Targets

FRESH_S: Final = 1.0


@runtime_checkable
class StandingKeeper(Protocol):
    """Knows how all paths stand at once: a collector's `Standings`."""

    def standing(self, *, with_exclusions: bool = False) -> Standing | None:
        """Return how all stands; None where that is not known (yet).

        `with_exclusions`: as if no time had been excluded.
        """


@dataclass(slots=True)
class Judge:
    """Evaluates at most once in `FRESH_S` seconds, and once at a time, in any thread.

    A crowd of dashboards costs what one asker costs.
    """

    reader: SpendReader | StandingKeeper
    objectives: Sequence[Objective]
    estate: Estate
    clock: Callable[[], float] = time.time  # Unix seconds
    exhaustions: Callable[[], Mapping[SpendKey, Exhaustion]] = dict  # what is known of them
    targets: Targets | None = None  # that ever were, for who judges standings
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _judged_s: float | None = field(default=None, init=False)
    _statuses: list[SloStatus] = field(default_factory=list, init=False, repr=False)
    _sweep: Sweep = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._sweep = Sweep(self.objectives, self.estate, targets=self.targets)

    def judge(self) -> tuple[float, list[SloStatus]]:
        """Return when the statuses were worked out, in Unix seconds, and the statuses."""
        with self._lock:
            now_s = self.clock()
            if self._judged_s is None or not 0 <= now_s - self._judged_s < FRESH_S:
                self._statuses = self._evaluate(now_s)
                self._judged_s = now_s
            return self._judged_s, self._statuses

    def _evaluate(self, now_s: float) -> list[SloStatus]:
        exhaustions = self.exhaustions()
        if isinstance(self.reader, StandingKeeper):
            standing = self.reader.standing()
            statuses = self._sweep.judge(standing, exhaustions)
            if standing is None or not _with_excluded_times(standing):
                return statuses
            whole = self.reader.standing(with_exclusions=True)
            if whole is None:
                return statuses
            return with_both(statuses, self._sweep.judge(whole), standing.exclusions)
        return evaluate(self.reader, self.objectives, self.estate, now_s, exhaustions=exhaustions)


def _with_excluded_times(standing: Standing) -> bool:
    """Whether any window has some; those of slices begin up to 5 min earlier."""
    oldest_s = min(standing.starts_s, default=standing.now_s) - WARM_S
    return bool(touching(standing.exclusions, oldest_s, standing.now_s))
