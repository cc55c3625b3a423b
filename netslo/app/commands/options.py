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


class EndpointType(click.ParamType[Endpoint]):
    """`HOST:PORT` or `[IPv6]:PORT`."""

    name = "HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Endpoint:
        if isinstance(value, Endpoint):
            return value
        host, colon, port = str(value).rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004
            self.fail(f"{value!r} is not HOST:PORT with a port from 0 to 65535", param, ctx)
        return Endpoint(host, int(port))


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
