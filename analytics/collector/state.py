"""What the collector remembers beside the store: probes' health and each path's last window."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from analytics.frame import Frame
from analytics.otlp import HealthPoint
from analytics.store.interface import LATE_S
from analytics.streams import Gauge, Streams
from analytics.windows import SeriesKey
from netslo.metrics import (
    ATTR_OUTCOME,
    ATTR_QUANTILE,
    CERTIFICATE_EXPIRY,
    CLOCK_ERROR,
    DISCARDED,
    FLOW_LOSS,
    FLOW_RTT,
    LACKS,
    NOISE_FLOOR,
    SPOOL_BATCHES,
    TESTS,
    TRACES,
)

HEALTH_STALE_S: Final = 600.0
FLOW_STALE_S: Final = 60.0  # flows come and go while their probe stays
REASONS_MAX: Final = 32  # of discarded packets, of one probe
FLOWS_MAX: Final = 256
QUANTILES: Final = ("0.5", "0.9", "0.99", "0.999")  # of a noise floor
LABELS: Final = {  # of an instrument, beside the probe's own
    DISCARDED: ("reason",),
    TRACES: ("result",),
    LACKS: ("notice",),
    TESTS: (ATTR_OUTCOME,),
    NOISE_FLOOR: (ATTR_QUANTILE,),
    FLOW_RTT: ("path", "flow"),
    FLOW_LOSS: ("path", "flow"),
    CERTIFICATE_EXPIRY: ("path",),
}
_OF_FLOWS: Final = (FLOW_RTT, FLOW_LOSS, CERTIFICATE_EXPIRY)  # and of paths, which come and go too

Instrument = tuple[str, ...]  # the metric's name, and the values of its labels


@dataclass(slots=True)
class ProbeReport:
    """The latest figures of one start of one site's probe."""

    site: str
    instance: str
    received_s: float
    values: dict[Instrument, float] = field(default_factory=dict)
    received: dict[Instrument, float] = field(default_factory=dict)  # when each came last

    def note(self, instrument: Instrument, value: float, now_s: float) -> None:
        """Remember a figure; surplus ones are ignored."""
        self.received_s = now_s
        if instrument not in self.values:
            self.forget_flows(now_s)
            most = FLOWS_MAX if instrument[0] in _OF_FLOWS else REASONS_MAX
            if sum(known[0] == instrument[0] for known in self.values) >= most:
                return
        self.values[instrument], self.received[instrument] = value, now_s

    def forget_flows(self, now_s: float) -> None:
        """Forget flows that are not heard of any more."""
        for instrument, at_s in list(self.received.items()):
            if instrument[0] in _OF_FLOWS and at_s < now_s - FLOW_STALE_S:
                del self.values[instrument], self.received[instrument]

    @property
    def noise_floor(self) -> dict[str, float | None]:
        """The host's own round trip by quantile, seconds; None where it is not known."""
        return {q: self.values.get((NOISE_FLOOR, q)) for q in QUANTILES}

    def to_json(self) -> dict[str, Any]:
        """Return an entry of /api/v1/probes; what is not known is null."""
        return {
            "site": self.site,
            "instance": self.instance,
            "last_report": self.received_s,
            "clock_error": self.values.get((CLOCK_ERROR,)),
            "spool_batches": self.values.get((SPOOL_BATCHES,)),
            "noise_floor": self.noise_floor,
        }


class HealthBoard:
    """The latest health of each probe; old and surplus ones are forgotten. Thread-safe."""

    def __init__(self, probes_max: int) -> None:
        self._probes_max = probes_max
        self._reports: dict[tuple[str, str], ProbeReport] = {}  # least recent first
        self._lock = threading.Lock()

    def note(self, point: HealthPoint, received_s: float) -> None:
        """Remember a figure."""
        key = (point.site, point.instance)
        with self._lock:
            report = self._reports.pop(key, None) or ProbeReport(*key, received_s)
            self._reports[key] = report
            attributes = dict(point.attributes)
            labels = (attributes.get(label, "") for label in LABELS.get(point.name, ()))
            report.note((point.name, *labels), point.value, received_s)
            while len(self._reports) > self._probes_max:
                del self._reports[next(iter(self._reports))]

    def noise_floors(self, now_s: float) -> dict[str, dict[str, float | None]]:
        """Return the noise floor of each site's latest report that has one, by quantile."""
        floors = {}
        for report in sorted(self.reports(now_s), key=lambda report: report.received_s):
            if any(value is not None for value in report.noise_floor.values()):
                floors[report.site] = report.noise_floor
        return floors

    def reports(self, now_s: float) -> list[ProbeReport]:
        """Return what is not stale, by site and instance."""
        with self._lock:
            for key, report in list(self._reports.items()):
                if report.received_s < now_s - HEALTH_STALE_S:
                    del self._reports[key]
                report.forget_flows(now_s)
            return [
                ProbeReport(*key, report.received_s, dict(report.values))
                for key, report in sorted(self._reports.items())
            ]


class LastStates:
    """The latest of what is a state and no sum, of each series. Thread-safe."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._states: dict[int, tuple[int, float]] = {}  # by stream: end of the window, value
        self._lock = threading.Lock()

    def note_frame(self, frame: Frame) -> None:
        gauges = frame.gauges
        rows = zip(
            gauges.stream.tolist(), gauges.start_s.tolist(), gauges.value.tolist(), strict=True
        )
        with self._lock:
            for stream, start_s, value in rows:
                end_s = start_s + frame.length_s
                if end_s >= self._states.get(stream, (0, 0.0))[0]:
                    self._states[stream] = (end_s, value)

    def since(self, time_s: float) -> Iterator[tuple[SeriesKey, Gauge, float]]:
        """Yield the states of windows that ended after `time_s`."""
        with self._lock:
            states = list(self._states.items())
        for number, (end_s, value) in states:
            stream = self._streams[number]
            if end_s > time_s and isinstance(stream.about, Gauge):
                yield stream.series, stream.about, value


class LastWindows:
    """When the last window of each series ended: how fresh its figures are. Thread-safe."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._ends = np.zeros(0, dtype=np.int64)  # by series
        self._lock = threading.Lock()

    def note_frame(self, frame: Frame) -> None:
        with self._lock:
            self._grow()
            for table in (frame.distributions, frame.counters):
                series = self._streams.series_of()[table.stream]
                np.maximum.at(self._ends, series, table.start_s + frame.length_s)

    def ends(self) -> Mapping[SeriesKey, int]:
        with self._lock:
            self._grow()
            known = zip(self._streams.series(), self._ends.tolist(), strict=False)
            return {series: end_s for series, end_s in known if end_s}

    def _grow(self) -> None:
        missing = self._streams.series_count - len(self._ends)
        if missing > 0:
            self._ends = np.append(self._ends, np.zeros(missing, dtype=np.int64))


class Arrivals:
    """When each site's probe last delivered, and when it last delivered late. Thread-safe.

    Rules see by it which probe is silent, and that what has just come is long over. No moment
    lies in the future, whatever a probe's clock says: it would hide that nothing comes any more.
    """

    def __init__(self, streams: Streams, clock: Callable[[], float]) -> None:
        self._streams = streams
        self._clock = clock
        self._numbers: dict[str, int] = {}  # of sites
        self._site = np.zeros(0, dtype=np.int64)  # by series
        self._ends: dict[str, float] = {}
        self._late: dict[str, float] = {}
        self._lock = threading.Lock()

    def note_frame(self, frame: Frame) -> None:
        """Take what was committed now."""
        self._note(frame, late_before_s=self._clock() - LATE_S)

    def note_known(self, frame: Frame, late_s: Mapping[str, float]) -> None:
        """Take what was committed before: it came when it came, late when `late_s` says."""
        self._note(frame, late_before_s=-np.inf)
        with self._lock:
            self._late.update(late_s)

    def _note(self, frame: Frame, late_before_s: float) -> None:
        counters = frame.counters
        if not len(counters.stream):
            return
        with self._lock:
            self._grow()
            site = self._site[self._streams.series_of()[counters.stream]]
            ends_s = counters.start_s + frame.length_s
            first = np.full(len(self._numbers), np.iinfo(np.int64).max)
            last = np.zeros(len(self._numbers), dtype=np.int64)
            np.minimum.at(first, site, ends_s)
            np.maximum.at(last, site, ends_s)
            now_s = self._clock()
            for name, number in self._numbers.items():
                if last[number]:
                    ended_s = min(float(last[number]), now_s)
                    self._ends[name] = max(self._ends.get(name, 0.0), ended_s)
                    if first[number] < late_before_s:
                        self._late[name] = now_s

    def _grow(self) -> None:
        if len(self._site) == self._streams.series_count:
            return
        fresh = [
            self._numbers.setdefault(series.path.src, len(self._numbers))
            for series in self._streams.series()[len(self._site) :]
        ]
        self._site = np.append(self._site, np.array(fresh, dtype=np.int64))

    def last_ends(self) -> dict[str, float]:
        """Return by site where its last window ends, Unix seconds."""
        return self._until_now(self._ends)

    def last_late(self) -> dict[str, float]:
        """Return by site when windows last came that were over for long, Unix seconds."""
        return self._until_now(self._late)

    def _until_now(self, moments_s: dict[str, float]) -> dict[str, float]:
        """Return moments, those of a future that our own clock was in as of now."""
        now_s = self._clock()
        with self._lock:
            for site, at_s in moments_s.items():
                moments_s[site] = min(at_s, now_s)
            return dict(moments_s)
