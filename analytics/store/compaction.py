"""From received bodies to packed points, behind the windows that have closed.

A round takes bodies of one site, adds their points to every tier and to the totals, and deletes
them, in one transaction: killed at any moment, it has happened wholly or not at all. The work
on the points is done outside the transaction, so that batches are taken meanwhile. Only one
thread may compact or expire.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.frame import Frame, concatenated
from analytics.store import catalogue
from analytics.store.bodies import Body, BodyReader
from analytics.store.connection import Connection
from analytics.store.eras import read_eras
from analytics.store.packed_days import forget
from analytics.store.tiers import (
    EVER,
    HOT,
    TIERS,
    WARM,
    Row,
    Tier,
    added_to,
    opened,
    put_rows,
    read_rows,
    rows_of,
)
from analytics.store.totals import add_totals
from analytics.store.watermarks import Watermarks, read_watermarks
from analytics.streams import Streams

GRACE_S: Final = 30  # most windows of an interval have arrived by then
ROUND_BYTES: Final = 8 * 2**20  # of bodies, compressed: about 40,000 sketches of 250 buckets
ROUND_BYTES_SMALL: Final = 2**18  # where the disk is full: each round gives room to the next


def compact(
    reader: Connection,
    writer: Connection,
    streams: Streams,
    bodies: BodyReader,
    now_s: int,
    round_bytes: int,
) -> None:
    """Pack every body whose 5 min intervals have all closed."""
    with reader.reading() as connection:
        sites = [row[0] for row in connection.execute("SELECT DISTINCT site FROM bodies")]
    for site in sites:
        while found := _due(reader, site, now_s, round_bytes):
            _compact_some(reader, writer, streams, bodies, found)


def _due(store: Connection, site: str, now_s: int, round_bytes: int) -> list[Body]:
    """Return the oldest bodies of a site that may be packed, as many as one round takes."""
    closed_s = now_s - GRACE_S
    closed_s -= closed_s % HOT.row_s
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT id, site, encoding, body FROM bodies"
            " WHERE site = ? AND end_s <= ? AND received_s <= ? ORDER BY first_s",
            (site, closed_s, now_s - GRACE_S),
        )
        found: list[Body] = []
        size = 0
        for row in rows:
            found.append(Body(*row))
            size += len(found[-1].octets)
            if size >= round_bytes:
                break
        return found


def _compact_some(
    reader: Connection,
    writer: Connection,
    streams: Streams,
    bodies: BodyReader,
    found: Sequence[Body],
) -> None:
    points = concatenated([bodies.decode(body) for body in found]).merged(HOT.window_s)
    with reader.reading() as connection:
        catalogue.load(connection, streams)
        marks = read_watermarks(connection)
    series_of = streams.series_of()
    rows: dict[str, list[Row]] = {}
    for tier in TIERS:
        kept = points.between(_oldest(tier, marks), 2**62)
        rows[tier.name] = _rows(reader, tier, kept, series_of)
    with writer.writing() as connection:
        for tier in TIERS:
            put_rows(connection, tier, rows[tier.name])
        forget(connection, rows[WARM.name])
        add_totals(connection, points, streams, read_eras(connection))
        connection.executemany(
            "DELETE FROM bodies WHERE id = ?", [(body.number,) for body in found]
        )


def _rows(store: Connection, tier: Tier, points: Frame, series_of: NDArray[np.int32]) -> list[Row]:
    """Return the rows of a tier which points change, with what they held before."""
    with store.reading() as connection:
        existing = opened(list(_existing(connection, tier, points, series_of)), tier)
    return rows_of(added_to(existing, points, tier), series_of, tier)


def _existing(
    connection: sqlite3.Connection, tier: Tier, points: Frame, series_of: NDArray[np.int32]
) -> Iterator[tuple[bytes, bytes]]:
    places = sorted(points.places(series_of, tier.row_s), key=lambda place: place[::-1])
    for start_s, together in itertools.groupby(places, key=lambda place: place[1]):
        series = [number for number, _ in together]
        yield from read_rows(connection, tier, start_s, start_s + tier.row_s, series)


def _oldest(tier: Tier, marks: Watermarks) -> int:
    """Return from when on a tier keeps windows."""
    if tier is EVER:
        return 0
    return marks.hot_from_s if tier is HOT else marks.warm_from_s
