"""One moment on both clocks, and how to read them together."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

_READ_SPAN_NS: Final = 5_000  # a reading that took longer was interrupted, and is taken again
_READ_TRIES: Final = 4


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on both clocks: `wall_ns` compares sites, `mono_ns` measures spans.

    `wall_ns` is Unix time (CLOCK_REALTIME), which can step; `mono_ns` is CLOCK_MONOTONIC,
    which cannot. Both are whole nanoseconds.
    """

    wall_ns: int
    mono_ns: int

    @property
    def offset_ns(self) -> int:
        """Wall minus monotonic; it changes when, and only when, the wall clock steps."""
        return self.wall_ns - self.mono_ns

    def at_wall(self, wall_ns: int) -> Instant:
        """Return the moment whose wall time is `wall_ns`, if no step lies between."""
        return Instant(wall_ns, wall_ns - self.offset_ns)

    def at_mono(self, mono_ns: int) -> Instant:
        """Return the moment whose monotonic time is `mono_ns`, if no step lies between."""
        return Instant(mono_ns + self.offset_ns, mono_ns)


def read_clocks() -> Instant:
    """Read both clocks as one moment.

    The process may lose the processor between the two readings, which would look like a
    step of the wall clock and enter every span as an error: such a reading is taken again.
    """
    best_ns, best = 1 << 63, Instant(0, 0)
    for _ in range(_READ_TRIES):
        before_ns = time.monotonic_ns()
        wall_ns = time.time_ns()
        span_ns = time.monotonic_ns() - before_ns
        if span_ns < best_ns:
            best_ns, best = span_ns, Instant(wall_ns, before_ns + span_ns // 2)
        if span_ns < _READ_SPAN_NS:
            break
    return best
