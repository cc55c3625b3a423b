"""Bandwidth servers of several sites in one process, changed while they run."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from netslo.errors import NetsloError
from netslo.model import Endpoint
from probes.bandwidth.admission import ServerLimits
from probes.bandwidth.granting import KeptLeases
from probes.bandwidth.keeper import FileKeeper
from probes.bandwidth.serving import BandwidthService
from probes.bandwidth.state import StateDirectory


@dataclass(frozen=True, slots=True)
class TestStation:
    """Where a site answers bandwidth tests, and by whose leases."""

    __test__ = False  # pytest: no tests in here

    endpoint: Endpoint
    directory: pathlib.Path  # the site's state directory
    stamp: Endpoint | None = None  # where it answers STAMP
    key: bytes | None = field(default=None, repr=False)


class BandwidthServers:
    """Serves at stations, and at others when told so. For one thread."""

    def __init__(self, limits: ServerLimits | None = None) -> None:
        self._limits = limits or ServerLimits()
        self._running: dict[TestStation, BandwidthService] = {}

    def arrange(self, stations: Iterable[TestStation]) -> None:
        """Serve at these stations and no others; what is the same is untouched.

        Raises:
            NetsloError: an address cannot be bound, or a state directory not be used; what was
                served before is served again.
        """
        wanted = list(dict.fromkeys(stations))
        before = list(self._running)
        for station in [station for station in before if station not in wanted]:
            self._running.pop(station).end()
        try:
            self._begin(wanted)
        except NetsloError:
            for station in [station for station in self._running if station not in before]:
                self._running.pop(station).end()
            self._begin(before)
            raise

    def check(self) -> None:
        """See that every server still works.

        Raises:
            BaseException: what one of them failed with.
        """
        for each in self._running.values():
            each.check()

    def end(self) -> None:
        """Serve no more."""
        while self._running:
            self._running.popitem()[1].end()

    def _begin(self, stations: Iterable[TestStation]) -> None:
        for station in stations:
            if station not in self._running:
                leases = KeptLeases(FileKeeper(StateDirectory(station.directory)))
                service = BandwidthService([station.endpoint], self._limits, leases)
                service.begin(station.key, [station.stamp] if station.stamp is not None else ())
                self._running[station] = service
