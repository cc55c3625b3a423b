"""What the rules need of each objective and site, as series: no rule names an objective."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from netslo import metrics
from netslo.estate import Estate
from netslo.units import format_duration
from slo.due import bad_events_min, budget_events_min, lacking_s
from slo.exclusion import Exclusion, is_excluded, touching
from slo.objective import Objective
from slo.rules.layout import peers_of, span_of
from slo.targets import Targets, least_share

_PATH_LABELS: Final = ("path", "src_site", "dst_site", "class", "scope", "slo")


class ThresholdCollector(Collector):
    """Collects thresholds, least counts, sites and exclusions in force; from any thread."""

    def __init__(
        self,
        objectives: Sequence[Objective],
        estate: Estate,
        exclusions: Callable[[], Iterable[Exclusion]] = tuple,
        clock: Callable[[], float] = time.time,
        scale: int = 1,
        targets: Targets | None = None,
    ) -> None:
        """Publish for rules whose windows go by `scale` times faster than their names say.

        `targets` are those that ever were, if they changed.
        """
        self._targets = targets or {}
        self._objectives = tuple(objectives)
        self._estate = estate
        self._exclusions = exclusions
        self._clock = clock
        self._scale = scale

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples."""
        return _families()

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        threshold, bad, budget, peers, excluded = families = _families()
        for objective in self._objectives:
            self._add_pairs(objective, threshold, bad, budget)
        for site, count in peers_of(self._objectives, self._estate).items():
            peers.add_metric([site], count)
        self._add_excluded(excluded)
        return families

    def _add_pairs(
        self,
        objective: Objective,
        threshold: GaugeMetricFamily,
        bad: GaugeMetricFamily,
        budget: GaugeMetricFamily,
    ) -> None:
        for pair in objective.alerts.pairs:
            span = span_of(pair)
            rate = float(pair.threshold(objective.window_s))
            threshold.add_metric([objective.name, span.id, pair.severity.value], rate)
            least = bad_events_min(objective, self._estate, pair, self._scale)
            bad.add_metric([objective.name, span.id], least)
        for window_s in sorted({*objective.alerts.windows_s, objective.window_s}):
            window = window_s // self._scale
            share = least_share(objective, self._targets, self._clock() - window)
            events = float(budget_events_min(objective, self._estate, window, share))
            budget.add_metric([objective.name, format_duration(window_s)], events)

    def _add_excluded(self, family: GaugeMetricFamily) -> None:
        now_s = self._clock()
        logged = tuple(self._exclusions())
        for objective in self._objectives:
            since_s = now_s - lacking_s(objective) / self._scale
            exclusions = (*objective.exclusions, *logged)
            if not touching(exclusions, since_s, now_s + 1):
                continue
            for path in objective.paths(self._estate):
                if is_excluded(exclusions, objective.name, path, now_s, since_s):
                    scope = self._estate.scope(path).value
                    labels = [path.id, path.src, path.dst, path.traffic_class, scope]
                    now = is_excluded(exclusions, objective.name, path, now_s)
                    family.add_metric([*labels, objective.name], float(now))


def _families() -> list[GaugeMetricFamily]:
    return [
        GaugeMetricFamily(name, text, labels=labels)
        for name, text, labels in (
            (
                metrics.PROM_SLO_BURN_THRESHOLD,
                "Burn rate above which a pair of windows fires.",
                ("slo", "pair", "severity"),
            ),
            (
                metrics.PROM_SLO_BAD_EVENTS_MIN,
                "Bad events that a long window needs before anybody is told.",
                ("slo", "pair"),
            ),
            (
                metrics.PROM_SLO_BUDGET_EVENTS_MIN,
                "Budget events without which the burn rate of a window is unknown.",
                ("slo", "window"),
            ),
            (
                metrics.PROM_SLO_SITE_PEERS,
                "Other sites with which a site shares a path that has an objective.",
                ("site",),
            ),
            (
                metrics.PROM_SLO_EXCLUDED,
                "1 while an exclusion is in force, 0 while coverage still lacks what it left out.",
                _PATH_LABELS,
            ),
        )
    ]
