"""Our distributions as Prometheus' native histograms.

The two are the same but for names: OpenTelemetry's scale is the schema, its bucket i, which holds
base**i < v <= base**(i + 1), is Prometheus' bucket i + 1, named after its upper end. Prometheus
knows the schemas -4 to 8; what is finer is halved, losslessly, and what is coarser cannot be said
("Native Histograms", prometheus.io/docs/specs).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.layouts import Runs
from analytics.mapping import SMALLEST_NORMAL
from analytics.merging import halved
from analytics.prometheus.wire import varints, zigzags
from analytics.tables import Distributions, Side

SCHEMA_MIN: Final = -4
SCHEMA_MAX: Final = 8
ZERO_THRESHOLD: Final = SMALLEST_NORMAL  # what a sketch counts as zero is smaller than this


@dataclass(frozen=True, slots=True)
class SparseBuckets:
    """The filled buckets of one sign, as Prometheus writes them.

    A span is (buckets left out before it, or for the first its index; its length). A delta is a
    count minus the one before it, zigzag and packed as protobuf has it.
    """

    spans: tuple[tuple[int, int], ...] = ()
    deltas: bytes = b""


@dataclass(frozen=True, slots=True)
class NativeHistogram:
    """One integer native histogram; `sum` in the unit of what was counted."""

    schema: int
    count: int
    sum: float
    zero_count: int
    positive: SparseBuckets
    negative: SparseBuckets


def native_histograms(
    table: Distributions, schema_max: int = SCHEMA_MAX
) -> Iterator[NativeHistogram | None]:
    """Yield each row as a native histogram, None where its scale is too coarse for Prometheus.

    Args:
        table: The distributions.
        schema_max: The finest schema to write, from -4 to 8: a coarser one has fewer buckets.

    Raises:
        ValueError: no such schema.
    """
    if not SCHEMA_MIN <= schema_max <= SCHEMA_MAX:
        raise ValueError(f"schema_max is {schema_max}, must be from {SCHEMA_MIN} to {SCHEMA_MAX}")
    rows = len(table.stream)
    schemas = np.minimum(table.scale, schema_max)
    sides = [_sparse(side, table.scale, schemas) for side in (table.positive, table.negative)]
    totals = [_totals(side) for side in (table.positive, table.negative)]
    zero = table.statistics.zero_count
    counts = (totals[0] + totals[1] + zero).tolist()
    for row in range(rows):
        if schemas[row] < SCHEMA_MIN:
            yield None
            continue
        yield NativeHistogram(
            int(schemas[row]),
            counts[row],
            float(table.statistics.sum[row]),
            int(zero[row]),
            sides[0][row],
            sides[1][row],
        )


def _totals(side: Side) -> NDArray[np.uint64]:
    """Return how many values each row counts."""
    sums = np.zeros(len(side.counts) + 1, dtype=np.uint64)
    np.cumsum(side.counts, out=sums[1:])
    totals: NDArray[np.uint64] = sums[side.offsets[1:]] - sums[side.offsets[:-1]]
    return totals


def _sparse(
    side: Side, scales: NDArray[np.int64], schemas: NDArray[np.int64]
) -> list[SparseBuckets]:
    """Write the filled buckets of each row."""
    found = [SparseBuckets()] * len(scales)
    for scale, schema in set(zip(scales.tolist(), schemas.tolist(), strict=True)):
        rows = np.flatnonzero((scales == scale) & (schemas == schema))
        part = side.taken(rows)
        runs = halved(Runs(scale, part.first, part.offsets, part.counts), scale - schema)
        for row, buckets in zip(rows.tolist(), _written(runs), strict=True):
            found[row] = buckets
    return found


def _written(runs: Runs) -> Iterator[SparseBuckets]:
    filled = np.flatnonzero(runs.counts)
    row_of = np.searchsorted(runs.offsets, filled, side="right") - 1
    index = filled - runs.offsets[row_of] + runs.first[row_of] + 1
    counts = runs.counts[filled].astype(np.int64)
    begins = np.searchsorted(row_of, np.arange(len(runs) + 1))
    first_of_row = np.zeros(len(filled), dtype=np.bool_)
    first_of_row[begins[:-1][begins[:-1] < begins[1:]]] = True
    deltas = np.diff(counts, prepend=0)
    deltas[first_of_row] = counts[first_of_row]
    gaps = np.diff(index, prepend=0) - 1
    gaps[first_of_row] = index[first_of_row]
    octets, places = varints(zigzags(deltas))
    written = octets.tobytes()
    span_begins = np.flatnonzero(first_of_row | (gaps != 0))
    span_ends = np.append(span_begins[1:], len(filled))
    spans = list(zip(gaps[span_begins].tolist(), (span_ends - span_begins).tolist(), strict=True))
    spans_of_row = np.searchsorted(span_begins, begins).tolist()
    place_of_row = places[begins].tolist()
    for row in range(len(runs)):
        a, b = spans_of_row[row], spans_of_row[row + 1]
        yield SparseBuckets(tuple(spans[a:b]), written[place_of_row[row] : place_of_row[row + 1]])
