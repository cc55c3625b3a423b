"""Reads what the collector knows into one snapshot that all pages share.

A companion of the collector's: see `analytics.collector.server.create_app`.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import numpy as np

from analytics.collector.live import Recent
from analytics.collector.server import Beside
from analytics.frame import Frame
from analytics.horizons import HORIZONS, Horizon
from analytics.readings import Reading
from analytics.store import WindowStore
from analytics.store.interface import Latest
from analytics.windows import PathWindow, Selector, SeriesKey
from dashboards.page.figures import (
    ChangeBeside,
    Incident,
    IncidentLog,
    PathFigures,
    ProbeFigures,
    SloFigures,
    Snapshot,
    state_of,
    worst_first,
)
from dashboards.page.reading import Reader, rows_of
from dashboards.page.trail import SPAN_S, STEP_S, Trail
from netslo.metrics import CERTIFICATE_EXPIRY, RTT
from netslo.model import NS_PER_S, Path, ProbeKind
from netslo.route import RouteObservation
from slo.burn import Severity
from slo.judge import Judge
from slo.ledger import Standing
from slo.objective import Objective
from slo.status import SloStatus

FRESH_S: Final = 1.0
_LONG_FRESH_S: Final = 10.0, 60.0  # of figures over longer horizons, a thirtieth of a pane
_KEPT_MAX: Final = 256  # histories
MINUTE, NOW = HORIZONS[:2]
_PATIENCE_S: Final = 0.5
# A burn rate is seen minutes after what caused it; a trace may come a while behind both.
_BEFORE_S: Final = 900.0
_BEHIND_S: Final = 300.0
_CHANGES_MAX: Final = 20

_log = logging.getLogger(__name__)


Made = TypeVar("Made")


@dataclass(slots=True)
class _Look:
    """All series over a horizon as they were once, and what was made of single paths since."""

    at_s: float
    recent: Recent
    made: dict[Any, Any] = field(default_factory=dict)


class Source:
    """What pages are made of; read at most once in `FRESH_S` seconds, whoever asks.

    Args:
        store: Read for what was before the collector started, and for days of one path.
        judge: Where objectives stand.
        alerts: Returns the shape of /api/v1/alerts.
        clock: Unix time in seconds.
        standing: What was spent of all paths at once; None where it is not known (yet).
    """

    def __init__(
        self,
        store: WindowStore,
        judge: Judge,
        alerts: Callable[[], Mapping[str, Any]],
        clock: Callable[[], float] = time.time,
        standing: Callable[[], Standing | None] = lambda: None,
    ) -> None:
        self.estate = judge.estate
        self.objectives = tuple(judge.objectives)
        self.trail = Trail(self.estate.measured_paths)
        self.commits = 0  # changes when something was committed
        self._store = store
        self._judge = judge
        self._alerts = alerts
        self._clock = clock
        self._standing = standing
        self._pairs = {
            (pair.long_s, pair.short_s, pair.threshold(objective.window_s))
            for objective in self.objectives
            if objective.slices is None
            for pair in objective.alerts.pairs
        }
        self._incidents = IncidentLog()
        self._beside: Beside | None = None
        self._snapshot: Snapshot | None = None
        self._looks: dict[Horizon, _Look] = {}
        self._histories: dict[tuple[Path, int, int], tuple[float, list[PathWindow]]] = {}
        self._wholes: dict[tuple[Path, int], tuple[float, PathWindow | None]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    def start(self, beside: Beside) -> None:
        self._beside = beside
        self._thread.start()

    def note(self, frame: Frame) -> None:
        del frame
        self.commits += 1

    def trouble(self) -> Hashable:
        """Return what changes when a path begins to burn, or ceases to; guards are not asked."""
        standing = self._standing()
        if standing is None:
            return None
        signs = []
        for long_s, short_s, threshold in sorted(self._pairs):
            both = standing.exceeds(long_s, threshold) & standing.exceeds(short_s, threshold)
            signs.append(both.tobytes())
        return tuple(signs)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def snapshot(self) -> Snapshot:
        """Return how all stands, at most `FRESH_S` old."""
        with self._lock:
            now_s = self._clock()
            last = self._snapshot
            if last is None or not 0 <= now_s - last.at_s < FRESH_S:
                last = self._snapshot = self._read(now_s)
            return last

    def recent(self, horizon: Horizon) -> Recent | None:
        """Return all series over a horizon, some seconds old for the longer ones."""
        look = self._look(horizon)
        return None if look is None else look.recent

    def of_path(
        self, horizon: Horizon, path: Path, make: Callable[[Recent, Path], Made]
    ) -> Made | None:
        """Return what `make` says of one path over a horizon, made once as long as that is fresh.

        None where nothing is known (yet).
        """
        look = self._look(horizon)
        if look is None:
            return None
        key = path, make
        if key not in look.made:
            look.made[key] = make(look.recent, path)
        made: Made = look.made[key]
        return made

    def _look(self, horizon: Horizon) -> _Look | None:
        now_s = self._clock()
        kept = self._looks.get(horizon)
        if kept is not None and 0 <= now_s - kept.at_s < _fresh_s(horizon):
            return kept
        found = None if self._beside is None else self._beside.live.read(horizon, _PATIENCE_S)
        if found is None:
            return None
        look = self._looks[horizon] = _Look(now_s, found)
        return look

    def history(self, path: Path, span_s: int, resolution_s: int) -> list[PathWindow]:
        """Return the windows of one path over the last `span_s` seconds, from the store."""
        now_s, key = self._clock(), (path, span_s, resolution_s)
        kept = self._histories.get(key)
        if kept is not None and 0 <= now_s - kept[0] < resolution_s / 4:
            return kept[1]
        start_s = int(now_s - span_s) // resolution_s * resolution_s
        found = list(
            self._store.windows(Selector(path=path.id), start_s, int(now_s) + 1, resolution_s)
        )
        with self._lock:
            self._histories.pop(key, None)
            self._histories[key] = now_s, found
            while len(self._histories) > _KEPT_MAX:
                del self._histories[next(iter(self._histories))]
        return found

    def routes(self, path: Path) -> list[Latest[RouteObservation]]:
        """Return the routes that a path's flows were last seen to take."""
        return self._store.routes(path)

    def changes(self, path: Path, start_s: float, at_most: int) -> list[RouteObservation]:
        """Return the newest changes of a path's routes since then, newest first."""
        return self._store.path_changes(path, start_s, math.inf, at_most)

    def capacities(self, path: Path) -> list[Latest[Reading]]:
        """Return what the last capacity tests of a path found."""
        return self._store.latest_readings(path)

    def whole(self, path: Path, probe: ProbeKind, span_s: int) -> PathWindow | None:
        """Return all that the store has of one path over a span as one window; None of nothing.

        Read anew after a hundredth of the span, and ten seconds.
        """
        now_s, key = self._clock(), (path, span_s)
        kept = self._wholes.get(key)
        if kept is not None and 0 <= now_s - kept[0] < max(10, span_s / 100):
            return kept[1]
        start_s, end_s = int(now_s - span_s) // 300 * 300, int(now_s) + 1
        found = self._store.aggregate(Selector(path=path.id), start_s, end_s)
        whole = found.get(SeriesKey(path, probe))
        with self._lock:
            self._wholes.pop(key, None)
            self._wholes[key] = now_s, whole
            while len(self._wholes) > _KEPT_MAX:
                del self._wholes[next(iter(self._wholes))]
        return whole

    def certificate_expiry_s(self, path: Path) -> float | None:
        """Return when the certificate of a service ends, as it was last seen; Unix time."""
        if self._beside is None:
            return None
        reports = self._beside.reports(self._clock())
        return _least(report.values.get((CERTIFICATE_EXPIRY, path.id)) for report in reports)

    def sample(self) -> None:
        """Add a point of every path to the trail: what the last minute was."""
        recent = self.recent(MINUTE)
        if recent is None:
            return
        streams, ledger = recent.leading(RTT), recent.ledger()
        found = rows_of(recent.view.quantiles((0.5, 0.99)), streams)
        answered, lost = ledger[:, 0], ledger[:, 1]
        with np.errstate(invalid="ignore"):
            loss = lost / (answered + lost)
        points = np.column_stack([found, loss]).tolist()
        due = ledger.sum(axis=1).tolist()
        self.trail.add(
            recent.view.end_s,
            {s.path: point for s, point, n in zip(recent.series, points, due, strict=True) if n},
        )

    def _run(self) -> None:
        try:
            now_s = int(self._clock())
            self.trail.add_windows(self._store.windows(Selector(), now_s - SPAN_S, now_s, 300))
        except Exception:  # noqa: BLE001 - said; the page does without the hour before
            _log.exception("the last hour could not be read for the page")
        trouble: Hashable = None
        while not self._stopping.wait(STEP_S):
            try:
                self.sample()
                if (now := self.trouble()) != trouble:  # for the incidents, if nobody looks
                    trouble = now
                    self.snapshot()
            except Exception:  # noqa: BLE001 - said, and tried again
                _log.exception("the page's figures could not be read")

    def _read(self, now_s: float) -> Snapshot:
        _, statuses = self._judge.judge()
        recent = self.recent(NOW)
        live = None if self._beside is None else self._beside.live
        paths = self._paths(recent, statuses, now_s)
        alerts = self._alerts()
        why_not = "figures of the last minutes are still being made from the store"
        if live is not None and live.problem:
            why_not = live.problem
        return Snapshot(
            at_s=now_s,
            estate=self.estate,
            ready=recent is not None,
            why_not=why_not,
            paths=paths,
            statuses=tuple(statuses),
            slos=tuple(_slo_figures(o, statuses) for o in self.objectives),
            alerts=alerts,
            incidents=tuple(
                replace(each, change=self._change_beside(each))
                for each in worst_first(
                    self._incidents.update(statuses, now_s, _pages_since(alerts)), paths
                )
            ),
            probes=self._probes(now_s),
        )

    def _paths(
        self, recent: Recent | None, statuses: Sequence[SloStatus], now_s: float
    ) -> dict[Path, PathFigures]:
        judged: dict[Path, list[SloStatus]] = {}
        for status in statuses:
            judged.setdefault(status.path, []).append(status)
        measured = {} if recent is None else Reader(recent, self._floors(now_s)).read()
        return {
            path: PathFigures(
                path=path,
                scope=self.estate.scope(path),
                state=state_of(judged.get(path, ()), measured=path in measured),
                budget_remaining_ratio=_least(s.budget_remaining_ratio for s in judged[path])
                if path in judged
                else None,
                burn_5m=_most(s.burn_rate.get("5m") for s in judged.get(path, ())),
                **measured.get(path, {}),
            )
            for path in self.estate.measured_paths
        }

    def _change_beside(self, incident: Incident) -> ChangeBeside | None:
        """Return the change of a route, there or back, nearest to an incident's beginning."""
        start_s = incident.starts_s
        found = [
            ChangeBeside(path, change.seen_ns / NS_PER_S)
            for path in (incident.path, incident.path.reverse)
            for change in self._store.path_changes(
                path, start_s - _BEFORE_S, start_s + _BEHIND_S, _CHANGES_MAX
            )
        ]
        return min(found, key=lambda each: abs(each.at_s - start_s), default=None)

    def _floors(self, now_s: float) -> Mapping[str, Mapping[str, float | None]]:
        return {} if self._beside is None else self._beside.noise_floors(now_s)

    def _probes(self, now_s: float) -> tuple[ProbeFigures, ...]:
        if self._beside is None:
            return ()
        return tuple(
            ProbeFigures(
                site=report["site"],
                instance=report["instance"],
                age_s=max(0.0, now_s - report["last_report"]),
                clock_error_s=report["clock_error"],
                spool_batches=report["spool_batches"],
                floor_p50_s=report["noise_floor"]["0.5"],
                floor_p99_s=report["noise_floor"]["0.99"],
            )
            for report in (each.to_json() for each in self._beside.reports(now_s))
        )


def _fresh_s(horizon: Horizon) -> float:
    if horizon in {MINUTE, NOW}:
        return FRESH_S
    least_s, most_s = _LONG_FRESH_S
    return min(most_s, max(least_s, horizon.pane_s / 30))


def _pages_since(alerts: Mapping[str, Any]) -> dict[str, float]:
    """Return since when somebody is woken because of a path, by the path's id."""
    found: dict[str, float] = {}
    for alert in alerts.get("alerts", ()):
        path, starts_s = alert["labels"].get("path"), alert["starts"]
        if path and starts_s and alert["labels"].get("severity") == Severity.PAGE:
            found[path] = min(starts_s, found.get(path, starts_s))
    return found


def _least(values: Any) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _most(values: Any) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _slo_figures(objective: Objective, statuses: Sequence[SloStatus]) -> SloFigures:
    own = [status for status in statuses if status.slo == objective.name]
    known = [status for status in own if status.budget_remaining_ratio is not None]
    due = sum(s.due_events for s in own)
    measured = sum((s.coverage or 0.0) * s.due_events for s in own)
    return SloFigures(
        name=objective.name,
        title=objective.display_name or objective.name,
        objective=float(objective.target),
        threshold_s=objective.limit_s,
        period_s=objective.window_s,
        paths=len(own),
        events=sum(s.events for s in own),
        bad_events=sum(s.bad_events for s in own),
        burning=sum(s.burning for s in own),
        overspent=sum(s.overspent for s in own),
        coverage=measured / due if due else None,
        rate=objective.rate,
        worst=min(known, key=lambda s: s.budget_remaining_ratio or 0.0, default=None),
    )
