"""The rule file for Prometheus: recordings and the alerts that stand on them, in one group.

Rules of one group run in order, so that an alert sees what was recorded a moment before. Three
groups have a cadence each: a pair of an hour must be looked at often, one of days need not.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from slo.burn import Severity
from slo.objective import Objective
from slo.rules import expressions, texts
from slo.rules.certificates import certificate_texts, expiring
from slo.rules.layout import (
    RULES_MAX,
    Cadence,
    Span,
    Timing,
    cadences,
    shortest_windows_s,
    told_by,
)
from slo.rules.texts import Links, Texts

Rule = dict[str, Any]

COVERAGE_FOR_S = 600
PROBE_FOR_S = 60
COLLECTOR_FOR_S = 60


class Alert(StrEnum):
    """The names of all alerts."""

    BURN_PAGE = "SLOBurnPage"
    BURN_TICKET = "SLOBurnTicket"
    SITE_PAGE = "SLOSiteBurnPage"
    COVERAGE_LOW = "SLOCoverageLow"
    PROBE_DOWN = "SLOProbeDown"
    COLLECTOR_DOWN = "SLOCollectorDown"
    CERTIFICATE = "SLOCertificateExpiry"
    WATCHDOG = "SLOWatchdog"


BURN_ALERTS = {Severity.PAGE: Alert.BURN_PAGE, Severity.TICKET: Alert.BURN_TICKET}


def rule_file(
    objectives: Sequence[Objective], timing: Timing | None = None, links: Links | None = None
) -> dict[str, Any]:
    """Return the rule file, as YAML's plain data; the same for any number of paths.

    Raises:
        ConfigurationError: the objectives ask for more different pairs than are looked at.
    """
    timing, links = timing or Timing(), links or Links()
    groups = []
    found = cadences(objectives, timing)
    for number, cadence in enumerate(found):
        rules = _recordings(cadence, timing)
        if number == 0:  # what looks at all of them goes with the quickest
            rules += _site_rules(links)
        rules += [_burn_rule(severity, spans, links) for severity, spans in told_by(cadence, found)]
        groups.append(
            {
                "name": f"netslo-{cadence.name}",
                "interval": timing.text(cadence.interval_s),
                "rules": rules,
            }
        )
    groups.append(
        {  # by itself, since it looks at every path
            "name": "netslo-coverage",
            "interval": timing.text(timing.coverage_s),
            "rules": [_coverage_rule(shortest_windows_s(objectives), timing, links)],
        }
    )
    groups.append(
        {
            "name": "netslo-health",
            "interval": timing.text(timing.fast_s),
            "rules": _health_rules(timing, links),
        }
    )
    assert sum(len(group["rules"]) for group in groups) <= RULES_MAX
    return {"groups": groups}


def _recordings(cadence: Cadence, timing: Timing) -> list[Rule]:
    """Return what is recorded of a cadence, each with a look at what stands above it."""
    labels = {"cadence": cadence.name.value}
    return [
        {
            "record": expressions.SUSPECT,
            "expr": expressions.suspects(cadence, timing),
            "labels": labels,
        },
        {"record": expressions.JUDGED, "expr": expressions.judged(cadence), "labels": labels},
        {"record": expressions.KNOWN, "expr": expressions.known(cadence, timing), "labels": labels},
        {
            "record": expressions.BURN_ALERT,
            "expr": expressions.burn_alerts(cadence, timing),
            "labels": labels,
        },
    ]


def _site_rules(links: Links) -> list[Rule]:
    said = texts.site_texts(Alert.SITE_PAGE, links)
    return [
        {"record": expressions.SITE_PEERS, "expr": expressions.burning_peers()},
        _alert(
            Alert.SITE_PAGE, expressions.site_burns(Alert.SITE_PAGE), 0, "page", said, scope="site"
        ),
    ]


def _burn_rule(severity: Severity, spans: tuple[Span, ...], links: Links) -> Rule:
    alert = BURN_ALERTS[severity]
    expr = expressions.burning(severity.value, spans)
    return _alert(alert, expr, 0, severity.value, texts.burn_texts(alert, links))


def _coverage_rule(windows_s: Sequence[int], timing: Timing, links: Links) -> Rule:
    expr = expressions.coverage_low(Alert.COVERAGE_LOW, windows_s, timing)
    said = texts.coverage_texts(Alert.COVERAGE_LOW, links)
    return _alert(
        Alert.COVERAGE_LOW, expr, timing.text(COVERAGE_FOR_S), Severity.TICKET.value, said
    )


def _health_rules(timing: Timing, links: Links) -> list[Rule]:
    return [
        _alert(
            Alert.PROBE_DOWN,
            expressions.probe_down(Alert.PROBE_DOWN, timing),
            timing.text(PROBE_FOR_S),
            Severity.PAGE.value,
            texts.probe_texts(Alert.PROBE_DOWN, links),
        ),
        _alert(
            Alert.COLLECTOR_DOWN,
            expressions.collector_down(timing),
            timing.text(COLLECTOR_FOR_S),
            Severity.PAGE.value,
            texts.collector_texts(Alert.COLLECTOR_DOWN, links),
        ),
        *(
            _alert(
                Alert.CERTIFICATE,
                expr,
                0,
                severity.value,
                certificate_texts(Alert.CERTIFICATE, links),
            )
            for severity, expr in expiring()
        ),
        _alert(
            Alert.WATCHDOG,
            "vector(1)",
            0,
            "none",
            texts.watchdog_texts(Alert.WATCHDOG, links),
        ),
    ]


def _alert(
    name: Alert, expr: str, held: str | int, severity: str, said: Texts, **labels: str
) -> Rule:
    rule: Rule = {"alert": name.value, "expr": expr}
    if held:
        rule["for"] = held
    return {**rule, "labels": {"severity": severity, **labels}, "annotations": said}
