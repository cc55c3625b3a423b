"""What every burn pair says of every path at one moment; the same as the rules say.

`slo.rules` has the same in PromQL: a window with too few budget events is unknown, and so is a
short one, of a pair of hours, into which a site's backlog has come; an alert whose short window is
unknown stays as it was, and few bad events alert nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from netslo.estate import Estate
from slo.budget import MissingData
from slo.burn import BurnPair
from slo.due import Due
from slo.ledger import Standing
from slo.objective import Objective
from slo.ranges import SpendKey
from slo.rules.expressions import LATE_MARGIN_S
from slo.rules.layout import cadence_of
from slo.targets import Targets


class Verdict(IntEnum):
    """Of one pair on one path."""

    UNKNOWN = -1  # too little is measured: who was told stays told, nobody else is
    QUIET = 0
    FIRES = 1


@dataclass(frozen=True, slots=True)
class PairVerdicts:
    """One pair of one objective on all its paths."""

    objective: Objective
    pair: BurnPair
    keys: tuple[SpendKey, ...]
    verdicts: NDArray[np.int8]  # (paths,)
    rates: NDArray[np.float64]  # (paths,) burn rate of the long window; NaN: unknown


@dataclass(frozen=True, slots=True)
class Judged:
    """All that can be said at one moment, Unix seconds."""

    at_s: float
    pairs: tuple[PairVerdicts, ...]
    unknown: frozenset[SpendKey]  # the shortest window lacks events, and not for a backlog


class PairJudge:
    """Judges a standing again and again; what does not change is worked out once."""

    def __init__(
        self, objectives: Sequence[Objective], estate: Estate, targets: Targets | None = None
    ) -> None:
        """Judge by the objectives' pairs; `targets` are those that ever were, if they changed."""
        self._due = Due(estate, targets)
        self._objectives = tuple(o for o in objectives if o.alerts.pairs)
        self._keys: tuple[SpendKey, ...] = ()
        self._rows: dict[str, _Rows] = {}  # by objective, where those of `_keys` are

    def judge(self, standing: Standing, late_s: Mapping[str, float] | None = None) -> Judged:
        """Return every pair's verdicts on the paths of its objective.

        Args:
            standing: How all stands.
            late_s: How long ago each site last delivered windows that were over; those whose
                windows come in their time are not mentioned.
        """
        self._learn(standing.keys)
        found: list[PairVerdicts] = []
        unknown: set[SpendKey] = set()
        for objective in self._objectives:
            rows = self._rows.get(objective.name)
            if rows is None:
                continue
            own = _part_of(standing, objective, rows)
            known = {
                length_s: at_least(
                    own, length_s, self._due.budget_least(objective, length_s, standing.now_s)
                )
                for length_s in objective.alerts.windows_s
            }
            backlog = {s: rows.with_backlog(late_s or {}, s) for s in objective.alerts.windows_s}
            shortest_s = objective.alerts.windows_s[0]
            lacking = ~known[shortest_s] & ~backlog[shortest_s]
            unknown.update(own.keys[row] for row in np.flatnonzero(lacking).tolist())
            for pair in objective.alerts.pairs:
                short = known[pair.short_s]
                if cadence_of(pair).blind:
                    short = short & ~backlog[pair.short_s]
                found.append(self._judge_pair(objective, pair, own, known[pair.long_s], short))
        return Judged(standing.now_s, tuple(found), frozenset(unknown))

    def _learn(self, keys: tuple[SpendKey, ...]) -> None:
        if keys is self._keys:
            return
        by_name: dict[str, list[int]] = {}
        for row, (slo, _) in enumerate(keys):
            by_name.setdefault(slo, []).append(row)
        self._keys = keys
        self._rows = {name: _Rows.of(rows, keys) for name, rows in by_name.items()}

    def _judge_pair(
        self,
        objective: Objective,
        pair: BurnPair,
        own: Standing,
        known: NDArray[np.bool_],  # the long window
        short_known: NDArray[np.bool_],
    ) -> PairVerdicts:
        threshold = pair.threshold(objective.window_s)
        long = own.place(pair.long_s)
        fires = (
            known
            & short_known
            & (own.bad[long] >= self._due.bad_least(objective, pair))
            & own.exceeds(pair.long_s, threshold)
            & own.exceeds(pair.short_s, threshold)
        )
        verdicts = np.where(fires, Verdict.FIRES, Verdict.QUIET).astype(np.int8)
        verdicts[~short_known] = Verdict.UNKNOWN
        rates = np.where(known, own.burn_rates()[long], np.nan)
        return PairVerdicts(objective, pair, own.keys, verdicts, rates)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Where the rows of one objective are, and among them those from each site."""

    rows: NDArray[np.intp]
    keys: tuple[SpendKey, ...]
    by_key: Mapping[SpendKey, int]
    of_site: Mapping[str, NDArray[np.intp]]

    @classmethod
    def of(cls, rows: Sequence[int], all_keys: Sequence[SpendKey]) -> _Rows:
        keys = tuple(all_keys[row] for row in rows)
        sites: dict[str, list[int]] = {}
        for row, (_, path) in enumerate(keys):
            sites.setdefault(path.src, []).append(row)
        return cls(
            np.array(rows, dtype=np.intp),
            keys,
            {key: row for row, key in enumerate(keys)},
            {site: np.array(own, dtype=np.intp) for site, own in sites.items()},
        )

    def with_backlog(self, late_s: Mapping[str, float], window_s: int) -> NDArray[np.bool_]:
        """Return by row whether late windows may have come within a window."""
        found = np.zeros(len(self.keys), dtype=np.bool_)
        for site, ago_s in late_s.items():
            if ago_s < window_s + LATE_MARGIN_S and site in self.of_site:
                found[self.of_site[site]] = True
        return found


def _part_of(standing: Standing, objective: Objective, own: _Rows) -> Standing:
    """Return the rows of one objective, with what is missing taken for what it says."""
    part = replace(
        standing,
        keys=own.keys,
        rows=own.by_key,
        events=standing.events[:, own.rows],
        bad=standing.bad[:, own.rows],
        unmeasured=standing.unmeasured[:, own.rows],
        budget=standing.budget[:, own.rows],
        unmeasured_budget=standing.unmeasured_budget[:, own.rows],
        unit=standing.unit[own.rows],
    )
    if objective.missing_data is MissingData.IGNORE:
        return part
    as_bad = objective.missing_data is MissingData.BAD
    return replace(
        part,
        events=part.events + part.unmeasured,
        bad=part.bad + part.unmeasured if as_bad else part.bad,
        unmeasured=np.zeros_like(part.unmeasured),
        budget=part.budget + part.unmeasured_budget,
    )


def at_least(standing: Standing, length_s: int, least: Fraction) -> NDArray[np.bool_]:
    """Return by row whether a window has so many budget events, exactly."""
    budget = standing.budget[standing.place(length_s)]
    units, place = np.unique(standing.unit, return_inverse=True)  # one for each target, mostly
    limits = [-(-least.numerator * unit // least.denominator) for unit in units.tolist()]
    enough: NDArray[np.bool_] = (budget >= np.array(limits)[place]) & (budget > 0)
    return enough
