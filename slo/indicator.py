"""What an OpenSLO indicator means here: which measure, of which paths.

A `thresholdMetric` is on the round trip, on jitter, on the delay of one way or on bandwidth; the
objective's `value` is its limit. A `ratioMetric` is on the packets, good when answered at all:
loss, or availability where slices of time are judged. docs/slo.md explains them to a user.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from netslo.config.validation import validate
from netslo.errors import ConfigurationError
from netslo.estate import Estate, TestingPlan
from netslo.metrics import BANDWIDTH, DELAY, JITTER, PACKETS, RTT
from netslo.model import Direction, Measure, Outcome, Path, Scope
from slo import openslo
from slo.objective import Indicator, PathSelector
from slo.place import Place
from slo.query import SOURCE_TYPE, Query, Selector

_MEASURED: Final = {Outcome.ANSWERED.value, Outcome.LOST.value}

_INDICATORS: Final = {
    RTT: Indicator.LATENCY,
    JITTER: Indicator.JITTER,
    DELAY: Indicator.DELAY,
    BANDWIDTH: Indicator.BANDWIDTH,
}
_ALLOWED: Final = {  # of the keys of a query that are for some metrics only
    RTT: (),
    JITTER: ("direction", "variation"),
    DELAY: ("direction",),
    BANDWIDTH: ("direction", "method"),
    PACKETS: ("outcome",),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """An indicator understood."""

    indicator: Indicator
    selector: PathSelector
    measure: Measure = Measure.DELAY
    direction: Direction = Direction.ROUND_TRIP
    method: str | None = None  # of a capacity test


@dataclass(frozen=True, slots=True)
class IndicatorReader:
    """Understands indicators; problems go to the places where they stand.

    `source_types` are the types of the folder's DataSource documents, by name.
    """

    estate: Estate
    source_types: Mapping[str, str] = field(default_factory=dict)

    def read(self, spec: openslo.SliSpec, place: Place) -> Reading | None:
        """Return what an indicator's `spec` means, None when it has no meaning."""
        threshold, ratio = spec.threshold_metric, spec.ratio_metric
        if (threshold is None) == (ratio is None):
            place.report("", "must have either thresholdMetric (latency) or ratioMetric (loss)")
            return None
        if threshold is not None:
            return self._read_threshold(threshold, place.at("thresholdMetric"))
        assert ratio is not None
        return self._read_ratio(ratio, place.at("ratioMetric"))

    def _read_threshold(self, metric: openslo.Metric, place: Place) -> Reading | None:
        query = self._read_query(metric, place)
        if query is None:
            return None
        place = place.at("metricSource", "spec")
        indicator = _INDICATORS.get(query.metric)
        if indicator is None:
            place.at("metric").report(query.metric, f"must be one of {', '.join(_INDICATORS)}")
            return None
        if query.outcome is not None:
            place.at("outcome").report(
                ", ".join(query.outcome), "must be absent: a lost packet is a slow packet"
            )
        _expect_allowed(query, place)
        selector = self._read_selector(query.selector, place.at("selector"))
        if indicator is Indicator.BANDWIDTH:
            return self._read_bandwidth(query, selector, place)
        direction = Direction(query.direction or Direction.ROUND_TRIP)
        if indicator is Indicator.DELAY and direction is Direction.ROUND_TRIP:
            place.at("direction").report(
                query.direction or "", f"must be forward or reverse; the round trip is {RTT}"
            )
        measure = Measure.DELAY
        if indicator is Indicator.JITTER:
            measure = Measure(query.variation or Measure.PDV)
        return Reading(indicator, selector, measure, direction)

    def _read_bandwidth(self, query: Query, selector: PathSelector, place: Place) -> Reading:
        """Return which kind of capacity test is meant: forward, as the estate tests, or as said."""
        direction = Direction(query.direction or Direction.FORWARD)
        if direction is Direction.ROUND_TRIP:
            place.at("direction").report(
                direction.value, "must be forward or reverse: a test loads one way"
            )
        testing = self.estate.testing or TestingPlan()
        method = query.method or testing.method
        return Reading(Indicator.BANDWIDTH, selector, direction=direction, method=method)

    def _read_ratio(self, ratio: openslo.RatioMetric, place: Place) -> Reading | None:
        if ratio.raw is not None or ratio.raw_type is not None:
            key = "raw" if ratio.raw is not None else "rawType"
            place.at(key).report("", "is not supported: give total with good or bad")
            return None
        if ratio.counter is False:
            place.at("counter").report("false", "must be true: packets are counted")
        if ratio.total is None or (ratio.good is None) == (ratio.bad is None):
            place.report("", "must have total, and either good or bad")
            return None
        name, part, outcome = (
            ("good", ratio.good, Outcome.ANSWERED)
            if ratio.good is not None
            else ("bad", ratio.bad, Outcome.LOST)
        )
        assert part is not None
        total = self._read_query(ratio.total, place.at("total"))
        query = self._read_query(part, place.at(name))
        if total is None or query is None:
            return None
        _expect_packets(total, _MEASURED, place.at("total"), default=True)
        _expect_packets(query, {outcome.value}, place.at(name))
        if query.selector not in (None, total.selector):
            place.at(name, "metricSource", "spec", "selector").report(
                "", "must be the same as that of total, or absent"
            )
        where = place.at("total", "metricSource", "spec", "selector")
        return Reading(Indicator.LOSS, self._read_selector(total.selector, where))

    def _read_query(self, metric: openslo.Metric, place: Place) -> Query | None:
        source, place = metric.metric_source, place.at("metricSource")
        named = source.metric_source_ref
        if named is not None and named not in self.source_types:
            known = f" ({', '.join(sorted(self.source_types))})" if self.source_types else ""
            place.at("metricSourceRef").report(
                named, f"must be the name of a DataSource of this folder{known}"
            )
            return None
        kind = source.type or (self.source_types[named] if named is not None else None)
        if kind not in (None, SOURCE_TYPE):
            where = place.at("type" if source.type is not None else "metricSourceRef")
            where.report(kind, f"must be {SOURCE_TYPE}: nothing else is measured here")
            return None
        at = place.at("spec")
        if at.is_left_out:
            return None
        try:
            return validate(Query, at.document, at.location)
        except ConfigurationError as error:
            at.problems.extend(error.problems)
            return None

    def _read_selector(self, selector: Selector | None, place: Place) -> PathSelector:
        """Check every name and that something is selected."""
        if selector is None:
            return PathSelector()
        estate, before = self.estate, len(place.problems)
        known_paths = {path.id for path in estate.measured_paths}
        _expect_known(selector.scope, [s.value for s in Scope], "scope", place.at("scope"))
        _expect_known(selector.traffic_class, estate.classes, "class", place.at("class"))
        _expect_known(selector.src_site, estate.sites, "site", place.at("src_site"))
        ends = [*estate.sites, *estate.services]
        _expect_known(selector.dst_site, ends, "site or service", place.at("dst_site"))
        for name in sorted(set(selector.path) - known_paths):
            place.at("path").report(name, "must be a path of the estate, as src:dst/class")
        if len(place.problems) > before:
            return PathSelector()
        found = PathSelector(
            scopes=frozenset(Scope(name) for name in selector.scope),
            classes=frozenset(selector.traffic_class),
            sources=frozenset(selector.src_site),
            destinations=frozenset(selector.dst_site),
            paths=frozenset(Path.parse(name) for name in selector.path),
        )
        if not any(found.matches(path, estate) for path in estate.measured_paths):
            place.report("", "selects no path of the estate")
        return found


def _expect_allowed(query: Query, place: Place) -> None:
    for key in ("direction", "variation", "method"):
        value = getattr(query, key)
        if value is not None and key not in _ALLOWED[query.metric]:
            metrics = [metric for metric, keys in _ALLOWED.items() if key in keys]
            place.at(key).report(value, f"is only for {' and '.join(metrics)}")


def _expect_packets(
    query: Query, outcomes: set[str], place: Place, *, default: bool = False
) -> None:
    place = place.at("metricSource", "spec")
    if query.metric != PACKETS:
        place.at("metric").report(query.metric, f"must be {PACKETS}")
        return
    _expect_allowed(query, place)
    if query.outcome is None and default:
        return
    if set(query.outcome or ()) != outcomes:
        place.at("outcome").report(
            ", ".join(query.outcome or ()), f"must be {' and '.join(sorted(outcomes))}"
        )


def _expect_known(names: Iterable[str], known: Collection[str], kind: str, place: Place) -> None:
    for name in names:
        if name not in known:
            place.report(name, f"must be a {kind} of the estate: {', '.join(known)}")
