"""Batches on their way into the store."""

from __future__ import annotations

from dataclasses import replace

import zstandard

from analytics.frame import Frame
from analytics.otlp.compression import ZSTD
from analytics.otlp.encode import encode_batch
from analytics.store.interface import Appended, Arrival
from analytics.streams import Streams
from analytics.windows import Batch
from netslo.model import NS_PER_S

_ZSTD_LEVEL = 3


def arrival_of(batch: Batch, streams: Streams) -> Arrival:
    """Return a batch of windows as an arrival, in octets of our own making."""
    sources = {window.key.path.src for window in batch.windows}
    return Arrival(
        sources.pop() if len(sources) == 1 else "",
        batch.instance_id,
        batch.sequence,
        Frame.of(batch.windows, streams),
        compressed(encode_batch(replace(batch, routes=(), readings=()))),
        ZSTD,
        batch.told,
    )


def compressed(body: bytes) -> bytes:
    """Return a body as it is kept where it came without compression."""
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compress(body)


def without_older(arrival: Arrival, oldest_s: int, streams: Streams) -> tuple[Arrival, Appended]:
    """Return what of an arrival is not older than `oldest_s`, and what became of the rest."""
    told = tuple(each for each in arrival.told if each.seen_ns >= oldest_s * NS_PER_S)
    gone = len(arrival.told) - len(told)
    arrival, frame = replace(arrival, told=told) if gone else arrival, arrival.frame
    places = frame.window_count(streams.series_of())
    if frame.span()[0] >= oldest_s or not frame.points:
        return arrival, Appended(duplicate=False, windows=places, expired=0, expired_points=gone)
    young = frame.between(oldest_s, frame.span()[1])
    kept = young.window_count(streams.series_of())
    windows = tuple(young.windows(streams))
    body = encode_batch(Batch(arrival.site, arrival.instance_id, arrival.sequence, windows))
    return (
        replace(arrival, frame=young, body=compressed(body), encoding=ZSTD),
        Appended(
            duplicate=False,
            windows=kept,
            expired=places - kept,
            expired_points=frame.points - young.points + gone,
        ),
    )
