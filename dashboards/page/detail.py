"""Everything the page of one path shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from analytics.collector.live import Recent
from analytics.horizons import HORIZONS
from analytics.sketch import Sketch
from analytics.windows import PacketCounts
from dashboards.page.charts import Distribution, History, distribution, history
from dashboards.page.figures import PathFigures, Quantile, Snapshot
from dashboards.page.numbers import clock
from dashboards.page.service import ServiceDetail, service_detail
from dashboards.page.source import Source
from dashboards.page.trail import Series, Trail
from dashboards.page.views import SPANS, OnePath
from dashboards.page.ways import (
    CHANGES_SHOWN,
    Capacities,
    Change,
    Routes,
    capacities,
    changes,
    routes,
)
from netslo.metrics import RTT
from netslo.model import NS_PER_S, Path
from netslo.units import format_duration
from slo.objective import Indicator, Objective
from slo.status import SloStatus

_NAMES: Final = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))
_MARKS_MAX: Final = 200
_RESOLUTIONS_S: Final = {"1d": 900, "28d": 6 * 3_600}


@dataclass(frozen=True, slots=True)
class HorizonRow:
    """One path over one horizon."""

    name: str
    samples: int
    answered: int
    lost: int
    unmeasured: int
    quantiles: tuple[Quantile, ...]  # of `_NAMES`

    @property
    def loss_ratio(self) -> float | None:
        measured = self.answered + self.lost
        return self.lost / measured if measured else None


@dataclass(frozen=True, slots=True)
class PathDetail:
    figures: PathFigures
    reverse: PathFigures | None
    span: str
    distribution: Distribution | None
    history: History | None
    horizons: tuple[HorizonRow, ...]
    statuses: tuple[tuple[SloStatus, Objective], ...]
    alerts: tuple[Mapping[str, Any], ...]
    routes: Routes
    changes: tuple[Change, ...]
    more_changes: bool
    capacities: Capacities
    service: ServiceDetail | None

    @property
    def quantile_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in _NAMES)


def path_detail(source: Source, snapshot: Snapshot, view: OnePath) -> PathDetail:
    """Read what is shown of one path; some of it from the store."""
    objectives = {each.name: each for each in source.objectives}
    statuses = [(s, objectives[s.slo]) for s in snapshot.statuses_of(view.path)]
    limits = [(o.name, o.limit) for _, o in statuses if _is_rtt_limit(o) and o.limit]
    span_s = SPANS[view.span]
    chosen = next(h for h in HORIZONS if h.length_s == span_s)
    over = source.of_path(chosen, view.path, _over)
    known = source.changes(view.path, 0.0, CHANGES_SHOWN + 1)
    quantiles = [] if over is None else list(zip(_names(), over.quantiles, strict=True))
    return PathDetail(
        figures=snapshot.paths[view.path],
        reverse=snapshot.paths.get(view.path.reverse),
        span=view.span,
        distribution=None
        if over is None or over.sketch is None
        else distribution(over.sketch, quantiles, limits),
        history=history(
            _series(source, view, snapshot.at_s),
            snapshot.at_s - span_s,
            snapshot.at_s,
            limits,
            _marks(source, view.path, snapshot.at_s - span_s),
        ),
        horizons=tuple(_horizon_rows(source, view.path)),
        statuses=tuple(statuses),
        alerts=tuple(
            alert for alert in snapshot.alerts.get("alerts", ()) if is_about(alert, view.path)
        ),
        routes=routes(source.routes(view.path), snapshot.at_s),
        changes=changes(known[:CHANGES_SHOWN]),
        more_changes=len(known) > CHANGES_SHOWN,
        capacities=capacities(
            source.capacities(view.path), view.path, snapshot.estate, snapshot.at_s
        ),
        service=service_detail(source, view, snapshot.at_s),
    )


def _marks(source: Source, path: Path, start_s: float) -> list[tuple[float, str]]:
    """Return when routes changed, and of which flow."""
    return [
        (
            each.seen_ns / NS_PER_S,
            f"{clock(each.seen_ns / NS_PER_S)} {each.route.protocol}, flow {each.route.flow}",
        )
        for each in source.changes(path, start_s, _MARKS_MAX)
    ]


def is_about(alert: Mapping[str, Any], path: Path) -> bool:
    """Whether an alert is about a path, about its site, or about the service it leads to."""
    labels = alert["labels"]
    if "path" in labels:
        return bool(labels["path"] == path.id)
    return path.src in labels.values() or labels.get("dst_site") == path.dst


def _is_rtt_limit(objective: Objective) -> bool:
    return objective.indicator is Indicator.LATENCY


def _names() -> list[str]:
    return [name for name, _ in _NAMES]


@dataclass(frozen=True, slots=True)
class _Over:
    """One path over one horizon: of several probes', the series with most packets."""

    packets: PacketCounts
    sketch: Sketch | None
    quantiles: tuple[Quantile, ...]


def _over(recent: Recent, path: Path) -> _Over | None:
    own = recent.of_path(path)
    if not own:
        return None
    series = max(own, key=lambda each: recent.packets(each).due)
    sketch = recent.sketch(series, RTT)
    return _Over(recent.packets(series), sketch, _quantiles(sketch))


def _quantiles(sketch: Sketch | None) -> tuple[Quantile, ...]:
    if sketch is None or not sketch.count:
        return (Quantile(),) * len(_NAMES)
    values = sketch.quantiles([q for _, q in _NAMES]).tolist()
    return tuple(
        Quantile(value, *sketch.interval(q)) for value, (_, q) in zip(values, _NAMES, strict=True)
    )


def _horizon_rows(source: Source, path: Path) -> Iterator[HorizonRow]:
    for horizon in HORIZONS:
        over = source.of_path(horizon, path, _over)
        if over is not None:
            yield HorizonRow(
                format_duration(horizon.length_s),
                0 if over.sketch is None else over.sketch.count,
                over.packets.answered,
                over.packets.lost,
                over.packets.unmeasured,
                over.quantiles,
            )


def _series(source: Source, view: OnePath, now_s: float) -> Series:
    if view.span not in _RESOLUTIONS_S:
        return source.trail.of(view.path, now_s)
    trail = Trail([view.path], SPANS[view.span])
    trail.add_windows(source.history(view.path, SPANS[view.span], _RESOLUTIONS_S[view.span]))
    return trail.of(view.path, now_s)
