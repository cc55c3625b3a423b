"""What one session counted in one window, until the window is closed."""

from __future__ import annotations

from array import array

import numpy as np

from analytics.sketch import Sketch
from analytics.windows import PacketCounts, PathWindow, SeriesKey, SketchKey, SloCounts
from netslo.metrics import JITTER, RTT
from netslo.model import Quality, SloThreshold, Window
from probes.jitter import packet_delay_variation


class WindowLedger:
    """Every due packet is entered once, by `enter`, and settled once, as one Outcome.

    `close_ns` is the monotonic time from which the window may be closed, if it is settled.
    """

    def __init__(
        self,
        key: SeriesKey,
        window: Window,
        thresholds: tuple[SloThreshold, ...],
        close_ns: int,
    ) -> None:
        self.window = window
        self.close_ns = close_ns
        self.pending = 0
        self.seqs: list[int] = []  # of the packets sent, so that the session can forget them
        self._key = key
        self._thresholds = thresholds
        self._packets = PacketCounts()
        self._slo = {threshold.slo: SloCounts() for threshold in thresholds}
        self._rtt_s: dict[Quality, array[float]] = {}
        self._interarrival_jitter_s: float | None = None

    def enter(self, packets: int = 1) -> None:
        """Let packets of this window become due."""
        self.pending += packets

    def answered(
        self,
        rtt_s: float,
        quality: Quality,
        interarrival_jitter_s: float | None,
        *,
        reordered: bool,
    ) -> None:
        """Settle one packet; judge it at the exact thresholds."""
        self.pending -= 1
        self._packets.answered += 1
        self._packets.reordered += reordered
        self._rtt_s.setdefault(quality, array("d")).append(rtt_s)
        self._interarrival_jitter_s = interarrival_jitter_s
        for threshold in self._thresholds:
            if threshold.is_good(rtt_s):
                self._slo[threshold.slo].good += 1
            else:
                self._slo[threshold.slo].bad += 1

    def lost(self) -> None:
        """Settle one packet; it is bad under every objective."""
        self.pending -= 1
        self._packets.lost += 1
        for counts in self._slo.values():
            counts.bad += 1

    def unmeasured(self, packets: int = 1) -> None:
        """Settle packets about which nothing can be said."""
        self.pending -= packets
        self._packets.unmeasured += packets
        for counts in self._slo.values():
            counts.unmeasured += packets

    def duplicated(self) -> None:
        """Count a further answer to a packet of this window."""
        self._packets.duplicates += 1

    def close(self) -> PathWindow:
        """Return the window; the ledger is of no further use.

        Raises:
            ValueError: packets are still pending.
        """
        if self.pending:
            raise ValueError(f"{self.pending} packets of {self.window} are pending")
        return PathWindow(
            key=self._key,
            window=self.window,
            packets=self._packets,
            sketches=self._sketches(),
            slo=self._slo,
            interarrival_jitter_s=self._interarrival_jitter_s,
        )

    def _sketches(self) -> dict[SketchKey, Sketch]:
        found: dict[SketchKey, Sketch] = {}
        for quality, values in self._rtt_s.items():
            rtt_s = np.array(values)
            rtt, variation = Sketch(), Sketch()
            rtt.add(rtt_s)
            variation.add(packet_delay_variation(rtt_s))
            found[SketchKey(RTT, quality)] = rtt
            found[SketchKey(JITTER, quality)] = variation
        return found
