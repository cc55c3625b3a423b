"""Counters added up where they are wanted: a row for some streams, a column for each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.day_columns import Days, add_days
from analytics.day_layout import STEP_S
from analytics.frame import Frame


@dataclass(frozen=True, slots=True)
class Steps:
    """Rows to which counters are added.

    Args:
        start_s: Where the first column begins, Unix seconds, a multiple of `step_s`.
        step_s: Of a column; longer windows are left out.
        places: Returns by number of stream its row in `out`, or -1, of all streams there are.
        out: Shape (rows, steps).
    """

    start_s: int
    step_s: int
    places: Callable[[], NDArray[np.int64]]
    out: NDArray[np.uint32]

    def add(self, frame: Frame) -> None:
        """Add a frame's counters; all lie in the columns."""
        counters, places = frame.counters, self.places()
        if frame.length_s > self.step_s or not len(counters.stream):
            return
        row = places[counters.stream]
        ours = row >= 0
        column = (counters.start_s[ours] - self.start_s) // self.step_s
        at = row[ours] * self.out.shape[1] + column
        np.add.at(self.out.reshape(-1), at, counters.value[ours].astype(np.uint32))

    def add_days(self, days: Days, start_s: int, end_s: int) -> None:
        """Add what packed days have in [start_s, end_s), which is whole steps of 5 min.

        Raises:
            DamagedDay: one of them is none.
        """
        if self.step_s < STEP_S or not days.octets:
            return
        span = (start_s - self.start_s) // STEP_S, (end_s - self.start_s) // STEP_S
        add_days(days, self.start_s, span, self.places(), self.out)
