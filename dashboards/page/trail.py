"""The last hour of every path, point by point, in memory: what sparklines are drawn of."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.windows import PathWindow
from netslo.model import Path

STEP_S: Final = 10
SPAN_S: Final = 3600
_POINTS: Final = SPAN_S // STEP_S
P50, P99, LOSS = range(3)


@dataclass(frozen=True, slots=True)
class Series:
    """One path's points: Unix seconds and, of each, p50 and p99 in seconds and the loss ratio."""

    times_s: NDArray[np.float64]  # (n,)
    values: NDArray[np.float32]  # (n, 3); NaN where nothing is known


class Trail:
    """A ring of the latest points of all paths; any thread may add and read.

    Args:
        paths: Which paths there are.
        span_s: How old a point may be.
    """

    def __init__(self, paths: Sequence[Path], span_s: float = SPAN_S) -> None:
        self._span_s = span_s
        self._places = {path: place for place, path in enumerate(paths)}
        self._times_s: NDArray[np.float64] = np.full(_POINTS, -np.inf)
        self._values = np.full((_POINTS, len(paths), 3), np.nan, dtype=np.float32)
        self._next = 0
        self._lock = threading.Lock()

    def add(self, at_s: float, points: Mapping[Path, tuple[float, float, float]]) -> None:
        """Add a point of each path: p50, p99 and loss, NaN where one is not known."""
        row = np.full(self._values.shape[1:], np.nan, dtype=np.float32)
        for path, point in points.items():
            if path in self._places:
                row[self._places[path]] = point
        with self._lock:
            self._times_s[self._next] = at_s
            self._values[self._next] = row
            self._next = (self._next + 1) % _POINTS

    def add_windows(self, windows: Iterable[PathWindow]) -> None:
        """Add what was kept before, each window a point at its end."""
        by_time: dict[int, dict[Path, tuple[float, float, float]]] = {}
        for window in windows:
            by_time.setdefault(window.window.end_s, {})[window.key.path] = point_of(window)
        for end_s in sorted(by_time):
            self.add(end_s, by_time[end_s])

    def of(self, path: Path, now_s: float) -> Series:
        """Return the points of the span, the oldest first."""
        place = self._places[path]
        with self._lock:
            recent = np.flatnonzero(self._times_s > now_s - self._span_s)
            order = recent[np.argsort(self._times_s[recent], kind="stable")]
            return Series(self._times_s[order], self._values[order, place])


def point_of(window: PathWindow) -> tuple[float, float, float]:
    """Return p50, p99 and loss of one window; NaN where one cannot be said."""
    rtt, packets = window.rtt(), window.packets
    p50, p99 = (np.nan, np.nan) if rtt is None else rtt.quantiles([0.5, 0.99]).tolist()
    measured = packets.answered + packets.lost
    return p50, p99, packets.lost / measured if measured else np.nan
