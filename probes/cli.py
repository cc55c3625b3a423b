"""Commands of the measuring floor: `reflect` and `measure`.

Everything heavy is imported inside the commands, so that their help needs no extra.
"""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING

import click

from netslo.config.options import (
    NumberRange,
    file_option,
    json_option,
    read_duration,
    read_rate,
    state_option,
)
from netslo.errors import ConfigurationError, NetsloError
from netslo.model import DSCP_MAX
from netslo.units import DURATION_S_MAX
from probes.bandwidth.budget_cli import budget
from probes.bandwidth.cli import bandwidth as bandwidth_command
from probes.services.cli import COMMANDS
from probes.trace.cli import trace

if TYPE_CHECKING:
    import pathlib

    from netslo.model import Endpoint
    from probes.measure import Measuring
    from probes.measurement import Measurements
    from probes.noise_floor import NoiseFloor

_PORTS_MAX = 64
_SIZE_MIN, _SIZE_MAX = 44, 9000  # a packet of RFC 8762, a jumbo frame
_RATE_MAX = 10_000_000
_FLOOR_S, _FLOOR_RATE = 2.0, 2000.0  # 4,000 packets bound P99.9 on both sides
_INTERVAL_S_MIN = 0.001
_INTERVAL_S_FLOOD = 0.00001
_BANDWIDTH_S_MAX = 120
_UNDER_WAY_MAX = 1_000_000  # packets that may wait for their answers; about 300 MB


@click.command()
@click.option(
    "--listen",
    "addresses",
    metavar="HOST:PORT",
    multiple=True,
    help="Where to answer; may be given several times. IPv6 as [ADDRESS]:PORT.  "
    "[default: port 862 of every address]",
)
@file_option(
    "--key-file", "key_file", "Answer authenticated packets only, by the key in this file."
)
@click.option(
    "--rate",
    type=NumberRange(min=0, min_open=True, max=_RATE_MAX),
    default=20_000,
    show_default=True,
    help="Packets a second that one source address is answered.",
)
@click.option(
    "--burst",
    type=click.IntRange(1, _RATE_MAX),
    help="Packets it may send at once.  [default: those of a second]",
)
@click.option(
    "--summary",
    "summary_s",
    callback=read_duration,
    metavar="DURATION",
    help="Say so often how many packets were answered, and why others were not, such as 1m.",
)
@click.option(
    "--bandwidth",
    "bandwidth",
    metavar="HOST:PORT",
    multiple=True,
    help="Answer bandwidth tests here too, by TCP and, at the same port, UDP: off unless asked "
    "for; may be given several times.",
)
@click.option(
    "--bandwidth-max-seconds",
    type=NumberRange(1, _BANDWIDTH_S_MAX),
    default=30,
    show_default=True,
    help="The longest that one load may take.",
)
@click.option(
    "--bandwidth-max-rate",
    callback=read_rate,
    default="10Gbit/s",
    show_default=True,
    metavar="RATE",
    help="The fastest that this side sends, and what bounds the octets of one load.",
)
@state_option
@click.option(
    "--stateless",
    is_flag=True,
    help="Repeat the sender's sequence numbers instead of counting the replies of each session.",
)
def reflect(
    addresses: tuple[str, ...],
    *,
    key_file: pathlib.Path | None,
    rate: float,
    burst: int | None,
    summary_s: float | None,
    stateless: bool,
    bandwidth: tuple[str, ...],
    bandwidth_max_seconds: float,
    bandwidth_max_rate: float,
    state_dir: pathlib.Path | None,
) -> None:
    """Answer STAMP test packets (RFC 8762) until stopped.

    SIGHUP reads the key again.
    """
    from probes.reflecting import reflect_until_stopped
    from probes.reflectors import Reflectors
    from probes.stamp.rate_limit import RateLimit

    def say(text: str) -> None:
        click.echo(text)
        sys.stdout.flush()

    if math.isnan(rate):
        raise ConfigurationError("--rate: nan is no rate")
    if math.isnan(bandwidth_max_seconds):
        raise ConfigurationError(
            f"--bandwidth-max-seconds: expected 1 to {_BANDWIDTH_S_MAX}, not nan"
        )
    limit = RateLimit(rate, burst or max(1, round(rate)))
    endpoints = [_endpoint(text) for text in addresses or _every_address()]
    reflectors = Reflectors(stateful=not stateless, rate_limit=limit)
    tests = None
    if bandwidth:
        from probes.bandwidth.admission import ServerLimits
        from probes.bandwidth.granting import KeptLeases
        from probes.bandwidth.keeper import FileKeeper
        from probes.bandwidth.plan import PORT
        from probes.bandwidth.serving import BandwidthService
        from probes.bandwidth.state import StateDirectory, default_state_directory

        state = StateDirectory(state_dir or default_state_directory())
        tests = BandwidthService(
            [_endpoint(text, PORT) for text in bandwidth],
            ServerLimits(seconds=bandwidth_max_seconds, bit_per_s=bandwidth_max_rate),
            KeptLeases(FileKeeper(state)),
        )
    reflect_until_stopped(reflectors, endpoints, key_file, summary_s, say, tests)


def _every_address() -> list[str]:
    """Return the wildcards of the families that this host has."""
    import socket

    from probes.address import SocketAddress
    from probes.reflectors import is_own

    has_ipv6 = is_own(SocketAddress(socket.AF_INET6, ("::", 0, 0, 0)))
    return ["0.0.0.0", *(["[::]"] if has_ipv6 else [])]  # noqa: S104 - that is what it is for


@click.group()
def measure() -> None:
    """Measure a target once, from the shell."""


for _command in (*COMMANDS, bandwidth_command, budget, trace):
    measure.add_command(_command)


@measure.command()
@click.argument("targets", metavar="HOST[:PORT] ...", nargs=-1, required=True)
@click.option("--count", type=click.IntRange(min=1), help="Packets to send to each.  [default: 50]")
@click.option("--duration", callback=read_duration, help="How long to send instead, such as 30s.")
@click.option(
    "--interval",
    callback=read_duration,
    default="200ms",
    show_default=True,
    help="Between packets to one target.",
)
@click.option(
    "--flood",
    is_flag=True,
    help="Allow more than 1,000 packets a second in all: the far ends must be able to take them.",
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
    help="Of the packets, and wanted for the replies.",
)
@click.option(
    "--size",
    type=click.IntRange(_SIZE_MIN, _SIZE_MAX),
    help="Octets of each STAMP packet, by padding.  [default: as it comes]",
)
@click.option(
    "--icmp",
    "echo",
    is_flag=True,
    help="Send ICMP echo instead: most hosts answer, but without timestamps.",
)
@click.option(
    "--source-ports",
    "ports",
    type=click.IntRange(1, _PORTS_MAX),
    default=1,
    show_default=True,
    help="Send from so many UDP ports in turn: routers that share load send each its own way.",
)
@file_option(
    "--key-file",
    "key_file",
    "Authenticate (RFC 8762) with the key in FILE, which the reflector must have too.",
)
@click.option(
    "--floor/--no-floor",
    default=True,
    show_default=True,
    help="Measure this host's own noise afterwards (2 s), where figures are small.",
)
@click.option("-4", "ipv4", is_flag=True, help="Use IPv4 only.")
@click.option("-6", "ipv6", is_flag=True, help="Use IPv6 only.")
@json_option
def rtt(
    targets: tuple[str, ...],
    *,
    count: int | None,
    duration: float | None,
    interval: float,
    timeout: float,
    dscp: int,
    size: int | None,
    ipv4: bool,
    ipv6: bool,
    echo: bool,
    flood: bool,
    ports: int,
    key_file: pathlib.Path | None,
    floor: bool,
    as_json: bool,
) -> None:
    """Measure the round trip to STAMP or TWAMP Light reflectors (default port 862), or by ICMP.

    Ends after the packets, or at Ctrl-C. Exit status 1 when a target answered nothing.
    """
    import socket

    from netslo.config.keys import read_key
    from netslo.model import ProbeKind
    from probes.measure import MeasurePlan, Measuring
    from probes.measure_view import print_measurements, why_nothing

    if ipv4 and ipv6:
        raise ConfigurationError("-4 and -6 exclude each other; without both, either is used")
    family = socket.AF_INET if ipv4 else socket.AF_INET6 if ipv6 else None
    _check_rate(interval, len(targets), flood=flood)
    _check_under_way(timeout, interval / len(targets))
    _check_echo(echo=echo, ports=ports, key_file=key_file, size=size)
    packets = _packets(count, duration, interval)
    if packets < ports:
        raise ConfigurationError(f"--source-ports {ports}: only {packets} packets to send")
    plan = MeasurePlan(
        targets=tuple(_target(text, echo=echo) for text in targets),
        interval_s=interval,
        timeout_s=timeout,
        count=packets,
        dscp=dscp,
        family=family,
        kind=ProbeKind.ICMP if echo else ProbeKind.STAMP,
        source_ports=ports,
        size=size or 0,
        secret=None if key_file is None else read_key(key_file),
    )
    measuring = Measuring(plan)
    live = sys.stderr.isatty() and not as_json
    result = _run(measuring, live=live)
    if floor and result.near_floor and not result.stopped:
        result.floor = _floor(live=live)
    if as_json:
        click.echo(json.dumps(result.to_json(), allow_nan=False, indent=2))
    else:
        print_measurements(result)
    silent = [each for each in result.targets if not each.total.packets.answered]
    if silent:
        raise NetsloError("\n".join(why_nothing(result, each) for each in silent))


def _check_rate(interval_s: float, targets: int, *, flood: bool) -> None:
    """Refuse rates that nobody asks for by intention."""
    least_s = _INTERVAL_S_FLOOD if flood else _INTERVAL_S_MIN
    if interval_s / targets < least_s * (1 - 1e-9):
        hint = "" if flood else "; --flood allows more"
        raise ConfigurationError(
            f"--interval {interval_s:g}s: {targets / interval_s:.0f} packets a second in all, "
            f"at most {1 / least_s:.0f}{hint}"
        )


def _check_under_way(timeout_s: float, apart_s: float) -> None:
    """Refuse time-outs in which more packets are sent than can be remembered."""
    if timeout_s > _UNDER_WAY_MAX * apart_s:
        raise ConfigurationError(
            f"--timeout {timeout_s:g}s: {timeout_s / apart_s:.0f} packets under way at this "
            f"interval, at most {_UNDER_WAY_MAX}"
        )


def _check_echo(*, echo: bool, ports: int, key_file: pathlib.Path | None, size: int | None) -> None:
    """Refuse what only STAMP has."""
    asked = {
        "--source-ports": ports > 1,
        "--key-file": key_file is not None,
        "--size": size is not None,
    }
    wrong = [option for option, given in asked.items() if echo and given]
    if wrong:
        raise ConfigurationError(f"{', '.join(wrong)}: not with --icmp")


def _target(text: str, *, echo: bool) -> Endpoint:
    endpoint = _endpoint(text, 0) if echo else _endpoint(text)
    if echo and endpoint.port:
        raise ConfigurationError(f"{text}: ICMP has no ports")
    if not echo and endpoint.port == 0:
        raise ConfigurationError(f"{text}: port 0 cannot be measured")
    return endpoint


def _endpoint(text: str, default_port: int | None = None) -> Endpoint:
    from probes.address import parse_endpoint
    from probes.stamp.packet import PORT

    try:
        return parse_endpoint(text, PORT if default_port is None else default_port)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _packets(count: int | None, duration_s: float | None, interval_s: float) -> int:
    """Return how many packets to send: as many as asked, or as fit the duration."""
    if count is not None and duration_s is not None:
        raise ConfigurationError("--count and --duration exclude each other")
    if duration_s is not None:
        return max(1, round(duration_s / interval_s))
    if count is not None and count > DURATION_S_MAX / interval_s:
        raise ConfigurationError(f"--count {count}: sending them would take longer than 31 years")
    return 50 if count is None else count


def _run(measuring: Measuring, *, live: bool) -> Measurements:
    """Measure, with a line on the terminal for each target that says how it goes."""
    if not live:
        return measuring.run(lambda: None)
    from rich.console import Console
    from rich.live import Live

    from probes.measure_view import live_lines

    with Live(console=Console(stderr=True), transient=True, refresh_per_second=5) as display:
        return measuring.run(lambda: display.update(live_lines(measuring)))


def _floor(*, live: bool) -> NoiseFloor | None:
    """Measure this host's own noise; None, with a word about it, where that cannot be done."""
    from probes.noise_floor import measure_noise_floor

    if live:
        click.echo("measuring this host's own noise ...", err=True)
    try:
        return measure_noise_floor(seconds=_FLOOR_S, rate=_FLOOR_RATE)
    except NetsloError as error:
        click.echo(f"the noise floor is not known: {error}", err=True)
    except KeyboardInterrupt:
        click.echo("the noise floor was not measured", err=True)
    return None
