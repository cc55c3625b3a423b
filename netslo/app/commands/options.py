"""Options that several commands share."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

import click

from netslo.errors import ConfigurationError
from netslo.model import Endpoint

F = TypeVar("F", bound=Callable[..., Any])

DATA_DIR = "netslo-data"
STORE_FILE = "store.sqlite"
PORT_MAX = 65_535


def read_endpoint(_context: click.Context, _parameter: click.Parameter, value: str) -> Endpoint:
    """Read an option's `HOST:PORT` or `[IPv6]:PORT`."""
    host, colon, port = value.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    number = int(port) if port.isascii() and port.isdecimal() else -1
    if not colon or not bare or (":" in bare) != (bare != host) or not 0 <= number <= PORT_MAX:
        raise click.BadParameter(f"{value!r} is not HOST:PORT with a port from 0 to {PORT_MAX}")
    return Endpoint(bare, number)


def config_option(function: F) -> F:
    """Add `-c/--config DIR`."""
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


def make_directory(directory: pathlib.Path, purpose: str) -> pathlib.Path:
    """Make a folder for data, with its parents.

    Raises:
        ConfigurationError: it cannot be made or is not a folder.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{directory}: {purpose} folder: {error.strerror}") from error
    return directory
