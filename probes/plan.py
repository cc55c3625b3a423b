"""What to measure on each path, and as how many flows."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from analytics.windows import SeriesKey
from netslo.estate import Estate
from netslo.model import NS_PER_S, Endpoint, Path, ProbeKind, SloThreshold
from probes.address import SocketAddress
from probes.bandwidth.evidence import SharedLoads
from probes.session import SessionPlan
from probes.trace.watch import WatchPlan, plan_watch

FLOWS_MAX: Final = 16  # of one path: its addresses times its source ports
SOURCE_PORTS: Final = 4  # where the rate allows
FLOW_INTERVAL_NS: Final = 100_000_000  # the rate allows another port if each has a packet so often


@dataclass(frozen=True, slots=True)
class PathPlan:
    """How one path is measured; times in nanoseconds."""

    key: SeriesKey
    endpoint: Endpoint
    interval_ns: int  # of the path: its flows take turns
    timeout_ns: int
    thresholds: tuple[SloThreshold, ...] = ()
    dscp: int = 0
    source_ports: int = 1
    secret: bytes | None = field(default=None, repr=False)
    loads: SharedLoads | None = None  # of capacity tests: what they spoil is no evidence
    watch: WatchPlan | None = None  # of its routes; None: they are not traced


@dataclass(frozen=True, slots=True)
class Flow:
    """The packets of a path from one source port to one address: what ECMP sends one way."""

    session: SessionPlan
    address: SocketAddress | None  # None: not known yet
    of: int  # so many take turns

    @property
    def name(self) -> str:
        """The address, and which of the source ports."""
        return f"{self.address or 'unresolved'}#{self.session.port}"


def plan_paths(
    estate: Estate,
    sites: Collection[str],
    thresholds: Mapping[Path, tuple[SloThreshold, ...]],
    endpoints: Mapping[Path, Endpoint],
    keys: Mapping[pathlib.Path, bytes],
    loads: Mapping[Path, SharedLoads] | None = None,
) -> tuple[PathPlan, ...]:
    """Plan every path that starts at one of `sites`, by its far site's first address.

    Args:
        estate: Classes, probing plan and addresses.
        sites: Where we stand.
        thresholds: What to count good and bad at, by path.
        endpoints: Where a path is probed instead of at its far site.
        keys: The octets of each key file that the estate names for a far site.
        loads: The capacity tests that a path shares a bottleneck with; None: there are none.
    """
    interval_ns = round(estate.plan.interval_s * NS_PER_S)
    plans: list[PathPlan] = []
    for path in estate.paths:
        if path.src not in sites:
            continue
        endpoint = endpoints.get(path) or next(iter(estate.sites[path.dst].addresses), None)
        if endpoint is None:
            continue
        kind = estate.probe_kind(path)
        key_file = estate.key_files.get(path.dst)
        stamp = kind is ProbeKind.STAMP
        plans.append(
            PathPlan(
                key=SeriesKey(path, kind),
                endpoint=endpoint if stamp else Endpoint(endpoint.host, 0),
                interval_ns=interval_ns,
                timeout_ns=round(estate.plan.timeout_s * NS_PER_S),
                thresholds=thresholds.get(path, ()),
                dscp=estate.classes[path.traffic_class].dscp,
                source_ports=(estate.plan.source_ports or ports_at(interval_ns)) if stamp else 1,
                secret=keys[key_file] if stamp and key_file is not None else None,
                loads=(loads or {}).get(path),
                watch=plan_watch(estate.plan.trace, path, estate.classes[path.traffic_class].dscp),
            )
        )
    return tuple(plans)


def ports_at(interval_ns: int) -> int:
    """Return how many source ports a path takes if nobody says."""
    return max(1, min(SOURCE_PORTS, FLOW_INTERVAL_NS // interval_ns))


def flows_of(plan: PathPlan, addresses: tuple[SocketAddress, ...]) -> tuple[Flow, ...]:
    """Share the packets of a path between all addresses of its target, and its source ports."""
    if not addresses:
        return (Flow(_session(plan, 1, 0), None, 1),)
    ports = max(1, min(plan.source_ports, FLOWS_MAX // len(addresses)))
    count = ports * len(addresses)
    return tuple(
        Flow(_session(plan, count, port), address, count)
        for address in addresses
        for port in range(ports)
    )


def _session(plan: PathPlan, flows: int, port: int) -> SessionPlan:
    return SessionPlan(
        key=plan.key,
        interval_ns=plan.interval_ns * flows,
        timeout_ns=plan.timeout_ns,
        thresholds=plan.thresholds,
        dscp=plan.dscp,
        port=port,
        secret=plan.secret,
        loads=plan.loads,
    )
