"""Tables in memory that keep up with the store: made from it at the start, then batch by batch.

What is committed from then on waits until the table is made, and what comes from a clock ahead of
ours waits until its time has come. Where our own clock was ahead and was set back, the table has
let go of what it should still hold: it is made anew.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, Protocol, TypeVar

from analytics.collector.early import Early
from analytics.frame import Frame, concatenated
from analytics.store.interface import PointHistory
from netslo.model import WINDOW_S

_INTERVAL_S: Final = 1.0
_WAITING_POINTS_MAX: Final = 1_000_000  # then who brings more does the work
_SLOW_S: Final = 5.0
_AHEAD_S: Final = 60  # a clock set back by more leaves a table in a future that is none

_log = logging.getLogger(__name__)


class Table(Protocol):
    """What is kept up."""

    distributions: bool  # whether it has a use for them

    @property
    def now_s(self) -> int:
        """Where the present window begins."""

    def advance(self, now_s: int) -> None:
        """Let time pass."""

    def spans(self) -> list[tuple[int, int, int]]:
        """Return what an empty table wants of the past: (from, to, length of longest windows)."""

    def wanted(self, frame: Frame) -> Frame:
        """Return the points that the table has a use for."""

    def add(self, frame: Frame) -> None:
        """Add such points, of windows that have begun."""


T = TypeVar("T", bound=Table)


class Follower(Generic[T]):
    """Keeps a table up, in a thread of its own. Any thread may call it.

    `what` is what the table holds, in words for the log.
    """

    def __init__(self, table: T, clock: Callable[[], float], what: str) -> None:
        self.problem: str | None = None  # why there are no figures
        self.table = table
        self._clock = clock
        self._what = what
        self._early = Early()
        self._waiting: deque[Frame] = deque()
        self._waiting_points = 0
        self._lock = threading.Lock()  # of all but what waits
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, history: PointHistory) -> None:
        """Begin with what a store holds; nothing may be noted that is in it already."""
        self._begin(self._run, history)

    def begin_anew(self, table: T, history: PointHistory) -> None:
        """Let an empty table follow instead, from such a history on; between commits."""
        with self._lock:
            self._ready.clear()
            self.table, self._early = table, Early()
            self._waiting.clear()  # all of it is in the history
            self._waiting_points = 0
        self._begin(self._read_all, history)

    def stop(self) -> None:
        """End the threads."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def note(self, frame: Frame) -> None:
        """Take what was committed."""
        if self.problem is None:
            self._waiting.append(frame)
            self._waiting_points += frame.points
            if self._waiting_points > _WAITING_POINTS_MAX:
                self._catch_up()

    @property
    def ready(self) -> bool:
        """Whether the past is in the table, or never will be."""
        return self._ready.is_set()

    @property
    def astray(self) -> bool:
        """Whether the clock has led the table to where it can only begin anew."""
        ahead_s = self.table.now_s - self._clock()
        return ahead_s > _AHEAD_S or self._early.lacks(self._now_s())

    @contextmanager
    def up_to_date(self, patience_s: float) -> Iterator[bool]:
        """Hold the table still, with all that was committed; False where it has no figures."""
        if not self._ready.wait(patience_s):  # the past is being read, and the lock held
            yield False
            return
        self._catch_up()
        with self._lock:
            yield self.problem is None

    def _begin(self, work: Callable[[PointHistory], None], history: PointHistory) -> None:
        thread = threading.Thread(target=work, name=self._what, args=(history,), daemon=True)
        self._threads = [*(each for each in self._threads if each.is_alive()), thread]
        thread.start()

    def _run(self, history: PointHistory) -> None:
        self._read_all(history)
        while self.problem is None and not self._stopping.wait(_INTERVAL_S):
            self._catch_up()

    def _read_all(self, history: PointHistory) -> None:
        began_s = time.monotonic()
        try:
            with self._lock, self._said():
                self._read_history(history)
        finally:
            history.close()
            self._ready.set()
        if (took_s := time.monotonic() - began_s) > _SLOW_S:
            _log.info("%s took %.0f s to make", self._what, took_s)

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Say what went wrong, to the log and to who asks; what is kept is not in danger."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - commits go on without these figures
            _log.exception("there are no %s until the next start", self._what)
            self.problem = f"{type(error).__name__}: {error}"

    def _read_history(self, history: PointHistory) -> None:
        self.table.advance(self._now_s())
        for span in self.table.spans():
            for frame in history.frames(*span, distributions=self.table.distributions):
                if self._stopping.is_set():
                    return
                self._add(frame)

    def _catch_up(self) -> None:
        with self._lock, self._said():
            self.table.advance(self._now_s())
            frames = self._early.due(self.table.now_s)
            while self._waiting:
                frames.append(self._waiting.popleft())
            self._waiting_points = 0
            if frames:
                self._add(concatenated(frames))

    def _add(self, frame: Frame) -> None:
        frame = self.table.wanted(frame)
        now_s = self.table.now_s
        if frame.span()[1] > now_s + frame.length_s - 1:
            self._early.put(frame.between(now_s, 2**62))  # a clock ahead of ours
            frame = frame.between(0, now_s)
        self.table.add(frame)

    def _now_s(self) -> int:
        return int(self._clock()) // WINDOW_S * WINDOW_S
