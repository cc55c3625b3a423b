"""Routes and capacity of paths for Prometheus; names from `netslo.metrics`.

A gauge goes when nothing has said it for three times its interval, and at the least for 15 minutes
(routes) or 3 hours (capacity). The counter of changes never goes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from analytics.collector.families import PATH_LABELS
from analytics.store import WindowStore
from netslo import metrics
from netslo.estate import Estate
from netslo.model import Path


class CapacityCollector(Collector):
    """Collects them from the store; from any thread."""

    def __init__(self, store: WindowStore, estate: Estate, clock: Callable[[], float]) -> None:
        self._store = store
        self._estate = estate
        self._clock = clock

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples."""
        return [*_route_families(), *_reading_families().values(), _capacity_family()]

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        return [*self._routes(), *self._readings()]

    def _routes(self) -> Iterable[Metric]:
        hops, mtu, changes = families = _route_families()
        now_s, mtus = self._clock(), dict[Path, int]()
        for latest in self._store.routes():
            path, route = latest.told.path, latest.told.route
            if latest.stale_s < now_s or not self._estate.knows(path):
                continue
            labels = [
                *self._labels(path, metrics.PROBE_TRACE),
                route.protocol.value,
                str(route.flow),
            ]
            hops.add_metric(labels, len(route.hops))
            if route.path_mtu is not None:
                mtus[path] = min(route.path_mtu, mtus.get(path, route.path_mtu))
        for path, octets in mtus.items():
            mtu.add_metric(self._labels(path, metrics.PROBE_TRACE), octets)
        for path, count in self._store.path_change_totals().items():
            if self._estate.knows(path):
                changes.add_metric(self._labels(path, metrics.PROBE_TRACE), count)
        return families

    def _readings(self) -> Iterable[Metric]:
        families, now_s = _reading_families(), self._clock()
        capacity, measured = _capacity_family(), set[Path]()
        for latest in self._store.latest_readings():
            reading = latest.told
            if not self._estate.knows(reading.path):
                continue
            measured.add(reading.path)
            if latest.stale_s >= now_s:
                more = [reading.direction, reading.method]
                if reading.metric == metrics.LOADED_RTT:
                    more += [reading.state, reading.quantile]
                labels = [*self._labels(reading.path, metrics.PROBE_BANDWIDTH), *more]
                families[reading.metric].add_metric(labels, reading.value)
        for path in sorted(measured):
            bits_per_s = self._estate.link_capacity(path)
            if bits_per_s is not None:
                capacity.add_metric(self._labels(path, metrics.PROBE_BANDWIDTH), bits_per_s)
        return *families.values(), capacity

    def _labels(self, path: Path, probe: str) -> list[str]:
        scope = self._estate.scope(path).value
        return [path.id, path.src, path.dst, path.traffic_class, scope, probe]


def _route_families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, CounterMetricFamily]:
    return (
        GaugeMetricFamily(
            metrics.PROM_PATH_HOPS,
            "Routers on the way of a flow, and its end where that was reached",
            labels=[*PATH_LABELS, metrics.ATTR_PROTOCOL, metrics.ATTR_FLOW],
        ),
        GaugeMetricFamily(
            metrics.PROM_PATH_MTU,
            "The largest packet that passes unfragmented, of a path's flows the least",
            labels=PATH_LABELS,
        ),
        CounterMetricFamily(
            metrics.PROM_PATH_CHANGES,
            "How often a flow of a path was seen to take another route than before",
            labels=PATH_LABELS,
        ),
    )


def _capacity_family() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        metrics.PROM_LINK_CAPACITY,
        "What the link between the sites of a measured path carries, by the estate's own word",
        labels=PATH_LABELS,
    )


def _reading_families() -> dict[str, GaugeMetricFamily]:
    labels = [*PATH_LABELS, metrics.ATTR_DIRECTION, metrics.ATTR_METHOD]
    return {
        metrics.BANDWIDTH: GaugeMetricFamily(
            metrics.PROM_BANDWIDTH, "What a path can carry, as it was last measured", labels=labels
        ),
        metrics.LOADED_RTT: GaugeMetricFamily(
            metrics.PROM_LOADED_RTT,
            "Round-trip time of a path that is idle, and while a bandwidth test loads it",
            labels=[*labels, metrics.ATTR_STATE, metrics.ATTR_QUANTILE],
        ),
    }
