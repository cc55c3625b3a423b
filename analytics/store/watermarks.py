"""From when on each tier is complete. Watermarks only move forward; behind them rows vanish."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

PACKED: Final = "packed"  # days before it have been copied
STRIPPED: Final = "stripped"  # days before it have no distributions any more


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Where 10 s and 5 min windows begin, and what is counted; multiples of 5 min, Unix seconds."""

    hot_from_s: int = 0
    warm_from_s: int = 0
    counts_from_s: int = 0

    @property
    def numbers_from_s(self) -> int:
        """From when on numbers are kept, in windows or in copies of them."""
        return min(self.warm_from_s, self.counts_from_s)


def read_watermarks(connection: sqlite3.Connection) -> Watermarks:
    """Return the watermarks of a store; 0 where nothing has expired yet."""
    found = dict(connection.execute("SELECT name, unix_s FROM watermarks").fetchall())
    names = ("hot_from", "warm_from", "counts_from")
    return Watermarks(*(found.get(name, 0) for name in names))


def read_progress(connection: sqlite3.Connection, work: str) -> int | None:
    """Return until when a work on days is done, Unix seconds; None: it has not begun."""
    row = connection.execute(
        "SELECT unix_s FROM watermarks WHERE name = ?", (f"{work}_from",)
    ).fetchone()
    return None if row is None else int(row[0])


def move_watermark(connection: sqlite3.Connection, tier: str, from_s: int) -> None:
    """Set the watermark of one tier, or of a work on days."""
    connection.execute(
        "INSERT OR REPLACE INTO watermarks(name, unix_s) VALUES (?, ?)", (f"{tier}_from", from_s)
    )
