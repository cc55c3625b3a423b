"""Rows of the tables of a frame as octets, and back; the layout is in `analytics.blobs`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import called, compiled
from analytics._kernels.varints import get, get_many, put, skip_many, unzigzag, zigzag

Words = NDArray[np.uint64]


@called
def _pack_distributions(
    numbers: NDArray[np.int64],  # (rows, 3) stream, start, scale
    specials: Words,  # (rows, 4) zeros, NaN, +Inf, -Inf
    doubles: Words,  # (rows, 3) sum, min, max as bits
    first: NDArray[np.int64],  # (rows, 2) of the positive and the negative side
    offsets: NDArray[np.int64],  # (rows + 1, 2)
    positive: Words,
    negative: Words,
    out: NDArray[np.uint8],  # with room for the worst case
    at: int,
) -> int:
    last_start = np.int64(0)
    for row in range(numbers.shape[0]):
        at = put(out, at, np.uint64(numbers[row, 0]))
        at = put(out, at, zigzag(numbers[row, 1] - last_start))
        last_start = numbers[row, 1]
        at = put(out, at, zigzag(numbers[row, 2]))
        for k in range(4):
            at = put(out, at, specials[row, k])
        for k in range(3):
            for octet in range(8):
                out[at] = np.uint8((doubles[row, k] >> np.uint64(8 * octet)) & np.uint64(0xFF))
                at += 1
        for side in range(2):
            begin, end = offsets[row, side], offsets[row + 1, side]
            at = put(out, at, np.uint64(end - begin))
            if begin < end:
                at = put(out, at, zigzag(first[row, side]))
            counts = positive if side == 0 else negative
            for i in range(begin, end):
                at = put(out, at, counts[i])
    return at


@called
def _pack_numbers(
    stream: NDArray[np.int64],  # (rows,)
    start_s: NDArray[np.int64],  # (rows,)
    value: Words,  # (rows,) counts, or doubles as bits
    out: NDArray[np.uint8],  # with room for the worst case
    at: int,
) -> int:
    last_start = np.int64(0)
    for row in range(stream.shape[0]):
        at = put(out, at, np.uint64(stream[row]))
        at = put(out, at, zigzag(start_s[row] - last_start))
        last_start = start_s[row]
        at = put(out, at, value[row])
    return at


@compiled
def pack_parts(
    edges: NDArray[np.int64],  # (parts + 1, 3) where each begins in the tables
    numbers: NDArray[np.int64],
    specials: Words,
    doubles: Words,
    first: NDArray[np.int64],
    offsets: NDArray[np.int64],
    positive: Words,
    negative: Words,
    stream: NDArray[np.int64],  # counters, then gauges
    start_s: NDArray[np.int64],
    value: Words,
    counters: int,
    out: NDArray[np.uint8],  # with room for the worst case
    ends: NDArray[np.int64],  # (parts,) where each ends in `out`; written
) -> None:
    at: Any = np.int64(0)
    for part in range(ends.shape[0]):
        for table in range(3):
            at = put(out, at, np.uint64(edges[part + 1, table] - edges[part, table]))
        begin, end = edges[part, 0], edges[part + 1, 0]
        at = _pack_distributions(
            numbers[begin:end],
            specials[begin:end],
            doubles[begin:end],
            first[begin:end],
            offsets[begin : end + 1],
            positive,
            negative,
            out,
            at,
        )
        for table in range(1, 3):
            shift = counters if table == 2 else 0  # gauges lie behind
            begin, end = edges[part, table] + shift, edges[part + 1, table] + shift
            at = _pack_numbers(stream[begin:end], start_s[begin:end], value[begin:end], out, at)
        ends[part] = at


@compiled
def measure(
    octets: NDArray[np.uint8],
    ends: NDArray[np.int64],  # (blobs,) where each ends
    sizes: NDArray[np.int64],  # (blobs, 5) rows of each table, counts of both sides; written
) -> int:
    """Return how many blobs are sound: all, or up to the first that is not."""
    at = 0
    for blob in range(ends.shape[0]):
        end = ends[blob]
        for k in range(3):
            number, at = get(octets, at, end)
            if at < 0 or number > np.uint64(end - at):  # each row takes an octet or more
                return blob
            sizes[blob, k] = np.int64(number)
        sizes[blob, 3] = 0
        sizes[blob, 4] = 0
        for _ in range(sizes[blob, 0]):
            for _ in range(7):
                number, at = get(octets, at, end)
            if at < 0 or at + 24 > end:
                return blob
            at += 24
            for side in range(2):
                length, at = get(octets, at, end)
                if at < 0 or length > np.uint64(end - at):
                    return blob
                sizes[blob, 3 + side] += np.int64(length)
                if length > np.uint64(0):  # the first bucket, then the counts
                    at = skip_many(octets, at, end, np.int64(length) + 1)
                if at < 0:
                    return blob
        for _ in range(3 * (sizes[blob, 1] + sizes[blob, 2])):
            number, at = get(octets, at, end)
        if at != end:
            return blob
    return len(ends)


@compiled
def unpack_distributions(  # as measured: every place is sound
    octets: NDArray[np.uint8],
    at: int,
    rows: NDArray[np.int64],  # (2,) the first row and the one behind the last
    numbers: NDArray[np.int64],  # (all rows, 3) stream, start, scale; written
    specials: Words,  # (all rows, 4) written
    doubles: Words,  # (all rows, 3) written
    first: NDArray[np.int64],  # (all rows, 2) written
    offsets: NDArray[np.int64],  # (all rows + 1, 2) written behind the first row
    positive: Words,
    negative: Words,
) -> int:
    end, last_start = octets.shape[0], np.int64(0)
    for row in range(rows[0], rows[1]):
        number, at = get(octets, at, end)
        numbers[row, 0] = np.int64(number)
        number, at = get(octets, at, end)
        last_start += unzigzag(number)
        numbers[row, 1] = last_start
        number, at = get(octets, at, end)
        numbers[row, 2] = unzigzag(number)
        for k in range(4):
            number, at = get(octets, at, end)
            specials[row, k] = number
        for k in range(3):
            word = np.uint64(0)
            for octet in range(8):
                word |= np.uint64(octets[at]) << np.uint64(8 * octet)
                at += 1
            doubles[row, k] = word
        for side in range(2):
            length, at = get(octets, at, end)
            begin = offsets[row, side]
            stop = begin + np.int64(length)
            offsets[row + 1, side] = stop
            first[row, side] = 0
            if begin < stop:
                number, at = get(octets, at, end)
                first[row, side] = unzigzag(number)
            counts = positive if side == 0 else negative
            at = get_many(octets, at, counts[begin:stop])
    return at


@compiled
def unpack_numbers(
    octets: NDArray[np.uint8],
    at: int,
    rows: NDArray[np.int64],  # (2,)
    stream: NDArray[np.int64],  # written
    start_s: NDArray[np.int64],  # written
    value: Words,  # written
) -> int:
    end, last_start = octets.shape[0], np.int64(0)
    for row in range(rows[0], rows[1]):
        number, at = get(octets, at, end)
        stream[row] = np.int64(number)
        number, at = get(octets, at, end)
        last_start += unzigzag(number)
        start_s[row] = last_start
        number, at = get(octets, at, end)
        value[row] = number
    return at


@compiled
def unpack_all(
    octets: NDArray[np.uint8],
    ends: NDArray[np.int64],  # (blobs,)
    sizes: NDArray[np.int64],  # (blobs, 5) from `measure`
    numbers: NDArray[np.int64],
    specials: Words,
    doubles: Words,
    first: NDArray[np.int64],
    offsets: NDArray[np.int64],
    positive: Words,
    negative: Words,
    stream: NDArray[np.int64],  # counters, then gauges; all three written
    start_s: NDArray[np.int64],
    value: Words,
) -> None:
    at: Any = np.int64(0)  # a literal would be a type of its own, and all be compiled twice
    place = np.zeros(3, dtype=np.int64)
    place[2] = sizes[:, 1].sum()  # gauges come behind all counters
    rows = np.zeros(2, dtype=np.int64)
    offsets[0, 0] = 0
    offsets[0, 1] = 0
    for blob in range(ends.shape[0]):
        for _ in range(3):
            _, at = get(octets, at, ends[blob])
        rows[0], rows[1] = place[0], place[0] + sizes[blob, 0]
        at = unpack_distributions(
            octets, at, rows, numbers, specials, doubles, first, offsets, positive, negative
        )
        place[0] = rows[1]
        for table in range(1, 3):
            rows[0], rows[1] = place[table], place[table] + sizes[blob, table]
            at = unpack_numbers(octets, at, rows, stream, start_s, value)
            place[table] = rows[1]
