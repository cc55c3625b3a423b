"""`netslo doctor`: what this host can measure with, what it lacks, and what that means."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from netslo.config.options import json_option

if TYPE_CHECKING:
    from netslo.app.doctor import Finding


@click.command()
@json_option
def doctor(*, as_json: bool) -> None:
    """Say what this host can do: timestamps, privileges, clock, noise floor, extras.

    Exit status 1 when it lacks something that measuring needs.
    """
    from netslo.app.doctor import examine

    findings = examine()
    if as_json:
        click.echo(json.dumps({"findings": [f.to_json() for f in findings]}, indent=1))
    else:
        _print(findings)
    if any(finding.needed and not finding.good for finding in findings):
        sys.exit(1)


def _print(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "found", "which means"):
        table.add_column(heading, overflow="fold")  # a path or an option is of no use cut
    for finding in findings:
        style = "green" if finding.good else ("bold red" if finding.needed else "yellow")
        mark = "✓" if finding.good else ("✗" if finding.needed else "-")
        texts = map(escape, (finding.what, finding.found, finding.meaning))
        table.add_row(f"[{style}]{mark}[/]", *texts)
    Console(highlight=False).print(table)
