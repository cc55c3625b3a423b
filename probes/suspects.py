"""Batches that fail again and again, while others might not: who is to blame, batch or collector?

A collector that is away fails whatever comes. If one batch has failed often, and fails once more
between two others that are taken, it is the batch: it is held back for a while, so that it keeps
nobody waiting, and is tried again later. Nothing is given up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

TRIES: Final = 5  # before another batch is tried in between
SUSPICIOUS_S: Final = 30.0  # and so long
HOLD_FIRST_S: Final = 300.0
HOLD_MAX_S: Final = 3600.0
KNOWN_MAX: Final = 1024


@dataclass(slots=True)
class _Record:
    since_s: float  # its first failure
    tries: int = 0
    held_until_s: float = 0.0
    hold_s: float = 0.0  # the last hold's length
    reason: str = ""
    others_taken: bool = False  # another batch was, while this one was suspicious
    failed_since: bool = False


class Suspects:
    """Remembers failures by the batch's name, and says which batches to leave out of a turn."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        suspicious_s: float = SUSPICIOUS_S,
        hold_first_s: float = HOLD_FIRST_S,
    ) -> None:
        self._clock = clock
        self._suspicious_s = suspicious_s
        self._hold_first_s = hold_first_s
        self._records: dict[str, _Record] = {}  # oldest failure first
        self._others_turn = False

    @property
    def held(self) -> frozenset[str]:
        """Those that are held back now."""
        now_s = self._clock()
        return frozenset(name for name, r in self._records.items() if r.held_until_s > now_s)

    @property
    def next_release_s(self) -> float | None:
        """How long until one is tried again; None: none is held back."""
        now_s = self._clock()
        held_s = [r.held_until_s - now_s for r in self._records.values() if r.held_until_s > now_s]
        return min(held_s, default=None)

    def left_out(self) -> frozenset[str]:
        """Return the batches that have no part in this turn.

        Those held back, and each second time those that failed too often.
        """
        held = self.held
        self._others_turn = not self._others_turn
        return held | self._suspicious() if self._others_turn else held

    def failed(self, name: str, reason: str) -> None:
        """Count a failure."""
        if name not in self._records and len(self._records) >= KNOWN_MAX:
            del self._records[next(iter(self._records))]
        record = self._records.setdefault(name, _Record(self._clock()))
        record.tries += 1
        record.reason, record.failed_since = reason, True

    def delivered(self, name: str) -> dict[str, str]:
        """Take in that a batch was taken; return those to be held back for it, with the reason.

        One that is held again is so for twice as long.
        """
        self._records.pop(name, None)
        now_s, found = self._clock(), {}
        for suspect in self._suspicious():
            record = self._records[suspect]
            guilty = record.others_taken and record.failed_since
            record.others_taken, record.failed_since = True, False
            if not guilty:
                continue
            longer_s = 2 * record.hold_s if record.hold_s else self._hold_first_s
            record.hold_s = min(longer_s, HOLD_MAX_S)
            record.held_until_s = now_s + record.hold_s
            found[suspect] = record.reason
        return found

    def forget(self, name: str) -> None:
        """Forget a batch that has gone."""
        self._records.pop(name, None)

    def _suspicious(self) -> frozenset[str]:
        now_s = self._clock()
        return frozenset(
            name
            for name, r in self._records.items()
            if r.tries >= TRIES
            and now_s - r.since_s >= self._suspicious_s
            and r.held_until_s <= now_s
        )
