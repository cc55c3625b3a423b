"""Panels that are pictures, as figures of plotly. It draws; what is drawn is decided here."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import plotly.graph_objects as go

from dashboards.page.scales import decimal_ticks
from dashboards.preview.prometheus import Series
from dashboards.preview.tables import Table
from dashboards.preview.values import PALETTE, SUFFIXES, Shown, colour, duration

_TEXT, _GRID = "#24292e", "#e4e7eb"
_BINS: Final = 64  # of a heatmap's axis
_DRAWN_MAX: Final = 60  # lines; a legend of more is none
_MARKS_MAX: Final = 40  # of annotations
_THOUSAND: Final = 1000.0
_DAY_S: Final = 86_400.0
_JOINED: Final = 2.5  # steps: marks nearer to each other are one


@dataclass(frozen=True, slots=True)
class Named:
    """A series and what the legend calls it."""

    name: str
    series: Series


@dataclass(frozen=True, slots=True)
class Mark:
    """An annotation: what was so, from when to when."""

    start_s: float
    end_s: float
    colour: str
    text: str


def marks_of(series: Sequence[Named], colour_name: str, step_s: float) -> list[Mark]:
    """Join points of time that are a step apart to one mark."""
    found = []
    for each in series:
        times = [t for t, v in zip(each.series.times_s, each.series.values, strict=True) if v > 0]
        start_s = before_s = None
        for at_s in [*times, math.inf]:
            if start_s is None or before_s is None or at_s - before_s > _JOINED * step_s:
                if start_s is not None and before_s is not None:
                    found.append(Mark(start_s, before_s, colour(colour_name), each.name))
                start_s = at_s
            before_s = at_s
    return sorted(found, key=lambda mark: mark.start_s)[:_MARKS_MAX]


def timeseries(
    panel: Mapping[str, Any], series: Sequence[Named], span: tuple[float, float], marks: list[Mark]
) -> go.Figure:
    """Return lines over time with thresholds and marks."""
    shown = Shown.of(panel)
    figure = _figure(span)
    stacked = shown.settings.get("custom.stacking", {}).get("mode") == "normal"
    highest = 0.0
    before = ""
    second = False
    for number, each in enumerate(series[:_DRAWN_MAX]):
        own = Shown.of(panel, each.name)
        other_axis = own.unit != shown.unit
        second = second or other_axis
        fixed = own.settings.get("color", {}).get("fixedColor")
        shade = colour(fixed) if fixed else PALETTE[number % len(PALETTE)]
        dashed = own.settings.get("custom.lineStyle", {}).get("fill") == "dash"
        opacity = own.settings.get("custom.fillOpacity", 0) / 100
        between = own.settings.get("custom.fillBelowTo") == before and before
        if not other_axis:
            highest = max([highest, *(v for v in each.series.values if math.isfinite(v))])
        lonely = len(each.series.times_s) == 1
        figure.add_scatter(
            x=_times(each.series.times_s),
            y=[v if math.isfinite(v) else None for v in each.series.values],
            name=html.escape(each.name),
            mode="markers" if lonely else "lines",
            line={"color": shade, "width": 1.5, "dash": "dash" if dashed else "solid"},
            marker={"color": shade},
            connectgaps=False,
            stackgroup="all" if stacked else None,
            fill=None if stacked else "tonexty" if between else "tozeroy" if opacity else "none",
            fillcolor=_see_through(shade, opacity),
            yaxis="y2" if other_axis else "y",
            hovertemplate="%{y} %{fullData.name}<extra></extra>",
        )
        before = each.name
    figure.update_yaxes(**_axis(shown, highest))
    if second:
        units = (Shown.of(panel, each.name) for each in series)
        other = next(each for each in units if each.unit != shown.unit)
        figure.update_layout(yaxis2={**_axis(other), "overlaying": "y", "side": "right"})
    if shown.settings.get("custom.thresholdsStyle", {}).get("mode") == "dashed":
        for value, shade in shown.steps[1:]:
            if value <= highest * 1.3 and (value > 0 or not _is_log(shown)):
                figure.add_hline(y=value, line={"color": shade, "width": 1, "dash": "dash"})
    _mark(figure, marks)
    figure.update_layout(showlegend=bool(series))
    return figure


def heatmap(series: Sequence[Named], span: tuple[float, float]) -> go.Figure:
    """Return native histograms over time, on a logarithmic axis."""
    figure = _figure(span)
    pictures = [picture for each in series for picture in each.series.histograms]
    buckets = [b for _, found in pictures for b in found if b.low > 0 and b.count > 0]
    if not buckets:
        return figure
    low, high = math.log(min(b.low for b in buckets)), math.log(max(b.high for b in buckets))
    width = (high - low) / _BINS or 1.0
    columns = []
    for _, found in pictures:
        column = [0.0] * _BINS
        for bucket in found:
            if bucket.low > 0:
                middle = (math.log(bucket.low) + math.log(bucket.high)) / 2
                column[min(_BINS - 1, max(0, int((middle - low) / width)))] += bucket.count
        columns.append(column)
    figure.add_heatmap(
        x=_times([at_s for at_s, _ in pictures]),
        y=[math.exp(low + n * width) for n in range(_BINS + 1)],
        z=[[math.sqrt(c[n]) if c[n] else None for c in columns] for n in range(_BINS)],
        colorscale="Oranges",
        showscale=False,
        hoverongaps=False,
        hovertemplate="%{x}<br>%{y}<extra></extra>",
    )
    ticks = decimal_ticks(math.exp(low), math.exp(high))
    names = [duration(tick) for tick in ticks]
    figure.update_yaxes(
        type="log", tickvals=ticks, ticktext=names, gridcolor=_GRID, automargin=True
    )
    return figure


def state_timeline(
    panel: Mapping[str, Any], series: Sequence[Named], span: tuple[float, float], step_s: float
) -> go.Figure:
    """Return since when something is so: a bar from each change to the next."""
    shown = Shown.of(panel)
    figure = _figure(span)
    for each in series:
        for start_s, end_s, value in _states(each.series, step_s, shown):
            figure.add_bar(
                x=[(end_s - start_s) * 1e3],
                base=_times([start_s]),
                y=[html.escape(each.name)],
                orientation="h",
                marker={"color": shown.colour(value), "opacity": 0.8},
                text=_state(shown, value),
                textposition="inside",
                insidetextanchor="middle",
                hoverinfo="text",
                showlegend=False,
            )
    figure.update_layout(barmode="overlay", bargap=0.15)
    figure.update_xaxes(type="date")
    figure.update_yaxes(automargin=True)
    return figure


def _states(series: Series, step_s: float, shown: Shown) -> Iterator[tuple[float, float, float]]:
    start_s = before_s = value = None
    for at_s, each in zip(series.times_s, series.values, strict=True):
        if start_s is None or before_s is None or value is None:
            start_s, value = at_s, each
        elif at_s - before_s > _JOINED * step_s or _state(shown, each) != _state(shown, value):
            yield start_s, before_s + step_s, value
            start_s, value = at_s, each
        before_s = at_s
    if start_s is not None and before_s is not None and value is not None:
        yield start_s, before_s + step_s, value


def _state(shown: Shown, value: float) -> str:
    """Return from which threshold on a value is: Grafana makes one bar of those."""
    found = [from_value for from_value, _ in shown.steps if value >= from_value]
    return f"{found[-1]:.3g}+" if found and math.isfinite(found[-1]) else shown.text(value)


def site_map(panel: Mapping[str, Any], table: Table) -> go.Figure:
    """Return sites where they stand; there is no base map offline."""
    style = panel["options"]["layers"][0]["config"]["style"]
    field = style["color"]["field"]
    shown = Shown.of(panel, field)
    figure = _figure(None)
    rows = [row for row in table.rows if {"latitude", "longitude", field} <= row.keys()]
    values = [float(row[field] or 0.0) for row in rows]
    latitudes = [float(row["latitude"] or 0) for row in rows]
    names = [html.escape(str(row.get("site", ""))) for row in rows]
    figure.add_scatter(
        x=[float(row["longitude"] or 0) for row in rows],
        y=latitudes,
        mode="markers+text",
        marker={"size": 16, "color": [shown.colour(value) for value in values]},
        text=names,
        textposition=_sides([float(row["longitude"] or 0) for row in rows], latitudes),
        hovertext=[f"{n}: {shown.text(v)}" for n, v in zip(names, values, strict=True)],
        hoverinfo="text",
    )
    middle = sum(latitudes) / len(latitudes) if latitudes else 0.0
    figure.update_yaxes(
        scaleanchor="x",
        scaleratio=1 / max(0.1, math.cos(math.radians(middle))),
        ticksuffix="°",
    )
    figure.update_xaxes(ticksuffix="°")
    return figure


def _sides(longitudes: Sequence[float], latitudes: Sequence[float]) -> list[str]:
    """Put each name on the side away from the site that is nearest to it at its height."""
    places = list(zip(longitudes, latitudes, strict=True))
    sides = []
    for x, y in places:
        others = [place for place in places if place != (x, y)]
        nearest = min(
            others, key=lambda p: math.hypot(p[0] - x, 4 * (p[1] - y)), default=(x - 1, y)
        )
        sides.append("middle left" if nearest[0] > x else "middle right")
    return sides


def gauge(panel: Mapping[str, Any], value: float) -> go.Figure:
    """Return a gauge with the thresholds on its arc."""
    shown = Shown.of(panel)
    low = float(shown.settings.get("min", 0.0))
    high = float(shown.settings.get("max", max(1.0, value)))
    bounds = [max(low, from_value) for from_value, _ in shown.steps] + [high]
    steps = [
        {"range": [a, b], "color": _see_through(shade, 0.3)}
        for a, b, (_, shade) in zip(bounds[:-1], bounds[1:], shown.steps, strict=True)
        if a < b
    ]
    figure = _figure(None)
    figure.add_indicator(
        mode="gauge",
        value=value,
        gauge={
            "axis": {"range": [low, high], "tickformat": _axis(shown)["tickformat"]},
            "bar": {"color": shown.colour(value)},
            "steps": steps,
        },
        title={"text": shown.text(value), "font": {"size": 22}},
    )
    return figure


def _figure(span: tuple[float, float] | None) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        template="none",
        margin={"l": 52, "r": 14, "t": 6, "b": 26},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, DejaVu Sans, sans-serif", "size": 11, "color": _TEXT},
        legend={"orientation": "h", "y": -0.12, "yanchor": "top", "x": 0, "font": {"size": 11}},
        hovermode="x",
    )
    figure.update_xaxes(gridcolor=_GRID, zeroline=False)
    figure.update_yaxes(gridcolor=_GRID, zeroline=False)
    if span is not None:
        long = span[1] - span[0] > _DAY_S
        form = "%d %b %H:%M" if long else "%H:%M"
        figure.update_xaxes(type="date", range=_times(span), tickformat=form, nticks=7)
    return figure


def _axis(shown: Shown, highest: float = 0.0) -> dict[str, Any]:
    axis: dict[str, Any] = {"gridcolor": _GRID, "zeroline": False, "automargin": True}
    match shown.unit:
        case "percentunit":
            axis["tickformat"] = ".3~p"
        case "s":
            axis |= {"tickformat": ".3~s", "ticksuffix": "s"}
        case unit:
            # Thousands have letters; what is small has digits.
            form = ".3~s" if highest >= _THOUSAND else ".3~r"
            axis |= {"tickformat": form, "ticksuffix": SUFFIXES.get(unit, "")}
    if _is_log(shown):
        axis |= {"type": "log", "dtick": 1}
    elif shown.settings.get("min") == 0:
        axis["rangemode"] = "tozero"
    return axis


def _is_log(shown: Shown) -> bool:
    """Whether an axis is of powers; Grafana's has room for 0 and below, this one has not."""
    scale = shown.settings.get("custom.scaleDistribution", {}).get("type")
    return scale in {"log", "symlog"}


def _mark(figure: go.Figure, marks: Sequence[Mark]) -> None:
    for mark in marks:
        start, end = _times((mark.start_s, mark.end_s))
        figure.add_vrect(x0=start, x1=end, fillcolor=mark.colour, opacity=0.12, line_width=0)
        figure.add_vline(x=start, line={"color": mark.colour, "width": 1, "dash": "dot"})


def _times(times_s: Sequence[float]) -> list[str]:
    return [
        datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
        for at_s in times_s
    ]


def _see_through(shade: str, opacity: float) -> str:
    red, green, blue = (int(shade[n : n + 2], 16) for n in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"
