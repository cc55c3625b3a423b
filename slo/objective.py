"""What is promised, for which paths: objectives, already valid."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Final

from netslo.estate import Estate
from netslo.model import Direction, Measure, Path, Scope, SloThreshold
from slo.budget import MissingData
from slo.burn import Guard
from slo.exclusion import Exclusion
from slo.policy import DEFAULT_COVERAGE_MIN, DEFAULT_POLICY, AlertPolicy
from slo.slices import TimeSlices

DEFAULT_PERIOD_S: Final = 28 * 86400  # four equal sets of weekdays


class Indicator(StrEnum):
    """What makes an event of an objective good."""

    LATENCY = "latency"  # answered within a round-trip time
    LOSS = "loss"  # answered at all, before the time-out
    JITTER = "jitter"  # answered with little delay variation, PDV or IPDV
    DELAY = "delay"  # arrived within a one-way delay
    AVAILABILITY = "availability"  # by slice: enough packets answered
    BANDWIDTH = "bandwidth"  # by slice: at least a rate


@dataclass(frozen=True, slots=True)
class PathSelector:
    """The paths an objective is about: every field must match; an empty one matches all.

    A path to a service is never meant by accident: its scope, the service or the path itself must
    be named, for a limit on round trips says nothing of what a web server may take.
    """

    scopes: frozenset[Scope] = frozenset()
    classes: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    destinations: frozenset[str] = frozenset()
    paths: frozenset[Path] = frozenset()

    def matches(self, path: Path, estate: Estate) -> bool:
        """Whether `path`, which the estate must know, is selected."""
        return (
            _admits(self.classes, path.traffic_class)
            and _admits(self.sources, path.src)
            and _admits(self.destinations, path.dst)
            and _admits(self.paths, path)
            and self._admits_scope(estate.scope(path), path)
        )

    def _admits_scope(self, scope: Scope, path: Path) -> bool:
        if scope is Scope.SERVICE and not self.scopes:
            return path.dst in self.destinations or path in self.paths
        return _admits(self.scopes, scope)


@dataclass(frozen=True, slots=True)
class CalendarWindow:
    """A calendar-aligned period as OpenSLO writes it, kept for reviews."""

    duration: str  # such as 1Q or 1M
    start_time: str  # where the first period began, local time, without a zone
    time_zone: str  # IANA name


@dataclass(frozen=True, slots=True)
class Objective:
    """One promise over many paths.

    `target_text` is the target ratio as an exact decimal string, such as "0.999"; `window_s`
    is the rolling period of the error budget in seconds.

    `limit` is what separates good from bad: seconds at most, bit/s at least for bandwidth,
    None for loss and availability. With `slices` an event is a slice of time, without a packet.
    """

    name: str
    display_name: str
    description: str
    service: str
    indicator: Indicator
    limit: float | None
    target_text: str
    selector: PathSelector
    window_s: int = DEFAULT_PERIOD_S
    calendar: CalendarWindow | None = None
    owner: str | None = None
    runbook: str | None = None
    measure: Measure = Measure.DELAY  # PDV or IPDV for jitter
    direction: Direction = Direction.ROUND_TRIP
    method: str | None = None  # of the capacity tests that tell a bandwidth
    slices: TimeSlices | None = None
    alerts: AlertPolicy = DEFAULT_POLICY
    missing_data: MissingData = MissingData.IGNORE
    coverage_min: Fraction = DEFAULT_COVERAGE_MIN  # below it a burn rate is unknown
    exclusions: tuple[Exclusion, ...] = ()  # of the specification; more are in the log

    @property
    def target(self) -> Fraction:
        """The target ratio, exactly."""
        return Fraction(self.target_text)

    @property
    def threshold(self) -> SloThreshold | None:
        """What a probe must know to count good and bad; None when it counts nothing.

        For an objective by time slice the probe counts packets, and slices are judged by them.
        """
        if self.indicator is Indicator.BANDWIDTH:
            return None
        return SloThreshold(self.name, self.limit, self.measure, self.direction)

    @property
    def limit_s(self) -> float | None:
        """The limit where it is a time in seconds."""
        return None if self.indicator is Indicator.BANDWIDTH else self.limit

    @property
    def rate(self) -> float | None:
        """The limit where it is a bandwidth, in bit/s."""
        return self.limit if self.indicator is Indicator.BANDWIDTH else None

    @property
    def guard(self) -> Guard:
        """The guard in what is counted: packets, slices or parts of slices."""
        parts = 1 if self.slices is None else self.slices.events_per_slice
        return replace(self.alerts.guard, parts=parts)

    def covers(self, path: Path, estate: Estate) -> bool:
        """Whether the promise is about `path`; a path of another estate never is."""
        return estate.knows(path) and self.selector.matches(path, estate)

    def interval_s(self, estate: Estate) -> Fraction:
        """Return how long it is from one event to the next on a path; of several, the longest."""

        def longest() -> Fraction:
            found = (estate.interval_s(path) for path in self.paths(estate))
            return Fraction(str(max(found, default=estate.plan.interval_s)))

        return estate.once(("interval", self.selector), longest)

    def paths(self, estate: Estate) -> tuple[Path, ...]:
        """Return the paths covered, in the estate's order."""

        def matching() -> tuple[Path, ...]:
            matches = self.selector.matches
            return tuple(path for path in estate.measured_paths if matches(path, estate))

        return estate.once(("paths", self.selector), matching)


def thresholds_by_path(
    objectives: Iterable[Objective], estate: Estate
) -> dict[Path, tuple[SloThreshold, ...]]:
    """Return what the prober of each path counts; a path without objectives has none."""
    found: dict[Path, list[SloThreshold]] = {path: [] for path in estate.measured_paths}
    for objective in objectives:
        threshold = objective.threshold
        if threshold is not None:
            for path in objective.paths(estate):
                found[path].append(threshold)
    return {path: tuple(thresholds) for path, thresholds in found.items()}


def _admits(allowed: Collection[object], value: object) -> bool:
    return not allowed or value in allowed
