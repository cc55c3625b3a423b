"""Keepers of leases: one on disk, for every process of a host, and one in memory."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from probes.bandwidth.book import DRAIN_S, LeaseBook, Load, forgetful_table
from probes.bandwidth.clock import boot_id, now_s
from probes.bandwidth.lease import Busy
from probes.bandwidth.state import LEASES_FILE, NEW, StateDirectory

# Of a file's content; what is infinite is no whole number.
_DAMAGED: Final = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError)


class Keeper(Protocol):
    """One end's leases. Calls may come from any thread."""

    @property
    def id(self) -> str:
        """Which keeper this is: leases are acquired in the order of ids."""

    def acquire(self, names: Iterable[str], holder: str, term_s: float) -> int | Busy:
        """Lease all names for so long from now on, or none; return the token."""

    def renew(self, token: int, term_s: float) -> bool:
        """Let a lease end so long from now; false when it cannot be kept."""

    def begin(self, token: int) -> bool:
        """Note that what is leased is loaded from now on; false when the lease has ended.

        When this returns, every agent that goes by this keeper sees it: load nothing before.
        """

    def release(self, token: int, drain_s: float = DRAIN_S) -> None:
        """End a lease `drain_s` from now, when what it loaded is empty again."""


class FileKeeper:
    """The leases of a state directory: shells, agent and server of one host agree by it."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self._boot = boot_id()

    @property
    def id(self) -> str:
        return self._state.id

    def acquire(self, names: Iterable[str], holder: str, term_s: float) -> int | Busy:
        with self._changing() as book:
            return book.acquire(names, holder, term_s, now_s(), time.time_ns())

    def renew(self, token: int, term_s: float) -> bool:
        with self._changing() as book:
            return book.table.renew(token, term_s, now_s()) is not None

    def begin(self, token: int) -> bool:
        with self._changing() as book:
            return book.begin(token, now_s(), time.time_ns())

    def release(self, token: int, drain_s: float = DRAIN_S) -> None:
        with self._changing() as book:
            book.release(token, drain_s, now_s(), time.time_ns())

    def valid(self, token: int) -> bool:
        """Whether a lease has not ended."""
        return self._read().table.valid(token, now_s())

    def loads(self) -> list[Load]:
        """Return what was loaded lately or is; without a lock, for files change whole."""
        return self._read().all_loads(now_s(), time.time_ns())

    @contextmanager
    def _changing(self) -> Iterator[LeaseBook]:
        with self._state.locked():
            book = self._read()
            yield book
            book.tidy(now_s(), time.time_ns())
            body = json.dumps(book.to_json()).encode()
            self._state.replace(LEASES_FILE, body)

    def _read(self) -> LeaseBook:
        """Return the book; if it has gone or is damaged, one that leases nothing for a while."""
        body = self._state.read(LEASES_FILE)
        if body == NEW:
            return LeaseBook.empty(self._boot)
        try:
            return LeaseBook.from_json(json.loads(body or b""), self._boot, now_s(), time.time_ns())
        except _DAMAGED:
            return LeaseBook(forgetful_table(time.time_ns(), now_s()), boot=self._boot)
