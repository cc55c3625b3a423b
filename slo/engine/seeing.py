"""What was measured of the paths of alerts, read once for all of them."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from analytics.collector.live import Live, Recent
from analytics.horizons import HORIZONS, Horizon
from analytics.readings import Reading
from analytics.store import WindowStore
from analytics.windows import SeriesKey
from netslo.errors import NetsloError
from netslo.metrics import RTT
from netslo.model import Path
from slo.engine.texts import Seen, say_change

_log = logging.getLogger(__name__)

_NOW, _BEFORE = (next(h for h in HORIZONS if h.length_s == s) for s in (300, 86_400))
PATHS_MAX: Final = 1000  # a distribution each; who is told of more looks at a dashboard

CHANGES_S: Final = 3600
CHANGES_MAX: Final = 100

_Found = tuple[Recent, dict[Path, SeriesKey]]


@dataclass(slots=True)
class Sight:
    """The evidence at one moment; made anew for the next."""

    live: Live | None
    store: WindowStore | None = None
    now_s: float = 0.0  # Unix time
    _found: dict[Horizon, _Found | None] = field(default_factory=dict, init=False)
    _seen: dict[Path, Seen] = field(default_factory=dict, init=False)

    def look(self, path: Path) -> Seen:
        """Return what was measured of a path; after very many, that nothing is known."""
        if path not in self._seen:
            if len(self._seen) >= PATHS_MAX:
                return Seen()
            p99_s, loss = self._figures(path, _NOW)
            p99_before_s, loss_before = self._figures(path, _BEFORE)
            self._seen[path] = Seen(
                p99_s,
                p99_before_s,
                loss,
                loss_before,
                **self._told(path),
            )
        return self._seen[path]

    def _told(self, path: Path) -> dict[str, Any]:
        """Return what the store knows besides: an alert is told without it, too."""
        try:
            return {"more": tuple(self._changes(path)), "readings": self._readings(path)}
        except (NetsloError, sqlite3.Error, ValueError) as error:
            _log.warning("evidence of %s cannot be read: %s", path, error)
            return {}

    def _changes(self, path: Path) -> Iterator[str]:
        """Say what changed of the routes there and back in the last hour, the newest of each."""
        if self.store is None:
            return
        start_s, end_s = self.now_s - CHANGES_S, self.now_s + 1
        for way in (path, path.reverse):
            found = self.store.path_changes(way, start_s, end_s, CHANGES_MAX)
            if found:
                yield say_change(found[0], len(found))

    def _readings(self, path: Path) -> tuple[Reading, ...]:
        if self.store is None:
            return ()
        return tuple(latest.told for latest in self.store.latest_readings(path))

    def _figures(self, path: Path, horizon: Horizon) -> tuple[float | None, float | None]:
        """Return p99 of the round trip and the share of lost packets over a horizon."""
        if horizon not in self._found:
            self._found[horizon] = self._read(horizon)
        found = self._found[horizon]
        series = None if found is None else found[1].get(path)
        if found is None or series is None:
            return None, None
        packets, sketch = found[0].packets(series), found[0].sketch(series, RTT)
        measured = packets.answered + packets.lost
        p99_s = None if sketch is None else float(sketch.quantile(0.99))
        return p99_s, packets.lost / measured if measured else None

    def _read(self, horizon: Horizon) -> _Found | None:
        recent = None if self.live is None else self.live.read(horizon, patience_s=0.0)
        if recent is None:
            return None
        by_path: dict[Path, SeriesKey] = {}
        for series in recent:
            by_path.setdefault(series.path, series)
        return recent, by_path
