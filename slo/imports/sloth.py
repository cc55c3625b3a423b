"""Sloth's `prometheus/v1` specifications and its alert windows (github.com/slok/sloth)."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final, Literal

from pydantic import Field

from netslo.config.yaml_lines import load_documents
from netslo.errors import ConfigurationError, Problem
from netslo.units import parse_duration
from slo.annotations import make_pair
from slo.burn import PAIRS, BurnPair, Severity
from slo.imports.foreign import (
    Foreign,
    Imported,
    Notes,
    import_documents,
    make_name,
    ordered,
    query,
    read_foreign,
    refuse_problems,
)
from slo.number import read_decimal, read_ratio
from slo.place import Place

DEFAULT_PERIOD_S: Final = 30 * 86400  # of `sloth generate`
VERSION: Final = "prometheus/v1"
KUBERNETES_VERSION: Final = "sloth.slok.dev/v1"

_RUNBOOKS: Final = ("runbook", "runbook_url")


class _Events(Foreign):
    error_query: str
    total_query: str


class _Raw(Foreign):
    error_ratio_query: str


class _Sli(Foreign):
    events: _Events | None = None
    raw: _Raw | None = None


class _Alert(Foreign):
    disable: bool = False
    labels: dict[str, Any] = Field(default={})
    annotations: dict[str, str] = Field(default={})


class _Alerting(Foreign):
    name: str = ""
    labels: dict[str, Any] = Field(default={})
    annotations: dict[str, str] = Field(default={})
    page_alert: _Alert = _Alert()
    ticket_alert: _Alert = _Alert()


class _Slo(Foreign):
    name: str
    objective: float
    description: str = ""
    labels: dict[str, str] = Field(default={})
    sli: _Sli
    alerting: _Alerting = _Alerting()


class _Spec(Foreign):
    service: str
    labels: dict[str, str] = Field(default={})
    slos: list[_Slo]


class _File(_Spec):
    version: Literal["prometheus/v1"]


class _Window(Foreign):
    error_budget_percent: float = Field(alias="errorBudgetPercent")
    short_window: str = Field(alias="shortWindow")
    long_window: str = Field(alias="longWindow")


class _Speeds(Foreign):
    quick: _Window
    slow: _Window


class _Windows(Foreign):
    slo_period: str = Field(alias="sloPeriod")
    page: _Speeds
    ticket: _Speeds


def import_sloth(
    file: pathlib.Path,
    period_s: int = DEFAULT_PERIOD_S,
    pairs: tuple[BurnPair, ...] = PAIRS,
) -> tuple[tuple[Imported, ...], Notes]:
    """Return the objectives of a sloth file, and what of them has no counterpart.

    Args:
        file: Of `version: prometheus/v1`, or Kubernetes' PrometheusServiceLevel.
        period_s: Of the budget, for the specification does not say it.
        pairs: When to alert; sloth's own windows of 28 and 30 days are the Workbook's.

    Raises:
        ConfigurationError: with every problem of the file.
    """

    def import_one(root: Place, notes: Notes) -> list[Imported]:
        spec, at = _read(root, notes)
        if spec is None:
            return []
        notes.unknown(spec, at)
        return [
            _import(slo, spec, at.at("slos", number), period_s, pairs, notes)
            for number, slo in enumerate(spec.slos)
        ]

    return import_documents(file, "sloth", import_one)


def read_windows(file: pathlib.Path) -> tuple[int, tuple[BurnPair, ...]]:
    """Return the period in seconds and the pairs of a file of sloth's alert windows.

    Raises:
        ConfigurationError: with every problem of the file.
    """
    documents = load_documents(file)
    if len(documents) != 1:
        raise ConfigurationError([Problem(str(file), None, "", "", "must hold one document")])
    place = Place(documents[0], [])
    at = place.at("spec") if isinstance(place.at("spec").data, dict) else place
    windows, at = read_foreign(_Windows, at)
    if windows is None:
        raise ConfigurationError(place.problems)
    period_s = _duration(windows.slo_period, at.at("sloPeriod"))
    pairs = [
        _pair(severity, getattr(speeds, speed), at.at(severity.value, speed))
        for severity, speeds in ((Severity.PAGE, windows.page), (Severity.TICKET, windows.ticket))
        for speed in ("quick", "slow")
    ]
    found = ordered((pair for pair in pairs if pair is not None), at)
    refuse_problems(place.problems, at.follow_ups)
    return period_s, found


def _pair(severity: Severity, window: _Window, place: Place) -> BurnPair | None:
    before = len(place.problems)
    long_s = _duration(window.long_window, place.at("longWindow"))
    short_s = _duration(window.short_window, place.at("shortWindow"))
    at = place.at("errorBudgetPercent")
    percent = Fraction(read_decimal(window.error_budget_percent, at.text))
    if not 0 < percent <= 100:  # noqa: PLR2004
        at.report(at.text or "", "must be greater than 0 and at most 100")
    if len(place.problems) > before:
        return None
    try:
        return make_pair(severity, percent / 100, long_s, short_s)
    except ValueError as error:
        place.report("", str(error))
        return None


def _duration(text: str, place: Place) -> int:
    try:
        return int(parse_duration(text))
    except ValueError as error:
        place.report(text, str(error))
        return 1


def _read(place: Place, notes: Notes) -> tuple[_Spec | None, Place]:
    data = place.data
    if isinstance(data, dict) and data.get("apiVersion") == KUBERNETES_VERSION:
        metadata = data.get("metadata")
        for key in sorted(map(str, metadata) if isinstance(metadata, dict) else ()):
            if key != "name":
                notes.add(place.at("metadata", key), "has no counterpart")
        if not isinstance(data.get("spec"), dict):
            place.at("spec").report("", "is missing")
            return None, place
        return read_foreign(_Spec, place.at("spec"))
    return read_foreign(_File, place)


def _import(
    slo: _Slo,
    spec: _Spec,
    place: Place,
    period_s: int,
    pairs: Sequence[BurnPair],
    notes: Notes,
) -> Imported:
    alerting = slo.alerting
    off = {
        Severity.PAGE: alerting.page_alert.disable,
        Severity.TICKET: alerting.ticket_alert.disable,
    }
    labels = {**spec.labels, **slo.labels}
    return Imported(
        name=make_name([spec.service, slo.name], place.at("name"), notes),
        service=spec.service,
        target_text=read_ratio(slo.objective, place.at("objective"), percent=True),
        period_s=period_s,
        pairs=tuple(pair for pair in pairs if not off[pair.severity]),
        indicator=_indicator(slo.sli, place.at("sli")),
        description=slo.description[:1050],
        owner=labels.pop("owner", None),
        runbook=_runbook(alerting, place.at("alerting"), notes),
        labels=labels,
    )


def _indicator(sli: _Sli, place: Place) -> dict[str, Any]:
    if sli.events is not None:
        return {
            "ratioMetric": {
                "counter": True,
                "bad": query(sli.events.error_query),
                "total": query(sli.events.total_query),
            }
        }
    if sli.raw is not None:
        raw = query(sli.raw.error_ratio_query)
        return {"ratioMetric": {"rawType": "failure", "raw": raw}}
    place.report("", "must have events or raw; a plugin's query is made by sloth alone")
    return {}


def _runbook(alerting: _Alerting, place: Place, notes: Notes) -> str | None:
    """Return the runbook; what else is said to Alertmanager has its own words here."""
    found = None
    for at, labels, texts in (
        (place, alerting.labels, alerting.annotations),
        (place.at("page_alert"), alerting.page_alert.labels, alerting.page_alert.annotations),
        (place.at("ticket_alert"), alerting.ticket_alert.labels, alerting.ticket_alert.annotations),
    ):
        for key in sorted(labels):
            notes.add(at.at("labels", key), "has no counterpart: netslo labels alerts by itself")
        for key, text in texts.items():
            if key in _RUNBOOKS:
                found = found or text
            else:
                notes.add(at.at("annotations", key), "has no counterpart")
    if alerting.name:
        notes.add(place.at("name"), "has no counterpart: netslo's alerts are SLOBurnPage and so on")
    return found
