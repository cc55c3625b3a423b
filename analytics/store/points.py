"""The points of a span of time, whichever tiers and bodies they lie in."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.day_columns import unpack_days
from analytics.frame import Frame, concatenated
from analytics.steps import Steps
from analytics.store.bodies import Body, BodyReader, overlapping
from analytics.store.packed_days import read_copies
from analytics.store.query import Piece
from analytics.store.tiers import WARM, opened, read_numbers, read_rows, read_sketches_of
from analytics.streams import Streams
from analytics.windows import Selector


@dataclass(frozen=True, slots=True)
class Chosen:
    """Series of one site."""

    site: str
    series: tuple[int, ...]


def chosen_by_site(streams: Streams, selector: Selector) -> list[Chosen]:
    """Return the series that a selector matches, by site: what one probe measures."""
    matching = sorted(
        (key, number) for number, key in enumerate(streams.series()) if selector.matches(key)
    )
    return [
        Chosen(site, tuple(number for _, number in group))
        for site, group in itertools.groupby(matching, key=lambda item: item[0].path.src)
    ]


def read_points(
    connection: sqlite3.Connection,
    pieces: Iterable[Piece],
    chosen: Chosen,
    streams: Streams,
    reader: BodyReader,
) -> Iterator[Frame]:
    """Yield the points of each piece, as windows of its tier."""
    pieces = list(pieces)
    fresh = _fresh(connection, pieces, chosen, streams, reader.frames)
    for piece in pieces:
        rows = read_rows(connection, piece.tier, piece.start_s, piece.end_s, chosen.series)
        yield _together([opened(rows, piece.tier), fresh], piece)


def read_counters(
    connection: sqlite3.Connection,
    pieces: Iterable[Piece],
    chosen: Chosen,
    streams: Streams,
    reader: BodyReader,
) -> Iterator[Frame]:
    """Yield the counters of each piece; distributions are not even unpacked."""
    pieces = list(pieces)
    fresh = _fresh(connection, pieces, chosen, streams, reader.numbers)
    for piece in pieces:
        span = piece.start_s, piece.end_s
        frames = [fresh]
        if piece.tier is WARM:
            days, blobs = read_copies(connection, *span, chosen.series)
            frames.insert(0, unpack_days(days))
        else:
            blobs = read_numbers(connection, piece.tier, *span, chosen.series)
        frames.insert(0, opened([(b"", blob) for blob in blobs], piece.tier))
        yield _together([frame.only_counters() for frame in frames], piece)


def add_counters(
    connection: sqlite3.Connection,
    pieces: Iterable[Piece],
    chosen: Chosen,
    streams: Streams,
    reader: BodyReader,
    steps: Steps,
) -> None:
    """Add the counters of each piece to steps, those of copied days without a frame."""
    pieces = list(pieces)
    fresh = _fresh(connection, pieces, chosen, streams, reader.numbers)
    for piece in pieces:
        span = piece.start_s, piece.end_s
        if piece.tier.window_s > steps.step_s:
            continue
        if piece.tier is WARM:
            days, blobs = read_copies(connection, *span, chosen.series)
            steps.add_days(days, *span)
        else:
            blobs = read_numbers(connection, piece.tier, *span, chosen.series)
        rows = opened([(b"", blob) for blob in blobs], piece.tier)
        steps.add(_together([rows, fresh], piece))


def read_distributions(
    connection: sqlite3.Connection,
    pieces: Iterable[Piece],
    chosen: Chosen,
    streams: Streams,
    reader: BodyReader,
) -> Iterator[Frame]:
    """Yield the distributions of each piece; numbers are not even unpacked."""
    pieces = list(pieces)
    fresh = _fresh(connection, pieces, chosen, streams, reader.frames).only_distributions()
    for piece in pieces:
        span = piece.start_s, piece.end_s
        blobs = read_sketches_of(connection, piece.tier, *span, chosen.series)
        yield _together([opened([(blob, b"") for blob in blobs], piece.tier), fresh], piece)


def _fresh(
    connection: sqlite3.Connection,
    pieces: list[Piece],
    chosen: Chosen,
    streams: Streams,
    read: Callable[[Iterable[Body]], Iterator[Frame]],
) -> Frame:
    """Return what is not compacted yet."""
    if not pieces:
        return Frame.empty()
    start_s, end_s = pieces[0].start_s, pieces[-1].end_s
    found: list[Body] = overlapping(connection, start_s, end_s, chosen.site)
    wanted = _mask(streams, chosen)
    return concatenated([frame.of_streams(wanted) for frame in read(found)])


def _together(frames: list[Frame], piece: Piece) -> Frame:
    inside = [frame.between(piece.start_s, piece.end_s) for frame in frames]
    return concatenated(inside, piece.tier.window_s)


def _mask(streams: Streams, chosen: Chosen) -> NDArray[np.bool_]:
    series_of = streams.series_of()  # first: others may add streams, and series before those
    by_series = np.zeros(streams.series_count, dtype=np.bool_)
    by_series[list(chosen.series)] = True
    mask: NDArray[np.bool_] = by_series[series_of]
    return mask
