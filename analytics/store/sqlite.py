"""The window store in one SQLite file: write-ahead log, one writer, any number of readers."""

from __future__ import annotations

import json
import pathlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Self

from analytics.store.connection import Connection
from analytics.store.eras import Eras, declare, era_at, read_eras, split
from analytics.store.files import Ballast, connect
from analytics.store.interface import HOT_S, WARM_S, Appended, SloTotals, StoreFull
from analytics.store.maintenance import Retention, expire, roll_up
from analytics.store.query import Piece, fine_pieces, pieces
from analytics.store.rows import (
    COUNTS,
    absorb_in_order,
    count_window,
    merge_window,
    read_series,
    read_windows,
    series_id,
)
from analytics.store.watermarks import Watermarks, read_watermarks
from analytics.windows import Batch, PacketCounts, PathWindow, Selector, SeriesKey, SloCounts
from netslo.model import Window

HOT_RETENTION_S: Final = 48 * 3600
WARM_RETENTION_S: Final = 35 * 86400

_SloKey = tuple[SeriesKey, str, str]  # series, objective, target


class SqliteStore:
    """Implements `analytics.store.WindowStore`; safe to use from several threads."""

    def __init__(self, connection: Connection, ballast: Ballast, retention: Retention) -> None:
        self._connection = connection
        self._ballast = ballast
        self._retention = retention

    @classmethod
    def open(
        cls,
        file: pathlib.Path,
        *,
        readonly: bool = False,
        hot_retention_s: int = HOT_RETENTION_S,
        warm_retention_s: int = WARM_RETENTION_S,
    ) -> Self:
        """Open a store; a missing one is made, unless it shall only be read.

        Raises:
            NetsloError: see `analytics.store.files.connect`.
        """
        connection = Connection(connect(file, readonly=readonly), file)
        ballast = Ballast(file)
        if not readonly:
            ballast.keep()
        return cls(connection, ballast, Retention(hot_retention_s, warm_retention_s))

    def close(self) -> None:
        self._connection.close()

    def append(self, batch: Batch, received_s: float) -> Appended:
        with self._connection.writing() as connection:
            known = connection.execute(
                "INSERT OR IGNORE INTO batches(instance, sequence, received_s) VALUES (?, ?, ?)",
                (batch.instance_id, batch.sequence, received_s),
            )
            if not known.rowcount:
                return Appended(duplicate=True, windows=0, expired=0)
            marks, eras = read_watermarks(connection), read_eras(connection)
            oldest_s = max(marks.warm_from_s, int(received_s) - self._retention.warm_s)
            kept = [window for window in batch.windows if window.window.start_s >= oldest_s]
            for window in kept:
                number = series_id(connection, window.key)
                _keep(connection, number, window, marks)
                count_window(connection, number, window, eras)
        return Appended(duplicate=False, windows=len(kept), expired=len(batch.windows) - len(kept))

    def declare_objectives(self, targets: Mapping[str, str], now_s: float) -> None:
        with self._connection.writing() as connection:
            for slo, target in targets.items():
                declare(connection, slo, target, int(now_s))

    def series(self) -> list[SeriesKey]:
        with self._connection.reading() as connection:
            return sorted(read_series(connection).values())

    def windows(
        self, selector: Selector, start_s: int, end_s: int, resolution_s: int = HOT_S
    ) -> Iterator[PathWindow]:
        if resolution_s <= 0 or resolution_s % HOT_S:
            raise ValueError(f"resolution_s is {resolution_s}, must be a multiple of {HOT_S}")
        return self._windows(selector, start_s, end_s, resolution_s)

    def _windows(
        self, selector: Selector, start_s: int, end_s: int, resolution_s: int
    ) -> Iterator[PathWindow]:
        """Read a series at a time, so that memory is bounded and writers get their turn."""
        choose = pieces if resolution_s % WARM_S == 0 else fine_pieces
        with self._connection.reading() as connection:
            series = _selected(connection, selector)
        for number, key in sorted(series.items(), key=lambda item: item[1]):
            with self._connection.reading() as connection:
                parts = choose(start_s, end_s, read_watermarks(connection))
                found = _merged(connection, {number: key}, parts, resolution_s)
            yield from found

    def aggregate(
        self, selector: Selector, start_s: int, end_s: int
    ) -> dict[SeriesKey, PathWindow]:
        span = Window(start_s, end_s - start_s)
        whole: dict[SeriesKey, PathWindow] = {}
        with self._connection.reading() as connection:
            series = _selected(connection, selector)
            for piece in pieces(start_s, end_s, read_watermarks(connection)):
                for window in read_windows(connection, piece, series):
                    place = whole.setdefault(window.key, PathWindow(window.key, span))
                    absorb_in_order(place, window)
        return dict(sorted(whole.items()))

    def slo_counts(self, selector: Selector, start_s: int, end_s: int) -> list[SloTotals]:
        sums: dict[_SloKey, SloCounts] = {}
        with self._connection.reading() as connection:
            series, eras = _selected(connection, selector), read_eras(connection)
            marks = read_watermarks(connection)
            for low_s, high_s in split(start_s, end_s, eras):
                for piece in pieces(low_s, high_s, marks):
                    rows = _slo_sums(connection, piece, series)
                    _add_up(
                        sums, ((n, slo, low_s, counts) for n, slo, *counts in rows), series, eras
                    )
        return _by_path(sums)

    def slo_totals(self) -> list[SloTotals]:
        sums: dict[_SloKey, SloCounts] = {}
        with self._connection.reading() as connection:
            series, eras = read_series(connection), read_eras(connection)
            rows = connection.execute(
                "SELECT series, slo, since_s, good, bad, unmeasured FROM slo_totals"
            )
            _add_up(sums, ((n, slo, at_s, counts) for n, slo, at_s, *counts in rows), series, eras)
        return _by_path(sums)

    def packet_totals(self) -> dict[SeriesKey, PacketCounts]:
        with self._connection.reading() as connection:
            series = read_series(connection)
            rows = connection.execute(f"SELECT series, {COUNTS} FROM packet_totals")  # noqa: S608
            totals = {series[row[0]]: PacketCounts(*row[1:]) for row in rows}
        return dict(sorted(totals.items()))

    def maintain(self, now_s: float) -> None:
        """Do what is due; on a full disk, in the room that the ballast gives back.

        Only this releases the ballast: batches would use the room up, and nothing could be
        deleted any more.
        """
        try:
            self._maintain(int(now_s))
        except StoreFull:
            if not self._ballast.release():
                raise
            expire(self._connection, self._retention, int(now_s))  # room first
            self._maintain(int(now_s))
        self._ballast.keep()

    def _maintain(self, now_s: int) -> None:
        roll_up(self._connection, now_s)
        expire(self._connection, self._retention, now_s)


def _keep(
    connection: sqlite3.Connection, number: int, window: PathWindow, marks: Watermarks
) -> None:
    """Put a window into its place in time, which for a very late one is a 5 min window."""
    start_s = window.window.start_s
    interval_s = start_s - start_s % WARM_S
    if start_s < marks.hot_from_s:
        merge_window(connection, "warm", number, interval_s, window)
        return
    merge_window(connection, "hot", number, start_s, window)
    connection.execute(
        "INSERT OR IGNORE INTO dirty(start_s, series) VALUES (?, ?)", (interval_s, number)
    )


def _selected(connection: sqlite3.Connection, selector: Selector) -> dict[int, SeriesKey]:
    series = read_series(connection)
    return {number: key for number, key in series.items() if selector.matches(key)}


def _merged(
    connection: sqlite3.Connection,
    series: Mapping[int, SeriesKey],
    parts: Iterable[Piece],
    resolution_s: int,
) -> list[PathWindow]:
    """Return windows of at least the resolution, by series and time."""
    found: dict[tuple[SeriesKey, int], PathWindow] = {}
    for piece in parts:
        for window in read_windows(connection, piece, series):
            length_s = max(resolution_s, window.window.length_s)
            start_s = window.window.start_s
            place = (window.key, start_s - start_s % length_s)
            if place not in found:
                found[place] = PathWindow(window.key, Window(place[1], length_s))
            absorb_in_order(found[place], window)
    return [found[place] for place in sorted(found)]


def _slo_sums(
    connection: sqlite3.Connection, piece: Piece, series: Iterable[int]
) -> list[tuple[int, str, int, int, int]]:
    return connection.execute(
        "SELECT t.series, t.slo, sum(t.good), sum(t.bad), sum(t.unmeasured)"  # noqa: S608
        f" {piece.rows_of('slo')} AND t.series IN (SELECT value FROM json_each(?))"
        " GROUP BY t.series, t.slo",
        (piece.start_s, piece.end_s, json.dumps(list(series))),
    ).fetchall()


def _add_up(
    sums: dict[_SloKey, SloCounts],
    rows: Iterable[tuple[int, str, int, list[int]]],
    series: Mapping[int, SeriesKey],
    eras: Eras,
) -> None:
    """Add rows (series, objective, time, counts) under the target in force at that time.

    Events of an objective that nobody ever declared stay in the store, and are not judged.
    """
    for number, slo, at_s, counts in rows:
        if slo in eras:
            key = (series[number], slo, era_at(eras[slo], at_s)[1])
            sums.setdefault(key, SloCounts()).add(SloCounts(*counts))


def _by_path(sums: Mapping[_SloKey, SloCounts]) -> list[SloTotals]:
    """Add up the kinds of probe of each path."""
    whole: dict[tuple[object, ...], SloTotals] = {}
    for (key, slo, target), counts in sorted(sums.items(), key=lambda item: item[0]):
        totals = SloTotals(key.path, slo, target, SloCounts())
        whole.setdefault((key.path, slo, target), totals).counts.add(counts)
    return list(whole.values())
