"""`netslo healthcheck`: one answer for a container's health check, without curl or a shell."""

from __future__ import annotations

import os
from typing import Final

import click

from netslo.app.commands.options import read_url
from netslo.config.options import NumberRange
from netslo.errors import ConfigurationError, NetsloError
from netslo.notify import ALIVE_FILE, alive_age_s

_ANSWER_MAX: Final = 300


@click.command()
@click.option(
    "--url", callback=read_url, metavar="URL", help="Ask this, such as http://HOST:4318/healthz."
)
@click.option(
    "--file",
    "alive_file",
    metavar="FILE",
    help=f"Where the process beats.  [default: ${ALIVE_FILE}]",
)
@click.option(
    "--within",
    "patience_s",
    type=NumberRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How old the last beat may be, and how long an answer may take.",
)
def healthcheck(url: str | None, alive_file: str | None, patience_s: float) -> None:
    """Exit 0 where a netslo process is well, else 1 with the reason.

    A collector is asked: --url. `probe`, `reflect` and `webhook` beat once a second, while they
    work, into the file that NETSLO_ALIVE_FILE names in their environment.
    """
    if url is not None and alive_file is not None:
        raise ConfigurationError("--url and --file exclude each other")
    alive_file = alive_file or os.environ.get(ALIVE_FILE)
    if url is not None:
        _ask(url, patience_s)
    elif alive_file:
        age_s = alive_age_s(alive_file)
        if age_s is None:
            raise NetsloError(f"{alive_file}: no beat yet")
        if age_s > patience_s:
            raise NetsloError(f"{alive_file}: the last beat was {age_s:.0f} s ago")
    else:
        raise ConfigurationError(f"--url or --file is needed, or {ALIVE_FILE} in the environment")


def _ask(url: str, patience_s: float) -> None:
    import http.client
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(parts.netloc.rpartition("@")[2], timeout=patience_s)
        try:
            connection.request("GET", parts._replace(scheme="", netloc="").geturl() or "/")
            answer = connection.getresponse()
            text = answer.read(_ANSWER_MAX).decode(errors="replace").strip()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise NetsloError(f"{url}: {error}") from error
    if answer.status != http.client.OK:
        raise NetsloError(f"{url}: {answer.status} {answer.reason}: {text}")
