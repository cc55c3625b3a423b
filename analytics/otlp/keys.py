"""The streams of attributes, by the octets that spell them: spelt once, known ever after."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

_ENTRIES_MAX: Final = 1 << 20  # then it begins anew: a peer may spell attributes in endless ways
_ENTRIES: Final = 512  # to begin with; half as many as slots
_OCTETS: Final = 1 << 16  # likewise
_OCTETS_MAX: Final = 1 << 28


class KeyTable:
    """Finds streams by (kind of metric, octets of the attributes), as kernels can read it."""

    _slots: NDArray[np.int32]  # a power of two of them: entry + 1; 0 is free
    _entries: NDArray[np.int64]  # (room, 4) stream, kind, and where the key begins and ends
    _keys: NDArray[np.uint8]
    _used: int
    _count: int

    def __init__(self) -> None:
        self._secret = np.uint64(int.from_bytes(os.urandom(8), "little"))
        self._clear()

    def look_up(
        self,
        octets: NDArray[np.uint8],
        rows: NDArray[np.int64],
        kinds: NDArray[np.int64],
    ) -> tuple[NDArray[np.int32], int]:
        """Return the stream of each row, shape (rows,), -1 if not known yet; how many are not."""
        from analytics._kernels import keys as kernel

        streams = np.empty(len(rows), dtype=np.int32)
        known = self._entries[: self._count]
        table = (self._slots, known, self._keys, self._secret)
        return streams, kernel.look_up(octets, rows, kinds, *table, streams)

    def enter_all(self, known: Iterable[tuple[int, bytes, int]]) -> None:
        """Note (kind, key, stream) of keys that are not known, all of them different."""
        first = self._count
        for kind, key, stream in known:
            if self._count >= _ENTRIES_MAX or self._used + len(key) > _OCTETS_MAX:
                self._clear()
                first = 0
            if self._count == len(self._entries):
                self._grow()
                first = self._count
            self._append(kind, key, stream)
        self._let_be_found(first)

    def _append(self, kind: int, key: bytes, stream: int) -> None:
        end = self._used + len(key)
        if end > len(self._keys):
            room = max(2 * len(self._keys), end)
            self._keys = np.append(self._keys, np.zeros(room - len(self._keys), dtype=np.uint8))
        self._keys[self._used : end] = np.frombuffer(key, dtype=np.uint8)
        self._entries[self._count] = stream, kind, self._used, end
        self._used = end
        self._count += 1

    def _let_be_found(self, first: int) -> None:
        """Put the entries from `first` on into the slots."""
        from analytics._kernels import keys as kernel

        known = self._entries[: self._count]
        kernel.enter(self._slots, known, first, self._keys, self._secret)

    def _grow(self) -> None:
        self._entries = np.append(self._entries, np.zeros_like(self._entries), axis=0)
        self._slots = np.zeros(2 * len(self._slots), dtype=np.int32)
        self._let_be_found(0)

    def _clear(self) -> None:
        self._slots = np.zeros(2 * _ENTRIES, dtype=np.int32)
        self._entries = np.zeros((_ENTRIES, 4), dtype=np.int64)
        self._keys = np.zeros(_OCTETS, dtype=np.uint8)
        self._used = self._count = 0
