"""`estate.yaml`: read, checked whole, and made into an Estate."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from netslo.config.fields import Duration, Model, Name, Octets, Rate
from netslo.config.services_file import ServiceModel, new_service, service_problems
from netslo.config.validation import problem_at, validate, values
from netslo.config.yaml_lines import Document, load_documents
from netslo.errors import ConfigurationError, Problem
from netslo.estate import Estate, Link, ProbingPlan, TestingPlan, TraceSettings
from netslo.model import (
    DSCP_MAX,
    Direction,
    Endpoint,
    Location,
    ProbeKind,
    Site,
    Tier,
    TrafficClass,
)
from netslo.route import FLOWS_MAX, TraceProtocol

FILE_NAME: Final = "estate.yaml"
INTERVAL_S_MIN: Final = 0.001
SITES_MAX: Final = 1000
SERVICES_MAX: Final = 1000
SOURCE_PORTS_MAX: Final = 16
TRACE_INTERVAL_S_MIN: Final = 10.0
TESTS_INTERVAL_S_MIN: Final = 60.0  # of the tests of one link
TEST_S_MAX: Final = 120.0
STREAMS_MAX: Final = 16
_PORT_MAX: Final = 65_535
_WANTS_PORT: Final = "must be HOST:PORT or [IPv6]:PORT, with a port from 1 to 65535"
_TRACE: Final = TraceSettings()  # unless the file says otherwise
_KINDS: Final = (ProbeKind.STAMP.value, ProbeKind.ICMP.value)


def _kind(value: object) -> ProbeKind:
    """Read a kind of probe that an estate may ask for."""
    if value not in _KINDS:
        raise ValueError(f"must be {' or '.join(_KINDS)}")
    return ProbeKind(value)


def _key_file(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise ValueError("must name a file with a key, relative to this one's folder")
    return text


def _authentication(value: object) -> object:
    """Let `none` stand for a site whose packets are not authenticated, whatever the estate's."""
    if value == "none":
        return {"key_file": None}
    if not isinstance(value, dict):
        raise ValueError("must be {key_file: FILE} or none")  # noqa: TRY004 - Pydantic's protocol
    return value


def _tracing(value: object) -> object:
    """Let `off` stand for none; YAML 1.1 reads that word as false."""
    if value in (False, "off"):
        return None
    if not isinstance(value, dict):
        raise ValueError("must be {interval: 5m} or off")  # noqa: TRY004 - Pydantic's protocol
    return value


def _testing(value: object) -> object:
    """Let `none` stand for an estate whose links are not tested."""
    if value == "none":
        return None
    if not isinstance(value, dict):
        raise ValueError("must be {method: train, interval: 1h ...} or none")  # noqa: TRY004
    return value


def _budget(value: object) -> object:
    """Let the day be said that a budget is for anyway: `2GB/day`."""
    return value.removesuffix("/day") if isinstance(value, str) else value


def _endpoint(value: object) -> Endpoint:
    """Read `host:port` or `[IPv6]:port`; without a port, it is 0."""
    text = str(value)
    if _has_no_port(text):
        host, port = text, ""
    else:
        host, _, port = text.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) <= _PORT_MAX:
            raise ValueError(_WANTS_PORT)
    bare = host.removeprefix("[").removesuffix("]")
    if (":" in bare) != (host != bare):
        raise ValueError("must have an IPv6 address in brackets, and nothing else")
    return Endpoint(bare, int(port or 0))


def _has_no_port(text: str) -> bool:
    return bool(text) and (":" not in text or text.endswith("]"))


Address = Annotated[Endpoint, BeforeValidator(_endpoint)]
Kind = Annotated[ProbeKind, BeforeValidator(_kind)]
Budget = Annotated[Octets, BeforeValidator(_budget)]
KeyFile = Annotated[str, AfterValidator(_key_file)]


class _Class(Model):
    name: Name
    dscp: int = Field(ge=0, le=DSCP_MAX)


class _Trace(Model):
    interval: Duration = Field(default=_TRACE.interval_s, ge=TRACE_INTERVAL_S_MIN, le=86_400)
    protocol: Annotated[TraceProtocol, Field(strict=False)] = TraceProtocol.UDP
    port: Annotated[int, Field(ge=1, le=_PORT_MAX)] | None = None
    flows: int = Field(default=_TRACE.flows, ge=1, le=FLOWS_MAX)

    @model_validator(mode="after")
    def _has_ports(self) -> Self:
        if self.port is not None and self.protocol is TraceProtocol.ICMP:
            raise ValueError("must have no port: ICMP has none")
        return self


class _Testing(Model):
    method: Literal["train", "tcp"] = "train"
    interval: Duration = Field(default=3600.0, ge=TESTS_INTERVAL_S_MIN)
    seconds: float = Field(default=10.0, ge=1, le=TEST_S_MAX, allow_inf_nan=False)
    direction: Literal["forward", "reverse", "both"] = "both"
    streams: int = Field(default=1, ge=1, le=STREAMS_MAX)
    budget: Budget = Field(default=2_000_000_000)

    def plan(self) -> TestingPlan:
        both = (Direction.FORWARD, Direction.REVERSE)
        return TestingPlan(
            self.method,
            self.interval,
            self.seconds,
            both if self.direction == "both" else (Direction(self.direction),),
            self.streams,
            self.budget,
        )


class _Probing(Model):
    interval: Duration = Field(ge=INTERVAL_S_MIN)
    timeout: Duration = Field(le=60.0)
    source_ports: Annotated[int, Field(ge=1, le=SOURCE_PORTS_MAX)] | None = None
    trace: Annotated[_Trace | None, BeforeValidator(_tracing)] = _Trace()
    bandwidth: Annotated[_Testing | None, BeforeValidator(_testing)] = Field(
        default_factory=_Testing
    )  # None: written as none


class _Authentication(Model):
    key_file: KeyFile


class _SiteAuthentication(Model):
    key_file: KeyFile | None  # None: written as none


class _Location(Model):
    lat: float = Field(ge=-90, le=90)
    lon: float = Field(ge=-180, le=180)


class _Site(Model):
    name: Name
    tier: Annotated[Tier, Field(strict=False)]
    region: Name
    residency_zone: Name
    location: _Location
    addresses: Annotated[list[Address], Field(min_length=1, max_length=16)]
    probe: Kind = ProbeKind.STAMP
    bandwidth: Annotated[int, Field(ge=1, le=_PORT_MAX)] | None = None  # TCP and UDP port of tests
    authentication: Annotated[_SiteAuthentication | None, BeforeValidator(_authentication)] = None


class _Link(Model):
    between: Annotated[list[Name], Field(min_length=2, max_length=2)]
    capacity: Rate
    cost_per_gigabyte: float = Field(ge=0, allow_inf_nan=False)
    probe: Kind | None = None


class _File(Model):
    version: int = Field(ge=1, le=1)
    name: Name
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    classes: Annotated[list[_Class], Field(min_length=1, max_length=16)]
    probing: _Probing
    authentication: _Authentication | None = None
    sites: Annotated[list[_Site], Field(min_length=2, max_length=SITES_MAX)]
    links: list[_Link] = Field(default_factory=list)
    services: list[ServiceModel] = Field(default_factory=list, max_length=SERVICES_MAX)


def load_estate(directory: pathlib.Path) -> Estate:
    """Read `directory/estate.yaml`.

    Raises:
        ConfigurationError: with every problem of the file, each with line, field and value.
    """
    file = directory / FILE_NAME
    documents = load_documents(file)
    if len(documents) != 1:
        expected = "is empty" if not documents else "must have one document, not several"
        raise ConfigurationError([Problem(str(file), None, "", "", expected)])
    document = documents[0]
    problems = list(_relations(document))
    try:
        content = validate(_File, document)
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        raise ConfigurationError(sorted(problems, key=lambda problem: problem.line or 0))
    return _estate(content, directory)


def _estate(content: _File, directory: pathlib.Path) -> Estate:
    sites = [
        Site(
            name=site.name,
            tier=site.tier,
            region=site.region,
            residency_zone=site.residency_zone,
            location=Location(site.location.lat, site.location.lon),
            addresses=tuple(site.addresses),
        )
        for site in content.sites
    ]
    return Estate(
        name=content.name,
        currency=content.currency,
        sites={site.name: site for site in sites},
        classes={item.name: TrafficClass(item.name, item.dscp) for item in content.classes},
        links=tuple(
            Link(
                link.between[0],
                link.between[1],
                link.capacity,
                link.cost_per_gigabyte,
                link.probe,
            )
            for link in content.links
        ),
        plan=ProbingPlan(
            content.probing.interval,
            content.probing.timeout,
            content.probing.source_ports,
            _trace_settings(content.probing.trace),
        ),
        probes={site.name: site.probe for site in content.sites},
        testing=None if content.probing.bandwidth is None else content.probing.bandwidth.plan(),
        bandwidth_ports={
            site.name: site.bandwidth for site in content.sites if site.bandwidth is not None
        },
        key_files=dict(_key_files(content, directory)),
        services={
            each.name: new_service(each, [site.name for site in content.sites], directory)
            for each in content.services
        },
    )


def _trace_settings(content: _Trace | None) -> TraceSettings | None:
    if content is None:
        return None
    return TraceSettings(content.interval, content.protocol, content.port, content.flows)


def _key_files(content: _File, directory: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    """Yield the sites whose reflectors have a key, and where it is: their own or the estate's."""
    for site in content.sites:
        found = site.authentication or content.authentication
        if found is not None and found.key_file is not None and site.probe is ProbeKind.STAMP:
            yield site.name, directory / found.key_file


def _relations(document: Document) -> Iterator[Problem]:
    """Find what no single field shows, in the raw data: so also beside other problems."""
    yield from _repeated(document, "sites", "name")
    yield from _repeated(document, "classes", "name")
    yield from _repeated(document, "classes", "dscp")
    yield from _addresses(document)
    yield from _ports(document)
    yield from _needless_keys(document)
    yield from _bandwidth_ports(document)
    yield from _links(document)
    yield from _repeated(document, "services", "name")
    yield from service_problems(document)


def _repeated(document: Document, section: str, key: str) -> Iterator[Problem]:
    seen: dict[Any, int] = {}
    for location, value in values(document, section, key):
        line = document.line(location)
        if value in seen:
            yield problem_at(document, location, value, f"is already used on line {seen[value]}")
        seen.setdefault(value, line)


def _addresses(document: Document) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for location, addresses in values(document, "sites", "addresses", of=list):
        for i, address in enumerate(addresses):
            place = (*location, i)
            if isinstance(address, str) and address in seen:
                expected = f"is already used on line {seen[address]}"
                yield problem_at(document, place, address, expected)
            seen.setdefault(str(address), document.line(place))


def _ports(document: Document) -> Iterator[Problem]:
    """Find addresses without a port where a reflector must have one."""
    echoing = {place[1] for place, kind in values(document, "sites", "probe") if kind == "icmp"}
    for location, addresses in values(document, "sites", "addresses", of=list):
        for i, address in enumerate(addresses):
            if location[1] not in echoing and isinstance(address, str) and _has_no_port(address):
                yield problem_at(document, (*location, i), address, _WANTS_PORT)


def _needless_keys(document: Document) -> Iterator[Problem]:
    echoing = {place[1] for place, kind in values(document, "sites", "probe") if kind == "icmp"}
    for location, _ in values(document, "sites", "authentication", of=dict):
        if location[1] in echoing:
            expected = "is of no use to a site that is probed by ICMP, which has no keys"
            yield problem_at(document, location, "", expected)


def _bandwidth_ports(document: Document) -> Iterator[Problem]:
    """Find ports of bandwidth tests that something else answers at."""
    taken: dict[str, int] = {}
    addresses = {
        place[1]: [str(each) for each in found]
        for place, found in values(document, "sites", "addresses", of=list)
    }
    for location, _ in values(document, "sites", "addresses", of=list):
        for i, address in enumerate(addresses[location[1]]):
            taken[address] = document.line((*location, i))
    for location, port in values(document, "sites", "bandwidth", of=int):
        first = next(iter(addresses.get(location[1], ())), "")
        host = first if _has_no_port(first) else first.rpartition(":")[0]
        place = f"{host}:{port}"
        if host and place in taken:
            expected = f"must be a port of its own: {place} is already used on line {taken[place]}"
            yield problem_at(document, location, port, expected)
        taken.setdefault(place, document.line(location))


def _links(document: Document) -> Iterator[Problem]:
    known = {value for _, value in values(document, "sites", "name")}
    seen: dict[frozenset[str], int] = {}
    for location, ends in values(document, "links", "between", of=list):
        for i, end in enumerate(ends):
            if isinstance(end, str) and end not in known:
                expected = f"is no site; known are {', '.join(sorted(map(str, known)))}"
                yield problem_at(document, (*location, i), end, expected)
        if not all(isinstance(end, str) for end in ends) or len(ends) != 2:  # noqa: PLR2004
            continue
        pair = frozenset(ends)
        if len(pair) == 1:
            yield problem_at(document, location, ends[0], "must join two different sites")
        elif pair in seen:
            expected = f"is the same link as on line {seen[pair]}"
            yield problem_at(document, location, " - ".join(ends), expected)
        seen.setdefault(pair, document.line(location))
