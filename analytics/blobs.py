"""A frame as few octets, for a store: every point comes back exactly.

Layout, all numbers as variable-length integers (protobuf's), signed ones by zigzag:

    how many distributions, counters, gauges
    each distribution: stream, start - the last start, scale, zeros, NaN, +Inf, -Inf;
        sum, min, max as 8 octets each; for either side how many counts, the first bucket if
        there are any, the counts
    each counter: stream, start - the last start, value
    each gauge: stream, start - the last start, the bits of its value

compressed by zstd with a checksum of the content. Numbers of streams are the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import zstandard

from analytics import _kernels
from analytics.blob_columns import Columns
from analytics.blobs_plainly import Unsound, pack_plainly, unpack_plainly
from analytics.frame import Frame

_ZSTD_LEVEL: Final = 3
_VARINT_MAX: Final = 10  # octets
_ROW_MAX: Final = 24 + 11 * _VARINT_MAX  # octets of a distribution without its counts
_BLOB_MAX: Final = 2**28  # octets, unpacked; what is packed here is far smaller


class DamagedBlob(ValueError):
    """The octets are not what `pack` wrote."""


def pack(frame: Frame) -> bytes:
    """Return all points of a frame as one blob."""
    columns = Columns.of(frame)
    by_kernel = _kernels.pays(len(columns.positive) + len(columns.numbers) + len(columns.stream))
    octets = _pack_by_kernel(columns) if by_kernel else pack_plainly(columns)
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compress(octets)


def unpack(blobs: Sequence[bytes], length_s: int) -> Frame:
    """Return all points of blobs, in their order, as windows of one length.

    Raises:
        DamagedBlob: one of them is not what `pack` wrote.
    """
    if not blobs:
        return Frame.empty(length_s)
    decompressor = zstandard.ZstdDecompressor()
    try:
        plain = [_decompressed(decompressor, blob) for blob in blobs]
        by_kernel = _kernels.pays(sum(map(len, plain)))
        columns = _unpack_by_kernel(plain) if by_kernel else unpack_plainly(plain)
    except (zstandard.ZstdError, Unsound) as error:
        raise DamagedBlob(f"a blob of packed points is damaged: {error}") from error
    return columns.frame(length_s)


def _decompressed(decompressor: zstandard.ZstdDecompressor, blob: bytes) -> bytes:
    if zstandard.frame_content_size(blob) > _BLOB_MAX:  # before room is made for it
        raise Unsound("too large")
    return decompressor.decompress(blob, max_output_size=_BLOB_MAX, allow_extra_data=False)


def _pack_by_kernel(columns: Columns) -> memoryview:
    from analytics._kernels import blobs as kernel

    counts = len(columns.positive) + len(columns.negative) + len(columns.specials) * 4
    room = 3 * _VARINT_MAX * (1 + len(columns.stream)) + _ROW_MAX * len(columns.numbers)
    out = np.empty(room + _VARINT_MAX * counts, dtype=np.uint8)
    at = kernel.pack_sizes(*columns.sizes, out)
    at = kernel.pack_distributions(
        columns.numbers,
        columns.specials,
        columns.doubles,
        columns.first,
        columns.offsets,
        columns.positive,
        columns.negative,
        out,
        at,
    )
    cut = columns.counters
    for rows in (slice(0, cut), slice(cut, None)):
        at = kernel.pack_numbers(
            columns.stream[rows], columns.start_s[rows], columns.value[rows], out, at
        )
    return out[:at].data


def _unpack_by_kernel(plain: Sequence[bytes]) -> Columns:
    from analytics._kernels import blobs as kernel

    octets = np.frombuffer(b"".join(plain), dtype=np.uint8)
    ends = np.cumsum([len(blob) for blob in plain])
    sizes = np.empty((len(plain), 5), dtype=np.int64)
    sound = kernel.measure(octets, ends, sizes)
    if sound < len(plain):
        raise Unsound(sound)
    columns = Columns.room(sizes.sum(axis=0))
    kernel.unpack_all(
        octets,
        ends,
        sizes,
        columns.numbers,
        columns.specials,
        columns.doubles,
        columns.first,
        columns.offsets,
        columns.positive,
        columns.negative,
        columns.stream,
        columns.start_s,
        columns.value,
    )
    return columns
