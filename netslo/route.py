"""Routes: the hops that packets of one fixed flow take, and when two of them are the same."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_address
from itertools import zip_longest
from typing import Final, Self

from netslo.model import Path

HOPS_MAX: Final = 64
FLOWS_MAX: Final = 16  # of one path
LABELS_MAX: Final = 3  # that are kept of one hop, from the top
HOP_TEXT_MAX: Final = 128  # characters of one hop as text; three labels have room
UNKNOWN_HOP: Final = "*"

_LABEL: Final = re.compile(r"\[L=(\d{1,7}),E=([0-7]),S=([01]),T=(\d{1,3})\]", re.ASCII)
_LABEL_MAX: Final = (1 << 20) - 1
_TTL_MAX: Final = 255
_FINGERPRINT_SIZE: Final = 8  # octets


class TraceProtocol(StrEnum):
    """What carries the packets whose way is traced."""

    ICMP = "icmp"
    UDP = "udp"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class Label:
    """An entry of an MPLS label stack (RFC 3032 §2.1), as a router tells it by RFC 4950."""

    value: int  # 20 bits
    traffic_class: int = 0  # 3 bits, formerly EXP
    bottom: bool = True  # of the stack
    ttl: int = 1

    def __str__(self) -> str:
        return f"[L={self.value},E={self.traffic_class},S={self.bottom:d},T={self.ttl}]"


@dataclass(frozen=True, slots=True)
class Hop:
    """Who let a packet of one TTL end: a router, or the target. `address` None: nobody said."""

    address: str | None
    labels: tuple[Label, ...] = ()  # the top of the stack first; at most `LABELS_MAX`

    def __str__(self) -> str:
        """Return the address or `*`, and behind a space its labels."""
        labels = "".join(map(str, self.labels))
        return f"{self.address or UNKNOWN_HOP} {labels}".rstrip()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` writes.

        Raises:
            ValueError: too long, no address, or labels that are none.
        """
        if len(text) > HOP_TEXT_MAX:
            raise ValueError(f"hop has {len(text)} characters, at most {HOP_TEXT_MAX}")
        if not (text.isascii() and text.isprintable()):
            raise ValueError("hop has other characters than printable ASCII")
        address, space, rest = text.partition(" ")
        labels = tuple(map(_label, _LABEL.findall(rest)))
        if len(labels) > LABELS_MAX:
            raise ValueError(f"hop has {len(labels)} labels, at most {LABELS_MAX}")
        if "".join(map(str, labels)) != rest or bool(space) != bool(labels):
            raise ValueError("hop has labels not of the form [L=16001,E=0,S=1,T=1]")
        if address == UNKNOWN_HOP:
            return cls(None, labels)
        if str(ip_address(address)) != address:  # also ValueError: no address at all
            raise ValueError("hop has an address in another form than the shortest")
        return cls(address, labels)

    @property
    def key(self) -> str:
        """What two sights of one hop have in common: TTL and class of labels vary."""
        return "/".join((self.address or UNKNOWN_HOP, *(str(x.value) for x in self.labels)))

    def matches(self, other: Hop) -> bool:
        """Whether both may be the same hop: an unknown one may be any."""
        return None in (self.address, other.address) or self.key == other.key


@dataclass(frozen=True, slots=True)
class Route:
    """The way of one flow: packets with the same addresses, protocol and ports.

    `hops` begin at the router next to the source. If `reached`, the last one is the target;
    else it is the last that was heard of. `path_mtu` is in octets; None: not known.
    """

    flow: int  # its index among the flows of the path
    protocol: TraceProtocol
    hops: tuple[Hop, ...]
    reached: bool
    path_mtu: int | None = None

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the hops and whether the target was reached."""
        text = "\n".join((*(hop.key for hop in self.hops), str(int(self.reached))))
        return hashlib.blake2b(text.encode(), digest_size=_FINGERPRINT_SIZE).hexdigest()

    def completed(self, earlier: Route) -> Route:
        """Return this route with its unknown hops as an earlier sight of the same one knew them."""
        return replace(self, hops=tuple(_completed(self, earlier)))


@dataclass(frozen=True, slots=True)
class RouteObservation:
    """One sight of a path's route. With `previous` it is a change: the route was that before."""

    path: Path
    route: Route
    seen_ns: int  # Unix time at which the trace ended
    previous: Route | None = None
    previous_seen_ns: int | None = None  # when that was seen last; with `previous` only


def same_route(a: Route, b: Route) -> bool:
    """Whether two sights may be of one route.

    Unknown hops match any, those behind the last one of a route that was not reached as well.
    """
    if a.reached != b.reached or (a.reached and len(a.hops) != len(b.hops)):
        return False
    return all(one.matches(other) for one, other in zip(a.hops, b.hops, strict=False))


def _completed(route: Route, earlier: Route) -> Iterator[Hop]:
    for ours, theirs in zip_longest(route.hops, earlier.hops):
        if theirs is None or (ours is not None and ours.address is not None):
            yield ours
        else:
            yield theirs


def _label(fields: tuple[str, str, str, str]) -> Label:
    value, traffic_class, bottom, ttl = map(int, fields)
    if value > _LABEL_MAX or ttl > _TTL_MAX:
        raise ValueError(f"label {value} with TTL {ttl}: at most {_LABEL_MAX} and {_TTL_MAX}")
    return Label(value, traffic_class, bool(bottom), ttl)
