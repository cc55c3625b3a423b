"""`netslo measure bandwidth`: the capacity of a path, from a shell."""

from __future__ import annotations

import json
import math
import re
import sys
from typing import TYPE_CHECKING, Final

import click

from netslo.config.options import NumberRange, file_option, json_option, read_octets, state_option
from netslo.errors import ConfigurationError, NetsloError
from netslo.signals import sigterm_interrupts
from netslo.user import user_name

if TYPE_CHECKING:
    import pathlib

    from netslo.model import Endpoint
    from probes.bandwidth.measuring import BandwidthMeasuring
    from probes.bandwidth.plan import BandwidthPlan
    from probes.bandwidth.state import StateDirectory

_STREAMS_MAX: Final = 16
_SECONDS_MAX: Final = 120
_TRAINS = (5, 50)
_PATIENCE_S: Final = 4.0  # the queues that a test before this one filled drain for two


@click.command()
@click.argument("target", metavar="HOST[:PORT]")
@click.option(
    "--method",
    type=click.Choice(["tcp", "train", "iperf3"]),
    default="tcp",
    show_default=True,
    help="TCP's goodput; packet trains (about 1 MB); or iperf3's own test, by its program.",
)
@click.option(
    "--direction",
    type=click.Choice(["forward", "reverse", "both"]),
    default="forward",
    show_default=True,
    help="From here to there, back, or one after the other.",
)
@click.option(
    "--streams",
    type=click.IntRange(1, _STREAMS_MAX),
    default=1,
    show_default=True,
    help="TCP connections side by side.",
)
@click.option(
    "--seconds",
    type=NumberRange(1, _SECONDS_MAX),
    default=10,
    show_default=True,
    help="Of TCP, in each direction.",
)
@click.option(
    "--congestion",
    metavar="NAME",
    help="The sender's congestion control, such as cubic or bbr.  [default: its host's]",
)
@click.option(
    "--trains",
    type=click.IntRange(*_TRAINS),
    default=10,
    show_default=True,
    help="Of 60 packets each, in each direction.",
)
@click.option(
    "--octets",
    callback=read_octets,
    metavar="SIZE",
    help="TCP uses so much at most in each direction, such as 200MB.  "
    "[default: as trains before it let expect, with a quarter more]",
)
@click.option(
    "--stamp",
    metavar="HOST[:PORT]",
    help="The STAMP reflector to measure round trips by.  [default: the one the server names]",
)
@click.option(
    "--latency/--no-latency",
    default=True,
    show_default=True,
    help="Measure round trips before and beside TCP.",
)
@file_option("--key-file", "key_file", "The key in FILE, which the server must have too.")
@click.option(
    "--budget",
    "budget_octets",
    callback=read_octets,
    metavar="SIZE",
    help="What this site's tests may use in a day from now on, such as 5GB.  "
    "[default: as it was said last; 2 GB]",
)
@click.option("--force", is_flag=True, help="Use more than the byte budget has left.")
@state_option
@json_option
def bandwidth(
    target: str,
    *,
    method: str,
    direction: str,
    streams: int,
    seconds: float,
    congestion: str | None,
    trains: int,
    octets: int | None,
    stamp: str | None,
    latency: bool,
    key_file: pathlib.Path | None,
    budget_octets: int | None,
    force: bool,
    state_dir: pathlib.Path | None,
    as_json: bool,
) -> None:
    """Measure what a path can carry, to a server (netslo reflect --bandwidth) or to iperf3's.

    Default port: 8862, of iperf3 5201. Exit status 1: there is no figure, or the far end is busy.
    """
    from netslo.config.keys import read_key
    from probes.bandwidth.iperf3 import PORT as IPERF3_PORT
    from probes.bandwidth.measuring import resolve_target
    from probes.bandwidth.plan import PORT, BandwidthPlan, Direction, Method
    from probes.bandwidth.state import StateDirectory, default_state_directory

    ways = tuple(Direction) if direction == "both" else (Direction(direction),)
    _check(method, octets=octets, key_file=key_file)
    _check_load(seconds, congestion)
    plan = BandwidthPlan(
        target=_endpoint(target, IPERF3_PORT if method == "iperf3" else PORT),
        method=Method(method),
        directions=ways,
        streams=streams,
        seconds=seconds,
        congestion=congestion,
        trains=trains,
        octets_max=octets,
        stamp=None if stamp is None else _endpoint(stamp, _stamp_port()),
        loaded_latency=latency,
        secret=None if key_file is None else read_key(key_file),
        holder=_who(),
    )
    _check_octets(plan)
    resolve_target(plan.target)  # what is wrong is said before anything takes long
    state = StateDirectory(state_dir or default_state_directory())
    _measure(plan, state, budget_octets, force=force, as_json=as_json)


def _measure(
    plan: BandwidthPlan,
    state: StateDirectory,
    limit: int | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    """Test, show, and fail if there is no figure."""
    from probes.bandwidth.budget import Budget
    from probes.bandwidth.entering import Account, entered
    from probes.bandwidth.plan import Method
    from probes.bandwidth.view import print_bandwidth, say_octets
    from probes.warm_up import warm_up

    if plan.loaded_latency and plan.method is not Method.TRAIN:
        warm_up()  # before others wait for us

    def say(expected: int, most: int) -> None:
        click.echo(say_octets(expected, most), err=True)

    account = Account(Budget(state, limit), _spender(), say, force=force)
    failure: NetsloError | None = None
    # Whoever ends the test, its lease is given back.
    with sigterm_interrupts(), entered(plan, state, account, wait_s=_PATIENCE_S) as measuring:
        try:
            _run(measuring, live=sys.stderr.isatty() and not as_json)
        except NetsloError as error:
            failure = error
    result = measuring.result
    if as_json:
        click.echo(json.dumps(result.to_json(), allow_nan=False, indent=2))
    elif result.octets_used:
        print_bandwidth(result)
    missing = [f"{each.direction}: {each.why}" for each in result.directions if each.why]
    if failure is not None:
        raise failure
    if missing or not result.directions:
        raise NetsloError(f"no figure, {'; '.join(missing) or 'stopped before the first'}")


def _run(measuring: BandwidthMeasuring, *, live: bool) -> None:
    """Test, with a line on the terminal that says how it goes."""
    from probes.engine_thread import EngineThread

    thread = EngineThread(measuring)
    if not live:
        thread.run(measuring.check_lease, 0.1)
        return
    from rich.console import Console
    from rich.live import Live

    from probes.bandwidth.view import Chart

    chart = Chart(measuring)
    with Live(console=Console(stderr=True), transient=True, refresh_per_second=5) as display:

        def look() -> None:
            measuring.check_lease()
            display.update(chart.line())

        thread.run(look, 0.1)


def _check(method: str, *, octets: int | None, key_file: pathlib.Path | None) -> None:
    """Refuse what a method does not have."""
    if method == "train" and octets is not None:
        raise ConfigurationError("--octets: not with --method train; --trains says how many")
    if method == "iperf3" and octets is not None:
        raise ConfigurationError("--octets: not with --method iperf3; --seconds says how long")
    if method == "iperf3" and key_file is not None:
        raise ConfigurationError("--key-file: not with --method iperf3")


def _check_load(seconds: float, congestion: str | None) -> None:
    """Refuse what no load can have, and what click lets pass."""
    from probes.bandwidth.plan import CONGESTION_NAME

    if math.isnan(seconds):
        raise ConfigurationError(f"--seconds: expected 1 to {_SECONDS_MAX}, not nan")
    if congestion is not None and not re.fullmatch(CONGESTION_NAME, congestion):
        raise ConfigurationError(
            f"--congestion {congestion!r}: expected a name such as cubic, bbr or reno"
        )


def _check_octets(plan: BandwidthPlan) -> None:
    """Refuse an amount that leaves nothing for TCP, or that nothing can carry."""
    from netslo.units import format_octets
    from probes.bandwidth.control import OCTETS_MAX
    from probes.bandwidth.measuring import octets_least

    if plan.octets_max is None:
        return
    least = octets_least(plan)
    if not least <= plan.octets_max <= OCTETS_MAX:
        less = ", of which --no-latency needs less" if plan.loaded_latency else ""
        raise ConfigurationError(
            f"--octets {format_octets(plan.octets_max)}: expected {format_octets(least)} to "
            f"{format_octets(OCTETS_MAX)}{less}"
        )


def _stamp_port() -> int:
    from probes.stamp.packet import PORT

    return PORT


def _endpoint(text: str, default_port: int) -> Endpoint:
    from probes.address import parse_endpoint

    try:
        found = parse_endpoint(text, default_port)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    if not found.port:
        raise ConfigurationError(f"{text}: port 0 cannot be tested")
    return found


def _spender() -> str:
    """Return on whose account a test is put: a person's, not each process's own."""
    import os

    return f"shell of {user_name() or f'user {os.getuid()}'}"


def _who() -> str:
    """Return who tests, for those who find the bottleneck busy."""
    import os
    import socket

    return f"netslo measure bandwidth on {socket.gethostname()[:100]} (process {os.getpid()})"
