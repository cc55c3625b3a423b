"""Services that sites use: what is asked of them, what is a right answer, and how it can end."""

from __future__ import annotations

import ipaddress
import pathlib
import re
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from netslo.model import ProbeKind

SERVICE_KINDS: Final = (ProbeKind.TCP, ProbeKind.TLS, ProbeKind.HTTP, ProbeKind.DNS)
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
BODY_MAX: Final = 1 << 20  # octets of an answer's body, unless the configuration says otherwise
REDIRECTS_MAX: Final = 10
RECORD_TYPES: Final = (
    "A", "AAAA", "CAA", "CNAME", "HTTPS", "MX", "NS", "PTR", "SOA", "SRV", "SVCB", "TXT",
)  # fmt: skip
RCODES: Final = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")

_PORT_MAX: Final = 65_535
_HOST_LENGTH_MAX: Final = 253  # RFC 1035 §2.3.4, without the last dot
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\Z")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+\Z")


class ServiceResult(StrEnum):
    """How an exchange with a service ended; a label, so a short list that no peer can extend.

    All but OK are failures as a user of the service meets them.
    """

    OK = "ok"
    UNRESOLVED = "unresolved"  # the service's name has no address
    REFUSED = "refused"  # nothing listens on the port
    UNREACHABLE = "unreachable"  # a router says that there is no way
    RESET = "reset"  # the connection was cut by a reset
    CLOSED = "closed"  # the connection was ended before the answer was whole
    TIMEOUT = "timeout"
    TLS_ERROR = "tls_error"  # the handshake failed, but not by the certificate
    CERTIFICATE_EXPIRED = "certificate_expired"  # or is not valid yet
    CERTIFICATE_NAME = "certificate_name"  # is for somebody else
    CERTIFICATE_UNTRUSTED = "certificate_untrusted"  # no authority we trust stands behind it
    MALFORMED = "malformed"  # the answer is not of the protocol
    TOO_LARGE = "too_large"  # the answer is longer than we read
    WRONG_STATUS = "wrong_status"
    WRONG_SIZE = "wrong_size"
    WRONG_BODY = "wrong_body"
    REDIRECT_REFUSED = "redirect_refused"  # it leads to where we were not asked to go
    TOO_MANY_REDIRECTS = "too_many_redirects"
    SERVFAIL = "servfail"
    NXDOMAIN = "nxdomain"
    DNS_REFUSED = "dns_refused"
    DNS_ERROR = "dns_error"  # another rcode than was expected
    TRUNCATED = "truncated"  # a DNS answer that did not fit one datagram
    WRONG_RECORDS = "wrong_records"


class Phase(StrEnum):
    """The parts of an exchange, one after the other; together they are the whole."""

    DNS = "dns"  # the name's addresses, asked of the system
    CONNECT = "connect"  # TCP's handshake
    TLS = "tls"
    FIRST_BYTE = "first_byte"  # from the request to the first octet of the answer
    TRANSFER = "transfer"  # from there to the last


class Transport(StrEnum):
    """What carries a DNS query."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"  # RFC 7858


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute http or https URL, taken apart; `host` has no brackets."""

    scheme: str
    host: str
    port: int
    target: str  # path and query, as they go on the wire

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Host, and the port where it is not the scheme's own, as the Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


@dataclass(frozen=True, slots=True)
class Where:
    """A host (name or address), a port, and the IP version to use, None for either."""

    host: str
    port: int
    ip: int | None = None  # 4 or 6


@dataclass(frozen=True, slots=True)
class TcpRequest:
    """A connection and nothing more."""

    where: Where


@dataclass(frozen=True, slots=True)
class TlsRequest:
    """A connection and a TLS handshake; `server_name` is whom the certificate must be for."""

    where: Where
    server_name: str


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request of HTTP/1.1, and what of its answer is right.

    Redirects are followed to the URL's own host and to `redirect_hosts`, and only if
    `redirects_max` is not 0.
    """

    url: Url
    ip: int | None = None
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    statuses: tuple[tuple[int, int], ...] = ((200, 299),)  # inclusive ranges
    contains: tuple[str, ...] = ()  # texts that the body must have
    lacks: tuple[str, ...] = ()  # texts that it must not have
    size_min: int = 0  # octets of the body
    size_max: int | None = None
    body_max: int = BODY_MAX  # more is not read
    redirects_max: int = 0
    redirect_hosts: tuple[str, ...] = ()

    def expects(self, status: int) -> bool:
        """Whether a status is right."""
        return any(low <= status <= high for low, high in self.statuses)


@dataclass(frozen=True, slots=True)
class DnsRequest:
    """A query to one server, and what of its answer is right.

    With no `records`, an answer of rcode NOERROR must have at least one of the type asked for.
    """

    where: Where
    name: str
    record_type: str = "A"
    transport: Transport = Transport.UDP
    rcode: str = "NOERROR"
    records: tuple[str, ...] = ()  # each of them must be in the answer, as `normal_record` has it
    recursion: bool = True
    server_name: str = ""  # over TLS: whom the certificate must be for


Request: TypeAlias = TcpRequest | TlsRequest | HttpRequest | DnsRequest


@dataclass(frozen=True, slots=True)
class Service:
    """Something that is used from `sources`; each of them is a path that ends at its name."""

    name: str
    request: Request
    traffic_class: str
    sources: tuple[str, ...]
    interval_s: float
    timeout_s: float
    site: str | None = None  # where it stands
    ca_file: pathlib.Path | None = None  # whom to trust instead of the system's authorities

    @property
    def kind(self) -> ProbeKind:
        return kind_of(self.request)


def kind_of(request: Request) -> ProbeKind:
    """Return what kind of probe makes a request."""
    match request:
        case TcpRequest():
            return ProbeKind.TCP
        case TlsRequest():
            return ProbeKind.TLS
        case HttpRequest():
            return ProbeKind.HTTP
        case DnsRequest():
            return ProbeKind.DNS


def where_of(request: Request) -> Where:
    """Return where a request goes first."""
    if isinstance(request, HttpRequest):
        return Where(request.url.host, request.url.port, request.ip)
    return request.where


def wants_trust(request: Request) -> bool:
    """Whether a request has to judge a certificate."""
    match request:
        case TcpRequest():
            return False
        case TlsRequest():
            return True
        case HttpRequest():
            return request.url.secure or request.redirects_max > 0
        case DnsRequest():
            return request.transport is Transport.TLS


def parse_host(text: str) -> str:
    """Return a host's name in ASCII, lower case and without the last dot, or its address.

    Raises:
        ValueError: it is neither.
    """
    if text.startswith("[") or text.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(text[1:-1] if text[0] + text[-1] == "[]" else ""))
        except ValueError as error:
            raise ValueError(f"{text!r} is no IPv6 address") from error
    with suppress(ValueError):
        return str(ipaddress.ip_address(text))
    try:
        name = text.encode("idna").decode("ascii") if not text.isascii() else text
    except UnicodeError as error:
        raise ValueError(f"{text!r} is no host name") from error
    name = name.removesuffix(".").lower()
    if len(name) > _HOST_LENGTH_MAX or not all(map(_LABEL.match, name.split("."))):
        raise ValueError(f"{text!r} is no host name and no address")
    if name.rpartition(".")[2].isdecimal():  # what inet_aton would take for an address
        raise ValueError(f"{text!r} is no address; expected four numbers from 0 to 255")
    return name


def parse_url(text: str) -> Url:
    """Read an absolute http or https URL.

    Raises:
        ValueError: it is none, has a user's name in it, or characters that must be encoded.
    """
    if not _VISIBLE.match(text):
        raise ValueError("must be a URL without spaces; other characters are written as %XX")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"must be a URL: {error}") from error
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError("must be a URL that begins with http:// or https:// and a host")
    if "@" in parts.netloc:
        raise ValueError("must have no user name in it; give an Authorization header")
    if port == 0:
        raise ValueError(f"must have a port from 1 to {_PORT_MAX}")
    query = f"?{parts.query}" if parts.query else ""
    return Url(
        parts.scheme,
        parse_host(parts.hostname),
        port or DEFAULT_PORTS[parts.scheme],
        (parts.path or "/") + query,
    )


def normal_record(record_type: str, text: str) -> str:
    """Return the text of a DNS record in the one form in which records are compared.

    Raises:
        ValueError: it is no address, where an address is the record.
    """
    if record_type == "A":
        return str(ipaddress.IPv4Address(text))
    if record_type == "AAAA":
        return str(ipaddress.IPv6Address(text))
    if record_type == "TXT":
        return text.strip('"')
    return " ".join(word.removesuffix(".").lower() for word in text.split())
