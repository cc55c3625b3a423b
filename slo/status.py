"""Where every objective stands on every path it covers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final, Protocol

from analytics.store.interface import HOT_S
from netslo.estate import Estate
from netslo.model import Path
from netslo.units import format_duration, parse_duration
from slo.budget import Spend
from slo.burn import WINDOWS_S, BurnPair, Severity, firing
from slo.due import Due, coverage_of, events_expected
from slo.exclusion import Exclusion
from slo.forecast.exhaustion import Exhaustion
from slo.objective import Objective
from slo.ranges import SpendKey
from slo.targets import Targets


class SpendReader(Protocol):
    """Knows what was spent over ranges that end now: a `Ranges`."""

    def read(
        self, now_s: float, lengths_s: Collection[int]
    ) -> Mapping[int, Mapping[SpendKey, Spend]]:
        """Return by length, in seconds, and row what was spent; a row without events may lack."""

    def span(self, now_s: float, length_s: int) -> tuple[int, int]:
        """Return from when to when such a range is, Unix seconds."""

    def targets(self) -> Targets:
        """Return those that the objectives had."""

    @property
    def exclusions(self) -> Sequence[Exclusion]:
        """Return the times that are left out."""


NOTHING_KNOWN: Final[Mapping[SpendKey, Exhaustion]] = {}
WINDOWS: Final = tuple(format_duration(length_s) for length_s in WINDOWS_S)


@dataclass(frozen=True, slots=True)
class SloStatus:
    """One objective on one path. Ratios and seconds; a figure that cannot be said is None.

    Events, coverage and budget are over the objective's rolling period `period_s`; events
    from before the store began are not known, so a young store judges budgets by what it has,
    and its coverage says how much of the period that is.
    """

    slo: str
    path: Path
    objective: float
    threshold_s: float | None  # None for loss
    period_s: int
    events: int
    bad_events: int
    unmeasured_events: int
    budget_events: float
    coverage: float | None  # measured events per event due by the probing plan
    budget_remaining_ratio: float | None  # negative when overspent
    burn_rate: Mapping[str, float | None]  # by window, such as "5m"
    firing: tuple[BurnPair, ...]  # the most urgent first
    exhaustion: Exhaustion | None = None  # when the budget will be used up, where that is known
    rate: float | None = None  # of bandwidth: the least good one, bit/s
    remaining_with_excluded: float | None = None  # where excluded times changed the figure
    measured_events: int = 0  # without what is missing and taken for good or bad
    due_events: float = 0.0  # by the probing plan, in the period without excluded times

    @property
    def severity(self) -> Severity | None:
        """The most urgent severity of the pairs that fire."""
        return self.firing[0].severity if self.firing else None

    @property
    def burning(self) -> bool:
        """Whether it burns fast enough to page somebody."""
        return self.severity is Severity.PAGE

    @property
    def overspent(self) -> bool:
        """Whether more events were bad than the period's budget allows."""
        return self.budget_remaining_ratio is not None and self.budget_remaining_ratio < 0

    @property
    def lasts_s(self) -> float | None:
        """How long what is left lasts at the burn rate of the last hour, in seconds.

        None where that is not known, or where it is no faster than a period allows.
        """
        left, burn = self.budget_remaining_ratio, self.burn_rate.get("1h")
        if left is None or burn is None or burn <= 1:
            return None
        return max(0.0, left) * self.period_s / burn

    def to_json(self) -> dict[str, Any]:
        """Return the shape of `slos` in `demo --json`, `slo status --json` and /api/v1/slos."""
        return {
            "slo": self.slo,
            "path": self.path.id,
            "objective": self.objective,
            "threshold": self.threshold_s,
            "rate": self.rate,
            "period": format_duration(self.period_s),
            "events": self.events,
            "bad_events": self.bad_events,
            "unmeasured_events": self.unmeasured_events,
            "due_events": self.due_events,
            "budget_events": self.budget_events,
            "coverage": self.coverage,
            "budget_remaining_ratio": self.budget_remaining_ratio,
            "budget_remaining_ratio_with_excluded": self.remaining_with_excluded,
            "burn_rate": dict(self.burn_rate),
            "lasts_at_burn_1h": self.lasts_s,
            "exhaustion": None if self.exhaustion is None else self.exhaustion.to_json(),
            "severity": None if self.severity is None else self.severity.value,
            "firing": [
                {
                    "severity": pair.severity.value,
                    "long": pair.long,
                    "short": pair.short,
                    "threshold": float(pair.threshold(self.period_s)),
                }
                for pair in self.firing
            ],
        }


def evaluate(
    reader: SpendReader,
    objectives: Sequence[Objective],
    estate: Estate,
    now_s: float,
    windows: Iterable[str] = WINDOWS,
    exhaustions: Mapping[SpendKey, Exhaustion] = NOTHING_KNOWN,
    paths: Collection[Path] | None = None,
) -> list[SloStatus]:
    """Judge every objective on every path it covers, in their order, in one pass.

    Ranges end at `now_s` aligned down to 10 s. What probes have not delivered yet is in
    neither bad nor budget events, so that makes a rate less fresh, but not wrong.

    Args:
        reader: What the spends are read of.
        objectives: What to judge.
        estate: The estate of the paths.
        now_s: Unix time, seconds.
        windows: For which lengths to state burn rates, such as "1h". Alerts are judged by
            the windows of their pairs in any case.
        exhaustions: When budgets will be used up, as far as that is known.
        paths: Only these of them; None: all.

    Raises:
        ValueError: a window is no multiple of 10 s.
    """
    reported_s = {text: read_window(text) for text in windows}
    lengths_s = {*reported_s.values(), *(s for o in objectives for s in _lengths_s(o))}
    by_length = reader.read(now_s, lengths_s)
    nothing = Spend()
    due = Due(estate, reader.targets())
    found = []
    for objective in objectives:
        span = reader.span(now_s, objective.window_s)
        for path in objective.paths(estate):
            if paths is not None and path not in paths:
                continue
            key = objective.name, path
            spends = {s: of_all.get(key, nothing) for s, of_all in by_length.items()}
            planned = due.planned(objective, path, span, reader.exclusions)
            known = {s: due.known(objective, spend, s, now_s) for s, spend in spends.items()}
            status = _judge(objective, path, spends, known, planned, due, reported_s)
            found.append(replace(status, exhaustion=exhaustions.get(key)))
    return found


def with_both(
    statuses: Sequence[SloStatus],
    with_excluded: Sequence[SloStatus],
    exclusions: Sequence[Exclusion],
) -> list[SloStatus]:
    """Return statuses with what the budget would be, had no time been excluded, where it differs.

    Both are of the same objectives and paths, in the same order; `exclusions` are those that
    the first were judged by.
    """
    found = []
    for status, whole in zip(statuses, with_excluded, strict=True):
        own = any(x.covers.matches(status.slo, status.path) for x in exclusions)
        if own and (status.events, status.bad_events) != (whole.events, whole.bad_events):
            found.append(replace(status, remaining_with_excluded=whole.budget_remaining_ratio))
        else:
            found.append(status)
    return found


def _lengths_s(objective: Objective) -> Iterator[int]:
    yield objective.window_s
    yield from objective.alerts.windows_s


def read_window(text: str) -> int:
    """Return the length of a window such as "1h", in seconds.

    Raises:
        ValueError: it is no multiple of 10 s.
    """
    length_s = parse_duration(text)
    if length_s % HOT_S:
        raise ValueError(f"window {text} is no multiple of {HOT_S} s")
    return int(length_s)


def _judge(
    objective: Objective,
    path: Path,
    spends: Mapping[int, Spend],
    known: Mapping[int, Spend],
    planned: Fraction,
    due: Due,
    reported_s: Mapping[str, int],
) -> SloStatus:
    measured = spends[objective.window_s]
    period = measured.taking(objective.missing_data)
    expected = events_expected(planned, measured.events + measured.unmeasured)
    return SloStatus(
        slo=objective.name,
        path=path,
        objective=float(objective.target),
        threshold_s=objective.limit_s,
        period_s=objective.window_s,
        events=period.events,
        bad_events=period.bad,
        unmeasured_events=measured.unmeasured,
        budget_events=float(period.budget),
        coverage=coverage_of(measured.events, expected),
        budget_remaining_ratio=_leave(period.remaining),
        burn_rate={text: _burn_rate(known[length_s]) for text, length_s in reported_s.items()},
        firing=firing(
            objective.window_s,
            known,
            objective.alerts.pairs,
            lambda pair: due.bad_least(objective, pair),
        ),
        rate=objective.rate,
        measured_events=measured.events,
        due_events=float(expected),
    )


def _burn_rate(spend: Spend) -> float | None:
    """Return the same float as that of the exact burn rate, without making a fraction of it."""
    share = spend.budget
    return spend.bad * share.denominator / share.numerator if share else None


def _leave(exact: Fraction | None) -> float | None:
    """Turn an exact figure into the float that leaves; what cannot be said stays None."""
    return None if exact is None else float(exact)
