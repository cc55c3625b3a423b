"""From an OpenSLO document to an objective: what it means, and what of it we do not do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

from netslo.estate import Estate
from netslo.model import is_name
from slo import openslo
from slo.indicator import Reading, read_indicator
from slo.objective import Indicator, Objective
from slo.period import read_period
from slo.place import Place

ANNOTATION_PREFIX: Final = "netslo.dev/"
_ANNOTATIONS: Final = ("owner", "runbook")
_DIGITS_MAX: Final = 18  # far beyond any target, and exact in a decimal context of 28


def resolve(
    slo: openslo.Slo, place: Place, indicators: Mapping[str, Reading | None], estate: Estate
) -> Objective | None:
    """Return the objective which `slo` states, or None once its problems are reported.

    Args:
        slo: The document, valid by the standard.
        place: Its root.
        indicators: What it may refer to, by name; None for one whose fault is reported.
        estate: The sites and classes it may select.
    """
    before = len(place.problems)
    meta, spec = slo.metadata, slo.spec
    check_name(meta.name, place.at("metadata", "name"))
    annotations = _read_annotations(meta.annotations, place.at("metadata", "annotations"))
    if spec.budgeting_method != "Occurrences":
        place.at("spec", "budgetingMethod").report(
            spec.budgeting_method, "is not supported: must be Occurrences"
        )
    reading = _find_indicator(spec, place.at("spec"), indicators, estate)
    target_text, limit = _read_objectives(
        spec.objectives, place.at("spec", "objectives"), reading, estate
    )
    window_s, calendar = read_period(spec.time_window, place.at("spec", "timeWindow"))
    if len(place.problems) > before or reading is None:
        return None
    return Objective(
        name=meta.name,
        display_name=meta.display_name or meta.name,
        description=spec.description,
        service=spec.service,
        indicator=reading.indicator,
        limit=limit,
        target_text=target_text,
        selector=reading.selector,
        window_s=window_s,
        calendar=calendar,
        owner=annotations.get("owner"),
        runbook=annotations.get("runbook"),
    )


def check_name(name: str, place: Place) -> None:
    """See that a document's name may stand in labels and file names."""
    if not is_name(name):
        place.report(
            name, "must be at most 63 of a-z, 0-9 and -, and begin with a letter (RFC 1123)"
        )


def _read_annotations(annotations: Mapping[str, str], place: Place) -> dict[str, str]:
    """Return ours without their prefix; those of others are theirs."""
    ours = {
        key.removeprefix(ANNOTATION_PREFIX): text
        for key, text in annotations.items()
        if key.startswith(ANNOTATION_PREFIX)
    }
    for key in sorted(ours.keys() - set(_ANNOTATIONS)):
        known = ", ".join(ANNOTATION_PREFIX + name for name in _ANNOTATIONS)
        place.at(ANNOTATION_PREFIX + key).report(ours[key], f"is not known: must be {known}")
    return ours


def _find_indicator(
    spec: openslo.SloSpec,
    place: Place,
    indicators: Mapping[str, Reading | None],
    estate: Estate,
) -> Reading | None:
    if (spec.indicator is None) == (spec.indicator_ref is None):
        place.report("", "must have either indicator or indicatorRef")
        return None
    if spec.indicator is not None:
        return read_indicator(spec.indicator.spec, place.at("indicator", "spec"), estate)
    assert spec.indicator_ref is not None
    if spec.indicator_ref not in indicators:
        known = f" ({', '.join(sorted(indicators))})" if indicators else ""
        place.at("indicatorRef").report(
            spec.indicator_ref, f"must be the name of an SLI of this folder{known}"
        )
        return None
    return indicators[spec.indicator_ref]


def _read_objectives(
    objectives: list[openslo.Objective],
    place: Place,
    reading: Reading | None,
    estate: Estate,
) -> tuple[str, float | None]:
    """Return target and threshold; what they are after a reported problem means nothing."""
    if len(objectives) > 1:
        place.at(1).report("", "is not supported: write one SLO for each objective")
    objective, place = objectives[0], place.at(0)
    for key, value in (
        ("timeSliceTarget", objective.time_slice_target),
        ("timeSliceWindow", objective.time_slice_window),
    ):
        if value is not None:
            place.at(key).report(value, "is only for time slices, which are not supported")
    target_text = _read_target(objective, place)
    if reading is None:
        return target_text, None
    if reading.indicator is Indicator.LOSS:
        _expect_no_threshold(objective, place)
        return target_text, None
    return target_text, _read_threshold(objective, place, estate)


def _read_target(objective: openslo.Objective, place: Place) -> str:
    """Return the target ratio as an exact decimal string."""
    ratio, percent = objective.target, objective.target_percent
    if (ratio is None) == (percent is None):
        place.report("", "must have either target or targetPercent")
        return ""
    key, value, limit = ("target", ratio, 1) if percent is None else ("targetPercent", percent, 100)
    assert value is not None
    place = place.at(key)
    exact = _read_decimal(value, place.text)
    if not (exact.is_finite() and 0 < exact < limit):
        place.report(place.text or value, f"must be greater than 0 and less than {limit}")
        return ""
    _, digits, exponent = exact.as_tuple()
    if len(digits) > _DIGITS_MAX or int(exponent) < -_DIGITS_MAX:
        place.report(place.text or value, f"must have at most {_DIGITS_MAX} decimal places")
        return ""
    return f"{(exact / limit).normalize():f}"


def _read_decimal(value: float, text: str | None) -> Decimal:
    """Return what was written rather than the double next to it."""
    try:
        exact = Decimal(text or "")
    except InvalidOperation:  # YAML has notations of its own, such as .nan
        return Decimal(repr(value))
    return exact if float(exact) == value else Decimal(repr(value))


def _expect_no_threshold(objective: openslo.Objective, place: Place) -> None:
    for key, value in (("op", objective.op), ("value", objective.value)):
        if value is not None:
            place.at(key).report(value, "is only for a thresholdMetric; loss has no threshold")


def _read_threshold(objective: openslo.Objective, place: Place, estate: Estate) -> float | None:
    """Return the longest good round-trip time, in seconds."""
    if objective.op != "lte":
        place.at("op").report(
            objective.op or "", "must be lte: a packet is good when its RTT is at most the value"
        )
    value, place = objective.value, place.at("value")
    if value is None:
        place.report("", "must be the longest good RTT in seconds, such as 0.009")
        return None
    timeout_s = estate.plan.timeout_s
    if not (math.isfinite(value) and 0 < value < timeout_s):
        place.report(
            place.text or value,
            f"must be greater than 0 and less than {timeout_s:g} s, the probing time-out "
            "after which a packet counts as lost",
        )
    return float(value)
