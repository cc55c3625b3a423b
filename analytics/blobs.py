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
from numpy.typing import NDArray

from analytics import _kernels
from analytics.blob_columns import Columns
from analytics.blobs_plainly import Unsound, pack_plainly, unpack_plainly
from analytics.frame import Frame

_ZSTD_LEVEL: Final = 3
_VARINT_MAX: Final = 10  # octets
_ROW_MAX: Final = 24 + 11 * _VARINT_MAX  # octets of a distribution without its counts
_BLOB_MAX: Final = 2**28  # octets, unpacked; what is packed here is far smaller
_PLAINLY: Final = 10  # an octet unpacked without kernels takes as long as so many values counted


class DamagedBlob(ValueError):
    """The octets are not what `pack` wrote."""


def pack(frame: Frame) -> bytes:
    """Return all points of a frame as one blob."""
    whole = [[0, 0, 0], [len(table.stream) for table in frame.tables]]
    return pack_parts(frame, np.array(whole, dtype=np.int64))[0]


def pack_parts(frame: Frame, edges: NDArray[np.int64]) -> list[bytes]:
    """Return the points of each part of a frame as a blob of its own.

    Args:
        frame: Its points lie part by part.
        edges: Where each part begins in the three tables, and behind them where the last one
            ends, shape (parts + 1, 3).
    """
    if len(edges) < 2:  # noqa: PLR2004 - edges of one part
        return []
    columns = Columns.of(frame)
    if _kernels.pays(len(columns.positive) + len(columns.numbers) + len(columns.stream)):
        octets, ends = _pack_by_kernel(columns, edges)
        return compressed(octets, ends)
    plain = [pack_plainly(part) for part in columns.parts(edges)]
    return compressed(b"".join(plain), np.cumsum([len(part) for part in plain], dtype=np.int64))


def unpack(blobs: Sequence[bytes], length_s: int) -> Frame:
    """Return all points of blobs, in their order, as windows of one length.

    Raises:
        DamagedBlob: one of them is not what `pack` wrote.
    """
    return unpack_octets(decompressed(blobs), length_s)


def unpack_octets(plain: Sequence[bytes], length_s: int) -> Frame:
    """Return the same of blobs that are decompressed."""
    if not plain:
        return Frame.empty(length_s)
    try:
        by_kernel = _kernels.pays(_PLAINLY * sum(map(len, plain)))
        columns = _unpack_by_kernel(plain) if by_kernel else unpack_plainly(plain)
    except Unsound as error:
        raise DamagedBlob(f"a blob of packed points is damaged: {error}") from error
    return columns.frame(length_s)


def decompressed(blobs: Sequence[bytes]) -> list[bytes]:
    """Return the octets of each blob.

    Raises:
        DamagedBlob: one of them is not what was compressed.
    """
    decompressor = zstandard.ZstdDecompressor()
    try:
        return [_decompressed(decompressor, blob) for blob in blobs]
    except zstandard.ZstdError as error:
        raise DamagedBlob(f"a blob of packed points is damaged: {error}") from error


def _decompressed(decompressor: zstandard.ZstdDecompressor, blob: bytes) -> bytes:
    if zstandard.frame_content_size(blob) > _BLOB_MAX:  # before room is made for it
        raise DamagedBlob("a blob of packed points is damaged: too large")
    return decompressor.decompress(blob, max_output_size=_BLOB_MAX, allow_extra_data=False)


def compressed(octets: bytes | memoryview, ends: NDArray[np.int64]) -> list[bytes]:
    """Compress what ends at each of these places.

    All in one call where zstandard has it: to let go of the interpreter for each, and wait for it
    again, would cost more than compressing.
    """
    compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
    begins = np.append(0, ends[:-1])
    if "multi_compress_to_buffer" not in zstandard.backend_features:
        view = memoryview(octets)
        pairs = zip(begins.tolist(), ends.tolist(), strict=True)
        return [compressor.compress(view[begin:end]) for begin, end in pairs]
    segments = np.stack([begins, ends - begins], axis=1).astype(np.uint64)
    together = zstandard.BufferWithSegments(octets, segments.tobytes())
    found = compressor.multi_compress_to_buffer(together)
    return [found[n].tobytes() for n in range(len(found))]


def _pack_by_kernel(
    columns: Columns, edges: NDArray[np.int64]
) -> tuple[memoryview, NDArray[np.int64]]:
    """Return the octets of all parts, and where each ends."""
    from analytics._kernels import blobs as kernel

    parts = len(edges) - 1
    counts = len(columns.positive) + len(columns.negative) + len(columns.specials) * 4
    room = 3 * _VARINT_MAX * (parts + len(columns.stream)) + _ROW_MAX * len(columns.numbers)
    out = np.empty(room + _VARINT_MAX * counts, dtype=np.uint8)
    ends = np.empty(parts, dtype=np.int64)
    kernel.pack_parts(
        edges,
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
        columns.counters,
        out,
        ends,
    )
    return out[: ends[-1]].data, ends


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
