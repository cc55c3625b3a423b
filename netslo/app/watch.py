"""What a run shows while it works: figures read from the store, judged, made into a view."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from analytics.figures import floor_marks, window_figures
from analytics.store import WindowStore
from analytics.windows import PathWindow, Selector, SeriesKey
from dashboards.terminal import EstateView, PathRow
from netslo.app.floors import Floors
from netslo.estate import Estate
from netslo.model import Path
from netslo.units import format_duration
from slo.objective import Objective
from slo.ranges import Ranges
from slo.status import WINDOWS, SloStatus, evaluate

_BURN_S: Final = 300
_BURN_S_MIN: Final = 60


@dataclass(slots=True)
class Watch:
    """Reads the store of one run again and again.

    `span_s` bounds how far back the figures reach; None means from the start of the run.
    """

    store: WindowStore
    estate: Estate
    objectives: Sequence[Objective]
    started_s: float
    span_s: int | None = None
    read_floors: Callable[[], Floors] = dict
    floors: Floors = field(default_factory=dict)
    windows: dict[SeriesKey, PathWindow] = field(default_factory=dict)
    statuses: list[SloStatus] = field(default_factory=list)

    def refresh(self, now_s: float | None = None) -> None:
        """Read everything again."""
        now_s = time.time() if now_s is None else now_s
        start_s = self.started_s if self.span_s is None else now_s - self.span_s
        self.windows = self.store.aggregate(Selector(), _floor(start_s), _floor(now_s) + 10)
        self.floors = self.read_floors()
        excluded = [exclusion for o in self.objectives for exclusion in o.exclusions]
        ranges = Ranges(self.store, excluded, self.objectives)
        windows = dict.fromkeys((*WINDOWS, self._burn_window))
        self.statuses = evaluate(ranges, self.objectives, self.estate, now_s, windows)

    def view(
        self, title: str, now_s: float, ends_s: float | None, log: Sequence[str]
    ) -> EstateView:
        """Return what to draw now."""
        by_path: dict[Path, list[SloStatus]] = {}
        for status in self.statuses:
            by_path.setdefault(status.path, []).append(status)
        rows = tuple(
            _row(window, self.estate, by_path.get(key.path, []), self.floors, self._burn_window)
            for key, window in self.windows.items()
        )
        return EstateView(
            title=title,
            elapsed_s=now_s - self.started_s,
            remaining_s=None if ends_s is None else max(0.0, ends_s - now_s),
            rows=rows,
            paths_expected=len(self.estate.measured_paths),
            log=tuple(log),
            burn_window=self._burn_window,
        )

    @property
    def _burn_window(self) -> str:
        """The shortest window of alerts that is a minute or more: it is known soonest."""
        found = [s for o in self.objectives for s in o.alerts.windows_s if s >= _BURN_S_MIN]
        return format_duration(min(found, default=_BURN_S))


def _floor(unix_s: float) -> int:
    return int(unix_s) // 10 * 10


def _row(
    window: PathWindow,
    estate: Estate,
    statuses: list[SloStatus],
    floors: Floors,
    burn_window: str,
) -> PathRow:
    """Put a path's figures and its worst objective in one row."""
    path, packets = window.key.path, window.packets
    rtt, jitter = window.rtt(), window.jitter()
    measured = packets.answered + packets.lost
    p50, p99, p999 = (None,) * 3 if rtt is None else rtt.quantiles([0.5, 0.99, 0.999]).tolist()
    worst = min(
        (s for s in statuses if s.budget_remaining_ratio is not None),
        key=lambda s: s.budget_remaining_ratio or 0.0,
        default=None,
    )
    burns = [burn for s in statuses if (burn := s.burn_rate[burn_window]) is not None]
    marks = floor_marks(window_figures(window), floors.get(path.src, {}))
    return PathRow(
        path=path.id,
        scope=estate.scope(path).value,
        due=packets.due,
        loss_ratio=packets.lost / measured if measured else None,
        p50_s=p50,
        p99_s=p99,
        p999_s=p999,
        p999_bounded=rtt is not None and rtt.interval(0.999)[1] is not None,
        jitter_s=None if jitter is None else jitter.quantile(0.99),
        budget_remaining_ratio=None if worst is None else worst.budget_remaining_ratio,
        burn=max(burns, default=None),
        burning=any(s.burning for s in statuses),
        near_floor=frozenset(q for q, could in marks.items() if could),
    )
