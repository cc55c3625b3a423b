"""Points of windows that have not begun yet by our clock, until their time has come.

A probe's clock may be ahead of ours, or ours may be behind what a store holds. Each point is put
aside once and taken once, however long it waits.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from analytics.frame import Frame

_POINTS_MAX: Final = 1_000_000  # some minutes of a large estate, as far ahead as a probe may be


class Early:
    """Frames by the window they are of; of one length."""

    def __init__(self, points_max: int = _POINTS_MAX) -> None:
        self._points_max = points_max
        self._frames: dict[int, list[Frame]] = {}
        self._points = 0
        self._lost_s: int | None = None  # the first window that there was no room for

    def put(self, frame: Frame) -> None:
        """Keep points for later, as far as there is room."""
        starts = [np.unique(table.start_s) for table in frame.tables]
        for start_s in np.unique(np.concatenate(starts)).tolist():
            part = frame.between(start_s, start_s + 1)
            if self._points + part.points > self._points_max:
                self._lost_s = start_s if self._lost_s is None else min(self._lost_s, start_s)
                continue
            self._points += part.points
            self._frames.setdefault(start_s, []).append(part)

    def due(self, now_s: int) -> list[Frame]:
        """Take the points of windows that have begun before `now_s`."""
        starts = sorted(start_s for start_s in self._frames if start_s < now_s)
        found = [frame for start_s in starts for frame in self._frames.pop(start_s)]
        self._points -= sum(frame.points for frame in found)
        return found

    def lacks(self, now_s: int) -> bool:
        """Whether points are missing by now, because there was no room for them."""
        return self._lost_s is not None and self._lost_s < now_s
