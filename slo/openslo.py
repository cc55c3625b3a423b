"""OpenSLO v1 documents as the standard writes them (github.com/OpenSLO/OpenSLO, README).

Only the border uses these models: what they mean to us, and what of the standard we do not
do, is decided in `slo.resolve`. Inside a metric source stands our own query language.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

API_VERSION: Final = "openslo/v1"

Description = Annotated[str, Field(max_length=1050)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


OneOrMore = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        alias_generator=to_camel,
    )


class Metadata(_Model):
    name: str
    display_name: str | None = None
    labels: dict[str, OneOrMore] = {}
    annotations: dict[str, str] = {}


class _Document(_Model):
    api_version: Literal["openslo/v1"]
    metadata: Metadata


class Selector(BaseModel):
    """Ours: which paths a metric is read of. Every given key must match."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    scope: OneOrMore = []
    traffic_class: OneOrMore = Field(default=[], alias="class")
    src_site: OneOrMore = []
    dst_site: OneOrMore = []
    path: OneOrMore = []


class Query(_Model):
    """Ours: the `spec` of a metric source of type netslo."""

    metric: str
    outcome: OneOrMore | None = None
    selector: Selector | None = None


class MetricSource(_Model):
    metric_source_ref: str | None = None
    type: Literal["netslo"] | None = None
    spec: Query


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
    time_slice_window: Any = None


class SloSpec(_Model):
    description: Description = ""
    service: str
    indicator: InlineSli | None = None
    indicator_ref: str | None = None
    time_window: Annotated[list[TimeWindow], Field(max_length=1)] = []
    budgeting_method: Literal["Occurrences", "Timeslices", "RatioTimeslices"]
    objectives: Annotated[list[Objective], Field(min_length=1)]
    alert_policies: list[Any] = []


class ServiceSpec(_Model):
    description: Description = ""


class Slo(_Document):
    kind: Literal["SLO"]
    spec: SloSpec


class Sli(_Document):
    kind: Literal["SLI"]
    spec: SliSpec


class Service(_Document):
    kind: Literal["Service"]
    spec: ServiceSpec = ServiceSpec()


class Unused(_Document):
    """A document of the standard which says nothing to us; its `spec` is not looked into."""

    kind: Literal["DataSource", "AlertPolicy", "AlertCondition", "AlertNotificationTarget"]
    spec: dict[str, Any]


KINDS: Final[dict[str, type[Slo | Sli | Service | Unused]]] = {
    "SLO": Slo,
    "SLI": Sli,
    "Service": Service,
    "DataSource": Unused,
    "AlertPolicy": Unused,
    "AlertCondition": Unused,
    "AlertNotificationTarget": Unused,
}
