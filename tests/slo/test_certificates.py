"""Certificates that end soon: the rules by promtool, the engine by what probes report."""

from __future__ import annotations

from dataclasses import replace

import pytest
from real_prometheus import run

from analytics.collector.state import ProbeReport
from netslo.metrics import CERTIFICATE_EXPIRY, CLOCK_ERROR, PROM_PROBE_CERTIFICATE
from netslo.service import Service, TlsRequest, Where
from slo.engine.book import Alert, AlertBook, Observation, Observed, labels_of
from slo.engine.certificates import certificate, certificates_of, expiring
from slo.rules.rules import Alert as Name
from slo.rules.rules import rule_file
from slo.rules.yaml_text import to_yaml

DAY_S = 86_400
NOW_S = 1_800_000_000.0
SHOP = Service(
    "shop", TlsRequest(Where("shop.example", 443), "shop.example"), "be", ("london",), 30.0, 5.0
)


def labels(severity: str, service: str = "shop"):
    return labels_of(alertname=Name.CERTIFICATE, severity=severity, dst_site=service)


# promtool's time begins at 0: expiries are seconds after its start.
@pytest.mark.parametrize(
    ("by_site", "minute", "severity", "said"),
    [
        ({"london": 15 * DAY_S}, 60, None, ""),
        ({"london": 14 * DAY_S}, 60, "ticket", "shop: its certificate expires in 13d 23h 0m 0s"),
        ({"london": 20 * DAY_S, "leeds": 2 * DAY_S}, 60, "page", "expires in 1d 23h 0m 0s"),
        ({"london": 3 * DAY_S + 3600}, 60, "ticket", "expires in 3d 0h 0m 0s"),
        ({"london": 3600 - 1}, 60, "page", "shop: its certificate has expired"),
    ],
)
def test_the_rules_look_at_the_site_that_sees_the_first_end(
    tmp_path, by_site, minute, severity, said
) -> None:
    alerts = []
    first_s = min(by_site.values())
    if severity is not None:
        left = f"{said}" if said.startswith("shop") else f"shop: its certificate {said}"
        alerts.append(
            {
                "exp_labels": {"severity": severity, "dst_site": "shop"},
                "exp_annotations": {
                    "summary": left,
                    "where": "the service shop, for all who ask it",
                    "evidence": evidence(first_s),
                    "runbook_url": "docs/runbooks/SLOCertificateExpiry.md",
                },
            }
        )
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {
                        "series": f'{PROM_PROBE_CERTIFICATE}{{site="{site}",instance="{site}-1",'
                        f'path="{site}:shop/be"}}',
                        "values": f"{expiry_s}x50 _x60",  # the last scrapes fail
                    }
                    for site, expiry_s in by_site.items()
                ],
                "alert_rule_test": [
                    {"eval_time": f"{minute}m", "alertname": Name.CERTIFICATE.value,
                     "exp_alerts": alerts},
                    {"eval_time": f"{minute + 20}m", "alertname": Name.CERTIFICATE.value,
                     "exp_alerts": []},
                ],
            }
        ],
    }  # fmt: skip
    (tmp_path / "rules.yml").write_text(to_yaml(rule_file([]), "rules"))
    (tmp_path / "test.yml").write_text(to_yaml(test, "test"))
    done = run("promtool", "test", "rules", tmp_path / "test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def evidence(expiry_s: int) -> str:
    """Return the sentence; the series that it asks for is not scraped any more by then."""
    del expiry_s
    return "the last good handshake showed an end at a time that is not known any more"


@pytest.mark.parametrize(
    ("left_s", "severity"),
    [
        (14 * DAY_S, None),
        (14 * DAY_S - 1, "ticket"),
        (3 * DAY_S, "ticket"),
        (3 * DAY_S - 1, "page"),
        (-5, "page"),
    ],
)
def test_the_engine_says_the_same(estate, left_s, severity) -> None:
    found = list(expiring({"shop": NOW_S + left_s}, estate, NOW_S, ()))
    wanted = [] if severity is None else [Observation(labels(severity), Observed.TRUE, 0, left_s)]
    assert found == wanted


def test_who_was_told_stays_told_while_nobody_sees_the_certificate(estate) -> None:
    house = replace(estate, services={"shop": SHOP})
    book = AlertBook()
    book.update(expiring({"shop": NOW_S + DAY_S}, house, NOW_S, ()), NOW_S)
    (told,) = book.firing
    later = NOW_S + 3600
    book.update(expiring({}, house, later, [told.labels]), later)
    assert [alert.unknown_since_s for alert in book.firing] == [later]
    book.update(
        expiring({"shop": NOW_S + 90 * DAY_S}, house, later + 60, [told.labels]), later + 60
    )
    assert book.firing == []
    gone = list(expiring({}, estate, later, [told.labels]))  # such a service is not asked any more
    assert gone == []


def test_of_what_probes_report_the_first_end_of_each_service_counts() -> None:
    def report(site: str, **expiries_s: float) -> ProbeReport:
        values = {
            (CERTIFICATE_EXPIRY, f"{site}:{name}/be"): at_s for name, at_s in expiries_s.items()
        }
        return ProbeReport(site, f"{site}-1", NOW_S, {**values, (CLOCK_ERROR,): 0.1})

    reports = [report("london", shop=50.0, mail=70.0), report("leeds", shop=40.0)]
    reports[0].values[CERTIFICATE_EXPIRY, "no path at all"] = 1.0
    assert certificates_of(reports) == {"shop": 40.0, "mail": 70.0}


def test_the_alert_says_when() -> None:
    def said(left_s):
        alert = Alert(labels("page"), NOW_S, value=left_s)
        return certificate(alert, dict(alert.labels))["summary"]

    assert said(2 * DAY_S + 3700) == "shop: its certificate expires in 2d 1h"
    assert said(-1.0) == "shop: its certificate has expired"
    assert said(None) == "shop: its certificate expires soon"
