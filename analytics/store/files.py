"""Opening the store's file, and what its file system may do to it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import shutil
import sqlite3
import stat
from typing import Final

from analytics.store.schema import APPLICATION_ID, SCHEMA, UPGRADES, VERSION
from netslo.errors import ConfigurationError, NetsloError

BALLAST_BYTES: Final = 4 * 1024 * 1024
_COMFORT_BYTES: Final = 2 * BALLAST_BYTES  # so much room, and the ballast is made
_BUSY_TIMEOUT_S: Final = 30.0


def connect(file: pathlib.Path, *, readonly: bool) -> sqlite3.Connection:
    """Open a store, which is made if it is not there and may be written.

    Raises:
        NetsloError: no such file or folder, no permission, not a store, or a newer one.
    """
    _find(file, there=readonly)
    uri = f"{file.absolute().as_uri()}?mode={'ro' if readonly else 'rwc'}"
    try:
        connection = sqlite3.connect(
            uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
    except sqlite3.OperationalError as error:
        raise NetsloError(f"{file}: cannot be opened: {error}") from error
    try:
        _prepare(connection, file, readonly=readonly)
    except sqlite3.Error as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):
            raise NetsloError(f"{file}: cannot be opened: {error}") from error
        raise NetsloError(f"{file}: not a netslo store: {error}") from error
    except NetsloError:
        connection.close()
        raise
    return connection


def _find(file: pathlib.Path, *, there: bool) -> None:
    """See that a store's folder, and the store itself if it must be `there`, exist."""
    try:
        if not stat.S_ISDIR(file.parent.stat().st_mode):
            raise NetsloError(f"{file}: {file.parent} is not a folder")
        if there:
            file.stat()
    except FileNotFoundError as error:
        if file.parent.exists():
            raise ConfigurationError(f"{file}: no such store; has a collector run here?") from error
        raise ConfigurationError(f"{file}: the folder {file.parent} does not exist") from error
    except OSError as error:
        raise NetsloError(f"{file}: cannot be opened: {error.strerror}") from error


def _prepare(connection: sqlite3.Connection, file: pathlib.Path, *, readonly: bool) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables == 0 and not readonly:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(
            f"BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {VERSION}; COMMIT;"
        )
        return
    if application != APPLICATION_ID:
        raise NetsloError(f"{file}: not a netslo store")
    if version in UPGRADES and not readonly:
        connection.executescript(
            f"BEGIN IMMEDIATE; {UPGRADES[version]} PRAGMA user_version = {VERSION}; COMMIT;"
        )
    elif version != VERSION:
        older = "; its collector of this version takes it over" if version in UPGRADES else ""
        raise NetsloError(
            f"{file}: is of store version {version}, this netslo knows version {VERSION}{older}"
        )
    connection.execute("PRAGMA synchronous = FULL")


class Hold:
    """That a store has one writer: two would give different streams the same number.

    A lock of the operating system, so that none is left behind by a process that was killed.
    """

    def __init__(self, store: pathlib.Path) -> None:
        """Take hold of a store, which need not be there yet, before anything of it is touched.

        Raises:
            NetsloError: another one holds it, or the folder is not there or cannot be written.
        """
        _find(store, there=False)
        file = store.with_name(store.name + ".lock")
        try:
            self._lock = file.open("ab")
        except OSError as error:
            raise NetsloError(f"{file}: cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise NetsloError(f"{store}: another collector is writing this store") from error
        except OSError:  # a file system without locks; whoever chose it must see to it
            pass

    def release(self) -> None:
        """Let go of it."""
        self._lock.close()


class Ballast:
    """Room kept in reserve, so that a full disk can be emptied.

    Deleting rows writes too; on a full disk it fails unless something else makes room first.
    """

    def __init__(self, store: pathlib.Path) -> None:
        self._file = store.with_name(store.name + ".ballast")

    def keep(self) -> None:
        """Make the file if it is missing and there is room to spare."""
        with contextlib.suppress(OSError):  # the next maintenance tries again
            if self._size() == BALLAST_BYTES:
                return
            if shutil.disk_usage(self._file.parent).free < _COMFORT_BYTES:
                return
            with self._file.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)

    def release(self) -> bool:
        """Give the room back; False when there is none to give."""
        if not self._size():
            return False
        try:
            self._file.unlink()
        except OSError:
            return False
        return True

    def _size(self) -> int:
        try:
            return self._file.stat().st_size
        except OSError:
            return 0
