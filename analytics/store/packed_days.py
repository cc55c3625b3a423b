"""What 5 min windows count by series and whole day: one row to read where `warm` has 288.

A copy for whoever reads weeks of them, made of days that are over. What changes a `warm` row
empties the copy of its day in the same transaction, and it is made anew; a day without one is read
from `warm`. So a copy that is there says the same as the rows. It outlives them: rows go by whole
days, and only once `copied_until` says that all of theirs are copied. A row that is damaged must
not keep all days after it from that: its copy says what `hot` does, or nothing, and the log that.
"""

from __future__ import annotations

import itertools
import json
import logging
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from analytics.blobs import DamagedBlob
from analytics.day_columns import Days, pack_days
from analytics.frame import Frame, concatenated
from analytics.store import catalogue
from analytics.store.connection import Connection
from analytics.store.interface import DAY_S
from analytics.store.tiers import HOT, WARM, Row, Tier, opened, read_numbers
from analytics.store.watermarks import (
    PACKED,
    move_watermark,
    read_progress,
    read_watermarks,
)
from analytics.streams import Streams

TABLE: Final = "warm_days"
SETTLED_S: Final = 6 * 3600  # after a day: what comes later has it made anew
AT_ONCE: Final = 50  # series in one transaction: some 15,000 rows are read for them
IN_ROUND: Final = 1000  # and in one round of maintenance
WORTH_S: Final = 3600  # of a day: less is quicker to read by rows

_log = logging.getLogger(__name__)


def make_copies(
    reader: Connection, writer: Connection, streams: Streams, now_s: int, at_most: int = IN_ROUND
) -> None:
    """Copy what is due, some of it at a time. Only who compacts may do so."""
    while at_most > 0:
        with reader.reading() as connection:
            day_s, series = _due(connection, now_s, min(at_most, AT_ONCE))
            if day_s is None:
                return
            catalogue.load(connection, streams)
            counted = _counted(connection, streams, day_s, series)
        made = pack_days(counted.counters, streams.series_of(), day_s, series)
        with writer.writing() as connection:
            connection.executemany(
                f"INSERT OR REPLACE INTO {TABLE}(series, start_s, numbers) VALUES (?, ?, ?)",  # noqa: S608
                zip(series, itertools.repeat(day_s), made),
            )
            if not series:  # all of that day are there
                move_watermark(connection, PACKED, day_s + DAY_S)
        at_most -= max(1, len(series))


def _counted(
    connection: sqlite3.Connection, streams: Streams, day_s: int, series: Sequence[int]
) -> Frame:
    """Return what series count on a day, as far as it can be read."""
    try:
        return _numbers(connection, WARM, day_s, day_s + DAY_S, series)
    except DamagedBlob:
        pass
    keys = streams.series()
    found = []
    for number, at_s in itertools.product(series, range(day_s, day_s + DAY_S, WARM.row_s)):
        place = at_s, at_s + WARM.row_s, [number]
        try:
            found.append(_numbers(connection, WARM, *place))
        except DamagedBlob as error:
            counts = "is lost"
            with suppress(DamagedBlob):
                found.append(_numbers(connection, HOT, *place).merged(WARM.window_s))
                if found[-1].counters.value.size:
                    counts = "is taken from its windows of 10 s"
            _log.warning(
                "%s: what %s counted in the %d s from %d on %s",
                error, keys[number].path, WARM.row_s, at_s, counts,
            )  # fmt: skip
    return concatenated(found, WARM.window_s)


def _numbers(
    connection: sqlite3.Connection, tier: Tier, start_s: int, end_s: int, series: Sequence[int]
) -> Frame:
    blobs = read_numbers(connection, tier, start_s, end_s, series)
    return opened([(b"", blob) for blob in blobs], tier)


def _due(
    connection: sqlite3.Connection, now_s: int, at_most: int
) -> tuple[int | None, Sequence[int]]:
    """Return a day and series of which copies are to be made; no day: nothing is due."""
    row = connection.execute(
        f"SELECT min(start_s) FROM {TABLE} WHERE numbers = x'' AND start_s <= ?",  # noqa: S608
        (now_s - DAY_S - SETTLED_S,),  # not one that a clock far ahead had taken for over
    ).fetchone()
    if row[0] is not None:
        query = f"SELECT series FROM {TABLE} WHERE numbers = x'' AND start_s = ? LIMIT ?"  # noqa: S608
        return row[0], [each[0] for each in connection.execute(query, (row[0], at_most))]
    kept_s = read_watermarks(connection).warm_from_s // DAY_S * DAY_S
    from_s = max(read_progress(connection, PACKED) or 0, kept_s)
    # Of a day without any rows there is nothing to copy; a clock far ahead makes many of them.
    (first_s,) = connection.execute(
        "SELECT min(start_s) FROM warm WHERE start_s >= ?", (from_s,)
    ).fetchone()
    day_s = now_s if first_s is None else int(first_s) // DAY_S * DAY_S
    if day_s + DAY_S + SETTLED_S > now_s:
        return None, []
    query = (
        f"SELECT id FROM series WHERE id NOT IN (SELECT series FROM {TABLE} WHERE start_s = ?)"  # noqa: S608
        " LIMIT ?"
    )
    return day_s, [each[0] for each in connection.execute(query, (day_s, at_most))]


def copied_until(connection: sqlite3.Connection) -> int:
    """Return the time before which everything that `warm` counts is copied; 0: nothing is."""
    (unmade_s,) = connection.execute(
        f"SELECT min(start_s) FROM {TABLE} WHERE numbers = x''"  # noqa: S608
    ).fetchone()
    packed_s = read_progress(connection, PACKED) or 0
    return packed_s if unmade_s is None else min(packed_s, int(unmade_s))


def forget(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Empty the copies that rows of `warm` which are written now are in.

    A series that is new on a day which was copied gets one, too: its rows wait for it.
    """
    packed_s = read_progress(connection, PACKED) or 0
    places = sorted({(row.series, row.start_s // DAY_S * DAY_S) for row in rows})
    connection.executemany(
        f"UPDATE {TABLE} SET numbers = x'' WHERE series = ? AND start_s = ?",  # noqa: S608
        places,
    )
    connection.executemany(
        f"INSERT OR IGNORE INTO {TABLE}(series, start_s, numbers) VALUES (?, ?, x'')",  # noqa: S608
        [place for place in places if place[1] < packed_s],
    )


def read_copies(
    connection: sqlite3.Connection, start_s: int, end_s: int, series: Sequence[int]
) -> tuple[Days, list[bytes]]:
    """Return what 5 min windows count that begin in [start_s, end_s), and some more.

    Copies of whole days, and the packed numbers of rows where there is no copy. Of days whose rows
    have expired there are only copies.
    """
    rows_from_s = read_watermarks(connection).warm_from_s
    first_s = start_s // DAY_S * DAY_S
    days = {
        day_s: (max(start_s, day_s), min(end_s, day_s + DAY_S))
        for day_s in range(first_s, end_s, DAY_S)
    }
    query = (
        f"SELECT t.series, t.start_s, t.numbers FROM json_each(?) s CROSS JOIN {TABLE} t"  # noqa: S608
        " WHERE t.series = s.value AND t.start_s >= ? AND t.start_s < ? AND t.numbers <> x''"
    )
    gone = {day_s for day_s in days if day_s + DAY_S <= rows_from_s}
    worth = [
        day_s
        for day_s, (low_s, high_s) in days.items()
        if day_s in gone or high_s - low_s >= WORTH_S
    ]
    flat: list[Any] = []  # one list, for the garbage collector goes through what are many
    if worth:
        span = worth[0], worth[-1] + 1
        rows = connection.execute(query, (json.dumps(list(series)), *span))
        flat = list(itertools.chain.from_iterable(rows))
    of_series, starts_s, octets = (flat[n::3] for n in range(3))
    found = Days(starts_s, octets)
    blobs: list[bytes] = []
    if len(octets) == len(days) * len(series):
        return found, blobs
    there = set(zip(of_series, starts_s, strict=True))
    lacking = (
        (tuple(number for number in series if (number, day_s) not in there), span)
        for day_s, span in days.items()
        if day_s not in gone
    )
    for numbers, together in itertools.groupby(lacking, key=lambda each: each[0]):
        spans = [span for _, span in together]
        if numbers:
            blobs += read_numbers(connection, WARM, spans[0][0], spans[-1][1], numbers)
    return found, blobs
