"""Prometheus' protobuf exposition: length-delimited `io.prometheus.client.MetricFamily`.

The only format in which Prometheus scrapes native histograms; it asks for it by its Accept header
when they are enabled. Everything that the text formats have is in it, too (client_model,
metrics.proto).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from analytics.prometheus.families import NativeFamily
from analytics.prometheus.native import ZERO_THRESHOLD, NativeHistogram, SparseBuckets
from analytics.prometheus.wire import double, octets, sint, text, uint, varint

CONTENT_TYPE: Final = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

_COUNTER, _GAUGE, _SUMMARY, _UNTYPED, _HISTOGRAM = range(5)  # MetricType, and their fields below
_TYPES: Final = {"counter": _COUNTER, "gauge": _GAUGE, "unknown": _UNTYPED}
_FIELDS: Final = {_COUNTER: 3, _GAUGE: 2, _UNTYPED: 5}
_SUMMARY_FIELD, _HISTOGRAM_FIELD = 4, 7


def encode_exposition(registry: CollectorRegistry, native: Iterable[NativeFamily]) -> bytes:
    """Return all that a registry collects, and the native histograms."""
    families = itertools.chain(
        itertools.chain.from_iterable(_families(metric) for metric in registry.collect()),
        (_native_family(family) for family in native if family.series),
    )
    return b"".join(varint(len(family)) + family for family in families)


def _families(metric: Metric) -> Iterator[bytes]:
    """Yield a family; samples of other names, such as `_created`, are families of their own."""
    rest = [s for s in metric.samples if s.name.endswith("_created")]
    own = [s for s in metric.samples if not s.name.endswith("_created")]
    if own and metric.type == "histogram":
        yield _family(metric.name, metric.documentation, _HISTOGRAM, _histograms(own))
    elif own and metric.type == "summary":
        yield _family(metric.name, metric.documentation, _SUMMARY, _summaries(own))
    else:
        kind = _TYPES.get(metric.type, _GAUGE)
        for name, samples in itertools.groupby(own, key=lambda sample: sample.name):
            yield _family(name, metric.documentation, kind, _numbers(samples, kind))
    for name, samples in itertools.groupby(rest, key=lambda sample: sample.name):
        yield _family(name, metric.documentation, _GAUGE, _numbers(samples, _GAUGE))


def _family(name: str, about: str, kind: int, metrics: Iterable[bytes]) -> bytes:
    head = text(1, name) + text(2, about) + uint(3, kind)
    return head + b"".join(octets(4, metric) for metric in metrics)


def _labels(labels: Mapping[str, str]) -> bytes:
    return b"".join(octets(1, text(1, k) + text(2, v)) for k, v in labels.items())


def _numbers(samples: Iterable[Sample], kind: int) -> Iterator[bytes]:
    for sample in samples:
        yield _labels(sample.labels) + octets(_FIELDS[kind], double(1, sample.value))


def _grouped(samples: Iterable[Sample], by: str) -> Iterator[tuple[dict[str, str], list[Sample]]]:
    """Yield the samples of each histogram or summary: those that differ by one label only."""
    found: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        found.setdefault(tuple((k, v) for k, v in sample.labels.items() if k != by), []).append(
            sample
        )
    for labels, together in found.items():
        yield dict(labels), together


def _value(samples: Iterable[Sample], suffix: str) -> float:
    return next((s.value for s in samples if s.name.endswith(suffix)), 0.0)


def _histograms(samples: Iterable[Sample]) -> Iterator[bytes]:
    for labels, together in _grouped(samples, "le"):
        body = uint(1, int(_value(together, "_count"))) + double(2, _value(together, "_sum"))
        for sample in together:
            if sample.name.endswith("_bucket"):
                bucket = uint(1, int(sample.value)) + double(2, float(sample.labels["le"]))
                body += octets(3, bucket)
        yield _labels(labels) + octets(_HISTOGRAM_FIELD, body)


def _summaries(samples: Iterable[Sample]) -> Iterator[bytes]:
    for labels, together in _grouped(samples, "quantile"):
        body = uint(1, int(_value(together, "_count"))) + double(2, _value(together, "_sum"))
        for sample in together:
            if "quantile" in sample.labels:
                quantile = double(1, float(sample.labels["quantile"])) + double(2, sample.value)
                body += octets(3, quantile)
        yield _labels(labels) + octets(_SUMMARY_FIELD, body)


def _native_family(family: NativeFamily) -> bytes:
    metrics = (
        _labels(labels) + octets(_HISTOGRAM_FIELD, _native(histogram))
        for labels, histogram in family.series
    )
    return _family(family.name, family.text, _HISTOGRAM, metrics)


def _native(histogram: NativeHistogram) -> bytes:
    return (
        uint(1, histogram.count)
        + double(2, histogram.sum)
        + sint(5, histogram.schema)
        + double(6, ZERO_THRESHOLD)
        + uint(7, histogram.zero_count)
        + buckets(histogram.negative, 9)
        + buckets(histogram.positive, 12)
    )


def buckets(side: SparseBuckets, field: int) -> bytes:
    """Encode spans at `field` and deltas at the next: so they lie in every message of theirs."""
    spans = b"".join(octets(field, sint(1, gap) + uint(2, length)) for gap, length in side.spans)
    return spans + (octets(field + 1, side.deltas) if side.deltas else b"")
