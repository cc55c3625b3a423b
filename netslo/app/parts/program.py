"""A part that is somebody else's program."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

from netslo.app.children import Link
from netslo.errors import NetsloError


def program_part(link: Link, arguments: Sequence[str], log_file: pathlib.Path) -> None:
    """Become a program that writes to a log; ready when it is about to begin.

    It stays a child of the run, and dies with it.

    Raises:
        NetsloError: it cannot be begun.
    """
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    link.ready()
    try:
        os.execv(arguments[0], list(arguments))  # noqa: S606 - a program we have looked for
    except OSError as error:
        raise NetsloError(f"{arguments[0]}: {error.strerror}") from error
