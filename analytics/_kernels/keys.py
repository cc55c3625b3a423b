"""Finding streams by the octets of attributes: a hash table, with a guess that mostly holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled, inlined
from analytics._kernels.walk_columns import KEY_FROM, KEY_TO, METRIC

Octets = NDArray[np.uint8]
Rows = NDArray[np.int64]


@inlined
def _hash(octets: Octets, begin: int, end: int, kind: int, secret: np.uint64) -> np.uint64:
    """Return a hash of octets. No peer knows the secret, so none can have many meet in a slot."""
    mixed = (secret ^ np.uint64(kind)) * np.uint64(0x9E3779B97F4A7C15)
    at = begin
    while at + 4 <= end:
        word = (
            np.uint64(octets[at])
            | np.uint64(octets[at + 1]) << np.uint64(8)
            | np.uint64(octets[at + 2]) << np.uint64(16)
            | np.uint64(octets[at + 3]) << np.uint64(24)
        )
        mixed = (mixed ^ word) * np.uint64(0xFF51AFD7ED558CCD)
        mixed ^= mixed >> np.uint64(32)
        at += 4
    while at < end:
        mixed = (mixed ^ np.uint64(octets[at])) * np.uint64(0xFF51AFD7ED558CCD)
        mixed ^= mixed >> np.uint64(32)
        at += 1
    return mixed ^ (secret >> np.uint64(7))


@inlined
def _spelt(
    entry: Rows,  # (4,) see `look_up`
    kind: int,
    keys: Octets,
    octets: Octets,
    begin: int,
    end: int,
) -> bool:
    """Whether these octets are the key of an entry."""
    first = entry[2]
    if entry[1] != kind or entry[3] - first != end - begin:
        return False
    differing = np.uint8(0)
    for i in range(end - begin):
        differing |= keys[first + i] ^ octets[begin + i]
    return bool(differing == 0)


@compiled
def look_up(
    octets: Octets,
    rows: Rows,  # (points, columns)
    kinds: Rows,  # (metrics,) which of the known metrics each is
    slots: NDArray[np.int32],  # (a power of two,) entry + 1; 0 is free
    entries: Rows,  # (known, 4) stream, kind, and where in `keys` the key begins and ends
    keys: Octets,
    secret: np.uint64,
    streams: NDArray[np.int32],  # (points,) -1 where the key is not known; written
) -> int:
    """Find the stream of each point by its metric and the octets of its attributes.

    Return how many are not known.
    """
    mask = np.uint64(slots.shape[0] - 1)
    unknown = 0
    following = entries.shape[0]  # a probe tells its points in the same order again and again
    for row in range(rows.shape[0]):
        begin, end = rows[row, KEY_FROM], rows[row, KEY_TO]
        kind = kinds[rows[row, METRIC]]
        found: Any = -1
        if following < entries.shape[0] and _spelt(
            entries[following], kind, keys, octets, begin, end
        ):
            found = following
        else:
            slot = _hash(octets, begin, end, kind, secret) & mask
            while slots[slot] != 0:
                entry = np.int64(slots[slot]) - 1
                if _spelt(entries[entry], kind, keys, octets, begin, end):
                    found = entry
                    break
                slot = (slot + np.uint64(1)) & mask
        if found >= 0:
            streams[row] = np.int32(entries[found, 0])
            following = found + 1
        else:
            streams[row] = -1
            unknown += 1
    return unknown


@compiled
def enter(
    slots: NDArray[np.int32],  # of which most are free; changed
    entries: Rows,  # (known, 4) see `look_up`
    first: int,
    keys: Octets,
    secret: np.uint64,
) -> None:
    """Let the keys of the entries from `first` on, which are not there yet, be found."""
    mask = np.uint64(slots.shape[0] - 1)
    for entry in range(first, entries.shape[0]):
        kind, begin, end = entries[entry, 1], entries[entry, 2], entries[entry, 3]
        slot = _hash(keys, begin, end, kind, secret) & mask
        while slots[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = np.int32(entry + 1)
