"""What `netslo measure rtt` says to a person: while it runs, and when it is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analytics.windows import PacketCounts
from netslo.model import ProbeKind
from netslo.units import format_ms, format_percent
from probes.measure import Measurement, Measurements, Measuring

_LIVE_MAX: Final = 20  # targets with a line of their own
_TITLES: Final = {ProbeKind.STAMP: "STAMP", ProbeKind.ICMP: "ICMP echo"}
_SHOWN: Final = ("0.5", "0.99", "0.999")  # of each of several targets


def live_lines(measuring: Measuring) -> Text:
    """Return how each target goes, the first of many."""
    lines = []
    for place, packets in enumerate(measuring.counts[:_LIVE_MAX]):
        rtt_s = measuring.recent_rtt_s(place)
        last = p50 = p99 = None
        if rtt_s.size:
            last = float(rtt_s[-1])
            p50, p99 = np.quantile(rtt_s, [0.5, 0.99], method="lower").tolist()
        lines.append(
            f"{measuring.result.targets[place].where}: {packets.answered} of {packets.due} "
            f"answered, loss {_loss(packets)}, "
            f"last {format_ms(last, 3)}, p50 {format_ms(p50, 3)}, p99 {format_ms(p99, 3)} ms"
        )
    more = len(measuring.counts) - len(lines)
    return Text("\n".join(lines + [f"and {more} more"] * (more > 0)))


def print_measurements(result: Measurements) -> None:
    """Say what came of it."""
    if len(result.targets) == 1:
        _print_one(result.targets[0])
    else:
        _print_many(result.targets)
    if result.late:
        click.echo(f"{result.late} packets left more than 1 ms late: this host was busy")
    for reason, number in result.discarded.most_common():
        click.echo(f"{number}: {reason}")


def why_nothing(result: Measurements, measurement: Measurement) -> str:
    """Say what a person can do when a target answered nothing."""
    target, packets = measurement.where, measurement.total.packets
    if packets.lost and measurement.kind is ProbeKind.ICMP:
        return f"nothing answered from {target}: no such host, or a firewall drops ICMP echo"
    if result.refused and len(result.targets) == 1:
        return f"nothing answered: nothing listens on UDP {target}; is the reflector running?"
    if packets.lost:
        return (
            f"nothing answered from {target}: no reflector there, or a firewall drops UDP; "
            "start one with: netslo reflect"
        )
    if not packets.due:
        return "stopped before the first packet was sent"
    return f"no packet could be sent to {target}: " + ", ".join(result.discarded)


def _print_one(measurement: Measurement) -> None:
    name, address = measurement.name, measurement.where
    title = _TITLES[measurement.kind]
    click.echo(f"{title} to {name}" + ("" if name == address else f" ({address})"))
    packets = measurement.total.packets
    click.echo(
        f"{packets.due} due, {packets.answered} answered, {packets.lost} lost "
        f"({_loss(packets)}), {packets.unmeasured} unmeasured, "
        f"{packets.duplicates} duplicates, {packets.reordered} reordered"
    )
    if packets.answered:
        _print_distributions(measurement.to_json())


def _print_distributions(shape: dict[str, Any]) -> None:
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


def _print_many(targets: Sequence[Measurement]) -> None:
    """Print a line for each target, round trips in milliseconds."""
    names = [f"p{float(q) * 100:g}" for q in _SHOWN]
    table = Table("target", "due", "answered", "loss", *names, "max", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for measurement in targets:
        packets, rtt = measurement.total.packets, measurement.to_json()["rtt"]
        figures = [format_ms(rtt["quantiles"][q]["value"], 3) for q in _SHOWN]
        counts = (str(packets.due), str(packets.answered), _loss(packets))
        table.add_row(measurement.where, *counts, *figures, format_ms(rtt["max"], 3))
    Console().print(table)


def _loss(packets: PacketCounts) -> str:
    measured = packets.answered + packets.lost
    return format_percent(packets.lost / measured if measured else None)
