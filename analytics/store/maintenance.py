"""Rolling 10 s windows up into 5 min ones, and dropping what is past its retention.

All of it is in short transactions, between which others write and read. It may be interrupted
between any two of them: what is left undone is done the next time.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from analytics.store.connection import Connection
from analytics.store.interface import WARM_S
from analytics.store.query import Piece
from analytics.store.rows import (
    absorb_in_order,
    delete_window,
    merge_window,
    read_series,
    read_windows,
)
from analytics.store.watermarks import Watermarks, move_watermark, read_watermarks
from analytics.windows import PathWindow, SeriesKey
from netslo.model import Window

_ROLL_UP_GRACE_S: Final = 30  # most windows of an interval have arrived by then
_ROLL_UPS_AT_ONCE: Final = 100  # per transaction, so that nobody waits long
_DELETED_AT_ONCE_S: Final = WARM_S  # per transaction, for the same reason
_SKEW_S: Final = 3600  # a batch may hold windows this far ahead of its arrival


@dataclass(frozen=True, slots=True)
class Retention:
    """How long windows of 10 s and of 5 min are kept; seconds."""

    hot_s: int
    warm_s: int


def roll_up(store: Connection, now_s: int) -> None:
    """Rebuild every closed dirty 5 min window from its 10 s windows."""
    done = _ROLL_UPS_AT_ONCE
    while done == _ROLL_UPS_AT_ONCE:
        with store.writing() as connection:
            done = _roll_up_some(connection, now_s - WARM_S - _ROLL_UP_GRACE_S)


def expire(store: Connection, retention: Retention, now_s: int) -> None:
    """Drop what is past its retention. The watermarks move first: nobody looks behind them."""
    with store.writing() as connection:
        kept = read_watermarks(connection)
        hot_s = min(now_s - retention.hot_s, _oldest_dirty_s(connection, default=now_s))
        moved = Watermarks(
            max(kept.hot_from_s, _whole(hot_s)),
            max(kept.warm_from_s, _whole(now_s - retention.warm_s)),
        )
        if moved != kept:
            move_watermark(connection, "hot", moved.hot_from_s)
            move_watermark(connection, "warm", moved.warm_from_s)
    for tier, from_s in (("hot", moved.hot_from_s), ("warm", moved.warm_from_s)):
        for table in ("windows", "sketches", "slo"):
            _delete_before(store, f"{tier}_{table}", "start_s", from_s)
    # A batch's identity outlives its windows: sent again, it finds itself or no place in time.
    _delete_before(store, "batches", "received_s", moved.warm_from_s - _SKEW_S)


def _roll_up_some(connection: sqlite3.Connection, last_s: int) -> int:
    """Roll up a few intervals which begin at `last_s` or before; return how many."""
    rows = connection.execute(
        "SELECT start_s, series FROM dirty WHERE start_s <= ? ORDER BY start_s LIMIT ?",
        (last_s, _ROLL_UPS_AT_ONCE),
    ).fetchall()
    series = read_series(connection)
    for start_s, number in rows:
        _roll_up_one(connection, start_s, number, series[number])
    return len(rows)


def _roll_up_one(connection: sqlite3.Connection, start_s: int, number: int, key: SeriesKey) -> None:
    whole = PathWindow(key, Window(start_s, WARM_S))
    for window in read_windows(connection, Piece("hot", start_s, start_s + WARM_S), {number: key}):
        absorb_in_order(whole, window)
    delete_window(connection, "warm", number, start_s)
    merge_window(connection, "warm", number, start_s, whole)
    connection.execute("DELETE FROM dirty WHERE start_s = ? AND series = ?", (start_s, number))


def _oldest_dirty_s(connection: sqlite3.Connection, default: int) -> int:
    """Return where 10 s windows begin which no 5 min window holds yet: they must stay."""
    row = connection.execute("SELECT min(start_s) FROM dirty").fetchone()
    return default if row[0] is None else int(row[0])


def _delete_before(store: Connection, table: str, column: str, limit_s: int) -> None:
    while True:
        with store.writing() as connection:
            oldest = connection.execute(
                f"SELECT min({column}) FROM {table}"  # noqa: S608
            ).fetchone()[0]
            if oldest is None or oldest >= limit_s:
                return
            connection.execute(
                f"DELETE FROM {table} WHERE {column} < ?",  # noqa: S608
                (min(limit_s, int(oldest) + _DELETED_AT_ONCE_S),),
            )


def _whole(unix_s: int) -> int:
    """Return the beginning of the 5 min interval: only whole ones go."""
    return unix_s - unix_s % WARM_S
