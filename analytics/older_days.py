"""Days as older stores have packed them: frames, or columns of octets, compressed by zstd.

Frames are what `analytics.blobs` packs, without distributions. Columns are, numbers with their
lowest octet first:

    4 octets: 1, the layout (frames begin with 0)
    4 octets: how many columns
    of each column 4 octets: its stream
    of each column 1 octet: its width, 1, 2, 4 or 8 octets
    of each column: the lowest octets of its 288 steps, then the next higher ones

A step says one more than was counted, or 0 where there is no window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from analytics.blobs import DamagedBlob, decompressed, unpack_octets
from analytics.day_layout import STEP_S, STEPS, STREAM_MAX, DamagedDay, Day
from analytics.tables import Numbers

FIRST_OCTET: Final = 0x28  # of what zstd compresses
_HEAD: Final = np.dtype([("layout", "<u4"), ("columns", "<u4")])
_LAYOUT: Final = 1
_IS_WIDTH: Final = np.isin(np.arange(256), (1, 2, 4, 8))
_PER_COLUMN: Final = 5  # octets of its stream and width


def unpack_older(starts_s: Sequence[int], blobs: Sequence[bytes]) -> Iterator[Day]:
    """Yield such days, one at a time: unpacked they are large.

    Raises:
        DamagedDay: one of them is none.
    """
    for start_s, blob in zip(starts_s, blobs, strict=True):
        try:
            (octets,) = decompressed([blob])
            frame = unpack_octets([octets], STEP_S) if octets[:1] == b"\0" else None
        except DamagedBlob as error:
            raise DamagedDay from error
        yield _columns(octets) if frame is None else _day_of(frame.counters, start_s)


def _day_of(counters: Numbers, start_s: int) -> Day:
    step = (counters.start_s - start_s) // STEP_S
    if ((step < 0) | (step >= STEPS) | (counters.stream < 0)).any():
        raise DamagedDay
    return Day.of(counters, start_s)


def _columns(octets: bytes) -> Day:
    if len(octets) < _HEAD.itemsize:
        raise DamagedDay
    layout, count = np.frombuffer(octets, dtype=_HEAD, count=1)[0].tolist()
    begin = _HEAD.itemsize + _PER_COLUMN * count
    if layout != _LAYOUT or len(octets) < begin:
        raise DamagedDay
    streams = np.frombuffer(octets, dtype="<u4", count=count, offset=_HEAD.itemsize)
    widths = np.frombuffer(octets, dtype=np.uint8, count=count, offset=begin - count)
    size = begin + STEPS * int(widths.sum())
    sound = _IS_WIDTH[widths].all() and streams.max(initial=0) <= STREAM_MAX
    if not sound or size != len(octets):
        raise DamagedDay
    planes = np.frombuffer(octets, dtype=np.uint8, offset=begin).reshape(-1, STEPS)
    first = np.cumsum(widths, dtype=np.int64) - widths
    steps = np.zeros((count, STEPS), dtype=np.uint64)
    for k in range(int(widths.max(initial=0))):
        wide = widths > k
        steps[wide] |= planes[first[wide] + k].astype(np.uint64) << np.uint64(8 * k)
    present = steps > 0
    return Day(streams.astype(np.int32), present, steps - present)
