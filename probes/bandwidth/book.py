"""What a keeper writes down: who holds what, who loads it, and what was loaded lately."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

from netslo.model import NS_PER_S
from probes.bandwidth.lease import TERM_S_MAX, Busy, Lease, LeaseTable

DRAIN_S: Final = 2.0  # after a test's last packet, until the queues it filled are empty
DRAIN_S_MAX: Final = 10.0
LOADS_KEPT_NS: Final = 900 * NS_PER_S  # longer than any window is open
LOADS_MAX: Final = 256
OWN_ACCESS: Final = "access"  # in every lease: no two tests share a keeper's end


@dataclass(frozen=True, slots=True)
class Load:
    """When something was loaded, Unix nanoseconds; half-open."""

    names: tuple[str, ...]
    start_ns: int
    end_ns: int

    def overlaps(self, start_ns: int, end_ns: int) -> bool:
        return self.start_ns < end_ns and start_ns < self.end_ns


@dataclass(slots=True)
class LeaseBook:
    """A lease table and the loads that its leases were for; sans I/O.

    `now_s` is the keeper's monotonic clock, `wall_ns` Unix time of the same moment.
    """

    table: LeaseTable
    loading_ns: dict[int, int] = field(default_factory=dict)  # by token: since when
    loads: list[Load] = field(default_factory=list)  # that are over, or will be then
    boot: str = ""  # which start of the host the keeper's clock is of; "": not known

    def acquire(
        self, names: Iterable[str], holder: str, term_s: float, now_s: float, wall_ns: int
    ) -> int | Busy:
        """Lease the names and this end's own access; return the token.

        Raises:
            ValueError: names, holder or term are out of bounds.
        """
        self.tidy(now_s, wall_ns)
        found = self.table.acquire((*names, OWN_ACCESS), holder, term_s, now_s)
        return found if isinstance(found, Busy) else found.token

    def begin(self, token: int, now_s: float, wall_ns: int) -> bool:
        """Note that what is leased is loaded from now on; false when the lease has ended."""
        if not self.table.valid(token, now_s):
            return False
        self.loading_ns.setdefault(token, wall_ns)
        return True

    def release(self, token: int, drain_s: float, now_s: float, wall_ns: int) -> None:
        """End a lease when its queues are empty, `drain_s` from now: until then it is loaded."""
        drain_s = min(max(drain_s, 0.0), DRAIN_S_MAX)
        lease = next((each for each in self.table.leases if each.token == token), None)
        if lease is not None:
            self._note_load(lease, wall_ns + round(drain_s * NS_PER_S))
            self.table.release(token, now_s + drain_s)

    def tidy(self, now_s: float, wall_ns: int) -> None:
        """Turn leases that have ended into loads, and forget old loads."""
        for lease in self.table.forget_ended(now_s):
            ended_ns = wall_ns - round((now_s - lease.ends_s) * NS_PER_S)
            self._note_load(lease, ended_ns + round(DRAIN_S * NS_PER_S))
        recent = [load for load in self.loads if load.end_ns > wall_ns - LOADS_KEPT_NS]
        self.loads = recent[-LOADS_MAX:]

    def all_loads(self, now_s: float, wall_ns: int) -> list[Load]:
        """Return the loads that are over, and those that go on, which end when their leases do."""
        return [*self.loads, *self._going_on(now_s, wall_ns, DRAIN_S)]

    def _going_on(self, now_s: float, wall_ns: int, drain_s: float) -> list[Load]:
        return [
            Load(
                lease.names,
                self.loading_ns[lease.token],
                wall_ns + round((lease.ends_s - now_s + drain_s) * NS_PER_S),
            )
            for lease in self.table.leases
            if lease.token in self.loading_ns
        ]

    def _note_load(self, lease: Lease, end_ns: int) -> None:
        start_ns = self.loading_ns.pop(lease.token, None)
        if start_ns is not None:
            self.loads.append(Load(lease.names, start_ns, max(start_ns, end_ns)))

    def to_json(self) -> dict[str, Any]:
        return {
            "boot": self.boot,
            "next_token": self.table.next_token,
            "free_from_s": self.table.free_from_s if self.table.free_from_s > 0 else 0.0,
            "leases": [asdict(lease) for lease in self.table.leases],
            "loading_ns": {str(token): since for token, since in self.loading_ns.items()},
            "loads": [asdict(load) for load in self.loads],
        }

    @classmethod
    def empty(cls, boot: str = "") -> Self:
        """Return the book of a keeper that never leased anything."""
        return cls(LeaseTable(time.time_ns()), boot=boot)

    @classmethod
    def from_json(cls, found: Any, boot: str, now_s: float, wall_ns: int) -> Self:
        """Read what `to_json` wrote, perhaps before the host was started anew.

        Of another start, leases mean nothing by our clock, but their holders elsewhere may still
        go by them: nothing is leased for the longest term, and what was being loaded counts as
        loaded until then. Who does not know which start this is (a service that sees little of
        /proc) goes by the clock: a lease that ends later than any could is of another one.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        leases = [_lease(each) for each in found["leases"]]
        loads = [_load(each) for each in found["loads"]]
        loading_ns = {int(token): int(since) for token, since in found["loading_ns"].items()}
        next_token, free_from_s = int(found["next_token"]), float(found["free_from_s"])
        until_s = [free_from_s, *(lease.ends_s for lease in leases)]
        written = str(found["boot"])
        same = written == boot or not (written and boot)
        if same and max(until_s) <= now_s + TERM_S_MAX:
            table = LeaseTable(next_token, leases, free_from_s=free_from_s)
            return cls(table, loading_ns, loads, boot or written)
        end_ns = wall_ns + round((TERM_S_MAX + DRAIN_S) * NS_PER_S)
        loads += [
            Load(lease.names, loading_ns[lease.token], end_ns)
            for lease in leases
            if lease.token in loading_ns
        ]
        return cls(forgetful_table(next_token, now_s), {}, loads, boot or written)


def forgetful_table(next_token: int, now_s: float) -> LeaseTable:
    """Return the table of a keeper that does not know what it has leased."""
    return LeaseTable(next_token, free_from_s=now_s + TERM_S_MAX)


def _lease(each: Mapping[str, Any]) -> Lease:
    names = tuple(str(name) for name in each["names"])
    since_s, ends_s = float(each["since_s"]), float(each["ends_s"])
    return Lease(names, str(each["holder"]), int(each["token"]), since_s, ends_s)


def _load(each: Mapping[str, Any]) -> Load:
    names = tuple(str(name) for name in each["names"])
    return Load(names, int(each["start_ns"]), int(each["end_ns"]))
