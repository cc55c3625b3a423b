"""What capacity tests found, and the latest of each kind."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import Any, Final

from analytics.readings import Reading
from analytics.store.interface import Latest
from analytics.store.routes import GAP, keep_newest, nanoseconds, of_path, place_of, stale_s
from netslo.model import Path

READINGS_MAX: Final = 10_000  # kept of one path: hourly trains both ways make 1,680 in 35 days
STALE_S: Final = 3 * 3600  # at the least
_COLUMNS: Final = "src, dst, class, measured_ns, metric, direction, method, value, state, quantile"


def keep(connection: sqlite3.Connection, readings: Collection[Reading]) -> None:
    """Add readings, in the transaction that keeps their batch."""
    for reading in readings:
        values = _values(reading)
        connection.execute(
            f"INSERT INTO readings({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            values,
        )
        connection.execute(
            f"INSERT INTO latest_readings({_COLUMNS}, gap_ns)"  # noqa: S608
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)"
            " ON CONFLICT (src, dst, class, metric, direction, method, state, quantile)"
            f" DO UPDATE SET {GAP.format(at='measured_ns')},"
            " measured_ns = excluded.measured_ns, value = excluded.value"
            " WHERE excluded.measured_ns > measured_ns",
            values,
        )
    for path in {reading.path for reading in readings}:
        keep_newest(connection, "readings", "measured_ns", path, READINGS_MAX)


def read_readings(
    connection: sqlite3.Connection,
    metric: str,
    path: Path | None,
    start_s: float,
    end_s: float,
    at_most: int,
) -> list[Reading]:
    """Return the newest readings of a metric in [start_s, end_s), newest first."""
    where, values = of_path(path)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM readings"  # noqa: S608
        f" WHERE {where} AND measured_ns >= ? AND measured_ns < ? AND metric = ?"
        " ORDER BY measured_ns DESC, id DESC LIMIT ?",
        (*values, nanoseconds(start_s), nanoseconds(end_s), metric, at_most),
    )
    return [_reading(row) for row in rows]


def read_between(
    connection: sqlite3.Connection,
    metric: str,
    direction: str,
    method: str,
    start_s: float,
    end_s: float,
) -> list[Reading]:
    """Return all readings of one kind in [start_s, end_s), of every path, by time."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM readings"  # noqa: S608
        " WHERE measured_ns >= ? AND measured_ns < ? AND metric = ? AND direction = ?"
        " AND method = ? ORDER BY measured_ns, id",
        (nanoseconds(start_s), nanoseconds(end_s), metric, direction, method),
    )
    return [_reading(row) for row in rows]


def read_first(
    connection: sqlite3.Connection, metric: str, direction: str, method: str
) -> dict[Path, int]:
    """Return when each path's first reading of one kind was measured, of those kept; Unix ns."""
    found: dict[Path, int] = {}
    kind = metric, direction, method
    tested = connection.execute(
        "SELECT DISTINCT src, dst, class FROM latest_readings"
        " WHERE metric = ? AND direction = ? AND method = ? ORDER BY src, dst, class",
        kind,
    ).fetchall()
    for place in tested:  # an index leads to each, where the table has millions of rows
        row = connection.execute(
            "SELECT measured_ns FROM readings WHERE src = ? AND dst = ? AND class = ?"
            " AND metric = ? AND direction = ? AND method = ? ORDER BY measured_ns LIMIT 1",
            (*place, *kind),
        ).fetchone()
        if row is not None:
            found[Path(*place)] = int(row[0])
    return found


def read_latest(connection: sqlite3.Connection, path: Path | None) -> list[Latest[Reading]]:
    """Return the latest reading of each kind, of one path or of all, sorted."""
    where, values = of_path(path)
    rows = connection.execute(
        f"SELECT {_COLUMNS}, gap_ns FROM latest_readings WHERE {where}"  # noqa: S608
        " ORDER BY src, dst, class, metric, direction, method, state, quantile",
        values,
    )
    return [Latest(_reading(row[:-1]), stale_s(row[3], row[-1], STALE_S)) for row in rows]


def _values(reading: Reading) -> tuple[Any, ...]:
    return (
        *place_of(reading.path),
        reading.seen_ns,
        reading.metric,
        reading.direction,
        reading.method,
        reading.value,
        reading.state,
        reading.quantile,
    )


def _reading(row: tuple[Any, ...]) -> Reading:
    src, dst, traffic_class, *rest = row
    return Reading(Path(src, dst, traffic_class), *rest)
