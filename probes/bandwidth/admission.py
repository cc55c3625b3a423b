"""Whom a bandwidth server serves, how much of it, and by what name it refuses the rest."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Final

from probes.bandwidth.busy import BusyError
from probes.bandwidth.control import Refusal
from probes.bandwidth.plan import Lease

_TEXT_MAX: Final = 200
LOADS_MAX: Final = 4
IDLE_S: Final = 30.0  # between a client's requests

CROWDED: Final = "too many connections"
GARBLED: Final = "garbled request"
SLOW: Final = "too slow"
UNPROVEN: Final = "no proof of the key"
STRANGER: Final = "data connection of no test"
BUSY: Final = "busy with another test"
BEYOND: Final = "asked for more than is allowed"
OUT_OF_TURN: Final = "request out of turn"
UNABLE: Final = "cannot be done here"
LOST: Final = "lease could not be kept"


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one test may take of this host and its network.

    Attributes:
        seconds: Of one load by TCP.
        bit_per_s: Of what this host sends in a load; with `seconds` also what a load carries.
        connections: At a time, of all peers.
        by_host: At a time, of one peer's address.
    """

    seconds: float = 30.0
    bit_per_s: float = 10e9
    connections: int = 64
    by_host: int = 32

    @property
    def octets(self) -> int:
        """Of one load."""
        return int(self.bit_per_s * self.seconds / 8)

    @property
    def session_s(self) -> float:
        """Of all that one client does in a test."""
        return LOADS_MAX * (self.seconds + IDLE_S)


class OneAtATime:
    """Lets one test run at a time, whatever it loads; a lease that is not released ends."""

    id: str | None = None  # it is no keeper that others ask

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: _Held | None = None

    def grant(self, names: tuple[str, ...], seconds: float, holder: str) -> Lease:
        """Lease everything; `names` are not looked at."""
        del names
        now_s = time.monotonic()
        with self._lock:
            held = self._holder
            if held is not None and now_s < held.ends_s:
                raise BusyError(f"{held.holder} tests here", held.ends_s - now_s)
            self._holder = _Held(self, holder, now_s + seconds)
            return self._holder

    def holds(self, held: _Held) -> bool:
        with self._lock:
            return self._holder is held

    def forget(self, held: _Held) -> None:
        with self._lock:
            if self._holder is held:
                self._holder = None


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    table: OneAtATime
    holder: str
    ends_s: float

    @property
    def usable(self) -> bool:
        """Whether nobody else has taken it; whoever is served ends by its own time."""
        return self.table.holds(self)

    def release(self) -> None:
        self.table.forget(self)


class RefusedRequest(Exception):
    """A request is refused: what to count, and what to say."""

    def __init__(
        self, reason: str, text: str = "", *, busy: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(text or reason)
        self.reason = reason
        self.message = Refusal(
            refused=(text or reason)[:_TEXT_MAX], busy=busy, retry_after=retry_after_s
        )
