"""What points are about, as small numbers: arrays of points then carry a number each.

A stream is one distribution, one counter or one gauge of one series. Streams are never
forgotten, so only what the estate knows may get a number.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.spellings import Spellings
from analytics.windows import STATES, CountKey, PathWindow, SeriesKey, SketchKey, SloCounts


@unique
class Gauge(Enum):
    """Gauges, of which the latest counts."""

    INTERARRIVAL_JITTER = "jitter"
    DELAY_ERROR = "delay_error"
    CLOCK_OFFSET = "clock_offset"
    CLOCK_OFFSET_ERROR = "clock_offset_error"


@dataclass(frozen=True, slots=True, order=True)
class Packets:
    """A counter of `PacketCounts`, by its field."""

    field: str

    def add_to(self, window: PathWindow, value: int) -> None:
        setattr(window.packets, self.field, getattr(window.packets, self.field) + value)


@dataclass(frozen=True, slots=True, order=True)
class Events:
    """A counter of `SloCounts` of one objective, by its field."""

    slo: str
    field: str

    def add_to(self, window: PathWindow, value: int) -> None:
        counts = window.slo.setdefault(self.slo, SloCounts())
        setattr(counts, self.field, getattr(counts, self.field) + value)


Counter = Packets | Events | CountKey
About = SketchKey | Counter | Gauge

PACKET_FIELDS: Final = ("answered", "lost", "unmeasured", "duplicates", "reordered")
EVENT_FIELDS: Final = ("good", "bad", "unmeasured")
GAUGE_FIELDS: Final = dict(zip(Gauge, STATES, strict=True))  # of `PathWindow`


@dataclass(frozen=True, slots=True)
class Stream:
    """One kind of point of one series."""

    series: SeriesKey
    about: About


class Streams:
    """Numbers of streams and of series, each 0, 1, ... in the order first seen. Thread-safe."""

    def __init__(self) -> None:
        self._numbers: dict[SeriesKey, dict[About, int]] = {}
        self._streams: list[Stream] = []
        self._series: dict[SeriesKey, int] = {}
        self._series_of: list[int] = []  # by stream
        self._objectives: dict[SeriesKey, set[str]] = {}
        self._as_array = np.zeros(0, dtype=np.int32)
        self.spellings = Spellings()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._streams)

    def __getitem__(self, number: int) -> Stream:
        return self._streams[number]

    def __iter__(self) -> Iterator[Stream]:
        return iter(self._streams[:])

    def since(self, number: int) -> list[Stream]:
        """Return the streams from a number on."""
        return self._streams[number:]

    def number(self, series: SeriesKey, about: About) -> int:
        """Return the number of a stream, a new one if it has none yet."""
        known = self._numbers.get(series)  # hashing a series costs more than all else here
        number = None if known is None else known.get(about)
        if number is not None:
            return number
        with self._lock:
            if known is None:
                known = self._numbers.setdefault(series, {})
            number = known.get(about)
            if number is None:
                number = len(self._streams)
                self._series_of.append(self._series_number(series, known))
                self._streams.append(Stream(series, about))
                if isinstance(about, Events):
                    self._objectives.setdefault(series, set()).add(about.slo)
                known[about] = number  # last: readers hold no lock
            return number

    def _series_number(self, series: SeriesKey, known: Mapping[About, int]) -> int:
        """Return the number of a series; it has one if any of its streams has."""
        for number in known.values():
            return self._series_of[number]
        return self._series.setdefault(series, len(self._series))

    def of(self, series: SeriesKey) -> Mapping[About, int]:
        """Return the numbers of a series' streams; it grows as others add some."""
        return self._numbers.get(series, {})

    def objectives(self, series: SeriesKey) -> frozenset[str]:
        """Return the objectives of which a series has events."""
        return frozenset(self._objectives.get(series, ()))

    @property
    def series_count(self) -> int:
        return len(self._series)

    def series(self) -> list[SeriesKey]:
        """Return all series, by number."""
        return list(self._series)

    def series_of(self) -> NDArray[np.int32]:
        """Return the number of the series of each stream, shape (streams,)."""
        array = self._as_array
        if len(array) < len(self._series_of):
            array = self._as_array = np.array(self._series_of, dtype=np.int32)
        return array

    def select(self, wanted: Callable[[SeriesKey], bool]) -> NDArray[np.bool_]:
        """Return by stream whether its series is wanted, shape (streams,)."""
        series_of = self.series_of()  # first: a series is there before its streams
        chosen = np.array([wanted(key) for key in self.series()], dtype=np.bool_)
        mask: NDArray[np.bool_] = chosen[series_of]
        return mask
