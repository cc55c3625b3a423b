"""Windows as rows of one tier, and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping

from analytics.otlp.histogram import sketch_from_bytes, sketch_to_bytes
from analytics.store.eras import Eras, era_at
from analytics.store.interface import HOT_S, WARM_S
from analytics.store.query import Piece
from analytics.windows import PacketCounts, PathWindow, SeriesKey, SketchKey, SloCounts
from netslo.model import Path, ProbeKind, Quality, Window

COUNTS = "answered, lost, unmeasured, duplicates, reordered"


def read_series(connection: sqlite3.Connection) -> dict[int, SeriesKey]:
    """Return every series by its number."""
    rows = connection.execute("SELECT id, src, dst, class, probe FROM series")
    return {row[0]: SeriesKey(Path(*row[1:4]), ProbeKind(row[4])) for row in rows}


def series_id(connection: sqlite3.Connection, key: SeriesKey) -> int:
    """Return the number of a series, which it gets when it is first seen."""
    values = (key.path.src, key.path.dst, key.path.traffic_class, key.probe.value)
    query = "SELECT id FROM series WHERE src = ? AND dst = ? AND class = ? AND probe = ?"
    row = connection.execute(query, values).fetchone()
    if row is None:
        insert = "INSERT INTO series(src, dst, class, probe) VALUES (?, ?, ?, ?)"
        return int(connection.execute(insert, values).lastrowid or 0)
    return int(row[0])


def merge_window(
    connection: sqlite3.Connection, tier: str, series: int, start_s: int, window: PathWindow
) -> None:
    """Add a window to what the tier has at its place, exactly."""
    packets = window.packets
    connection.execute(
        f"INSERT INTO {tier}_windows(series, start_s, {COUNTS}, jitter_s)"  # noqa: S608
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " answered = answered + excluded.answered, lost = lost + excluded.lost,"
        " unmeasured = unmeasured + excluded.unmeasured,"
        " duplicates = duplicates + excluded.duplicates,"
        " reordered = reordered + excluded.reordered,"
        " jitter_s = coalesce(excluded.jitter_s, jitter_s)",
        (
            series,
            start_s,
            packets.answered,
            packets.lost,
            packets.unmeasured,
            packets.duplicates,
            packets.reordered,
            window.interarrival_jitter_s,
        ),
    )
    for key, sketch in window.sketches.items():
        place = (series, start_s, key.metric, key.quality.value, key.direction)
        old = connection.execute(
            f"SELECT point FROM {tier}_sketches WHERE series = ? AND start_s = ?"  # noqa: S608
            " AND metric = ? AND quality = ? AND direction = ?",
            place,
        ).fetchone()
        merged = sketch
        if old is not None:
            merged = sketch_from_bytes(old[0])
            merged.merge(sketch)
        connection.execute(
            f"INSERT OR REPLACE INTO {tier}_sketches"  # noqa: S608
            "(series, start_s, metric, quality, direction, point) VALUES (?, ?, ?, ?, ?, ?)",
            (*place, sketch_to_bytes(merged)),
        )
    connection.executemany(
        f"INSERT INTO {tier}_slo(series, start_s, slo, good, bad, unmeasured)"  # noqa: S608
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET good = good + excluded.good,"
        " bad = bad + excluded.bad, unmeasured = unmeasured + excluded.unmeasured",
        [(series, start_s, slo, c.good, c.bad, c.unmeasured) for slo, c in window.slo.items()],
    )


def count_window(
    connection: sqlite3.Connection, series: int, window: PathWindow, eras: Eras
) -> None:
    """Add a window to the totals, which never expire."""
    packets = window.packets
    connection.execute(
        f"INSERT INTO packet_totals(series, {COUNTS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608
        " ON CONFLICT DO UPDATE SET answered = answered + excluded.answered,"
        " lost = lost + excluded.lost, unmeasured = unmeasured + excluded.unmeasured,"
        " duplicates = duplicates + excluded.duplicates,"
        " reordered = reordered + excluded.reordered",
        (
            series,
            packets.answered,
            packets.lost,
            packets.unmeasured,
            packets.duplicates,
            packets.reordered,
        ),
    )
    for slo, counts in window.slo.items():
        since_s = era_at(eras[slo], window.window.start_s)[0] if slo in eras else 0
        connection.execute(
            "INSERT INTO slo_totals(series, slo, since_s, good, bad, unmeasured)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " good = good + excluded.good, bad = bad + excluded.bad,"
            " unmeasured = unmeasured + excluded.unmeasured",
            (series, slo, since_s, counts.good, counts.bad, counts.unmeasured),
        )


def delete_window(connection: sqlite3.Connection, tier: str, series: int, start_s: int) -> None:
    """Remove one window of a tier."""
    for table in ("windows", "sketches", "slo"):
        connection.execute(
            f"DELETE FROM {tier}_{table} WHERE series = ? AND start_s = ?",  # noqa: S608
            (series, start_s),
        )


def read_windows(
    connection: sqlite3.Connection, piece: Piece, series: Mapping[int, SeriesKey]
) -> Iterator[PathWindow]:
    """Yield the windows of the given series in one piece of time, by series and time."""
    length_s = HOT_S if piece.tier == "hot" else WARM_S
    for number, key in series.items():
        span = (piece.start_s, piece.end_s, number)
        windows: dict[int, PathWindow] = {}
        for row in connection.execute(
            f"SELECT t.start_s, {COUNTS}, jitter_s"
            f" {piece.rows_of('windows')} AND t.series = ? ORDER BY t.start_s",
            span,
        ):
            windows[row[0]] = PathWindow(
                key,
                Window(row[0], length_s),
                PacketCounts(*row[1:6]),
                interarrival_jitter_s=row[6],
            )
        if not windows:
            continue
        for row in connection.execute(
            "SELECT t.start_s, metric, quality, direction, point"
            f" {piece.rows_of('sketches')} AND t.series = ?",
            span,
        ):
            sketch_key = SketchKey(row[1], Quality(row[2]), row[3])
            windows[row[0]].sketches[sketch_key] = sketch_from_bytes(row[4])
        for row in connection.execute(
            f"SELECT t.start_s, slo, good, bad, unmeasured {piece.rows_of('slo')} AND t.series = ?",
            span,
        ):
            windows[row[0]].slo[row[1]] = SloCounts(*row[2:5])
        yield from windows.values()


def absorb_in_order(whole: PathWindow, part: PathWindow) -> None:
    """Merge; pieces come in order of time within a tier, so the last jitter is the latest."""
    jitter_s = part.interarrival_jitter_s
    whole.absorb(part)
    if jitter_s is not None:
        whole.interarrival_jitter_s = jitter_s
