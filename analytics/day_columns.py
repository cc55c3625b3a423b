"""What a series counted on one day, by 5 min: a column for each stream, made to be read fast.

Layout, before zstd with a checksum of the content, numbers with their lowest octet first:

    4 octets: 1, the layout (what `analytics.blobs` packs without distributions begins with 0)
    4 octets: how many columns
    of each column 4 octets: its stream
    of each column 1 octet: its width, 1, 2, 4 or 8 octets
    of each column: the lowest octets of its 288 steps, then the next higher ones

A step says one more than was counted, or 0 where there is no window. Gauges are not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

from analytics import _kernels
from analytics.blobs import DamagedBlob, compressed, decompressed, unpack_octets
from analytics.frame import Frame, concatenated
from analytics.tables import Numbers

STEP_S: Final = 300
STEPS: Final = 288
_LAYOUT: Final = 1
_HEAD: Final = np.dtype([("layout", "<u4"), ("columns", "<u4")])
_WIDTHS: Final = np.array([1, 2, 4, 8])
_PER_COLUMN: Final = 5  # octets of its stream and width
_AT_ONCE: Final = 256  # days, some 1 MB decompressed: what a cache of the processor holds
_BYTES_MAX: Final = 2**28  # of those; they have far less
_PLAINLY: Final = 500  # values which numpy counts in the time that it takes for a day

Places = NDArray[np.int64]


class Day(NamedTuple):  # there are very many
    """A packed day of one series; `start_s` is its midnight, UTC, in Unix seconds."""

    series: int
    start_s: int
    octets: bytes


def pack_days(
    counters: Numbers, series_of: NDArray[np.int32], start_s: int, series: Sequence[int]
) -> list[Day]:
    """Return what each of some series counted on the day that begins at `start_s`."""
    if not series:
        return []
    streams, index = np.unique(counters.stream, return_inverse=True)
    steps = np.zeros((len(streams), STEPS), dtype="<u8")
    steps[index, (counters.start_s - start_s) // STEP_S] = counters.value + np.uint64(1)
    limits = np.uint64(1) << (8 * _WIDTHS[:-1]).astype(np.uint64)
    widths = _WIDTHS[np.searchsorted(limits, steps.max(axis=1, initial=0), side="right")]
    planes = steps.view(np.uint8).reshape(len(streams), STEPS, 8).transpose(0, 2, 1).copy()
    owners = series_of[streams]
    parts = []
    for number in series:
        rows = np.flatnonzero(owners == number)
        head = np.array((_LAYOUT, len(rows)), dtype=_HEAD).tobytes()
        head += streams[rows].astype("<u4").tobytes() + widths[rows].astype(np.uint8).tobytes()
        columns = (planes[row, : widths[row]].tobytes() for row in rows.tolist())
        parts.append(head + b"".join(columns))
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
    packed = compressed(b"".join(parts), ends)
    return [Day(number, start_s, octets) for number, octets in zip(series, packed, strict=True)]


def unpack_days(days: Sequence[Day]) -> Frame:
    """Return the counters of packed days as windows of 5 min.

    Days that an older store has packed by `analytics.blobs` are read, too.

    Raises:
        DamagedBlob: one of them is neither.
    """
    if not days:
        return Frame.empty(STEP_S)
    older, found = [], []
    for day, octets in zip(days, decompressed([day.octets for day in days]), strict=True):
        if octets[:1] == b"\0":
            older.append(octets)
            continue
        streams, steps = _columns(octets)
        column, step = np.nonzero(steps)
        value = steps[column, step].astype(np.uint64) - np.uint64(1)
        found.append(_frame(Numbers(streams[column], day.start_s + step * STEP_S, value)))
    return concatenated([unpack_octets(older, STEP_S), *found], STEP_S)


def add_days(
    days: Sequence[Day],
    start_s: int,
    span: tuple[int, int],
    places: Places,
    out: NDArray[np.uint32],
) -> list[Frame]:
    """Add packed days to rows of 5 min steps; return the older ones, which are frames.

    Args:
        days: What is added.
        start_s: Where the first column begins, Unix seconds, a multiple of 5 min.
        span: The columns that are added to, from one to before another, all in `out`.
        places: By number of stream its row in `out`, or -1.
        out: Counts, shape (rows, steps).

    Raises:
        DamagedBlob: one of them is no packed day.
    """
    return [
        frame
        for low in range(0, len(days), _AT_ONCE)
        for frame in _add_some(days[low : low + _AT_ONCE], start_s, span, places, out)
    ]


def _add_some(
    days: Sequence[Day],
    start_s: int,
    span: tuple[int, int],
    places: Places,
    out: NDArray[np.uint32],
) -> Iterator[Frame]:
    octets, sizes = _together(days)
    if not sizes.all():
        raise DamagedBlob("a packed day is damaged: it is empty")
    ends = np.cumsum(sizes)
    older = octets[ends - sizes] == 0
    starts_s = np.array([day.start_s for day in days], dtype=np.int64)
    columns = (starts_s - start_s) // STEP_S
    sound = True
    if _kernels.pays(_PLAINLY * len(days)):
        from analytics._kernels import days as kernel

        sound = kernel.add_days(octets, ends, older, columns, *span, places, out)
    else:
        for n in np.flatnonzero(~older).tolist():
            own = octets[ends[n] - sizes[n] : ends[n]].tobytes()
            _add_plainly(own, int(columns[n]), span, places, out)
    if not sound:
        raise DamagedBlob("a packed day is damaged")
    plain = [octets[ends[n] - sizes[n] : ends[n]].tobytes() for n in np.flatnonzero(older).tolist()]
    if plain:
        yield unpack_octets(plain, STEP_S)


def _together(days: Sequence[Day]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the octets of all days, and how many each has.

    Decompressed in one call where zstandard has it: others work meanwhile.
    """
    blobs = [day.octets for day in days]
    if "multi_decompress_to_buffer" not in zstandard.backend_features:
        plain = decompressed(blobs)
    else:
        try:
            said = [zstandard.frame_content_size(blob) for blob in blobs]
            if min(said) <= 0 or sum(said) > _BYTES_MAX:  # of an empty one zstandard dies
                raise DamagedBlob("a packed day is damaged: its size cannot be")
            found = zstandard.ZstdDecompressor().multi_decompress_to_buffer([*blobs])
        except zstandard.ZstdError as error:
            raise DamagedBlob(f"a packed day is damaged: {error}") from error
        plain = [found[n].tobytes() for n in range(len(found))]
    sizes = np.array([len(octets) for octets in plain], dtype=np.int64)
    return np.frombuffer(b"".join(plain), dtype=np.uint8), sizes


def _add_plainly(
    octets: bytes, first: int, span: tuple[int, int], places: Places, out: NDArray[np.uint32]
) -> None:
    streams, steps = _columns(octets)
    low, high = max(span[0], first), min(span[1], first + STEPS)
    if low >= high:
        return
    counted = np.maximum(steps[:, low - first : high - first], 1) - 1
    for stream, counts in zip(streams.tolist(), counted, strict=True):
        if stream < len(places) and places[stream] >= 0:
            out[places[stream], low:high] += counts.astype(np.uint32)


def _columns(octets: bytes) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """Return the streams of a day and their steps, shape (columns, 288)."""
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
    return streams.astype(np.int32), steps


def _frame(counters: Numbers) -> Frame:
    empty = Frame.empty(STEP_S)
    return Frame(empty.distributions, counters, empty.gauges, STEP_S)
