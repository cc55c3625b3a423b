"""The alerting of a collector: looks, tells, and remembers across restarts what it has told."""

from __future__ import annotations

import asyncio
import json
import logging
import pathlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from analytics.collector.live import Live
from analytics.collector.server import Beside
from analytics.frame import Frame
from analytics.horizons import HORIZONS
from netslo.estate import Estate
from netslo.metrics import RTT
from netslo.model import Path
from slo.engine.alertmanager import INTERVAL_S, Alertmanagers
from slo.engine.book import Alert, AlertBook, Changes
from slo.engine.observing import Observer, Surroundings
from slo.engine.texts import Seen, Texts
from slo.engine.verdicts import PairJudge
from slo.exclusion import Exclusion
from slo.objective import Objective
from slo.rules.texts import Links
from slo.standings import Standings

FILE_NAME: Final = "alerts.json"
LOOK_S: Final = 5.0
_NOW, _BEFORE = (next(h for h in HORIZONS if h.length_s == s) for s in (300, 86_400))

_log = logging.getLogger(__name__)


class AlertEngine:
    """Judges every few seconds, and tells Alertmanager. A companion of the collector's.

    Args:
        standings: Where objectives stand; another companion.
        objectives: With their pairs.
        estate: The estate of their paths.
        urls: Base URLs of Alertmanagers; none is fine, then alerts are only shown.
        file: Where alerts that were told are kept across restarts; None keeps none.
        exclusions: Those in force now.
        links: What annotations point to.
        source: The collector's own URL, for who wants to see more.
    """

    def __init__(
        self,
        standings: Standings,
        objectives: Sequence[Objective],
        estate: Estate,
        urls: Sequence[str] = (),
        *,
        file: pathlib.Path | None = None,
        exclusions: Callable[[], Sequence[Exclusion]] = tuple,
        links: Links | None = None,
        source: str = "",
        clock: Callable[[], float] = time.time,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._standings = standings
        self._judge = PairJudge(objectives, estate)
        self._observer = Observer(objectives, estate)
        self._texts = Texts({o.name: o for o in objectives}, estate, links or Links(), self._look)
        self._alertmanagers = Alertmanagers(urls, source=source, interval_s=interval_s)
        self._file = file
        self._exclusions = exclusions
        self._clock = clock
        self._interval_s = interval_s
        self._book = AlertBook(_load(file))
        self._looked_s: float | None = None
        self._started_s = clock()
        self._beside: Beside | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerting", daemon=True)
        self._lock = threading.Lock()  # of the book

    def start(self, beside: Beside) -> None:
        self._beside = beside
        self._thread.start()

    def note(self, frame: Frame) -> None:
        """Nothing: the standings take it."""

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def to_json(self) -> dict[str, Any]:
        """Return the shape of `/api/v1/alerts`."""
        with self._lock:
            return {
                "evaluated": self._looked_s,
                "alerts": [alert.to_json() for alert in self._book.firing],
                "pending": [alert.to_json() for alert in self._book.pending],
                "alertmanagers": {
                    "told": self._alertmanagers.told,
                    "failed": self._alertmanagers.failed,
                    "trouble": dict(self._alertmanagers.trouble),
                },
            }

    def look(self) -> Changes:
        """Judge now."""
        now_s = self._clock()
        standing = self._standings.standing()
        if standing is None:  # the past is still being read: nothing is said, nothing resolved
            return Changes((), ())
        judged = self._judge.judge(standing)
        with self._lock:
            changes = self._book.update(self._observer.observe(judged, self._around(now_s)), now_s)
            self._looked_s = now_s
            for alert in (*self._book.firing, *changes.ended):
                alert.annotations = self._texts.annotate(alert, standing)
            if changes.started or changes.ended:
                _save(self._file, self._book.firing)
        for alert in changes.started:
            _log.info("%s: %s", alert.name, alert.annotations.get("summary", ""))
        return changes

    def _around(self, now_s: float) -> Surroundings:
        ends_s: dict[str, float] = {}
        if self._beside is not None:
            for series, end_s in self._beside.ends().items():
                site = series.path.src
                ends_s[site] = max(ends_s.get(site, 0.0), end_s)
        last_commit_s = None if self._beside is None else self._beside.last_commit_s()
        return Surroundings(now_s, self._started_s, last_commit_s, ends_s, self._exclusions())

    def _look(self, path: Path) -> Seen:
        if self._beside is None:
            return Seen()
        p99_s, loss = _figures(self._beside.live, path, _NOW)
        p99_before_s, loss_before = _figures(self._beside.live, path, _BEFORE)
        return Seen(p99_s, p99_before_s, loss, loss_before)

    def _run(self) -> None:
        asyncio.run(self._tell_for_ever())

    async def _tell_for_ever(self) -> None:
        told_s = float("-inf")
        while not await asyncio.to_thread(self._stopping.wait, LOOK_S):
            try:
                changes = await asyncio.to_thread(self.look)
                now_s = self._clock()
                if changes.started or changes.ended or now_s - told_s >= self._interval_s:
                    told_s = now_s
                    with self._lock:
                        firing = self._book.firing
                    await self._alertmanagers.tell(firing, changes.ended, now_s)
            except Exception:  # noqa: BLE001 - said, and tried again: alerting must not end
                _log.exception("alerts could not be worked out")


def _figures(live: Live, path: Path, horizon: Any) -> tuple[float | None, float | None]:
    """Return p99 of the round trip and the share of lost packets over a horizon."""
    recent = live.read(horizon, patience_s=0.0)
    if recent is None:
        return None, None
    for series in recent:
        if series.path == path:
            packets, sketch = recent.packets(series), recent.sketch(series, RTT)
            measured = packets.answered + packets.lost
            p99_s = None if sketch is None else float(sketch.quantile(0.99))
            return p99_s, packets.lost / measured if measured else None
    return None, None


def _load(file: pathlib.Path | None) -> list[Alert]:
    if file is None:
        return []
    try:
        return [Alert.from_json(shape) for shape in json.loads(file.read_text())]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        _log.warning("%s: cannot be read, so alerts begin anew: %s", file, error)
        return []


def _save(file: pathlib.Path | None, alerts: Sequence[Alert]) -> None:
    if file is None:
        return
    beside = file.with_suffix(".new")
    try:
        beside.write_text(json.dumps([alert.to_json() for alert in alerts]))
        beside.replace(file)
    except OSError as error:
        _log.warning("%s: cannot be written: %s", file, error.strerror)
