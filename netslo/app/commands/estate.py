"""`netslo estate`: what the configuration says, or everything that is wrong with it."""

from __future__ import annotations

import json
import pathlib
import sys
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from netslo.config.options import config_option, json_option
from netslo.model import Endpoint, ProbeKind
from netslo.service import where_of
from netslo.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from netslo.estate import Estate, TraceSettings
    from netslo.service import Service


@click.group()
def estate() -> None:
    """Check and show estate.yaml."""


@estate.command()
@config_option
@json_option
def check(config_dir: pathlib.Path, *, as_json: bool) -> None:
    """Say every problem of estate.yaml at once, or that there is none.

    Exit status 2 when there is a problem; --json lists them.
    """
    from netslo.config.estate_file import FILE_NAME, load_estate
    from netslo.errors import ConfigurationError

    try:
        found = load_estate(config_dir)
    except ConfigurationError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"problems": [asdict(problem) for problem in error.problems]}))
        sys.exit(error.exit_code)
    if as_json:
        click.echo(json.dumps({"problems": []} | _as_json(found)))
        return
    click.echo(
        f"{config_dir / FILE_NAME}: good. {len(found.sites)} sites, {len(found.classes)} classes, "
        f"{len(found.links)} links, {len(found.paths)} paths" + _services(found)
    )
    for line in (*_tests(found), *_beyond_budget(found)):
        click.echo(line)


@estate.command()
@config_option
@json_option
def show(config_dir: pathlib.Path, *, as_json: bool) -> None:
    """Show sites, links, classes and what is probed."""
    from netslo.config.estate_file import load_estate

    found = load_estate(config_dir)
    if as_json:
        click.echo(json.dumps(_as_json(found), indent=1))
    else:
        _print_tables(found)


def _as_json(found: Estate) -> dict[str, Any]:
    return {
        "name": found.name,
        "currency": found.currency,
        "classes": [{"name": c.name, "dscp": c.dscp} for c in found.classes.values()],
        "probing": {
            "interval": found.plan.interval_s,
            "timeout": found.plan.timeout_s,
            "source_ports": found.plan.source_ports,
            "trace": None if found.plan.trace is None else _trace(found.plan.trace),
            "bandwidth": _testing(found),
        },
        "sites": [
            {
                "name": site.name,
                "tier": site.tier.value,
                "region": site.region,
                "residency_zone": site.residency_zone,
                "location": {"lat": site.location.lat, "lon": site.location.lon},
                "addresses": [_address(address) for address in site.addresses],
                "probe": found.probes[site.name].value,
                "authenticated": site.name in found.key_files,
                "bandwidth": found.bandwidth_ports.get(site.name),
            }
            for site in found.sites.values()
        ],
        "links": [
            {
                "between": [link.a, link.b],
                "capacity": link.capacity_bits_per_second,
                "cost_per_gigabyte": link.cost_per_gigabyte,
                "probe": None if link.probe is None else link.probe.value,
            }
            for link in found.links
        ],
        "paths": [
            {"path": p.id, "scope": found.scope(p).value, "probe": found.probe_kind(p).value}
            for p in found.measured_paths
        ],
        "services": [_service(service) for service in found.services.values()],
    }


def _trace(settings: TraceSettings) -> dict[str, Any]:
    return {
        "interval": settings.interval_s,
        "protocol": settings.protocol.value,
        "port": settings.port,
        "flows": settings.flows,
    }


def _testing(found: Estate) -> dict[str, Any] | None:
    """Return how links are tested, and what that takes of each site's budget in a day."""
    testing = found.testing
    if testing is None:
        return None
    return {
        "method": testing.method,
        "interval": testing.interval_s,
        "seconds": testing.seconds,
        "directions": [direction.value for direction in testing.directions],
        "streams": testing.streams,
        "budget": testing.octets_a_day,
        "tests": [path.id for path in found.tested_paths],
        "octets_a_day": _octets_a_day(found),
    }


def _octets_a_day(found: Estate) -> dict[str, int]:
    """Return what regular tests take of the budget of each site that runs any."""
    if not found.tested_paths:
        return {}
    from probes.bandwidth.agenda import octets_a_day

    return {site: octets_a_day(found, site) for site in {p.src: 0 for p in found.tested_paths}}


def _tests(found: Estate) -> Iterator[str]:
    """Say how the bandwidth of links is tested, if it is."""
    from netslo.units import format_duration, format_octets

    testing, by_site = found.testing, _octets_a_day(found)
    if testing is None or not by_site:
        return
    most = max(by_site, key=lambda site: by_site[site])
    how = "trains" if testing.method == "train" else f"TCP for {testing.seconds:g} s"
    ways = " and ".join(direction.value for direction in testing.directions)
    yield (
        f"Bandwidth: {len(found.tested_paths)} tests by {how}, {ways}, each every "
        f"{format_duration(testing.interval_s)}: at most {format_octets(by_site[most])} a day "
        f"({most}), of a budget of {format_octets(testing.octets_a_day)} for each site"
    )


def _beyond_budget(found: Estate) -> Iterator[str]:
    """Say which sites plan to test more than their budget allows."""
    from netslo.units import format_octets

    if found.testing is None:
        return
    for site, octets in _octets_a_day(found).items():
        if octets > found.testing.octets_a_day:
            yield (
                f"probing.bandwidth: tests of {site} would take {format_octets(octets)} a day, and "
                f"its budget is {format_octets(found.testing.octets_a_day)}: most are refused"
            )


def _service(service: Service) -> dict[str, Any]:
    where = where_of(service.request)
    return {
        "name": service.name,
        "probe": service.kind.value,
        "class": service.traffic_class,
        "site": service.site,
        "from": list(service.sources),
        "host": where.host,
        "port": where.port,
        "interval": service.interval_s,
        "timeout": service.timeout_s,
    }


def _services(found: Estate) -> str:
    """Say how many services there are, if any."""
    count = len(found.services)
    return f", {count} service{'s' * (count != 1)}" if count else ""


def _print_tables(found: Estate) -> None:
    from rich.console import Console
    from rich.table import Table

    from netslo.units import format_rate

    console = Console()
    sites = Table("site", "tier", "region", "residency zone", "location", "answers at", box=None)
    for site in found.sites.values():
        place = f"{site.location.lat:.4f}, {site.location.lon:.4f}"
        answers = ", ".join(map(_address, site.addresses)) + _manner(found, site.name)
        sites.add_row(
            site.name,
            site.tier,
            site.region,
            site.residency_zone,
            place,
            answers,
        )
    links = Table("link", "capacity", f"cost per GB ({found.currency})", box=None)
    for link in found.links:
        capacity = format_rate(link.capacity_bits_per_second)
        links.add_row(f"{link.a} - {link.b}", capacity, f"{link.cost_per_gigabyte:g}")
    scopes = Counter(found.scope(path).value for path in found.paths)
    classes = ", ".join(f"{c.name} (DSCP {c.dscp})" for c in found.classes.values())
    rate = len(found.paths) / found.plan.interval_s
    console.print(sites, "", links, "")
    console.print(f"Classes: {classes}", highlight=False)
    console.print(
        f"Paths: {len(found.paths)} ("
        + ", ".join(f"{count} {scope}" for scope, count in sorted(scopes.items()))
        + f"), a packet every {found.plan.interval_s:g} s on each: {rate:,.0f} packets/s; "
        f"lost after {found.plan.timeout_s:g} s",
        highlight=False,
    )
    console.print(_routes(found), highlight=False)
    for line in _tests(found):
        console.print(line, highlight=False)
    if found.services:
        console.print("", _service_table(found))


def _routes(found: Estate) -> str:
    """Say how routes are watched."""
    trace = found.plan.trace
    if trace is None:
        return "Routes: not traced"
    port = "" if trace.port is None else f" port {trace.port}"
    flows = f"{trace.flows} flow{'s' * (trace.flows != 1)}"
    return (
        f"Routes: {flows} of each path by {trace.protocol.upper()}{port}, "
        f"every {format_duration(trace.interval_s)} and when something changes"
    )


def _service_table(found: Estate) -> Table:
    from rich.table import Table

    table = Table("service", "probe", "at", "class", "from", "every", "lost after", box=None)
    for service in found.services.values():
        where = where_of(service.request)
        everywhere = set(service.sources) == set(found.sites)
        table.add_row(
            service.name,
            service.kind,
            str(Endpoint(where.host, where.port)),
            service.traffic_class,
            "every site" if everywhere else ", ".join(service.sources),
            f"{service.interval_s:g} s",
            f"{service.timeout_s:g} s",
        )
    return table


def _address(endpoint: Endpoint) -> str:
    return str(endpoint) if endpoint.port else endpoint.host


def _manner(found: Estate, site: str) -> str:
    """Say how a site is probed, where that is not by plain STAMP."""
    if found.probes[site] is ProbeKind.ICMP:
        return " (ICMP)"
    return " (authenticated)" if site in found.key_files else ""
