"""Our own query language: the `spec` of an OpenSLO metric source of type netslo."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

SOURCE_TYPE: Final = "netslo"


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


OneOrMore = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Selector(_Model):
    """Which paths a metric is read of. Every given key must match."""

    scope: OneOrMore = []
    traffic_class: OneOrMore = Field(default=[], alias="class")
    src_site: OneOrMore = []
    dst_site: OneOrMore = []
    path: OneOrMore = []


class Query(_Model):
    """Which metric, of which paths; the rest is for some metrics only."""

    metric: str
    outcome: OneOrMore | None = None  # of packets
    direction: Literal["round-trip", "forward", "reverse"] | None = None  # not of packets, RTT
    method: Literal["train", "tcp", "iperf3"] | None = None  # of bandwidth
    variation: Literal["pdv", "ipdv"] | None = None  # of jitter
    selector: Selector | None = None
