"""When packets are due: absolute, periodic, open loop (RFC 3432).

A packet's due time depends on nothing that was measured, so a slow path or a busy prober
cannot thin out the sample just when it matters (coordinated omission).
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from netslo.model import NS_PER_S, Window

T = TypeVar("T")

LATE_NS: Final = 1_000_000  # a packet that left so long after its time is said to be late
LATE_TOLERANCE_NS: Final = 100_000_000


def random_phase_ns(interval_ns: int, rng: random.Random | None = None) -> int:
    """Return where in the first interval a stream starts (RFC 3432 §4: T0 is random).

    It keeps streams from beating with each other and with periodic events of the network.
    """
    return (rng or random).randrange(interval_ns)


def late_tolerance_ns(interval_ns: int) -> int:
    """Return how late a packet may leave and still stand for its due time."""
    return max(interval_ns, LATE_TOLERANCE_NS)


class PeriodicSchedule:
    """due(k) = first + k * interval on the monotonic clock, for k below `count` or for ever.

    Every k comes out exactly once, by `take` or by `skip_before`.
    """

    def __init__(self, first_ns: int, interval_ns: int, count: int | None = None) -> None:
        if interval_ns <= 0:
            raise ValueError(f"interval_ns must be positive, got {interval_ns}")
        self.interval_ns = interval_ns
        self._first_ns = first_ns
        self._count = count
        self._k = 0

    @property
    def next_ns(self) -> int | None:
        """When the next packet is due; None when no more are."""
        if self._count is not None and self._k >= self._count:
            return None
        return self._first_ns + self._k * self.interval_ns

    def take(self, now_ns: int) -> int | None:
        """Take the next packet if it is due by now, and return when it was due."""
        due_ns = self.next_ns
        if due_ns is None or due_ns > now_ns:
            return None
        self._k += 1
        return due_ns

    def skip_before(self, limit_ns: int) -> tuple[int, int]:
        """Take all packets due before `limit_ns`; return when the first was due and how many."""
        first_ns = self._first_ns + self._k * self.interval_ns
        passed = max(0, -((first_ns - limit_ns) // self.interval_ns))
        if self._count is not None:
            passed = min(passed, self._count - self._k)
        self._k += passed
        return first_ns, passed

    def stop(self) -> None:
        """Let no further packet become due."""
        self._count = self._k


def count_by_window(
    first_wall_ns: int, interval_ns: int, count: int
) -> Iterator[tuple[Window, int]]:
    """Yield the windows of `count` periodic due times with how many fall in each.

    The work is per window, not per packet: a prober that slept for hours has many packets.
    """
    while count > 0:
        window = Window.containing(first_wall_ns)
        left_ns = window.end_s * NS_PER_S - first_wall_ns
        inside = min(count, -(-left_ns // interval_ns))
        yield window, inside
        first_wall_ns += inside * interval_ns
        count -= inside


class Timetable(Generic[T]):
    """Items by the time at which they want attention; equal times keep their order."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, T]] = []
        self._tie = itertools.count()

    @property
    def next_ns(self) -> int | None:
        """The earliest time; None when empty."""
        return self._heap[0][0] if self._heap else None

    def push(self, when_ns: int, item: T) -> None:
        heapq.heappush(self._heap, (when_ns, next(self._tie), item))

    def pop_due(self, now_ns: int, items_max: int | None = None) -> list[T]:
        """Remove and return the items whose time has come, earliest first."""
        due: list[T] = []
        while self._heap and self._heap[0][0] <= now_ns and len(due) != items_max:
            due.append(heapq.heappop(self._heap)[2])
        return due

    def clear(self) -> None:
        self._heap.clear()
