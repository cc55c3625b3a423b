"""Paths and probes for Prometheus; names from `netslo.metrics`.

Quantiles are gauges over the last five minutes and the last hour, for scrapers without native
histograms. What cannot be said has no sample. Under the `due` convention a lost packet
took forever: +Inf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from analytics.collector.families import (
    arrival_families,
    count_families,
    health_families,
    jitter_family,
    one_way_families,
    packet_families,
    rtt_family,
    state_families,
)
from analytics.collector.live import Live, Recent
from analytics.collector.state import Arrivals, HealthBoard, LastStates
from analytics.horizons import HORIZONS
from analytics.otlp.instruments import COUNTS, DIRECTED
from analytics.store import WindowStore
from analytics.windows import DIRECTIONS, CountKey, PathWindow, SeriesKey
from netslo import metrics
from netslo.estate import Estate
from netslo.metrics import JITTER, RTT
from netslo.model import Outcome
from netslo.service import SERVICE_KINDS
from netslo.units import format_duration

_HORIZONS: Final = tuple(h for h in HORIZONS if h.length_s in (300, 3600))
RTT_QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)
JITTER_QUANTILES: Final = (0.5, 0.99)
_STALE_S: Final = 300.0  # an older state says nothing of now


class PathCollector(Collector):
    """Collects the figures of every path of the estate from the store; from any thread."""

    def __init__(
        self,
        store: WindowStore,
        estate: Estate,
        live: Live,
        states: LastStates,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._estate = estate
        self._live = live
        self._states = states
        self._clock = clock

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples, so that registering reads no store."""
        families = [rtt_family(), jitter_family(), *packet_families()]
        families += [*one_way_families().values(), *state_families().values()]
        return [*families, *count_families().values()]

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        yield from self._gauges()
        yield from self._latest()
        yield from self._counters()

    def _latest(self) -> Iterable[Metric]:
        families = state_families()
        for key, gauge, value in self._states.since(self._clock() - _STALE_S):
            if self._estate.knows(key.path):
                families[gauge].add_metric(self._labels(key), value)
        return families.values()

    def _gauges(self) -> Iterable[Metric]:
        rtt, jitter, one_way = rtt_family(), jitter_family(), one_way_families()
        for horizon in _HORIZONS:
            recent = self._live.read(horizon)
            if recent is not None:
                window = format_duration(horizon.length_s)
                self._add_rtt(rtt, recent, window)
                self._add_jitter(jitter, recent, window)
                for metric, family in one_way.items():
                    self._add_one_way(family, metric, recent, window)
        return rtt, jitter, *one_way.values()

    def _add_one_way(
        self, family: GaugeMetricFamily, metric: str, recent: Recent, window: str
    ) -> None:
        found = recent.view.quantiles(RTT_QUANTILES)
        for direction in DIRECTIONS:
            for key, row in recent.streams(metric, direction).items():
                if self._estate.knows(key.path):
                    labels = [*self._labels(key), direction]
                    _add_quantiles(family, labels, RTT_QUANTILES, [window], found[row])

    def _add_rtt(self, family: GaugeMetricFamily, recent: Recent, window: str) -> None:
        streams = recent.streams(RTT)
        lost = np.zeros(len(recent.view.rows), dtype=np.uint64)
        known = {key: recent.packets(key) for key in recent if self._estate.knows(key.path)}
        for key, packets in known.items():
            if key in streams:
                lost[streams[key]] = packets.lost
        delivered = recent.view.quantiles(RTT_QUANTILES)
        due = recent.view.quantiles(RTT_QUANTILES, lost)
        for key, packets in known.items():
            labels = self._labels(key)
            if key in streams:
                row = streams[key]
                _add_quantiles(family, labels, RTT_QUANTILES, [window, "delivered"], delivered[row])
                _add_quantiles(family, labels, RTT_QUANTILES, [window, "due"], due[row])
            elif packets.lost:
                nothing = np.full(len(RTT_QUANTILES), np.inf)
                _add_quantiles(family, labels, RTT_QUANTILES, [window, "due"], nothing)

    def _add_jitter(self, family: GaugeMetricFamily, recent: Recent, window: str) -> None:
        found = recent.view.quantiles(JITTER_QUANTILES)
        for key, row in recent.streams(JITTER).items():
            if self._estate.knows(key.path):
                labels = self._labels(key)
                _add_quantiles(family, labels, JITTER_QUANTILES, [window], found[row])

    def _counters(self) -> Iterable[Metric]:
        packets, duplicates, reordered = families = packet_families()
        others = count_families()
        for key, window in self._store.count_totals().items():
            if self._estate.knows(key.path):
                labels, counts = self._labels(key), window.packets
                for outcome in Outcome:
                    packets.add_metric([*labels, outcome], getattr(counts, outcome.value))
                duplicates.add_metric(labels, counts.duplicates)
                reordered.add_metric(labels, counts.reordered)
                _add_counts(others, labels, window)
        return *families, *others.values()

    def _labels(self, key: SeriesKey) -> list[str]:
        path = key.path
        scope = self._estate.scope(path).value
        return [path.id, path.src, path.dst, path.traffic_class, scope, key.probe.value]


class HealthCollector(Collector):
    """Collects what probes say about themselves."""

    def __init__(self, board: HealthBoard, clock: Callable[[], float]) -> None:
        self._board = board
        self._clock = clock

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples."""
        return health_families().values()

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        families = health_families()
        for report in self._board.reports(self._clock()):
            for (name, *labels), value in report.values.items():
                families[name].add_metric([report.site, report.instance, *labels], value)
        return families.values()


class ArrivalCollector(Collector):
    """Collects when probes last delivered."""

    def __init__(self, arrivals: Arrivals, estate: Estate) -> None:
        self._arrivals = arrivals
        self._estate = estate

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples."""
        return arrival_families()

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        last, late = families = arrival_families()
        for family, by_site in (
            (last, self._arrivals.last_ends()),
            (late, self._arrivals.last_late()),
        ):
            for site, unix_s in by_site.items():
                if site in self._estate.sites:
                    family.add_metric([site], unix_s)
        return families


def _add_quantiles(
    family: GaugeMetricFamily,
    labels: list[str],
    qs: Iterable[float],
    more: list[str],
    values: NDArray[np.float64],
) -> None:
    for q, value in zip(qs, values.tolist(), strict=True):
        family.add_metric([*labels, f"{q:g}", *more], value)


def _add_counts(
    families: Mapping[str, CounterMetricFamily], labels: list[str], window: PathWindow
) -> None:
    """Add the counts of a series beside its ledger, those that are still 0 as well.

    A counter must be seen before its first step; but marks are many, and seen when they come.
    """
    for metric, family in families.items():
        attribute, values = COUNTS[metric]
        if metric == metrics.RESULTS and window.key.probe not in SERVICE_KINDS:
            continue
        for what in values or ("",):
            for direction in DIRECTIONS if metric in DIRECTED else ("",):
                count = window.counts[CountKey(metric, what, direction)]
                if count or attribute != metrics.ATTR_DSCP:
                    more = [label for label in (what, direction) if label]
                    family.add_metric([*labels, *more], count)
