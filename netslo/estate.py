"""The estate: sites, links, traffic classes and the probing plan, already valid."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from netslo.model import (
    Direction,
    Endpoint,
    Path,
    ProbeKind,
    Scope,
    Site,
    Tier,
    TrafficClass,
)
from netslo.route import TraceProtocol
from netslo.service import Service

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Link:
    """A bidirectional link between two sites."""

    a: str
    b: str
    capacity_bits_per_second: float
    cost_per_gigabyte: float  # in the estate's currency
    probe: ProbeKind | None = None  # of the paths between its ends, if not that of the site


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """How the routes of each path between sites are watched."""

    interval_s: float = 300.0
    protocol: TraceProtocol = TraceProtocol.UDP
    port: int | None = None  # of the far site; None: the protocol's usual one
    flows: int = 4


@dataclass(frozen=True, slots=True)
class ProbingPlan:
    """How often each path is probed and when a packet counts as lost; seconds."""

    interval_s: float
    timeout_s: float
    source_ports: int | None = None  # which packets of a path take in turn; None: as rate allows
    trace: TraceSettings | None = None  # None: routes are not watched


@dataclass(frozen=True, slots=True)
class TestingPlan:
    """How the bandwidth of each link is tested, by the sites at its ends."""

    __test__ = False  # pytest: no tests in here

    method: str = "train"  # or tcp
    interval_s: float = 3600.0
    seconds: float = 10.0  # of TCP, in each direction
    directions: tuple[Direction, ...] = (Direction.FORWARD, Direction.REVERSE)
    streams: int = 1  # of TCP
    octets_a_day: int = 2_000_000_000  # budget of each site, with what shells test there


@dataclass(frozen=True, slots=True)
class Estate:
    """Everything `estate.yaml` says. Mappings keep the order of the file."""

    name: str
    currency: str
    sites: Mapping[str, Site]
    classes: Mapping[str, TrafficClass]
    links: tuple[Link, ...]
    plan: ProbingPlan
    probes: Mapping[str, ProbeKind] = field(default_factory=dict)  # by far site; else STAMP
    key_files: Mapping[str, pathlib.Path] = field(default_factory=dict)  # by far site
    services: Mapping[str, Service] = field(default_factory=dict)
    testing: TestingPlan | None = field(default_factory=TestingPlan)  # None: no tests
    bandwidth_ports: Mapping[str, int] = field(default_factory=dict)  # of sites that offer tests
    paths: tuple[Path, ...] = field(init=False)  # between sites
    service_paths: tuple[Path, ...] = field(init=False)  # from sites to services
    _found: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", tuple(self._all_paths()))
        object.__setattr__(self, "service_paths", tuple(self._all_service_paths()))

    @property
    def measured_paths(self) -> tuple[Path, ...]:
        """Every path, between sites and to services."""
        return self.paths + self.service_paths

    def once(self, key: Hashable, find: Callable[[], T]) -> T:
        """Return what `find` does, asking it once.

        It must look at all of ten thousand paths, say, and depend on the estate and `key` alone.
        """
        if key not in self._found:
            self._found[key] = find()
        found: T = self._found[key]
        return found

    def _all_paths(self) -> Iterator[Path]:
        for src in self.sites:
            for dst in self.sites:
                if src != dst:
                    for traffic_class in self.classes:
                        yield Path(src, dst, traffic_class)

    def _all_service_paths(self) -> Iterator[Path]:
        for service in self.services.values():
            for src in service.sources:
                yield Path(src, service.name, service.traffic_class)

    def knows(self, path: Path) -> bool:
        """Whether both ends and the class of `path` are of this estate."""
        service = self.services.get(path.dst)
        if service is not None:
            return path.src in service.sources and path.traffic_class == service.traffic_class
        return (
            path.src in self.sites
            and path.dst in self.sites
            and path.src != path.dst
            and path.traffic_class in self.classes
        )

    def probe_kind(self, path: Path) -> ProbeKind:
        """What a path is measured with: as its link says, or else its far site or service."""
        if path.dst in self.services:
            return self.services[path.dst].kind
        for link in self.links:
            if link.probe is not None and {link.a, link.b} == {path.src, path.dst}:
                return link.probe
        return self.probes.get(path.dst, ProbeKind.STAMP)

    def link_capacity(self, path: Path) -> float | None:
        """What the link between the ends of `path` carries, bit/s; None where none joins them."""
        for link in self.links:
            if {link.a, link.b} == {path.src, path.dst}:
                return link.capacity_bits_per_second
        return None

    def bandwidth_server(self, site: str) -> Endpoint | None:
        """Where a site answers bandwidth tests; None: it does not."""
        port = self.bandwidth_ports.get(site)
        return None if port is None else Endpoint(self.sites[site].addresses[0].host, port)

    @property
    def tested_paths(self) -> tuple[Path, ...]:
        """The path of each test: along a link, to a site that offers tests, in the lowest class."""
        if self.testing is None or not self.classes:
            return ()
        lowest = min(self.classes.values(), key=lambda each: each.dscp).name
        ways = ((each.a, each.b) for each in self.links)
        both = (way for a, b in ways for way in ((a, b), (b, a)))
        return tuple(Path(src, dst, lowest) for src, dst in both if dst in self.bandwidth_ports)

    def interval_s(self, path: Path) -> float:
        """How often `path` is probed."""
        service = self.services.get(path.dst)
        return self.plan.interval_s if service is None else service.interval_s

    def timeout_s(self, path: Path) -> float:
        """When what is sent on `path` counts as lost."""
        service = self.services.get(path.dst)
        return self.plan.timeout_s if service is None else service.timeout_s

    def scope(self, path: Path) -> Scope:
        """How far `path` reaches.

        Raises:
            KeyError: a site of the path is not of this estate.
        """
        if path.dst in self.services:
            return Scope.SERVICE
        src, dst = self.sites[path.src], self.sites[path.dst]
        if src.region != dst.region:
            return Scope.NATIONAL
        if Tier.EDGE in (src.tier, dst.tier):
            return Scope.EDGE
        return Scope.REGIONAL
