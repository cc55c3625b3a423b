"""Dropping what is past its retention.

All of it is in short transactions, between which others write and read. It may be interrupted
between any two of them: what is left undone is done the next time.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from analytics.store.connection import Connection
from analytics.store.interface import DAY_S, WARM_S
from analytics.store.packed_days import TABLE as COPIES
from analytics.store.packed_days import copied_until
from analytics.store.tiers import DAY, EVER, HOT, TIERS, WARM, Tier
from analytics.store.watermarks import (
    STRIPPED,
    Watermarks,
    move_watermark,
    read_progress,
    read_watermarks,
)
from netslo.model import NS_PER_S

_DELETED_AT_ONCE: Final = 2000  # rows per transaction, so that nobody waits long
_TIMED: Final = (  # routes and capacity, by when they were seen
    ("path_changes", "changed_ns"),
    ("routes", "seen_ns"),
    ("readings", "measured_ns"),
    ("latest_readings", "measured_ns"),
)
_SKEW_S: Final = 3600  # a batch may hold windows this far ahead of its arrival


@dataclass(frozen=True, slots=True)
class Retention:
    """How long windows are kept, in seconds.

    Those of 10 s, all coarser ones, and what these count. Where the last is longer, a day's 5 min
    windows stay until what they count is copied.
    """

    hot_s: int
    warm_s: int
    counts_s: int


def expire(store: Connection, retention: Retention, now_s: int) -> None:
    """Drop what is past its retention. The watermarks move first: nobody looks behind them.

    Age is counted from the newest window where that is older than `now_s`: a clock that has
    jumped ahead, or a store that was switched off for a month, loses nothing.
    """
    with store.writing() as connection:
        newest_s = connection.execute(
            "SELECT max(coalesce((SELECT max(end_s) FROM bodies), 0),"
            " coalesce((SELECT max(start_s) FROM warm), 0))"
        ).fetchone()[0]
        today_s = min(now_s, int(newest_s) + WARM_S)
        kept = read_watermarks(connection)
        due = _due(connection, retention, today_s)
        moved = Watermarks(
            max(kept.hot_from_s, due.hot_from_s),
            max(kept.warm_from_s, due.warm_from_s),
            max(kept.counts_from_s, due.counts_from_s),
        )
        if moved != kept:
            move_watermark(connection, "hot", moved.hot_from_s)
            move_watermark(connection, "warm", moved.warm_from_s)
            move_watermark(connection, "counts", moved.counts_from_s)
    for tier in TIERS:
        if tier is EVER:
            continue
        _delete_before(store, tier.name, "start_s", _gone_before(tier, moved))
    _delete_before(store, COPIES, "start_s", _gone_before(DAY, moved))
    _strip_days_before(store, moved.warm_from_s - DAY.row_s + 1)
    for table, column in _TIMED:
        _delete_before(store, table, column, moved.warm_from_s * NS_PER_S)
    # A batch's identity outlives its windows: sent again, it finds itself or no place in time.
    _delete_before(store, "batches", "received_s", moved.warm_from_s - _SKEW_S)


def _due(connection: sqlite3.Connection, retention: Retention, today_s: int) -> Watermarks:
    """Return where the watermarks would be by age alone, but for what is not copied yet."""
    hot_s, warm_s = _down(today_s - retention.hot_s), _down(today_s - retention.warm_s)
    if retention.counts_s <= retention.warm_s:
        return Watermarks(hot_s, warm_s, warm_s)
    # Whole days, so that each is wholly in rows, or in copies; and none that a body still adds to.
    first_s = connection.execute("SELECT min(first_s) FROM bodies").fetchone()[0]
    copied_s = copied_until(connection)
    warm_s = _down(min(warm_s, copied_s, copied_s if first_s is None else first_s), DAY_S)
    return Watermarks(hot_s, warm_s, _down(today_s - retention.counts_s, DAY_S))


def _gone_before(tier: Tier, marks: Watermarks) -> int:
    """Return the time before which rows hold nothing that is still asked for."""
    if tier is HOT:
        return marks.hot_from_s
    return marks.warm_from_s if tier is WARM else marks.numbers_from_s - DAY.row_s + 1


def _strip_days_before(store: Connection, limit: int) -> None:
    """Take the distributions out of day rows that stay for what they count."""
    with store.reading() as connection:
        from_s = read_progress(connection, STRIPPED) or 0
    if from_s >= limit:
        return
    stripped = _DELETED_AT_ONCE
    while stripped == _DELETED_AT_ONCE:
        with store.writing() as connection:
            stripped = connection.execute(
                f"UPDATE {DAY.name} SET sketches = x'' WHERE rowid IN"  # noqa: S608
                f" (SELECT rowid FROM {DAY.name} WHERE start_s >= ? AND start_s < ?"
                " AND length(sketches) > 0 LIMIT ?)",
                (from_s, limit, _DELETED_AT_ONCE),
            ).rowcount
    with store.writing() as connection:
        move_watermark(connection, STRIPPED, limit)


def _delete_before(store: Connection, table: str, column: str, limit: int) -> None:
    key = "rowid" if table != "batches" else "(instance, sequence)"
    columns = "rowid" if table != "batches" else "instance, sequence"
    deleted = _DELETED_AT_ONCE
    while deleted == _DELETED_AT_ONCE:
        with store.writing() as connection:
            deleted = connection.execute(
                f"DELETE FROM {table} WHERE {key} IN"  # noqa: S608
                f" (SELECT {columns} FROM {table} WHERE {column} < ? LIMIT ?)",
                (limit, _DELETED_AT_ONCE),
            ).rowcount


def _down(unix_s: int, step_s: int = WARM_S) -> int:
    """Return the beginning of the interval: only whole ones go."""
    return unix_s - unix_s % step_s
