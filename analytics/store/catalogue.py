"""The numbers of series and streams, kept so that packed points can be read for ever."""

from __future__ import annotations

import sqlite3

from analytics.streams import About, Events, Gauge, Packets, Stream, Streams
from analytics.windows import CountKey, SeriesKey, SketchKey
from netslo.errors import NetsloError
from netslo.model import Path, ProbeKind, Quality

_Row = tuple[str, str, str, str]  # kind, name, detail, direction


def load(connection: sqlite3.Connection, streams: Streams) -> None:
    """Bring `streams` up to what the store knows.

    Raises:
        NetsloError: the numbers have gaps; the store is damaged.
    """
    known = len(streams)
    count = connection.execute("SELECT count(*) FROM streams").fetchone()[0]
    if count <= known:
        return
    series = {
        row[0]: SeriesKey(Path(*row[1:4]), ProbeKind(row[4]))
        for row in connection.execute("SELECT id, src, dst, class, probe FROM series")
    }
    rows = connection.execute(
        "SELECT id, series, kind, name, detail, direction FROM streams WHERE id >= ? ORDER BY id",
        (known,),
    )
    for number, series_number, *about in rows:
        if streams.number(series[series_number], _about(*about)) != number:
            raise NetsloError(f"the store is damaged: stream {number} is not where it belongs")


def save(connection: sqlite3.Connection, streams: Streams, known: int) -> int:
    """Keep the streams from number `known` on; return how many are kept in all."""
    numbers = streams.series_of()
    for number in range(known, len(numbers)):
        stream = streams[number]
        path = stream.series.path
        connection.execute(
            "INSERT OR IGNORE INTO series(id, src, dst, class, probe) VALUES (?, ?, ?, ?, ?)",
            (
                int(numbers[number]),
                path.src,
                path.dst,
                path.traffic_class,
                stream.series.probe.value,
            ),
        )
        connection.execute(
            "INSERT INTO streams(id, series, kind, name, detail, direction)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (number, int(numbers[number]), *_row(stream)),
        )
    return len(numbers)


def _row(stream: Stream) -> _Row:
    match stream.about:
        case SketchKey(metric, quality, direction):
            return ("sketch", metric, quality.value if quality else "", direction)
        case CountKey(metric, what, direction):
            return ("count", metric, what, direction)
        case Packets(field):
            return ("packets", field, "", "")
        case Events(slo, field):
            return ("events", slo, field, "")
        case Gauge() as gauge:
            return ("gauge", gauge.value, "", "")


def _about(kind: str, name: str, detail: str, direction: str) -> About:
    match kind:
        case "sketch":
            return SketchKey(name, Quality(detail) if detail else None, direction)
        case "count":
            return CountKey(name, detail, direction)
        case "packets":
            return Packets(name)
        case "events":
            return Events(name, detail)
        case "gauge":
            return Gauge(name)
    raise NetsloError(f"the store is damaged: streams of kind {kind!r} are not known")
