"""One walk over the octets of an OTLP metrics request: where its points are and what they say.

Whatever is not plain ends the walk: a field that is not listed here or stands there twice,
attributes that do not lie together, counts of more than 32 bits, a number in more octets than it
can need. So it is stricter than protobuf's parser wherever it looks, and it looks at all of a
point but the inside of its attributes. Names, the scope and the resource are others' to validate.
Field numbers are those of opentelemetry/proto/metrics/v1/metrics.proto.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import called, compiled, inlined
from analytics._kernels.varints import get_32, unzigzag
from analytics._kernels.walk_columns import (
    COUNT,
    END,
    FIRST,
    IS_DOUBLE,
    KEY_FROM,
    KEY_TO,
    LEFT_ALONE,
    MAX,
    METRIC,
    MIN,
    SCALE,
    SEEN,
    START,
    SUM,
    THRESHOLD,
    TOTAL,
    VALUE,
    ZEROS,
)

Octets = NDArray[np.uint8]
Rows = NDArray[np.int64]

_NOT_PLAIN = -1
_VARINT, _FIXED_64, _LENGTH = 0, 1, 2
_MORE = np.uint8(0x80)
_TOGETHER = 16  # counts of one octet each that are read at once
# Names which begin so are of few points that are no windows: others read them.
_LEFT_ALONE = np.frombuffer(b"network.path.", dtype=np.uint8)


@called
def _field(octets: Octets, at: int, end: int) -> tuple[Any, Any, Any, Any]:
    """Return number, wire type, and where the value begins and ends; 0 as number: none."""
    tag, at = get_32(octets, at, end)
    if at < 0 or tag > np.uint64(0xFFFF):
        return 0, 0, at, at
    number, wire = np.int64(tag >> np.uint64(3)), np.int64(tag & np.uint64(7))
    stop: Any = at
    if wire == _VARINT:
        _, stop = get_32(octets, at, end)
    elif wire == _FIXED_64:
        stop = at + 8
    elif wire == _LENGTH:
        length, at = get_32(octets, at, end)
        if at < 0 or length > np.uint64(end - at):
            return 0, 0, at, at
        stop = at + np.int64(length)
    else:
        return 0, 0, at, at
    if stop < at or stop > end:
        return 0, 0, at, at
    return number, wire, at, stop


@inlined
def _word(octets: Octets, at: int) -> np.int64:
    word = np.uint64(0)
    for octet in range(8):
        word |= np.uint64(octets[at + octet]) << np.uint64(8 * octet)
    return np.int64(word)


@called
def _counts(packed: Octets, counts: NDArray[np.uint32], place: int) -> tuple[Any, Any]:
    """Read packed counts; return the place behind the last, -1 if not plain, and their sum."""
    at: Any = np.int64(0)
    end, total = packed.shape[0], np.uint64(0)
    while at < end:
        few = min(at + _TOGETHER, end)  # read singly if there is a larger one among them
        if at + _TOGETHER <= end:
            source, high = packed[at : at + _TOGETHER], np.uint8(0)
            for i in range(_TOGETHER):
                high |= source[i]
            if high < _MORE:
                out, added = counts[place : place + _TOGETHER], np.uint32(0)
                for i in range(_TOGETHER):
                    out[i] = source[i]
                    added += np.uint32(source[i])
                total += np.uint64(added)
                at += _TOGETHER
                place += _TOGETHER
                continue
        while at < few:
            octet = packed[at]
            value = np.uint64(octet)
            at += 1
            if octet >= _MORE:
                value, at = get_32(packed, at - 1, end)
                if at < 0:
                    return np.int64(_NOT_PLAIN), total
            counts[place] = np.uint32(value)
            total += value
            place += 1
    return np.int64(place), total


@called
def _buckets(
    octets: Octets,
    span: tuple[int, int],
    side: int,
    row: Rows,
    counts: NDArray[np.uint32],
    place: int,
) -> int:
    """Read one side of a sketch; return the place behind its last count."""
    at, end = span
    seen = 0
    while at < end:
        number, wire, at, stop = _field(octets, at, end)
        if number == 1 and wire == _VARINT and not seen & 1:
            seen |= 1
            value, _ = get_32(octets, at, stop)
            row[FIRST + side] = unzigzag(value)
        elif number == 2 and wire == _LENGTH and not seen & 2:
            seen |= 2
            place, total = _counts(octets[at:stop], counts, place)
            if place < 0:
                return _NOT_PLAIN
            row[TOTAL + side] = np.int64(total)
        else:
            return _NOT_PLAIN
        at = stop
    return place


@called
def _sketch(
    octets: Octets,
    span: tuple[int, int],
    row: Rows,
    positive: NDArray[np.uint32],
    negative: NDArray[np.uint32],
    places: Rows,  # (2,) behind the last count of each side; changed
) -> int:
    """Read one ExponentialHistogramDataPoint."""
    at, end = span
    seen = 0
    row[:] = 0
    while at < end:
        begin = at
        number, wire, at, stop = _field(octets, at, end)
        if number == 1 and wire == _LENGTH:
            if row[KEY_TO] == 0:
                row[KEY_FROM] = begin
            elif row[KEY_TO] != begin:
                return _NOT_PLAIN
            row[KEY_TO] = stop
            at = stop
            continue
        if number == 0 or number > 14 or seen >> number & 1:
            return _NOT_PLAIN
        seen |= 1 << number
        if number in (8, 9) and wire == _LENGTH:
            counts = positive if number == 8 else negative
            place = _buckets(octets, (at, stop), number - 8, row, counts, places[number - 8])
            if place < 0:
                return _NOT_PLAIN
            places[number - 8] = place
        elif number == 6 and wire == _VARINT:
            value, _ = get_32(octets, at, stop)
            row[SCALE] = unzigzag(value)
        elif wire != _FIXED_64:
            return _NOT_PLAIN
        elif number == 2:
            row[START] = _word(octets, at)
        elif number == 3:
            row[END] = _word(octets, at)
        elif number == 4:
            row[COUNT] = _word(octets, at)
        elif number == 5:
            row[SUM] = _word(octets, at)
        elif number == 7:
            row[ZEROS] = _word(octets, at)
        elif number == 12:
            row[MIN] = _word(octets, at)
        elif number == 13:
            row[MAX] = _word(octets, at)
        elif number == 14:
            row[THRESHOLD] = _word(octets, at)
        else:
            return _NOT_PLAIN
        at = stop
    row[SEEN] = seen
    return 0


@called
def _number(octets: Octets, span: tuple[int, int], row: Rows) -> int:
    """Read one NumberDataPoint."""
    at, end = span
    seen = 0
    row[:] = 0
    while at < end:
        begin = at
        number, wire, at, stop = _field(octets, at, end)
        if number == 7 and wire == _LENGTH:
            if row[KEY_TO] == 0:
                row[KEY_FROM] = begin
            elif row[KEY_TO] != begin:
                return _NOT_PLAIN
            row[KEY_TO] = stop
            at = stop
            continue
        if number == 0 or number > 6 or wire != _FIXED_64 or seen >> number & 1:
            return _NOT_PLAIN
        seen |= 1 << number
        if number == 2:
            row[START] = _word(octets, at)
        elif number == 3:
            row[END] = _word(octets, at)
        elif number in (4, 6) and not (seen & 0b0010000 and seen & 0b1000000):
            row[VALUE] = _word(octets, at)
            row[IS_DOUBLE] = number == 4
        else:
            return _NOT_PLAIN
        at = stop
    return 0 if seen & 0b1010000 else _NOT_PLAIN


@called
def _is_left_alone(octets: Octets, at: int, end: int) -> Any:
    """Whether a name, which begins and ends there, is of a metric that is not walked."""
    if end - at < len(_LEFT_ALONE):
        return False
    for place in range(len(_LEFT_ALONE)):
        if octets[at + place] != _LEFT_ALONE[place]:
            return False
    return True


@compiled
def walk(
    octets: Octets,
    metrics: Rows,  # (room, METRIC_COLUMNS) written
    sketches: Rows,  # (room, SKETCH_COLUMNS) written
    numbers: Rows,  # (room, NUMBER_COLUMNS) written
    offsets: Rows,  # (room of sketches + 1, 2) where the counts of each side begin; written
    positive: NDArray[np.uint32],  # room for an octet each; written
    negative: NDArray[np.uint32],  # likewise
    found: Rows,  # (5,) metrics, sketches, numbers, resource from and to; written
) -> int:
    """Return 0, or -1 where the request is not plain or holds more than there is room for."""
    found[:] = 0
    offsets[0, :] = 0
    places = np.zeros(2, dtype=np.int64)
    at: Any = np.int64(0)  # a literal would be a type of its own
    end = octets.shape[0]
    number, wire, at, resource_end = _field(octets, at, end)
    if number != 1 or wire != _LENGTH or resource_end != end:  # exactly one resource
        return _NOT_PLAIN
    while at < resource_end:
        number, wire, at, scope_end = _field(octets, at, resource_end)
        if number == 1 and wire == _LENGTH and found[4] == 0:
            found[3], found[4] = at, scope_end
            at = scope_end
            continue
        if number != 2 or wire != _LENGTH:
            return _NOT_PLAIN
        while at < scope_end:
            number, wire, at, metric_end = _field(octets, at, scope_end)
            if number == 1 and wire == _LENGTH:
                at = metric_end
                continue
            if number != 2 or wire != _LENGTH or found[0] == metrics.shape[0]:
                return _NOT_PLAIN
            metric = found[0]
            found[0] += 1
            metrics[metric, :] = 0
            metrics[metric, 4], metrics[metric, 5] = at, metric_end
            while at < metric_end:
                number, wire, at, data_end = _field(octets, at, metric_end)
                if wire != _LENGTH:
                    return _NOT_PLAIN
                if number == 1 and metrics[metric, 1] == 0:
                    metrics[metric, 0], metrics[metric, 1] = at, data_end
                elif number in (5, 7, 10) and metrics[metric, 2] == 0:
                    if _is_left_alone(octets, metrics[metric, 0], metrics[metric, 1]):
                        metrics[metric, 2] = LEFT_ALONE
                        at = data_end
                        continue
                    metrics[metric, 2] = number
                    while at < data_end:
                        kind = metrics[metric, 2]
                        number, wire, at, stop = _field(octets, at, data_end)
                        if number == 1 and wire == _LENGTH and kind == 10:
                            row = found[1]
                            if row == sketches.shape[0]:
                                return _NOT_PLAIN
                            if _sketch(
                                octets, (at, stop), sketches[row], positive, negative, places
                            ):
                                return _NOT_PLAIN
                            sketches[row, METRIC] = metric
                            offsets[row + 1, 0], offsets[row + 1, 1] = places[0], places[1]
                            found[1] += 1
                        elif number == 1 and wire == _LENGTH:
                            row = found[2]
                            if row == numbers.shape[0]:
                                return _NOT_PLAIN
                            if _number(octets, (at, stop), numbers[row]):
                                return _NOT_PLAIN
                            numbers[row, METRIC] = metric
                            found[2] += 1
                        elif number == 2 and wire == _VARINT and kind != 5:
                            value, _ = get_32(octets, at, stop)
                            metrics[metric, 3] = np.int64(value)
                        elif number == 3 and wire == _VARINT and kind == 7:
                            pass  # whether it is monotonic
                        else:
                            return _NOT_PLAIN
                        at = stop
                elif number not in (2, 3):  # neither description nor unit
                    return _NOT_PLAIN
                at = data_end
    return 0
