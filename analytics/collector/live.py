"""Every series over the last minute, hour, day, ...: kept up as batches are committed.

Figures come from memory, so asking costs the store nothing and does not grow with the horizon.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analytics.collector.following import Follower
from analytics.frame import Frame
from analytics.horizons import HORIZONS, Horizon
from analytics.sketch import Sketch
from analytics.sliding import Sliding, View
from analytics.store.interface import PointHistory
from analytics.streams import Packets, Stream, Streams
from analytics.windows import PacketCounts, SeriesKey, SketchKey
from netslo.metrics import DELAY, DELAY_VARIATION, JITTER, RTT
from netslo.model import WINDOW_S, Path, ProbeKind, Quality

# The others are kept by `cumulative` and the store alone: each would take as much memory again.
_METRICS: Final = (RTT, JITTER, DELAY, DELAY_VARIATION)
_OUTCOMES: Final = ("answered", "lost", "unmeasured")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Index:
    """Where the streams of one series are in the table."""

    sketches: dict[SketchKey, int] = field(default_factory=dict)
    packets: dict[str, int] = field(default_factory=dict)


class _Columns:
    """The same by column: the streams of all series at once, -1 where one has none."""

    def __init__(self, index: Mapping[SeriesKey, _Index]) -> None:
        self.series = tuple(index)
        self.packets = np.array(
            [[each.packets.get(name, -1) for name in _OUTCOMES] for each in index.values()],
            dtype=np.intp,
        ).reshape(-1, len(_OUTCOMES))
        self._sketches = [each.sketches for each in index.values()]
        self._classes: dict[tuple[str, str], NDArray[np.intp]] = {}

    def classes(self, metric: str, direction: str) -> NDArray[np.intp]:
        """Return the streams of a metric, shape (series, classes), the better ones first."""
        found = self._classes.get((metric, direction))
        if found is None:
            keys = [SketchKey(metric, quality, direction) for quality in (*Quality, None)]
            rows = [[own.get(key, -1) for key in keys] for own in self._sketches]
            found = np.array(rows, dtype=np.intp).reshape(-1, len(keys))
            self._classes[metric, direction] = found
        return found


@dataclass(frozen=True, slots=True)
class Recent:
    """All series over one horizon, from `start_s` to `end_s`."""

    view: View
    _index: Mapping[SeriesKey, _Index]
    _columns: _Columns

    @property
    def series(self) -> tuple[SeriesKey, ...]:
        """All that are known, also those without a packet due."""
        return self._columns.series

    def ledger(self) -> NDArray[np.int64]:
        """Return the packets answered, lost and unmeasured, shape (series, 3)."""
        return _taken(self.view.counters, self._columns.packets)

    def leading(self, metric: str, direction: str = "") -> NDArray[np.intp]:
        """Return by series the stream of the class with most values; -1 without any."""
        classes = self._columns.classes(metric, direction)
        counts = _taken(self.view.counts(), classes)
        best = counts.argmax(axis=1)[:, np.newaxis]  # in doubt the better class
        found = np.take_along_axis(classes, best, axis=1)[:, 0]
        return np.where(np.take_along_axis(counts, best, axis=1)[:, 0] > 0, found, -1)

    def __iter__(self) -> Iterator[SeriesKey]:
        """Yield the series which had packets due."""
        due = self.ledger().sum(axis=1).tolist()
        return (series for series, packets in zip(self.series, due, strict=True) if packets)

    def of_path(self, path: Path) -> list[SeriesKey]:
        """Return the series of one path which had packets due, without a look at all others."""
        own = (SeriesKey(path, probe) for probe in ProbeKind)
        return [series for series in own if series in self._index and self.packets(series).due]

    def packets(self, series: SeriesKey) -> PacketCounts:
        """Return the ledger of a series; duplicates and reorderings are not counted here."""
        counts = PacketCounts()
        for name, stream in self._index[series].packets.items():
            setattr(counts, name, self._counter(stream))
        return counts

    def streams(self, metric: str, direction: str = "") -> dict[SeriesKey, int]:
        """Return for each series the stream of the class with most values, if it has any."""
        leading = self.leading(metric, direction).tolist()
        return {series: n for series, n in zip(self.series, leading, strict=True) if n >= 0}

    def sketch(self, series: SeriesKey, metric: str, direction: str = "") -> Sketch | None:
        """Return the distribution of the class with most values, of one series."""
        found = [
            self.view.sketch(stream)
            for stream in self._classes(series, metric, direction)
            if stream < len(self.view.rows)
        ]
        best = max(found, key=lambda sketch: sketch.count, default=None)
        return best if best is not None and best.count else None

    def _classes(self, series: SeriesKey, metric: str, direction: str) -> list[int]:
        """Return the streams of a metric, the better class of timestamps first."""
        known = self._index[series].sketches
        keys = [SketchKey(metric, quality, direction) for quality in (*Quality, None)]
        return [known[key] for key in keys if key in known]

    def _counter(self, stream: int) -> int:
        return int(self.view.counters[stream]) if stream < len(self.view.counters) else 0


def _taken(figures: NDArray[Any], streams: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return the figures of streams, 0 of those that are not there (yet)."""
    there = (streams >= 0) & (streams < len(figures))
    found = np.zeros(streams.shape, dtype=np.int64)
    found[there] = figures[streams[there]]
    return found


class _Recents:
    """The table of the horizons, as a follower keeps it up."""

    distributions = True

    def __init__(self, streams: Streams, horizons: tuple[Horizon, ...], now_s: int) -> None:
        self.sliding = Sliding(horizons, now_s)
        self.index: dict[SeriesKey, _Index] = {}
        self._streams = streams
        self._wanted = np.zeros(0, dtype=np.bool_)  # by stream
        self._recent_columns: _Columns | None = None  # until there are more streams

    @property
    def now_s(self) -> int:
        return self.sliding.now_s

    def advance(self, now_s: int) -> None:
        self.sliding.advance(now_s)

    def spans(self) -> list[tuple[int, int, int]]:
        return self.sliding.spans()

    def wanted(self, frame: Frame) -> Frame:
        self._learn()
        return frame.of_streams(self._wanted)

    def add(self, frame: Frame) -> None:
        self.sliding.add(frame)

    def recent(self, horizon: Horizon) -> Recent:
        """Return all series over one horizon; what comes later changes nothing of it."""
        if self._recent_columns is None:
            self._recent_columns = _Columns(self.index)
        return Recent(self.sliding.view(horizon), dict(self.index), self._recent_columns)

    def _learn(self) -> None:
        """Find the place of streams that are new."""
        known = len(self._wanted)
        fresh = [self._place(known + n, s) for n, s in enumerate(self._streams.since(known))]
        if fresh:
            self._recent_columns = None
            self._wanted = np.append(self._wanted, np.array(fresh, dtype=np.bool_))

    def _place(self, number: int, stream: Stream) -> bool:
        """Return whether a stream is counted here."""
        about = stream.about
        index = self.index.setdefault(stream.series, _Index())
        if isinstance(about, SketchKey) and about.metric in _METRICS:
            index.sketches[about] = number
            return True
        if isinstance(about, Packets) and about.field in _OUTCOMES:
            index.packets[about.field] = number
            return True
        return False


class Live:
    """Keeps the horizons. `note` and `read` may be called by any thread."""

    def __init__(
        self,
        streams: Streams,
        clock: Callable[[], float],
        horizons: tuple[Horizon, ...] = HORIZONS,
    ) -> None:
        self._streams = streams
        self._clock = clock
        self._horizons = horizons
        self._follower = Follower(self._empty(), clock, "figures of the last days")
        self._history: Callable[[], PointHistory] | None = None
        self._between: Callable[[Callable[[], None]], None] | None = None
        self._mending = False  # the table will be made anew
        self._lock = threading.Lock()  # of whether it will

    def start(
        self,
        history: Callable[[], PointHistory],
        between: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """Begin with what a store holds.

        Args:
            history: Reads what is committed by then; nothing of it may be noted later.
            between: Has something done while nothing is committed. Without it the figures do not
                recover from a clock that was set back.
        """
        self._history, self._between = history, between
        self._follower.start(history())

    def stop(self) -> None:
        """End what goes on behind."""
        self._follower.stop()

    def note(self, frame: Frame) -> None:
        """Take what was committed."""
        self._follower.note(frame)

    @property
    def problem(self) -> str | None:
        """Why there are no figures."""
        return self._follower.problem

    def read(self, horizon: Horizon, patience_s: float = 5.0) -> Recent | None:
        """Return all series over one horizon; None where there are no figures (yet)."""
        if self._follower.astray and self._mend():
            return None
        with self._follower.up_to_date(patience_s) as known:
            if not known:
                return None
            return self._follower.table.recent(horizon)

    def _mend(self) -> bool:
        """Have the table made anew, once; whether it will be."""
        if self._between is None or self.problem is not None:
            return False
        with self._lock:
            if not self._mending and self._follower.ready:
                self._mending = True
                _log.warning("the clock was set: figures of the last days are made anew")
                self._between(self._begin_anew)
        return True

    def _begin_anew(self) -> None:
        assert self._history is not None
        try:
            self._follower.begin_anew(self._empty(), self._history())
        finally:
            self._mending = False

    def _empty(self) -> _Recents:
        now_s = int(self._clock()) // WINDOW_S * WINDOW_S
        return _Recents(self._streams, self._horizons, now_s)
