"""One panel after the other: asked as Grafana asks, and made into what the page shows."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import plotly.graph_objects as go

from dashboards.preview import plots
from dashboards.preview.plots import Mark, Named, marks_of
from dashboards.preview.prometheus import Prometheus, QueryError, Series
from dashboards.preview.tables import Cell, Table, table_of
from dashboards.preview.values import Shown
from dashboards.preview.variables import Chosen, Span

KINDS: Final = frozenset(
    ("gauge", "geomap", "heatmap", "row", "stat", "state-timeline", "table", "text", "timeseries")
)
_PIXELS_A_COLUMN: Final = 60
_ROWS_MAX: Final = 40
_SPARK: Final = (100.0, 30.0)
_LEGEND: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Figure:
    """One value of a stat panel."""

    name: str
    text: str
    colour: str | None
    spark: str  # an SVG path in a box of `_SPARK`, or nothing


@dataclass(frozen=True, slots=True)
class Shade:
    """A cell of a table."""

    text: str
    colour: str | None
    right: bool


@dataclass(frozen=True, slots=True)
class Drawn:
    """A panel as the page shows it: one of its fields is filled."""

    panel: Mapping[str, Any]
    figures: Sequence[Figure] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Shade]] = ()
    left_out: int = 0  # rows that there is no room for
    plot: go.Figure | None = None
    text: str | None = None
    nothing: str | None = None  # why nothing is shown
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Painter:
    """Asks for the panels of one board."""

    prometheus: Prometheus
    span: Span
    chosen: Chosen

    def draw(self, board: Mapping[str, Any]) -> Iterator[Drawn]:
        """Yield every panel, drawn; a query that fails is said in its place."""
        marks = list(self._marks(board["annotations"]["list"]))
        for panel in board["panels"]:
            assert panel["type"] in KINDS, panel["type"]
            if panel["type"] in {"row", "text"}:
                panel = {**panel, "title": self.chosen.fill(panel["title"], {})}  # noqa: PLW2901
                yield Drawn(panel, text=panel.get("options", {}).get("content", ""))
                continue
            try:
                yield self._draw(panel, marks)
            except QueryError as error:
                yield Drawn(panel, nothing=str(error), failed=True)

    def _draw(self, panel: Mapping[str, Any], marks: list[Mark]) -> Drawn:
        results = {target["refId"]: self._ask(panel, target) for target in panel["targets"]}
        nothing = Shown.of(panel).settings.get("noValue", "No data")
        named = [
            Named(legend_of(target["legendFormat"], series), series)
            for target in panel["targets"]
            for series in results[target["refId"]]
            if series.has_data
        ]
        if panel["type"] == "stat":
            return Drawn(panel, figures=_figures(panel, named))
        if not named:
            return Drawn(panel, nothing=nothing)
        if panel["type"] == "table":
            return _table(panel, table_of(panel, results))
        return Drawn(panel, plot=self._plot(panel, results, named, marks))

    def _plot(
        self,
        panel: Mapping[str, Any],
        results: Mapping[str, Sequence[Series]],
        named: Sequence[Named],
        marks: list[Mark],
    ) -> go.Figure:
        span = self.span.start_s, self.span.end_s
        match panel["type"]:
            case "geomap":
                return plots.site_map(panel, table_of(panel, results))
            case "heatmap":
                return plots.heatmap(named, span)
            case "gauge":
                return plots.gauge(panel, named[0].series.values[-1])
            case "state-timeline":
                return plots.state_timeline(panel, named, span, self._step_s(panel))
            case _:
                return plots.timeseries(panel, named, span, marks)

    def _step_s(self, panel: Mapping[str, Any]) -> float:
        return self.span.step_s(panel["gridPos"]["w"] * _PIXELS_A_COLUMN)

    def _ask(self, panel: Mapping[str, Any], target: Mapping[str, Any]) -> list[Series]:
        step_s = self._step_s(panel)
        expr = self.chosen.fill(target["expr"], self.span.macros(step_s))
        if target["instant"]:
            return self.prometheus.at(expr, self.span.end_s)
        return self.prometheus.over(expr, self.span.start_s, self.span.end_s, step_s)

    def _marks(self, annotations: Sequence[Mapping[str, Any]]) -> Iterator[Mark]:
        for each in annotations:
            if "expr" not in each:  # Grafana's own, which there are none of here
                continue
            step_s = max(60.0, self.span.step_s(400)) if "step" in each else 60.0
            expr = self.chosen.fill(each["expr"], self.span.macros(step_s))
            try:
                found = self.prometheus.over(expr, self.span.start_s, self.span.end_s, step_s)
            except QueryError:
                continue  # a board is worth more than its marks; the test of queries says so
            named = [Named(legend_of(each["titleFormat"], series), series) for series in found]
            yield from marks_of(named, each["iconColor"], step_s)


def legend_of(form: str, series: Series) -> str:
    """Return what Grafana calls a series, by a target's legendFormat."""
    if form == "__auto":
        labels = {k: v for k, v in series.labels.items() if k != "__name__"}
        if len(labels) <= 1:
            return next(iter(labels.values()), "Value")
        return "{" + ", ".join(f'{k}="{v}"' for k, v in labels.items()) + "}"
    return _LEGEND.sub(lambda found: series.labels.get(found[1], ""), form)


def _figures(panel: Mapping[str, Any], named: Sequence[Named]) -> list[Figure]:
    found = []
    for each in named:
        known = [value for value in each.series.values if not math.isnan(value)]
        shown = Shown.of(panel, each.name)
        name = each.name if len(named) > 1 else ""
        last = known[-1] if known else None
        found.append(Figure(name, shown.text(last), shown.colour(last), _spark(each.series)))
    return found or [Figure("", Shown.of(panel).no_value, None, "")]


def _spark(series: Series) -> str:
    points = [
        (at_s, value)
        for at_s, value in zip(series.times_s, series.values, strict=True)
        if math.isfinite(value)
    ]
    if len(points) < 2:  # noqa: PLR2004 - a line has two ends
        return ""
    (first_s, _), (last_s, _) = points[0], points[-1]
    low, high = min(value for _, value in points), max(value for _, value in points)
    width, height = _SPARK
    return "M" + "L".join(
        f"{(at_s - first_s) / (last_s - first_s) * width:.1f} "
        f"{height - 2 - (value - low) / ((high - low) or 1) * (height - 4):.1f}"
        for at_s, value in points
    )


def _table(panel: Mapping[str, Any], table: Table) -> Drawn:
    shown = {name: Shown.of(panel, name) for name in table.columns}
    rows = [
        [_shade(row.get(name), shown[name]) for name in table.columns]
        for row in table.rows[:_ROWS_MAX]
    ]
    left_out = max(0, len(table.rows) - _ROWS_MAX)
    return Drawn(panel, columns=table.columns, rows=rows, left_out=left_out)


def _shade(cell: Cell, shown: Shown) -> Shade:
    if cell is None:
        return Shade("", None, right=False)
    if isinstance(cell, str):
        return Shade(cell, None, right=False)
    options = shown.settings.get("custom.cellOptions", {})
    colour = shown.colour(cell) if options.get("type") == "color-background" else None
    return Shade(shown.text(cell), colour, right=True)
