"""The vocabulary every floor shares: sites, paths, windows, outcomes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

NAME_PATTERN = re.compile(r"[a-z][a-z0-9-]*\Z")
DSCP_MAX = 63  # six bits, RFC 2474
NAME_LENGTH_MAX = 63  # one DNS label, so that a name fits wherever a host name does
NS_PER_S = 1_000_000_000
WINDOW_S = 10


class Tier(StrEnum):
    """How far out in the network a site stands."""

    EDGE = "edge"
    REGIONAL = "regional"
    NATIONAL = "national"


class Scope(StrEnum):
    """How far a path reaches; objectives select paths by it."""

    EDGE = "edge"  # an edge site and another site of its region
    REGIONAL = "regional"  # one region, no edge site
    NATIONAL = "national"  # crosses regions
    SERVICE = "service"  # ends at a service, wherever that stands


class ProbeKind(StrEnum):
    """What kind of packet or transaction measured a path."""

    STAMP = "stamp"
    ICMP = "icmp"
    TCP = "tcp"
    TLS = "tls"
    HTTP = "http"
    DNS = "dns"


class Outcome(StrEnum):
    """What became of one due probe packet; exactly one of these."""

    ANSWERED = "answered"
    LOST = "lost"  # no answer within the time-out
    UNMEASURED = "unmeasured"  # not sent, prober down, or clock invalid


class Quality(StrEnum):
    """Who took a sample's timestamps. Classes never mix in one sketch."""

    A = "A"  # all four by kernel or hardware
    B = "B"  # ours by kernel or hardware; the far transmit stamp in user space, or none by echo
    C = "C"  # any other


@dataclass(frozen=True, slots=True)
class Location:
    """A place on the WGS 84 ellipsoid, in degrees."""

    lat: float
    lon: float


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a site's reflector answers: host (name or address) and UDP port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Site:
    """One place of the estate where probes run and reflectors answer."""

    name: str
    tier: Tier
    region: str
    residency_zone: str
    location: Location
    addresses: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class TrafficClass:
    """A name and the DSCP (0 to 63, RFC 2474) its packets carry."""

    name: str
    dscp: int


@dataclass(frozen=True, slots=True, order=True)
class Path:
    """Packets from one site to another in one traffic class. Its reverse is another path."""

    src: str
    dst: str
    traffic_class: str

    @property
    def id(self) -> str:
        """`src:dst/class`, with no character that a shell would eat."""
        return f"{self.src}:{self.dst}/{self.traffic_class}"

    @property
    def reverse(self) -> Path:
        """The path of the answers."""
        return Path(self.dst, self.src, self.traffic_class)

    @classmethod
    def parse(cls, text: str) -> Path:
        """Read `src:dst/class`.

        Raises:
            ValueError: the text is not of that form, or a name in it is not a name.
        """
        sites, _, traffic_class = text.partition("/")
        src, _, dst = sites.partition(":")
        for name in (src, dst, traffic_class):
            if not is_name(name):
                raise ValueError(f"path {text!r} is not of the form src:dst/class")
        return cls(src, dst, traffic_class)

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A half-open, UTC-aligned span [start_s, end_s) of Unix time, in whole seconds."""

    start_s: int
    length_s: int = WINDOW_S

    @property
    def end_s(self) -> int:
        return self.start_s + self.length_s

    @classmethod
    def containing(cls, unix_ns: int, length_s: int = WINDOW_S) -> Window:
        """Return the aligned window in which the instant `unix_ns` falls."""
        unix_s = unix_ns // NS_PER_S
        return cls(unix_s - unix_s % length_s, length_s)


class Direction(StrEnum):
    """Which way of a path a figure is about."""

    ROUND_TRIP = "round-trip"
    FORWARD = "forward"  # from the source to the destination
    REVERSE = "reverse"


class Measure(StrEnum):
    """What of an answered packet an objective compares with its limit."""

    DELAY = "delay"  # there and back, or one way (RFC 7679)
    PDV = "pdv"  # delay less the least of its window (RFC 5481)
    IPDV = "ipdv"  # |delay less that of the packet before| (RFC 3393)


@dataclass(frozen=True, slots=True)
class SloThreshold:
    """What a probe must know of an objective to count good and bad exactly.

    A lost packet is bad under every objective. An answered one is good when its `measure` in
    `direction` is known and at most `limit_s` seconds; when it is not known (the clocks cannot
    be compared, or IPDV with no packet before it), it is unmeasured, and never an event.
    `limit_s` is None for loss and availability, where any answer in time is good.
    """

    slo: str
    limit_s: float | None
    measure: Measure = Measure.DELAY
    direction: Direction = Direction.ROUND_TRIP

    def is_good(self, measured_s: float) -> bool:
        """Judge an answered packet by its measure."""
        return self.limit_s is None or measured_s <= self.limit_s


def is_name(text: str) -> bool:
    """Whether `text` may name a site, a class, a region or an objective."""
    return len(text) <= NAME_LENGTH_MAX and NAME_PATTERN.match(text) is not None
