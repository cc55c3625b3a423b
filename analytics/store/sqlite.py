"""The window store in one SQLite file: write-ahead log, one writer, any number of readers."""

from __future__ import annotations

import pathlib
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Final, Self

from analytics.frame import Frame, concatenated
from analytics.readings import Reading, Told
from analytics.store import bodies, catalogue, lateness, readings, routes
from analytics.store.arrivals import arrival_of, without_older
from analytics.store.compaction import ROUND_BYTES, ROUND_BYTES_SMALL, compact
from analytics.store.connection import Connection
from analytics.store.eras import Eras, declare, era_at, read_eras, split
from analytics.store.files import Ballast, Hold, connect
from analytics.store.history import History
from analytics.store.interface import (
    COUNTS_RETENTION_S,
    DAY_S,
    EVER_S,
    HOT_S,
    WARM_RETENTION_S,
    WARM_S,
    Appended,
    Arrival,
    KeptFrom,
    Latest,
    SloTotals,
    StoreFull,
)
from analytics.store.maintenance import Retention, expire
from analytics.store.packed_days import make_copies
from analytics.store.points import chosen_by_site, read_counters, read_points
from analytics.store.query import fine_pieces, pieces
from analytics.store.tiers import EVER, opened, read_sketches
from analytics.store.totals import read_totals, summed
from analytics.store.watermarks import read_watermarks
from analytics.streams import Events, Packets, Streams
from analytics.windows import (
    Batch,
    CountKey,
    PacketCounts,
    PathWindow,
    Selector,
    SeriesKey,
    SloCounts,
)
from netslo.errors import NetsloError
from netslo.model import Path, Window
from netslo.route import RouteObservation

HOT_RETENTION_S: Final = 48 * 3600
_EVER: Final = (-(2**62), 2**62)

_SloKey = tuple[SeriesKey, str, str]  # series, objective, target


class SqliteStore:
    """Implements `analytics.store.WindowStore`; safe to use from several threads.

    Batches and readers have a connection each: neither waits for the other.
    """

    def __init__(
        self,
        writer: Connection | None,
        reader: Connection,
        ballast: Ballast,
        retention: Retention,
        file: pathlib.Path,
    ) -> None:
        self._file = file
        self._closing = ExitStack()  # what a writer has opened besides
        self._writing = writer
        self._reader = reader
        self._ballast = ballast
        self._retention = retention
        self._streams = Streams()
        self._kept_streams = 0  # how many of them the file knows
        self._bodies = bodies.BodyReader(self._streams)
        self._compacted = bodies.BodyReader(self._streams)  # its own: readers wait for nothing
        self._maintaining = threading.Lock()
        with reader.reading() as connection:
            catalogue.load(connection, self._streams)
        self._kept_streams = len(self._streams)

    @classmethod
    def open(
        cls,
        file: pathlib.Path,
        *,
        readonly: bool = False,
        hot_retention_s: int = HOT_RETENTION_S,
        warm_retention_s: int = WARM_RETENTION_S,
        counts_retention_s: int = COUNTS_RETENTION_S,
    ) -> Self:
        """Open a store; a missing one is made, unless it shall only be read. It has one writer.

        Retentions are as `analytics.store.maintenance.Retention` has them.

        Raises:
            NetsloError: see `analytics.store.files.connect`.
        """
        retention = Retention(hot_retention_s, warm_retention_s, counts_retention_s)
        ballast = Ballast(file)
        if readonly:
            reader = Connection(connect(file, readonly=True), file)
            return cls(None, reader, ballast, retention, file)
        with ExitStack() as opened:
            opened.callback(Hold(file).release)
            writer = Connection(connect(file, readonly=False), file)
            opened.callback(writer.close)
            reader = Connection(connect(file, readonly=True), file)
            ballast.keep()
            store = cls(writer, reader, ballast, retention, file)
            store._closing = opened.pop_all()
        return store

    @property
    def streams(self) -> Streams:
        return self._streams

    def close(self) -> None:
        self._reader.close()
        self._closing.close()

    def append(self, batch: Batch, received_s: float) -> Appended:
        return self.append_all([arrival_of(batch, self._streams)], received_s)[0]

    def append_all(self, arrivals: Sequence[Arrival], received_s: float) -> list[Appended]:
        results, kept = [], []
        with self._writer.writing() as connection:
            marks = read_watermarks(connection)
            oldest_s = max(marks.warm_from_s, int(received_s) - self._retention.warm_s)
            known = catalogue.save(connection, self._streams, self._kept_streams)
            for arrival in arrivals:
                new = connection.execute(
                    "INSERT OR IGNORE INTO batches(instance, sequence, received_s)"
                    " VALUES (?, ?, ?)",
                    (arrival.instance_id, arrival.sequence, received_s),
                )
                if not new.rowcount:
                    results.append(Appended(duplicate=True, windows=0, expired=0))
                    continue
                young, result = without_older(arrival, oldest_s, self._streams)
                if young.frame.points:
                    number = bodies.keep(connection, young, received_s)
                    lateness.note(connection, young, self._streams, received_s)
                    kept.append((number, young.frame))
                if young.told:
                    _keep_told(connection, young.told)
                results.append(result)
        self._kept_streams = known
        for number, frame in kept:
            self._bodies.remember(number, frame)
        return results

    def kept_from(self) -> KeptFrom:
        with self._reader.reading() as connection:
            marks = read_watermarks(connection)
        return KeptFrom(marks.numbers_from_s, marks.warm_from_s)

    def late_arrivals(self) -> Mapping[str, float]:
        with self._reader.reading() as connection:
            return lateness.read(connection)

    def declare_objectives(self, targets: Mapping[str, str], now_s: float) -> None:
        with self._writer.writing() as connection:
            for slo, target in targets.items():
                declare(connection, slo, target, int(now_s))

    def targets(self) -> Eras:
        with self._reader.reading() as connection:
            return read_eras(connection)

    def series(self) -> list[SeriesKey]:
        with self._snapshot():
            return sorted(self._streams.series())

    def windows(
        self, selector: Selector, start_s: int, end_s: int, resolution_s: int = HOT_S
    ) -> Iterator[PathWindow]:
        if resolution_s <= 0 or resolution_s % HOT_S:
            raise ValueError(f"resolution_s is {resolution_s}, must be a multiple of {HOT_S}")
        return self._windows(selector, start_s, end_s, resolution_s)

    def aggregate(
        self, selector: Selector, start_s: int, end_s: int
    ) -> dict[SeriesKey, PathWindow]:
        whole: dict[SeriesKey, PathWindow] = {}
        with self._snapshot() as connection:
            parts = list(pieces(start_s, end_s, read_watermarks(connection), days=True))
            for chosen in chosen_by_site(self._streams, selector):
                frames = list(read_points(connection, parts, chosen, self._streams, self._bodies))
                frame = concatenated(frames).summed(start_s, end_s - start_s)
                whole |= {window.key: window for window in frame.windows(self._streams)}
        return dict(sorted(whole.items()))

    def slo_counts(self, selector: Selector, start_s: int, end_s: int) -> list[SloTotals]:
        sums: dict[_SloKey, SloCounts] = {}
        with self._snapshot() as connection:
            eras, marks = read_eras(connection), read_watermarks(connection)
            for low_s, high_s in split(start_s, end_s, eras):
                parts = list(pieces(low_s, high_s, marks, days=True, only_numbers=True))
                for chosen in chosen_by_site(self._streams, selector):
                    frames = read_counters(connection, parts, chosen, self._streams, self._bodies)
                    counters = concatenated(list(frames)).summed(low_s, high_s - low_s).counters
                    found = zip(counters.stream.tolist(), counters.value.tolist(), strict=True)
                    self._judge(sums, ((stream, low_s, value) for stream, value in found), eras)
        return _by_path(sums)

    def slo_totals(self) -> list[SloTotals]:
        sums: dict[_SloKey, SloCounts] = {}
        totals, eras = self._totals()
        self._judge(sums, ((*place, value) for place, value in totals.items()), eras)
        return _by_path(sums)

    def packet_totals(self) -> dict[SeriesKey, PacketCounts]:
        return {series: window.packets for series, window in self.count_totals().items()}

    def count_totals(self) -> dict[SeriesKey, PathWindow]:
        found: dict[SeriesKey, PathWindow] = {}
        for (stream, _), value in self._totals()[0].items():
            series, about = self._streams[stream].series, self._streams[stream].about
            if isinstance(about, Packets | CountKey):
                about.add_to(found.setdefault(series, PathWindow(series, Window(0))), value)
        return dict(sorted(found.items()))

    def distribution_totals(self) -> Frame:
        with self._snapshot() as connection:
            compacted = opened([(row, b"") for row in read_sketches(connection, EVER)], EVER)
            fresh = bodies.overlapping(connection, *_EVER)
        frames = [compacted, *self._bodies.frames(fresh)]
        whole = concatenated([frame.only_distributions() for frame in frames])
        return whole.summed(0, EVER_S)

    def routes(self, path: Path | None = None) -> list[Latest[RouteObservation]]:
        with self._reader.reading() as connection:
            return routes.read_routes(connection, path)

    def path_changes(
        self, path: Path | None, start_s: float, end_s: float, at_most: int
    ) -> list[RouteObservation]:
        with self._reader.reading() as connection:
            return routes.read_changes(connection, path, start_s, end_s, at_most)

    def path_change_totals(self) -> dict[Path, int]:
        with self._reader.reading() as connection:
            return routes.read_change_totals(connection)

    def readings(
        self, metric: str, path: Path | None, start_s: float, end_s: float, at_most: int
    ) -> list[Reading]:
        with self._reader.reading() as connection:
            return readings.read_readings(connection, metric, path, start_s, end_s, at_most)

    def readings_between(
        self, metric: str, direction: str, method: str, start_s: float, end_s: float
    ) -> list[Reading]:
        with self._reader.reading() as connection:
            return readings.read_between(connection, metric, direction, method, start_s, end_s)

    def first_readings(self, metric: str, direction: str, method: str) -> dict[Path, int]:
        with self._reader.reading() as connection:
            return readings.read_first(connection, metric, direction, method)

    def latest_readings(self, path: Path | None = None) -> list[Latest[Reading]]:
        with self._reader.reading() as connection:
            return readings.read_latest(connection, path)

    def history(self) -> History:
        return History(connect(self._file, readonly=True), self._streams)

    def maintain(self, now_s: float) -> None:
        """Do what is due; on a full disk, in the room that the ballast gives back.

        Only this releases the ballast: batches would use the room up, and nothing could be
        deleted any more.
        """
        with self._maintaining:
            try:
                self._maintain(int(now_s))
            except StoreFull:
                if not self._ballast.release():
                    raise
                expire(self._writer, self._retention, int(now_s))  # room first
                self._copy(int(now_s))  # rows may wait for it to go
                self._maintain(int(now_s), round_bytes=ROUND_BYTES_SMALL)
            else:
                self._copy(int(now_s))
            self._ballast.keep()

    @property
    def _writer(self) -> Connection:
        if self._writing is None:
            raise NetsloError("this store was opened to be read only")
        return self._writing

    def _maintain(self, now_s: int, round_bytes: int = ROUND_BYTES) -> None:
        compact(self._reader, self._writer, self._streams, self._compacted, now_s, round_bytes)
        expire(self._writer, self._retention, now_s)

    def _copy(self, now_s: int) -> None:
        with suppress(StoreFull):  # of what is there already
            make_copies(self._reader, self._writer, self._streams, now_s)

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """See one state of the store, with the streams that it knows."""
        with self._reader.reading() as connection:
            catalogue.load(connection, self._streams)
            yield connection

    def _windows(
        self, selector: Selector, start_s: int, end_s: int, resolution_s: int
    ) -> Iterator[PathWindow]:
        """Read a site at a time, so that memory is bounded."""
        with self._snapshot():
            sites = chosen_by_site(self._streams, selector)
        for chosen in sites:
            with self._snapshot() as connection:
                marks = read_watermarks(connection)
                if resolution_s % WARM_S:
                    parts = fine_pieces(start_s, end_s, marks)
                else:
                    parts = pieces(start_s, end_s, marks, days=resolution_s % DAY_S == 0)
                frames = list(read_points(connection, parts, chosen, self._streams, self._bodies))
            by_length = defaultdict(list)
            for frame in frames:
                by_length[max(resolution_s, frame.length_s)].append(frame)
            found = [
                window
                for length_s, together in by_length.items()
                for window in concatenated(together).merged(length_s).windows(self._streams)
            ]
            yield from sorted(found, key=lambda window: (window.key, window.window))

    def _totals(self) -> tuple[Counter[tuple[int, int]], Eras]:
        with self._snapshot() as connection:
            eras = read_eras(connection)
            totals = read_totals(connection)
            fresh = bodies.overlapping(connection, *_EVER)
        totals.update(summed(self._bodies.numbers(fresh), self._streams, eras))
        return totals, eras

    def _judge(
        self,
        sums: dict[_SloKey, SloCounts],
        counters: Iterable[tuple[int, int, int]],
        eras: Eras,
    ) -> None:
        """Add counters (stream, time, value) under the target in force at that time.

        Events of an objective that nobody ever declared stay in the store, and are not judged.
        """
        for stream, at_s, value in counters:
            series, about = self._streams[stream].series, self._streams[stream].about
            if isinstance(about, Events) and about.slo in eras:
                key = (series, about.slo, era_at(eras[about.slo], at_s)[1])
                counts = sums.setdefault(key, SloCounts())
                setattr(counts, about.field, getattr(counts, about.field) + value)


def _keep_told(connection: sqlite3.Connection, told: Sequence[Told]) -> None:
    """Keep what a batch says beside its windows."""
    routes.keep(connection, [each for each in told if isinstance(each, RouteObservation)])
    readings.keep(connection, [each for each in told if isinstance(each, Reading)])


def _by_path(sums: Mapping[_SloKey, SloCounts]) -> list[SloTotals]:
    """Add up the kinds of probe of each path."""
    whole: dict[tuple[object, ...], SloTotals] = {}
    for (key, slo, target), counts in sorted(sums.items(), key=lambda item: item[0]):
        totals = SloTotals(key.path, slo, target, SloCounts())
        whole.setdefault((key.path, slo, target), totals).counts.add(counts)
    return list(whole.values())
