"""Command-line options that commands of every floor share, and where a run keeps its data."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from netslo.units import parse_duration, parse_octets, parse_rate

F = TypeVar("F", bound=Callable[..., Any])
N = TypeVar("N", int, float)

DATA_DIR: Final = "netslo-data"  # in the configuration's folder, unless the user says otherwise
STORE_FILE: Final = "store.sqlite"
SPOOL_DIR: Final = "spool"
STATE_DIR: Final = "state"


class NumberRange(click.FloatRange):
    """A range of numbers; nan, which is neither below nor above anything, is none of them."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


def config_option(function: F) -> F:
    """Add `-c/--config DIR`, as `config_dir`."""
    return click.option(
        "-c",
        "--config",
        "config_dir",
        type=click.Path(path_type=pathlib.Path, file_okay=False),
        default=".",
        show_default=True,
        metavar="DIR",
        help="Folder with estate.yaml and slos/*.yaml.",
    )(function)


def json_option(function: F) -> F:
    """Add `--json`, as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def file_option(name: str, variable: str, help_: str) -> Callable[[F], F]:
    """Return an option which takes the path of a file, there or not."""
    kind = click.Path(path_type=pathlib.Path, dir_okay=False)
    return click.option(name, variable, type=kind, metavar="FILE", help=help_)


def directory_option(name: str, variable: str, help_: str) -> Callable[[F], F]:
    """Return an option which takes the path of a folder, there or not."""
    kind = click.Path(path_type=pathlib.Path, file_okay=False)
    return click.option(name, variable, type=kind, metavar="DIR", help=help_)


def state_option(function: F) -> F:
    """Add `--state DIR`, as `state_dir`; None: `probes.bandwidth.state` knows where."""
    return directory_option(
        "--state",
        "state_dir",
        "Folder of this site's leases and byte budget, the same one for all of its processes; "
        "of several sites, each has one inside.  "
        "[default: $NETSLO_STATE, or /var/lib/netslo, or ~/.local/state/netslo]",
    )(function)


def _reader(parse: Callable[[str], N]) -> Callable[[click.Context, click.Parameter, str], N | None]:
    """Return the callback of an option that `parse` reads; None where it is not given."""

    def read(_context: click.Context, _parameter: click.Parameter, value: str | None) -> N | None:
        try:
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return read


# Callbacks of options.
read_duration = _reader(parse_duration)  # seconds
read_rate = _reader(parse_rate)  # bit/s
read_octets = _reader(parse_octets)
