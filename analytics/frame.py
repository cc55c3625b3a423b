"""Windows of many series as columns: what a `PathWindow` is for one, a frame is for thousands.

A point is a row of one of three tables: distributions, counters, gauges. Its stream says what
it is about, its start says when. Points may come in any order and more than once: those of one
stream and time add up, exactly, as windows do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.grouping import Mask, merged_counters, merged_distributions, merged_gauges
from analytics.sketch import Sketch
from analytics.streams import (
    EVENT_FIELDS,
    GAUGE_FIELDS,
    PACKET_FIELDS,
    Events,
    Gauge,
    Packets,
    Streams,
)
from analytics.tables import (
    Distributions,
    Numbers,
    Side,
    distributions_of,
    joined_distributions,
    joined_numbers,
    numbers_of,
)
from analytics.windows import CountKey, PathWindow, SeriesKey, SketchKey
from netslo.model import WINDOW_S, Window

__all__ = ["Distributions", "Frame", "Numbers", "Side", "concatenated"]

_SPAN_BITS: Final = 34  # hold the number of any span since 1970
_ROW_BYTES: Final = 108  # of a distribution without its counts
_NUMBER_BYTES: Final = 20
_EVER_S: Final = 2**40  # one span for all times


@dataclass(frozen=True, slots=True)
class Frame:
    """Points of windows of one length."""

    distributions: Distributions
    counters: Numbers
    gauges: Numbers
    length_s: int = WINDOW_S
    _span: tuple[int, int] | None = dataclass_field(
        default=None, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, windows: Iterable[PathWindow], streams: Streams) -> Frame:
        """Return the points of windows of one length; the reference for every faster way."""
        writer = _Writer(streams)
        for window in windows:
            writer.write(window)
        return writer.frame()

    @classmethod
    def empty(cls, length_s: int = WINDOW_S) -> Frame:
        """Return a frame without points."""
        return cls(_NO_DISTRIBUTIONS, _NO_COUNTERS, _NO_GAUGES, length_s)

    @property
    def tables(self) -> tuple[Distributions, Numbers, Numbers]:
        return (self.distributions, self.counters, self.gauges)

    @property
    def points(self) -> int:
        tables = self.tables
        return len(tables[0].stream) + len(tables[1].stream) + len(tables[2].stream)

    def span(self) -> tuple[int, int]:
        """Return where the first window begins and the last one ends; (0, 0) without points."""
        span = self._span
        if span is None:  # asked for several times of each request
            span = self._measured_span()
            object.__setattr__(self, "_span", span)
        return span

    def _measured_span(self) -> tuple[int, int]:
        starts = [table.start_s for table in self.tables if len(table.start_s)]
        if not starts:
            return (0, 0)
        return min(int(s.min()) for s in starts), max(int(s.max()) for s in starts) + self.length_s

    def total(self) -> int:
        """Return the sum of all counts: none of them is larger."""
        table = self.distributions
        counts = [table.positive.counts, table.negative.counts, table.statistics.zero_count]
        counts += [table.statistics.nan_count, table.statistics.positive_infinity_count]
        counts += [table.statistics.negative_infinity_count, self.counters.value]
        # In doubles, which do not wrap around.
        return int(sum(float(part.sum(dtype=np.float64)) for part in counts))

    @property
    def nbytes(self) -> int:
        """About how much memory the points take."""
        table, rows = self.distributions, len(self.distributions.stream)
        counts = table.positive.counts.nbytes + table.negative.counts.nbytes
        return counts + _ROW_BYTES * rows + _NUMBER_BYTES * (self.points - rows)

    def between(self, start_s: int, end_s: int) -> Frame:
        """Return the points of windows that begin in [start_s, end_s)."""
        return self._where(*((t.start_s >= start_s) & (t.start_s < end_s) for t in self.tables))

    def of_streams(self, wanted: Mask) -> Frame:
        """Return the points of the streams for which `wanted`, by stream number, is true."""
        return self._where(*(wanted[table.stream] for table in self.tables))

    def only_distributions(self) -> Frame:
        return Frame(self.distributions, _NO_COUNTERS, _NO_GAUGES, self.length_s)

    def only_numbers(self) -> Frame:
        return Frame(_NO_DISTRIBUTIONS, self.counters, self.gauges, self.length_s)

    def only_counters(self) -> Frame:
        return Frame(_NO_DISTRIBUTIONS, self.counters, _NO_GAUGES, self.length_s)

    def window_count(self, series_of: NDArray[np.int32]) -> int:
        """Return how many windows of a series have points."""
        first_s, end_s = self.span()
        if end_s - first_s != self.length_s or first_s % self.length_s:
            return len(self._keys(series_of, self.length_s)[1])
        series = np.zeros(len(series_of), dtype=np.bool_)  # of one window all; there are no more
        for table in self.tables:
            series[series_of[table.stream]] = True
        return int(np.count_nonzero(series))

    def places(self, series_of: NDArray[np.int32], row_s: int) -> list[tuple[int, int]]:
        """Return each (series, start of a span of `row_s`) that has points, sorted."""
        return [_unkeyed(key, row_s) for key in self._keys(series_of, row_s)[1].tolist()]

    def in_parts(
        self, series_of: NDArray[np.int32], row_s: int
    ) -> tuple[list[tuple[int, int]], Frame, NDArray[np.int64]]:
        """Return each (series, start of a span of `row_s`) that has points, and these in parts.

        The places are sorted. Behind them come all points in the places' order, and where in
        the three tables those of each place begin, shape (places + 1, 3).
        """
        keys, distinct = self._keys(series_of, row_s)
        orders = [np.argsort(key, kind="stable") for key in keys]
        edges = np.zeros((len(distinct) + 1, len(keys)), dtype=np.int64)
        for table, (key, order) in enumerate(zip(keys, orders, strict=True)):
            edges[:-1, table] = np.searchsorted(key[order], distinct)
            edges[-1, table] = len(order)
        ordered = Frame(
            self.distributions.taken(orders[0]),
            self.counters.taken(orders[1]),
            self.gauges.taken(orders[2]),
            self.length_s,
        )
        return [_unkeyed(key, row_s) for key in distinct.tolist()], ordered, edges

    def merged(self, length_s: int) -> Frame:
        """Add up what lies in the same stream and window of `length_s`, exactly.

        Sorted by stream, then time. Of a gauge the latest point stays, of equally late ones
        the last that came.
        """
        return Frame(
            merged_distributions(self.distributions, length_s),
            merged_counters(self.counters, length_s),
            merged_gauges(self.gauges, length_s),
            length_s,
        )

    def summed(self, start_s: int, length_s: int) -> Frame:
        """Add up each stream as one window, whatever the times of its points."""
        merged = self.merged(_EVER_S)
        for table in merged.tables:
            table.start_s[:] = start_s
        return replace(merged, length_s=length_s)

    def windows(self, streams: Streams) -> list[PathWindow]:
        """Return the windows, merged, by series and time."""
        found: dict[tuple[SeriesKey, int], PathWindow] = {}

        def place(stream: int, start_s: int) -> PathWindow:
            series = streams[stream].series
            window = found.get((series, start_s))
            if window is None:
                window = PathWindow(series, Window(start_s, self.length_s))
                found[series, start_s] = window
            return window

        merged = self.merged(self.length_s)
        for row, (stream, start_s) in enumerate(_places(merged.distributions)):
            about = streams[stream].about
            assert isinstance(about, SketchKey)
            place(stream, start_s).sketches[about] = merged.distributions.sketch(row)
        counters = merged.counters
        for (stream, start_s), value in zip(
            _places(counters), counters.value.tolist(), strict=True
        ):
            counter = streams[stream].about
            assert isinstance(counter, Packets | Events | CountKey)
            counter.add_to(place(stream, start_s), value)
        gauges = merged.gauges
        for (stream, start_s), value in zip(_places(gauges), gauges.value.tolist(), strict=True):
            gauge = streams[stream].about
            assert isinstance(gauge, Gauge)
            setattr(place(stream, start_s), GAUGE_FIELDS[gauge], value)
        return [found[key] for key in sorted(found)]

    def _keys(
        self, series_of: NDArray[np.int32], row_s: int
    ) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
        """Return for each table the rows' (series, span) as one number, and the distinct ones."""
        keys = [
            (series_of[table.stream].astype(np.int64) << _SPAN_BITS) + table.start_s // row_s
            for table in self.tables
        ]
        return keys, np.unique(np.concatenate(keys))

    def _where(self, distributions: Mask, counters: Mask, gauges: Mask) -> Frame:
        if distributions.all() and counters.all() and gauges.all():
            return self
        return Frame(
            self.distributions.taken(np.flatnonzero(distributions)),
            self.counters.taken(np.flatnonzero(counters)),
            self.gauges.taken(np.flatnonzero(gauges)),
            self.length_s,
        )


def concatenated(frames: Sequence[Frame], length_s: int = WINDOW_S) -> Frame:
    """Return all points of frames, in order, as windows of one length."""
    if not frames:
        return Frame.empty(length_s)
    if len(frames) == 1:
        return replace(frames[0], length_s=length_s)
    return Frame(
        joined_distributions([frame.distributions for frame in frames]),
        joined_numbers([frame.counters for frame in frames]),
        joined_numbers([frame.gauges for frame in frames]),
        length_s,
    )


class _Writer:
    """Collects the points of windows, one after the other."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._sketches: list[tuple[int, int, Sketch]] = []
        self._counters: list[tuple[int, int, int]] = []
        self._gauges: list[tuple[int, int, float]] = []
        self._length_s = WINDOW_S

    def write(self, window: PathWindow) -> None:
        series, start_s = window.key, window.window.start_s
        self._length_s = window.window.length_s
        number = self._streams.number
        for key, sketch in window.sketches.items():
            self._sketches.append((number(series, key), start_s, sketch))
        for field in PACKET_FIELDS:
            count = getattr(window.packets, field)
            if count or field == "answered":  # which marks the window itself
                self._counters.append((number(series, Packets(field)), start_s, count))
        for slo, counts in window.slo.items():
            for field in EVENT_FIELDS:
                count = getattr(counts, field)
                if count or field == "good":
                    self._counters.append((number(series, Events(slo, field)), start_s, count))
        self._counters += [
            (number(series, key), start_s, n) for key, n in window.counts.items() if n
        ]
        for gauge, field in GAUGE_FIELDS.items():
            state = getattr(window, field)
            if state is not None:
                self._gauges.append((number(series, gauge), start_s, state))

    def frame(self) -> Frame:
        places = [(stream, start_s) for stream, start_s, _ in self._sketches]
        sketches = [sketch for _, _, sketch in self._sketches]
        return Frame(
            distributions_of(places, sketches),
            numbers_of(self._counters, np.uint64),
            numbers_of(self._gauges, np.float64),
            self._length_s,
        )


# Nothing writes to arrays without elements, so all frames may share them.
_NO_DISTRIBUTIONS: Final = distributions_of((), ())
_NO_COUNTERS: Final = numbers_of((), np.uint64)
_NO_GAUGES: Final = numbers_of((), np.float64)


def _places(table: Distributions | Numbers) -> Iterator[tuple[int, int]]:
    return zip(table.stream.tolist(), table.start_s.tolist(), strict=True)


def _unkeyed(key: int, row_s: int) -> tuple[int, int]:
    series, span = divmod(key, 1 << _SPAN_BITS)
    return series, span * row_s
