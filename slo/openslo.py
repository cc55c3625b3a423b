"""OpenSLO v1 documents as the standard writes them (github.com/OpenSLO/OpenSLO, README).

Only the border uses these models, to read and to write: what they mean to us, and what of the
standard we do not do, is decided in `slo.resolve`. What stands in a metric source is its own
affair: ours is in `slo.query`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

API_VERSION: Final = "openslo/v1"

Description = Annotated[str, Field(max_length=1050)]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        alias_generator=to_camel,
    )


def _label(value: object) -> object:
    """Read a list of one as the one: both are the same label."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


Label = Annotated[str | list[str], BeforeValidator(_label)]


class Metadata(_Model):
    name: str
    display_name: str | None = None
    labels: dict[str, Label] = {}
    annotations: dict[str, str] = {}


class _Document(_Model):
    api_version: Literal["openslo/v1"]
    metadata: Metadata


class MetricSource(_Model):
    metric_source_ref: str | None = None
    type: str | None = None
    spec: dict[str, Any]


class Metric(_Model):
    metric_source: MetricSource


class RatioMetric(_Model):
    counter: bool | None = None
    good: Metric | None = None
    bad: Metric | None = None
    total: Metric | None = None
    raw_type: Literal["success", "failure"] | None = None
    raw: Metric | None = None


class SliSpec(_Model):
    description: Description = ""
    threshold_metric: Metric | None = None
    ratio_metric: RatioMetric | None = None


class InlineSli(_Model):
    metadata: Metadata | None = None
    spec: SliSpec


class Calendar(_Model):
    start_time: Any  # YAML may read it as text, as a date or as a time
    time_zone: str


class TimeWindow(_Model):
    duration: str
    is_rolling: bool | None = None
    calendar: Calendar | None = None


class Objective(_Model):
    display_name: str | None = None
    op: Literal["lte", "gte", "lt", "gt"] | None = None
    value: float | None = None
    target: float | None = None
    target_percent: float | None = None
    time_slice_target: float | None = None
    time_slice_window: int | str | None = None


class Condition(_Model):
    kind: Literal["burnrate"] = "burnrate"
    op: Literal["lte", "gte", "lt", "gt"] | None = None
    threshold: float
    lookback_window: str
    alert_after: str | None = None


class ConditionSpec(_Model):
    description: Description = ""
    severity: str
    condition: Condition


class TargetSpec(_Model):
    description: Description = ""
    target: str


class ConditionEntry(_Model):
    """A condition of a policy: by `conditionRef`, or a whole one."""

    condition_ref: str | None = None
    api_version: Literal["openslo/v1"] | None = None
    kind: Literal["AlertCondition"] | None = None
    metadata: Metadata | None = None
    spec: ConditionSpec | None = None


class TargetEntry(_Model):
    """A notification target of a policy: by `targetRef`, or a whole one."""

    target_ref: str | None = None
    api_version: Literal["openslo/v1"] | None = None
    kind: Literal["AlertNotificationTarget"] | None = None
    metadata: Metadata | None = None
    spec: TargetSpec | None = None


class PolicySpec(_Model):
    description: Description = ""
    alert_when_no_data: bool = False
    alert_when_resolved: bool = False
    alert_when_breaching: bool = False
    conditions: Annotated[list[ConditionEntry], Field(min_length=1, max_length=1)]
    notification_targets: list[TargetEntry] = []


def _by_name(value: object) -> object:
    return {"alertPolicyRef": value} if isinstance(value, str) else value


class PolicyEntry(_Model):
    """A policy of an SLO: by `alertPolicyRef` (or its bare name), or a whole one."""

    alert_policy_ref: str | None = None
    api_version: Literal["openslo/v1"] | None = None
    kind: Literal["AlertPolicy"] | None = None
    metadata: Metadata | None = None
    spec: PolicySpec | None = None


class SloSpec(_Model):
    description: Description = ""
    service: str
    indicator: InlineSli | None = None
    indicator_ref: str | None = None
    time_window: Annotated[list[TimeWindow], Field(max_length=1)] = []
    budgeting_method: Literal["Occurrences", "Timeslices", "RatioTimeslices"]
    objectives: Annotated[list[Objective], Field(min_length=1)]
    alert_policies: list[Annotated[PolicyEntry, BeforeValidator(_by_name)]] | None = None


class ServiceSpec(_Model):
    description: Description = ""


class DataSourceSpec(_Model):
    description: Description = ""
    type: str
    connection_details: Any = None


class Slo(_Document):
    kind: Literal["SLO"]
    spec: SloSpec


class Sli(_Document):
    kind: Literal["SLI"]
    spec: SliSpec


class Service(_Document):
    kind: Literal["Service"]
    spec: ServiceSpec = ServiceSpec()


class DataSource(_Document):
    kind: Literal["DataSource"]
    spec: DataSourceSpec


class AlertPolicy(_Document):
    kind: Literal["AlertPolicy"]
    spec: PolicySpec


class AlertCondition(_Document):
    kind: Literal["AlertCondition"]
    spec: ConditionSpec


class AlertNotificationTarget(_Document):
    kind: Literal["AlertNotificationTarget"]
    spec: TargetSpec


AnyDocument = (
    Slo | Sli | Service | DataSource | AlertPolicy | AlertCondition | AlertNotificationTarget
)

KINDS: Final[dict[str, type[AnyDocument]]] = {
    "SLO": Slo,
    "SLI": Sli,
    "Service": Service,
    "DataSource": DataSource,
    "AlertPolicy": AlertPolicy,
    "AlertCondition": AlertCondition,
    "AlertNotificationTarget": AlertNotificationTarget,
}
