"""What the collector remembers beside the store: probes' health and each path's last window."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from analytics.otlp import HealthPoint
from analytics.windows import PathWindow, SeriesKey
from netslo.metrics import DISCARDED

HEALTH_STALE_S: Final = 600.0
REASONS_MAX: Final = 32  # of discarded packets, of one probe
_REASON: Final = "reason"

Instrument = tuple[str, str]  # (metric name, reason or empty)


@dataclass(slots=True)
class ProbeReport:
    """The latest figures of one start of one site's probe."""

    site: str
    instance: str
    received_s: float
    values: dict[Instrument, float] = field(default_factory=dict)


class HealthBoard:
    """The latest health of each probe; old and surplus ones are forgotten. Thread-safe."""

    def __init__(self, probes_max: int) -> None:
        self._probes_max = probes_max
        self._reports: dict[tuple[str, str], ProbeReport] = {}  # least recent first
        self._lock = threading.Lock()

    def note(self, point: HealthPoint, received_s: float) -> None:
        """Remember a figure."""
        key = (point.site, point.instance)
        with self._lock:
            report = self._reports.pop(key, None) or ProbeReport(*key, received_s)
            report.received_s = received_s
            self._reports[key] = report
            reason = dict(point.attributes).get(_REASON, "") if point.name == DISCARDED else ""
            if (point.name, reason) in report.values or len(report.values) < REASONS_MAX:
                report.values[point.name, reason] = point.value
            while len(self._reports) > self._probes_max:
                del self._reports[next(iter(self._reports))]

    def reports(self, now_s: float) -> list[ProbeReport]:
        """Return what is not stale, by site and instance."""
        with self._lock:
            for key, report in list(self._reports.items()):
                if report.received_s < now_s - HEALTH_STALE_S:
                    del self._reports[key]
            return [
                ProbeReport(*key, report.received_s, dict(report.values))
                for key, report in sorted(self._reports.items())
            ]


class LastWindows:
    """When the last window of each series ended: how fresh its figures are. Thread-safe.

    The estate bounds the paths, and so the size.
    """

    def __init__(self, windows: Iterable[PathWindow] = ()) -> None:
        self._ends: dict[SeriesKey, int] = {}
        self._lock = threading.Lock()
        self.note(windows)

    def note(self, windows: Iterable[PathWindow]) -> None:
        with self._lock:
            for window in windows:
                end_s = window.window.end_s
                self._ends[window.key] = max(end_s, self._ends.get(window.key, end_s))

    def ends(self) -> Mapping[SeriesKey, int]:
        with self._lock:
            return dict(self._ends)
