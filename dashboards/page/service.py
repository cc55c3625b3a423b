"""What the page of a path to a service shows beside: results, parts of requests, certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from analytics.windows import CountKey, PathWindow
from dashboards.page.figures import Quantile
from dashboards.page.source import Source
from dashboards.page.views import SPANS, OnePath
from netslo.metrics import RESULTS
from netslo.model import Scope
from netslo.service import Phase, ServiceResult
from slo.burn import Severity
from slo.rules.certificates import LEFT_S

_QS: Final = (0.5, 0.9, 0.99)
_NAMES: Final = {
    Phase.DNS: "DNS",
    Phase.CONNECT: "connect",
    Phase.TLS: "TLS",
    Phase.FIRST_BYTE: "first byte",
    Phase.TRANSFER: "transfer",
}


@dataclass(frozen=True, slots=True)
class ResultRow:
    """How requests ended."""

    result: str
    count: int
    share: float
    good: bool


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """What a part of requests took."""

    name: str
    samples: int
    quantiles: tuple[Quantile, ...]  # of `ServiceDetail.quantile_names`


@dataclass(frozen=True, slots=True)
class Certificate:
    """When a service's certificate ends, as the last good handshake showed it."""

    expiry_s: float
    left_s: float

    @property
    def severity(self) -> str | None:
        """At which severity its alert stands."""
        return next((each.value for each in Severity if self.left_s < LEFT_S[each]), None)


@dataclass(frozen=True, slots=True)
class ServiceDetail:
    kind: str
    requests: int
    results: tuple[ResultRow, ...]  # the most frequent first
    phases: tuple[PhaseRow, ...]
    certificate: Certificate | None
    quantile_names: tuple[str, ...] = ("p50", "p90", "p99")


def service_detail(source: Source, view: OnePath, now_s: float) -> ServiceDetail | None:
    """Read what is shown of a path to a service; None of any other path."""
    estate = source.estate
    if estate.scope(view.path) is not Scope.SERVICE:
        return None
    kind = estate.probe_kind(view.path)
    whole = source.whole(view.path, kind, SPANS[view.span])
    expiry_s = source.certificate_expiry_s(view.path)
    results = () if whole is None else tuple(_results(whole))
    return ServiceDetail(
        kind.value,
        sum(row.count for row in results),
        results,
        () if whole is None else tuple(_phases(whole)),
        None if expiry_s is None else Certificate(expiry_s, expiry_s - now_s),
    )


def _results(whole: PathWindow) -> list[ResultRow]:
    counts = {result: whole.counts[CountKey(RESULTS, result.value)] for result in ServiceResult}
    every = sum(counts.values())
    rows = [
        ResultRow(result.value, count, count / every, result is ServiceResult.OK)
        for result, count in counts.items()
        if count
    ]
    return sorted(rows, key=lambda row: -row.count)


def _phases(whole: PathWindow) -> list[PhaseRow]:
    rows = []
    for phase, name in _NAMES.items():
        sketch = whole.phase(phase)
        if sketch is None or not sketch.count:
            continue
        values = sketch.quantiles(_QS).tolist()
        found = tuple(
            Quantile(value, *sketch.interval(q)) for value, q in zip(values, _QS, strict=True)
        )
        rows.append(PhaseRow(name, sketch.count, found))
    return rows
