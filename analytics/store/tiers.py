"""Packed points by series and time, in tiers which hold the same counts, some of them longer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.blobs import pack_parts, unpack
from analytics.frame import Frame, concatenated
from analytics.store.interface import DAY_S, EVER_S, HOT_S, WARM_S

_EMPTY: Final = b""


@dataclass(frozen=True, slots=True)
class Tier:
    """A table: each row holds one series' windows of `window_s` over `row_s` seconds."""

    name: str
    row_s: int
    window_s: int


HOT: Final = Tier("hot", WARM_S, HOT_S)
WARM: Final = Tier("warm", WARM_S, WARM_S)
DAY: Final = Tier("day", DAY_S, DAY_S)
EVER: Final = Tier("ever", EVER_S, EVER_S)
TIERS: Final = (HOT, WARM, DAY, EVER)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a tier; `start_s` is a multiple of the tier's `row_s`."""

    series: int
    start_s: int
    sketches: bytes
    numbers: bytes


def rows_of(points: Frame, series_of: NDArray[np.int32], tier: Tier) -> list[Row]:
    """Return the rows that hold these points."""
    places, whole, edges = points.in_parts(series_of, tier.row_s)
    sketches = pack_parts(whole.only_distributions(), edges * (1, 0, 0))
    numbers = pack_parts(whole.only_numbers(), edges * (0, 1, 1))
    filled = np.diff(edges[:, 0]) > 0
    return [
        Row(series, start_s, sketches[n] if filled[n] else _EMPTY, numbers[n])
        for n, (series, start_s) in enumerate(places)
    ]


def read_rows(
    connection: sqlite3.Connection,
    tier: Tier,
    start_s: int,
    end_s: int,
    series: Iterable[int] | None = None,
) -> list[tuple[bytes, bytes]]:
    """Return the packed sketches and numbers of rows that overlap [start_s, end_s)."""
    first_s = start_s - start_s % tier.row_s
    if series is None:
        query = f"SELECT sketches, numbers FROM {tier.name} WHERE start_s >= ? AND start_s < ?"  # noqa: S608
        return connection.execute(query, (first_s, end_s)).fetchall()
    query = (
        f"SELECT t.sketches, t.numbers FROM json_each(?) s CROSS JOIN {tier.name} t"  # noqa: S608
        " WHERE t.series = s.value AND t.start_s >= ? AND t.start_s < ?"
    )
    return connection.execute(query, (json.dumps(list(series)), first_s, end_s)).fetchall()


def read_numbers(
    connection: sqlite3.Connection, tier: Tier, start_s: int, end_s: int, series: Iterable[int]
) -> list[bytes]:
    """Return the packed numbers of rows that overlap [start_s, end_s), without their sketches."""
    return _read_column(connection, tier, "numbers", (start_s, end_s), series)


def read_sketches_of(
    connection: sqlite3.Connection, tier: Tier, start_s: int, end_s: int, series: Iterable[int]
) -> list[bytes]:
    """Return the packed sketches of rows that overlap [start_s, end_s), without their numbers."""
    return _read_column(connection, tier, "sketches", (start_s, end_s), series)


def _read_column(
    connection: sqlite3.Connection,
    tier: Tier,
    column: str,
    span: tuple[int, int],
    series: Iterable[int],
) -> list[bytes]:
    start_s, end_s = span
    query = (
        f"SELECT t.{column} FROM json_each(?) s CROSS JOIN {tier.name} t"  # noqa: S608
        " WHERE t.series = s.value AND t.start_s >= ? AND t.start_s < ?"
    )
    first_s = start_s - start_s % tier.row_s
    rows = connection.execute(query, (json.dumps(list(series)), first_s, end_s))
    return [row[0] for row in rows]


def read_sketches(connection: sqlite3.Connection, tier: Tier) -> list[bytes]:
    """Return the packed sketches of all rows, without their numbers."""
    rows = connection.execute(f"SELECT sketches FROM {tier.name}")  # noqa: S608
    return [row[0] for row in rows if row[0]]


def opened(rows: Sequence[tuple[bytes, bytes]], tier: Tier) -> Frame:
    """Return the points of packed rows."""
    blobs = [sketches for sketches, _ in rows if sketches]
    blobs += [numbers for _, numbers in rows if numbers]
    return unpack(blobs, tier.window_s)


def put_rows(connection: sqlite3.Connection, tier: Tier, rows: Iterable[Row]) -> None:
    """Write rows over what was there."""
    connection.executemany(
        f"INSERT OR REPLACE INTO {tier.name}(series, start_s, sketches, numbers)"  # noqa: S608
        " VALUES (?, ?, ?, ?)",
        [(row.series, row.start_s, row.sketches, row.numbers) for row in rows],
    )


def added_to(existing: Frame, points: Frame, tier: Tier) -> Frame:
    """Return what a tier holds once `points`, windows of 10 s, are added to `existing`."""
    return concatenated([existing, points], tier.window_s).merged(tier.window_s)
