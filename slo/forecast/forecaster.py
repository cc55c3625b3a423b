"""Forecasts of a collector: worked out beside it, now and then, and there whenever asked for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from analytics.collector.server import Beside
from analytics.frame import Frame
from analytics.store import WindowStore
from netslo.errors import NetsloError
from netslo.estate import Estate
from slo.exclusion import Exclusion
from slo.forecast.days import DailySpends
from slo.forecast.exhaustion import Exhaustion, forecast
from slo.objective import Objective
from slo.ranges import Ranges, SpendKey

FIRST_S: Final = 15.0  # others have more to do when a collector starts
EVERY_S: Final = 900.0

_log = logging.getLogger(__name__)


def _warn(reason: str) -> None:
    _log.warning("no date can be said at which a budget is used up: %s", reason)


class Forecaster:
    """Keeps the dates at which budgets will be used up. A companion of the collector's.

    Nothing is known until the first have been worked out.
    """

    def __init__(
        self,
        store: WindowStore,
        objectives: Sequence[Objective],
        estate: Estate,
        exclusions: Sequence[Exclusion] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._objectives = tuple(objectives)
        self._estate = estate
        self._clock = clock
        self._days = self._read_anew(exclusions)
        self._found: Mapping[SpendKey, Exhaustion] = {}
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def start(self, beside: Beside) -> None:
        del beside  # it reads the store alone
        self._thread = threading.Thread(target=self._run, name="forecasts", daemon=True)
        self._thread.start()

    def note(self, frame: Frame) -> None:
        """A batch more or less changes no forecast."""

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def exclude(self, exclusions: Sequence[Exclusion]) -> None:
        """Look at the past without these times from now on."""
        self._days = self._read_anew(exclusions)
        self._wake.set()

    def current(self) -> Mapping[SpendKey, Exhaustion]:
        """Return what is known; from any thread."""
        return self._found

    def work_out(self) -> None:
        """Work the dates out anew."""
        self._found = forecast(self._days, self._objectives, self._clock(), _warn)

    def _read_anew(self, exclusions: Sequence[Exclusion]) -> DailySpends:
        ranges = Ranges(self._store, tuple(exclusions), self._objectives)
        return DailySpends(ranges, self._objectives, self._estate)

    def _run(self) -> None:
        self._wake.wait(FIRST_S)
        while not self._stopped:
            self._wake.clear()
            try:
                self.work_out()
            except NetsloError as error:  # the store could not be read
                self._found = {}
                _warn(str(error))
            except Exception:  # noqa: BLE001 - commits go on without these figures
                self._found = {}
                _log.exception("no date can be said at which a budget is used up")
            self._wake.wait(EVERY_S)
