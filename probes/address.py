"""Where a target is: `HOST[:PORT]` as people write it, and the socket address behind it."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from netslo.errors import ConfigurationError
from netslo.model import Endpoint

ADDRESSES_MAX: Final = 8  # of one name; a name with more is measured at the first of them

_PORT_MAX = 65535
_DISCARD_PORT: Final = 9
_FAMILIES: Final = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
_NO_WAY: Final = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
)


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """A resolved UDP address: what `socket` wants for the family."""

    family: socket.AddressFamily
    sockaddr: tuple[Any, ...]

    @property
    def host(self) -> str:
        """The address as people write it, a link-local one with its zone (RFC 4007 §11)."""
        host, zone = str(self.sockaddr[0]), self.sockaddr[3:4]
        if not any(zone) or "%" in host:
            return host
        try:
            return f"{host}%{socket.if_indextoname(zone[0])}"
        except OSError:  # the interface is gone
            return f"{host}%{zone[0]}"

    def __str__(self) -> str:
        return str(Endpoint(self.host, self.sockaddr[1]))


def parse_endpoint(text: str, default_port: int) -> Endpoint:
    """Read `HOST`, `HOST:PORT`, `ADDRESS6` or `[ADDRESS6]:PORT`.

    Raises:
        ValueError: the host is missing, a bracket is open, or the port is not 0 to 65535.
    """
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not of the form [ADDRESS]:PORT")
        port = rest[1:] if rest else ""
        if rest == ":":
            raise ValueError(f"{text!r} has no port after the colon")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port:
            raise ValueError(f"{text!r} has no port after the colon")
    if not host or any(character.isspace() for character in host):
        raise ValueError(f"{text!r} has no host; expected HOST:PORT")
    if port and not (port.isascii() and port.isdigit() and int(port) <= _PORT_MAX):
        raise ValueError(f"{text!r} has port {port}, expected 0 to {_PORT_MAX}")
    return Endpoint(host, int(port) if port else default_port)


def resolve(endpoint: Endpoint, family: socket.AddressFamily | None = None) -> SocketAddress:
    """Return the address the system prefers (RFC 6724); blocks while it asks.

    Raises:
        OSError: the name does not resolve (socket.gaierror), in `family` if one is given.
    """
    return _ask(endpoint, family or socket.AF_UNSPEC)[0]


def resolve_target(target: Endpoint, family: socket.AddressFamily | None) -> SocketAddress:
    """Return the address of what a user wants to measure; blocks while it asks.

    Raises:
        ConfigurationError: it does not resolve, or nobody may send there.
    """
    try:
        found = resolve(target, family)
    except OSError as error:
        kind = "" if family is None else f" to an address of {_FAMILIES[family]}"
        raise ConfigurationError(
            f"{target.host or repr('')} does not resolve{kind}: {error.strerror}"
        ) from error
    if is_forbidden(found):
        raise ConfigurationError(
            f"{target.host}: expected the address of one host; this is a broadcast address, "
            "or a route of this host prohibits it"
        )
    return found


def resolve_all(endpoint: Endpoint) -> tuple[SocketAddress, ...]:
    """Return every address of a name, IPv6 too, in an order that does not depend on the answer's.

    Addresses to which this host has no route are left out, unless it has one to none of them.
    Blocks while it asks.

    Raises:
        OSError: the name does not resolve (socket.gaierror).
    """
    found = sorted(set(_ask(endpoint)), key=lambda each: (each.family, each.sockaddr))
    routed = [address for address in found if has_route(address)]
    return tuple((routed or found)[:ADDRESSES_MAX])


def read_address(endpoint: Endpoint) -> SocketAddress | None:
    """Return the address an endpoint is written as; None when it has a name. Asks nobody."""
    with contextlib.suppress(OSError):
        return _ask(endpoint, flags=socket.AI_NUMERICHOST)[0]
    return None


def has_route(address: SocketAddress) -> bool:
    """Whether this host knows a way to an address, as far as its routing table tells."""
    try:
        with socket.socket(address.family, socket.SOCK_DGRAM) as sock:
            host, _, *rest = address.sockaddr
            sock.connect((host, _DISCARD_PORT, *rest))  # nothing is sent
    except OSError as error:
        return error.errno not in _NO_WAY
    return True


def is_forbidden(address: SocketAddress) -> bool:
    """Whether this host will not send there: to a broadcast address, or by a prohibited route."""
    try:
        with socket.socket(address.family, socket.SOCK_DGRAM) as sock:
            sock.connect(address.sockaddr)  # nothing is sent
    except OSError as error:
        return error.errno == errno.EACCES
    return False


def _ask(endpoint: Endpoint, family: int = socket.AF_UNSPEC, flags: int = 0) -> list[SocketAddress]:
    try:
        found: Iterable[Any] = socket.getaddrinfo(
            endpoint.host, endpoint.port, family=family, type=socket.SOCK_DGRAM, flags=flags
        )
    except UnicodeError as error:  # a label too long or empty, found by the IDNA codec
        raise socket.gaierror(socket.EAI_NONAME, f"not a host name: {error}") from error
    return [SocketAddress(kind, sockaddr) for kind, _, _, _, sockaddr in found]
