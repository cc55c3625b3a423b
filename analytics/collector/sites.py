"""What is said of a site that no measurement tells: where it stands, for maps and joins."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from netslo import metrics
from netslo.estate import Estate

_LABELS = ("site", "tier", "region", "residency_zone", "latitude", "longitude")


class SiteCollector(Collector):
    """Collects the sites of an estate; degrees are labels, as `info` metrics have them."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate

    def describe(self) -> Iterable[Metric]:
        """Return the family without samples."""
        return [_family()]

    def collect(self) -> Iterable[Metric]:
        """Return the family."""
        family = _family()
        for site in self._estate.sites.values():
            place = f"{site.location.lat:g}", f"{site.location.lon:g}"
            family.add_metric(
                [site.name, site.tier.value, site.region, site.residency_zone, *place], 1
            )
        return [family]


def _family() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        metrics.PROM_SITE_INFO, "Where a site stands (WGS 84); always 1.", labels=_LABELS
    )
