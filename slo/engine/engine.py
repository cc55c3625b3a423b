"""The alerting of a collector: looks, tells, and remembers across restarts what it has told."""

from __future__ import annotations

import asyncio
import logging
import pathlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from analytics.collector.server import Beside
from analytics.frame import Frame
from analytics.store import WindowStore
from netslo.estate import Estate
from slo.engine.alertmanager import INTERVAL_S, Alertmanagers
from slo.engine.book import Alert, AlertBook, Changes
from slo.engine.certificates import certificates_of
from slo.engine.observing import Observer, Surroundings
from slo.engine.seeing import Sight
from slo.engine.texts import Seen, Texts
from slo.engine.verdicts import PairJudge
from slo.exclusion import Exclusion
from slo.kept import load, save
from slo.objective import Objective
from slo.rules.texts import Links
from slo.standings import Standings
from slo.targets import Targets

FILE_NAME: Final = "alerts.json"
LOOK_S: Final = 5.0

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
        targets: Those that ever were, by objective.
        source: The collector's own URL, for who wants to see more; empty if it is not known.
        store: Where changes of routes and capacity tests are, for evidence.
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
        targets: Targets | None = None,
        source: str = "",
        store: WindowStore | None = None,
        clock: Callable[[], float] = time.time,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._standings = standings
        self._judge = PairJudge(objectives, estate, targets)
        self._observer = Observer(objectives, estate)
        self._texts = Texts({o.name: o for o in objectives}, estate, links or Links(), source)
        self._alertmanagers = Alertmanagers(urls, source=source, interval_s=interval_s)
        self._file = file
        self._store = store
        self._exclusions = exclusions
        self._clock = clock
        self._interval_s = interval_s
        none: list[Alert] = []
        self._book = AlertBook(load(file, self._read_alerts, none, "alerts begin anew"))
        self._looked_s: float | None = None
        self._annotated_s = float("-inf")
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
        around = self._around(now_s)
        late_s = {site: now_s - at_s for site, at_s in around.last_late_s.items()}
        judged = self._judge.judge(standing, late_s)
        with self._lock:
            in_force = {alert.labels for alert in self._book.firing}
            seen = self._observer.observe(judged, around, in_force)
            changes = self._book.update(seen, now_s)
            self._looked_s = now_s
            sight = Sight(None if self._beside is None else self._beside.live, self._store, now_s)
            for alert in self._to_annotate(changes, now_s):
                alert.annotations = self._texts.annotate(alert, standing, sight.look, around)
            if changes.started or changes.ended:
                self._save(changes.ended)
        for alert in changes.started:
            _log.info("%s: %s", alert.name, alert.annotations.get("summary", ""))
        return changes

    def _save(self, ended: Iterable[Alert] = ()) -> None:
        """Keep what is told to be in force: an end counts once it is taken.

        A collector that dies before finds the alert in its file, sees that it is over, and says so.
        """
        in_force = {alert.labels: alert for alert in self._book.firing}
        over = {alert.labels: alert for alert in (*self._alertmanagers.untaken, *ended)}
        kept = [alert.to_json() | {"ends": None} for alert in (over | in_force).values()]
        save(self._file, kept)

    def _to_annotate(self, changes: Changes, now_s: float) -> Iterable[Alert]:
        """Return what has changed, and now and then all, for that is most of the work."""
        if not 0 <= now_s - self._annotated_s < self._interval_s:
            self._annotated_s = now_s
            return (*self._book.firing, *changes.ended)
        return (*changes.started, *changes.ended)

    def _around(self, now_s: float) -> Surroundings:
        self._started_s = min(self._started_s, now_s)  # the clock may have been set back
        beside, exclusions = self._beside, self._exclusions()
        if beside is None:
            return Surroundings(now_s, self._started_s, None, {}, {}, exclusions)
        return Surroundings(
            now_s,
            self._started_s,
            beside.last_commit_s(),
            beside.last_ends(),
            beside.last_late(),
            exclusions,
            certificates_of(beside.reports(now_s)),
        )

    def _read_alerts(self, data: Any) -> list[Alert]:
        """Read what a collector before had told; of each there must be something to say."""
        alerts = [Alert.from_json(shape) for shape in data]
        for alert in alerts:
            self._texts.annotate(alert, None, lambda _: Seen())
        return alerts

    def _run(self) -> None:
        asyncio.run(self._tell_for_ever())

    async def _tell_for_ever(self) -> None:
        told_s = float("-inf")  # by a clock that nobody sets: a promise must not run out
        while not await asyncio.to_thread(self._stopping.wait, LOOK_S):
            try:
                changes = await asyncio.to_thread(self.look)
                now_s = time.monotonic()
                if changes.started or changes.ended or now_s - told_s >= self._interval_s:
                    told_s = now_s
                    with self._lock:
                        firing = self._book.firing
                    over = (*self._alertmanagers.untaken, *changes.ended)
                    await self._alertmanagers.tell(firing, changes.ended, self._clock())
                    if over and not self._alertmanagers.untaken:
                        with self._lock:
                            self._save()
            except Exception:  # noqa: BLE001 - said, and tried again: alerting must not end
                _log.exception("alerts could not be worked out")
