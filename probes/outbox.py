"""What leaves one site: its windows, numbered and durable, and its probe's health."""

from __future__ import annotations

import pathlib
import uuid
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from analytics.otlp import encode_batch
from analytics.readings import Reading
from analytics.windows import Batch, PathWindow, SeriesKey
from netslo.model import Window
from netslo.route import RouteObservation
from probes.channel import Report
from probes.export import Deliverer
from probes.health import ProbeHealth
from probes.spool import Spool
from probes.trace.watch import TraceReport

ROUTES_MAX: Final = 4096  # observations that wait for windows to go with


@dataclass(frozen=True, slots=True)
class Gathered:
    """What one batch will say."""

    windows: tuple[PathWindow, ...] = ()
    routes: tuple[RouteObservation, ...] = ()
    readings: tuple[Reading, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is something that should leave now; routes go with the next windows."""
        return bool(self.windows or self.readings)


class Outbox:
    """One site's way to the collector.

    A batch's identity is the instance, new with every start, and a sequence number without
    gaps; the collector counts each identity once, however often the spool delivers it.

    Raises:
        NetsloError: the spool's directory cannot be used.
    """

    def __init__(self, site: str, collector_url: str, spool_dir: pathlib.Path) -> None:
        self.site = site
        self.instance_id = str(uuid.uuid4())
        self._sequence = 0
        self._gathered: list[PathWindow] = []
        self._routes: deque[RouteObservation] = deque(maxlen=ROUTES_MAX)
        self._readings: list[Reading] = []
        self._spool = Spool(spool_dir)
        self.deliverer = Deliverer(self._spool, collector_url)
        self.health = ProbeHealth(site, self.instance_id, collector_url)

    def take_in(self, report: Report) -> None:
        """Gather the windows of a report, and count the rest of it as the probe's health."""
        self._gathered += report.windows
        if report.lateness_s:
            self.health.record_lateness(report.lateness_s)
        if report.clock is not None:
            self.health.set_clock_error(report.clock.error_s_max)
        if report.certificates:
            self.health.note_certificates(report.certificates)
        for reason, packets in report.discarded.items():
            self.health.count_discarded(reason, packets)

    def take_in_trace(self, report: TraceReport) -> None:
        """Gather what a trace saw; it leaves with the next windows."""
        self._routes += report.observations
        self.health.count_trace(report.result)
        for reason, packets in report.discarded.items():
            self.health.count_discarded(reason, packets)

    def take_readings(self, readings: Iterable[Reading]) -> None:
        """Gather what a bandwidth test found."""
        self._readings += readings

    @property
    def depth(self) -> int:
        """Batches that wait for the collector."""
        return self._spool.depth

    def take_gathered(self) -> Gathered:
        """Return what was gathered for `put`, each series' flows added up; gather anew."""
        if not (self._gathered or self._readings):
            return Gathered()
        windows, self._gathered = self._gathered, []
        readings, self._readings = self._readings, []
        routes = tuple(self._routes)
        self._routes.clear()
        return Gathered(tuple(_added_up(windows)), routes, tuple(readings))

    def put(self, gathered: Gathered) -> None:
        """Make one batch of it and spool it; blocks until it is on the disk."""
        batch = Batch(
            self.site,
            self.instance_id,
            self._sequence,
            gathered.windows,
            gathered.routes,
            readings=gathered.readings,
        )
        self._sequence += 1
        payload = encode_batch(batch)
        self.health.set_spool_depth(
            self._spool.depth, self.deliverer.held
        )  # what should have gone by now
        self._spool.put(payload, instance_id=batch.instance_id, sequence=batch.sequence)

    def close(self) -> None:
        """Release the spool and send the last health figures; blocks."""
        self._spool.close()
        self.health.shutdown()


def _added_up(windows: Iterable[PathWindow]) -> Iterable[PathWindow]:
    """Make one of what several flows of a path counted in the same window; exact in any order."""
    whole: dict[tuple[SeriesKey, Window], PathWindow] = {}
    for window in windows:
        first = whole.setdefault((window.key, window.window), window)
        if first is not window:
            first.absorb(window)
    return whole.values()
