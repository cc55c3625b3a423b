"""When each site last delivered windows that were over for long, kept through restarts.

Who alerts must know it: a backlog stands in windows of the past, but it has only just come.
"""

from __future__ import annotations

import sqlite3

import numpy as np

from analytics.frame import Frame
from analytics.store.interface import LATE_S
from analytics.streams import Streams


def note(connection: sqlite3.Connection, frame: Frame, streams: Streams, received_s: float) -> None:
    """Remember the sites of which windows came late, in the transaction that keeps these."""
    counters = frame.counters
    late = counters.start_s + frame.length_s < received_s - LATE_S
    if not late.any():  # nearly always
        return
    known = streams.series()
    series = np.unique(streams.series_of()[counters.stream[late]])
    sites = {known[number].path.src for number in series.tolist()}
    connection.executemany(
        "INSERT OR REPLACE INTO late_arrivals(site, received_s) VALUES (?, ?)",
        [(site, received_s) for site in sorted(sites)],
    )


def read(connection: sqlite3.Connection) -> dict[str, float]:
    """Return by site when that was last, Unix seconds."""
    return dict(connection.execute("SELECT site, received_s FROM late_arrivals").fetchall())
