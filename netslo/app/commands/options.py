"""What several commands of the door read in the same way."""

from __future__ import annotations

import pathlib
from typing import Final
from urllib.parse import urlsplit

import click

from netslo.errors import ConfigurationError
from netslo.model import Endpoint

OTLP_PORT: Final = 4318  # OTLP/HTTP's own


def read_endpoint(_context: click.Context, _parameter: click.Parameter, value: str) -> Endpoint:
    """Read an option's `HOST:PORT` or `[IPv6]:PORT`."""
    from probes.address import parse_endpoint

    try:
        return parse_endpoint(value, OTLP_PORT)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def read_url(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Read an option's `http://` or `https://` URL."""
    if value is not None:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise click.BadParameter(f"{value!r} is not a URL such as http://host:9090/path")
    return value


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
