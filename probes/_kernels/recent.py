"""A table of bounded size that forgets the least recently used: who was heard, and where.

Keys are three numbers; what belongs to a key lies in other arrays at the same place. Whoever
chooses keys cannot choose how they are hashed, for that is begun with a secret.
"""

from __future__ import annotations

import secrets
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled

_NEWEST, _OLDEST, _COUNT, _SEED, _WORDS = 0, 1, 2, 3, 4
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)


class Recent(NamedTuple):
    """The table; -1 where there is none."""

    keys: NDArray[np.int64]  # (n, 3)
    heads: NDArray[np.int64]  # (h,) first place of a hash
    follows: NDArray[np.int64]  # (n,) next place of the same hash
    newer: NDArray[np.int64]  # (n,)
    older: NDArray[np.int64]  # (n,)
    words: NDArray[np.int64]


def new_recent(places: int) -> Recent:
    """Return an empty table."""
    words = np.full(_WORDS, -1, np.int64)
    words[_COUNT] = 0
    words[_SEED] = secrets.randbits(63)
    heads = 1 << places.bit_length()
    return Recent(
        keys=np.zeros((places, 3), np.int64),
        heads=np.full(heads, -1, np.int64),
        follows=np.full(places, -1, np.int64),
        newer=np.full(places, -1, np.int64),
        older=np.full(places, -1, np.int64),
        words=words,
    )


@compiled
def place_of(recent: Recent, a: int, b: int, c: int) -> tuple[int, bool]:
    """Return the place of a key, and whether it is new there; it is the newest from now on."""
    head = _hash(recent, a, b, c)
    at = recent.heads[head]
    while at >= 0:
        if recent.keys[at, 0] == a and recent.keys[at, 1] == b and recent.keys[at, 2] == c:
            _leave(recent, at)
            _come(recent, at)
            return at, False
        at = recent.follows[at]
    if recent.words[_COUNT] < recent.keys.shape[0]:
        at = recent.words[_COUNT]
        recent.words[_COUNT] += 1
    else:
        at = recent.words[_OLDEST]
        _leave(recent, at)
        _forget(recent, at)
    recent.keys[at, 0], recent.keys[at, 1], recent.keys[at, 2] = a, b, c
    recent.follows[at] = recent.heads[head]
    recent.heads[head] = at
    _come(recent, at)
    return at, True


@compiled
def _hash(recent: Recent, a: int, b: int, c: int) -> int:
    found = np.uint64(recent.words[_SEED])
    for part in (a, b, c):
        found = (found ^ np.uint64(part)) * _ODD
        found ^= found >> np.uint64(29)
    return np.int64(found & np.uint64(recent.heads.shape[0] - 1))


@compiled
def _forget(recent: Recent, at: int) -> None:
    """Take a key out of the places of its hash."""
    head = _hash(recent, recent.keys[at, 0], recent.keys[at, 1], recent.keys[at, 2])
    if recent.heads[head] == at:
        recent.heads[head] = recent.follows[at]
        return
    before = recent.heads[head]
    while recent.follows[before] != at:
        before = recent.follows[before]
    recent.follows[before] = recent.follows[at]


@compiled
def _leave(recent: Recent, at: int) -> None:
    """Take a place out of the order of use."""
    newer, older = recent.newer[at], recent.older[at]
    if newer >= 0:
        recent.older[newer] = older
    else:
        recent.words[_NEWEST] = older
    if older >= 0:
        recent.newer[older] = newer
    else:
        recent.words[_OLDEST] = newer


@compiled
def _come(recent: Recent, at: int) -> None:
    """Make a place the newest."""
    newest = recent.words[_NEWEST]
    recent.newer[at], recent.older[at] = -1, newest
    if newest >= 0:
        recent.newer[newest] = at
    else:
        recent.words[_OLDEST] = at
    recent.words[_NEWEST] = at
