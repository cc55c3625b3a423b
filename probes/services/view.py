"""What `netslo measure http` and the like say to a person."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import click
import numpy as np
from rich.text import Text

from netslo.model import ProbeKind
from netslo.service import Phase
from netslo.units import TimeUnit, format_percent, time_unit
from probes.measure_view import new_table, print_table, write_figure
from probes.services.measuring import ServiceMeasurement, ServiceMeasuring

_TITLES: Final = {
    ProbeKind.TCP: "TCP to",
    ProbeKind.TLS: "TLS to",
    ProbeKind.HTTP: "HTTP",
    ProbeKind.DNS: "DNS",
}
_PARTS: Final = {
    Phase.DNS: "dns",
    Phase.CONNECT: "connect",
    Phase.TLS: "TLS",
    Phase.FIRST_BYTE: "first byte",
    Phase.TRANSFER: "transfer",
}
_QS: Final = ("0.5", "0.9", "0.99")
_SOON_DAYS: Final = 14


def live_line(measuring: ServiceMeasuring) -> Text:
    """Return how it goes."""
    counts, rtt_s = measuring.totals, measuring.recent_rtt_s()
    last = p50 = p99 = None
    if rtt_s.size:
        last = float(rtt_s[-1])
        p50, p99 = np.quantile(rtt_s, [0.5, 0.99], method="lower").tolist()
    unit = time_unit(p50)
    return Text(
        f"{measuring.result.target}: {counts.answered} of {counts.due} answered, "
        f"loss {_loss(counts.answered, counts.lost)}, "
        f"last {unit.format(last)}, p50 {unit.format(p50)}, p99 {unit.format(p99)} {unit.name}"
    )


def print_service(result: ServiceMeasurement, now: dt.datetime) -> None:
    """Say what came of it."""
    shape = result.to_json()
    click.echo(f"{_TITLES[result.total.key.probe]} {result.target}")
    click.echo(
        f"{shape['due']} due, {shape['answered']} answered, {shape['lost']} lost "
        f"({_loss(shape['answered'], shape['lost'])}), {shape['unmeasured']} unmeasured"
    )
    if shape["answered"]:
        _print_phases(shape)
    for text, requests in result.details.most_common():
        click.echo(f"{requests}: {text}")
    for reason, requests in result.discarded.most_common():
        click.echo(f"{requests}: {reason}")
    _print_certificate(result, now)


def why_no_answer(result: ServiceMeasurement) -> str:
    """Say in one sentence that nothing came of it."""
    ends = ", ".join(text for text, _ in (result.details or result.discarded).most_common(3))
    return f"{result.target}: no right answer" + (f": {ends}" if ends else "")


def _print_phases(shape: dict[str, Any]) -> None:
    unit = time_unit(shape["rtt"]["quantiles"]["0.5"]["value"])
    names = [f"p{float(q) * 100:g}" for q in _QS]
    table = new_table(unit.name, "min", *names, "max")
    for phase, title in _PARTS.items():
        figures = shape["phases"][phase.value]
        if figures["count"]:
            table.add_row(title, *_row(figures, unit))
    table.add_row("total", *_row(shape["rtt"], unit))
    print_table(table)


def _row(figures: dict[str, Any], unit: TimeUnit) -> list[str]:
    values = [write_figure(figures["quantiles"][q], unit) for q in _QS]
    return [unit.format(figures["min"]), *values, unit.format(figures["max"])]


def _print_certificate(result: ServiceMeasurement, now: dt.datetime) -> None:
    expires = result.certificate_expiry
    if expires is None:
        return
    days = (expires - now).days
    soon = " - soon" if days < _SOON_DAYS else ""
    click.echo(f"certificate expires {expires:%Y-%m-%d %H:%M} UTC, in {days} days{soon}")


def _loss(answered: int, lost: int) -> str:
    return format_percent(lost / (answered + lost) if answered + lost else None)
