"""Rows of the measuring loop, gathered by session and window until a window is complete."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analytics.windows import PathWindow
from netslo.model import NS_PER_S, WINDOW_S, Window
from probes.clock import ClockState
from probes.outcome import NEVER_NS, OUTCOME, Outcomes
from probes.schedule import count_by_window
from probes.session import SessionPlan
from probes.statistics import WindowStatistics

_WINDOW_NS = WINDOW_S * NS_PER_S


@dataclass(slots=True)
class _Open:
    """What is there of a window."""

    close_ns: int  # monotonic; fixed when it opened, whatever becomes of the wall clock
    rows: list[Outcomes] = field(default_factory=list)
    unmeasured: int = 0  # without rows of their own


class WindowBook:
    """Turns settled packets into windows; a packet is of the window of its due time."""

    def __init__(self) -> None:
        self.ended: set[int] = set()  # nothing further will be due, and that has been told
        self._plans: list[SessionPlan] = []
        self._statistics: list[WindowStatistics] = []
        self._open: dict[tuple[int, int], _Open] = {}  # by session and beginning

    def put(self, place: int, plan: SessionPlan) -> None:
        """Add a session at the next place, or at that of one which has ended."""
        statistics = WindowStatistics(plan.key, plan.interval_ns, plan.dscp, spoilt=plan.spoilt)
        self._plans[place : place + 1] = [plan]
        self._statistics[place : place + 1] = [statistics]
        self.ended.discard(place)

    def enter(self, rows: NDArray[np.void]) -> None:
        """Take in rows (`ROW`), those of each session in any order."""
        if not len(rows):
            return
        outcomes = rows["outcome"]
        due_ns, wall_ns = outcomes["due_ns"], outcomes["due_ns"] + rows["offset_ns"]
        start_s = wall_ns // _WINDOW_NS * WINDOW_S
        order = np.lexsort((due_ns, start_s, rows["session"]))
        session, start_s = rows["session"][order], start_s[order]
        edges = np.flatnonzero((np.diff(session) != 0) | (np.diff(start_s) != 0)) + 1
        for group in np.split(order, edges):
            first = int(group[0])
            entry = self._entry(rows[first])
            entry.rows.append(outcomes[group])
        for row in rows[rows["packets"] > 1]:
            self._enter_run(row)

    def close(self, watermarks_ns: NDArray[np.int64], clock: ClockState) -> list[PathWindow]:
        """Return the windows before which nothing is missing any more.

        Args:
            watermarks_ns: By session: what was due before has been entered; monotonic.
            clock: What is known of this host's clock.
        """
        done = [
            (key[0], entry.close_ns, key)
            for key, entry in self._open.items()
            if entry.close_ns <= watermarks_ns[key[0]]
        ]
        found = [self._close(key, clock) for _, _, key in sorted(done)]
        return found + self._end(watermarks_ns)

    def _end(self, watermarks_ns: NDArray[np.int64]) -> list[PathWindow]:
        """Return what the last windows of sessions that are over have still to get."""
        found = []
        for index in np.flatnonzero(watermarks_ns >= NEVER_NS).tolist():
            if index < len(self._statistics) and index not in self.ended:
                self.ended.add(index)
                found.append(self._statistics[index].end())
        return [window for window in found if window is not None]

    def _entry(self, row: np.void, due_ns: int | None = None) -> _Open:
        due_ns = int(row["outcome"]["due_ns"]) if due_ns is None else due_ns
        wall_ns = due_ns + int(row["offset_ns"])
        start_s = wall_ns // _WINDOW_NS * WINDOW_S
        key = (int(row["session"]), start_s)
        if key not in self._open:
            left_ns = start_s * NS_PER_S + _WINDOW_NS - wall_ns
            self._open[key] = _Open(due_ns + left_ns)
        return self._open[key]

    def _enter_run(self, row: np.void) -> None:
        """Count the packets of a run that were not sent, but the first, which has a row."""
        session, due_ns = int(row["session"]), int(row["outcome"]["due_ns"])
        interval_ns = self._plans[session].interval_ns
        first_ns = due_ns + int(row["offset_ns"])
        passed = 0
        for _, packets in count_by_window(first_ns, interval_ns, int(row["packets"])):
            entry = self._entry(row, due_ns + passed * interval_ns)
            entry.unmeasured += packets - (passed == 0)
            passed += packets

    def _close(self, key: tuple[int, int], clock: ClockState) -> PathWindow:
        index, start_s = key
        plan, entry = self._plans[index], self._open.pop(key)
        rows = _in_order(entry.rows)
        return self._statistics[index].close(
            Window(start_s), rows, plan.thresholds, clock, unmeasured=entry.unmeasured
        )


def _in_order(rows: list[Outcomes]) -> Outcomes:
    """Return the rows in the order of their due times: those of packets not sent came early."""
    whole = np.concatenate([np.zeros(0, OUTCOME), *rows])
    return whole[np.argsort(whole["due_ns"], kind="stable")]
