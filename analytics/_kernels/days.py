"""Packed days unpacked, and added to rows of steps; the layout is in `analytics.day_layout`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import called, compiled

_STEP_S = 300
_STEPS = 288
_LAYOUT = 2
_HEAD, _COLUMN, _CHECK = 12, 12, 4  # octets
_ABSENT, _BELOW = 1, 2
_PLANE, _MASK = 36, 5  # octets
_BITS_MAX = 64
_STREAM_MAX = 2**31 - 1
_UNSOUND = -1
# The bits of each octet, spread over eight.
_SPREAD = np.unpackbits(np.arange(256, dtype=np.uint8), bitorder="little").view(np.uint64)


@called
def _word(octets: NDArray[np.uint8], at: Any) -> Any:
    number = np.int64(0)
    for k in range(4):
        number |= np.int64(octets[at + k]) << np.int64(8 * k)
    return number


@called
def _after_plane(octets: NDArray[np.uint8], at: Any, end: Any) -> Any:
    """Return where a plane ends, or -1."""
    if at + _MASK > end:
        return np.int64(_UNSOUND)
    count = np.int64(0)
    for k in range(_MASK):
        mask = octets[at + k]
        while mask:
            count += 1
            mask &= np.uint8(mask - np.uint8(1))
    after = at + _MASK + count
    if octets[at + _MASK - 1] >> np.uint8(_PLANE % 8) or after > end:
        return np.int64(_UNSOUND)
    return after


@called
def _after_residue(octets: NDArray[np.uint8], at: Any, end: Any) -> Any:
    """Return where a residue ends, or -1."""
    if at + 2 > end:
        return np.int64(_UNSOUND)
    bits, flags = int(octets[at]), int(octets[at + 1])
    if bits > _BITS_MAX or flags > _ABSENT | _BELOW:
        return np.int64(_UNSOUND)
    at += 2
    for _ in range((flags & 1) + (flags >> 1) + bits):
        at = _after_plane(octets, at, end)
        if at < 0:
            break
    return at


@called
def _read_plane(octets: NDArray[np.uint8], at: Any, plane: NDArray[np.uint8]) -> Any:
    """Write a plane's bits, one to each of 288 octets; return where it ends."""
    after, eights = at + _MASK, plane.view(np.uint64)
    for k in range(_PLANE):
        there = octets[at + (k >> 3)] >> np.uint8(k & 7) & np.uint8(1)
        eights[k] = _SPREAD[octets[after]] if there else np.uint64(0)
        after += there
    return after


@called
def _read_residue(
    octets: NDArray[np.uint8],
    at: Any,
    plane: NDArray[np.uint8],  # (288,) room
    absent: NDArray[np.uint8],  # (288,) 1 where there is no window, written here
    number: NDArray[Any],  # (288,) uint32 or uint64, as many bits are written here
) -> None:
    bits, flags = int(octets[at]), int(octets[at + 1])
    at += 2
    absent[:] = 0
    number[:] = 0
    if flags & _ABSENT:
        at = _read_plane(octets, at, absent)
    below = at
    if flags & _BELOW:
        at = _read_plane(octets, at, plane)
    for bit in range(min(bits, 8 * number.itemsize)):
        at = _read_plane(octets, at, plane)
        shift = number.dtype.type(bit)
        for i in range(_STEPS):
            number[i] |= number.dtype.type(plane[i]) << shift
    if flags & _BELOW:
        _read_plane(octets, below, plane)
        for i in range(_STEPS):
            if plane[i]:
                number[i] = ~number[i] + number.dtype.type(1)


@called
def _value(usual: Any, away: Any, number: Any) -> Any:
    return usual - number if away else usual + number


@called
def _add(
    usual: Any,
    away: Any,
    number: NDArray[np.uint32],
    absent: NDArray[np.uint8],
    row: NDArray[np.uint32],
) -> None:
    for i in range(len(row)):
        row[i] += np.uint32(_value(usual, away, number[i])) * np.uint32(absent[i] ^ np.uint8(1))


@called
def _find_residues(
    octets: NDArray[np.uint8], begin: Any, end: Any, residues: NDArray[np.int64]
) -> Any:
    """Write where each residue of a day begins; return how many columns it has, or -1."""
    unsound = np.int64(_UNSOUND)
    if end - begin < _HEAD + _CHECK or _word(octets, begin) != _LAYOUT:
        return unsound
    columns, count = _word(octets, begin + 4), _word(octets, begin + 8)
    table, end = begin + _HEAD, end - _CHECK
    at = table + _COLUMN * columns
    if at > end or count > len(residues):
        return unsound
    for k in range(count):
        residues[k] = at
        at = _after_residue(octets, at, end)
        if at < 0:
            return unsound
    if at != end:
        return unsound
    for k in range(columns):
        own = table + _COLUMN * k
        if _word(octets, own) > _STREAM_MAX or _word(octets, own + 8) >> 1 >= count:
            return unsound
    return columns


@compiled
def add_days(
    octets: NDArray[np.uint8],
    ends: NDArray[np.int64],  # (days,) where each ends
    first: NDArray[np.int64],  # (days,) of `out`, where each begins; may lie outside
    low: int,  # columns [low, high) of `out` are added to
    high: int,
    places: NDArray[np.int64],  # by stream, its row in `out` or -1
    out: NDArray[np.uint32],  # (rows, steps)
) -> bool:
    """Return whether all days are sound; those up to the first that is not are added."""
    longest = _longest(ends)
    residues = np.empty(longest, dtype=np.int64)
    plane, absent = np.empty(_STEPS, dtype=np.uint8), np.empty(_STEPS, dtype=np.uint8)
    number = np.empty(_STEPS, dtype=np.uint32)
    end = np.int64(0)
    for day in range(ends.shape[0]):
        begin, end = end, ends[day]
        columns = _find_residues(octets, begin, end, residues)
        if columns < 0:
            return False
        since, until = max(low, first[day]), min(high, first[day] + _STEPS)
        if since >= until:
            continue
        read = np.int64(_UNSOUND)
        for k in range(columns):
            at = begin + _HEAD + _COLUMN * k
            stream, residue = _word(octets, at), _word(octets, at + 8)
            row = places[stream] if stream < len(places) else np.int64(-1)
            if row < 0:
                continue
            if residue >> 1 != read:
                read = residue >> 1
                _read_residue(octets, residues[read], plane, absent, number)
            own, skipped = out[row, since:until], since - first[day]
            usual, away = np.uint32(_word(octets, at + 4)), residue & 1
            _add(usual, away, number[skipped:], absent[skipped:], own)
    return True


@compiled
def unpack_days(
    octets: NDArray[np.uint8],
    ends: NDArray[np.int64],  # (days,) where each ends
    starts_s: NDArray[np.int64],  # (days,)
    stream: NDArray[np.int32],  # room for all columns' steps, of which as many are written
    start_s: NDArray[np.int64],
    value: NDArray[np.uint64],
) -> Any:
    """Return how many counters are written, or -1: a day is damaged."""
    longest = _longest(ends)
    residues = np.empty(longest, dtype=np.int64)
    plane, absent = np.empty(_STEPS, dtype=np.uint8), np.empty(_STEPS, dtype=np.uint8)
    number = np.empty(_STEPS, dtype=np.uint64)
    end, count = np.int64(0), np.int64(0)
    for day in range(ends.shape[0]):
        begin, end = end, ends[day]
        columns = _find_residues(octets, begin, end, residues)
        if columns < 0 or count + columns * _STEPS > len(value):
            return _UNSOUND
        read = np.int64(_UNSOUND)
        for k in range(columns):
            at = begin + _HEAD + _COLUMN * k
            residue = _word(octets, at + 8)
            if residue >> 1 != read:
                read = residue >> 1
                _read_residue(octets, residues[read], plane, absent, number)
            usual, away = np.uint64(_word(octets, at + 4)), residue & 1
            for i in range(_STEPS):
                if not absent[i]:
                    stream[count] = _word(octets, at)
                    start_s[count] = starts_s[day] + i * _STEP_S
                    value[count] = _value(usual, away, number[i])
                    count += 1
    return count


@called
def _longest(ends: NDArray[np.int64]) -> Any:
    longest, begin = np.int64(0), np.int64(0)
    for day in range(len(ends)):
        longest = max(longest, ends[day] - begin)
        begin = ends[day]
    return longest
