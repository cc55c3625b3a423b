"""From an OpenSLO document to an objective: what it means, and what of it we do not do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from netslo.model import is_name
from slo import openslo
from slo.alerting import AlertReader
from slo.annotations import (
    ALERT_PAIRS,
    OF_SLO,
    PREFIX,
    SLICE_PACKETS_MIN,
    Annotations,
    read_annotations,
)
from slo.budget import MissingData
from slo.indicator import IndicatorReader, Reading
from slo.number import read_decimal, read_ratio
from slo.objective import Indicator, Objective
from slo.period import read_period
from slo.place import Place
from slo.policy import DEFAULT_COVERAGE_MIN, AlertPolicy
from slo.slices import LENGTHS_S, RATE_LENGTHS_S, TimeSlices

_METHODS: Final = ("Occurrences", "Timeslices", "RatioTimeslices")
_SLICE_UNITS_S: Final = {"m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Resolver:
    """Makes objectives of documents.

    `indicators` are the folder's SLIs by name, None for one whose fault is reported.
    """

    reader: IndicatorReader
    alerts: AlertReader
    indicators: Mapping[str, Reading | None]

    def resolve(self, slo: openslo.Slo, place: Place) -> Objective | None:
        """Return the objective which `slo` states, or None once its problems are reported.

        Args:
            slo: The document, valid by the standard.
            place: Its root.
        """
        before = len(place.problems)
        meta, spec = slo.metadata, slo.spec
        check_name(meta.name, place.at("metadata", "name"))
        at = place.at("metadata", "annotations")
        annotations = read_annotations(meta.annotations, at, OF_SLO, meta.name)
        reading = self._find_indicator(spec, place.at("spec"))
        objective, where = spec.objectives[0], place.at("spec", "objectives", 0)
        if len(spec.objectives) > 1:
            place.at("spec", "objectives", 1).report(
                "", "is not supported: write one SLO for each objective"
            )
        target_text = _read_target(objective, where)
        of_rates = reading is not None and reading.indicator is Indicator.BANDWIDTH
        lengths_s = RATE_LENGTHS_S if of_rates else LENGTHS_S
        method_known = not place.at("spec", "budgetingMethod").is_left_out
        slices = None
        if method_known:
            slices = _read_slices(spec.budgeting_method, objective, where, annotations, lengths_s)
        if (
            method_known
            and annotations.slice_packets_min is not None
            and (slices is None or of_rates)
        ):
            at.at(PREFIX + SLICE_PACKETS_MIN).report(
                annotations.slice_packets_min,
                "is only for Timeslices and RatioTimeslices of packets",
            )
        limit = None if reading is None else self._read_limit(objective, where, reading)
        if of_rates and method_known:
            _expect_slices_of_one_figure(spec.budgeting_method, slices, place, where)
        window_s, calendar = read_period(spec.time_window, place.at("spec", "timeWindow"))
        policy = self.alerts.read(
            spec.alert_policies, place.at("spec", "alertPolicies"), annotations, window_s
        )
        if len(place.problems) > before or reading is None:
            return None
        indicator = reading.indicator
        if indicator is Indicator.LOSS and slices is not None:
            indicator = Indicator.AVAILABILITY
        found = Objective(
            name=meta.name,
            display_name=meta.display_name or meta.name,
            description=spec.description,
            service=spec.service,
            indicator=indicator,
            limit=limit,
            target_text=target_text,
            selector=reading.selector,
            window_s=window_s,
            calendar=calendar,
            owner=annotations.owner,
            runbook=annotations.runbook,
            measure=reading.measure,
            direction=reading.direction,
            method=reading.method,
            slices=slices,
            alerts=policy,
            missing_data=annotations.missing_data or MissingData.IGNORE,
            coverage_min=annotations.coverage_min or DEFAULT_COVERAGE_MIN,
            exclusions=annotations.exclusions,
        )
        _check_alerts(found, policy, place)
        return None if len(place.problems) > before else found

    def _find_indicator(self, spec: openslo.SloSpec, place: Place) -> Reading | None:
        if (spec.indicator is None) == (spec.indicator_ref is None):
            place.report("", "must have either indicator or indicatorRef")
            return None
        if spec.indicator is not None:
            return self.reader.read(spec.indicator.spec, place.at("indicator", "spec"))
        assert spec.indicator_ref is not None
        if spec.indicator_ref not in self.indicators:
            known = f" ({', '.join(sorted(self.indicators))})" if self.indicators else ""
            place.at("indicatorRef").report(
                spec.indicator_ref, f"must be the name of an SLI of this folder{known}"
            )
            return None
        return self.indicators[spec.indicator_ref]

    def _read_limit(
        self, objective: openslo.Objective, place: Place, reading: Reading
    ) -> float | None:
        if reading.indicator is Indicator.LOSS:
            for key, value in (("op", objective.op), ("value", objective.value)):
                if value is not None:
                    place.at(key).report(
                        value, "is only for a thresholdMetric; loss has no threshold"
                    )
            return None
        if reading.indicator is Indicator.BANDWIDTH:
            return _read_rate(objective, place)
        estate = self.reader.estate
        covered = (p for p in estate.measured_paths if reading.selector.matches(p, estate))
        timeout_s = min(map(estate.timeout_s, covered), default=estate.plan.timeout_s)
        return _read_time(objective, place, timeout_s)


def check_name(name: str, place: Place) -> None:
    """See that a document's name may stand in labels and file names."""
    if not is_name(name):
        place.report(
            name, "must be at most 63 of a-z, 0-9 and -, and begin with a letter (RFC 1123)"
        )


def _read_target(objective: openslo.Objective, place: Place) -> str:
    """Return the target ratio as an exact decimal string."""
    ratio, percent = objective.target, objective.target_percent
    if (ratio is None) == (percent is None):
        place.report("", "must have either target or targetPercent")
        return ""
    if percent is not None:
        return read_ratio(percent, place.at("targetPercent"), percent=True)
    assert ratio is not None
    return read_ratio(ratio, place.at("target"))


def _read_slices(
    method: str,
    objective: openslo.Objective,
    place: Place,
    annotations: Annotations,
    lengths_s: Sequence[int],
) -> TimeSlices | None:
    """Return how time is cut, None for `Occurrences`."""
    share, window = objective.time_slice_target, objective.time_slice_window
    if method == "Occurrences":
        for key, value in (("timeSliceTarget", share), ("timeSliceWindow", window)):
            if value is not None:
                place.at(key).report(value, "is only for Timeslices and RatioTimeslices")
        return None
    length_s = _read_slice_length(window, place.at("timeSliceWindow"), lengths_s)
    ratio = None
    at = place.at("timeSliceTarget")
    if method == "RatioTimeslices":
        if share is not None:
            at.report(share, "is only for Timeslices: a ratio has no target")
    elif share is None:
        at.report("", "must be the share of good packets which makes a slice good, such as 0.99")
    else:
        text = read_ratio(share, at, one=True)
        ratio = Fraction(text) if text else None
    return TimeSlices(length_s, ratio, annotations.slice_packets_min or 1)


def _read_slice_length(window: int | str | None, place: Place, lengths_s: Sequence[int]) -> int:
    if isinstance(window, int):
        length_s = window * 60  # "default interpretation of unit if specified as a number"
    else:
        text = window or ""
        number, unit = text[:-1], text[-1:]
        known = number.isdecimal() and len(number) < 6 and unit in _SLICE_UNITS_S  # noqa: PLR2004
        length_s = int(number) * _SLICE_UNITS_S[unit] if known else 0
    if length_s not in lengths_s:
        hour_s = _SLICE_UNITS_S["h"]
        may = ", ".join(f"{s // 60}m" if s <= hour_s else f"{s // hour_s}h" for s in lengths_s)
        place.report("" if window is None else window, f"must be one of {may}")
        return lengths_s[0]
    return length_s


def _expect_slices_of_one_figure(
    method: str, slices: TimeSlices | None, place: Place, where: Place
) -> None:
    if method != "Timeslices":
        place.at("spec", "budgetingMethod").report(
            method, "must be Timeslices: bandwidth is a figure of a time, not of a packet"
        )
    elif slices is not None and slices.good_ratio_min not in (None, 1):
        where.at("timeSliceTarget").report(
            where.at("timeSliceTarget").text or "", "must be 1: a slice has one bandwidth"
        )


def _read_time(objective: openslo.Objective, place: Place, timeout_s: float) -> float | None:
    """Return the longest good time, in seconds."""
    if objective.op != "lte":
        place.at("op").report(
            objective.op or "", "must be lte: a packet is good when its time is at most the value"
        )
    value, place = objective.value, place.at("value")
    if value is None:
        place.report("", "must be the longest good time in seconds, such as 0.009")
        return None
    if not (math.isfinite(value) and 0 < value < timeout_s):
        place.report(
            place.text or value,
            f"must be greater than 0 and less than {timeout_s:g} s, the probing time-out "
            "after which a packet counts as lost",
        )
    return float(value)


def _read_rate(objective: openslo.Objective, place: Place) -> float | None:
    """Return the least good rate, in bit/s."""
    if objective.op != "gte":
        place.at("op").report(
            objective.op or "", "must be gte: a slice is good when its rate is at least the value"
        )
    value, place = objective.value, place.at("value")
    if value is None:
        place.report("", "must be the least good rate in bit/s, such as 1e9")
        return None
    if not read_decimal(value, place.text).is_finite() or value <= 0:
        place.report(place.text or value, "must be greater than 0 bit/s")
    return float(value)


def _check_alerts(objective: Objective, policy: AlertPolicy, place: Place) -> None:
    """Find pairs that can never fire, and those that would see no whole slice."""
    at = place.at("metadata", "annotations", PREFIX + ALERT_PAIRS)
    if at.data is None:
        at = place.at("spec", "alertPolicies")
    if at.data is None:
        at = place.at("spec", "objectives", 0)
    for pair in policy.pairs:
        which = f"the {pair.severity.value} on {pair.long} and {pair.short}"
        error_ratio = pair.error_ratio_min(objective.target, objective.window_s)
        if error_ratio >= 1:
            at.report(
                "",
                f"{which} can never fire: at a target of {objective.target_text} it needs more "
                f"than {float(error_ratio) * 100:.0f} % of the events to be bad; raise the target "
                f"or give {PREFIX}{ALERT_PAIRS}",
            )
        if pair.long_s > objective.window_s:
            at.report("", f"{which} looks back further than the period of the budget")
        if objective.slices is not None and objective.slices.length_s > pair.short_s:
            at.report(
                "",
                f"{which} is shorter than a slice of {objective.slices.length_s} s; "
                f"give {PREFIX}{ALERT_PAIRS} longer windows",
            )
