"""From OpenSLO's alert policies to pairs and targets: what they mean here.

A condition of OpenSLO v1 has one window. It is the long one of a pair; the short one is a
twelfth of it, or what the annotation says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final

from slo import openslo
from slo.annotations import (
    ALERT_PAIRS,
    OF_CONDITION,
    PREFIX,
    Annotations,
    expect_distinct,
    make_pair,
    order,
    parse_window,
    read_annotations,
)
from slo.burn import GUARD, PAIRS, BurnPair, Guard, Severity
from slo.number import read_decimal
from slo.place import Place
from slo.policy import AlertPolicy, NotificationTarget

Note = Callable[[Place, str], None]

BURN_RATE_MAX: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Named:
    """The folder's documents that an SLO's alerts may refer to, by name."""

    policies: Mapping[str, tuple[openslo.PolicySpec, Place]] = field(default_factory=dict)
    conditions: Mapping[str, tuple[openslo.AlertCondition, Place]] = field(default_factory=dict)
    targets: Mapping[str, tuple[openslo.AlertNotificationTarget, Place]] = field(
        default_factory=dict
    )


@dataclass(slots=True)
class AlertReader:
    """Understands the alert policies of SLOs; problems go to the places where they stand."""

    named: Named
    note: Note

    def read(
        self,
        policies: list[openslo.PolicyEntry] | None,
        place: Place,
        annotations: Annotations,
        period_s: int,
    ) -> AlertPolicy:
        """Return when one SLO alerts and whom.

        Args:
            policies: Its `alertPolicies`.
            place: Where they stand.
            annotations: Those of the SLO.
            period_s: Of its error budget, in seconds.
        """
        pairs: list[BurnPair] = []
        targets: dict[str, NotificationTarget] = {}
        for number, entry in enumerate(policies or []):
            found = self._find(entry, place.at(number))
            if found is None:
                continue
            spec, where = found
            pairs += self._read_pairs(spec, where, period_s)
            try:
                expect_distinct(pairs)
            except ValueError as error:
                place.at(number).report("", str(error))
                pairs.pop()
            targets |= {target.name: target for target in self._read_targets(spec, where)}
        if annotations.pairs is not None and pairs:
            self.note(
                place, f"says whom to tell; when, says {PREFIX}{ALERT_PAIRS}, not the conditions"
            )
        chosen = annotations.pairs
        if chosen is None:
            chosen = order(pairs) if policies else PAIRS
        return AlertPolicy(
            chosen, _guard(annotations), tuple(targets.values()), annotations.escalation
        )

    def _find(
        self, entry: openslo.PolicyEntry, place: Place
    ) -> tuple[openslo.PolicySpec, Place] | None:
        """Return the policy which an entry holds or refers to."""
        name, known = entry.alert_policy_ref, self.named.policies
        if (name is None) == (entry.spec is None):
            place.report("", "must have either alertPolicyRef, or kind, metadata and spec")
            return None
        if entry.spec is not None:
            return entry.spec, place.at("spec")
        assert name is not None
        if name not in known:
            may = ", ".join(sorted(known)) or "none"
            place.report(name, f"must be the name of an AlertPolicy of this folder ({may})")
            return None
        return known[name]

    def _read_pairs(self, spec: openslo.PolicySpec, place: Place, period_s: int) -> list[BurnPair]:
        entry, where = spec.conditions[0], place.at("conditions", 0)
        if entry.condition_ref is not None and entry.spec is None:
            named = self.named.conditions.get(entry.condition_ref)
            if named is None:
                known = ", ".join(sorted(self.named.conditions)) or "none"
                where.at("conditionRef").report(
                    entry.condition_ref,
                    f"must be the name of an AlertCondition of this folder ({known})",
                )
                return []
            document, root = named
            condition, where = document.spec, root
            written = document.metadata.annotations
        elif entry.spec is not None and entry.condition_ref is None:
            condition = entry.spec
            written = {} if entry.metadata is None else entry.metadata.annotations
        else:
            where.report("", "must have either conditionRef, or kind, metadata and spec")
            return []
        annotations = read_annotations(written, where.at("metadata", "annotations"), OF_CONDITION)
        pair = self._read_condition(condition, where.at("spec"), annotations, period_s)
        if not spec.alert_when_breaching:
            self.note(
                place, "alertWhenBreaching is not true, so this policy never says that budget burns"
            )
            return []
        if "alert_when_resolved" in spec.model_fields_set and not spec.alert_when_resolved:
            self.note(
                place.at("alertWhenResolved"),
                "has no effect: whoever is told is told when it is over, too",
            )
        if spec.alert_when_no_data:
            self.note(
                place.at("alertWhenNoData"), "has no effect: SLOCoverageLow alerts for every SLO"
            )
        return [] if pair is None else [pair]

    def _read_condition(
        self,
        spec: openslo.ConditionSpec,
        place: Place,
        annotations: Annotations,
        period_s: int,
    ) -> BurnPair | None:
        before = len(place.problems)
        if spec.severity not in {severity.value for severity in Severity}:
            place.at("severity").report(spec.severity, "must be page or ticket")
        condition, place = spec.condition, place.at("condition")
        if condition.op in {"lt", "lte"}:
            place.at("op").report(condition.op, "must be gt: to burn slowly is no trouble")
        where = place.at("threshold")
        exact = read_decimal(condition.threshold, where.text)
        if not (exact.is_finite() and 0 < exact <= BURN_RATE_MAX):
            where.report(
                where.text or condition.threshold, "must be a burn rate, such as 14.4, above 0"
            )
        where = place.at("lookbackWindow")
        long_s = 0
        try:
            long_s = parse_window(condition.lookback_window, "the lookback window")
        except ValueError as error:
            where.report(condition.lookback_window, str(error))
        if len(place.problems) > before:
            return None
        if condition.alert_after not in (None, "0m", "0s"):
            self.note(
                place.at("alertAfter"),
                "has no effect: the short window of the pair does its work",
            )
        share = Fraction(exact) * long_s / period_s
        try:
            return make_pair(Severity(spec.severity), share, long_s, annotations.short_s)
        except ValueError as error:
            where.report(condition.lookback_window, str(error))
            return None

    def _read_targets(self, spec: openslo.PolicySpec, place: Place) -> list[NotificationTarget]:
        found = []
        for number, entry in enumerate(spec.notification_targets):
            where = place.at("notificationTargets", number)
            if entry.target_ref is not None and entry.spec is None:
                named = self.named.targets.get(entry.target_ref)
                if named is None:
                    known = ", ".join(sorted(self.named.targets)) or "none"
                    where.at("targetRef").report(
                        entry.target_ref,
                        f"must be the name of an AlertNotificationTarget of this folder ({known})",
                    )
                    continue
                metadata, target = named[0].metadata, named[0].spec
            elif entry.spec is not None and entry.metadata is not None:
                metadata, target = entry.metadata, entry.spec
            else:
                where.report("", "must have either targetRef, or kind, metadata and spec")
                continue
            found.append(
                NotificationTarget(
                    metadata.name, target.target, metadata.display_name or "", target.description
                )
            )
        return found


def _guard(annotations: Annotations) -> Guard:
    """Return the guard: who gives a number of bad events means just that number."""
    least, confidence = annotations.bad_events_min, annotations.confidence
    if least is None:
        return GUARD if confidence is None else replace(GUARD, confidence=confidence)
    return Guard(least, confidence)
