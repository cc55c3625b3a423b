"""The byte budget of a site: what its capacity tests may send and have sent to them in a day."""

from __future__ import annotations

import datetime as dt
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from netslo.errors import NetsloError
from netslo.units import format_octets
from probes.bandwidth.state import StateDirectory

FILE: Final = "budget.json"
OCTETS_A_DAY: Final = 2_000_000_000  # if nobody says
DAYS_KEPT: Final = 32
_WHO_MAX: Final = 64  # of a day; others are counted as one
_OTHERS: Final = "others"


class BudgetExceeded(NetsloError):
    """The day's budget does not allow a test. `wanted`, `left` and `limit` are octets."""

    def __init__(self, wanted: int, left: int, limit: int, day: str) -> None:
        self.wanted, self.left, self.limit = wanted, left, limit
        super().__init__(
            f"the test may take {format_octets(wanted)}, and {format_octets(max(left, 0))} of "
            f"{format_octets(limit)} are left for {day} (UTC); --force goes beyond"
        )


@dataclass(slots=True)
class Day:
    """What was spent on one UTC day, octets."""

    day: str  # 2026-11-30
    used: Counter[str] = field(default_factory=Counter)  # by whom
    forced: int = 0  # tests that went beyond by --force
    reserved: dict[str, tuple[str, int]] = field(default_factory=dict)  # by reservation: who, how

    @property
    def spent(self) -> int:
        """What is used, and what is reserved: a test that never said counts as all of it."""
        return self.used.total() + sum(octets for _, octets in self.reserved.values())

    def by_whom(self) -> dict[str, int]:
        """Return what each spent, the largest first."""
        found = self.used.copy()
        for who, octets in self.reserved.values():
            found[who] += octets
        return dict(found.most_common())


@dataclass(frozen=True, slots=True)
class Reservation:
    """Octets set aside for one test."""

    id: str
    day: str
    octets: int


class Budget:
    """A site's budget, in its state directory; shells and agents share it."""

    def __init__(
        self,
        state: StateDirectory,
        limit: int | None = None,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Take up the budget.

        Args:
            state: Whose budget it is.
            limit: Octets a day, which is remembered for others; None: what was said last.
            wall: Unix time, seconds.

        Raises:
            NetsloError: the file cannot be read or written.
        """
        self._state = state
        self._wall = wall
        if limit is not None and limit != self.limit:
            with self._changing() as account:
                account.limit = limit

    @property
    def limit(self) -> int:
        """Octets a day."""
        return self._read().limit

    @property
    def left(self) -> int:
        """Octets that are left today; negative after tests that were forced."""
        account = self._read()
        return account.limit - account.day(self._date()).spent

    def today(self) -> Day:
        """Return the current day so far."""
        return self._read().day(self._date())

    def days(self) -> list[Day]:
        """Return the days that are known, the latest first."""
        account = self._read()
        return sorted(account.days.values(), key=lambda day: day.day, reverse=True)

    def reserve(self, octets: int, who: str, *, force: bool = False) -> Reservation:
        """Set octets aside for a test; on the disk when this returns.

        Args:
            octets: The most that it will send and receive.
            who: For the record.
            force: Go beyond the budget, on record.

        Raises:
            BudgetExceeded: the day has not so much left.
            NetsloError: the file cannot be read or written.
        """
        if octets < 0:
            raise ValueError(f"{octets} octets cannot be reserved")
        with self._changing() as account:
            day = account.day(self._date())
            left = account.limit - day.spent
            if octets > left:
                if not force:
                    raise BudgetExceeded(octets, left, account.limit, day.day)
                day.forced += 1
            reservation = Reservation(uuid.uuid4().hex, day.day, octets)
            day.reserved[reservation.id] = (who, octets)
            return reservation

    def settle(self, reservation: Reservation, used: int) -> None:
        """Count what a test took, in the place of what was reserved for it; once."""
        with self._changing() as account:
            day = account.days.get(reservation.day)
            if day is None or reservation.id not in day.reserved:
                return
            who, _ = day.reserved.pop(reservation.id)
            known = who in day.used or len(day.used) < _WHO_MAX
            day.used[who if known else _OTHERS] += max(used, 0)

    def _date(self) -> str:
        return dt.datetime.fromtimestamp(self._wall(), dt.UTC).date().isoformat()

    @contextmanager
    def _changing(self) -> Iterator[_Account]:
        with self._state.locked():
            account = self._read()
            yield account
            body = json.dumps(account.to_json()).encode()
            self._state.replace(FILE, body, durably=True)

    def _read(self) -> _Account:
        body = self._state.read(FILE)
        if body is None:
            return _Account()
        try:
            return _account(json.loads(body))
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise NetsloError(
                f"{self._state.directory / FILE}: is damaged, so what was spent is not known; "
                "remove it to begin anew"
            ) from error


@dataclass(slots=True)
class _Account:
    """All of the file."""

    limit: int = OCTETS_A_DAY
    days: dict[str, Day] = field(default_factory=dict)

    def day(self, name: str) -> Day:
        return self.days.setdefault(name, Day(name))

    def to_json(self) -> dict[str, Any]:
        kept = sorted(self.days)[-DAYS_KEPT:]
        return {
            "limit": self.limit,
            "days": {
                name: {
                    "used": dict(day.used),
                    "forced": day.forced,
                    "reserved": {key: list(each) for key, each in day.reserved.items()},
                }
                for name in kept
                for day in [self.days[name]]
            },
        }


def _account(found: Any) -> _Account:
    """Read what `to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is something else.
    """
    days = {}
    for name, each in found["days"].items():
        dt.date.fromisoformat(name)
        used = Counter({str(who): int(octets) for who, octets in each["used"].items()})
        reserved = {key: (str(who), int(octets)) for key, (who, octets) in each["reserved"].items()}
        days[name] = Day(name, used, int(each["forced"]), reserved)
    return _Account(int(found["limit"]), days)
