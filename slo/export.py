"""Objectives and documents as OpenSLO v1 writes them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import yaml

from netslo.config.yaml_lines import know_exponents
from netslo.metrics import BANDWIDTH, DELAY, JITTER, PACKETS, RTT
from netslo.units import format_duration
from slo import openslo
from slo.annotations import (
    ALERT_PAIRS,
    BAD_EVENTS_MIN,
    CONFIDENCE,
    COVERAGE_MIN,
    ESCALATION,
    EXCLUSIONS,
    MISSING_DATA,
    OWNER,
    PREFIX,
    RUNBOOK,
    SLICE_PACKETS_MIN,
    format_pairs,
)
from slo.budget import MissingData
from slo.burn import GUARD, PAIRS, BurnPair
from slo.exclusion_log import to_json
from slo.number import decimal_text, format_share
from slo.objective import Indicator, Objective, PathSelector
from slo.policy import DEFAULT_COVERAGE_MIN, NotificationTarget
from slo.query import SOURCE_TYPE

_METRICS: Final = {
    Indicator.LATENCY: RTT,
    Indicator.JITTER: JITTER,
    Indicator.DELAY: DELAY,
    Indicator.BANDWIDTH: BANDWIDTH,
}


def to_yaml(documents: Iterable[object]) -> str:
    """Write documents as one stream of YAML, keys in the order given, the same every time."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def as_written(document: openslo.AnyDocument) -> dict[str, Any]:
    """Return what a document says, keys in the order of the standard, references kept."""
    data = document.model_dump(by_alias=True, exclude_unset=True)
    first = ("apiVersion", "kind", "metadata", "spec")
    return {key: data[key] for key in first if key in data}


def document_of(objective: Objective) -> dict[str, Any]:
    """Return an SLO that says all of an objective by itself; reading it gives the same."""
    method = "Occurrences"
    if objective.slices is not None:
        shares = objective.slices.good_ratio_min is None
        method = "RatioTimeslices" if shares else "Timeslices"
    spec: dict[str, Any] = {}
    if objective.description:
        spec["description"] = objective.description
    spec["service"] = objective.service
    spec["indicator"] = {
        "metadata": {"name": f"{objective.name}-indicator"[:63]},
        "spec": _indicator(objective),
    }
    spec["timeWindow"] = [_time_window(objective)]
    spec["budgetingMethod"] = method
    spec["objectives"] = [_objective(objective)]
    if objective.alerts.targets:
        spec["alertPolicies"] = [_policy(objective)]
    metadata: dict[str, Any] = {"name": objective.name, "displayName": objective.display_name}
    annotations = _annotations(objective)
    if annotations:
        metadata["annotations"] = {PREFIX + key: text for key, text in annotations.items()}
    return {
        "apiVersion": openslo.API_VERSION,
        "kind": "SLO",
        "metadata": metadata,
        "spec": spec,
    }


def _indicator(objective: Objective) -> dict[str, Any]:
    selector = _selector(objective.selector)
    if objective.indicator in {Indicator.LOSS, Indicator.AVAILABILITY}:
        return {
            "ratioMetric": {
                "counter": True,
                "good": _source({"metric": PACKETS, "outcome": "answered"}),
                "total": _source({"metric": PACKETS, "outcome": ["answered", "lost"], **selector}),
            }
        }
    query: dict[str, Any] = {"metric": _METRICS[objective.indicator]}
    if objective.indicator is Indicator.JITTER:
        query["variation"] = objective.measure.value
    if objective.indicator in {Indicator.JITTER, Indicator.DELAY, Indicator.BANDWIDTH}:
        query["direction"] = objective.direction.value
    if objective.method is not None:
        query["method"] = objective.method
    return {"thresholdMetric": _source({**query, **selector})}


def _source(query: dict[str, Any]) -> dict[str, Any]:
    return {"metricSource": {"type": SOURCE_TYPE, "spec": query}}


def _selector(selector: PathSelector) -> dict[str, Any]:
    keys = {
        "scope": sorted(scope.value for scope in selector.scopes),
        "class": sorted(selector.classes),
        "src_site": sorted(selector.sources),
        "dst_site": sorted(selector.destinations),
        "path": sorted(path.id for path in selector.paths),
    }
    given = {key: names for key, names in keys.items() if names}
    return {"selector": given} if given else {}


def _objective(objective: Objective) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if objective.limit is not None:
        found["op"] = "gte" if objective.indicator is Indicator.BANDWIDTH else "lte"
        found["value"] = objective.limit
    found["target"] = Decimal(objective.target_text)
    if objective.slices is not None:
        ratio = objective.slices.good_ratio_min
        if ratio is not None:
            found["timeSliceTarget"] = _number(ratio)
        found["timeSliceWindow"] = f"{objective.slices.length_s // 60}m"
    return found


def _time_window(objective: Objective) -> dict[str, Any]:
    calendar = objective.calendar
    if calendar is None:
        return {"duration": _shorthand(objective.window_s), "isRolling": True}
    times = {"startTime": calendar.start_time, "timeZone": calendar.time_zone}
    return {"duration": calendar.duration, "calendar": times, "isRolling": False}


def _policy(objective: Objective) -> dict[str, Any]:
    """Return a policy that says whom to tell; when, says the annotation, for it is exact."""
    pair = (objective.alerts.pairs or PAIRS)[0]
    return {
        "kind": "AlertPolicy",
        "metadata": {"name": f"{objective.name}-alerts"[:63]},
        "spec": {
            "alertWhenBreaching": True,
            "conditions": [_condition(objective, pair)],
            "notificationTargets": [_target(target) for target in objective.alerts.targets],
        },
    }


def _condition(objective: Objective, pair: BurnPair) -> dict[str, Any]:
    return {
        "kind": "AlertCondition",
        "metadata": {"name": f"{objective.name}-{pair.severity.value}"[:63]},
        "spec": {
            "severity": pair.severity.value,
            "condition": {
                "kind": "burnrate",
                "op": "gt",
                "threshold": float(pair.threshold(objective.window_s)),
                "lookbackWindow": _shorthand(pair.long_s),
                "alertAfter": "0m",
            },
        },
    }


def _target(target: NotificationTarget) -> dict[str, Any]:
    metadata = {"name": target.name}
    if target.display_name:
        metadata["displayName"] = target.display_name
    spec = {"target": target.target}
    if target.description:
        spec = {"description": target.description, **spec}
    return {"kind": "AlertNotificationTarget", "metadata": metadata, "spec": spec}


def _annotations(objective: Objective) -> dict[str, str]:
    alerts = objective.alerts
    found: dict[str, str | None] = {
        OWNER: objective.owner,
        RUNBOOK: objective.runbook,
        ESCALATION: alerts.escalation,
    }
    if alerts.pairs != PAIRS or alerts.targets:
        found[ALERT_PAIRS] = format_pairs(alerts.pairs)
    if objective.missing_data is not MissingData.IGNORE:
        found[MISSING_DATA] = objective.missing_data.value
    if objective.coverage_min != DEFAULT_COVERAGE_MIN:
        found[COVERAGE_MIN] = format_share(objective.coverage_min)
    guard = alerts.guard
    if guard != GUARD:
        found[BAD_EVENTS_MIN] = str(guard.bad_events_min)
        if guard.confidence is not None:
            found[CONFIDENCE] = f"{Decimal(repr(guard.confidence)):f}"
    if objective.slices is not None and objective.slices.packets_min > 1:
        found[SLICE_PACKETS_MIN] = str(objective.slices.packets_min)
    if objective.exclusions:
        entries = [
            {key: value for key, value in to_json(exclusion).items() if key != "slos"}
            for exclusion in objective.exclusions
        ]
        found[EXCLUSIONS] = to_yaml([entries])
    return {key: text for key, text in found.items() if text is not None}


def _number(exact: Fraction) -> Decimal:
    text = decimal_text(exact)
    assert text is not None  # it was read from a decimal
    return Decimal(text)


def _shorthand(length_s: int) -> str:
    """Write seconds as OpenSLO's duration-shorthand has it, as far as it can."""
    return format_duration(length_s)


class _Dumper(yaml.SafeDumper):
    """Writes decimals digit by digit, and repeats what is the same rather than alias it."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def _represent_decimal(dumper: yaml.SafeDumper, value: Decimal) -> yaml.Node:
    whole = value == value.to_integral_value()
    tag = "tag:yaml.org,2002:int" if whole else "tag:yaml.org,2002:float"
    return dumper.represent_scalar(tag, f"{value:f}")


_Dumper.add_representer(Decimal, _represent_decimal)
know_exponents(_Dumper)
