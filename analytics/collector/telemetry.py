"""The collector's own metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from analytics.collector.admission import Reason
from netslo import metrics

_COMMIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Telemetry:
    """Counters of one collector, in a registry of its own. Thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter(
            metrics.PROM_COLLECTOR_REQUESTS, "Requests to /v1/metrics by HTTP status", ["code"]
        )
        self._refused = self._counter(
            metrics.PROM_COLLECTOR_REFUSED, "Data points not counted, by reason", ["reason"]
        )
        for reason in Reason:
            self._refused.labels(reason)  # a counter must be seen before its first step
        self.received_bytes = self._counter(
            metrics.PROM_COLLECTOR_BYTES, "Bodies of requests, as they came"
        )
        self.windows = self._counter(metrics.PROM_COLLECTOR_WINDOWS, "Windows kept")
        self.duplicate_batches = self._counter(
            metrics.PROM_COLLECTOR_DUPLICATES, "Batches received again and not counted again"
        )
        self.commit_seconds = Histogram(
            metrics.PROM_COLLECTOR_COMMIT,
            "How long it took to make a batch durable",
            registry=self.registry,
            buckets=_COMMIT_BUCKETS,
        )
        self.last_commit = Gauge(
            metrics.PROM_COLLECTOR_LAST_COMMIT, "The last commit; 0 before", registry=self.registry
        )

    def answered(self, status: int) -> None:
        """Count a request by the status it got."""
        self._requests.labels(str(status)).inc()

    def refused(self, reason: Reason, points: int) -> None:
        """Count data points that were left out."""
        self._refused.labels(reason).inc(points)

    def _counter(self, name: str, text: str, labels: list[str] | None = None) -> Counter:
        return Counter(name, text, labels or [], registry=self.registry)
