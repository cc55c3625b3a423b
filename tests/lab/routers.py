"""Four routers that share load over two branches, each in a namespace of its own.

         .- r2 -.
src - r1          r4 - dst
         `- r3 -'

r1 chooses a branch by ports (RFC 2992's hash over the five-tuple); the way back is always over r2.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from lab.namespaces import Namespace, Pair, veth

_LINKS: Final = {"src-r1": 1, "r1-r2": 12, "r1-r3": 13, "r2-r4": 24, "r3-r4": 34, "r4-dst": 4}


def _subnet(link: str, version: int) -> str:
    number = _LINKS[link]
    return f"10.80.{number}.0/30" if version == 4 else f"fd00:80:{number}::/64"


def _address(link: str, place: int, version: int) -> str:
    return str(ip_network(_subnet(link, version))[1 + place])


@dataclass(frozen=True, slots=True)
class Diamond:
    """The topology. Addresses of a link `a-b` are that of a first, then that of b."""

    spaces: dict[str, Namespace]
    pairs: dict[str, Pair]

    @property
    def source(self) -> Namespace:
        return self.spaces["src"]

    def address(self, link: str, place: int, version: int) -> str:
        """Return the address at one end of a link."""
        return _address(link, place, version)

    def target(self, version: int) -> str:
        """Return the address of dst."""
        return _address("r4-dst", 1, version)

    def branch(self, version: int, protocol: str, source_port: int, target_port: int) -> str:
        """Return r2 or r3, whichever r1's own routing table says that a flow takes."""
        command = ["ip", "route", "get", self.target(version), "from"]
        command += [_address("src-r1", 0, version), "iif", "src-r1", "ipproto", protocol]
        if protocol in ("udp", "tcp"):
            command += ["sport", str(source_port), "dport", str(target_port)]
        found = re.search(r"\bvia (\S+)", self.spaces["r1"].run(*command).stdout)
        assert found is not None
        ways = {_address(f"r1-{name}", 1, version): name for name in ("r2", "r3")}
        return ways[found[1]]

    def hops(self, branch: str, version: int) -> list[str]:
        """Return who answers on a branch, as their addresses are set."""
        links = ("src-r1", f"r1-{branch}", f"{branch}-r4", "r4-dst")
        return [_address(link, 1, version) for link in links]

    def source_port(self, version: int, protocol: str, target_port: int, flows: int) -> int:
        """Return the first of consecutive source ports which take both branches."""
        for first in range(40_000, 60_000, flows):
            ports = range(first, first + flows)
            if len({self.branch(version, protocol, port, target_port) for port in ports}) > 1:
                return first
        raise AssertionError("r1 does not share load")

    def route_over(self, *names: str) -> None:
        """Let r1 know these branches only, of r2 and r3."""
        for version in (4, 6):
            hops = [word for name in names for word in _hop(name, version)]
            family = ("-6",) if version == 6 else ()
            if version == 6 and len(names) == 1:
                hops = hops[1:]
            self.spaces["r1"].ip(*family, "route", "replace", _subnet("r4-dst", version), *hops)


def _hop(name: str, version: int) -> list[str]:
    return ["nexthop", "via", _address(f"r1-{name}", 1, version)]


@contextlib.contextmanager
def diamond() -> Iterator[Diamond]:
    """Build the topology for the block."""
    with contextlib.ExitStack() as stack:
        names = ("src", "r1", "r2", "r3", "r4", "dst")
        spaces = {name: stack.enter_context(Namespace(name)) for name in names}
        pairs = {}
        for link in _LINKS:
            a, b = (spaces[name] for name in link.split("-"))
            pairs[link] = veth(a, b, _subnet(link, 4), _subnet(link, 6), link)
        for name in ("r1", "r2", "r3", "r4"):
            _let_forward(spaces[name])
        for space in spaces.values():
            limit_answers(space, 0)
        built = Diamond(spaces, pairs)
        for version in (4, 6):
            _add_routes(built, version)
        built.route_over("r2", "r3")
        yield built


def limit_answers(space: Namespace, every_ms: int) -> None:
    """Let a host send another an ICMP error so often only, after the first few; Linux' is 1000."""
    for name in ("net.ipv4.icmp_ratelimit", "net.ipv6.icmp.ratelimit"):
        space.set_sysctl(name, every_ms)


def _let_forward(router: Namespace) -> None:
    settings = {
        "net.ipv4.ip_forward": 1,
        "net.ipv6.conf.all.forwarding": 1,
        "net.ipv4.fib_multipath_hash_policy": 1,  # addresses, protocol and ports
        "net.ipv6.fib_multipath_hash_policy": 1,
        "net.ipv4.icmp_errors_use_inbound_ifaddr": 1,  # so that r4 says on which branch it heard
        "net.ipv4.conf.all.rp_filter": 0,
    }
    for name, value in settings.items():
        router.set_sysctl(name, value)


def _add_routes(built: Diamond, version: int) -> None:
    def add(name: str, subnet: str, link: str, place: int) -> None:
        via = _address(link, place, version)
        family = ("-6",) if version == 6 else ()
        built.spaces[name].ip(*family, "route", "add", subnet, "via", via)

    everywhere = "default"
    near, far = _subnet("src-r1", version), _subnet("r4-dst", version)
    add("src", everywhere, "src-r1", 1)
    add("dst", everywhere, "r4-dst", 0)
    for name in ("r2", "r3"):
        add(name, near, f"r1-{name}", 0)
        add(name, far, f"{name}-r4", 1)
    add("r4", near, "r2-r4", 0)
