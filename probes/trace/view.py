"""What `netslo measure trace` says to a person: while it runs, and when it is over."""

from __future__ import annotations

from typing import Final

import click
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from analytics.summary import distribution
from netslo.route import Hop
from netslo.units import TimeUnit, format_percent, time_unit
from probes.measure_view import new_table, print_table, write_figure
from probes.trace.measuring import (
    Branch,
    BranchHop,
    TraceMeasurement,
    TraceMeasuring,
    outcome,
    own_limits,
)

_QS: Final = (0.5, 0.9, 0.99)
_LIMITED: Final = " *"


def live_view(measuring: TraceMeasuring) -> Group:
    """Return how it goes."""
    result = measuring.result
    state = ", searching the path MTU" if measuring.searching else ""
    parts: list[Text | Table] = [
        Text(f"{_title(result)}: round {result.tracing.rounds} of {result.plan.rounds}{state}")
    ]
    branches = measuring.look()
    for number, branch in enumerate(branches, start=1):
        parts += [Text(_heading(branch, number, len(branches))), _table(branch)]
    return Group(*parts)


def print_trace(result: TraceMeasurement) -> None:
    """Say what came of it."""
    rounds = result.tracing.rounds
    click.echo(f"{_title(result)}, {rounds} round{'s' * (rounds != 1)}")
    branches = result.branches()
    limited = False
    for number, branch in enumerate(branches, start=1):
        click.echo(_heading(branch, number, len(branches)))
        print_table(_table(branch))
        limited = limited or any(own_limits(branch.hops))
        for line in _ends(branch):
            click.echo(line)
    if limited:
        click.echo("* a hop behind it loses less: this one limits its answers, and drops nothing")
    if not result.privileged:
        click.echo("without CAP_NET_RAW: a packet of a flow at a time, no MPLS labels, UDP only")
    for reason, number in result.discarded.most_common():
        click.echo(f"{number}: {reason}")


def why_not_reached(result: TraceMeasurement) -> str:
    """Say in one sentence which flows did not come to the target, and how far they came."""
    lost = [branch for branch in result.branches() if not branch.reached]
    flows = sum(len(branch.flows) for branch in lost)
    whole = len(result.tracing.records)
    who = "" if flows == whole else f" by {flows} of {whole} flows"
    said = {outcome(branch.end) for branch in lost} - {None}
    far = max((len(branch.hops) for branch in lost), default=0)
    last = f"; nobody answered behind hop {far}" if far else "; nobody answered at all"
    why = f": {', '.join(sorted(filter(None, said)))}" if said else last
    return f"{_who(result)} was not reached{who}{why}"


def _title(result: TraceMeasurement) -> str:
    plan = result.plan
    port = f" port {plan.port}" if plan.port else ""
    return f"{plan.protocol.upper()} to {_who(result)}{port}"


def _who(result: TraceMeasurement) -> str:
    name, address = result.target.host, result.address.host
    return name if name == address else f"{name} ({address})"


def _heading(branch: Branch, number: int, of: int) -> str:
    ports = ", ".join(str(flow.source_port) for flow in branch.flows)
    kind = "identifier" if branch.flows[0].protocol == "icmp" else "source port"
    flows = f"{kind}{'s' * (len(branch.flows) != 1)} {ports}"
    return f"branch {number} of {of}: {flows}" if of > 1 else flows


def _table(branch: Branch) -> Table:
    unit = _unit(branch)
    names = [f"p{q * 100:g}" for q in _QS]
    table = new_table("hop", "router", "sent", "loss", f"min, {unit.name}", *names, "max")
    table.columns[1].justify = "left"
    for hop, limits in zip(branch.hops, own_limits(branch.hops), strict=True):
        settled = hop.answered + hop.lost
        loss = format_percent(hop.lost / settled if settled else None, 0)
        table.add_row(
            str(hop.ttl),
            escape(_router(hop)),
            str(hop.sent),
            loss + (_LIMITED if limits else " " * len(_LIMITED)),
            *_figures(hop, unit),
        )
    return table


def _unit(branch: Branch) -> TimeUnit:
    medians = [float(h.rtt.quantiles([0.5])[0]) for h in branch.hops if h.rtt.count]
    return time_unit(max(medians, default=None))


def _router(hop: BranchHop) -> str:
    if hop.last is None:
        return str(Hop(None))
    text = hop.last.address
    if hop.last.labels:
        text += " MPLS " + "/".join(str(label.value) for label in hop.last.labels)
    others = [address for address in hop.addresses if address != hop.last.address]
    if others:
        text += f" (also {', '.join(others)})"
    return f"{text} {hop.last.mark}".rstrip()


def _figures(hop: BranchHop, unit: TimeUnit) -> list[str]:
    shape = distribution(hop.rtt, _QS)
    values = [write_figure(figure, unit) for figure in shape["quantiles"].values()]
    return [unit.format(shape["min"]), *values, unit.format(shape["max"])]


def _ends(branch: Branch) -> list[str]:
    lines = []
    said = outcome(branch.end)
    if said is not None and branch.end is not None:
        lines.append(f"{branch.end.address} says: {said} ({branch.end.mark})")
    if branch.mtu is not None:
        lines.append(_mtu(branch))
    return lines


def _mtu(branch: Branch) -> str:
    mtu = branch.mtu
    if mtu is None or mtu.octets is None:
        return "path MTU not known: the target does not answer packets that would tell"
    if mtu.black_hole:
        return (
            f"path MTU {mtu.octets} octets, a black hole: larger packets vanish, "
            "and no router says so"
        )
    told = f", told by {mtu.told_by}" if mtu.told_by else ""
    return f"path MTU {mtu.octets} octets{told}"
