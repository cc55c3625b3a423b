"""The key that a reflector and its senders share: one file, one key."""

from __future__ import annotations

import logging
import pathlib
import stat
from typing import Final

from netslo.errors import ConfigurationError, Problem

SIZE_MIN: Final = 16  # octets: the HMAC of an authenticated packet is as long (RFC 8762 §4.4)
SIZE_MAX: Final = 4096
_OPEN: Final = stat.S_IRWXG | stat.S_IRWXO

_log = logging.getLogger(__name__)


def read_key(file: pathlib.Path) -> bytes:
    """Return the octets of a key file, without the line end that an editor leaves behind them.

    A file that others than its owner may use is taken, with a warning.

    Raises:
        ConfigurationError: it cannot be read, is no file, or is too short or too long for a key.
    """
    try:
        mode = file.stat().st_mode
        if not stat.S_ISREG(mode):  # to open a pipe could hold us for ever
            raise _fault(file, "is no ordinary file; expected one with a key in it")
        with file.open("rb") as opened:
            octets = opened.read(SIZE_MAX + 3)
    except OSError as error:
        raise _fault(file, f"the key cannot be read: {error.strerror}") from error
    key = octets.removesuffix(b"\n").removesuffix(b"\r")
    if not SIZE_MIN <= len(key) <= SIZE_MAX:
        found = f"{len(key)}" if len(key) <= SIZE_MAX else "more"
        raise _fault(file, f"has a key of {found} octets; expected {SIZE_MIN} to {SIZE_MAX}")
    if mode & _OPEN:
        _log.warning(
            "%s: others may use this key (mode %04o); chmod 600 keeps it to its owner",
            file,
            stat.S_IMODE(mode),
        )
    return key


def read_keys(files: set[pathlib.Path]) -> dict[pathlib.Path, bytes]:
    """Return the key of each file.

    Raises:
        ConfigurationError: with the fault of every file that has one.
    """
    keys: dict[pathlib.Path, bytes] = {}
    problems: list[Problem] = []
    for file in sorted(files):
        try:
            keys[file] = read_key(file)
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    return keys


def _fault(file: pathlib.Path, expected: str) -> ConfigurationError:
    return ConfigurationError([Problem(str(file), None, "", "", expected)])
