"""Certificates of services that end soon: the same as `slo.rules.certificates` says."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress

from analytics.collector.state import ProbeReport
from netslo.estate import Estate
from netslo.metrics import CERTIFICATE_EXPIRY
from netslo.model import Path
from slo.burn import Severity
from slo.engine.book import Alert, Labels, Observation, Observed, labels_of
from slo.rules.certificates import LEFT_S
from slo.rules.rules import Alert as Name


def expiring(
    expiries_s: Mapping[str, float], estate: Estate, now_s: float, in_force: Collection[Labels]
) -> Iterator[Observation]:
    """Yield the services whose certificate ends soon.

    Args:
        expiries_s: By service when its certificate ends, Unix time, as far as that is known.
        estate: With the services that are asked.
        now_s: Unix time.
        in_force: What somebody has been told; that goes on while nobody can see the certificate.
    """
    for service, expiry_s in expiries_s.items():
        left_s = expiry_s - now_s
        severity = next((each for each in Severity if left_s < LEFT_S[each]), None)
        if severity is not None:
            labels = labels_of(
                alertname=Name.CERTIFICATE, severity=severity.value, dst_site=service
            )
            yield Observation(labels, Observed.TRUE, value=left_s)
    for labels in in_force:
        said = dict(labels)
        service = said.get("dst_site", "")
        unseen = said["alertname"] == Name.CERTIFICATE and service not in expiries_s
        if unseen and service in estate.services:
            yield Observation(labels, Observed.UNKNOWN)


def certificates_of(reports: Iterable[ProbeReport]) -> dict[str, float]:
    """Return by service when its certificate ends, Unix time; of several, the first end."""
    found: dict[str, float] = {}
    for report in reports:
        for instrument, expiry_s in report.values.items():
            if instrument[0] != CERTIFICATE_EXPIRY:
                continue
            with suppress(ValueError):  # a probe's word: any text
                service = Path.parse(instrument[1]).dst
                found[service] = min(expiry_s, found.get(service, expiry_s))
    return found


def certificate(alert: Alert, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the annotations of such an alert."""
    service, left_s = labels["dst_site"], alert.value
    if left_s is None:
        when = "expires soon"
    elif left_s < 0:
        when = "has expired"
    else:
        days, hours = divmod(int(left_s) // 3600, 24)
        when = f"expires in {days}d {hours}h"
    return {
        "summary": f"{service}: its certificate {when}",
        "where": f"the service {service}, for all who ask it",
    }
