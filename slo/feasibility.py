"""What an objective's alerts can do with the probes there are: figures, faults and warnings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from netslo.config.estate_file import INTERVAL_S_MIN
from netslo.estate import Estate
from netslo.model import Direction, ProbeKind
from netslo.units import format_duration
from slo.annotations import BAD_EVENTS_MIN, PREFIX
from slo.burn import BurnPair, Guard
from slo.objective import Indicator, Objective
from slo.place import Place

_NAMED_MAX: Final = 3
_INTERVAL_S_MIN: Final = Fraction(str(INTERVAL_S_MIN))  # of probing
ERROR_RATIOS: Final = (Fraction(1), Fraction(1, 10), Fraction(1, 100))


@dataclass(frozen=True, slots=True)
class PairFigures:
    """What one pair promises under one objective and probing plan; exact."""

    pair: BurnPair
    burn_rate: Fraction  # to exceed
    error_ratio: Fraction  # to exceed
    bad_events: Fraction  # in the long window, at the threshold
    interval_s: Fraction  # from one event to the next, as planned
    bad_events_min: int  # of the guard, at this rate of events
    guard: Guard
    windows: Fraction  # long ones in a period

    @property
    def possible(self) -> bool:
        """Whether it can fire at all."""
        return self.error_ratio < 1

    @property
    def starved(self) -> bool:
        """Whether the long window has fewer events than the guard asks for, so it never fires."""
        return self.bad_events_min * self.interval_s > self.pair.long_s

    @property
    def can_fire(self) -> bool:
        """Whether anything at all, measured as planned, fires it."""
        return self.possible and not self.starved

    @property
    def rests_on_one(self) -> bool:
        """Whether a single bad event fires it: neither threshold nor guard wants a second."""
        return self.bad_events < 1 and self.bad_events_min <= 1

    @property
    def slow(self) -> bool:
        """Whether it waits for more bad events than exceed its threshold."""
        return self.bad_events_min > int(self.bad_events) + 1

    @property
    def interval_max_s(self) -> Fraction:
        """The longest interval at which the guard asks for no more than the threshold does."""
        return self.longest_interval_s(self.guard_met)

    @property
    def guard_met(self) -> int:
        """The least threshold, in bad events, at which the guard asks for no more."""
        bad = self.guard.bad_events_min
        while self._asked_at(bad) > bad:
            bad += 1
        return bad

    def _asked_at(self, bad: int) -> int:
        """Return what the guard asks for at the rate at which the threshold is so many events."""
        parts = self.guard.parts
        budget = bad * parts / self.burn_rate
        return self.guard.least(budget, self.burn_rate, self.windows) // parts

    def longest_interval_s(self, bad_events: int) -> Fraction:
        """Return the longest interval, in seconds, at which the threshold is so many events."""
        return self.pair.long_s * self.error_ratio / bad_events

    def detection_s(self, error_ratio: Fraction) -> Fraction | None:
        """Return how long a constant error ratio from a clean start takes to fire; seconds.

        Both the threshold must be passed and the guard's bad events have come. None when it
        never fires. Reporting and evaluation come on top.
        """
        needed = self.error_ratio
        if error_ratio <= needed:
            return None
        guarded_s = self.bad_events_min * self.interval_s
        found = max(needed * self.pair.long_s, guarded_s) / error_ratio
        return found if found <= self.pair.long_s else None


@dataclass(frozen=True, slots=True)
class Figures:
    """What one objective promises under one probing plan; exact."""

    interval_s: Fraction  # from one event to the next on one path
    events: Fraction  # in the period, on one path
    budget_events: Fraction  # of those may be bad
    outage_s: Fraction  # of a path, in full, which would spend the budget
    pairs: tuple[PairFigures, ...]

    @classmethod
    def of(cls, objective: Objective, estate: Estate) -> Figures:
        interval_s = objective.interval_s(estate)
        if objective.slices is not None:
            interval_s = Fraction(objective.slices.length_s)
        events = objective.window_s / interval_s
        return cls(
            interval_s,
            events,
            (1 - objective.target) * events,
            (1 - objective.target) * objective.window_s,
            tuple(_pair_figures(objective, pair, interval_s) for pair in objective.alerts.pairs),
        )


def _pair_figures(objective: Objective, pair: BurnPair, interval_s: Fraction) -> PairFigures:
    error_ratio = pair.error_ratio_min(objective.target, objective.window_s)
    threshold, windows = pair.threshold(objective.window_s), pair.windows(objective.window_s)
    guard = objective.guard
    budget = guard.parts * (1 - objective.target) * pair.long_s / interval_s
    return PairFigures(
        pair,
        threshold,
        error_ratio,
        pair.long_s * error_ratio / interval_s,
        interval_s,
        guard.least(budget, threshold, windows) // guard.parts,
        guard,
        windows,
    )


def check_feasible(objective: Objective, estate: Estate, place: Place) -> None:
    """Report what cannot work as it stands to `place`, the root of the SLO's document.

    Args:
        objective: What is promised.
        estate: What is probed, and how often.
        place: Where the problems are.
    """
    figures = Figures.of(objective, estate)
    where = place.at("spec", "objectives", 0)
    for each in figures.pairs:
        if not each.possible:
            continue
        if each.starved:
            where.report("", _starved(objective, each))
        # A bad slice is many packets, and no chance; a packet is lost now and then.
        elif each.rests_on_one and objective.slices is None:
            where.report("", _rests_on_one(objective, each))


def warn(objective: Objective, estate: Estate) -> list[str]:
    """Return what is allowed but will surprise, most important first."""
    return [
        f"{objective.name}: {text}"
        for text in (*_warn_of_alerts(objective, estate), *_warn_of_data(objective, estate))
    ]


def event_name(objective: Objective) -> str:
    return "packet" if objective.slices is None else "slice"


def counted_name(objective: Objective) -> str:
    """Return what the counters count: RatioTimeslices has parts of slices."""
    whole = objective.slices is None or objective.slices.events_per_slice == 1
    return event_name(objective) if whole else "slice-millionth"


def describe(pair: BurnPair) -> str:
    return f"{pair.severity.value} on {pair.long} and {pair.short}"


def _starved(objective: Objective, each: PairFigures) -> str:
    event, there_are = event_name(objective), each.pair.long_s / each.interval_s
    return (
        f"the {describe(each.pair)} can never fire: it waits for {each.bad_events_min} "
        f"bad {event}s, and its long window has {float(there_are):.6g} {event}s; "
        f"{_remedy(objective, each)}"
    )


def _rests_on_one(objective: Objective, each: PairFigures) -> str:
    return (
        f"the {describe(each.pair)} rests on a single bad packet: its "
        f"threshold is {float(each.bad_events):.3g} of one, and {PREFIX}{BAD_EVENTS_MIN} "
        f"asks for no more; {_remedy(objective, each)}"
    )


def _warn_of_alerts(objective: Objective, estate: Estate) -> Iterator[str]:
    event = event_name(objective)
    for each in Figures.of(objective, estate).pairs:
        if not each.possible:
            yield (
                f"the {describe(each.pair)} can never fire: it needs more than "
                f"{float(each.error_ratio * 100):.4g} % of the {event}s to be bad"
            )
        elif each.starved:
            yield _starved(objective, each)
        elif each.rests_on_one and objective.slices is None:
            yield _rests_on_one(objective, each)
        elif each.slow:
            yield (
                f"the {describe(each.pair)} is slow: its threshold is "
                f"{float(each.bad_events):.3g} bad {event}s, and it waits for "
                f"{each.bad_events_min}; {_remedy(objective, each)}"
            )
    if not objective.alerts.pairs:
        yield "alerts nobody, whatever happens"


def _remedy(objective: Objective, figures: PairFigures) -> str:
    if objective.slices is not None:
        return f"{PREFIX}{BAD_EVENTS_MIN} may be less, for a slice is many packets"
    if figures.interval_max_s < _INTERVAL_S_MIN:
        return f"{PREFIX}{BAD_EVENTS_MIN} must be less: no probing is as fast as that asks for"
    return f"probe at least every {say_time(figures.interval_max_s)}"


def say_time(seconds: Fraction | None) -> str:
    """Write a time for a reader, in the unit that suits; None is never."""
    if seconds is None:
        return "never"
    value = float(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if value >= 2 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"


def _warn_of_data(objective: Objective, estate: Estate) -> Iterator[str]:
    if objective.calendar is not None:
        yield (
            f"the {objective.calendar.duration} calendar window is for reviews; "
            f"budget and alerts here are over the last {format_duration(objective.window_s)}"
        )
    if objective.indicator is Indicator.BANDWIDTH:
        yield from _warn_of_tests(objective, estate)
    elif objective.direction is not Direction.ROUND_TRIP:
        paths = objective.paths(estate)
        deaf = sum(estate.probe_kind(path) is not ProbeKind.STAMP for path in paths)
        if deaf:
            yield f"is unmeasured on {deaf} of {len(paths)} paths: only stamp sees one way"


def _warn_of_tests(objective: Objective, estate: Estate) -> Iterator[str]:
    """Say which slices of a bandwidth no test of the probing plan will tell."""
    testing, paths = estate.testing, objective.paths(estate)
    tested = estate.tested_paths
    untold = sum(path not in tested for path in paths)
    if untold:
        of = "all" if untold == len(paths) else f"{untold} of {len(paths)}"
        names = ", ".join(path.id for path in tested[:_NAMED_MAX]) or "none"
        more = ", ..." if len(tested) > _NAMED_MAX else ""
        yield (
            f"is unmeasured on {of} paths: by the probing plan, links to sites with a bandwidth "
            f"port are tested, in the lowest class ({names}{more})"
        )
    if testing is None or untold == len(paths):
        return
    if objective.method != testing.method or objective.direction not in testing.directions:
        ways = " and ".join(each.value for each in testing.directions)
        yield (
            f"is unmeasured: the probing plan tests {ways} by {testing.method}, not "
            f"{objective.direction.value} by {objective.method}"
        )
    assert objective.slices is not None
    if objective.slices.length_s < testing.interval_s:
        share = 1 - objective.slices.length_s / testing.interval_s
        yield (
            f"{share:.0%} of its slices will be unmeasured: one is "
            f"{format_duration(objective.slices.length_s)}, and a test comes every "
            f"{format_duration(testing.interval_s)}; give timeSliceWindow the interval of "
            "probing.bandwidth, or test more often"
        )
