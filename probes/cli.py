"""Commands of the measuring floor: `reflect` and `measure`.

Everything heavy is imported inside the commands, so that their help needs no extra.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import click

from netslo.config.options import json_option
from netslo.errors import ConfigurationError, NetsloError
from netslo.units import format_ms, format_percent, parse_duration

if TYPE_CHECKING:
    from types import FrameType

    from netslo.model import Endpoint
    from probes.measure import Measurement, Measuring

_DSCP_MAX = 63
_INTERVAL_S_MIN = 0.001


def _duration(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> float | None:
    """Read an option's duration, as seconds."""
    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.option(
    "--listen",
    "addresses",
    metavar="HOST:PORT",
    multiple=True,
    default=["0.0.0.0:862"],
    show_default=True,
    help="Where to answer; may be given several times. IPv6 as [ADDRESS]:PORT.",
)
@click.option(
    "--stateless",
    is_flag=True,
    help="Repeat the sender's sequence numbers instead of counting the replies of each session.",
)
def reflect(addresses: tuple[str, ...], *, stateless: bool) -> None:
    """Answer STAMP test packets (RFC 8762) until stopped."""
    from probes.reflector import ReflectorServer

    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    server = ReflectorServer([_endpoint(text) for text in addresses], stateful=not stateless)
    previous = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        for endpoint in server.endpoints:
            click.echo(f"answering STAMP on {endpoint}, UDP")
        server.run(stop)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    click.echo(f"{server.reflected} packets answered, {server.discarded.total()} discarded")
    for reason, packets in server.discarded.most_common():
        click.echo(f"  {packets}: {reason}")


@click.group()
def measure() -> None:
    """Measure a target once, from the shell."""


@measure.command()
@click.argument("target", metavar="HOST[:PORT]")
@click.option("--count", type=click.IntRange(min=1), help="Packets to send.  [default: 50]")
@click.option("--duration", callback=_duration, help="How long to send instead, such as 30s.")
@click.option("--interval", callback=_duration, default="200ms", show_default=True)
@click.option(
    "--timeout",
    callback=_duration,
    default="1s",
    show_default=True,
    help="When a packet without an answer is lost.",
)
@click.option("--dscp", type=click.IntRange(0, _DSCP_MAX), default=0, show_default=True)
@click.option(
    "--icmp",
    "echo",
    is_flag=True,
    help="Send ICMP echo instead: most hosts answer, but without timestamps.",
)
@click.option("-4", "family", flag_value="4", help="Use IPv4 only.")
@click.option("-6", "family", flag_value="6", help="Use IPv6 only.")
@json_option
def rtt(
    target: str,
    *,
    count: int | None,
    duration: float | None,
    interval: float,
    timeout: float,
    dscp: int,
    family: str | None,
    echo: bool,
    as_json: bool,
) -> None:
    """Measure the round trip to a STAMP or TWAMP Light reflector (default port 862), or by ICMP.

    Ends after the packets, or at Ctrl-C. Exit status 1 when nothing was answered.
    """
    import socket

    from netslo.model import ProbeKind
    from probes.measure import MeasurePlan, Measuring

    if interval < _INTERVAL_S_MIN:
        raise ConfigurationError(f"--interval {interval:g}s: must be at least {_INTERVAL_S_MIN:g}s")
    families = {"4": socket.AF_INET, "6": socket.AF_INET6, None: None}
    endpoint = _endpoint(target, 0) if echo else _endpoint(target)
    if echo and endpoint.port:
        raise ConfigurationError(f"{target}: ICMP has no ports")
    if not echo and endpoint.port == 0:
        raise ConfigurationError(f"{target}: port 0 cannot be measured")
    plan = MeasurePlan(
        target=endpoint,
        interval_s=interval,
        timeout_s=timeout,
        count=_packets(count, duration, interval),
        dscp=dscp,
        family=families[family],
        kind=ProbeKind.ICMP if echo else ProbeKind.STAMP,
    )
    measuring = Measuring(plan)
    result = _run(measuring, live=sys.stderr.isatty() and not as_json)
    if as_json:
        click.echo(json.dumps(result.to_json(), allow_nan=False, indent=2))
    else:
        _print_summary(result)
    if not result.total.packets.answered:
        raise NetsloError(_why_nothing(result))


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
    return 50 if count is None else count


def _run(measuring: Measuring, *, live: bool) -> Measurement:
    """Measure, with a line on the terminal that says how it goes."""
    if not live:
        return measuring.run(lambda: None)
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(stderr=True), transient=True, refresh_per_second=5) as display:
        return measuring.run(lambda: display.update(Text(_live_line(measuring))))


def _live_line(measuring: Measuring) -> str:
    import numpy as np

    packets = measuring.counts
    rtt_s = measuring.recent_rtt_s
    last = p50 = p99 = None
    if rtt_s.size:
        last = float(rtt_s[-1])
        p50, p99 = np.quantile(rtt_s, [0.5, 0.99], method="lower").tolist()
    measured = packets.answered + packets.lost
    loss = packets.lost / measured if measured else None
    return (
        f"{measuring.result.where}: {packets.answered} of {packets.due} answered, "
        f"loss {format_percent(loss)}, "
        f"last {format_ms(last, 3)}, p50 {format_ms(p50, 3)}, p99 {format_ms(p99, 3)} ms"
    )


def _print_summary(result: Measurement) -> None:
    shape = result.to_json()
    packets = result.total.packets
    name, address = shape["target"], shape["address"]
    kind = {"stamp": "STAMP", "icmp": "ICMP echo"}[shape["kind"]]
    click.echo(f"{kind} to {name}" + ("" if name == address else f" ({address})"))
    measured = packets.answered + packets.lost
    loss = packets.lost / measured if measured else None
    click.echo(
        f"{packets.due} due, {packets.answered} answered, {packets.lost} lost "
        f"({format_percent(loss)}), {packets.unmeasured} unmeasured, "
        f"{packets.duplicates} duplicates, {packets.reordered} reordered"
    )
    if packets.answered:
        _print_distributions(shape)
    for reason, number in result.discarded.most_common():
        click.echo(f"{number}: {reason}")


def _print_distributions(shape: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "round trip, ms", "95 % interval", "delay variation, ms", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    variation = shape["jitter"]["pdv"]["quantiles"]
    table.add_row("min", format_ms(shape["rtt"]["min"], 3), "", "")
    for q, figure in shape["rtt"]["quantiles"].items():
        low, high = (format_ms(figure[side], 3) for side in ("low", "high"))
        pdv = format_ms(variation[q]["value"], 3)
        table.add_row(
            f"p{float(q) * 100:g}", format_ms(figure["value"], 3), f"{low} to {high}", pdv
        )
    table.add_row("max", format_ms(shape["rtt"]["max"], 3), "", "")
    Console().print(table)
    jitter = format_ms(shape["jitter"]["rfc3550"], 3)
    click.echo(f"jitter (RFC 3550) {jitter} ms; a dash: too few packets to say")


def _why_nothing(result: Measurement) -> str:
    """Say what a person can do when no packet was answered."""
    from netslo.model import ProbeKind

    target = result.where
    if result.total.packets.lost and result.plan.kind is ProbeKind.ICMP:
        return f"nothing answered from {target}: no such host, or a firewall drops ICMP echo"
    if result.refused:
        return f"nothing answered: nothing listens on UDP {target}; is the reflector running?"
    if result.total.packets.lost:
        return (
            f"nothing answered from {target}: no reflector there, or a firewall drops UDP; "
            "start one with: netslo reflect"
        )
    if not result.total.packets.due:
        return "stopped before the first packet was sent"
    return f"no packet could be sent to {target}: " + ", ".join(result.discarded)
