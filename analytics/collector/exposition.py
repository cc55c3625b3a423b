"""Paths and probes for Prometheus; names from `netslo.metrics`.

Quantiles are gauges over the last five minutes and the last hour, for scrapers without native
histograms. What cannot be said has no sample. Under the `due` convention a lost packet
took forever: +Inf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from analytics.collector.live import Live, Recent
from analytics.collector.state import LABELS, HealthBoard
from analytics.horizons import HORIZONS
from analytics.store import WindowStore
from analytics.windows import SeriesKey
from netslo import metrics
from netslo.estate import Estate
from netslo.metrics import JITTER, RTT
from netslo.model import Outcome
from netslo.units import format_duration

_HORIZONS: Final = tuple(h for h in HORIZONS if h.length_s in (300, 3600))
RTT_QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)
JITTER_QUANTILES: Final = (0.5, 0.99)

_PATH_LABELS: Final = ("path", "src_site", "dst_site", "class", "scope", "probe")
_PROBE_LABELS: Final = ("site", "instance")


class PathCollector(Collector):
    """Collects the figures of every path of the estate from the store; from any thread."""

    def __init__(self, store: WindowStore, estate: Estate, live: Live) -> None:
        self._store = store
        self._estate = estate
        self._live = live

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples, so that registering reads no store."""
        return [_rtt_family(), _jitter_family(), *_packet_families()]

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        yield from self._gauges()
        yield from self._counters()

    def _gauges(self) -> Iterable[Metric]:
        rtt, jitter = _rtt_family(), _jitter_family()
        for horizon in _HORIZONS:
            recent = self._live.read(horizon)
            if recent is not None:
                window = format_duration(horizon.length_s)
                self._add_rtt(rtt, recent, window)
                self._add_jitter(jitter, recent, window)
        return rtt, jitter

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
        packets, duplicates, reordered = families = _packet_families()
        for key, counts in self._store.packet_totals().items():
            if self._estate.knows(key.path):
                labels = self._labels(key)
                for outcome in Outcome:
                    packets.add_metric([*labels, outcome], getattr(counts, outcome.value))
                duplicates.add_metric(labels, counts.duplicates)
                reordered.add_metric(labels, counts.reordered)
        return families

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
        return _health_families().values()

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        families = _health_families()
        for report in self._board.reports(self._clock()):
            for (name, *labels), value in report.values.items():
                families[name].add_metric([report.site, report.instance, *labels], value)
        return families.values()


def _add_quantiles(
    family: GaugeMetricFamily,
    labels: list[str],
    qs: Iterable[float],
    more: list[str],
    values: NDArray[np.float64],
) -> None:
    for q, value in zip(qs, values.tolist(), strict=True):
        family.add_metric([*labels, f"{q:g}", *more], value)


def _rtt_family() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        metrics.PROM_RTT_QUANTILE,
        "Round-trip time of a path over the last minutes; convention due counts lost as +Inf",
        labels=[*_PATH_LABELS, "quantile", "window", "convention"],
    )


def _jitter_family() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        metrics.PROM_JITTER,
        "Packet delay variation (RFC 5481) of a path over the last minutes",
        labels=[*_PATH_LABELS, "quantile", "window"],
    )


def _packet_families() -> tuple[CounterMetricFamily, CounterMetricFamily, CounterMetricFamily]:
    return (
        CounterMetricFamily(
            metrics.PROM_PACKETS,
            "Probe packets due, by what became of them",
            labels=[*_PATH_LABELS, metrics.ATTR_OUTCOME],
        ),
        CounterMetricFamily(
            metrics.PROM_DUPLICATES, "Answers that came again (RFC 5560)", labels=_PATH_LABELS
        ),
        CounterMetricFamily(
            metrics.PROM_REORDERED, "Answers out of order (RFC 4737)", labels=_PATH_LABELS
        ),
    )


def _health_families() -> dict[str, GaugeMetricFamily | CounterMetricFamily]:
    return {
        metrics.SEND_LATENESS: GaugeMetricFamily(
            metrics.PROM_PROBE_LATENESS,
            "The latest that a packet of the last report left after its due time",
            labels=_PROBE_LABELS,
        ),
        metrics.SPOOL_BATCHES: GaugeMetricFamily(
            metrics.PROM_PROBE_SPOOL, "Batches waiting for delivery", labels=_PROBE_LABELS
        ),
        metrics.SPOOL_HELD: GaugeMetricFamily(
            metrics.PROM_PROBE_HELD,
            "Batches held back, because they fail while others are taken",
            labels=_PROBE_LABELS,
        ),
        metrics.DISCARDED: CounterMetricFamily(
            metrics.PROM_PROBE_DISCARDED,
            "Packets that arrived and could not be used",
            labels=[*_PROBE_LABELS, *LABELS[metrics.DISCARDED]],
        ),
        metrics.LACKS: GaugeMetricFamily(
            metrics.PROM_PROBE_LACKS,
            "What the probe's host lacks for a better measurement; always 1",
            labels=[*_PROBE_LABELS, *LABELS[metrics.LACKS]],
        ),
        metrics.FLOW_RTT: GaugeMetricFamily(
            metrics.PROM_PROBE_FLOW_RTT,
            "Median round trip of each flow of a path with several: they may take other ways",
            labels=[*_PROBE_LABELS, *LABELS[metrics.FLOW_RTT]],
        ),
        metrics.FLOW_LOSS: GaugeMetricFamily(
            metrics.PROM_PROBE_FLOW_LOSS,
            "Loss of each flow of a path with several",
            labels=[*_PROBE_LABELS, *LABELS[metrics.FLOW_LOSS]],
        ),
        metrics.CLOCK_ERROR: GaugeMetricFamily(
            metrics.PROM_PROBE_CLOCK_ERROR,
            "Largest error of the wall clock",
            labels=_PROBE_LABELS,
        ),
        metrics.NOISE_FLOOR: GaugeMetricFamily(
            metrics.PROM_PROBE_NOISE_FLOOR,
            "Round trip of the probe's host to itself: no figure below three times that is sure",
            labels=[*_PROBE_LABELS, metrics.ATTR_QUANTILE],
        ),
    }
