"""The network of the demo's real link: two sites, five routers, two ways between them.

    london ── edge-1 ── core ───────────── edge-2 ── edinburgh     50 Mbit/s while it is up
                 └───── west-1 ── west-2 ────┘                     20 Mbit/s, one router more

Every line is a veth pair. A token bucket limits what enters a branch at either end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from netslo.app.lab.namespaces import Namespaces

T = TypeVar("T")

NEAR, FAR = "near", "far"  # where the two sites stand
NEAR_ADDRESS: Final = "10.1.0.2"
FAR_ADDRESS: Final = "10.4.0.2"
NEAR_DEVICE, FAR_DEVICE = "to-edge-1", "to-edge-2"
PRIMARY_BIT_S: Final = 50_000_000  # of whole frames
BACKUP_BIT_S: Final = 20_000_000
_BURST_BYTES: Final = 10_000  # what passes at once after a pause: six full frames
_QUEUE_S: Final = 0.040  # what waits longer is dropped

_HOST: Final = {"net.ipv6.conf.default.disable_ipv6": 1, "net.ipv4.conf.all.rp_filter": 0}
_ROUTER: Final = {
    **_HOST,
    "net.ipv4.ip_forward": 1,
    "net.ipv4.conf.default.rp_filter": 0,  # while a branch fails, the two ways may differ
    "net.ipv4.conf.all.ignore_routes_with_linkdown": 1,
    "net.ipv4.conf.default.ignore_routes_with_linkdown": 1,
    "net.ipv4.icmp_ratelimit": 0,  # it would tell one flow of a traceroute, not the next
}


@dataclass(frozen=True, slots=True)
class _Wire:
    """Two places, and the network between them, of which they have addresses 1 and 2."""

    a: str
    b: str
    network: str  # its first three octets
    rate_bit_s: int | None = None  # of both ways

    def address(self, place: str) -> str:
        return f"{self.network}.{1 if place == self.a else 2}"


_WIRES: Final = (
    _Wire("edge-1", NEAR, "10.1.0"),
    _Wire("edge-1", "core", "10.2.1", PRIMARY_BIT_S),
    _Wire("edge-2", "core", "10.2.2", PRIMARY_BIT_S),
    _Wire("edge-1", "west-1", "10.3.1", BACKUP_BIT_S),
    _Wire("west-1", "west-2", "10.3.2"),
    _Wire("edge-2", "west-2", "10.3.3", BACKUP_BIT_S),
    _Wire("edge-2", FAR, "10.4.0"),
)
_TO_NEAR, _TO_FAR = "10.1.0.0/24", "10.4.0.0/24"
_BETTER, _WORSE = 10, 20  # metrics

# By place: each route as destination, next place, metric.
_ROUTES: Final[dict[str, tuple[tuple[str, str, int], ...]]] = {
    NEAR: (("default", "edge-1", _BETTER),),
    FAR: (("default", "edge-2", _BETTER),),
    "edge-1": ((_TO_FAR, "core", _BETTER), (_TO_FAR, "west-1", _WORSE)),
    "edge-2": ((_TO_NEAR, "core", _BETTER), (_TO_NEAR, "west-2", _WORSE)),
    "core": ((_TO_FAR, "edge-2", _BETTER), (_TO_NEAR, "edge-1", _BETTER)),
    "west-1": ((_TO_FAR, "west-2", _BETTER), (_TO_NEAR, "edge-1", _BETTER)),
    "west-2": ((_TO_FAR, "edge-2", _BETTER), (_TO_NEAR, "west-1", _BETTER)),
}


@dataclass(frozen=True, slots=True)
class Network:
    """The network, built in namespaces of this process.

    Raises:
        NoNamespaces: it cannot be built here.
    """

    namespaces: Namespaces

    def __post_init__(self) -> None:
        for place in _ROUTES:
            self.namespaces.add(place, _HOST if place in {NEAR, FAR} else _ROUTER)
        for wire in _WIRES:
            self._lay(wire)
        for place in _ROUTES:
            self.namespaces.ip(place, _route_commands(place))

    def break_primary(self) -> None:
        """Let the better branch fail: its router's interfaces go down, its neighbours notice."""
        self.namespaces.ip("core", [f"link set {device} down" for device in _devices("core")])

    def mend_primary(self) -> None:
        """Let the better branch work again; its router lost its routes with its interfaces."""
        up = [f"link set {device} up" for device in _devices("core")]
        self.namespaces.ip("core", [*up, *_route_commands("core")])

    def inside(self, place: str, work: Callable[[], T]) -> T:
        """Do something at one of the two sites, `NEAR` or `FAR`."""
        return self.namespaces.inside(place, work)

    def _lay(self, wire: _Wire) -> None:
        self.namespaces.wire(wire.a, f"to-{wire.b}", wire.b, f"to-{wire.a}")
        for place, other in ((wire.a, wire.b), (wire.b, wire.a)):
            device = f"to-{other}"
            address = f"addr add {wire.address(place)}/24 dev {device}"
            self.namespaces.ip(place, [address, f"link set {device} up"])
        if wire.rate_bit_s is not None:  # of what enters the branch: a is at its edge
            self._limit(wire.a, f"to-{wire.b}", wire.rate_bit_s)

    def _limit(self, place: str, device: str, rate_bit_s: int) -> None:
        bucket = f"rate {rate_bit_s}bit burst {_BURST_BYTES}b latency {_QUEUE_S * 1e3:.0f}ms"
        self.namespaces.tc(place, [f"qdisc add dev {device} root tbf {bucket}"])


def _route_commands(place: str) -> list[str]:
    return [
        f"route replace {destination} via {_wire(place, other).address(other)} metric {metric}"
        for destination, other, metric in _ROUTES[place]
    ]


def _wire(place: str, other: str) -> _Wire:
    return next(wire for wire in _WIRES if {wire.a, wire.b} == {place, other})


def _devices(place: str) -> list[str]:
    return [f"to-{w.b if w.a == place else w.a}" for w in _WIRES if place in {w.a, w.b}]
