"""From what became of each packet to what is published of a window."""

from __future__ import annotations

import numpy as np

from analytics.sketch import Sketch
from analytics.windows import PacketCounts, PathWindow, SeriesKey, SketchKey
from netslo.metrics import JITTER, RTT
from netslo.model import NS_PER_S, SloThreshold, Window
from probes.clock import ClockState
from probes.jitter import InterarrivalJitter, packet_delay_variation
from probes.outcome import QUALITIES, Outcomes, State
from probes.slo_counts import count_events


class WindowStatistics:
    """The windows of one session, in order."""

    def __init__(self, key: SeriesKey, dscp: int = 0) -> None:
        self._key = key
        self._dscp = dscp
        self._jitter = InterarrivalJitter()
        self._last: Outcomes | None = None  # the last packet of the window before
        self._last_end_s = 0

    def close(
        self,
        window: Window,
        outcomes: Outcomes,
        thresholds: tuple[SloThreshold, ...],
        clock: ClockState,
    ) -> PathWindow:
        """Return a window; `outcomes` are its packets, all settled, in the order of sending."""
        state = outcomes["state"]
        answered = outcomes[state == State.ANSWERED]
        packets = PacketCounts(
            answered=len(answered),
            lost=int((state == State.LOST).sum()),
            unmeasured=int((state == State.UNMEASURED).sum()),
            duplicates=int(outcomes["duplicates"].sum()),
            reordered=int(answered["reordered"].sum()),
        )
        rtt_s = answered["rtt_ns"] / NS_PER_S
        for each_s in rtt_s[np.argsort(answered["order"])].tolist():
            self._jitter.observe(each_s)
        before = self._last if self._last_end_s == window.start_s else None
        slo = {
            threshold.slo: count_events(
                threshold, outcomes, before, clocks_agree=clock.synchronised
            )
            for threshold in thresholds
        }
        if outcomes.size:
            self._last, self._last_end_s = outcomes[-1:].copy(), window.end_s
        sketches = {}
        for place, quality in enumerate(QUALITIES):
            own_s = rtt_s[answered["quality"] == place]
            if own_s.size:
                rtt, variation = Sketch(), Sketch()
                rtt.add(own_s)
                variation.add(packet_delay_variation(own_s))
                sketches[SketchKey(RTT, quality)] = rtt
                sketches[SketchKey(JITTER, quality)] = variation
        jitter_s = self._jitter.estimate_s
        return PathWindow(self._key, window, packets, sketches, slo, jitter_s)
