"""Incidents: times in which paths burnt their budgets, by more than chance.

A step of 5 min burns where more of its events are bad than its budget allows. Burning steps of a
path with little between them are a run, and runs that begin together and share a site are one
incident: a site that dies takes all its paths with it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from netslo.model import Path
from slo.backtest.sums import Shares, Sums
from slo.burn import Severity, chance_of_at_least

GAP_S: Final = 900  # a shorter pause ends no run, and runs begin together within it
CHANCE_MAX: Final = 1e-4  # of so many bad events within the budget: less is no incident


@dataclass(frozen=True, slots=True)
class Run:
    """One path burning its budget in [start_s, end_s), Unix seconds."""

    path: Path
    start_s: int
    end_s: int
    bad: int
    budget: Fraction  # of that time
    severity: Severity | None = None  # of the alerts it would have raised


@dataclass(frozen=True, slots=True)
class Incident:
    """Runs that belong together, the costliest path first."""

    runs: tuple[Run, ...]

    @property
    def start_s(self) -> int:
        return min(run.start_s for run in self.runs)

    @property
    def end_s(self) -> int:
        return max(run.end_s for run in self.runs)

    @property
    def bad(self) -> int:
        return sum(run.bad for run in self.runs)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The paths, each once, the costliest first."""
        return tuple(dict.fromkeys(run.path for run in self.runs))

    @property
    def severity(self) -> Severity | None:
        """The most urgent alert that it would have raised."""
        raised = [run.severity for run in self.runs if run.severity is not None]
        return min(raised, key=list(Severity).index, default=None)

    @property
    def site(self) -> str | None:
        """The site that all paths have at one end; None where they are one path, or share two."""
        paths = self.paths
        ends = Counter(site for path in paths for site in {path.src, path.dst})
        common = [site for site, count in ends.items() if count == len(paths)]
        return common[0] if len(common) == 1 and len(paths) > 1 else None


def runs_in(
    sums: Sums,
    paths: Sequence[Path],
    start_s: int,
    step_s: int,
    bad_min: int,
    parts: int = 1,
    slice_s: int | None = None,
) -> list[Run]:
    """Return the runs of some rows.

    Args:
        sums: Of the rows, with what is missing taken as the objective says.
        paths: Of the rows.
        start_s: Where the first column begins, Unix seconds.
        step_s: Of the columns.
        bad_min: Events that a run must have.
        parts: What one event counts in the counters; see `slo.slices`.
        slice_s: The length of a slice, where events are such. It stands in the column in which
            it ends. A bad one is many packets, or a test, and no chance.
    """
    gap_s, whole_s = max(GAP_S, slice_s or 0), slice_s or step_s
    row, column = _burning_steps(sums)
    breaks = np.flatnonzero((np.diff(row) != 0) | (np.diff(column) > 1 + gap_s // step_s))
    firsts = np.concatenate([np.zeros(min(len(row), 1), dtype=np.int64), breaks + 1])
    lasts = np.concatenate([breaks, np.full(min(len(row), 1), len(row) - 1, dtype=np.int64)])
    bad = sums.bad[row[lasts], column[lasts] + 1] - sums.bad[row[firsts], column[firsts]]
    found = []
    for first, last, count in zip(firsts.tolist(), lasts.tolist(), bad.tolist(), strict=True):
        if count < parts * bad_min:
            continue
        line, low, high = int(row[first]), int(column[first]), int(column[last]) + 1
        budget = sums.row_budget(line, low, high)
        by_chance = chance_of_at_least(count // parts, float(budget / parts)) >= CHANCE_MAX
        if slice_s is None and by_chance:
            continue
        begin_s, end_s = start_s + (low + 1) * step_s - whole_s, start_s + high * step_s
        found.append(Run(paths[line], begin_s, end_s, count, budget))
    return found


def _burning_steps(sums: Sums) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where more of a step's events are bad than its budget allows, exactly."""
    bad = np.diff(sums.bad, axis=1)
    row, column = np.nonzero(bad)
    events = (sums.events[row, column + 1] - sums.events[row, column]).astype(object)
    share, unit = _shares_at(sums.shares, column)
    burns = (bad[row, column].astype(object) * unit > events * share).astype(np.bool_)
    return row[burns], column[burns]


def _shares_at(shares: Shares, column: NDArray[np.int64]) -> tuple[NDArray[np.object_], int]:
    unit = math.lcm(*(share.denominator for _, share in shares))
    weights = np.array([int(share * unit) for _, share in shares], dtype=object)
    era = np.searchsorted([first for first, _ in shares], column, side="right") - 1
    return weights[era], unit


def group(runs: Iterable[Run]) -> list[Incident]:
    """Put together the runs that begin together and share a site; the costliest first."""
    ordered = sorted(runs, key=lambda run: (run.start_s, run.path))
    leader = list(range(len(ordered)))

    def find(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    latest: dict[str, int] = {}  # by site: the run there that began last
    for number, run in enumerate(ordered):
        for site in {run.path.src, run.path.dst}:
            other = latest.get(site)
            if other is not None and run.start_s - ordered[other].start_s <= GAP_S:
                leader[find(number)] = find(other)
            latest[site] = number
    members: dict[int, list[Run]] = {}
    for number, run in enumerate(ordered):
        members.setdefault(find(number), []).append(run)
    incidents = [
        Incident(tuple(sorted(of_one, key=lambda run: (-run.bad, run.path, run.start_s))))
        for of_one in members.values()
    ]
    return sorted(incidents, key=lambda each: (-each.bad, each.start_s))
