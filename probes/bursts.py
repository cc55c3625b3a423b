"""Losses in bursts: loss periods and distances (RFC 3357), Gilbert's transitions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.windows import TRANSITION_NAMES
from probes.outcome import Outcomes, State

_Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Bursts:
    """What one window adds."""

    transitions: dict[str, int]  # by `TRANSITION_NAMES`
    periods: _Whole  # lengths of the loss periods that ended, packets
    distances: _Whole  # from each lost packet to the one lost before it, packets


class BurstTracker:
    """Follows the packets of one session across its windows.

    Two packets are neighbours when they were due one interval apart and both have an outcome: what
    was not measured between two losses neither joins nor parts them by a guess, it ends a period.
    A loss period belongs to the window of the first packet behind it, so that each is counted
    once, whole.
    """

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self._before: tuple[int, State] | None = None  # due time and state of the last packet
        self._length = 0  # of the loss period that goes on
        self._lost_ns: int | None = None  # when the last packet lost was due, if it counts still

    def observe(self, outcomes: Outcomes) -> Bursts:
        """Take in the packets of the next window, in the order of sending."""
        if not len(outcomes):
            return Bursts(dict.fromkeys(TRANSITION_NAMES, 0), _none(), _none())
        due_ns, state = outcomes["due_ns"], outcomes["state"]
        if self._before is not None:
            due_ns = np.concatenate([[self._before[0]], due_ns])
            state = np.concatenate([np.array([self._before[1]], state.dtype), state])
        lost = state == State.LOST
        measured = lost | (state == State.ANSWERED)
        linked = measured[1:] & measured[:-1] & (np.diff(due_ns) == self._interval_ns)
        after = 2 * lost[:-1].astype(np.int64) + lost[1:]
        kinds = np.bincount(after[linked], minlength=4)  # KEPT, BROKE, then lost-answered ...
        transitions = dict(
            zip(TRANSITION_NAMES, kinds[[0, 1, 3, 2]].tolist(), strict=True),
        )
        own = len(due_ns) - len(outcomes)  # 1 with a packet before the first, else 0
        periods = self._periods(lost, linked, own)
        distances = self._distances(due_ns, lost, linked, own)
        self._before = (int(due_ns[-1]), State(int(state[-1])))
        return Bursts(transitions, periods, distances)

    def end(self) -> int:
        """Return the length of the loss period that goes on, which nothing will end; 0: none."""
        length, self._length = self._length, 0
        return length

    def _periods(
        self, lost: NDArray[np.bool_], linked: NDArray[np.bool_], own: int
    ) -> NDArray[np.int64]:
        """Return the lengths of the periods that ended, and remember that which goes on."""
        goes_on = np.zeros(len(lost), np.bool_)
        goes_on[1:] = linked & lost[:-1] & lost[1:]
        begins = np.flatnonzero(lost[own:] & ~goes_on[own:]) + own
        places = np.flatnonzero(lost[own:]) + own
        lengths = np.bincount(np.searchsorted(begins, places, side="right"), minlength=1)
        lengths[0] += self._length  # what goes on from before
        found = lengths.astype(np.int64)
        self._length = 0
        if lost[-1]:
            self._length = int(found[-1])
            found = found[:-1]
        return found[found > 0]

    def _distances(
        self,
        due_ns: NDArray[np.int64],
        lost: NDArray[np.bool_],
        linked: NDArray[np.bool_],
        own: int,
    ) -> NDArray[np.int64]:
        """Return the distances within stretches of which every packet is known."""
        stretch = np.concatenate([[0], np.cumsum(~linked)])
        places = np.flatnonzero(lost[own:]) + own
        lost_ns, of_stretch = due_ns[places], stretch[places]
        if self._lost_ns is not None:
            lost_ns = np.concatenate([[self._lost_ns], lost_ns])
            of_stretch = np.concatenate([[0], of_stretch])
        together = np.diff(of_stretch) == 0
        distances: NDArray[np.int64] = np.diff(lost_ns)[together] // self._interval_ns
        current = len(of_stretch) > 0 and of_stretch[-1] == stretch[-1]
        self._lost_ns = int(lost_ns[-1]) if current else None
        return distances


def _none() -> _Whole:
    return np.zeros(0, np.int64)
