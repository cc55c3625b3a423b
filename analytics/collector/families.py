"""What the collector publishes: the families, with their texts and labels, without samples."""

from __future__ import annotations

from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from analytics.collector.state import LABELS
from analytics.otlp.instruments import COUNTS, DIRECTED
from analytics.streams import Gauge
from netslo import metrics

PATH_LABELS: Final = ("path", "src_site", "dst_site", "class", "scope", "probe")
_PROBE_LABELS: Final = ("site", "instance")


def count_families() -> dict[str, CounterMetricFamily]:
    """Return a family for each metric of counts beside the ledger."""
    texts = {
        metrics.DIRECTED_LOSS: (metrics.PROM_DIRECTED_LOSS, "Packets lost, by the way they took"),
        metrics.TRANSITIONS: (
            metrics.PROM_TRANSITIONS,
            "What followed what of packets in a row: Gilbert's p and r are ratios of these",
        ),
        metrics.NEGATIVE_DELAYS: (
            metrics.PROM_NEGATIVE_DELAYS,
            "Packets that came before they left, by the clocks at both ends",
        ),
        metrics.WITHHELD_DELAYS: (
            metrics.PROM_WITHHELD_DELAYS,
            "Packets whose one-way delay is not told, by the clocks' fault",
        ),
        metrics.REMARKED: (
            metrics.PROM_REMARKED,
            "Packets that arrived with another DSCP than they left with, by what they had",
        ),
        metrics.TTL_CHANGES: (
            metrics.PROM_TTL_CHANGES,
            "How often the TTL at arrival changed: the path has another length",
        ),
        metrics.SET_ASIDE: (
            metrics.PROM_SET_ASIDE,
            "Packets that count as unmeasured because they are no evidence, by the cause",
        ),
        metrics.RESULTS: (
            metrics.PROM_RESULTS,
            "Requests to a service, by how they ended; all but ok are lost",
        ),
    }
    return {
        metric: CounterMetricFamily(name, text, labels=[*PATH_LABELS, *_count_labels(metric)])
        for metric, (name, text) in texts.items()
    }


def _count_labels(metric: str) -> list[str]:
    attribute, _ = COUNTS[metric]
    direction = [metrics.ATTR_DIRECTION] if metric in DIRECTED else []
    return [attribute, *direction] if attribute else direction


def state_families() -> dict[Gauge, GaugeMetricFamily]:
    """Return a family for each state of a series, of which the latest counts."""
    texts = {
        Gauge.INTERARRIVAL_JITTER: (
            metrics.PROM_INTERARRIVAL_JITTER,
            "Interarrival jitter (RFC 3550) where the last window ended",
        ),
        Gauge.DELAY_ERROR: (
            metrics.PROM_DELAY_ERROR,
            "How far any one-way delay may be off, by the clocks' own words",
        ),
        Gauge.CLOCK_OFFSET: (
            metrics.PROM_CLOCK_OFFSET,
            "The far clock less ours, by the quickest round trip of the last window",
        ),
        Gauge.CLOCK_OFFSET_ERROR: (
            metrics.PROM_CLOCK_OFFSET_ERROR,
            "How far that may be off: half the round trip",
        ),
    }
    return {
        gauge: GaugeMetricFamily(name, text, labels=PATH_LABELS)
        for gauge, (name, text) in texts.items()
    }


def one_way_families() -> dict[str, GaugeMetricFamily]:
    labels = [*PATH_LABELS, metrics.ATTR_DIRECTION, "quantile", "window"]
    return {
        metrics.DELAY: GaugeMetricFamily(
            metrics.PROM_DELAY_QUANTILE,
            "One-way delay of a path over the last minutes, where both clocks allow to tell it",
            labels=labels,
        ),
        metrics.DELAY_VARIATION: GaugeMetricFamily(
            metrics.PROM_DELAY_VARIATION_QUANTILE,
            "One-way delay variation (RFC 5481) of a path over the last minutes, where not",
            labels=labels,
        ),
    }


def rtt_family() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        metrics.PROM_RTT_QUANTILE,
        "Round-trip time of a path over the last minutes; convention due counts lost as +Inf",
        labels=[*PATH_LABELS, "quantile", "window", "convention"],
    )


def jitter_family() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        metrics.PROM_JITTER,
        "Packet delay variation (RFC 5481) of a path over the last minutes",
        labels=[*PATH_LABELS, "quantile", "window"],
    )


def packet_families() -> tuple[CounterMetricFamily, CounterMetricFamily, CounterMetricFamily]:
    return (
        CounterMetricFamily(
            metrics.PROM_PACKETS,
            "Probe packets due, by what became of them",
            labels=[*PATH_LABELS, metrics.ATTR_OUTCOME],
        ),
        CounterMetricFamily(
            metrics.PROM_DUPLICATES, "Answers that came again (RFC 5560)", labels=PATH_LABELS
        ),
        CounterMetricFamily(
            metrics.PROM_REORDERED, "Answers out of order (RFC 4737)", labels=PATH_LABELS
        ),
    )


def arrival_families() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily(
            metrics.PROM_PROBE_LAST_WINDOW,
            "Where the last window ends that the probe of a site delivered",
            labels=["src_site"],
        ),
        GaugeMetricFamily(
            metrics.PROM_PROBE_LATE_ARRIVAL,
            "When the probe of a site last delivered windows that were over for minutes",
            labels=["src_site"],
        ),
    )


def health_families() -> dict[str, GaugeMetricFamily | CounterMetricFamily]:
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
        metrics.TRACES: CounterMetricFamily(
            metrics.PROM_PROBE_TRACES,
            "Traces of routes, by whether every flow reached the far site",
            labels=[*_PROBE_LABELS, *LABELS[metrics.TRACES]],
        ),
        metrics.LACKS: GaugeMetricFamily(
            metrics.PROM_PROBE_LACKS,
            "What the probe's host lacks for a better measurement; always 1",
            labels=[*_PROBE_LABELS, *LABELS[metrics.LACKS]],
        ),
        metrics.TESTS: CounterMetricFamily(
            metrics.PROM_PROBE_TESTS,
            "Regular bandwidth tests, by how they ended",
            labels=[*_PROBE_LABELS, *LABELS[metrics.TESTS]],
        ),
        metrics.BUDGET: GaugeMetricFamily(
            metrics.PROM_PROBE_BUDGET,
            "What bandwidth tests of the site may take in a UTC day",
            labels=_PROBE_LABELS,
        ),
        metrics.BUDGET_USED: GaugeMetricFamily(
            metrics.PROM_PROBE_BUDGET_USED,
            "What they took of it today, from the shell as well",
            labels=_PROBE_LABELS,
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
        metrics.CERTIFICATE_EXPIRY: GaugeMetricFamily(
            metrics.PROM_PROBE_CERTIFICATE,
            "When the certificate of a service expires, as it was last seen from a site",
            labels=[*_PROBE_LABELS, *LABELS[metrics.CERTIFICATE_EXPIRY]],
        ),
        metrics.NOISE_FLOOR: GaugeMetricFamily(
            metrics.PROM_PROBE_NOISE_FLOOR,
            "Round trip of the probe's host to itself: no figure below three times that is sure",
            labels=[*_PROBE_LABELS, metrics.ATTR_QUANTILE],
        ),
    }
