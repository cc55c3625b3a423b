"""Files that are whole or not there, in a folder that one process holds."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import pathlib
from typing import Final

from netslo.errors import NetsloError

TEMPORARY: Final = ".tmp"  # ends the names of files that are not whole yet

_log = logging.getLogger(__name__)


def claim(directory: pathlib.Path) -> int:
    """Return a descriptor of the folder which holds it for this process until closed.

    The folder is made if need be.

    Raises:
        NetsloError: it cannot be made, read or written, or another process holds it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NetsloError(f"{directory}: spool folder: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise NetsloError(
                f"{directory}: another probe uses this spool; stop it or choose another folder"
            ) from error
        raise NetsloError(
            f"{directory}: spool folder cannot be locked: {error.strerror}"
        ) from error
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        os.close(descriptor)
        raise NetsloError(f"{directory}: spool folder is not writable by this user")
    return descriptor


def write_durably(directory: pathlib.Path, name: str, body: bytes) -> None:
    """Make a file which survives a power cut, or none.

    Raises:
        OSError: the disk does not take it; nothing of it is left.
    """
    file, temporary = directory / name, directory / (name + TEMPORARY)
    try:
        with temporary.open("xb") as stream:
            stream.write(body)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(file)
        sync_folder(directory)
    except OSError:
        for leftover in (temporary, file):  # else the next try would find its name taken
            unlink_quietly(leftover)
        raise


def replace_durably(directory: pathlib.Path, name: str, body: bytes) -> None:
    """Put a new file in the place of one; a power cut leaves the old one or the new one.

    Raises:
        OSError: the disk does not take it; the old one is still there.
    """
    temporary = directory / (name + TEMPORARY)
    try:
        with temporary.open("wb") as stream:
            stream.write(body)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(directory / name)
        sync_folder(directory)
    except OSError:
        unlink_quietly(temporary)
        raise


def sync_folder(directory: pathlib.Path) -> None:
    """Make the names in a folder durable, which a file's own fsync does not."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unlink_quietly(file: pathlib.Path) -> None:
    """Delete a file if it is there; a failure is logged."""
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("%s: cannot be deleted: %s", file, error.strerror)
