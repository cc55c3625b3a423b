"""The window store in one SQLite file: write-ahead log, one writer, any number of readers."""

from __future__ import annotations

import itertools
import pathlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from typing import Final, Self

from analytics.store.files import Ballast, connect, transaction
from analytics.store.interface import HOT_S, WARM_S, Appended, SloTotals, StoreFull
from analytics.store.query import Piece, fine_pieces, pieces
from analytics.store.rows import (
    COUNTS,
    delete_window,
    merge_window,
    read_series,
    read_windows,
    series_id,
)
from analytics.windows import Batch, PacketCounts, PathWindow, Selector, SeriesKey, SloCounts
from netslo.model import Window

HOT_RETENTION_S: Final = 48 * 3600
WARM_RETENTION_S: Final = 35 * 86400
_ROLL_UP_GRACE_S: Final = 30  # most windows of an interval have arrived by then
_ROLL_UPS_AT_ONCE: Final = 100  # per transaction, so that nobody waits long

Era = tuple[int, str]  # (since_s, target)


class SqliteStore:
    """Implements `analytics.store.WindowStore`; safe to use from several threads."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        ballast: Ballast,
        hot_retention_s: int,
        warm_retention_s: int,
    ) -> None:
        self._connection = connection
        self._ballast = ballast
        self._hot_retention_s = hot_retention_s
        self._warm_retention_s = warm_retention_s
        self._lock = threading.RLock()

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
        connection = connect(file, readonly=readonly)
        ballast = Ballast(file)
        if not readonly:
            ballast.keep()
        return cls(connection, ballast, hot_retention_s, warm_retention_s)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def append(self, batch: Batch, received_s: float) -> Appended:
        with self._lock:
            try:
                with transaction(self._connection):
                    return self._append(batch, received_s)
            except StoreFull:
                self._ballast.release()
                raise

    def declare_objectives(self, targets: Mapping[str, str], now_s: float) -> None:
        with self._lock, transaction(self._connection):
            for slo, target in targets.items():
                self._declare(slo, target, int(now_s))

    def series(self) -> list[SeriesKey]:
        with self._lock:
            return sorted(read_series(self._connection).values())

    def windows(
        self, selector: Selector, start_s: int, end_s: int, resolution_s: int = HOT_S
    ) -> Iterator[PathWindow]:
        if resolution_s <= 0 or resolution_s % HOT_S:
            raise ValueError(f"resolution_s is {resolution_s}, must be a multiple of {HOT_S}")
        with self._lock, transaction(self._connection, "DEFERRED"):
            hot_from_s = self._watermark("hot_from")
            choose = pieces if resolution_s % WARM_S == 0 else fine_pieces
            found = self._merged(selector, list(choose(start_s, end_s, hot_from_s)), resolution_s)
        return iter([found[place] for place in sorted(found)])

    def aggregate(
        self, selector: Selector, start_s: int, end_s: int
    ) -> dict[SeriesKey, PathWindow]:
        with self._lock, transaction(self._connection, "DEFERRED"):
            series = self._selected(selector)
            whole: dict[SeriesKey, PathWindow] = {}
            for piece in pieces(start_s, end_s, self._watermark("hot_from")):
                for window in read_windows(self._connection, piece, series):
                    if window.key not in whole:
                        span = Window(start_s, end_s - start_s)
                        whole[window.key] = PathWindow(window.key, span)
                    _absorb_in_order(whole[window.key], window)
            return dict(sorted(whole.items()))

    def slo_counts(self, selector: Selector, start_s: int, end_s: int) -> list[SloTotals]:
        with self._lock, transaction(self._connection, "DEFERRED"):
            series, eras = self._selected(selector), self._eras()
            hot_from_s = self._watermark("hot_from")
            sums: dict[tuple[SeriesKey, str, str], SloCounts] = {}
            for low_s, high_s in _split(start_s, end_s, eras):
                for piece in pieces(low_s, high_s, hot_from_s):
                    for number, slo, *counts in self._slo_sums(piece):
                        if number in series and slo in eras:
                            key = (series[number], slo, _target(eras[slo], low_s)[1])
                            sums.setdefault(key, SloCounts()).add(SloCounts(*counts))
            return _by_path(sums)

    def slo_totals(self) -> list[SloTotals]:
        with self._lock, transaction(self._connection, "DEFERRED"):
            series, eras = read_series(self._connection), self._eras()
            sums: dict[tuple[SeriesKey, str, str], SloCounts] = {}
            rows = self._connection.execute(
                "SELECT series, slo, since_s, good, bad, unmeasured FROM slo_totals"
            )
            for number, slo, since_s, *counts in rows:
                if slo in eras:
                    key = (series[number], slo, _target(eras[slo], since_s)[1])
                    sums.setdefault(key, SloCounts()).add(SloCounts(*counts))
            return _by_path(sums)

    def packet_totals(self) -> dict[SeriesKey, PacketCounts]:
        with self._lock, transaction(self._connection, "DEFERRED"):
            series = read_series(self._connection)
            rows = self._connection.execute(f"SELECT series, {COUNTS} FROM packet_totals")  # noqa: S608
            totals = {series[row[0]]: PacketCounts(*row[1:]) for row in rows}
        return dict(sorted(totals.items()))

    def maintain(self, now_s: float) -> None:
        with self._lock:
            try:
                while self._roll_up(int(now_s)):
                    pass
                self._expire(int(now_s))
            except StoreFull:
                self._ballast.release()
                raise
            self._ballast.keep()

    def _append(self, batch: Batch, received_s: float) -> Appended:
        known = self._connection.execute(
            "INSERT OR IGNORE INTO batches(instance, sequence, received_s) VALUES (?, ?, ?)",
            (batch.instance_id, batch.sequence, received_s),
        )
        if not known.rowcount:
            return Appended(duplicate=True, windows=0, expired=0)
        hot_from_s = self._watermark("hot_from")
        oldest_s = max(self._watermark("warm_from"), int(received_s) - self._warm_retention_s)
        eras = self._eras()
        kept = 0
        for window in batch.windows:
            if window.window.start_s < oldest_s:
                continue
            kept += 1
            number = series_id(self._connection, window.key)
            self._keep(number, window, hot_from_s)
            self._count(number, window, eras)
        return Appended(duplicate=False, windows=kept, expired=len(batch.windows) - kept)

    def _keep(self, number: int, window: PathWindow, hot_from_s: int) -> None:
        start_s = window.window.start_s
        interval_s = start_s - start_s % WARM_S
        if start_s < hot_from_s:
            merge_window(self._connection, "warm", number, interval_s, window)
            return
        merge_window(self._connection, "hot", number, start_s, window)
        self._connection.execute(
            "INSERT OR IGNORE INTO dirty(start_s, series) VALUES (?, ?)", (interval_s, number)
        )

    def _count(self, number: int, window: PathWindow, eras: Mapping[str, list[Era]]) -> None:
        """Add to the totals, which never expire."""
        packets = window.packets
        self._connection.execute(
            f"INSERT INTO packet_totals(series, {COUNTS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608
            " ON CONFLICT DO UPDATE SET answered = answered + excluded.answered,"
            " lost = lost + excluded.lost, unmeasured = unmeasured + excluded.unmeasured,"
            " duplicates = duplicates + excluded.duplicates,"
            " reordered = reordered + excluded.reordered",
            (
                number,
                packets.answered,
                packets.lost,
                packets.unmeasured,
                packets.duplicates,
                packets.reordered,
            ),
        )
        for slo, counts in window.slo.items():
            since_s = _target(eras[slo], window.window.start_s)[0] if slo in eras else 0
            self._connection.execute(
                "INSERT INTO slo_totals(series, slo, since_s, good, bad, unmeasured)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " good = good + excluded.good, bad = bad + excluded.bad,"
                " unmeasured = unmeasured + excluded.unmeasured",
                (number, slo, since_s, counts.good, counts.bad, counts.unmeasured),
            )

    def _declare(self, slo: str, target: str, now_s: int) -> None:
        """Note a target; one not yet in force is replaced, the first holds for all the past."""
        self._connection.execute(
            "DELETE FROM objectives WHERE slo = ? AND since_s > ?", (slo, now_s)
        )
        last = self._connection.execute(
            "SELECT target FROM objectives WHERE slo = ? ORDER BY since_s DESC LIMIT 1", (slo,)
        ).fetchone()
        if last is not None and last[0] == target:
            return
        since_s = 0 if last is None else now_s - now_s % WARM_S + WARM_S
        self._connection.execute(
            "INSERT INTO objectives(slo, since_s, target) VALUES (?, ?, ?)",
            (slo, since_s, target),
        )

    def _eras(self) -> dict[str, list[Era]]:
        """Return the targets of each objective, in order of time."""
        eras: dict[str, list[Era]] = {}
        rows = self._connection.execute(
            "SELECT slo, since_s, target FROM objectives ORDER BY slo, since_s"
        )
        for slo, since_s, target in rows:
            eras.setdefault(slo, []).append((since_s, target))
        return eras

    def _selected(self, selector: Selector) -> dict[int, SeriesKey]:
        series = read_series(self._connection)
        return {number: key for number, key in series.items() if selector.matches(key)}

    def _merged(
        self, selector: Selector, parts: list[Piece], resolution_s: int
    ) -> dict[tuple[SeriesKey, int], PathWindow]:
        series = self._selected(selector)
        found: dict[tuple[SeriesKey, int], PathWindow] = {}
        for piece in parts:
            for window in read_windows(self._connection, piece, series):
                length_s = max(resolution_s, window.window.length_s)
                start_s = window.window.start_s
                place = (window.key, start_s - start_s % length_s)
                if place not in found:
                    found[place] = PathWindow(window.key, Window(place[1], length_s))
                _absorb_in_order(found[place], window)
        return found

    def _slo_sums(self, piece: Piece) -> list[tuple[int, str, int, int, int]]:
        return self._connection.execute(
            "SELECT t.series, t.slo, sum(t.good), sum(t.bad), sum(t.unmeasured)"
            f" {piece.rows_of('slo')} GROUP BY t.series, t.slo",
            (piece.start_s, piece.end_s),
        ).fetchall()

    def _watermark(self, name: str) -> int:
        row = self._connection.execute(
            "SELECT unix_s FROM watermarks WHERE name = ?", (name,)
        ).fetchone()
        return 0 if row is None else int(row[0])

    def _roll_up(self, now_s: int) -> bool:
        """Rebuild some 5 min windows from their 10 s ones; False when none is left to do."""
        with transaction(self._connection):
            rows = self._connection.execute(
                "SELECT start_s, series FROM dirty WHERE start_s <= ? ORDER BY start_s LIMIT ?",
                (now_s - WARM_S - _ROLL_UP_GRACE_S, _ROLL_UPS_AT_ONCE),
            ).fetchall()
            series = read_series(self._connection)
            for start_s, number in rows:
                key = series[number]
                whole = PathWindow(key, Window(start_s, WARM_S))
                piece = Piece("hot", start_s, start_s + WARM_S)
                for window in read_windows(self._connection, piece, {number: key}):
                    _absorb_in_order(whole, window)
                delete_window(self._connection, "warm", number, start_s)
                merge_window(self._connection, "warm", number, start_s, whole)
                self._connection.execute(
                    "DELETE FROM dirty WHERE start_s = ? AND series = ?", (start_s, number)
                )
        return len(rows) == _ROLL_UPS_AT_ONCE

    def _expire(self, now_s: int) -> None:
        """Move the watermarks first: from then on nobody looks behind them."""
        limits = {"hot": now_s - self._hot_retention_s, "warm": now_s - self._warm_retention_s}
        for tier, limit_s in limits.items():
            limit_s -= limit_s % WARM_S  # noqa: PLW2901 - whole intervals go
            if limit_s <= self._watermark(f"{tier}_from"):
                continue
            with transaction(self._connection):
                self._connection.execute(
                    "INSERT OR REPLACE INTO watermarks(name, unix_s) VALUES (?, ?)",
                    (f"{tier}_from", limit_s),
                )
            for table in ("windows", "sketches", "slo"):
                self._delete_before(f"{tier}_{table}", "start_s", limit_s)
        self._delete_before("batches", "received_s", limits["warm"])

    def _delete_before(self, table: str, column: str, limit_s: int) -> None:
        """Delete old rows, an hour of them per transaction."""
        while True:
            oldest = self._connection.execute(
                f"SELECT min({column}) FROM {table}"  # noqa: S608
            ).fetchone()[0]
            if oldest is None or oldest >= limit_s:
                return
            with transaction(self._connection):
                self._connection.execute(
                    f"DELETE FROM {table} WHERE {column} < ?",  # noqa: S608
                    (min(limit_s, int(oldest) + 3600),),
                )


def _absorb_in_order(whole: PathWindow, part: PathWindow) -> None:
    """Merge; pieces come in order of time within a tier, so the last jitter is the latest."""
    jitter_s = part.interarrival_jitter_s
    whole.absorb(part)
    if jitter_s is not None:
        whole.interarrival_jitter_s = jitter_s


def _target(eras: list[Era], start_s: int) -> Era:
    """Return the era in force at a time; before the first, the first."""
    in_force = eras[0]
    for era in eras:
        if era[0] <= start_s:
            in_force = era
    return in_force


def _split(start_s: int, end_s: int, eras: Mapping[str, list[Era]]) -> Iterator[tuple[int, int]]:
    """Cut a span wherever a target changed."""
    changes = {since_s for changes in eras.values() for since_s, _ in changes}
    edges = [start_s, *sorted(s for s in changes if start_s < s < end_s), end_s]
    yield from itertools.pairwise(edges)


def _by_path(sums: Mapping[tuple[SeriesKey, str, str], SloCounts]) -> list[SloTotals]:
    """Add up the kinds of probe of each path."""
    whole: dict[tuple[object, ...], SloTotals] = {}
    for (key, slo, target), counts in sorted(sums.items(), key=lambda item: item[0]):
        place = (key.path, slo, target)
        if place not in whole:
            whole[place] = SloTotals(key.path, slo, target, SloCounts())
        whole[place].counts.add(counts)
    return list(whole.values())
