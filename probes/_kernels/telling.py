"""What a reflector has to tell of when its replies left: `probes.stamp.follow_ups`, compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics._kernels.compilation import compiled
from probes.stamp.follow_ups import PENDING_MAX, TOLD_MAX

_ADDED, _TAKEN, _TOLD = 0, 1, 2
_SEQUENCE, _STAMP = 0, 1


class Telling(NamedTuple):
    """Rings of sequence numbers and NTP timestamps, by session."""

    pending: NDArray[np.int64]  # (n, PENDING_MAX, 2) not told yet
    told: NDArray[np.int64]  # (n, TOLD_MAX, 2)
    counts: NDArray[np.int64]  # (n, 3) added, taken or dropped, told


def new_telling(sessions: int) -> Telling:
    """Return empty rings; memory is taken as sessions use theirs."""
    return Telling(
        np.zeros((sessions, PENDING_MAX, 2), np.int64),
        np.zeros((sessions, TOLD_MAX, 2), np.int64),
        np.zeros((sessions, 3), np.int64),
    )


@compiled
def forget(telling: Telling, session: int) -> None:
    telling.counts[session] = 0


@compiled
def add(telling: Telling, session: int, sequence: int, stamp: int) -> None:
    """Remember when a reply left."""
    counts = telling.counts[session]
    entry = telling.pending[session, counts[_ADDED] % PENDING_MAX]
    entry[_SEQUENCE], entry[_STAMP] = sequence, stamp
    counts[_ADDED] += 1
    counts[_TAKEN] = max(counts[_TAKEN], counts[_ADDED] - PENDING_MAX)


@compiled
def take(telling: Telling, session: int, wanted: int) -> tuple[int, int]:
    """Return what to tell next, or again of the reply `wanted`; zeros if nothing."""
    counts = telling.counts[session]
    if wanted:
        for back in range(min(counts[_TOLD], TOLD_MAX)):
            entry = telling.told[session, (counts[_TOLD] - 1 - back) % TOLD_MAX]
            if entry[_SEQUENCE] == wanted:
                return entry[_SEQUENCE], entry[_STAMP]
        return np.int64(0), np.int64(0)
    if counts[_TAKEN] == counts[_ADDED]:
        return np.int64(0), np.int64(0)
    entry = telling.pending[session, counts[_TAKEN] % PENDING_MAX]
    counts[_TAKEN] += 1
    telling.told[session, counts[_TOLD] % TOLD_MAX] = entry
    counts[_TOLD] += 1
    return entry[_SEQUENCE], entry[_STAMP]
