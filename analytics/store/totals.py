"""Counts since the store was made: they never go back, nor expire."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable

from analytics.frame import Frame
from analytics.store.eras import Eras, era_at
from analytics.store.interface import WARM_S
from analytics.streams import Events, Streams


def add_totals(connection: sqlite3.Connection, points: Frame, streams: Streams, eras: Eras) -> None:
    """Add the counters of a frame."""
    connection.executemany(
        "INSERT INTO totals(stream, since_s, value) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET value = value + excluded.value",
        [(*place, value) for place, value in summed([points], streams, eras).items()],
    )


def read_totals(connection: sqlite3.Connection) -> Counter[tuple[int, int]]:
    """Return what was compacted so far."""
    rows = connection.execute("SELECT stream, since_s, value FROM totals")
    return Counter({(stream, since_s): value for stream, since_s, value in rows})


def summed(frames: Iterable[Frame], streams: Streams, eras: Eras) -> Counter[tuple[int, int]]:
    """Add up counters by stream and by the era of the target they are judged under."""
    total: Counter[tuple[int, int]] = Counter()
    for frame in frames:
        counters = frame.only_numbers().merged(WARM_S).counters  # eras change at 5 min boundaries
        for stream, start_s, value in zip(
            counters.stream.tolist(),
            counters.start_s.tolist(),
            counters.value.tolist(),
            strict=True,
        ):
            about = streams[stream].about
            of_slo = eras.get(about.slo) if isinstance(about, Events) else None
            total[stream, era_at(of_slo, start_s)[0] if of_slo else 0] += value
    return total
