"""Totals that only rise, worked out anew no more often than they change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from slo.budget import Spend
from slo.ranges import SpendKey, Spends

Amounts = Mapping[SpendKey, Spend]


class Rising:
    """What is worked out, raised to the highest that was ever said. Thread-safe.

    Args:
        work_out: Returns the totals at a time in Unix seconds; called by one thread at a time.
        fresh_s: For how long they are good, in seconds.
        clock: Unix seconds.
        said: The highest that was said before.
        on_raised: Hears what was worked out and what is to be said, before anybody else does.
    """

    def __init__(
        self,
        work_out: Callable[[float], Amounts],
        fresh_s: float,
        clock: Callable[[], float],
        said: Amounts | None = None,
        on_raised: Callable[[Amounts, Amounts], None] = lambda _sums, _said: None,
    ) -> None:
        self._work_out = work_out
        self._fresh_s = fresh_s
        self._clock = clock
        self._said: Spends = dict(said or {})
        self._on_raised = on_raised
        self._read_s: float | None = None
        self._lock = threading.Lock()

    def read(self) -> Spends:
        """Return the totals, of all that was ever counted."""
        with self._lock:
            now_s = self._clock()
            if self._read_s is None or not 0 <= now_s - self._read_s < self._fresh_s:
                sums = self._work_out(now_s)
                for key, spend in sums.items():
                    self._said[key] = spend.at_least(self._said.get(key, Spend()))
                self._on_raised(sums, self._said)
                self._read_s = now_s
            return dict(self._said)
