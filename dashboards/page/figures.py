"""What the page says at one moment, apart from how it is read, drawn or sent.

Seconds and ratios; a figure that cannot be said is None, never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from netslo.estate import Estate
from netslo.model import Path, Scope
from slo.burn import Severity
from slo.status import SloStatus

_LOW_BUDGET: Final = 0.25


class State(IntEnum):
    """How a path stands, the worst first."""

    PAGE = 0
    TICKET = 1
    OVERSPENT = 2
    SILENT = 3
    LOW = 4
    GOOD = 5
    UNJUDGED = 6

    @property
    def mark(self) -> str:
        """A sign that says the same without colour."""
        return "▲△!?◔✓-"[self]

    @property
    def word(self) -> str:
        return (
            "burning",
            "burning slowly",
            "budget spent",
            "no data",
            "budget low",
            "within budget",
            "no objective",
        )[self]


class Quantile(NamedTuple):
    """A quantile and its 95 % order-statistic interval, seconds."""

    value_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None  # None beside a value: too few samples to bound it
    near_floor: bool = False  # the probe's own host could explain it

    @property
    def bounded(self) -> bool:
        return self.value_s is None or self.high_s is not None


UNKNOWN: Final = Quantile()


@dataclass(frozen=True)
class PathFigures:
    """One path over the last five minutes, and how its objectives stand."""

    path: Path
    scope: Scope
    state: State
    probe: str | None = None
    answered: int = 0
    lost: int = 0
    unmeasured: int = 0
    samples: int = 0  # in the distribution: of the leading class of timestamps
    p50: Quantile = UNKNOWN
    p99: Quantile = UNKNOWN
    p999: Quantile = UNKNOWN
    jitter_s: float | None = None  # p99 of the packet delay variation (RFC 5481)
    budget_remaining_ratio: float | None = None  # of its worst objective
    burn_5m: float | None = None  # of its fastest-burning objective

    @cached_property
    def loss_ratio(self) -> float | None:
        measured = self.answered + self.lost
        return self.lost / measured if measured else None

    @cached_property
    def trouble(self) -> tuple[float, ...]:
        """A key that sorts the worst first."""
        budget = self.budget_remaining_ratio
        return (
            self.state,
            1.0 if budget is None else budget,
            -(self.loss_ratio or 0.0),
            -(self.p99.value_s or 0.0),
        )


@dataclass(frozen=True, slots=True)
class SloFigures:
    """One objective over all the paths it covers."""

    name: str
    title: str
    objective: float
    threshold_s: float | None
    period_s: int
    paths: int
    events: int
    bad_events: int
    burning: int
    overspent: int
    coverage: float | None  # of all its events together
    worst: SloStatus | None  # with the least budget left
    rate: float | None = None  # of bandwidth: the least good one, bit/s


@dataclass(frozen=True, slots=True)
class ProbeFigures:
    """What one site's probe said last of itself."""

    site: str
    instance: str
    age_s: float
    clock_error_s: float | None
    spool_batches: float | None
    floor_p50_s: float | None
    floor_p99_s: float | None


@dataclass(frozen=True, slots=True)
class ChangeBeside:
    """A change of a route at about the time an incident began."""

    path: Path  # that of the incident, or its way back
    at_s: float


@dataclass(frozen=True, slots=True)
class Incident:
    """A path that burns, or did, fast enough to page somebody."""

    path: Path
    slos: tuple[str, ...]
    starts_s: float  # when it was first seen
    ends_s: float | None = None
    change: ChangeBeside | None = None  # of a route, that may explain it


@dataclass(frozen=True)
class Snapshot:
    """Everything that all pages show at one moment."""

    at_s: float
    estate: Estate
    ready: bool  # whether there are figures; else `why_not` says why
    why_not: str
    paths: Mapping[Path, PathFigures]
    statuses: tuple[SloStatus, ...]
    slos: tuple[SloFigures, ...]
    alerts: Mapping[str, Any]  # as /api/v1/alerts has it
    incidents: tuple[Incident, ...]
    probes: tuple[ProbeFigures, ...]

    def count(self, state: State) -> int:
        return self._states[state]

    def statuses_of(self, path: Path) -> Sequence[SloStatus]:
        """Return how the objectives of one path stand."""
        return self._by_path.get(path, ())

    @cached_property
    def by_trouble(self) -> tuple[PathFigures, ...]:
        """The paths, worst first."""
        return tuple(sorted(self.paths.values(), key=lambda each: (each.trouble, each.path)))

    @cached_property
    def _states(self) -> Counter[State]:
        return Counter(each.state for each in self.paths.values())

    @cached_property
    def _by_path(self) -> Mapping[Path, Sequence[SloStatus]]:
        found: dict[Path, list[SloStatus]] = {}
        for status in self.statuses:
            found.setdefault(status.path, []).append(status)
        return found


def state_of(statuses: Iterable[SloStatus], *, measured: bool) -> State:
    """Return the worst that can be said of a path by its objectives."""
    statuses = list(statuses)
    if any(status.severity is Severity.PAGE for status in statuses):
        return State.PAGE
    if any(status.severity is not None for status in statuses):
        return State.TICKET
    if any(status.overspent for status in statuses):
        return State.OVERSPENT
    if not measured:
        return State.SILENT
    if not statuses:
        return State.UNJUDGED
    left = [s.budget_remaining_ratio for s in statuses if s.budget_remaining_ratio is not None]
    return State.LOW if left and min(left) < _LOW_BUDGET else State.GOOD


class IncidentLog:
    """Tells which paths burn, since when, and which have stopped; keeps the last ones."""

    def __init__(self, most: int = 20) -> None:
        self._most = most
        self._open: dict[Path, Incident] = {}
        self._over: list[Incident] = []

    def update(
        self,
        statuses: Iterable[SloStatus],
        now_s: float,
        began_s: Mapping[str, float] = MappingProxyType({}),
    ) -> tuple[Incident, ...]:
        """Take in how all stands; return the open ones and those that are over, latest first.

        `began_s` is since when paths are alerted about, by their ids: nobody need look at it.
        """
        burning: dict[Path, list[str]] = {}
        for status in statuses:
            if status.burning:
                burning.setdefault(status.path, []).append(status.slo)
        for path in [path for path in self._open if path not in burning]:
            was = self._open.pop(path)
            self._over.insert(0, Incident(path, was.slos, was.starts_s, now_s))
        del self._over[self._most :]
        for path, slos in burning.items():
            before = self._open.get(path)
            named = sorted({*slos, *(before.slos if before else ())})
            since_s = before.starts_s if before else min(began_s.get(path.id, now_s), now_s)
            self._open[path] = Incident(path, tuple(named), since_s)
        latest = sorted(self._open.values(), key=lambda each: (-each.starts_s, each.path))
        return (*latest, *self._over)


def worst_first(
    incidents: Iterable[Incident], paths: Mapping[Path, PathFigures]
) -> tuple[Incident, ...]:
    """Order the open ones by the trouble of their paths; those that are over follow as they were.

    When much burns, what began last is seldom what it began with.
    """

    def key(each: Incident) -> tuple[float, ...]:
        figures = paths.get(each.path)
        return (0.0, *figures.trouble) if each.ends_s is None and figures else (1.0,)

    return tuple(sorted(incidents, key=key))
