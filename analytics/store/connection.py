"""One SQLite connection which threads share, a transaction at a time."""

from __future__ import annotations

import contextlib
import pathlib
import sqlite3
import threading
from collections.abc import Iterator
from typing import Final

from analytics.store.interface import StoreFull
from netslo.errors import NetsloError

_FULL: Final = frozenset(
    {
        "SQLITE_FULL",
        "SQLITE_IOERR_WRITE",
        "SQLITE_IOERR_FSYNC",
        "SQLITE_IOERR_TRUNCATE",
        "SQLITE_IOERR_SHMSIZE",
    }
)
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PRIMARY_CODE: Final = 0xFF  # of an extended result code


class Connection:
    """Whoever holds a transaction has the connection alone; nobody holds one across calls."""

    def __init__(self, connection: sqlite3.Connection, file: pathlib.Path) -> None:
        self._connection = connection
        self._file = file
        self._lock = threading.RLock()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """See one state of the store, whatever is written meanwhile.

        Raises:
            NetsloError: the file is damaged, or another process keeps it busy.
        """
        with self._transaction("DEFERRED"):
            yield self._connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Commit what the block does, all or nothing.

        Raises:
            StoreFull: the file system has no room; nothing was kept.
            NetsloError: as for `reading`; nothing was kept.
        """
        with self._transaction("IMMEDIATE"):
            yield self._connection

    @contextlib.contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        with self._lock:
            try:
                self._connection.execute(f"BEGIN {kind}")
                yield
                self._connection.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                self._roll_back()
                known = self._explained(error)
                if known is None:
                    raise
                raise known from error
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.DatabaseError):  # a full disk rolls back by itself
                self._connection.execute("ROLLBACK")

    def _explained(self, error: sqlite3.DatabaseError) -> NetsloError | None:
        """Return what a user can act on; None for a mistake of ours."""
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
        if getattr(error, "sqlite_errorname", "") in _FULL:
            return StoreFull(f"the store's disk is full ({error})")
        if code in _DAMAGED:
            return NetsloError(
                f"{self._file}: the store is damaged ({error}); move it away, a new one is made"
            )
        if code == sqlite3.SQLITE_BUSY:
            return NetsloError(f"{self._file}: another process keeps the store busy ({error})")
        return None
