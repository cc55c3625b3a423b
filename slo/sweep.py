"""Where every objective stands on every path it covers, judged from one standing column by column.

The same figures as `slo.status.evaluate` gives path by path, to the last bit: sums of columns are
numpy's, and what is decided or divided is in Python's integers, whose quotient is rounded once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from netslo.estate import Estate
from netslo.model import Path
from slo.budget import MissingData
from slo.burn import BurnPair
from slo.due import Due, coverage_of, events_expected
from slo.exclusion import touching
from slo.forecast.exhaustion import Exhaustion
from slo.ledger import Standing
from slo.objective import Objective
from slo.ranges import SpendKey, span_at
from slo.status import NOTHING_KNOWN, WINDOWS, SloStatus, read_window
from slo.targets import Targets

_NOWHERE: Final = -1  # a path without a row: nothing is known of it


@dataclass(frozen=True, slots=True)
class _Column:
    """One window of one objective, by path; the unmeasured taken for what the objective says."""

    events: list[int]
    bad: list[int]
    unmeasured: list[int]
    budget: list[int]  # in units of 1 / `unit` events


class Sweep:
    """Judges standings again and again; what does not change is worked out once."""

    def __init__(
        self,
        objectives: Sequence[Objective],
        estate: Estate,
        windows: Iterable[str] = WINDOWS,
        targets: Targets | None = None,
    ) -> None:
        """Judge by `objectives`; `windows` are those for which burn rates are stated.

        `targets` are those that ever were, if they changed.

        Raises:
            ValueError: a window is no multiple of 10 s.
        """
        self._objectives = tuple(objectives)
        self._estate = estate
        self._due = Due(estate, targets)
        self._paths = [objective.paths(estate) for objective in objectives]
        self._reported_s = {text: read_window(text) for text in windows}
        self._keys: tuple[SpendKey, ...] | None = None
        self._rows: list[NDArray[np.intp]] = []  # by objective, of its paths

    def judge(
        self,
        standing: Standing | None,
        exhaustions: Mapping[SpendKey, Exhaustion] = NOTHING_KNOWN,
    ) -> list[SloStatus]:
        """Return where all stands, in the order of objectives and paths.

        Args:
            standing: Of all paths; None where nothing is known (yet).
            exhaustions: When budgets will be used up, as far as that is known.
        """
        if standing is None:
            standing = _empty(self._lengths_s())
        if standing.keys is not self._keys:
            self._keys = standing.keys
            self._rows = [
                np.array(
                    [standing.rows.get((o.name, path), _NOWHERE) for path in paths], dtype=np.intp
                )
                for o, paths in zip(self._objectives, self._paths, strict=True)
            ]
        return [
            status
            for each in zip(self._objectives, self._paths, self._rows, strict=True)
            for status in self._judge(*each, standing, exhaustions)
        ]

    def _lengths_s(self) -> tuple[int, ...]:
        own = (s for o in self._objectives for s in (o.window_s, *o.alerts.windows_s))
        return tuple(sorted({*self._reported_s.values(), *own}))

    def _judge(
        self,
        objective: Objective,
        paths: Sequence[Path],
        rows: NDArray[np.intp],
        standing: Standing,
        exhaustions: Mapping[SpendKey, Exhaustion],
    ) -> Iterable[SloStatus]:
        period_s = objective.window_s
        unit = _picked(standing.unit, rows)
        unit[rows == _NOWHERE] = 1
        units: list[int] = unit.tolist()
        lengths_s = {period_s, *self._reported_s.values(), *objective.alerts.windows_s}
        columns = {s: _column(standing, objective, rows, s) for s in lengths_s}
        known = {
            s: _known(columns[s], self._due.budget_least(objective, s, standing.now_s), units)
            for s in lengths_s
        }
        rates = [_burn_rates(columns[s], known[s], units) for s in self._reported_s.values()]
        by_path = zip(*rates, strict=True) if rates else [()] * len(paths)
        firing = self._firing(objective, columns, known, units)
        place = standing.place(period_s)
        measured: list[int] = _picked(standing.events[place], rows).tolist()
        unmeasured: list[int] = _picked(standing.unmeasured[place], rows).tolist()
        expected = self._expected(objective, paths, standing, (measured, unmeasured))
        period = columns[period_s]
        target, limit_s, texts = float(objective.target), objective.limit_s, tuple(self._reported_s)
        for n, (path, burn) in enumerate(zip(paths, by_path, strict=True)):
            budget = period.budget[n]
            yield SloStatus(
                slo=objective.name,
                path=path,
                objective=target,
                threshold_s=limit_s,
                period_s=period_s,
                events=period.events[n],
                bad_events=period.bad[n],
                unmeasured_events=unmeasured[n],
                budget_events=budget / units[n],
                coverage=coverage_of(measured[n], expected[n]),
                budget_remaining_ratio=(budget - period.bad[n] * units[n]) / budget
                if budget
                else None,
                burn_rate=dict(zip(texts, burn, strict=True)),
                firing=firing.get(n, ()),
                exhaustion=exhaustions.get((objective.name, path)) if exhaustions else None,
                rate=objective.rate,
                measured_events=measured[n],
                due_events=float(expected[n]),
            )

    def _expected(
        self,
        objective: Objective,
        paths: Sequence[Path],
        standing: Standing,
        counts: tuple[Sequence[int], Sequence[int]],  # measured and unmeasured by path
    ) -> list[Fraction]:
        """Return by path how many events were due in the period."""
        period_s, now_s = objective.window_s, standing.now_s
        start_s = standing.starts_s[standing.place(period_s)]
        if objective.slices is not None:  # read from the store
            start_s, _ = span_at(now_s, period_s)
        span = start_s, now_s
        near = touching(standing.exclusions, start_s, now_s)
        found = []
        for path, events, unmeasured in zip(paths, *counts, strict=True):
            planned = self._due.planned(objective, path, span, near)
            found.append(events_expected(planned, events + unmeasured))
        return found

    def _firing(
        self,
        objective: Objective,
        columns: Mapping[int, _Column],
        known: Mapping[int, Sequence[bool]],
        units: Sequence[int],
    ) -> dict[int, tuple[BurnPair, ...]]:
        """Return the pairs that fire by the place of their path, the most urgent first."""
        found: dict[int, tuple[BurnPair, ...]] = {}
        for pair in objective.alerts.pairs:
            threshold = pair.threshold(objective.window_s)
            least = self._due.bad_least(objective, pair)
            short = _burning(columns[pair.short_s], known[pair.short_s], units, threshold)
            long = columns[pair.long_s]
            for n in short & _burning(long, known[pair.long_s], units, threshold):
                if long.bad[n] >= least:
                    found[n] = (*found.get(n, ()), pair)
        return found


def _column(
    standing: Standing, objective: Objective, rows: NDArray[np.intp], length_s: int
) -> _Column:
    place = standing.place(length_s)
    events, bad, unmeasured, budget, more = (
        _picked(figures[place], rows)
        for figures in (
            standing.events,
            standing.bad,
            standing.unmeasured,
            standing.budget,
            standing.unmeasured_budget,
        )
    )
    if objective.missing_data is not MissingData.IGNORE:
        events = events + unmeasured
        budget = budget + more
        if objective.missing_data is MissingData.BAD:
            bad = bad + unmeasured
        unmeasured = np.zeros_like(unmeasured)
    return _Column(events.tolist(), bad.tolist(), unmeasured.tolist(), budget.tolist())


def _picked(figures: NDArray[np.int64], rows: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return the figures of some rows, 0 of those that are nowhere."""
    if not len(figures):
        return np.zeros(len(rows), dtype=np.int64)
    found = figures[rows]
    found[rows == _NOWHERE] = 0
    return found


def _known(column: _Column, least: Fraction, units: Sequence[int]) -> list[bool]:
    """Return by path whether enough was measured to say something of burning."""
    of_unit = {unit: -(-least.numerator * unit // least.denominator) for unit in set(units)}
    return [
        budget >= of_unit[unit] and budget > 0
        for budget, unit in zip(column.budget, units, strict=True)
    ]


def _burn_rates(column: _Column, known: Sequence[bool], units: Sequence[int]) -> list[float | None]:
    return [
        bad * unit / budget if sure else None
        for bad, unit, budget, sure in zip(column.bad, units, column.budget, known, strict=True)
    ]


def _burning(
    column: _Column, known: Sequence[bool], units: Sequence[int], threshold: Fraction
) -> set[int]:
    """Return the paths whose burn rate is above a threshold, exactly."""
    above, below = threshold.numerator, threshold.denominator
    return {
        n
        for n, bad in enumerate(column.bad)
        if bad and known[n] and bad * units[n] * below > above * column.budget[n]
    }


def _empty(lengths_s: tuple[int, ...]) -> Standing:
    none = np.zeros((len(lengths_s), 0), dtype=np.int64)
    return Standing(
        0, (), {}, lengths_s, (0,) * len(lengths_s), none, none, none, none, none[0], none
    )
