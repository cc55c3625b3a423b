"""`netslo measure http`, `tls`, `tcp` and `dns`: services, from a shell.

Everything heavy is imported inside the commands, so that their help needs no extra.
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from netslo.config.options import file_option, json_option, read_duration
from netslo.errors import ConfigurationError, NetsloError
from netslo.model import DSCP_MAX, ProbeKind
from netslo.units import DURATION_S_MAX

if TYPE_CHECKING:
    from netslo.service import Request
    from probes.services.measuring import AskPlan, ServiceMeasurement, ServiceMeasuring

F = TypeVar("F", bound=Callable[..., Any])

_COUNT = 10
_INTERVAL_S_MIN = 0.01
_UNDER_WAY_MAX = 1000
_RESOLV_CONF: Final = pathlib.Path("/etc/resolv.conf")


def _common(function: F) -> F:
    """Add the options that all of these commands have."""
    options = (
        click.option(
            "--count", type=click.IntRange(min=1), help=f"Requests to make.  [default: {_COUNT}]"
        ),
        click.option("--duration", callback=read_duration, help="How long to go on instead."),
        click.option(
            "--interval",
            callback=read_duration,
            default="1s",
            show_default=True,
            help="Between requests.",
        ),
        click.option(
            "--timeout",
            callback=read_duration,
            default="5s",
            show_default=True,
            help="When a request without its whole answer is lost.",
        ),
        click.option(
            "--dscp",
            type=click.IntRange(0, DSCP_MAX),
            default=0,
            show_default=True,
            help="Of all packets that leave.",
        ),
        click.option("-4", "ipv4", is_flag=True, help="Use IPv4 only."),
        click.option("-6", "ipv6", is_flag=True, help="Use IPv6 only."),
        json_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


def _trust(function: F) -> F:
    return file_option(
        "--ca-file", "ca_file", "Trust the certificates in this PEM file, not the system's."
    )(function)


@click.command()
@click.argument("target", metavar="HOST:PORT")
@_common
def tcp(target: str, **options: Any) -> None:
    """Measure how long a TCP connection takes.

    Exit status 1 when none was made.
    """
    _measure(target, ProbeKind.TCP, _place(target, None), options)


@click.command()
@click.argument("target", metavar="HOST[:PORT]")
@click.option("--server-name", metavar="NAME", help="Whom the certificate must be for.")
@_trust
@_common
def tls(target: str, server_name: str | None, **options: Any) -> None:
    """Measure a TLS handshake (default port 443), and say when the certificate expires.

    Exit status 1 when no handshake succeeded.
    """
    fields = {**_place(target, 443), "server_name": server_name}
    _measure(target, ProbeKind.TLS, fields, options)


@click.command()
@click.argument("url", metavar="URL")
@click.option("--head", is_flag=True, help="Ask by HEAD: no body.")
@click.option(
    "--header", "headers", multiple=True, metavar="NAME:VALUE", help="Send a header; repeatable."
)
@click.option(
    "--status",
    "statuses",
    multiple=True,
    metavar="CODE",
    help="A right status, such as 200 or 3xx; repeatable.  [default: 2xx]",
)
@click.option("--contains", multiple=True, metavar="TEXT", help="What the body must have.")
@click.option("--lacks", multiple=True, metavar="TEXT", help="What the body must not have.")
@click.option("--size-min", type=click.IntRange(min=0), help="Least octets of the body.")
@click.option("--size-max", type=click.IntRange(min=0), help="Most octets of the body.")
@click.option("--follow-redirects", is_flag=True, help="Go where redirects on the same host lead.")
@click.option(
    "--redirect-host",
    "redirect_hosts",
    multiple=True,
    metavar="HOST",
    help="Follow redirects to this host, too; repeatable.",
)
@_trust
@_common
def http(
    url: str,
    *,
    head: bool,
    headers: tuple[str, ...],
    statuses: tuple[str, ...],
    contains: tuple[str, ...],
    lacks: tuple[str, ...],
    size_min: int | None,
    size_max: int | None,
    follow_redirects: bool,
    redirect_hosts: tuple[str, ...],
    **options: Any,
) -> None:
    """Measure an HTTP request and its phases, each on a new connection.

    Exit status 1 when there was no right answer.
    """
    fields: dict[str, Any] = {
        "url": url,
        "method": "HEAD" if head else "GET",
        "headers": dict(map(_header, headers)),
        "contains": list(contains),
        "lacks": list(lacks),
        "size_min": size_min or 0,
        "size_max": size_max,
        "follow_redirects": follow_redirects,
        "redirect_hosts": list(redirect_hosts),
    }
    if statuses:
        fields["status"] = list(statuses)
    _measure(url, ProbeKind.HTTP, fields, options)


@click.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--server", metavar="HOST[:PORT]", help="Whom to ask.  [default: this host's first server]"
)
@click.option("--type", "record_type", default="A", show_default=True, help="Of the records.")
@click.option(
    "--transport",
    type=click.Choice(["udp", "tcp", "tls"]),
    default="udp",
    show_default=True,
    help="What carries the query.",
)
@click.option(
    "--record", "records", multiple=True, help="A record that the answer must have; repeatable."
)
@click.option("--rcode", default="NOERROR", show_default=True, help="The right answer's.")
@click.option("--server-name", metavar="NAME", help="Whom the server's certificate must be for.")
@_trust
@_common
def dns(
    name: str,
    *,
    server: str | None,
    record_type: str,
    transport: str,
    records: tuple[str, ...],
    rcode: str,
    server_name: str | None,
    **options: Any,
) -> None:
    """Measure a DNS server's answers, one datagram or connection each.

    Exit status 1 when there was no right answer.
    """
    place = server or _first_server()
    fields = {
        **_place(place, 853 if transport == "tls" else 53),
        "name": name,
        "type": record_type.upper(),
        "transport": transport,
        "records": list(records),
        "rcode": rcode.upper(),
        "server_name": server_name,
    }
    _measure(f"{name} {record_type.upper()} from {place}", ProbeKind.DNS, fields, options)


COMMANDS: Final = (tcp, tls, http, dns)


def _measure(target: str, kind: ProbeKind, fields: dict[str, Any], options: dict[str, Any]) -> None:
    """Measure, show, and fail if nothing came of it."""
    from datetime import UTC, datetime

    from netslo.config.services_file import request_from
    from probes.services.measuring import ServiceMeasuring
    from probes.services.view import print_service, why_no_answer

    ipv4, ipv6 = options["ipv4"], options["ipv6"]
    if ipv4 and ipv6:
        raise ConfigurationError("-4 and -6 exclude each other; without both, either is used")
    request = request_from(kind, {**fields, "ip": 4 if ipv4 else 6 if ipv6 else None})
    as_json = options["as_json"]
    measuring = ServiceMeasuring(_plan(target, request, options))
    result = _run(measuring, live=sys.stderr.isatty() and not as_json)
    if as_json:
        click.echo(json.dumps(result.to_json(), allow_nan=False, indent=2))
    else:
        print_service(result, datetime.now(UTC))
    if not result.total.packets.answered:
        raise NetsloError(why_no_answer(result))


def _plan(target: str, request: Request, options: dict[str, Any]) -> AskPlan:
    from probes.services.measuring import AskPlan
    from probes.services.tls import read_authorities

    interval_s, timeout_s = options["interval"], options["timeout"]
    if interval_s < _INTERVAL_S_MIN:
        raise ConfigurationError(f"--interval {interval_s:g}s: at least {_INTERVAL_S_MIN:g}s")
    if timeout_s > _UNDER_WAY_MAX * interval_s:
        raise ConfigurationError(
            f"--timeout {timeout_s:g}s: more than {_UNDER_WAY_MAX} requests under way at once"
        )
    ca_file = options.get("ca_file")
    return AskPlan(
        target,
        request,
        _requests(options["count"], options["duration"], interval_s),
        interval_s,
        timeout_s,
        options["dscp"],
        None if ca_file is None else read_authorities(ca_file),
    )


def _requests(count: int | None, duration_s: float | None, interval_s: float) -> int:
    """Return how many requests to make: as many as asked, or as fit the duration."""
    if count is not None and duration_s is not None:
        raise ConfigurationError("--count and --duration exclude each other")
    if duration_s is not None:
        return max(1, round(duration_s / interval_s))
    if count is not None and count > DURATION_S_MAX / interval_s:
        raise ConfigurationError(f"--count {count}: making them would take longer than 31 years")
    return count or _COUNT


def _run(measuring: ServiceMeasuring, *, live: bool) -> ServiceMeasurement:
    """Measure, with a line on the terminal that says how it goes."""
    if not live:
        return measuring.run(lambda: None)
    from rich.console import Console
    from rich.live import Live

    from probes.services.view import live_line

    with Live(console=Console(stderr=True), transient=True, refresh_per_second=5) as display:
        return measuring.run(lambda: display.update(live_line(measuring)))


def _place(text: str, default_port: int | None) -> dict[str, Any]:
    from probes.address import parse_endpoint

    try:
        found = parse_endpoint(text, default_port or 0)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    if not found.port:
        raise ConfigurationError(f"{text}: expected HOST:PORT, with a port from 1 to 65535")
    return {"host": found.host, "port": found.port}


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise ConfigurationError(f"--header {text}: expected NAME:VALUE")
    return name, value.strip()


def _first_server() -> str:
    """Return the first name server that this host asks."""
    try:
        lines = _RESOLV_CONF.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            return words[1]
    raise ConfigurationError(f"{_RESOLV_CONF} names no server; give one by --server HOST")
