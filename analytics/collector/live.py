"""Every series over the last minute, hour, day, ...: kept up as batches are committed.

Figures come from memory, so asking costs the store nothing and does not grow with the horizon.
At the start they are made from what the store holds at that moment; what is committed from then
on waits until that is done.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from analytics.frame import Frame, concatenated
from analytics.horizons import HORIZONS, Horizon
from analytics.sketch import Sketch
from analytics.sliding import Sliding, View
from analytics.store.interface import PointHistory
from analytics.streams import Packets, Stream, Streams
from analytics.windows import PacketCounts, SeriesKey, SketchKey
from netslo.metrics import JITTER, RTT
from netslo.model import WINDOW_S, Quality

_INTERVAL_S: Final = 1.0
_WAITING_POINTS_MAX: Final = 1_000_000  # then who brings more does the work
_SLOW_S: Final = 5.0
_OUTCOMES: Final = ("answered", "lost", "unmeasured")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Index:
    """Where the streams of one series are in the table."""

    sketches: dict[tuple[str, Quality], int] = field(default_factory=dict)
    packets: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recent:
    """All series over one horizon, from `start_s` to `end_s`."""

    view: View
    _index: Mapping[SeriesKey, _Index]

    def __iter__(self) -> Iterator[SeriesKey]:
        """Yield the series which had packets due."""
        return (series for series in self._index if self.packets(series).due)

    def packets(self, series: SeriesKey) -> PacketCounts:
        """Return the ledger of a series; duplicates and reorderings are not counted here."""
        counts = PacketCounts()
        for name, stream in self._index[series].packets.items():
            setattr(counts, name, self._counter(stream))
        return counts

    def streams(self, metric: str) -> dict[SeriesKey, int]:
        """Return for each series the stream of the best timestamp quality that has values."""
        counts = self.view.counts().tolist()
        found = {}
        for series, index in self._index.items():
            for quality in Quality:
                stream = index.sketches.get((metric, quality), len(counts))
                if stream < len(counts) and counts[stream]:
                    found[series] = stream
                    break
        return found

    def sketch(self, series: SeriesKey, metric: str) -> Sketch | None:
        """Return the distribution of the best timestamp quality there is, of one series."""
        for quality in Quality:
            stream = self._index[series].sketches.get((metric, quality))
            if stream is not None and stream < len(self.view.rows):
                sketch = self.view.sketch(stream)
                if sketch.count:
                    return sketch
        return None

    def _counter(self, stream: int) -> int:
        return int(self.view.counters[stream]) if stream < len(self.view.counters) else 0


class Live:
    """Keeps the horizons. `note` and `read` may be called by any thread."""

    def __init__(
        self,
        streams: Streams,
        clock: Callable[[], float],
        horizons: tuple[Horizon, ...] = HORIZONS,
    ) -> None:
        self.problem: str | None = None  # why there are no figures
        self._streams = streams
        self._clock = clock
        self._sliding = Sliding(horizons, self._now_s())
        self._index: dict[SeriesKey, _Index] = {}
        self._wanted = np.zeros(0, dtype=np.bool_)  # by stream
        self._early: list[Frame] = []
        self._waiting: deque[Frame] = deque()
        self._waiting_points = 0
        self._lock = threading.Lock()  # of all but what waits
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, history: PointHistory) -> None:
        """Begin with what a store holds; nothing may be noted that is in it already."""
        self._thread = threading.Thread(target=self._run, args=(history,), name="live", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def note(self, frame: Frame) -> None:
        """Take what was committed."""
        if self.problem is None:
            self._waiting.append(frame)
            self._waiting_points += frame.points
            if self._waiting_points > _WAITING_POINTS_MAX:
                self._catch_up()

    def read(self, horizon: Horizon, patience_s: float = 5.0) -> Recent | None:
        """Return all series over one horizon; None where there are no figures (yet)."""
        if not self._ready.wait(patience_s):
            return None
        self._catch_up()
        if self.problem is not None:
            return None
        with self._lock:
            return Recent(self._sliding.view(horizon), dict(self._index))

    def _run(self, history: PointHistory) -> None:
        began_s = time.monotonic()
        try:
            with self._lock, self._said():
                self._read_history(history)
        finally:
            history.close()
            self._ready.set()
        if (took_s := time.monotonic() - began_s) > _SLOW_S:
            _log.info("the figures of the last days took %.0f s to make", took_s)
        while self.problem is None and not self._stopping.wait(_INTERVAL_S):
            self._catch_up()

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Say what went wrong, to the log and to who asks; what is kept is not in danger."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - commits go on without these figures
            _log.exception("there are no figures of the last days until the next start")
            self.problem = f"{type(error).__name__}: {error}"

    def _read_history(self, history: PointHistory) -> None:
        self._sliding.advance(self._now_s())
        for start_s, end_s, window_s in self._sliding.spans():
            for frame in history.frames(start_s, end_s, window_s):
                if self._stopping.is_set():
                    return
                self._add(frame)

    def _catch_up(self) -> None:
        with self._lock, self._said():
            self._sliding.advance(self._now_s())
            frames, self._early = self._early, []
            while self._waiting:
                frames.append(self._waiting.popleft())
            self._waiting_points = 0
            if frames:
                self._add(concatenated(frames))

    def _add(self, frame: Frame) -> None:
        self._learn()
        frame = frame.of_streams(self._wanted)
        now_s = self._sliding.now_s
        if frame.span()[1] > now_s + frame.length_s - 1:
            self._early.append(frame.between(now_s, 2**62))  # a clock ahead of ours
            frame = frame.between(0, now_s)
        self._sliding.add(frame)

    def _learn(self) -> None:
        """Find the place of streams that are new."""
        known = len(self._wanted)
        fresh = [self._place(known + n, s) for n, s in enumerate(self._streams.since(known))]
        if fresh:
            self._wanted = np.append(self._wanted, np.array(fresh, dtype=np.bool_))

    def _place(self, number: int, stream: Stream) -> bool:
        """Return whether a stream is counted here."""
        about = stream.about
        index = self._index.setdefault(stream.series, _Index())
        if isinstance(about, SketchKey) and about.metric in (RTT, JITTER):
            index.sketches[about.metric, about.quality] = number
            return True
        if isinstance(about, Packets) and about.field in _OUTCOMES:
            index.packets[about.field] = number
            return True
        return False

    def _now_s(self) -> int:
        return int(self._clock()) // WINDOW_S * WINDOW_S
