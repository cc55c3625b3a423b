"""One state of a store, read at leisure while others go on writing: for who starts from it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from analytics.frame import Frame
from analytics.steps import Steps
from analytics.store.bodies import BodyReader
from analytics.store.interface import DAY_S, WARM_S
from analytics.store.points import (
    add_counters,
    chosen_by_site,
    read_counters,
    read_distributions,
    read_points,
)
from analytics.store.query import Piece, fine_pieces, pieces
from analytics.store.watermarks import read_watermarks
from analytics.streams import Streams
from analytics.windows import ALL, Selector


class History:
    """What a store held when this was made. For one thread at a time; to be closed soon."""

    def __init__(self, connection: sqlite3.Connection, streams: Streams) -> None:
        self._connection = connection
        self._streams = streams
        self._bodies = BodyReader(streams)
        connection.execute("BEGIN DEFERRED")
        self._marks = read_watermarks(connection)  # the first read fixes the state

    def frames(
        self,
        start_s: int,
        end_s: int,
        window_s: int,
        *,
        distributions: bool = True,
        numbers: bool = True,
        selector: Selector = ALL,
    ) -> Iterator[Frame]:
        """Yield the points of [start_s, end_s), in windows of at most `window_s`, site by site.

        Windows are longer where shorter ones have expired. Without `distributions` or
        `numbers` it is faster; without `distributions` there are counters alone, from where
        counts begin.
        """
        read = read_points if numbers else read_distributions
        if not distributions:
            read = read_counters
        for chosen in chosen_by_site(self._streams, selector):
            parts = self._pieces(start_s, end_s, window_s, only_numbers=not distributions)
            yield from read(self._connection, parts, chosen, self._streams, self._bodies)

    def add_to(self, steps: Steps, end_s: int, selector: Selector = ALL) -> None:
        """Add the counters from where `steps` begin to `end_s` to them, as `frames` has them."""
        for chosen in chosen_by_site(self._streams, selector):
            parts = self._pieces(steps.start_s, end_s, steps.step_s, only_numbers=True)
            add_counters(self._connection, parts, chosen, self._streams, self._bodies, steps)

    def _pieces(
        self, start_s: int, end_s: int, window_s: int, *, only_numbers: bool
    ) -> Iterator[Piece]:
        """Return the pieces of [start_s, end_s) with windows of at most `window_s`."""
        if window_s < WARM_S:
            return fine_pieces(start_s, end_s, self._marks, only_numbers=only_numbers)
        days = window_s >= DAY_S
        return pieces(start_s, end_s, self._marks, days=days, only_numbers=only_numbers)

    def close(self) -> None:
        self._connection.close()
