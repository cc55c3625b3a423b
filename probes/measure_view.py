"""What `netslo measure rtt` says to a person: while it runs, and when it is over."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from analytics.windows import PacketCounts
from netslo.model import ProbeKind, Quality
from netslo.units import TimeUnit, format_percent, time_unit
from probes.histogram import histogram_lines
from probes.measure import Measuring
from probes.measure_details import detail_lines
from probes.measurement import Measurement, Measurements, why_not_a
from probes.noise_floor import NoiseFloor

_LIVE_MAX: Final = 20  # targets with a line of their own
_TITLES: Final = {ProbeKind.STAMP: "STAMP", ProbeKind.ICMP: "ICMP echo"}
_SHOWN: Final = ("0.5", "0.99", "0.999")  # of each of several targets
_FLOW_SHOWN: Final = ("0.5", "0.99")
_FLOOR_SHOWN: Final = ("0.5", "0.99", "0.999")
_MARK: Final = " *"
_UNLIMITED: Final = 1000  # columns
_CLASSES: Final = {
    Quality.A: "all four timestamps by kernels or hardware",
    Quality.B: "ours by the kernel, the far end's transmit timestamp not",
    Quality.C: "timestamps partly in user space",
}


def live_lines(measuring: Measuring) -> Text:
    """Return how each target goes, the first of many."""
    lines = []
    for place, packets in enumerate(measuring.counts[:_LIVE_MAX]):
        rtt_s = measuring.recent_rtt_s(place)
        last = p50 = p99 = None
        if rtt_s.size:
            last = float(rtt_s[-1])
            p50, p99 = np.quantile(rtt_s, [0.5, 0.99], method="lower").tolist()
        unit = time_unit(p50)
        lines.append(
            f"{_who(measuring.result.targets[place])}: {packets.answered} of {packets.due} "
            f"answered, loss {_loss(packets)}, "
            f"last {unit.format(last)}, p50 {unit.format(p50)}, p99 {unit.format(p99)} {unit.name}"
        )
    more = len(measuring.counts) - len(lines)
    return Text("\n".join(lines + [f"and {more} more"] * (more > 0)))


def print_measurements(result: Measurements) -> None:
    """Say what came of it."""
    if len(result.targets) == 1:
        marked = _print_one(result.targets[0], result.floor)
    else:
        marked = _print_many(result.targets, result.floor)
    _print_floor(result.floor, marked=marked)
    if result.late:
        click.echo(
            f"{result.late} of {result.lateness.count} packets left more than 1 ms "
            "after they were due: this host was busy"
        )
    for reason, number in result.discarded.most_common():
        click.echo(f"{number}: {reason}")


def why_nothing(result: Measurements, measurement: Measurement) -> str:
    """Say what a person can do when a target answered nothing."""
    target, packets = measurement.where, measurement.total.packets
    if packets.lost and measurement.kind is ProbeKind.ICMP:
        return f"nothing answered from {target}: no such host, or a firewall drops ICMP echo"
    if result.refused and len(result.targets) == 1:
        return f"nothing answered: nothing listens on UDP {target}; is the reflector running?"
    if packets.lost and measurement.authenticated:
        return (
            f"nothing answered from {target}: no reflector there, one with another key or with "
            "none, or a firewall drops UDP; start one with: netslo reflect --key-file FILE"
        )
    if packets.lost:
        return (
            f"nothing answered from {target}: no reflector there, one that wants a key "
            "(--key-file), or a firewall drops UDP; start one with: netslo reflect"
        )
    if not packets.due:
        return "stopped before the first packet was sent"
    return f"no packet could be sent to {target}: " + ", ".join(result.discarded)


def _print_one(measurement: Measurement, floor: NoiseFloor | None) -> bool:
    """Print all of one target; return whether a figure is marked."""
    title = ("authenticated " if measurement.authenticated else "") + _TITLES[measurement.kind]
    click.echo(f"{title} to {_who(measurement)}")
    packets = measurement.total.packets
    click.echo(
        f"{packets.due} due, {packets.answered} answered, {packets.lost} lost "
        f"({_loss(packets)}), {packets.unmeasured} unmeasured, "
        f"{packets.duplicates} duplicates, {packets.reordered} reordered"
    )
    shape = measurement.to_json(floor)
    if not packets.answered:
        return False
    unit = time_unit(shape["rtt"]["quantiles"]["0.5"]["value"])
    marked = _print_distributions(shape, unit)
    for line in detail_lines(shape, measurement.dscp):
        click.echo(line)
    _print_histogram(measurement, unit, shape)
    _print_flows(measurement, unit)
    _print_quality(measurement)
    return marked


def _print_distributions(shape: dict[str, Any], unit: TimeUnit) -> bool:
    table = new_table(
        "", f"round trip, {unit.name}", "95 % interval", f"delay variation, {unit.name}"
    )
    variation = shape["jitter"]["pdv"]["quantiles"]
    could = shape["could_be_floor"]
    table.add_row("min", unit.format(shape["rtt"]["min"]) + _pad(could, None), "", "")
    for q, figure in shape["rtt"]["quantiles"].items():
        low, high = (unit.format(figure[side]) for side in ("low", "high"))
        value = unit.format(figure["value"]) + _pad(could, q)
        table.add_row(_percentile(q), value, f"{low} to {high}", unit.format(variation[q]["value"]))
    table.add_row("max", unit.format(shape["rtt"]["max"]) + _pad(could, None), "", "")
    print_table(table)
    jitter = shape["jitter"]["rfc3550"]
    several = len(shape["flows"]) > 1
    said = "by flow only (--json)" if several else f"{unit.format(jitter)} {unit.name}"
    click.echo(f"jitter (RFC 3550) {said}; a dash: too few packets to say")
    return any(could.values())


def _pad(could: dict[str, bool | None], q: str | None) -> str:
    """Return the mark of a figure, or as much room where another has one."""
    if not any(could.values()):
        return ""
    return _MARK if q is not None and could[q] else " " * len(_MARK)


def _print_histogram(measurement: Measurement, unit: TimeUnit, shape: dict[str, Any]) -> None:
    sketch = measurement.total.rtt()
    if sketch is None:
        return
    values = {q: each["value"] for q, each in shape["rtt"]["quantiles"].items()}
    at = {_percentile(q): value for q, value in values.items() if value is not None}
    plain = not _can_print("█", getattr(sys.stdout, "encoding", None))
    click.echo(f"\nround trips, {unit.name}, and packets (logarithmic axis)")
    for line in histogram_lines(sketch, unit, _width(), at, ascii_only=plain):
        click.echo(line)
    click.echo()


def _print_flows(measurement: Measurement, unit: TimeUnit) -> None:
    """Print a line for each source port: branches of the network that share load differ here."""
    if len(measurement.flows) == 1:
        return
    names = [f"{_percentile(q)}, {unit.name}" for q in _FLOW_SHOWN]
    table = new_table("source port", "due", "answered", "loss", *names, f"max, {unit.name}")
    for flow in measurement.flows:
        packets, rtt = flow.total.packets, flow.to_json()["rtt"]
        figures = [write_figure(rtt["quantiles"][q], unit) for q in _FLOW_SHOWN]
        port = "-" if flow.source_port is None else str(flow.source_port)
        counts = (str(packets.due), str(packets.answered), _loss(packets))
        table.add_row(port, *counts, *figures, unit.format(rtt["max"]))
    print_table(table)


def _print_quality(measurement: Measurement) -> None:
    """Say which class the figures are of, why that, and what is not in them."""
    total = measurement.total
    quality = total.quality
    if quality is None:
        return
    samples = total.samples()
    others = [f"{count} of class {q}" for q, count in samples.items() if q != quality and count]
    line = f"timestamps of class {quality}: {_CLASSES[quality]}"
    if others:
        line += f"; apart from these figures: {', '.join(others)}"
    click.echo(line)
    why = why_not_a(measurement)
    if why:
        click.echo(f"not of class A: {why}")


def _print_many(targets: Sequence[Measurement], floor: NoiseFloor | None) -> bool:
    """Print a line for each target; return whether a figure is marked."""
    shapes = [measurement.to_json(floor) for measurement in targets]
    known = [s["rtt"]["quantiles"]["0.5"]["value"] for s in shapes]
    unit = time_unit(max((value for value in known if value is not None), default=None))
    names = [f"{_percentile(q)}, {unit.name}" for q in _SHOWN]
    table = new_table("target", "due", "answered", "loss", *names, f"max, {unit.name}", "class")
    marked = False
    for measurement, shape in zip(targets, shapes, strict=True):
        packets, rtt, could = measurement.total.packets, shape["rtt"], shape["could_be_floor"]
        marked = marked or any(could.values())
        figures = [write_figure(rtt["quantiles"][q], unit) + _MARK * bool(could[q]) for q in _SHOWN]
        counts = (str(packets.due), str(packets.answered), _loss(packets))
        last = (unit.format(rtt["max"]), shape["rtt_quality"] or "-")
        table.add_row(escape(_who(measurement)), *counts, *figures, *last)
    print_table(table)
    for measurement in targets:
        if len(measurement.flows) > 1:
            click.echo(f"\n{_who(measurement)}")
            _print_flows(measurement, unit)
    for why, places in _by_reason(targets):
        click.echo(f"not of class A: {', '.join(places)}: {why}")
    return marked


def _who(measurement: Measurement) -> str:
    """Return a target as the user wrote it, and its address if that is another."""
    name, address = measurement.name, measurement.where
    return name if name == address else f"{name} ({address})"


def write_figure(figure: dict[str, float | None], unit: TimeUnit) -> str:
    """Write a percentile; where too few packets bound it from above, what it is at least."""
    if figure["high"] is not None or figure["low"] is None:
        return unit.format(figure["value"] if figure["high"] is not None else None)
    return f"≥ {unit.format(figure['low'])}"


def _by_reason(targets: Iterable[Measurement]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for measurement in targets:
        why = why_not_a(measurement)
        if why:
            found.setdefault(why, []).append(measurement.where)
    return list(found.items())


def _print_floor(floor: NoiseFloor | None, *, marked: bool) -> None:
    """Say what this host adds itself, beside figures that are not far above it."""
    if floor is None:
        return
    unit = time_unit(floor.figures["0.5"])
    figures = [f"{_percentile(q)} {unit.format(floor.figures[q])}" for q in _FLOOR_SHOWN]
    click.echo(f"this host's noise floor: {', '.join(figures)} {unit.name} (class {floor.quality})")
    if marked:
        click.echo("* less than three times that floor: this host may explain it, not the network")


def new_table(*headings: str) -> Table:
    """Return a table without lines, whose figures stand to the right."""
    table = Table(*headings, box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def print_table(table: Table) -> None:
    """Print in full; on a terminal too narrow for it lines are broken, but no figure is cut."""
    needed = Console(width=_UNLIMITED).measure(table).maximum
    console = Console(highlight=False)
    Console(highlight=False, width=max(console.width, needed)).print(table)


def _width() -> int:
    return shutil.get_terminal_size((80, 24)).columns


def _can_print(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _percentile(q: str) -> str:
    return f"p{float(q) * 100:g}"


def _loss(packets: PacketCounts) -> str:
    measured = packets.answered + packets.lost
    return format_percent(packets.lost / measured if measured else None)
