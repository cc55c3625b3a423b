"""The streams of attributes, by the octets that spell them: spelt once, known ever after."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_ENTRIES_MAX: Final = 1 << 20  # then it begins anew: a peer may spell attributes in endless ways
_SLOTS: Final = 1024  # to begin with
_OCTETS: Final = 1 << 16  # likewise
_OCTETS_MAX: Final = 1 << 28


class KeyTable:
    """Finds streams by (kind of metric, octets of the attributes), as kernels can read it."""

    def __init__(self) -> None:
        self._slots = np.zeros((_SLOTS, 4), dtype=np.int64)
        self._keys = np.zeros(_OCTETS, dtype=np.uint8)
        self._used = self._entries = 0

    def look_up(
        self,
        octets: NDArray[np.uint8],
        rows: NDArray[np.int64],
        kinds: NDArray[np.int64],
    ) -> NDArray[np.int32]:
        """Return the stream of each row, shape (rows,), -1 where it is not known yet."""
        from analytics._kernels import walk as kernel

        streams = np.empty(len(rows), dtype=np.int32)
        kernel.look_up(octets, rows, kinds, self._slots, self._keys, streams)
        return streams

    def enter(self, kind: int, key: bytes, stream: int) -> None:
        """Note the stream of a key that is not known."""
        if self._entries >= _ENTRIES_MAX or self._used + len(key) > _OCTETS_MAX:
            self._clear()
        if 2 * self._entries >= len(self._slots):
            self._grow()
        if self._used + len(key) > len(self._keys):
            room = max(2 * len(self._keys), self._used + len(key))
            self._keys = np.append(self._keys, np.zeros(room - len(self._keys), dtype=np.uint8))
        end = self._used + len(key)
        self._keys[self._used : end] = np.frombuffer(key, dtype=np.uint8)
        self._enter(kind, self._used, end, stream)
        self._used = end
        self._entries += 1

    def _enter(self, kind: int, begin: int, end: int, stream: int) -> None:
        from analytics._kernels import walk as kernel

        kernel.enter(self._slots, self._keys, kind, begin, end, stream)

    def _grow(self) -> None:
        old = self._slots[self._slots[:, 0] != 0]
        self._slots = np.zeros((2 * len(self._slots), 4), dtype=np.int64)
        for stream, kind, begin, end in old.tolist():
            self._enter(kind, begin, end, stream - 1)

    def _clear(self) -> None:
        self._slots = np.zeros((_SLOTS, 4), dtype=np.int64)
        self._keys = np.zeros(_OCTETS, dtype=np.uint8)
        self._used = self._entries = 0
