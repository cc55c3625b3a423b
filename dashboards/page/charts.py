"""The pictures of one path: a sparkline, its distribution and its history.

Each is numbers only; templates turn them into SVG.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.mapping import lower_bound
from analytics.sketch import Sketch
from dashboards.page.figures import Quantile
from dashboards.page.numbers import ago, ms, percent
from dashboards.page.scales import Axis, decimal_ticks, polyline, round_ticks, thinned
from dashboards.page.trail import LOSS, P50, P99, SPAN_S, Series

SPARK_WIDTH: Final = 132
SPARK_HEIGHT: Final = 28
WIDTH: Final = 560
_LEFT, _RIGHT, _TOP = 52, 16, 84
_HEIGHT: Final = 310
_RIGHT_HALF: Final = WIDTH * 0.62  # from there on labels stand on the left of what they name
_BARS: Final = 72
_SLO_NEAR: Final = 20.0  # times the slowest packet: beyond that the line is told, not drawn
_YOUNG_S: Final = 300.0  # shown at least of a path that is measured since a moment only
_MARKS_APART: Final = 8.0
_GAP: Final = 3.0  # points further apart than so many usual steps are not joined


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis and what is written there."""

    place: float
    text: str


@dataclass(frozen=True, slots=True)
class Spark:
    """A line without axes."""

    p50: str
    p99: str
    losses: str  # where packets were lost
    text: str  # the same in words


def spark(series: Series, now_s: float) -> Spark | None:
    """Draw the last hour, or since when there are figures; None where nothing is known."""
    p99s = series.values[:, P99]
    if not np.isfinite(p99s).any():
        return None
    start_s = _since(series, now_s - SPAN_S, now_s)
    high = float(np.nanmax(p99s))
    x = Axis(start_s, now_s, 1, SPARK_WIDTH - 1)
    y = Axis(0, high, SPARK_HEIGHT - 3, 3)
    lines = [
        _line(series.times_s, series.values[:, n], start_s, now_s, x, y, 60) for n in (P50, P99)
    ]
    lost = series.times_s[series.values[:, LOSS] > 0]
    places = np.unique(x.places(lost)).tolist()
    low = float(np.nanmin(p99s))
    text = f"p99 from {ms(low)} to {ms(high)} ms over the last {ago(now_s - start_s)}"
    ticks = boxes(
        Bar(place - 1, SPARK_HEIGHT - 3, 2, 3, beyond=True) for place in _spread(places, 3.0)
    )
    return Spark(lines[0], lines[1], ticks, text)


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    beyond: bool  # slower than the objective allows


def boxes(bars: Iterable[Bar]) -> str:
    """Return the `d` of one path with all bars: a tenth of the octets of as many elements."""
    return "".join(f"M{b.x:g} {b.y:g}h{b.width:g}v{b.height:g}h{-b.width:g}z" for b in bars)


@dataclass(frozen=True, slots=True)
class Marker:
    """A quantile above the distribution, and its interval."""

    name: str
    x: float
    low: float
    high: float
    open: bool  # too few samples to bound it from above
    label_x: float
    y: float  # of its label
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class Limit:
    name: str
    x: float | None  # None: beyond the picture
    text: str
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Distribution:
    width: int
    height: int
    bars: tuple[Bar, ...]
    markers: tuple[Marker, ...]
    limits: tuple[Limit, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    left: float
    right: float
    top: float
    bottom: float


def distribution(
    sketch: Sketch, quantiles: Sequence[tuple[str, Quantile]], limits_s: Sequence[tuple[str, float]]
) -> Distribution | None:
    """Draw how often which round trip was seen, on logarithmic axes; None without positive ones.

    Args:
        sketch: Of round-trip times, seconds.
        quantiles: Names and figures to mark.
        limits_s: Names and thresholds of latency objectives.
    """
    buckets = sketch.positive.trimmed()
    if not buckets.total():
        return None
    edges = lower_bound(np.arange(buckets.offset, buckets.end + 1), sketch.scale)
    least, most = float(edges[0]), float(edges[-1])
    near = [limit for _, limit in limits_s if least / _SLO_NEAR < limit < most * _SLO_NEAR]
    low, high = min([least, *near]) / 1.15, max([most, *near]) * 1.15
    x = Axis(low, high, _LEFT, WIDTH - _RIGHT, logarithmic=True)
    bottom = _HEIGHT - 44
    counts = _rebinned(edges, buckets.counts, low, high)
    top_count = max(10.0, max(counts) * 1.3)
    y = Axis(0.7, top_count, bottom, _TOP, logarithmic=True)
    borders = np.geomspace(low, high, _BARS + 1)
    strictest = min((limit for _, limit in limits_s), default=math.inf)
    bars = tuple(
        Bar(
            x.at(a),
            y.at(n),
            round(max(1.0, x.at(b) - x.at(a) - 0.8), 1),
            round(bottom - y.at(n), 1),
            a >= strictest,
        )
        for a, b, n in zip(borders[:-1].tolist(), borders[1:].tolist(), counts, strict=True)
        if n
    )
    powers = [10.0**n for n in range(math.ceil(math.log10(top_count)))]
    return Distribution(
        width=WIDTH,
        height=_HEIGHT,
        bars=bars,
        markers=tuple(_markers(quantiles, x)),
        limits=tuple(_limit(name, limit, x) for name, limit in limits_s),
        x_ticks=tuple(Tick(x.at(tick), _plain_ms(tick)) for tick in decimal_ticks(low, high)),
        y_ticks=tuple(Tick(y.at(n), f"{n:,.0f}") for n in powers),
        left=_LEFT,
        right=WIDTH - _RIGHT,
        top=_TOP,
        bottom=bottom,
    )


def _rebinned(
    edges: np.ndarray[tuple[int], np.dtype[np.float64]],
    counts: np.ndarray[tuple[int], np.dtype[np.uint64]],
    low: float,
    high: float,
) -> list[float]:
    """Count buckets by bar, each where its middle lies: bars are wider than buckets."""
    middles = np.sqrt(edges[:-1] * edges[1:])
    places = np.floor(np.log(middles / low) / np.log(high / low) * _BARS).astype(np.int64)
    places = np.clip(places, 0, _BARS - 1)
    found: list[float] = np.bincount(
        places, weights=counts.astype(np.float64), minlength=_BARS
    ).tolist()
    return found


def _markers(quantiles: Sequence[tuple[str, Quantile]], x: Axis) -> list[Marker]:
    found = []
    places = [x.at(each.value_s) for _, each in quantiles if each.value_s is not None]
    # Labels on the left of their lines stand left of the others' lines, too, which go down there.
    leftmost = min((place for place in places if place > _RIGHT_HALF), default=0.0)
    for row, (name, each) in enumerate(quantiles):
        if each.value_s is None:
            continue
        place = x.at(each.value_s)
        right_half = place > _RIGHT_HALF
        mark = "" if each.bounded else " *"
        found.append(
            Marker(
                name=name,
                x=place,
                low=place if each.low_s is None else x.at(each.low_s),
                high=x.end if each.high_s is None else x.at(each.high_s),
                open=each.high_s is None,
                label_x=leftmost - 7 if right_half else place + 7,
                y=16.0 + 18 * row,
                anchor="end" if right_half else "start",
                text=f"{name} {ms(each.value_s)} ms{mark}",
            )
        )
    return found


def _limit(name: str, limit_s: float, x: Axis) -> Limit:
    text = f"{name} {_plain_ms(limit_s)} ms"
    if not x.holds(limit_s):
        return Limit(name, None, text)
    place = x.at(limit_s)
    return Limit(name, place, text, "end" if place > _RIGHT_HALF else "start")


def _plain_ms(seconds: float) -> str:
    return f"{seconds * 1e3:.6g}"


@dataclass(frozen=True, slots=True)
class History:
    """p50 and p99 over time, with the loss below."""

    width: int
    height: int
    p50: str
    p99: str
    loss_bars: tuple[Bar, ...]
    limits: tuple[Tick, ...]  # places are of y
    changes: tuple[Tick, ...]  # of routes
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    loss_most: str
    left: float
    right: float
    top: float
    bottom: float
    loss_top: float
    loss_bottom: float


def history(
    series: Series,
    start_s: float,
    end_s: float,
    limits_s: Sequence[tuple[str, float]],
    changes: Sequence[tuple[float, str]] = (),
) -> History | None:
    """Draw a path's figures over time, or since when there are any; None without.

    Args:
        series: The figures.
        start_s: Where the picture begins at the earliest, Unix seconds.
        end_s: Where it ends.
        limits_s: Names and thresholds of latency objectives.
        changes: When routes changed, and how.
    """
    known = series.values[:, : P99 + 1]
    if not np.isfinite(known).any():
        return None
    start_s = _since(series, start_s, end_s)
    top, bottom, loss_top, loss_bottom = 14.0, 176.0, 200.0, 236.0
    most = float(np.nanmax(known))
    shown = [(name, limit) for name, limit in limits_s if limit < most * 2.5]
    ticks = round_ticks(max([most * 1e3, *(limit * 1e3 for _, limit in shown)]) * 1.05)
    x = Axis(start_s, end_s, _LEFT, WIDTH - _RIGHT)
    y = Axis(0, ticks[-1] / 1e3, bottom, top)
    lines = [
        _line(series.times_s, series.values[:, n], start_s, end_s, x, y, 300) for n in (P50, P99)
    ]
    losses = series.values[:, LOSS]
    loss_most = float(np.nanmax(losses)) if np.isfinite(losses).any() else 0.0
    loss_y = Axis(0, loss_most or 1.0, loss_bottom, loss_top)
    lost_s, lost = thinned(series.times_s, losses, start_s, end_s, 240)
    points = zip(lost_s.tolist(), lost.tolist(), strict=True)
    return History(
        width=WIDTH,
        height=266,
        p50=lines[0],
        p99=lines[1],
        loss_bars=tuple(
            Bar(
                round(x.at(at_s) - 1.5, 1),
                loss_y.at(loss),
                3.0,
                round(loss_bottom - loss_y.at(loss), 1),
                beyond=True,
            )
            for at_s, loss in points
            if loss > 0
        ),
        limits=tuple(Tick(y.at(limit), f"{name} {_plain_ms(limit)} ms") for name, limit in shown),
        changes=tuple(_marks([(x.at(at_s), text) for at_s, text in changes if x.holds(at_s)])),
        x_ticks=tuple(Tick(x.at(at_s), text) for at_s, text in _time_ticks(start_s, end_s)),
        y_ticks=tuple(Tick(y.at(tick / 1e3), f"{tick:g}") for tick in ticks),
        loss_most=percent(loss_most),
        left=_LEFT,
        right=WIDTH - _RIGHT,
        top=top,
        bottom=bottom,
        loss_top=loss_top,
        loss_bottom=loss_bottom,
    )


def _since(series: Series, start_s: float, end_s: float) -> float:
    """Return where a picture begins: nowhere long before the first figure."""
    known = np.flatnonzero(np.isfinite(series.values[:, P99]))
    if not known.size:
        return start_s
    return max(start_s, min(float(series.times_s[known[0]]), end_s - _YOUNG_S))


def _line(
    times_s: NDArray[np.float64],
    values: NDArray[np.float32],
    start_s: float,
    end_s: float,
    x: Axis,
    y: Axis,
    most: int,
) -> str:
    """Draw values over time, broken where there is none and where points lie far apart."""
    at_s, figures = thinned(times_s, values, start_s, end_s, most)
    steps = np.diff(at_s)
    usual = np.sort(steps)[len(steps) // 2] if len(steps) else 0.0
    far = np.append(False, steps > _GAP * max(usual, (end_s - start_s) / most))
    places = zip(x.places(at_s).tolist(), y.places(figures).tolist(), strict=True)
    drawn: list[tuple[float, float] | None] = []
    for point, gap in zip(places, far.tolist(), strict=True):
        if gap:
            drawn.append(None)
        drawn.append(None if math.isnan(point[1]) else point)
    return polyline(drawn)


def _time_ticks(start_s: float, end_s: float) -> list[tuple[float, str]]:
    span_s = end_s - start_s
    step_s = next(
        (s for s in (60, 300, 600, 3_600, 4 * 3_600, 86_400, 4 * 86_400) if span_s / s <= 7),  # noqa: PLR2004
        7 * 86_400,
    )
    form = "%H:%M" if step_s < 86_400 else "%d %b"  # noqa: PLR2004 - a day
    first = math.ceil(start_s / step_s) * step_s
    return [
        (at_s, time.strftime(form, time.gmtime(at_s)))
        for at_s in range(int(first), int(end_s) + 1, step_s)
    ]


def _marks(places: list[tuple[float, str]]) -> list[Tick]:
    """Return marks in order, those that would lie on one another as one that counts them."""
    found: list[tuple[float, list[str]]] = []
    for place, text in sorted(places):
        if found and place - found[-1][0] < _MARKS_APART:
            found[-1][1].append(text)
        else:
            found.append((place, [text]))
    return [
        Tick(place, texts[0] if len(texts) == 1 else f"{texts[0]}, and {len(texts) - 1} more")
        for place, texts in found
    ]


def _spread(places: list[float], least: float) -> list[float]:
    """Leave out places that would lie on one another."""
    kept: list[float] = []
    for place in places:
        if not kept or place - kept[-1] >= least:
            kept.append(place)
    return kept
