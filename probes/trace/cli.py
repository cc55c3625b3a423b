"""`netslo measure trace`: which way packets go, from a shell.

Everything heavy is imported inside the command, so that its help needs no extra.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Final

import click

from netslo.config.options import file_option, json_option, read_duration
from netslo.errors import ConfigurationError, NetsloError
from netslo.model import DSCP_MAX, NS_PER_S
from netslo.route import FLOWS_MAX, HOPS_MAX, TraceProtocol

if TYPE_CHECKING:
    import pathlib

    from probes.trace.capture import Capture
    from probes.trace.measuring import TraceMeasurement, TraceMeasuring

_PORT_MAX: Final = 65_535
_PORTS: Final = {TraceProtocol.UDP: 33434, TraceProtocol.TCP: 443, TraceProtocol.ICMP: 0}
_COUNT_MAX: Final = 1_000_000
_INTERVAL_S_MIN: Final = 0.1
_GAP_NS_MIN, _GAP_NS_MAX = 1_000_000, 5_000_000
_HOPS_USUAL: Final = 16
_TRIES: Final = 2


@click.command()
@click.argument("host", metavar="HOST")
@click.option(
    "--protocol",
    type=click.Choice([each.value for each in TraceProtocol]),
    default=TraceProtocol.UDP.value,
    show_default=True,
    help="What the packets are.",
)
@click.option(
    "--port",
    type=click.IntRange(1, _PORT_MAX),
    help="Port of the target: of UDP one where nothing listens.  [default: UDP 33434, TCP 443]",
)
@click.option(
    "--flows",
    type=click.IntRange(1, FLOWS_MAX),
    default=4,
    show_default=True,
    help="From so many source ports: routers that share load send each its own way.",
)
@click.option(
    "--source-port",
    type=click.IntRange(1, _PORT_MAX),
    help="Of the first flow; the others follow.  [default: any]",
)
@click.option(
    "--max-hops",
    type=click.IntRange(1, HOPS_MAX),
    default=30,
    show_default=True,
    help="How far to look.",
)
@click.option(
    "--count",
    type=click.IntRange(1, _COUNT_MAX),
    default=10,
    show_default=True,
    help="Rounds: the first traces all flows, each further one the next of them.",
)
@click.option(
    "--interval",
    callback=read_duration,
    default="1s",
    show_default=True,
    help="Between rounds.",
)
@click.option(
    "--timeout",
    callback=read_duration,
    default="1s",
    show_default=True,
    help="When a packet without an answer is lost.",
)
@click.option(
    "--dscp",
    type=click.IntRange(0, DSCP_MAX),
    default=0,
    show_default=True,
    help="Of the packets.",
)
@click.option("--mtu", is_flag=True, help="Find the largest packet that passes, on each branch.")
@file_option("--pcap", "pcap", "Write the packets to FILE, for Wireshark or tcpdump.")
@click.option("-4", "ipv4", is_flag=True, help="Use IPv4 only.")
@click.option("-6", "ipv6", is_flag=True, help="Use IPv6 only.")
@json_option
def trace(
    host: str,
    *,
    protocol: str,
    port: int | None,
    flows: int,
    source_port: int | None,
    max_hops: int,
    count: int,
    interval: float,
    timeout: float,
    dscp: int,
    mtu: bool,
    pcap: pathlib.Path | None,
    ipv4: bool,
    ipv6: bool,
    as_json: bool,
) -> None:
    """Show which way packets go to HOST, and how each hop answers.

    Each flow keeps its ports, so that a route is never mixed of several branches. Ends after
    the packets, or at Ctrl-C. Exit status 1 when a flow did not reach the target.
    """
    import socket

    from netslo.model import Endpoint
    from probes.address import resolve_target
    from probes.trace.measuring import TraceMeasuring
    from probes.trace.tracing import TracePlan
    from probes.trace.view import print_trace, why_not_reached

    kind = TraceProtocol(protocol)
    _check(kind, port, source_port, flows, interval, ipv4=ipv4, ipv6=ipv6)
    family = socket.AF_INET if ipv4 else socket.AF_INET6 if ipv6 else None
    interval_ns = round(interval * NS_PER_S)
    plan = TracePlan(
        protocol=kind,
        port=port or _PORTS[kind],
        flows=flows,
        source_port=source_port or 0,
        hops_max=max_hops,
        dscp=dscp,
        rounds=count,
        tries=_TRIES,
        interval_ns=interval_ns,
        timeout_ns=round(timeout * NS_PER_S),
        gap_ns=max(_GAP_NS_MIN, min(_GAP_NS_MAX, interval_ns // (flows * _HOPS_USUAL))),
    )
    target = Endpoint(host.removeprefix("[").removesuffix("]"), 0)
    address = resolve_target(target, family)
    with _capturing(pcap) as capture:
        tap = None if capture is None else capture.take
        measuring = TraceMeasuring(target, address, plan, mtu=mtu, tap=tap)
        result = _run(measuring, capture, live=sys.stderr.isatty() and not as_json)
    if as_json:
        click.echo(json.dumps(result.to_json(), allow_nan=False, indent=2))
    else:
        print_trace(result)
    if not result.reached:
        raise NetsloError(why_not_reached(result))


def _check(
    kind: TraceProtocol,
    port: int | None,
    source_port: int | None,
    flows: int,
    interval_s: float,
    *,
    ipv4: bool,
    ipv6: bool,
) -> None:
    if ipv4 and ipv6:
        raise ConfigurationError("-4 and -6 exclude each other; without both, either is used")
    if port is not None and kind is TraceProtocol.ICMP:
        raise ConfigurationError("--port: not with --protocol icmp, which has no ports")
    if source_port is not None and source_port + flows - 1 > _PORT_MAX:
        raise ConfigurationError(
            f"--source-port {source_port}: {flows} flows need as many ports, at most {_PORT_MAX}"
        )
    if interval_s < _INTERVAL_S_MIN:
        raise ConfigurationError(
            f"--interval {interval_s:g}s: expected at least {_INTERVAL_S_MIN:g}s, "
            "for routers answer a few packets a second only"
        )


def _capturing(file: pathlib.Path | None) -> contextlib.AbstractContextManager[Capture | None]:
    if file is None:
        return contextlib.nullcontext()
    from probes.trace.capture import Capture

    return Capture(file)


def _run(measuring: TraceMeasuring, capture: Capture | None, *, live: bool) -> TraceMeasurement:
    """Trace, with tables on the terminal that say how it goes."""
    if not live:
        return measuring.measure(lambda: _write(capture))
    from rich.console import Console
    from rich.live import Live

    from probes.trace.view import live_view

    with Live(console=Console(stderr=True), transient=True, refresh_per_second=4) as display:

        def tick() -> None:
            _write(capture)
            display.update(live_view(measuring))

        return measuring.measure(tick, 0.25)


def _write(capture: Capture | None) -> None:
    if capture is not None:
        capture.write()
