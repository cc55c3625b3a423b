"""An objective's history in a store, judged as it is and as it might be."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final

import numpy as np

from analytics.store import WindowStore
from analytics.store.interface import WARM_S
from analytics.windows import Selector
from netslo.errors import ConfigurationError
from netslo.estate import Estate
from netslo.model import NS_PER_S, Path
from slo.backtest.history import History, read_history, step_for
from slo.backtest.replay import THREADS, Episode, Replay, replay
from slo.backtest.slicing import rated, shifted, sliced
from slo.backtest.thresholds import bounds_at
from slo.budget import Spend
from slo.due import Due, coverage_of, events_expected
from slo.exclusion import Exclusion
from slo.exclusion_log import format_time
from slo.ledger import Era
from slo.objective import Indicator, Objective
from slo.ranges import SpendKey
from slo.rates import Kind, judge_rates

_CELLS_MAX: Final = 4_000_000  # of what a thread reads and judges at once, 48 MB
_BOUNDED_CELLS_MAX: Final = 2_000_000  # bounds take some six times as much

# Some rows, their first event, and what the objective and the changed ones say of them.
_Judged = tuple[Sequence[SpendKey], int | None, Replay, Sequence[Replay]]


@dataclass(slots=True)
class Outcome:
    """What an objective says of a time."""

    objective: Objective
    due: dict[Path, Fraction] = field(default_factory=dict)  # events, by the probing plan
    spends: dict[Path, Spend] = field(default_factory=dict)
    episodes: list[Episode] = field(default_factory=list)

    def add(self, keys: Sequence[SpendKey], judged: Replay) -> None:
        """Take in what was judged of further rows."""
        self.spends.update(
            (path, spend) for (_, path), spend in zip(keys, judged.spends, strict=True)
        )
        self.episodes += judged.episodes

    @property
    def total(self) -> Spend:
        """Of all paths together; each has a budget of its own all the same."""
        return sum((self.taken(path) for path in self.spends), Spend())

    def taken(self, path: Path) -> Spend:
        """Return the spend of one path, with what is missing counted as the objective says."""
        return self.spends[path].taking(self.objective.missing_data)

    @property
    def covered(self) -> float | None:
        """How much of what was due was measured."""
        due = Fraction(0)
        for path, spend in self.spends.items():
            due += events_expected(self.due[path], spend.events + spend.unmeasured)
        return coverage_of(sum(spend.events for spend in self.spends.values()), due)

    @property
    def overspent(self) -> int:
        """How many paths had more bad events than their budget of this time."""
        return sum(s.bad > s.budget for s in map(self.taken, self.spends))


@dataclass(slots=True)
class Backtest:
    """The same time under an objective as it is, and under a changed one.

    `changed` is empty where nothing is changed. It is one outcome where that is known exactly,
    else two: with as few bad events as there can have been, and with as many.
    """

    start_s: int
    end_s: int
    step_s: int
    now: Outcome
    changed: tuple[Outcome, ...] = ()
    first_s: int | None = None  # the first event that was looked at; None: there is none
    kept_from_s: int = 0  # counts of before have expired; 0: none has


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be found out.

    Args:
        objective: What is promised, and was counted.
        changed: What might be promised; None where nothing is changed.
        estate: Whose probing plan says what is due.
        paths: Of the objective.
        start_s: Unix seconds; whole `step_s`, as is the end.
        end_s: Unix seconds.
        eras: The targets that the objective has had; a changed one holds for all the time.
        exclusions: Times that do not count.
        others: Objectives whose probes may have counted at the changed threshold.
        changed_exclusions: Those under the changed objective, named as the other; None: the same.
    """

    objective: Objective
    changed: Objective | None
    estate: Estate
    paths: Sequence[Path]
    start_s: int
    end_s: int
    eras: Sequence[Era]
    exclusions: Sequence[Exclusion] = ()
    others: Sequence[Objective] = ()
    changed_exclusions: Sequence[Exclusion] | None = None

    def exclusions_of(self, objective: Objective) -> Sequence[Exclusion]:
        """Return the times that do not count under the objective as it is or as it might be."""
        if objective is self.objective or self.changed_exclusions is None:
            return self.exclusions
        return self.changed_exclusions

    @property
    def step_s(self) -> int:
        """The step at which it is judged."""
        return step_of(self.objective, *(() if self.changed is None else (self.changed,)))

    @property
    def outcomes(self) -> int:
        """How often each row is judged, at most."""
        return 1 if self.changed is None else 3 if self.judges_anew else 2

    def outcome(self, objective: Objective) -> Outcome:
        """Return one of which nothing is judged yet."""
        due, span = Due(self.estate), (self.start_s, self.end_s)
        off = self.exclusions_of(objective)
        planned = {p: due.planned(objective, p, span, off) for p in self.paths}
        return Outcome(objective, planned)

    @property
    def judges_anew(self) -> bool:
        """Whether packets are judged by another threshold than the probes had for this SLO."""
        if self.changed is None or self.objective.indicator is Indicator.BANDWIDTH:
            return False
        return self.changed.limit != self.objective.limit


def step_of(*objectives: Objective) -> int:
    """Return the step at which objectives can be judged: 5 min, or less where they need it."""
    lengths_s = [s for o in objectives for s in (*o.alerts.windows_s, _slice_s(o))]
    step_s = step_for(lengths_s)
    finest = min(_slice_s(o) for o in objectives)
    return finest if step_s < finest < WARM_S and not any(s % finest for s in lengths_s) else step_s


def alignment_of(*objectives: Objective) -> int:
    """Return of what begin and end must be multiples, in seconds."""
    return math.lcm(WARM_S, *(_slice_s(o) for o in objectives))


def run(
    store: WindowStore, question: Question, on_rows: Callable[[int], None] = lambda _: None
) -> Backtest:
    """Read and judge; `on_rows` is told, from any thread, of rows that are judged once more.

    Raises:
        ConfigurationError: only distributions tell of the changed threshold, and those of a part
            of the time have expired.
    """
    asked, step_s = question, question.step_s
    both = [o for o in (asked.objective, asked.changed) if o is not None]
    back_s = max((s for o in both for s in o.alerts.windows_s), default=0)
    align_s = alignment_of(*both)
    begin_s = max(0, (asked.start_s - back_s) // align_s * align_s)
    found = Backtest(asked.start_s, asked.end_s, step_s, asked.outcome(asked.objective))
    found.kept_from_s = store.kept_from().counts_s
    best, worst = (asked.outcome(asked.changed or asked.objective) for _ in range(2))
    cells = _BOUNDED_CELLS_MAX if asked.judges_anew else _CELLS_MAX
    size = max(1, cells * step_s // (asked.end_s - begin_s))
    if asked.objective.indicator is Indicator.BANDWIDTH:
        _add_rates(store, asked.objective, found.now, asked, (begin_s, size), on_rows)
        if asked.changed is not None:
            _add_rates(store, asked.changed, best, asked, (begin_s, size), on_rows)
            found.changed = (best,)
        found.first_s = _first_reading_s(store, both, asked.paths)
        return found
    exact = True
    for keys, first_s, now, changed in _judged(store, asked, begin_s, size, on_rows):
        if first_s is not None:
            found.first_s = min(first_s, found.first_s or first_s)
        found.now.add(keys, now)
        if changed:
            exact &= len(changed) == 1
            best.add(keys, changed[0])
            worst.add(keys, changed[-1])
    if asked.changed is not None:
        found.changed = (best,) if exact else (best, worst)
    for outcome in (found.now, best, worst):
        outcome.episodes.sort(key=_by_time)
    return found


def _judged(
    store: WindowStore,
    asked: Question,
    begin_s: int,
    size: int,
    on_rows: Callable[[int], None],
) -> Iterator[_Judged]:
    """Yield what is found of some rows at a time.

    Who reads rows judges them, too: to hand them over takes the interpreter, which all want.
    """
    parts = list(parts_by_site(asked.paths, size))
    threads = THREADS if len(parts) == 1 else 1

    def judged(part: tuple[list[Path], Selector]) -> _Judged:
        paths, selector = part
        keys = [(asked.objective.name, path) for path in paths]
        span = begin_s, asked.end_s, asked.step_s
        history = read_history(store, keys, *span, selector=selector)
        now = _judge(asked.objective, history, asked, asked.eras, on_rows, threads)
        changed: list[Replay] = []
        if asked.changed is not None:
            eras, histories = _eras_of(asked), _judged_anew(store, history, asked, selector)
            changed = [
                _judge(asked.changed, each, asked, eras, on_rows, threads) for each in histories
            ]
        return history.keys, history.first_s(), now, changed

    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(judged, parts)


def _add_rates(
    store: WindowStore,
    objective: Objective,
    outcome: Outcome,
    asked: Question,
    reach: tuple[int, int],
    on_rows: Callable[[int], None],
) -> None:
    """Judge slices of bandwidth: readings are kept as they were, so that any limit is exact."""
    begin_s, size = reach
    assert objective.slices is not None
    eras = asked.eras if objective is asked.objective else _eras_of(asked)
    eras = shifted(eras, objective.slices, asked.step_s)
    found = judge_rates(store, objective, begin_s, asked.end_s)
    off = asked.exclusions_of(objective)
    for paths, _ in parts_by_site(asked.paths, size):
        keys = [(asked.objective.name, path) for path in paths]
        span = begin_s, asked.end_s, asked.step_s
        history = rated(found, objective, keys, span, off)
        span_asked = asked.start_s, asked.end_s
        outcome.add(keys, replay(history, objective, asked.estate, eras, span_asked, (), on_rows))
    outcome.episodes.sort(key=_by_time)


def _first_reading_s(
    store: WindowStore, objectives: Sequence[Objective], paths: Sequence[Path]
) -> int | None:
    """Return when a path was first tested as one of the objectives asks; None: never."""
    begins = [Kind.of(o).begins(store) for o in objectives]
    found = [begin[path] for begin in begins for path in paths if path in begin]
    return min(found) // NS_PER_S if found else None


def _by_time(episode: Episode) -> tuple[int, SpendKey, int]:
    return episode.start_s, episode.key, episode.pair.long_s


def _judged_anew(
    store: WindowStore, history: History, asked: Question, selector: Selector
) -> list[History]:
    """Return the events by the changed threshold; twice, best and worst, where it is not known."""
    changed = asked.changed
    if changed is None or changed.limit is None or not asked.judges_anew:
        return [history]
    for other in asked.others:
        if _measured(other) == _measured(changed) and other.name != asked.objective.name:
            keys = [(other.name, path) for _, path in history.keys]
            span = history.start_s, history.end_s, history.step_s
            counted = read_history(store, keys, *span, selector=selector)
            if _same_packets(counted, history):
                return [replace(counted, keys=history.keys)]
    _expect_distributions(store, asked)
    bounds = bounds_at(store, history, asked.objective, changed.limit, selector=selector)
    if np.array_equal(bounds.best.bad, bounds.worst.bad):
        return [bounds.best]
    return [bounds.best, bounds.worst]


def _expect_distributions(store: WindowStore, asked: Question) -> None:
    """See that the asked time has them; windows which reach back before it get wide bounds."""
    from_s = store.kept_from().distributions_s
    if asked.start_s < from_s:
        begin = format_time(-(-from_s // WARM_S) * WARM_S)
        raise ConfigurationError(
            f"--threshold: no probe counted at it, and distributions, which tell of it, are kept "
            f"from {begin} on: --from {begin}, or without --threshold"
        )


def _eras_of(asked: Question) -> Sequence[Era]:
    assert asked.changed is not None
    if asked.changed.target_text == asked.objective.target_text:
        return asked.eras
    return [(0, asked.changed.target_text)]


def _judge(
    objective: Objective,
    history: History,
    asked: Question,
    eras: Sequence[Era],
    on_rows: Callable[[int], None],
    threads: int,
) -> Replay:
    exclusions = asked.exclusions_of(objective)
    if objective.slices is not None:
        history = sliced(history, objective.slices, exclusions)
        eras, exclusions = shifted(eras, objective.slices, history.step_s), ()
    span = asked.start_s, asked.end_s
    return replay(history, objective, asked.estate, eras, span, exclusions, on_rows, threads)


def _same_packets(one: History, other: History) -> bool:
    """Whether two histories are of the same packets, however judged."""
    return np.array_equal(one.events, other.events) and np.array_equal(
        one.unmeasured, other.unmeasured
    )


def _measured(objective: Objective) -> tuple[object, ...]:
    return objective.measure, objective.direction, objective.limit


def _slice_s(objective: Objective) -> int:
    return WARM_S if objective.slices is None else objective.slices.length_s


def parts_by_site(paths: Sequence[Path], size: int) -> Iterator[tuple[list[Path], Selector]]:
    """Yield some paths of one site at a time, and what selects them in the store."""
    for src, of_site in itertools.groupby(sorted(paths), key=lambda path: path.src):
        rest = list(of_site)
        while rest:
            part, rest = rest[:size], rest[size:]
            yield part, Selector(path=part[0].id) if len(part) == 1 else Selector(src=src)
