"""Where a target is: `HOST[:PORT]` as people write it, and the socket address behind it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

from netslo.model import Endpoint

_PORT_MAX = 65535


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """A resolved UDP address: what `socket` wants for the family."""

    family: socket.AddressFamily
    sockaddr: tuple[Any, ...]

    def __str__(self) -> str:
        return str(Endpoint(self.sockaddr[0], self.sockaddr[1]))


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
    try:
        found = socket.getaddrinfo(
            endpoint.host,
            endpoint.port,
            family=family or socket.AF_UNSPEC,
            type=socket.SOCK_DGRAM,
        )
    except UnicodeError as error:  # a label too long or empty, found by the IDNA codec
        raise socket.gaierror(socket.EAI_NONAME, f"not a host name: {error}") from error
    chosen, _, _, _, sockaddr = found[0]
    return SocketAddress(chosen, sockaddr)
