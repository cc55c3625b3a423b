"""The peers, each called in the quickest way that its interface offers from Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from analytics.mapping import relative_error, representative

Values = NDArray[np.float64]
ALPHA = relative_error(7)
MICROSECONDS = 1e6


class Peer:
    """One sketch of one library; `prepared` values are what its interface takes."""

    name: ClassVar[str]
    size: ClassVar[int] = 10_000_000  # values to time it with; few for a slow one

    def prepared(self, values: Values) -> Any:
        return values

    def filled(self, prepared: Any) -> Any:
        raise NotImplementedError

    def quantiles(self, sketch: Any, qs: Sequence[float]) -> Any:
        raise NotImplementedError

    def merged(self, sketches: list[Any]) -> Any:
        raise NotImplementedError


class Kll(Peer):
    """Karnin, Lang, Liberty: bounded error of the rank."""

    name = "KLL (datasketches, k = 200)"

    def __init__(self) -> None:
        import datasketches

        self._new = datasketches.kll_doubles_sketch

    def filled(self, prepared: Any) -> Any:
        sketch = self._new(200)
        sketch.update(prepared)
        return sketch

    def quantiles(self, sketch: Any, qs: Sequence[float]) -> Any:
        return sketch.get_quantiles(qs)

    def merged(self, sketches: list[Any]) -> Any:
        total = self._new(200)
        for sketch in sketches:
            total.merge(sketch)
        return total


class Req(Peer):
    """Cormode et al.: bounded relative error of the rank, best at the high end."""

    name = "REQ (datasketches, k = 12)"

    def __init__(self) -> None:
        import datasketches

        self._new = datasketches.req_floats_sketch

    def prepared(self, values: Values) -> Any:
        return values.astype(np.float32)

    def filled(self, prepared: Any) -> Any:
        sketch = self._new(12, True)  # noqa: FBT003 - high ranks are the accurate ones
        sketch.update(prepared)
        return sketch

    def quantiles(self, sketch: Any, qs: Sequence[float]) -> Any:
        return sketch.get_quantiles(qs)

    def merged(self, sketches: list[Any]) -> Any:
        total = self._new(12, True)  # noqa: FBT003
        for sketch in sketches:
            total.merge(sketch)
        return total


class DatasketchesTDigest(Peer):
    name = "t-digest (datasketches, k = 200)"

    def __init__(self) -> None:
        import datasketches

        self._new = datasketches.tdigest_double

    def filled(self, prepared: Any) -> Any:
        sketch = self._new(200)
        sketch.update(prepared)
        return sketch

    def quantiles(self, sketch: Any, qs: Sequence[float]) -> Any:
        return [sketch.get_quantile(q) for q in qs]

    def merged(self, sketches: list[Any]) -> Any:
        total = self._new(200)
        for sketch in sketches:
            total.merge(sketch)
        return total


class FastDigest(Peer):
    """A t-digest in Rust, at the size which most t-digests have."""

    name = "fastdigest (100 centroids)"
    size = 1_000_000

    def __init__(self) -> None:
        import fastdigest

        self._new = fastdigest.TDigest.from_values
        self._merge_all = fastdigest.merge_all

    def filled(self, prepared: Any) -> Any:
        return self._new(prepared, max_centroids=100)

    def quantiles(self, sketch: Any, qs: Sequence[float]) -> Any:
        return sketch.quantile_vec(qs)

    def merged(self, sketches: list[Any]) -> Any:
        return self._merge_all(sketches)


class FastDigestLarge(FastDigest):
    name = "fastdigest (1,000 centroids)"

    def filled(self, prepared: Any) -> Any:
        return self._new(prepared, max_centroids=1000)


class Crick(Peer):
    """A t-digest in C."""

    name = "crick (t-digest, compression 100)"
    size = 1_000_000

    def __init__(self) -> None:
        import crick

        self._new = crick.TDigest

    def filled(self, prepared: Any) -> Any:
        sketch = self._new(100)
        sketch.update(prepared)
        return sketch

    def quantiles(self, sketch: Any, qs: Sequence[float]) -> Any:
        return sketch.quantile(qs)

    def merged(self, sketches: list[Any]) -> Any:
        total = self._new(100)
        total.merge(*sketches)
        return total


class _OneByOne(Peer):
    """A library that takes one value at a time."""

    def prepared(self, values: Values) -> Any:
        return values.tolist()


class DdSketch(_OneByOne):
    """Datadog's own, in Python, at the accuracy of our scale 7."""

    name = "ddsketch (same alpha)"
    size = 100_000

    def __init__(self) -> None:
        import ddsketch

        self._new = ddsketch.LogCollapsingLowestDenseDDSketch

    def filled(self, prepared: Any) -> Any:
        sketch = self._new(ALPHA, 8192)
        add = sketch.add
        for value in prepared:
            add(value)
        return sketch

    def quantiles(self, sketch: Any, qs: Sequence[float]) -> Any:
        return [sketch.get_quantile_value(q) for q in qs]

    def merged(self, sketches: list[Any]) -> Any:
        total = self._new(ALPHA, 8192)
        for sketch in sketches:
            total.merge(sketch)
        return total


class HdrHistogram(_OneByOne):
    """Whole microseconds up to an hour, three digits."""

    name = "hdrhistogram (3 digits, us)"
    size = 20_000

    def __init__(self) -> None:
        from hdrh.histogram import HdrHistogram as Histogram

        self._new = Histogram

    def prepared(self, values: Values) -> Any:
        return np.clip(np.rint(values * MICROSECONDS), 1, 3.6e9).astype(np.int64).tolist()

    def filled(self, prepared: Any) -> Any:
        sketch = self._new(1, 3_600_000_000, 3)
        record = sketch.record_value
        for value in prepared:
            record(value)
        return sketch

    def quantiles(self, sketch: Any, qs: Sequence[float]) -> Any:
        return [sketch.get_value_at_percentile(100 * q) / MICROSECONDS for q in qs]

    def merged(self, sketches: list[Any]) -> Any:
        total = self._new(1, 3_600_000_000, 3)
        for sketch in sketches:
            total.add(sketch)
        return total


class OpenTelemetry(_OneByOne):
    """The SDK's exponential histogram as it comes: 160 buckets, the scale falls to fit them."""

    name = "opentelemetry-sdk (160 buckets)"
    size = 20_000

    def __init__(self) -> None:
        from opentelemetry.context import Context
        from opentelemetry.sdk.metrics._internal import aggregation
        from opentelemetry.sdk.metrics._internal.exemplar.exemplar_reservoir import (
            SimpleFixedSizeExemplarReservoir,
        )
        from opentelemetry.sdk.metrics._internal.measurement import Measurement

        self._measurement = lambda value: Measurement(value, 0, None, Context(), None)
        self._new = lambda: aggregation._ExponentialBucketHistogramAggregation(  # noqa: SLF001
            {},
            SimpleFixedSizeExemplarReservoir,
            aggregation.AggregationTemporality.DELTA,
            0,
        )

    def prepared(self, values: Values) -> Any:
        return [self._measurement(value) for value in values.tolist()]

    def filled(self, prepared: Any) -> Any:
        sketch = self._new()
        aggregate = sketch.aggregate
        for measurement in prepared:
            aggregate(measurement, False)  # noqa: FBT003 - no exemplars
        return sketch

    def quantiles(self, sketch: Any, qs: Sequence[float]) -> Any:
        """Read the harmonic midpoint of the bucket: the best that its buckets can say."""
        point = sketch.collect(None, 1)
        counts = np.cumsum(point.positive.bucket_counts)
        ranks = np.floor(np.asarray(qs) * (point.count - 1))
        index = point.positive.offset + np.searchsorted(counts, ranks, side="right")
        return representative(index, point.scale)


class Prometheus(_OneByOne):
    """prometheus_client's default buckets; quantiles as PromQL's histogram_quantile has them."""

    name = "prometheus_client (15 buckets)"
    size = 100_000

    def __init__(self) -> None:
        import prometheus_client

        self._new = lambda: prometheus_client.Histogram("rtt_seconds", "RTT", registry=None)

    def filled(self, prepared: Any) -> Any:
        sketch = self._new()
        observe = sketch.observe
        for value in prepared:
            observe(value)
        return sketch

    def quantiles(self, sketch: Any, qs: Sequence[float]) -> Any:
        (family,) = sketch.collect()
        buckets = [sample for sample in family.samples if sample.name.endswith("_bucket")]
        ends = np.array([float(sample.labels["le"]) for sample in buckets])
        cumulative = np.array([sample.value for sample in buckets])
        ranks = np.asarray(qs) * cumulative[-1]
        # Linear inside a bucket; the last finite end stands for all beyond it.
        return np.interp(ranks, np.append(0.0, cumulative[:-1]), np.append(0.0, ends[:-1]))


PEERS: tuple[type[Peer], ...] = (
    Kll,
    Req,
    DatasketchesTDigest,
    FastDigest,
    FastDigestLarge,
    Crick,
    DdSketch,
    HdrHistogram,
    OpenTelemetry,
    Prometheus,
)
