"""What an OpenSLO indicator means here: latency or loss, of which paths.

Latency is a `thresholdMetric` on the round-trip time, in seconds; each packet is an event,
good when it was answered within the objective's `value`. Loss is a `ratioMetric` on the
packets, good when answered at all. docs/slo.md explains both to a user.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from netslo.estate import Estate
from netslo.metrics import PACKETS, RTT
from netslo.model import Outcome, Path, Scope
from slo import openslo
from slo.objective import Indicator, PathSelector
from slo.place import Place

_MEASURED = {Outcome.ANSWERED.value, Outcome.LOST.value}


@dataclass(frozen=True, slots=True)
class Reading:
    """An indicator understood."""

    indicator: Indicator
    selector: PathSelector


def read_indicator(spec: openslo.SliSpec, place: Place, estate: Estate) -> Reading | None:
    """Understand an indicator's `spec`; problems go to `place`, None when it has no meaning."""
    threshold, ratio = spec.threshold_metric, spec.ratio_metric
    if (threshold is None) == (ratio is None):
        place.report("", "must have either thresholdMetric (latency) or ratioMetric (loss)")
        return None
    if threshold is not None:
        return _read_latency(threshold, place.at("thresholdMetric"), estate)
    assert ratio is not None
    return _read_loss(ratio, place.at("ratioMetric"), estate)


def _read_latency(metric: openslo.Metric, place: Place, estate: Estate) -> Reading:
    query, place = metric.metric_source.spec, place.at("metricSource", "spec")
    _expect_metric(query, RTT, place)
    if query.outcome is not None:
        place.at("outcome").report(
            ", ".join(query.outcome), "must be absent: a lost packet is a slow packet"
        )
    return Reading(Indicator.LATENCY, _read_selector(query.selector, place.at("selector"), estate))


def _read_loss(ratio: openslo.RatioMetric, place: Place, estate: Estate) -> Reading | None:
    if ratio.raw is not None or ratio.raw_type is not None:
        key = "raw" if ratio.raw is not None else "rawType"
        place.at(key).report("", "is not supported: give total with good or bad")
        return None
    if ratio.counter is False:
        place.at("counter").report("false", "must be true: packets are counted")
    if ratio.total is None or (ratio.good is None) == (ratio.bad is None):
        place.report("", "must have total, and either good or bad")
        return None
    total = ratio.total.metric_source.spec
    _expect_packets(total, _MEASURED, place.at("total"), default=True)
    name, part, outcome = (
        ("good", ratio.good, Outcome.ANSWERED)
        if ratio.good is not None
        else ("bad", ratio.bad, Outcome.LOST)
    )
    assert part is not None
    query = part.metric_source.spec
    _expect_packets(query, {outcome.value}, place.at(name))
    if query.selector not in (None, total.selector):
        place.at(name, "metricSource", "spec", "selector").report(
            "", "must be the same as that of total, or absent"
        )
    where = place.at("total", "metricSource", "spec", "selector")
    return Reading(Indicator.LOSS, _read_selector(total.selector, where, estate))


def _expect_metric(query: openslo.Query, metric: str, place: Place) -> None:
    if query.metric != metric:
        place.at("metric").report(query.metric, f"must be {metric}")


def _expect_packets(
    query: openslo.Query, outcomes: set[str], place: Place, *, default: bool = False
) -> None:
    place = place.at("metricSource", "spec")
    _expect_metric(query, PACKETS, place)
    if query.outcome is None and default:
        return
    if set(query.outcome or ()) != outcomes:
        place.at("outcome").report(
            ", ".join(query.outcome or ()), f"must be {' and '.join(sorted(outcomes))}"
        )


def _read_selector(selector: openslo.Selector | None, place: Place, estate: Estate) -> PathSelector:
    """Check every name and that something is selected."""
    if selector is None:
        return PathSelector()
    before = len(place.problems)
    known_paths = {path.id for path in estate.paths}
    _expect_known(selector.scope, [s.value for s in Scope], "scope", place.at("scope"))
    _expect_known(selector.traffic_class, estate.classes, "class", place.at("class"))
    _expect_known(selector.src_site, estate.sites, "site", place.at("src_site"))
    _expect_known(selector.dst_site, estate.sites, "site", place.at("dst_site"))
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
    if not any(found.matches(path, estate) for path in estate.paths):
        place.report("", "selects no path of the estate")
    return found


def _expect_known(names: Iterable[str], known: Collection[str], kind: str, place: Place) -> None:
    for name in names:
        if name not in known:
            place.report(name, f"must be a {kind} of the estate: {', '.join(known)}")
