"""`netslo doctor`: what this host can measure with, what it lacks, and what mends that."""

from __future__ import annotations

import json
import math
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import click

from netslo.config.options import NumberRange, json_option

if TYPE_CHECKING:
    from netslo.app.doctor import Examination, Finding

_SECONDS_MAX = 600
_WHAT_WIDTH = 30
_TEXT_WIDTH_MIN, _TEXT_WIDTH_MAX = 40, 90


@click.command()
@click.option(
    "--seconds",
    type=NumberRange(0.1, _SECONDS_MAX),
    default=4.0,
    show_default=True,
    help="How long the self-test sends packets; P99.9 needs about 4 s.",
)
@json_option
def doctor(*, seconds: float, as_json: bool) -> None:
    """Say what this host can do: noise floor, timestamps, clock, privileges, kernels, extras.

    Exit status 1 when it lacks something that measuring needs.
    """
    from netslo.app.doctor import examine

    if math.isnan(seconds):  # of which click's range thinks nothing
        raise click.BadParameter("nan is no time", param_hint="--seconds")
    if sys.stderr.isatty() and not as_json:
        click.echo(f"measuring this host itself for {seconds:g} s ...", err=True)
    found = examine(seconds)
    if as_json:
        click.echo(json.dumps(found.to_json(), allow_nan=False, indent=1))
    else:
        _print(found)
    if not found.able:
        sys.exit(1)


def _print(found: Examination) -> None:
    columns = shutil.get_terminal_size((80, 24)).columns
    width = min(max(columns - _WHAT_WIDTH, _TEXT_WIDTH_MIN), _TEXT_WIDTH_MAX)
    for finding in found.findings:
        for line in _lines(finding, width):
            click.echo(line)
    lacks = [finding.what for finding in found.findings if not finding.good]
    if not found.able:
        click.echo("\nThis host cannot measure.")
    elif lacks:
        click.echo(f"\nThis host can measure. What could be better: {', '.join(lacks)}.")
    else:
        click.echo("\nThis host can measure, and lacks nothing.")


def _lines(finding: Finding, width: int) -> list[str]:
    """Return a finding's lines; a path or a command is of no use cut, so it stays whole."""
    mark = "✓" if finding.good else ("✗" if finding.needed else "-")
    colour = "green" if finding.good else ("red" if finding.needed else "yellow")
    indent = " " * _WHAT_WIDTH
    texts = [*_wrapped(finding.found, width), *_wrapped(finding.meaning, width)]
    head = f"{click.style(mark, fg=colour, bold=True)} {finding.what:<{_WHAT_WIDTH - 2}}"
    lines = [head + (texts[0] if texts else "")] + [indent + text for text in texts[1:]]
    if finding.mend:
        lines.append(f"{indent}mend: {click.style(finding.mend, bold=True)}")
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
