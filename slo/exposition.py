"""Objectives for Prometheus: persistent counters, burn rates and budgets.

The counters never reset, for the store keeps them: a rule may take the difference of two
moments over any window. What cannot be said has no sample, for 0 would be a claim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from netslo import metrics
from netslo.model import Path
from netslo.units import format_duration
from slo.budget import Spend
from slo.judge import Judge
from slo.objective import Objective
from slo.ranges import SpendKey
from slo.status import SloStatus

_LABELS: Final = ("path", "src_site", "dst_site", "class", "scope", "slo")
_INFO_LABELS: Final = (
    "slo",
    "service",
    "indicator",
    "objective",
    "threshold_seconds",
    "least_bits_per_second",
    "period",
    "owner",
    "runbook",
    "display_name",
    "description",
)


class SloCollector(Collector):
    """Collects for a prometheus-client registry, from any thread."""

    def __init__(
        self,
        judge: Judge,
        totals: Callable[[], Mapping[SpendKey, Spend]],
    ) -> None:
        """Collect what `judge` says, and counters that never go back from `totals`."""
        self._judge = judge
        self._totals = totals
        self._objectives = tuple(judge.objectives)
        self._estate = judge.estate
        self._calendars = {o.name: o.calendar for o in judge.objectives}

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples, so that registering reads no store."""
        return [_info([]), *_counters(), *_gauges()]

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        yield _info(self._objectives)
        yield from self._collect_counters()
        yield from self._collect_gauges()

    def _collect_counters(self) -> Iterable[Metric]:
        families = _counters()
        totals = self._totals()
        for objective in self._objectives:
            for path in objective.paths(self._estate):
                # Nothing counted yet is a count of 0: a counter must be seen before its first step.
                spend = totals.get((objective.name, path), Spend())
                taken = spend.taking(objective.missing_data)
                values = (taken.events, taken.bad, float(taken.budget), spend.unmeasured)
                labels = self._labels(path, objective.name)
                for family, value in zip(families, values, strict=True):
                    family.add_metric(labels, value)
        return families

    def _collect_gauges(self) -> Iterable[Metric]:
        objective, remaining, coverage, burn, limit, exhaustion = families = _gauges()
        limits_s = {o.name: o.limit_s for o in self._objectives}
        for status in self._judge.judge()[1]:
            labels = self._labels(status.path, status.slo)
            objective.add_metric(labels, status.objective)
            period = format_duration(status.period_s)
            _add_known(remaining, [*labels, period], status.budget_remaining_ratio)
            _add_known(coverage, labels, status.coverage)
            _add_known(limit, labels, limits_s[status.slo])
            _add_burn(burn, labels, status)
            self._add_dates(exhaustion, labels, status)
        return families

    def _add_dates(
        self, family: GaugeMetricFamily, labels: Sequence[str], status: SloStatus
    ) -> None:
        if status.exhaustion is None:
            return
        calendar = self._calendars[status.slo]
        for period, dates in (
            (format_duration(status.period_s), status.exhaustion.rolling),
            ("" if calendar is None else calendar.duration, status.exhaustion.calendar),
        ):
            if dates is not None:
                for quantile, date_s in dates.by_quantile():
                    _add_known(family, [*labels, period, f"{quantile:g}"], date_s)

    def _labels(self, path: Path, slo: str) -> list[str]:
        scope = self._estate.scope(path).value
        return [path.id, path.src, path.dst, path.traffic_class, scope, slo]


def _add_known(family: GaugeMetricFamily, labels: Sequence[str], value: float | None) -> None:
    if value is not None:
        family.add_metric(labels, value)


def _add_burn(family: GaugeMetricFamily, labels: Sequence[str], status: SloStatus) -> None:
    for window, burn in status.burn_rate.items():
        _add_known(family, [*labels, window], burn)


def _info(objectives: Iterable[Objective]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        metrics.PROM_SLO_INFO, "What an objective says; always 1.", labels=_INFO_LABELS
    )
    for o in objectives:
        family.add_metric(
            [
                o.name,
                o.service,
                o.indicator.value,
                o.target_text,
                "" if o.limit_s is None else f"{o.limit_s:g}",
                "" if o.rate is None else f"{o.rate:.12g}",
                format_duration(o.window_s),
                o.owner or "",
                o.runbook or "",
                o.display_name,
                o.description,
            ],
            1,
        )
    return family


def _counters() -> list[CounterMetricFamily]:
    """Return the families of events, bad, budget and unmeasured events, in this order."""
    return [
        CounterMetricFamily(name, text, labels=_LABELS)
        for name, text in (
            (metrics.PROM_SLO_EVENTS, "Valid events: packets measured, good or bad."),
            (metrics.PROM_SLO_BAD_EVENTS, "Events that broke the objective."),
            (
                metrics.PROM_SLO_BUDGET_EVENTS,
                "Events that were allowed to be bad: (1 - target) * events.",
            ),
            (metrics.PROM_SLO_UNMEASURED_EVENTS, "Packets due that could not be measured."),
        )
    ]


def _gauges() -> list[GaugeMetricFamily]:
    """Return the families of objective, budget left, coverage, burn, limit and dates, in order."""
    return [
        GaugeMetricFamily(name, text, labels=[*_LABELS, *more])
        for name, text, more in (
            (metrics.PROM_SLO_OBJECTIVE, "Target ratio of good events.", ()),
            (
                metrics.PROM_SLO_BUDGET_REMAINING,
                "Share of the period's error budget left; negative when overspent.",
                ("period",),
            ),
            (
                metrics.PROM_SLO_COVERAGE,
                "Measured events per event due by plan, over the period.",
                (),
            ),
            (
                metrics.PROM_SLO_BURN_RATE,
                "Bad events per budget event over the last window.",
                ("window",),
            ),
            (metrics.PROM_SLO_LIMIT, "The most that a good event may take.", ()),
            (
                metrics.PROM_SLO_EXHAUSTION,
                "When the period's budget is used up, in this share of futures; absent for never.",
                ("period", "quantile"),
            ),
        )
    ]
