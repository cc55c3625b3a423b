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

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.blobs import DamagedBlob, decompressed, unpack_octets
from analytics.day_layout import STEP_S, STEPS, Day
from analytics.frame import Frame, concatenated
from analytics.tables import Numbers

FIRST_OCTET: Final = 0x28  # of what zstd compresses
_HEAD: Final = np.dtype([("layout", "<u4"), ("columns", "<u4")])
_LAYOUT: Final = 1
_WIDTHS: Final = (1, 2, 4, 8)
_PER_COLUMN: Final = 5  # octets of its stream and width


def unpack_older(starts_s: Sequence[int], blobs: Sequence[bytes]) -> Frame:
    """Return the counters of such days, as windows of 5 min.

    Raises:
        DamagedBlob: one of them is none.
    """
    frames, found = [], []
    for start_s, octets in zip(starts_s, decompressed(blobs), strict=True):
        if octets[:1] == b"\0":
            frames.append(octets)
        else:
            found.append(frame_of_day(_columns(octets), start_s))
    return concatenated([unpack_octets(frames, STEP_S), *found], STEP_S)


def frame_of_day(day: Day, start_s: int) -> Frame:
    """Return the counters of a day that begins at `start_s` as windows of 5 min."""
    column, step = np.nonzero(day.present)
    empty, value = Frame.empty(STEP_S), day.values[column, step]
    counters = Numbers(day.streams[column], start_s + step * STEP_S, value)
    return Frame(empty.distributions, counters, empty.gauges, STEP_S)


def _columns(octets: bytes) -> Day:
    if len(octets) < _HEAD.itemsize:
        raise DamagedBlob("a packed day is damaged")
    layout, count = np.frombuffer(octets, dtype=_HEAD, count=1)[0].tolist()
    begin = _HEAD.itemsize + _PER_COLUMN * count
    if layout != _LAYOUT or len(octets) < begin:
        raise DamagedBlob("a packed day is damaged")
    streams = np.frombuffer(octets, dtype="<u4", count=count, offset=_HEAD.itemsize)
    widths = np.frombuffer(octets, dtype=np.uint8, count=count, offset=begin - count)
    size = begin + STEPS * int(widths.sum())
    if not np.isin(widths, _WIDTHS).all() or size != len(octets):
        raise DamagedBlob("a packed day is damaged")
    planes = np.zeros((count, 8, STEPS), dtype=np.uint8)
    filled = np.frombuffer(octets, dtype=np.uint8, offset=begin).reshape(-1, STEPS)
    planes[np.arange(8) < widths[:, None]] = filled
    steps: NDArray[np.uint64] = planes.transpose(0, 2, 1).copy().view("<u8")[:, :, 0]
    present = steps > 0
    return Day(streams.astype(np.int32), present, steps - present)
