"""Pyrra's ServiceLevelObjective resources (github.com/pyrra-dev/pyrra)."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final, Literal

from pydantic import Field

from netslo.units import format_duration, parse_duration
from slo.annotations import EXACT_MAX_S, LONG_STEP_S, make_pair
from slo.burn import BurnPair, Severity
from slo.imports.foreign import (
    Foreign,
    Imported,
    Notes,
    import_documents,
    make_name,
    ordered,
    query,
    read_foreign,
)
from slo.number import read_ratio
from slo.place import Place

API_VERSION: Final = "pyrra.dev/v1alpha1"

_FOR_NOTE: Final = (
    "alerts wait for half a short window (`for`), which has no counterpart: netslo fires at once"
)

# Severity, factor, and what share of the period the long and the short window are: at 28 d
# these are 1 h and 5 m, 6 h and 30 m, 1 d and 2 h, 4 d and 6 h.
_WINDOWS: Final = (
    (Severity.PAGE, 14, Fraction(1, 28 * 24), Fraction(1, 28 * 24 * 12)),
    (Severity.PAGE, 7, Fraction(1, 28 * 4), Fraction(1, 28 * 48)),
    (Severity.TICKET, 2, Fraction(1, 28), Fraction(1, 28 * 12)),
    (Severity.TICKET, 1, Fraction(1, 7), Fraction(1, 28 * 4)),
)
_OWNERS: Final = ("pyrra.dev/team", "pyrra.dev/owner")


class _Query(Foreign):
    metric: str


class _Ratio(Foreign):
    errors: _Query
    total: _Query
    grouping: list[str] = Field(default=[])


class _Latency(Foreign):
    success: _Query
    total: _Query
    grouping: list[str] = Field(default=[])


class _Native(Foreign):
    latency: str
    total: _Query
    grouping: list[str] = Field(default=[])


class _Gauge(_Query):
    grouping: list[str] = Field(default=[])


class _Indicator(Foreign):
    ratio: _Ratio | None = None
    latency: _Latency | None = None
    latencyNative: _Native | None = None  # noqa: N815 - the file's own name
    bool_gauge: _Gauge | None = None


class _Alerting(Foreign):
    disabled: bool | None = None
    burnrates: bool | None = None
    absent: bool | None = None


class _Spec(Foreign):
    description: str = ""
    target: str
    window: str
    indicator: _Indicator
    alerting: _Alerting = _Alerting()


class _Metadata(Foreign):
    name: str
    namespace: str = ""
    labels: dict[str, str] = Field(default={})
    annotations: dict[str, str] = Field(default={})


class _Objective(Foreign):
    apiVersion: Literal["pyrra.dev/v1alpha1"]  # noqa: N815
    kind: Literal["ServiceLevelObjective"]
    metadata: _Metadata
    spec: _Spec


def import_pyrra(file: pathlib.Path) -> tuple[tuple[Imported, ...], Notes]:
    """Return the objectives of a file of pyrra's, and what of them has no counterpart.

    Raises:
        ConfigurationError: with every problem of the file.
    """

    def import_one(root: Place, notes: Notes) -> list[Imported]:
        objective, at = read_foreign(_Objective, root)
        return [] if objective is None else [_import(objective, at, notes)]

    return import_documents(file, "pyrra", import_one)


def pairs_of(period_s: int, place: Place, notes: Notes) -> Iterator[BurnPair]:
    """Yield pyrra's four alerts of a period, windows rounded to minutes as it does.

    Our windows beyond 6 h are whole five minutes; that they are moved is noted.
    """
    for severity, factor, long_share, short_share in _WINDOWS:
        long_s = _round(period_s * long_share, 60)
        short_s = _round(period_s * short_share, 60)
        if long_s > EXACT_MAX_S and long_s % LONG_STEP_S:
            ours_s = _round(Fraction(long_s), LONG_STEP_S)
            notes.add(
                place,
                f"makes a window of {format_duration(long_s)}: {format_duration(ours_s)} here",
            )
            long_s = ours_s
        try:
            yield make_pair(severity, Fraction(factor * long_s, period_s), long_s, short_s)
        except ValueError as error:
            place.report(place.text or "", f"is too short to alert by: {error}")


def _round(exact_s: Fraction, step_s: int) -> int:
    """Round to whole steps, halves up, as Go's Duration.Round does."""
    return int(exact_s / step_s + Fraction(1, 2)) * step_s


def _import(objective: _Objective, place: Place, notes: Notes) -> Imported:
    meta, spec = objective.metadata, objective.spec
    at = place.at("spec")
    notes.unknown(objective, place)
    for key in sorted(meta.annotations):
        notes.add(place.at("metadata", "annotations", key), "has no counterpart")
    labels = dict(meta.labels)
    owner = next((labels.pop(key) for key in _OWNERS if key in labels), None)
    period_s = _period_s(spec.window, at.at("window"))
    alerting = spec.alerting
    silent = alerting.disabled is True or alerting.burnrates is False
    pairs = [] if silent else list(pairs_of(period_s, at.at("window"), notes))
    if pairs:
        notes.add(at.at("alerting"), _FOR_NOTE)
    if alerting.absent is False:
        notes.add(at.at("alerting", "absent"), "has no counterpart: SLOCoverageLow stays")
    try:
        percent = float(spec.target)
    except ValueError:
        percent = 0.0
    return Imported(
        name=make_name([meta.name], place.at("metadata", "name"), notes),
        service=meta.namespace or meta.name,
        target_text=read_ratio(percent, at.at("target"), percent=True),
        period_s=period_s,
        pairs=ordered(pairs, at.at("window")),
        indicator=_indicator(spec.indicator, at.at("indicator"), notes),
        description=spec.description[:1050],
        owner=owner,
        labels=labels,
    )


def _period_s(text: str, place: Place) -> int:
    try:
        return int(parse_duration(text))
    except ValueError as error:
        place.report(text, str(error))
        return 28 * 86400


def _indicator(indicator: _Indicator, place: Place, notes: Notes) -> dict[str, Any]:
    for key in ("ratio", "latency", "latencyNative", "bool_gauge"):
        part = getattr(indicator, key)
        if part is not None and part.grouping:
            notes.add(
                place.at(key, "grouping"), "has no counterpart: netslo has a budget for each path"
            )
    ratio, latency, native = indicator.ratio, indicator.latency, indicator.latencyNative
    if ratio is not None:
        total = query(ratio.total.metric)
        return {"ratioMetric": {"counter": True, "bad": query(ratio.errors.metric), "total": total}}
    if latency is not None:
        total = query(latency.total.metric)
        return {
            "ratioMetric": {"counter": True, "good": query(latency.success.metric), "total": total}
        }
    if native is not None:
        metric = native.total.metric
        good = query(f"histogram_fraction(0, {native.latency}, {metric})")
        notes.add(place.at("latencyNative"), "is kept as histogram_fraction, a ratio")
        return {"ratioMetric": {"rawType": "success", "raw": good}}
    if indicator.bool_gauge is not None:
        return {"ratioMetric": {"rawType": "success", "raw": query(indicator.bool_gauge.metric)}}
    place.report("", "must have ratio, latency, latencyNative or bool_gauge")
    return {}
