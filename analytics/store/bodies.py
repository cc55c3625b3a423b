"""Received bodies: what was acknowledged and is not compacted yet."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from analytics.frame import Frame
from analytics.otlp.compression import NotDecompressed, decompress
from analytics.otlp.frames import FrameReader
from analytics.store.interface import Arrival
from analytics.streams import About, Streams
from analytics.windows import SeriesKey
from netslo.errors import NetsloError

_BODY_BYTES_MAX: Final = 64 * 2**20  # decompressed; what is taken from the network is far smaller
_WHOLE_BYTES_MAX: Final = 64 * 2**20  # of decoded bodies that are kept at hand
_NUMBERS_BYTES_MAX: Final = 32 * 2**20  # of their numbers: budgets ask for those only


@dataclass(frozen=True, slots=True)
class Body:
    """One row; `number` only grows, so a body is never taken for another."""

    number: int
    site: str
    encoding: str
    octets: bytes


def keep(connection: sqlite3.Connection, arrival: Arrival, received_s: float) -> int:
    """Add a body; its windows are known from its frame. Returns its number."""
    first_s, end_s = arrival.frame.span()
    cursor = connection.execute(
        "INSERT INTO bodies(site, first_s, end_s, received_s, encoding, body)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (arrival.site, first_s, end_s, received_s, arrival.encoding, arrival.body),
    )
    return int(cursor.lastrowid or 0)


def overlapping(
    connection: sqlite3.Connection, start_s: int, end_s: int, site: str | None = None
) -> list[Body]:
    """Return the bodies with windows in [start_s, end_s), of one site or of all, as they came."""
    of_site = "" if site is None else " AND site IN (?, '')"
    rows = connection.execute(
        "SELECT id, site, encoding, body FROM bodies WHERE first_s < ? AND end_s > ?"  # noqa: S608
        f"{of_site} ORDER BY id",
        (end_s, start_s) if site is None else (end_s, start_s, site),
    )
    return [Body(*row) for row in rows]


class BodyReader:
    """Reads bodies again, and remembers the latest it read. Thread-safe."""

    def __init__(self, streams: Streams) -> None:
        self._reader = FrameReader(streams, _any_series)
        self._whole = _Latest(_WHOLE_BYTES_MAX)
        self._numbers = _Latest(_NUMBERS_BYTES_MAX)
        self._lock = threading.Lock()

    def remember(self, number: int, frame: Frame) -> None:
        """Keep the frame of a body at hand."""
        with self._lock:
            self._whole.put(number, frame)
            self._numbers.put(number, frame.only_numbers())

    def frames(self, bodies: Iterable[Body]) -> Iterator[Frame]:
        """Yield the points of each body.

        Raises:
            NetsloError: a body cannot be read any more; the store is damaged.
        """
        for body in bodies:
            with self._lock:
                frame = self._whole.get(body.number)
                if frame is None:
                    frame = self._decode(body)
                    self._whole.put(body.number, frame)
            yield frame

    def numbers(self, bodies: Iterable[Body]) -> Iterator[Frame]:
        """Yield the points of each body but for distributions; raises as `frames` does."""
        for body in bodies:
            with self._lock:
                frame = self._numbers.get(body.number)
                if frame is None:
                    frame = self._decode(body).only_numbers()
                    self._numbers.put(body.number, frame)
            yield frame

    def decode(self, body: Body) -> Frame:
        """Return the points of one body, without remembering it; raises as `frames` does."""
        with self._lock:
            return self._decode(body)

    def _decode(self, body: Body) -> Frame:
        try:
            plain = decompress(body.octets, body.encoding, _BODY_BYTES_MAX)
        except NotDecompressed as error:
            raise NetsloError(f"the store is damaged: body {body.number}: {error}") from error
        received = self._reader.read_again(plain)
        if received is None:
            raise NetsloError(f"the store is damaged: body {body.number} cannot be read")
        return received.frame


class _Latest:
    """The frames last asked for, by body, of about so many octets in all; one at the least."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._frames: OrderedDict[int, Frame] = OrderedDict()  # least recent first
        self._bytes = 0

    def get(self, number: int) -> Frame | None:
        frame = self._frames.get(number)
        if frame is not None:
            self._frames.move_to_end(number)
        return frame

    def put(self, number: int, frame: Frame) -> None:
        """Keep a frame; a reader may have been faster."""
        if number in self._frames:
            return
        self._frames[number] = frame
        self._bytes += frame.nbytes
        while self._bytes > self._bytes_max and len(self._frames) > 1:
            _, oldest = self._frames.popitem(last=False)
            self._bytes -= oldest.nbytes


def _any_series(_site: str, _series: SeriesKey, _about: About) -> bool:
    return True  # it was admitted when it came
