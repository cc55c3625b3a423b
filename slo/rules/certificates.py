"""When somebody is told that the certificate of a service ends: for all services, two rules.

A certificate is that of a service, seen from several sites: the one that ends first counts. What
is looked at are days, so these rules are the same in a trial in which windows go by faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netslo import metrics
from slo.burn import Severity
from slo.rules.texts import Links, Texts

DAY_S: Final = 86_400
LEFT_S: Final = {Severity.PAGE: 3 * DAY_S, Severity.TICKET: 14 * DAY_S}
_REMEMBERED: Final = "15m"  # a scrape or a report that fails ends no alert


def time_left() -> str:
    """Return by service for how long its certificate is still good, seconds; below 0: it ended."""
    seen = f"last_over_time({metrics.PROM_PROBE_CERTIFICATE}[{_REMEMBERED}])"
    # A path is src:dst/class, and dst is the service.
    of_service = f'label_replace({seen}, "dst_site", "$1", "path", "[^:]+:([^/]+)/.+")'
    return f"(min by (dst_site) ({of_service}) - time())"


def expiring() -> Iterator[tuple[Severity, str]]:
    """Yield each severity, and what fires at it; never two for one service."""
    left, page_s = time_left(), LEFT_S[Severity.PAGE]
    yield Severity.PAGE, f"{left} < {page_s}"
    yield Severity.TICKET, f"{left} < {LEFT_S[Severity.TICKET]} >= {page_s}"


def certificate_texts(alert: str, links: Links) -> Texts:
    """Return the annotations for a certificate that ends soon, or has ended."""
    return {
        "summary": (
            "{{ $labels.dst_site }}: its certificate "
            "{{ if lt $value 0.0 }}has expired{{ else }}"
            "expires in {{ $value | humanizeDuration }}{{ end }}"
        ),
        "where": "the service {{ $labels.dst_site }}, for all who ask it",
        "evidence": (
            "the last good handshake showed an end at "
            f"{{{{ with printf \"min({metrics.PROM_PROBE_CERTIFICATE}{{path=~'.+:%s/.+'}})\" "
            "$labels.dst_site | query }}{{ . | first | value | humanizeTimestamp }}"
            "{{ else }}a time that is not known any more{{ end }}"
        ),
        "runbook_url": links.runbook(alert),
    }
