"""From when on each tier is complete. Watermarks only move forward; behind them rows vanish."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Where 10 s and 5 min windows begin; both are multiples of 5 min, in Unix seconds."""

    hot_from_s: int = 0
    warm_from_s: int = 0


def read_watermarks(connection: sqlite3.Connection) -> Watermarks:
    """Return the watermarks of a store; 0 where nothing has expired yet."""
    found = dict(connection.execute("SELECT name, unix_s FROM watermarks").fetchall())
    return Watermarks(found.get("hot_from", 0), found.get("warm_from", 0))


def move_watermark(connection: sqlite3.Connection, tier: str, from_s: int) -> None:
    """Set the watermark of one tier."""
    connection.execute(
        "INSERT OR REPLACE INTO watermarks(name, unix_s) VALUES (?, ?)", (f"{tier}_from", from_s)
    )
