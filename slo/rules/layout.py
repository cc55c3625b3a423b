"""Which windows and pairs the rules look at: the union of what the objectives ask for.

The rules know windows, not objectives: at which burn rate an objective fires comes from series
that the collector exports. So a hundred objectives with the usual pairs make the same rules as
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from netslo.errors import ConfigurationError
from netslo.estate import Estate
from netslo.units import format_duration
from slo.burn import PAIRS, BurnPair, Severity
from slo.objective import Objective

FAST_S: Final = 3600  # pairs up to this long are looked at most often
MEDIUM_S: Final = 6 * 3600  # and up to this long more often than the others
RULES_MAX: Final = 25
SPANS_MAX: Final = 10


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A long and a short window, seconds: the part of a burn pair that is the same for many."""

    long_s: int
    short_s: int

    @property
    def id(self) -> str:
        """The label `pair`, such as `1h/5m`."""
        return f"{format_duration(self.long_s)}/{format_duration(self.short_s)}"


class CadenceName(StrEnum):
    """How often something is looked at; the most often first."""

    FAST = "fast"
    MEDIUM = "medium"
    SLOW = "slow"

    @property
    def blind(self) -> bool:
        """Whether a backlog makes the short windows of its pairs unknown.

        Those of days would be blind for hours, and what a backlog says is no false news to who
        looks within days.
        """
        return self is not CadenceName.SLOW


def cadence_of(pair: BurnPair) -> CadenceName:
    """Return how often a pair is looked at: the longer its window, the less a minute changes it."""
    if pair.long_s <= FAST_S:
        return CadenceName.FAST
    return CadenceName.MEDIUM if pair.long_s <= MEDIUM_S else CadenceName.SLOW


@dataclass(frozen=True, slots=True)
class Cadence:
    """Spans that are evaluated together, and the severities that come from them."""

    name: CadenceName
    interval_s: float
    spans: tuple[Span, ...]
    severities: tuple[Severity, ...]

    @property
    def shorts_s(self) -> tuple[int, ...]:
        return tuple(sorted({span.short_s for span in self.spans}))


@dataclass(frozen=True, slots=True)
class Timing:
    """How often rules are evaluated, and how much faster than in truth windows go by.

    `scale` divides every duration, and is for trials: at 60, an hour's window is a minute's.
    """

    fast_s: float = 30.0
    slow_s: float = 240.0  # below the five minutes that Prometheus looks back
    scale: int = 1

    def interval_s(self, cadence: CadenceName) -> float:
        """Return the time from one evaluation of a cadence to the next, before scaling."""
        match cadence:
            case CadenceName.FAST:
                return self.fast_s
            case CadenceName.MEDIUM:
                return min(3 * self.fast_s, self.slow_s)
            case CadenceName.SLOW:
                return self.slow_s

    @property
    def coverage_s(self) -> float:
        """The same of coverage, which is told of after ten minutes of too little."""
        return min(4 * self.fast_s, self.slow_s)

    def text(self, seconds: float) -> str:
        """Write a duration as Prometheus reads it, divided by the scale."""
        milliseconds = round(seconds * 1000 / self.scale)
        if milliseconds % 1000:
            return f"{milliseconds}ms"
        return format_duration(milliseconds // 1000)


def cadences(objectives: Iterable[Objective], timing: Timing) -> tuple[Cadence, ...]:
    """Return the spans of all objectives by cadence, those of the Workbook if there are none.

    Raises:
        ConfigurationError: the objectives have more than `SPANS_MAX` different pairs.
    """
    objectives = tuple(objectives)
    if problem := too_many_pairs(objectives):
        raise ConfigurationError(problem)
    pairs = [pair for o in objectives for pair in o.alerts.pairs] or list(PAIRS)
    found = []
    for name in CadenceName:
        of_this = [pair for pair in pairs if cadence_of(pair) is name]
        if of_this:
            spans = tuple(sorted({span_of(pair) for pair in of_this}))
            severities = {pair.severity for pair in of_this}
            ordered = tuple(severity for severity in Severity if severity in severities)
            found.append(Cadence(name, timing.interval_s(name), spans, ordered))
    return tuple(found)


def too_many_pairs(objectives: Iterable[Objective]) -> str | None:
    """Say that objectives have more than `SPANS_MAX` different pairs; None: they have not."""
    every = sorted({span_of(pair) for o in objectives for pair in o.alerts.pairs})
    if len(every) <= SPANS_MAX:
        return None
    return (
        f"the objectives have {len(every)} different pairs of windows "
        f"({', '.join(span.id for span in every)}), each of which Prometheus would read all "
        f"paths for; at most {SPANS_MAX} can be, so let objectives share their windows"
    )


def shortest_windows_s(objectives: Iterable[Objective]) -> tuple[int, ...]:
    """Return the shortest windows of objectives, ascending; the Workbook's if there are none."""
    found = {o.alerts.windows_s[0] for o in objectives if o.alerts.pairs}
    return tuple(sorted(found or {min(pair.short_s for pair in PAIRS)}))


def told_by(
    cadence: Cadence, among: Sequence[Cadence]
) -> Iterator[tuple[Severity, tuple[Span, ...]]]:
    """Yield the severities whose alerts stand in the group of a cadence, and of which spans.

    What is recorded every minute or two is fresh to a quicker group, so that one rule tells of all
    pairs of hours. What is recorded every four minutes is only safely seen in its own group.
    """
    slow = cadence.name is CadenceName.SLOW
    for severity in cadence.severities:
        beside = [
            c for c in among if severity in c.severities and (c.name is CadenceName.SLOW) == slow
        ]
        if beside[0] is cadence:
            yield severity, tuple(span for c in beside for span in c.spans)


def span_of(pair: BurnPair) -> Span:
    return Span(pair.long_s, pair.short_s)


def peers_of(objectives: Iterable[Objective], estate: Estate) -> dict[str, int]:
    """Return for each site with how many others it shares a path that is promised about."""
    peers: dict[str, set[str]] = {}
    for objective in objectives:
        for path in objective.paths(estate):
            peers.setdefault(path.src, set()).add(path.dst)
            peers.setdefault(path.dst, set()).add(path.src)
    return {site: len(others) for site, others in sorted(peers.items())}
