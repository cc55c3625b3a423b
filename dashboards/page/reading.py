"""Figures of all paths from one look at a horizon, worked out by column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analytics.collector.live import Recent
from analytics.figures import could_be_floor
from dashboards.page.figures import Quantile
from netslo.metrics import JITTER, RTT
from netslo.model import Path

_QS: Final = (0.5, 0.99, 0.999)
_FIELDS: Final = (("p50", "0.5"), ("p99", "0.99"), ("p999", "0.999"))


class Reader:
    """The figures of all paths over one horizon, worked out at once."""

    def __init__(self, recent: Recent, floors: Mapping[str, Mapping[str, float | None]]) -> None:
        self._recent = recent
        self._floors = floors

    def read(self) -> dict[Path, dict[str, Any]]:
        """Return the figures by path; of two probes of one path, those with more packets."""
        recent, view = self._recent, self._recent.view
        rtt, jitter = recent.leading(RTT), recent.leading(JITTER)
        quantiles = view.quantiles(_QS)
        values = said_of(rows_of(quantiles, rtt))
        jitters = said_of(rows_of(quantiles, jitter)[:, 1])
        bounds = [said_of(rows_of(np.column_stack(view.intervals(q)), rtt)) for q in _QS]
        counts = view.counts()[rtt] if len(view.rows) else np.zeros(len(rtt), dtype=np.int64)
        samples = np.where(rtt >= 0, counts, 0).tolist()
        ledger = recent.ledger()
        packets, due = ledger.tolist(), ledger.sum(axis=1).tolist()
        found: dict[Path, dict[str, Any]] = {}
        most: dict[Path, int] = {}
        for n, series in enumerate(recent.series):
            path = series.path
            if due[n] <= most.get(path, 0):
                continue
            most[path] = due[n]
            answered, lost, unmeasured = packets[n]
            found[path] = figures = {
                "probe": series.probe.value,
                "answered": answered,
                "lost": lost,
                "unmeasured": unmeasured,
                "jitter_s": jitters[n],
            }
            if samples[n]:
                floor = self._floors.get(path.src, {})
                figures["samples"] = samples[n]
                for k, (field, name) in enumerate(_FIELDS):
                    low, high = bounds[k][n]
                    figures[field] = _quantile(values[n][k], low, high, floor.get(name))
        return found


def _quantile(
    value_s: float | None, low_s: float | None, high_s: float | None, floor_s: float | None
) -> Quantile:
    near = high_s is not None and could_be_floor(value_s, floor_s) is True
    return Quantile(value_s, low_s, high_s, near)


def rows_of(figures: NDArray[np.float64], streams: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the rows of some streams, shape (series, ...); NaN where there is none."""
    found = np.full((len(streams), *figures.shape[1:]), np.nan)
    there = streams >= 0
    found[there] = figures[streams[there]]
    return found


def said_of(figures: NDArray[np.float64]) -> list[Any]:
    """Return figures as they leave: what cannot be said is None."""
    found = figures.astype(object)
    found[~np.isfinite(figures)] = None
    said: list[Any] = found.tolist()
    return said
