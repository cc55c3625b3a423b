"""Whose every bad event of an objective is: sums that add up to the burnt budget, exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from analytics.store import WindowStore
from netslo.estate import Estate
from netslo.model import Path
from slo.attribution.incidents import Incident, Run, group, runs_in
from slo.backtest.backtest import alignment_of, parts_by_site, step_of
from slo.backtest.history import History, read_history
from slo.backtest.replay import Episode, replay
from slo.backtest.slicing import rated, shifted, sliced
from slo.backtest.sums import Sums
from slo.budget import Spend
from slo.burn import Severity
from slo.exclusion import Exclusion
from slo.ledger import Era
from slo.objective import Indicator, Objective
from slo.rates import judge_rates

_CELLS_MAX = 8_000_000  # in memory at once


@dataclass(slots=True)
class Attribution:
    """What an objective's paths spent in a time, and in which incidents.

    The bad events of all paths are those of all incidents and `scattered` ones.
    """

    objective: Objective
    start_s: int
    end_s: int
    spends: dict[Path, Spend] = field(default_factory=dict)  # with missing data as it counts
    incidents: list[Incident] = field(default_factory=list)  # the costliest first

    @property
    def total(self) -> Spend:
        return sum(self.spends.values(), Spend())

    @property
    def scattered(self) -> int:
        """The bad events of no incident."""
        return self.total.bad - sum(each.bad for each in self.incidents)

    def by_source(self) -> dict[str, int]:
        """Return the bad events by the site that measured them, most first."""
        return self._by(lambda path: path.src)

    def by_destination(self) -> dict[str, int]:
        """Return the bad events by the far site, most first."""
        return self._by(lambda path: path.dst)

    def by_path(self) -> dict[Path, int]:
        """Return the bad events by path, most first."""
        ranked = sorted(self.spends.items(), key=lambda item: (-item[1].bad, item[0]))
        return {path: spend.bad for path, spend in ranked}

    def _by(self, site: Callable[[Path], str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for path, spend in self.spends.items():
            found[site(path)] = found.get(site(path), 0) + spend.bad
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def attribute(
    store: WindowStore,
    objective: Objective,
    estate: Estate,
    paths: Sequence[Path],
    span: tuple[int, int],
    eras: Sequence[Era],
    exclusions: Sequence[Exclusion] = (),
) -> Attribution:
    """Read from a store what burnt the budgets of an objective.

    Args:
        store: What is read.
        objective: Whose pairs say which incidents would have raised an alert.
        estate: Whose probing plan says what is due.
        paths: Some of its paths.
        span: Unix seconds, whole `alignment_of(objective)`.
        eras: The targets it had.
        exclusions: Times that do not count.
    """
    found = Attribution(objective, *span)
    step_s, align_s = step_of(objective), alignment_of(objective)
    back_s = max(objective.alerts.windows_s, default=0)
    begin_s = max(0, (found.start_s - back_s) // align_s * align_s)
    size = max(1, _CELLS_MAX * step_s // (found.end_s - begin_s))
    runs: list[Run] = []
    of_rates = objective.indicator is Indicator.BANDWIDTH
    rates = judge_rates(store, objective, begin_s, found.end_s) if of_rates else None
    for part, selector in parts_by_site(paths, size):
        keys = [(objective.name, path) for path in part]
        if rates is not None:
            history = rated(rates, objective, keys, (begin_s, found.end_s, step_s), exclusions)
        else:
            history = read_history(store, keys, begin_s, found.end_s, step_s, selector=selector)
        left, in_force = exclusions, eras
        if objective.slices is not None:
            if rates is None:
                history = sliced(history, objective.slices, exclusions)
            left, in_force = (), shifted(eras, objective.slices, step_s)
        judged = replay(history, objective, estate, in_force, span, left)
        for path, spend in zip(part, judged.spends, strict=True):
            found.spends[path] = spend.taking(objective.missing_data)
        inside = _without(_between(history, span), left)
        sums = Sums.of(
            inside.events, inside.bad, inside.unmeasured, inside.shares(in_force)
        ).taking(objective.missing_data)
        guard = objective.guard
        of_part = runs_in(
            sums,
            part,
            inside.start_s,
            step_s,
            guard.bad_events_min,
            guard.parts,
            None if objective.slices is None else objective.slices.length_s,
        )
        runs += _with_alerts(of_part, judged.episodes)
    found.incidents = group(runs)
    return found


def _between(history: History, span: tuple[int, int]) -> History:
    low, high = (history.column(at_s) for at_s in span)
    return replace(
        history,
        start_s=history.start_s + low * history.step_s,
        events=history.events[:, low:high],
        bad=history.bad[:, low:high],
        unmeasured=history.unmeasured[:, low:high],
    )


def _without(history: History, exclusions: Sequence[Exclusion]) -> History:
    holes = history.holes(exclusions)
    if not holes:
        return history
    counts = [c.copy() for c in (history.events, history.bad, history.unmeasured)]
    for hole in holes:
        for each in counts:
            each[hole.rows, hole.low : hole.high] = 0
    events, bad, unmeasured = counts
    return replace(history, events=events, bad=bad, unmeasured=unmeasured)


def _with_alerts(runs: Sequence[Run], episodes: Sequence[Episode]) -> list[Run]:
    """Note the most urgent alert that began during a run, or in the short window after it."""
    by_path: dict[Path, list[Episode]] = {}
    for episode in episodes:
        by_path.setdefault(episode.key[1], []).append(episode)
    severities = list(Severity)
    found = []
    for run in runs:
        raised = [
            episode.pair.severity
            for episode in by_path.get(run.path, ())
            if run.start_s < episode.start_s <= run.end_s + episode.pair.short_s
        ]
        severity = min(raised, key=severities.index, default=None)
        found.append(replace(run, severity=severity))
    return found
