"""Cases for `promtool test rules`: what each pair of each objective must do, and must not.

Counters as the collector exports them are made up minute by minute: a healthy path, one that is
at fault for a while, and one whose probe falls silent in the middle of a fault. When an alert
must be there follows from the objective alone (`BurnPair.detection_s`), not from the rules.
Events of an objective by time slice come at the end of each slice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, Final

from netslo import metrics
from netslo.estate import Estate
from netslo.model import Path
from netslo.units import format_duration
from slo.burn import BurnPair
from slo.due import bad_events_min, budget_events_min, events_due
from slo.objective import Objective
from slo.rules.layout import (
    CadenceName,
    cadence_of,
    span_of,
)
from slo.rules.rules import BURN_ALERTS, PROBE_FOR_S, Alert

_STEPS_PER_LONG: Final = 360
_STEP_S_MAX: Final = 240  # Prometheus looks back five minutes for a sample
_ERRORS: Final = 10  # times what the pair's threshold needs
_HEALTHY: Final = Fraction(1, 1000)  # of the budget: a trace of bad events, so that 0 is no answer


def test_files(
    objectives: Sequence[Objective], estate: Estate, rule_file: str
) -> dict[str, dict[str, Any]]:
    """Return test files by name, as YAML's plain data, for a rule file beside them.

    Each cadence has a file of its own; pairs of days are evaluated less often.
    """
    found: dict[CadenceName, list[dict[str, Any]]] = {name: [] for name in CadenceName}
    seen = set()
    for objective in objectives:
        for pair in objective.alerts.pairs:
            alike = (pair, objective.target, objective.window_s, objective.alerts.guard)
            measured = objective.coverage_min, objective.slices
            if (alike, measured) in seen:
                continue  # objectives that differ by name only would say the same again
            seen.add((alike, measured))
            found[cadence_of(pair)] += _cases(objective, pair, estate)
    return {
        cadence.value: {
            "rule_files": [rule_file],
            "evaluation_interval": f"{_STEP_S_MAX if cadence is CadenceName.SLOW else 60}s",
            "tests": cases,
        }
        for cadence, cases in found.items()
        if cases
    }


def _cases(objective: Objective, pair: BurnPair, estate: Estate) -> Iterator[dict[str, Any]]:
    needed = pair.error_ratio_min(objective.target, objective.window_s)
    if needed >= 1:
        return  # it can never fire, which `slo check` says
    ratio = min(Fraction(1), needed * _ERRORS)
    if objective.slices is not None and objective.slices.good_ratio_min is not None:
        ratio = Fraction(1)  # a slice is good or bad as a whole
    yield _Case(objective, pair, estate, ratio).to_data()


class _Case:
    """One pair of one objective, on one of its paths."""

    def __init__(
        self, objective: Objective, pair: BurnPair, estate: Estate, error_ratio: Fraction
    ) -> None:
        self._objective = objective
        self._pair = pair
        self._estate = estate
        self._error_ratio = error_ratio
        self._step_s = _step_s(pair)
        self._per_step = events_due(objective, estate, self._step_s)
        slices = objective.slices
        self._lump_s = 0 if slices is None else slices.length_s  # events of so long come at once
        path = objective.paths(estate)[0]
        self._path = path
        # Their names are of no site: whatever the estate, they differ from each other.
        self._silent = Path("silent", path.dst, path.traffic_class)
        self._healthy = Path("healthy", path.dst, path.traffic_class)
        self._before = math.ceil(Fraction(pair.long_s, self._step_s)) + 2
        detection_s = pair.detection_s(objective.target, objective.window_s, error_ratio)
        assert detection_s is not None
        self._detection_s = max(detection_s, self._time_to(bad_events_min(objective, estate, pair)))
        # The first slice of the fault may have begun before it.
        self._slack_s = 2 * self._step_s + 2 * self._lump_s
        self._fault = math.ceil((2 * self._detection_s + self._slack_s) / self._step_s) + 2
        self._after = math.ceil(Fraction(pair.short_s + self._slack_s, self._step_s)) + 30

    def to_data(self) -> dict[str, Any]:
        """Return the case as promtool reads it."""
        start_s = self._before * self._step_s
        end_s = start_s + self._fault * self._step_s
        slack_s = self._slack_s
        due_s = start_s + math.ceil(self._detection_s) + slack_s
        early_s = start_s + math.floor(self._detection_s) - slack_s
        over_s = end_s + self._pair.short_s + slack_s
        silent_s = end_s + PROBE_FOR_S + 10 * 60
        checks = [
            (start_s, self._path, 0),
            (due_s, self._path, 1),
            (over_s, self._path, 0),
            (due_s, self._healthy, 0),
            (over_s, self._healthy, 0),
            (due_s, self._silent, 1),
            (silent_s, self._silent, 1),
            (max(over_s, silent_s), self._silent, 1),  # nothing resolves because data stop
        ]
        if early_s > start_s:
            checks.append((early_s, self._path, 0))
        name = f"{self._objective.name} {self._pair.severity} {span_of(self._pair).id}"
        return {
            "name": f"{name}: fires in time, resets, healthy silent, silence pages",
            "interval": f"{self._step_s}s",
            "input_series": list(self._series()),
            "promql_expr_test": [
                *(self._check(at_s, path, count) for at_s, path, count in sorted(checks)),
                self._check_probe(start_s, 0),
                self._check_probe(silent_s, 1),
            ],
        }

    def _time_to(self, bad_events: int) -> Fraction:
        """Return how long the fault takes to make so many bad events, seconds."""
        return bad_events * self._step_s / (self._per_step * self._error_ratio)

    def _check(self, at_s: int, path: Path, count: int) -> dict[str, Any]:
        alert = BURN_ALERTS[self._pair.severity]
        labels = (
            f'alertname="{alert}",alertstate="firing",pair="{span_of(self._pair).id}",'
            f'path="{path.id}",slo="{self._objective.name}"'
        )
        return _count(f"ALERTS{{{labels}}}", at_s, count)

    def _check_probe(self, at_s: int, count: int) -> dict[str, Any]:
        labels = f'alertname="{Alert.PROBE_DOWN}",alertstate="firing",src_site="silent"'
        return _count(f"ALERTS{{{labels}}}", at_s, count)

    def _series(self) -> Iterator[dict[str, str]]:
        slo, step_s = self._objective.name, self._step_s
        total = self._before + self._fault + self._after
        one, budget = Fraction(1), 1 - self._objective.target
        healthy, bad = budget * _HEALTHY, self._error_ratio
        spans = {self._path: (self._fault, self._after), self._healthy: (0, total - self._before)}
        for path, (fault, after) in spans.items():
            for metric, parts in (
                (metrics.PROM_SLO_EVENTS, [(one, total)]),
                (metrics.PROM_SLO_BUDGET_EVENTS, [(budget, total)]),
                (
                    metrics.PROM_SLO_BAD_EVENTS,
                    [(healthy, self._before), (bad, fault), (healthy, after)],
                ),
            ):
                yield _made(metric, path, slo, self._grown(parts))
        running = self._before + self._fault
        quiet = (Fraction(0), self._after)  # the collector still exports what it has
        for metric, parts in (
            (metrics.PROM_SLO_EVENTS, [(one, running), quiet]),
            (metrics.PROM_SLO_BUDGET_EVENTS, [(budget, running), quiet]),
            (metrics.PROM_SLO_BAD_EVENTS, [(healthy, self._before), (bad, self._fault), quiet]),
        ):
            yield _made(metric, self._silent, slo, self._grown(parts))
        for site, until in ((self._path.src, total), ("healthy", total), ("silent", running)):
            name = f'{metrics.PROM_PROBE_LAST_WINDOW}{{src_site="{site}"}}'
            values = _pieces([(Fraction(step_s), until), (Fraction(0), total - until)])
            yield {"series": name, "values": values}
            yield {
                "series": f'{metrics.PROM_SLO_SITE_PEERS}{{site="{site}"}}',
                "values": f"9x{total}",
            }
        commit = metrics.PROM_COLLECTOR_LAST_COMMIT
        yield {"series": commit, "values": f"0+{step_s}x{total}"}
        yield from self._thresholds(total)

    def _grown(self, parts: Sequence[tuple[Fraction, int]]) -> str:
        """Write a counter that grows by so much an event for so many steps, then otherwise."""
        if not self._lump_s:
            return _pieces([(growth * self._per_step, times) for growth, times in parts])
        per_slice = self._per_step * self._lump_s / self._step_s
        steps: list[tuple[Fraction, int]] = []
        at = 0
        for growth, times in parts:
            for _ in range(times):
                ended = (at + 1) * self._step_s // self._lump_s - at * self._step_s // self._lump_s
                grown = growth * per_slice * ended
                if steps and steps[-1][0] == grown:
                    steps[-1] = grown, steps[-1][1] + 1
                else:
                    steps.append((grown, 1))
                at += 1
        return _pieces(steps)

    def _thresholds(self, total: int) -> Iterator[dict[str, str]]:
        objective, pair, slo = self._objective, self._pair, self._objective.name
        span = span_of(pair).id
        of_pair = f'pair="{span}",slo="{slo}"'
        constants = {
            f'{metrics.PROM_SLO_BURN_THRESHOLD}{{{of_pair},severity="{pair.severity}"}}': float(
                pair.threshold(objective.window_s)
            ),
            f"{metrics.PROM_SLO_BAD_EVENTS_MIN}{{{of_pair}}}": bad_events_min(
                objective, self._estate, pair
            ),
        }
        for window_s in (pair.short_s, pair.long_s):
            of_window = f'slo="{slo}",window="{format_duration(window_s)}"'
            constants[f"{metrics.PROM_SLO_BUDGET_EVENTS_MIN}{{{of_window}}}"] = float(
                budget_events_min(objective, self._estate, window_s)
            )
        for series, value in constants.items():
            yield {"series": series, "values": f"{value:.12g}x{total}"}


def _step_s(pair: BurnPair) -> int:
    """Return the time between samples: few for a window of days, but no gap for Prometheus."""
    return max(60, min(_STEP_S_MAX, pair.long_s // _STEPS_PER_LONG // 60 * 60))


def _made(metric: str, path: Path, slo: str, values: str) -> dict[str, str]:
    labels = (
        f'path="{path.id}",slo="{slo}",src_site="{path.src}",dst_site="{path.dst}",'
        f'class="{path.traffic_class}",scope="national"'
    )
    return {"series": f"{metric}{{{labels}}}", "values": values}


def _pieces(steps: Sequence[tuple[Fraction, int]]) -> str:
    """Write a counter that grows by so much, so many times, then by something else."""
    parts, value = [], Fraction(0)
    for growth, times in steps:
        if not times:
            continue
        parts.append(f"{_text(value)}+{_text(growth)}x{times - 1}")
        value += growth * times
    return " ".join(parts)


def _text(exact: Fraction) -> str:
    return f"{float(exact):.12g}"


def _count(selector: str, at_s: int, count: int) -> dict[str, Any]:
    return {
        "expr": f"count({selector}) or vector(0)",
        "eval_time": f"{at_s}s",
        "exp_samples": [{"labels": "{}", "value": count}],
    }
