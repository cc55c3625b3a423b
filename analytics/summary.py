"""A distribution as JSON: the shape Q of the command line and the API.

`{"count", "sum", "min", "max", "relative_error", "quantiles": {"0.5": {"value", "low", "high"}}}`,
in the unit of the values. What cannot be said is null, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analytics.order_statistics import enclosing_ranks, rank_of
from analytics.sketch import Sketch

if TYPE_CHECKING:  # a probe does without tables
    from analytics.table import SketchTable

DEFAULT_QUANTILES: Final = (0.5, 0.9, 0.99, 0.999)
LEVEL: Final = 0.95


def distribution(
    sketch: Sketch | None, qs: Sequence[float] = DEFAULT_QUANTILES, level: float = LEVEL
) -> dict[str, Any]:
    """Return shape Q of a sketch; None stands for an empty one."""
    if sketch is None or not sketch.count:
        unknown = {_name(q): _figures(None, None, None) for q in qs}
        return _shape(0, None, None, None, None, unknown)
    quantiles = {}
    for q, value in zip(qs, sketch.quantiles(qs).tolist(), strict=True):
        low, high = sketch.interval(q, level) if 0 < q < 1 else (None, None)
        quantiles[_name(q)] = _figures(value, low, high)
    return _shape(
        sketch.count, sketch.sum, sketch.min, sketch.max, sketch.relative_error, quantiles
    )


def distributions(
    table: SketchTable,
    keys: Sequence[int],
    qs: Sequence[float] = DEFAULT_QUANTILES,
    level: float = LEVEL,
) -> list[dict[str, Any]]:
    """Return shape Q of some keys of a table, all read at once."""
    values = table.quantiles(qs)
    ends = [table.intervals(q, level) if 0 < q < 1 else None for q in qs]
    columns = (table.count, table.sum, table.min, table.max, table.relative_errors())
    count, sum_, min_, max_, error = (column[keys].tolist() for column in columns)
    shapes = []
    for n, key in enumerate(keys):
        if not count[n]:
            shapes.append(distribution(None, qs))
            continue
        quantiles = {}
        for q, value, interval in zip(qs, values[key].tolist(), ends, strict=True):
            low, high = (math.nan, math.nan) if interval is None else (e[key] for e in interval)
            quantiles[_name(q)] = _figures(value, _known(low), _known(high))
        shapes.append(_shape(count[n], sum_[n], min_[n], max_[n], error[n], quantiles))
    return shapes


def exact_distribution(
    values: NDArray[np.float64], qs: Sequence[float] = DEFAULT_QUANTILES, level: float = LEVEL
) -> dict[str, Any]:
    """Return shape Q of finite values, shape (n,), without any error of a sketch."""
    count = len(values)
    if not count:
        return distribution(None, qs)
    ordered = np.sort(values)
    quantiles = {}
    for q in qs:
        low, high = enclosing_ranks(count, q, level) if 0 < q < 1 else (None, None)
        ranks = (rank_of(count, q), low, high)
        quantiles[_name(q)] = _figures(
            *(None if rank is None else float(ordered[rank]) for rank in ranks)
        )
    return _shape(count, float(values.sum()), float(ordered[0]), float(ordered[-1]), 0.0, quantiles)


def _known(end: float) -> float | None:
    return None if math.isnan(end) else float(end)


def _figures(value: float | None, low: float | None, high: float | None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


def _name(q: float) -> str:
    return f"{q:g}" if float(f"{q:g}") == q else repr(float(q))


def _shape(
    count: int,
    sum_: float | None,
    min_: float | None,
    max_: float | None,
    relative_error: float | None,
    quantiles: dict[str, Any],
) -> dict[str, Any]:
    return {
        "count": count,
        "sum": sum_ if sum_ is not None and math.isfinite(sum_) else None,
        "min": min_,
        "max": max_,
        "relative_error": relative_error,
        "quantiles": quantiles,
    }
