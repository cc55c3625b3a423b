"""The probe's own health as OpenTelemetry metrics, through the same door as its windows.

Health is best effort: it is never spooled, and a report that does not arrive is counted, not
repeated. What matters for a measurement (lost, unmeasured) travels in the windows.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import zstandard
from numpy.typing import ArrayLike
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from netslo import __version__, metrics
from probes.export import metrics_url
from probes.flows import FlowFigures

INTERVAL_S: Final = 10.0
POST_TIMEOUT_S: Final = 2.0
_LATENESS_MAX: Final = 1000  # values counted at a time: the SDK takes microseconds for each

FLOWS_MAX: Final = 256  # of one site, in its health
CERTIFICATES_MAX: Final = 256  # of one site; of more, those that expire first

_ATTR_REASON: Final = "reason"
_ATTR_NOTICE: Final = "notice"
_ATTR_PATH: Final = "path"
_ATTR_FLOW: Final = "flow"


class ProbeHealth:
    """Instruments of one site's probe, reported every `interval_s`.

    Every method may be called from any thread; none waits for the network but `report` and
    `shutdown`.
    """

    def __init__(
        self, site: str, instance_id: str, url: str, *, interval_s: float = INTERVAL_S
    ) -> None:
        """Begin to report to the collector at `url`, such as `http://host:4318`."""
        self._exporter = _PostingExporter(metrics_url(url))
        reader = PeriodicExportingMetricReader(
            self._exporter,
            export_interval_millis=interval_s * 1000,
            export_timeout_millis=POST_TIMEOUT_S * 1000,
        )
        self._provider = MeterProvider(
            metric_readers=[reader],
            # Not Resource.create, which would mix in what the environment says.
            resource=Resource(
                {
                    metrics.ATTR_SERVICE_NAME: metrics.SERVICE_NAME,
                    metrics.ATTR_INSTANCE: instance_id,
                    metrics.ATTR_SITE: site,
                }
            ),
            shutdown_on_exit=False,
            views=[
                View(
                    instrument_name=metrics.SEND_LATENESS,
                    aggregation=ExponentialBucketHistogramAggregation(),
                )
            ],
        )
        meter = self._provider.get_meter("netslo", __version__)
        self._lateness = meter.create_histogram(
            metrics.SEND_LATENESS, "s", "How long after its due time a probe packet left"
        )
        self._discarded = meter.create_counter(
            metrics.DISCARDED, "{packet}", "Packets that arrived and could not be used"
        )
        self._traces = meter.create_counter(
            metrics.TRACES, "{trace}", "Traces of routes, by what came of them"
        )
        self._tests = meter.create_counter(
            metrics.TESTS, "{test}", "Regular bandwidth tests, by how they ended"
        )
        self._read_budget: Callable[[], tuple[int, int] | None] | None = None
        meter.create_observable_gauge(
            metrics.BUDGET, [self._observe_budget], "By", "What tests may take in a UTC day"
        )
        meter.create_observable_gauge(
            metrics.BUDGET_USED, [self._observe_used], "By", "What tests took today"
        )
        self._spool_depth: int | None = None
        self._spool_held = 0
        self._clock_error_s: float | None = None
        self._notices: tuple[str, ...] = ()
        self._flows: Sequence[FlowFigures] = ()
        meter.create_observable_gauge(
            metrics.LACKS, [self._observe_notices], "1", "What the host lacks for a measurement"
        )
        meter.create_observable_gauge(
            metrics.FLOW_RTT, [self._observe_flow_rtt], "s", "Median round trip of a path's flow"
        )
        meter.create_observable_gauge(
            metrics.FLOW_LOSS, [self._observe_flow_loss], "1", "Loss ratio of a path's flow"
        )
        self._certificates: dict[str, float] = {}  # by path
        meter.create_observable_gauge(
            metrics.CERTIFICATE_EXPIRY,
            [self._observe_certificates],
            "s",
            "When the certificate of a service expires, Unix time",
        )
        self._floor_s: dict[str, float] = {}  # by quantile
        meter.create_observable_gauge(
            metrics.SPOOL_BATCHES, [self._observe_spool], "{batch}", "Batches waiting for delivery"
        )
        meter.create_observable_gauge(
            metrics.SPOOL_HELD, [self._observe_held], "{batch}", "Batches held back: they fail"
        )
        meter.create_observable_gauge(
            metrics.CLOCK_ERROR, [self._observe_clock], "s", "Largest error of the wall clock"
        )
        meter.create_observable_gauge(
            metrics.NOISE_FLOOR, [self._observe_floor], "s", "Round trip of the host to itself"
        )

    @property
    def reports(self) -> int:
        """Reports the collector took."""
        return self._exporter.delivered

    @property
    def failures(self) -> int:
        """Reports that did not arrive."""
        return self._exporter.failures

    def record_lateness(self, seconds: ArrayLike) -> None:
        """Count how late packets left: one value, or shape (n,), in seconds.

        Of very many, an even share is counted, and always the latest.
        """
        late_s = np.sort(np.ravel(np.asarray(seconds, dtype=np.float64)))
        step = -(-late_s.size // _LATENESS_MAX) or 1
        for each_s in late_s[::-1][::step].tolist():
            self._lateness.record(max(0.0, each_s))

    def set_spool_depth(self, batches: int, held: int = 0) -> None:
        """State how many batches wait, and how many of them are held back because they fail."""
        self._spool_depth, self._spool_held = batches, held

    def set_clock_error(self, seconds: float | None) -> None:
        """State the largest error of the wall clock; None where it is not known."""
        self._clock_error_s = seconds

    def set_noise_floor(self, quantiles: Mapping[str, float | None]) -> None:
        """State the host's own round trip by quantile, seconds; None where it is not known."""
        self._floor_s = {q: value_s for q, value_s in quantiles.items() if value_s is not None}

    def note_certificates(self, expires_s: Mapping[str, float]) -> None:
        """State when the certificates of services expire, Unix time by path; others stay."""
        self._certificates = {**self._certificates, **expires_s}

    def keep_certificates(self, paths: Iterable[str]) -> None:
        """Forget the certificates of any other paths than these."""
        kept = set(paths)
        self._certificates = {p: s for p, s in self._certificates.items() if p in kept}

    def count_discarded(self, reason: str, packets: int = 1) -> None:
        """Count packets that arrived and could not be used; `reason` is one of a few."""
        self._discarded.add(packets, {_ATTR_REASON: reason})

    def count_trace(self, result: str) -> None:
        """Count a trace of a path's routes; `result` is one of a few."""
        self._traces.add(1, {metrics.ATTR_RESULT: result})

    def count_test(self, outcome: str) -> None:
        """Count a regular bandwidth test; `outcome` is one of a few."""
        self._tests.add(1, {metrics.ATTR_OUTCOME: outcome})

    def follow_budget(self, read: Callable[[], tuple[int, int] | None]) -> None:
        """Report what `read` returns at each report: the limit and what is used, octets."""
        self._read_budget = read

    def set_notices(self, notices: Sequence[str]) -> None:
        """State what this host cannot do for a measurement."""
        self._notices = tuple(notices)

    def set_flows(self, figures: Sequence[FlowFigures]) -> None:
        """State how the flows of paths with several did; of very many, the most unequal paths."""
        self._flows = most_unequal(figures)

    def report(self) -> None:
        """Report now, and wait for it."""
        self._provider.force_flush()

    def shutdown(self) -> None:
        """Report once more and end; takes at most about the time of one request."""
        self._provider.shutdown(timeout_millis=2 * POST_TIMEOUT_S * 1000)

    def _observe_spool(self, _options: CallbackOptions) -> Iterable[Observation]:
        return () if self._spool_depth is None else (Observation(self._spool_depth),)

    def _observe_budget(self, _options: CallbackOptions) -> Iterable[Observation]:
        found = None if self._read_budget is None else self._read_budget()
        return () if found is None else (Observation(found[0]),)

    def _observe_used(self, _options: CallbackOptions) -> Iterable[Observation]:
        found = None if self._read_budget is None else self._read_budget()
        return () if found is None else (Observation(found[1]),)

    def _observe_notices(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(1, {_ATTR_NOTICE: notice}) for notice in self._notices]

    def _observe_flow_rtt(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(each.rtt_s, {_ATTR_PATH: each.path, _ATTR_FLOW: each.flow})
            for each in self._flows
            if each.rtt_s is not None
        ]

    def _observe_flow_loss(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(each.loss_ratio, {_ATTR_PATH: each.path, _ATTR_FLOW: each.flow})
            for each in self._flows
            if each.loss_ratio is not None
        ]

    def _observe_held(self, _options: CallbackOptions) -> Iterable[Observation]:
        return () if self._spool_depth is None else (Observation(self._spool_held),)

    def _observe_clock(self, _options: CallbackOptions) -> Iterable[Observation]:
        return () if self._clock_error_s is None else (Observation(self._clock_error_s),)

    def _observe_certificates(self, _options: CallbackOptions) -> Iterable[Observation]:
        found = sorted(self._certificates.items(), key=lambda item: item[1])[:CERTIFICATES_MAX]
        return [Observation(expires_s, {_ATTR_PATH: path}) for path, expires_s in found]

    def _observe_floor(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(value_s, {metrics.ATTR_QUANTILE: q}) for q, value_s in self._floor_s.items()
        ]


def most_unequal(figures: Sequence[FlowFigures]) -> list[FlowFigures]:
    """Return the flows of as many paths as fit, first those whose flows differ most."""
    by_path: dict[str, list[FlowFigures]] = {}
    for each in figures:
        by_path.setdefault(each.path, []).append(each)
    chosen: list[FlowFigures] = []
    for flows in sorted(by_path.values(), key=_inequality, reverse=True):
        if len(chosen) + len(flows) > FLOWS_MAX:
            break
        chosen += flows
    return chosen


def _inequality(flows: Sequence[FlowFigures]) -> tuple[float, float]:
    """Return how much the flows of a path differ, in loss and then in delay."""
    losses = [each.loss_ratio for each in flows if each.loss_ratio is not None]
    rtts_s = [each.rtt_s for each in flows if each.rtt_s is not None]
    return (
        max(losses, default=0.0) - min(losses, default=0.0),
        max(rtts_s, default=0.0) - min(rtts_s, default=0.0),
    )


class _PostingExporter(MetricExporter):
    """Posts each report once, on a connection of its own, with no proxy in between."""

    def __init__(self, url: str) -> None:
        # The largest lateness of each interval is news, that of the whole run is not.
        super().__init__(preferred_temporality={Histogram: AggregationTemporality.DELTA})
        self.delivered = 0
        self.failures = 0
        self._url = urlsplit(url)
        self._compressor = zstandard.ZstdCompressor(level=3)

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = POST_TIMEOUT_S * 1000,
        **_kwargs: Any,
    ) -> MetricExportResult:
        body = self._compressor.compress(encode_metrics(metrics_data).SerializeToString())
        try:
            status = self._post(body, min(timeout_millis / 1000, POST_TIMEOUT_S))
        except (OSError, http.client.HTTPException):
            status = None
        if status != http.client.OK:
            self.failures += 1
            return MetricExportResult.FAILURE
        self.delivered += 1
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        del timeout_millis  # nothing waits here
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_kwargs: Any) -> None:
        """Nothing is held open between reports."""

    def _post(self, body: bytes, timeout_s: float) -> int:
        kind = (
            http.client.HTTPSConnection
            if self._url.scheme == "https"
            else http.client.HTTPConnection
        )
        connection = kind(self._url.netloc.rpartition("@")[2], timeout=timeout_s)
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "zstd"}
        try:
            connection.request("POST", self._url.path, body, headers)
            return connection.getresponse().status
        finally:
            connection.close()
