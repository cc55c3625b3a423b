"""What is asked of which service from which site."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from analytics.windows import SeriesKey
from netslo.estate import Estate
from netslo.model import NS_PER_S, Path, SloThreshold
from netslo.service import Request
from probes.bandwidth.evidence import SharedLoads
from probes.services.tls import read_authorities


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """How one path to a service is measured; times in nanoseconds."""

    key: SeriesKey
    request: Request = field(repr=False)  # its headers may hold a secret
    interval_ns: int
    timeout_ns: int
    thresholds: tuple[SloThreshold, ...] = ()
    dscp: int = 0
    authorities: str | None = field(default=None, repr=False)  # PEM; None: the system's
    loads: SharedLoads | None = None  # of capacity tests: what they spoil is no evidence


def plan_services(
    estate: Estate,
    sites: Collection[str],
    thresholds: Mapping[Path, tuple[SloThreshold, ...]],
    loads: Mapping[Path, SharedLoads] | None = None,
) -> tuple[ServicePlan, ...]:
    """Plan every path to a service that starts at one of `sites`, and read whom to trust.

    Args:
        estate: Services and classes.
        sites: Where we stand.
        thresholds: What to count good and bad at, by path.
        loads: The capacity tests that a path shares a bottleneck with; None: there are none.

    Raises:
        ConfigurationError: a file of certificates is no good.
    """
    trusted: dict[pathlib.Path, str] = {}
    plans = []
    for path in estate.service_paths:
        if path.src not in sites:
            continue
        service = estate.services[path.dst]
        file = service.ca_file
        if file is not None and file not in trusted:
            trusted[file] = read_authorities(file)
        plans.append(
            ServicePlan(
                key=SeriesKey(path, service.kind),
                request=service.request,
                interval_ns=round(service.interval_s * NS_PER_S),
                timeout_ns=round(service.timeout_s * NS_PER_S),
                thresholds=thresholds.get(path, ()),
                dscp=estate.classes[path.traffic_class].dscp,
                authorities=None if file is None else trusted[file],
                loads=(loads or {}).get(path),
            )
        )
    return tuple(plans)
