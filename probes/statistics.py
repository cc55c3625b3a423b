"""From what became of each packet to what is published of a window; docs/metrics.md defines it."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.sketch import Sketch
from analytics.windows import (
    CAPACITY_TEST,
    DIRECTIONS,
    FORWARD,
    REVERSE,
    CountKey,
    PacketCounts,
    PathWindow,
    SeriesKey,
    SketchKey,
)
from netslo import metrics
from netslo.model import NS_PER_S, SloThreshold, Window
from probes import one_way
from probes.bursts import BurstTracker
from probes.clock import ClockState
from probes.jitter import InterarrivalJitter, ipdv_ns, packet_delay_variation
from probes.loss_direction import DirectionTracker
from probes.marks import TtlTracker, remarked
from probes.outcome import QUALITIES, Outcomes, State, set_aside
from probes.slo_counts import count_events

_SET_ASIDE: Final = CountKey(metrics.SET_ASIDE, CAPACITY_TEST)


class WindowStatistics:
    """The windows of one session, in order.

    What spans two windows, a burst of losses or the change from one packet to the next, is counted
    once, in the later one; what is left when the session is over, `end` returns.
    """

    def __init__(
        self,
        key: SeriesKey,
        interval_ns: int,
        dscp: int = 0,
        *,
        spoilt: Callable[[Window], bool] | None = None,
    ) -> None:
        """Begin.

        Args:
            key: Of the series.
            interval_ns: From one due time to the next.
            dscp: Of the packets.
            spoilt: Whether a window is no evidence, since a capacity test loaded the path. Its
                packets then are due and unmeasured, and nothing else is told of them.
        """
        self._key = key
        self._spoilt = spoilt
        self._interval_ns = interval_ns
        self._dscp = dscp
        self._jitter = InterarrivalJitter()
        self._bursts = BurstTracker(interval_ns)
        self._directions = DirectionTracker()
        self._ttls = TtlTracker()
        self._last: Outcomes | None = None  # the last packet of the window before
        self._last_window: Window | None = None

    def close(
        self,
        window: Window,
        outcomes: Outcomes,
        thresholds: tuple[SloThreshold, ...],
        clock: ClockState,
        *,
        unmeasured: int = 0,
    ) -> PathWindow:
        """Return a window.

        Args:
            window: Of all its packets.
            outcomes: Its packets, all settled, in the order of their due times.
            thresholds: What to judge them by.
            clock: This host's.
            unmeasured: Further packets, which have no rows.
        """
        found = PathWindow(self._key, window)
        if self._spoilt is not None and self._spoilt(window):
            outcomes, found.counts[_SET_ASIDE] = set_aside(outcomes)
        state = outcomes["state"]
        answered = outcomes[state == State.ANSWERED]
        found.packets = PacketCounts(
            answered=len(answered),
            lost=int((state == State.LOST).sum()),
            unmeasured=int((state == State.UNMEASURED).sum()) + unmeasured,
            duplicates=int(outcomes["duplicates"].sum()),
            reordered=int(answered["reordered"].sum()),
        )
        withheld = _add_one_way(found, answered, clock)
        self._judge(found, outcomes, thresholds, withheld, unmeasured)
        self._add_round_trips(found, outcomes, answered)
        self._add_losses(found, outcomes)
        self._add_marks(found, answered)
        found.counts = +found.counts  # without zeros
        if len(outcomes):
            self._last = outcomes[-1:].copy()
        self._last_window = window
        return found

    def end(self) -> PathWindow | None:
        """Return what belongs to the last window still, when no further packet will be due.

        None if there is nothing left.
        """
        length, ways = self._bursts.end(), self._directions.end()
        if self._last_window is None or not (length or any(ways)):
            return None
        found = PathWindow(self._key, self._last_window)
        lengths = np.full(1, float(length)) if length else np.zeros(0)
        _add_sketch(found, SketchKey(metrics.LOSS_PERIOD), lengths)
        _add_ways(found, *ways)
        found.counts = +found.counts
        return found

    def _judge(
        self,
        found: PathWindow,
        outcomes: Outcomes,
        thresholds: tuple[SloThreshold, ...],
        withheld: Container[str],
        unmeasured: int,
    ) -> None:
        follows = self._last_window is not None and self._last_window.end_s == found.window.start_s
        before = self._last if follows else None
        for threshold in thresholds:
            counts = count_events(threshold, outcomes, before, withheld=withheld)
            counts.unmeasured += unmeasured
            found.slo[threshold.slo] = counts

    def _add_round_trips(self, found: PathWindow, outcomes: Outcomes, answered: Outcomes) -> None:
        rtt_s = answered["rtt_ns"] / NS_PER_S
        for each_s in rtt_s[np.argsort(answered["order"])].tolist():
            self._jitter.observe(each_s)
        found.interarrival_jitter_s = self._jitter.estimate_s
        changes_ns, of_quality = ipdv_ns(outcomes, self._last, self._interval_ns)
        for place, quality in enumerate(QUALITIES):
            own_s = rtt_s[answered["quality"] == place]
            _add_sketch(found, SketchKey(metrics.RTT, quality), own_s)
            _add_sketch(found, SketchKey(metrics.JITTER, quality), packet_delay_variation(own_s))
            own_s = changes_ns[of_quality == place] / NS_PER_S
            _add_sketch(found, SketchKey(metrics.IPDV, quality), own_s)
        extents = answered["extent"][answered["extent"] > 0]
        _add_sketch(found, SketchKey(metrics.REORDERING_EXTENT), extents.astype(np.float64))

    def _add_losses(self, found: PathWindow, outcomes: Outcomes) -> None:
        bursts = self._bursts.observe(outcomes)
        for name, packets in bursts.transitions.items():
            found.counts[CountKey(metrics.TRANSITIONS, name)] = packets
        _add_sketch(found, SketchKey(metrics.LOSS_PERIOD), bursts.periods.astype(np.float64))
        _add_sketch(found, SketchKey(metrics.LOSS_DISTANCE), bursts.distances.astype(np.float64))
        _add_ways(found, *self._directions.observe(outcomes))

    def _add_marks(self, found: PathWindow, answered: Outcomes) -> None:
        for dscp, packets in remarked(answered, self._dscp).items():
            found.counts[CountKey(metrics.REMARKED, str(dscp))] = packets
        for direction, changes in self._ttls.observe(answered).items():
            found.counts[CountKey(metrics.TTL_CHANGES, "", direction)] = changes


def _add_one_way(found: PathWindow, answered: Outcomes, clock: ClockState) -> set[str]:
    """Add delays where they are facts, else their variation; return the directions withheld."""
    withheld: set[str] = set()
    offset = one_way.clock_offset(answered)
    if offset is None:
        return withheld
    found.clock_offset_s, found.clock_offset_error_s = offset.offset_s, offset.error_s
    told = one_way.known(answered, FORWARD)
    error_s = found.delay_error_s = one_way.error_s_max(told, clock)
    for direction in DIRECTIONS:
        delays_s = told[one_way.SPANS[direction]] / NS_PER_S
        why = one_way.why_withheld(delays_s, error_s)
        if why is not None:
            withheld.add(direction)
            found.counts[CountKey(metrics.WITHHELD_DELAYS, why, direction)] = len(delays_s)
        negative = int((delays_s < 0).sum())
        found.counts[CountKey(metrics.NEGATIVE_DELAYS, "", direction)] = negative
        for place, quality in enumerate(QUALITIES):
            own_s = delays_s[told["quality"] == place]
            if why is None:
                _add_sketch(found, SketchKey(metrics.DELAY, quality, direction), own_s)
            else:
                key = SketchKey(metrics.DELAY_VARIATION, quality, direction)
                _add_sketch(found, key, packet_delay_variation(own_s))
    return withheld


def _add_ways(found: PathWindow, forward: int, reverse: int) -> None:
    found.counts[CountKey(metrics.DIRECTED_LOSS, "", FORWARD)] = forward
    found.counts[CountKey(metrics.DIRECTED_LOSS, "", REVERSE)] = reverse


def _add_sketch(found: PathWindow, key: SketchKey, values: NDArray[np.float64]) -> None:
    """Add a sketch of values, if there are any."""
    if len(values):
        sketch = found.sketches[key] = Sketch()
        sketch.add(values)
