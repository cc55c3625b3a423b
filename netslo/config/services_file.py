"""The `services` of `estate.yaml`: what is asked of whom, and which answers are right."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from netslo.config.fields import Duration, Model, Name
from netslo.config.validation import problem_at, problems_from, values
from netslo.config.yaml_lines import Document
from netslo.errors import ConfigurationError, Problem
from netslo.model import ProbeKind, is_name
from netslo.service import (
    BODY_MAX,
    DEFAULT_PORTS,
    RCODES,
    RECORD_TYPES,
    REDIRECTS_MAX,
    DnsRequest,
    HttpRequest,
    Request,
    Service,
    TcpRequest,
    TlsRequest,
    Transport,
    Url,
    Where,
    normal_record,
    parse_host,
    parse_url,
)

INTERVAL_S_MIN: Final = 0.1
INTERVAL_S: Final = 30.0
TIMEOUT_S: Final = 5.0
UNDER_WAY_MAX: Final = 64  # requests of one path that may wait for their answers
TEXTS_MAX: Final = 16
TEXT_LENGTH_MAX: Final = 1000
BODY_LIMIT: Final = 64 << 20
_STATUS_MIN, _STATUS_MAX = 100, 599
_STATUS_CLASS: Final = re.compile(r"[1-5]xx\Z")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # RFC 9110 §5.6.2
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?\Z")
_OURS: Final = frozenset(
    {"connection", "content-length", "transfer-encoding", "accept-encoding", "upgrade", "te"}
)
_KINDS: Final = ("tcp", "tls", "http", "dns")
_DNS_PORTS: Final = {Transport.UDP: 53, Transport.TCP: 53, Transport.TLS: 853}


def _url(value: object) -> Url:
    if not isinstance(value, str):
        raise ValueError("must be a URL")  # noqa: TRY004 - Pydantic's protocol
    return parse_url(value)


def read_statuses(value: object) -> tuple[tuple[int, int], ...]:
    """Read one or several of `200` and `2xx` as ranges.

    Raises:
        ValueError: it is something else.
    """
    found = []
    for each in value if isinstance(value, list) else [value]:
        text = str(each)
        if _STATUS_CLASS.match(text):
            found.append((int(text[0]) * 100, int(text[0]) * 100 + 99))
        elif text.isdecimal() and text.isascii() and _STATUS_MIN <= int(text) <= _STATUS_MAX:
            found.append((int(text), int(text)))
        else:
            raise ValueError("must be statuses such as 200 or 2xx")
    if not found:
        raise ValueError("must have a status")
    return tuple(found)


def read_header(name: str, value: str) -> tuple[str, str]:
    """Check a header of a request.

    Raises:
        ValueError: it is none, or one that we set.
    """
    if not _HEADER_NAME.match(name) or not _HEADER_VALUE.match(value):
        raise ValueError(f"header {name!r} must be a name and one line of ASCII")
    if name.lower() in _OURS:
        raise ValueError(f"header {name!r} is set by the probe itself")
    return name, value


def _headers(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise ValueError("must be a mapping of names to texts")
    return tuple(read_header(str(name), text) for name, text in value.items())


def _one_of(allowed: Sequence[str]) -> AfterValidator:
    def check(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return AfterValidator(check)


def _query_name(text: str) -> str:
    if text == ".":
        return text
    return parse_host(text)


def _ca_file(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise ValueError("must name a PEM file, relative to this one's folder")
    return text


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _ip_version(ip: int) -> int:
    if ip not in {4, 6}:
        raise ValueError("must be 4 or 6")
    return ip


Host = Annotated[str, AfterValidator(parse_host)]
Port = Annotated[int, Field(ge=1, le=65_535)]
IpVersion = Annotated[int, AfterValidator(_ip_version)]
Texts = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=TEXT_LENGTH_MAX)]],
    BeforeValidator(_as_list),
    Field(max_length=TEXTS_MAX),
]


class _Tcp(Model):
    host: Host
    port: Port
    ip: IpVersion | None = None

    def request(self) -> Request:
        return TcpRequest(Where(self.host, self.port, self.ip))


class _Tls(Model):
    host: Host
    port: Port = DEFAULT_PORTS["https"]
    ip: IpVersion | None = None
    server_name: Host | None = None

    def request(self) -> Request:
        return TlsRequest(Where(self.host, self.port, self.ip), self.server_name or self.host)


class _Http(Model):
    url: Annotated[Url, BeforeValidator(_url)]
    ip: IpVersion | None = None
    method: Annotated[str, _one_of(("GET", "HEAD"))] = "GET"
    headers: Annotated[tuple[tuple[str, str], ...], BeforeValidator(_headers)] = ()
    status: Annotated[tuple[tuple[int, int], ...], BeforeValidator(read_statuses)] = ((200, 299),)
    contains: Texts = Field(default_factory=list)
    lacks: Texts = Field(default_factory=list)
    size_min: int = Field(default=0, ge=0, le=BODY_LIMIT)
    size_max: Annotated[int, Field(ge=0, le=BODY_LIMIT)] | None = None
    body_max: int = Field(default=BODY_MAX, ge=0, le=BODY_LIMIT)
    follow_redirects: bool = False
    redirect_hosts: Annotated[list[Host], Field(max_length=TEXTS_MAX)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _agrees(self) -> _Http:
        if self.redirect_hosts and not self.follow_redirects:
            raise ValueError("has redirect_hosts, which need follow_redirects: true")
        if self.method == "HEAD" and (self.contains or self.lacks or self.size_min):
            raise ValueError("asks by HEAD, which brings no body to check")
        if self.size_max is not None and self.size_max < self.size_min:
            raise ValueError(f"has size_max {self.size_max} below size_min {self.size_min}")
        return self

    def request(self) -> Request:
        return HttpRequest(
            url=self.url,
            ip=self.ip,
            method=self.method,
            headers=self.headers,
            statuses=self.status,
            contains=tuple(self.contains),
            lacks=tuple(self.lacks),
            size_min=self.size_min,
            size_max=self.size_max,
            body_max=max(self.body_max, self.size_max or 0, self.size_min),
            redirects_max=REDIRECTS_MAX if self.follow_redirects else 0,
            redirect_hosts=tuple(self.redirect_hosts),
        )


class _Dns(Model):
    host: Host
    port: Port | None = None
    ip: IpVersion | None = None
    name: Annotated[str, AfterValidator(_query_name)]
    type: Annotated[str, _one_of(RECORD_TYPES)] = "A"
    transport: Annotated[Transport, Field(strict=False)] = Transport.UDP
    rcode: Annotated[str, _one_of(RCODES)] = "NOERROR"
    records: Texts = Field(default_factory=list)
    recursion: bool = True
    server_name: Host | None = None

    @model_validator(mode="after")
    def _agrees(self) -> _Dns:
        for record in self.records:
            try:
                normal_record(self.type, record)
            except ValueError as error:
                raise ValueError(f"has a record {record!r} that is no {self.type}") from error
        if self.records and self.rcode != "NOERROR":
            raise ValueError(f"wants records of an answer {self.rcode}, which has none")
        if self.server_name and self.transport is not Transport.TLS:
            raise ValueError("has a server_name, which needs transport: tls")
        return self

    def request(self) -> Request:
        return DnsRequest(
            where=Where(self.host, self.port or _DNS_PORTS[self.transport], self.ip),
            name=self.name,
            record_type=self.type,
            transport=self.transport,
            rcode=self.rcode,
            records=tuple(normal_record(self.type, record) for record in self.records),
            recursion=self.recursion,
            server_name=self.server_name or self.host,
        )


class ServiceModel(Model):
    """One entry of `services`."""

    name: Name
    traffic_class: Name = Field(alias="class")
    sources: Annotated[list[Name], Field(min_length=1)] | None = Field(default=None, alias="from")
    site: Name | None = None
    interval: Duration = Field(default=INTERVAL_S, ge=INTERVAL_S_MIN)
    timeout: Duration = Field(default=TIMEOUT_S, le=60.0)
    ca_file: Annotated[str, AfterValidator(_ca_file)] | None = None
    tcp: _Tcp | None = None
    tls: _Tls | None = None
    http: _Http | None = None
    dns: _Dns | None = None

    @model_validator(mode="after")
    def _agrees(self) -> ServiceModel:
        asked = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(asked) != 1:
            raise ValueError(f"must have exactly one of {', '.join(_KINDS)}")
        if self.timeout > UNDER_WAY_MAX * self.interval:
            raise ValueError(
                f"has a timeout of more than {UNDER_WAY_MAX} intervals: "
                "so many requests would be under way at once"
            )
        return self


def new_service(model: ServiceModel, sites: Sequence[str], directory: pathlib.Path) -> Service:
    """Return the service that a checked entry describes."""
    asked = model.tcp or model.tls or model.http or model.dns
    assert asked is not None
    return Service(
        name=model.name,
        request=asked.request(),
        traffic_class=model.traffic_class,
        sources=tuple(dict.fromkeys(model.sources or sites)),
        interval_s=model.interval,
        timeout_s=model.timeout,
        site=model.site,
        ca_file=None if model.ca_file is None else directory / model.ca_file,
    )


def service_problems(document: Document) -> Iterator[Problem]:
    """Find names in `services` that the rest of the file does not have, or has already."""
    sites = {value for _, value in values(document, "sites", "name")}
    classes = {value for _, value in values(document, "classes", "name")}
    for place, name in values(document, "services", "name"):
        if name in sites:
            yield problem_at(document, place, name, "is already the name of a site")
    for place, name in values(document, "services", "class"):
        if name not in classes:
            yield problem_at(document, place, name, f"is no class; known are {_listed(classes)}")
    for place, name in values(document, "services", "site"):
        if name not in sites:
            yield problem_at(document, place, name, f"is no site; known are {_listed(sites)}")
    for place, names in values(document, "services", "from", of=list):
        for i, name in enumerate(names):
            if isinstance(name, str) and is_name(name) and name not in sites:
                expected = f"is no site; known are {_listed(sites)}"
                yield problem_at(document, (*place, i), name, expected)


def _listed(names: set[Any]) -> str:
    return ", ".join(sorted(map(str, names)))


def request_from(kind: ProbeKind, fields: Mapping[str, object]) -> Request:
    """Return what the fields of a service, as the file would have them, ask for.

    Raises:
        ConfigurationError: with every fault of them.
    """
    model, document = _MODELS[kind], Document(pathlib.Path(), dict(fields), {}, {})
    try:
        return model.model_validate(document.data).request()
    except ValidationError as error:
        found = problems_from(error, document, model)
        raise ConfigurationError("\n".join(_without_file(each) for each in found)) from error


def _without_file(problem: Problem) -> str:
    what = " = ".join(part for part in (problem.field, problem.value) if part)
    return f"{what}: {problem.expected}" if what else f"the request {problem.expected}"


_MODELS: Final[Mapping[ProbeKind, type[_Tcp | _Tls | _Http | _Dns]]] = {
    ProbeKind.TCP: _Tcp,
    ProbeKind.TLS: _Tls,
    ProbeKind.HTTP: _Http,
    ProbeKind.DNS: _Dns,
}
