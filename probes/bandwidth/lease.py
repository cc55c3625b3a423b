"""Leases: who may load a bottleneck, and until when. No socket, no file and no clock in here.

A test runs only while the keepers at both of its ends have leased it the bottleneck. Clocks are
monotonic, each host has its own, and what they may differ in is their rate:

- A keeper counts a lease from when it was asked, by its own clock, and never shortens it.
- A holder counts from before it asked, by its own clock, less what the two rates may differ, and
  less the time it takes to stop and the queues take to drain: `usable_until`.
- A keeper that does not remember what it leased waits for the longest term before it leases again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

TERM_S: Final = 15.0  # of a lease: a dead holder blocks others for so long
TERM_S_MAX: Final = 30.0
RENEW_S: Final = TERM_S / 3  # how often a holder renews: two may fail
RATE_ERROR: Final = 0.01  # of any clock; kernels slew by 0.0005 and crystals are off by 0.0001
STOP_S: Final = 2.0  # from a holder's deadline until nothing of its test is on the way
HOLD_S_MAX: Final = 1000.0  # by however many renewals
LEASES_MAX: Final = 64
NAMES_MAX: Final = 8
TEXT_MAX: Final = 160


@dataclass(frozen=True, slots=True)
class Lease:
    """Leave to load what is named. Times are of the keeper's clock.

    `token` grows from lease to lease of one keeper, through its restarts: who has seen a token
    need not obey an older one.
    """

    names: tuple[str, ...]
    holder: str  # in words, for whoever finds it taken
    token: int
    since_s: float
    ends_s: float


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else may be loading it."""

    holder: str
    remaining_s: float  # at most; it may be renewed or released


FORGOTTEN: Final = "somebody from before a restart, perhaps"
CROWD: Final = "too many others"


class LeaseTable:
    """The leases of one keeper; `now_s` is its monotonic clock, seconds."""

    def __init__(
        self,
        next_token: int,
        leases: Iterable[Lease] = (),
        *,
        free_from_s: float = float("-inf"),
    ) -> None:
        """Take up the leases there are.

        Args:
            next_token: Larger than every token of this keeper so far.
            leases: What is known to be leased.
            free_from_s: Before that nothing is leased: `TERM_S_MAX` from the start of a keeper
                which does not know what it had leased.
        """
        self._next_token = next_token
        self._leases = {lease.token: lease for lease in leases}
        self.free_from_s = free_from_s

    @property
    def next_token(self) -> int:
        return self._next_token

    @property
    def leases(self) -> tuple[Lease, ...]:
        """Every lease, with those that have ended."""
        return tuple(self._leases.values())

    def acquire(
        self, names: Iterable[str], holder: str, term_s: float, now_s: float
    ) -> Lease | Busy:
        """Lease all of the names, or none.

        Raises:
            ValueError: the names, the holder or the term are out of bounds.
        """
        wanted = _checked(names, holder, term_s)
        if now_s < self.free_from_s:
            return Busy(FORGOTTEN, self.free_from_s - now_s)
        current = [lease for lease in self._leases.values() if now_s < lease.ends_s]
        taken = [lease for lease in current if not wanted.isdisjoint(lease.names)]
        if taken:
            last = max(taken, key=lambda lease: lease.ends_s)
            return Busy(last.holder, last.ends_s - now_s)
        if len(current) >= LEASES_MAX:
            return Busy(CROWD, min(lease.ends_s for lease in current) - now_s)
        lease = Lease(tuple(sorted(wanted)), holder, self._next_token, now_s, now_s + term_s)
        self._next_token += 1
        self._leases[lease.token] = lease
        return lease

    def renew(self, token: int, term_s: float, now_s: float) -> Lease | None:
        """Let a lease end no sooner than `term_s` from now.

        None when it has ended, or would have been held for longer than `HOLD_S_MAX`: it ends when
        it was to end.

        Raises:
            ValueError: the term is out of bounds.
        """
        _check_term(term_s)
        lease = self._leases.get(token)
        if lease is None or now_s >= lease.ends_s:
            return None
        ends_s = now_s + term_s
        if ends_s > lease.since_s + HOLD_S_MAX:
            return None
        renewed = replace(lease, ends_s=max(lease.ends_s, ends_s))
        self._leases[token] = renewed
        return renewed

    def release(self, token: int, ends_s: float) -> None:
        """Let a lease end sooner; of one that has gone, nothing is left to do."""
        lease = self._leases.get(token)
        if lease is not None:
            self._leases[token] = replace(lease, ends_s=min(lease.ends_s, ends_s))

    def valid(self, token: int, now_s: float) -> bool:
        """Whether a lease has not ended."""
        lease = self._leases.get(token)
        return lease is not None and now_s < lease.ends_s

    def forget_ended(self, now_s: float) -> list[Lease]:
        """Drop the leases that have ended, and return them."""
        ended = [lease for lease in self._leases.values() if now_s >= lease.ends_s]
        for lease in ended:
            del self._leases[lease.token]
        return ended


def usable_until(asked_s: float, term_s: float) -> float:
    """Return when a holder must stop; its own clock, read before it asked.

    Whoever stops then has stopped, and its packets are gone, before the keeper leases again: the
    holder's clock may be slow by `RATE_ERROR` and the keeper's fast by as much.
    """
    return asked_s + term_s * (1 - RATE_ERROR) / (1 + RATE_ERROR) - STOP_S


def _checked(names: Iterable[str], holder: str, term_s: float) -> frozenset[str]:
    wanted = frozenset(names)
    if not 1 <= len(wanted) <= NAMES_MAX:
        raise ValueError(f"{len(wanted)} names to lease; from 1 to {NAMES_MAX}")
    for text in (*wanted, holder):
        if not 1 <= len(text) <= TEXT_MAX or not text.isprintable():
            raise ValueError(f"names and holders have 1 to {TEXT_MAX} printable characters")
    _check_term(term_s)
    return wanted


def _check_term(term_s: float) -> None:
    if not 0 < term_s <= TERM_S_MAX:  # also: not a number
        raise ValueError(f"a lease is for at most {TERM_S_MAX:g} s, and more than none")
