"""Every distribution since the store was made, for native histograms: counters never go back.

Kept in memory as batches are committed, for what a store holds is read once at the start. So
after a kill a scrape finds at least what the scrape before it found.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import numpy as np

from analytics.frame import Frame
from analytics.prometheus.families import NativeFamily
from analytics.prometheus.native import NativeHistogram, native_histograms
from analytics.running_total import RunningTotal
from analytics.store.interface import DAY_S, EVER_S
from analytics.streams import Streams
from analytics.windows import SketchKey
from netslo import metrics
from netslo.estate import Estate
from netslo.metrics import DELAY, RTT
from netslo.model import WINDOW_S

# What is nearly past its retention may be dropped by the store: it counts from the next start on.
_AGE_S: Final = 34 * DAY_S
_NAMES: Final = {
    RTT: (metrics.PROM_RTT, "Round-trip time of answered probe packets"),
    DELAY: (metrics.PROM_DELAY, "One-way delay of answered probe packets"),
    metrics.DELAY_VARIATION: (
        metrics.PROM_DELAY_VARIATION,
        "One-way packet delay variation (RFC 5481), where the clocks tell no delay",
    ),
    metrics.IPDV: (metrics.PROM_IPDV, "Change of the delay between packets in a row (RFC 3393)"),
    metrics.LOSS_PERIOD: (
        metrics.PROM_LOSS_PERIOD,
        "Packets lost in a row, each burst once when it is over (RFC 3357)",
    ),
    metrics.LOSS_DISTANCE: (
        metrics.PROM_LOSS_DISTANCE,
        "Packets from each loss to the one before (RFC 3357)",
    ),
    metrics.REORDERING_EXTENT: (
        metrics.PROM_REORDERING_EXTENT,
        "How many answers too late a reordered one came (RFC 4737)",
    ),
    metrics.PHASE_DNS: (metrics.PROM_PHASE_DNS, "Part of a request: the name's addresses"),
    metrics.PHASE_CONNECT: (metrics.PROM_PHASE_CONNECT, "Part of a request: TCP's handshake"),
    metrics.PHASE_TLS: (metrics.PROM_PHASE_TLS, "Part of a request: TLS' handshake"),
    metrics.PHASE_FIRST_BYTE: (
        metrics.PROM_PHASE_FIRST_BYTE,
        "Part of a request: from its sending to the first octet of the answer",
    ),
    metrics.PHASE_TRANSFER: (
        metrics.PROM_PHASE_TRANSFER,
        "Part of a request: from the first octet of the answer to the last",
    ),
}


class Cumulative:
    """Publishes round-trip times and one-way delays as native histograms. Thread-safe.

    A path whose values span more than Prometheus' coarsest schema has none: see `native`.
    """

    def __init__(
        self,
        streams: Streams,
        estate: Estate,
        clock: Callable[[], float],
    ) -> None:
        self._streams = streams
        self._estate = estate
        self._clock = clock
        self._total = RunningTotal()
        self._lock = threading.Lock()

    def start(self, total: Frame) -> None:
        """Begin with what a store holds, before anything else is noted."""
        with self._lock:
            self._total = RunningTotal(total)

    def note(self, frame: Frame) -> None:
        """Take what was committed."""
        oldest_s = int(self._clock()) // WINDOW_S * WINDOW_S - _AGE_S
        with self._lock:
            self._total.add(frame.only_distributions().between(oldest_s, EVER_S))

    def collect_native(self) -> Iterable[NativeFamily]:
        """Return the families."""
        found: dict[str, list[tuple[Mapping[str, str], NativeHistogram]]] = {m: [] for m in _NAMES}
        with self._lock:
            table = self._total.settle()
            rows = list(self._known(table.stream.tolist()))
            table = table.taken(np.array([row for row, _, _ in rows], np.int64))
        histograms = native_histograms(table)
        for (_, about, labels), histogram in zip(rows, histograms, strict=True):
            if histogram is not None:
                found[about.metric].append((labels, histogram))
        return [
            NativeFamily(name, text, tuple(found[metric]))
            for metric, (name, text) in _NAMES.items()
        ]

    def _known(self, streams: list[int]) -> Iterator[tuple[int, SketchKey, dict[str, str]]]:
        for row, number in enumerate(streams):
            stream = self._streams[number]
            about, path = stream.about, stream.series.path
            if not isinstance(about, SketchKey) or about.metric not in _NAMES:
                continue
            if self._estate.knows(path):
                labels = {
                    "path": path.id,
                    "src_site": path.src,
                    "dst_site": path.dst,
                    "class": path.traffic_class,
                    "scope": self._estate.scope(path).value,
                    "probe": stream.series.probe.value,
                }
                if about.quality is not None:
                    labels["quality"] = about.quality.value
                if about.direction:
                    labels["direction"] = about.direction
                yield row, about, labels
