"""When each site last delivered windows that were over for long, kept through restarts.

Who alerts must know it: a backlog stands in windows of the past, but it has only just come.
"""

from __future__ import annotations

import sqlite3

import numpy as np
from numpy.typing import NDArray

from analytics.store.interface import LATE_S, Arrival
from analytics.streams import Streams


def note(
    connection: sqlite3.Connection, arrival: Arrival, streams: Streams, received_s: float
) -> None:
    """Remember the sites of which windows came late, in the transaction that keeps these."""
    frame, counters = arrival.frame, arrival.frame.counters
    if frame.span()[0] + frame.length_s >= received_s - LATE_S:  # nearly always
        return
    late = counters.start_s + frame.length_s < received_s - LATE_S
    if not late.any():
        return
    sites = {arrival.site} if arrival.site else _sources(streams, counters.stream[late])
    connection.executemany(
        "INSERT OR REPLACE INTO late_arrivals(site, received_s) VALUES (?, ?)",
        [(site, received_s) for site in sorted(sites)],
    )


def _sources(of: Streams, streams: NDArray[np.int32]) -> set[str]:
    known = of.series()
    series = np.unique(of.series_of()[streams])
    return {known[number].path.src for number in series.tolist()}


def read(connection: sqlite3.Connection) -> dict[str, float]:
    """Return by site when that was last, Unix seconds."""
    return dict(connection.execute("SELECT site, received_s FROM late_arrivals").fetchall())
