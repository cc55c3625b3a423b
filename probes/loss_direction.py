"""On which way packets were lost, from the numbers that a stateful reflector gives its replies."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from netslo.model import Quality
from probes.outcome import OUTCOME, QUALITIES, UNKNOWN, Outcomes, State

_KEPT_MAX: Final = 1 << 14  # packets in one stretch; of longer ones nothing is told


class DirectionTracker:
    """Splits the losses of one session by direction, across its windows.

    A stateful reflector (RFC 8762 §4.2) numbers its replies as it sends them. Between two answers
    whose packets are n apart, n - 1 others were sent; replies to some of them were numbered and
    lost on the way back, the rest never came to the reflector. This is told only of stretches in
    which the numbers cannot mean anything else: every packet answered or lost, none duplicated,
    no answer of the stretch numbered outside it.

    A stateless reflector repeats our numbers, and so does a stateful one before the first loss on
    the way there. Until its numbers differ from ours, or it has told when an earlier reply left,
    which takes a memory, nothing is told.
    """

    def __init__(self) -> None:
        self._open = np.zeros(0, OUTCOME)  # from the last answer that began a stretch
        self._stateful = False

    def observe(self, outcomes: Outcomes) -> tuple[int, int]:
        """Take in the packets of the next window, in the order of sending.

        Returns how many were lost forward, and how many in reverse, in the stretches that ended.
        The last answer ends none yet: one sent after it may have come to the reflector before it.
        """
        return self._split(outcomes, last=False)

    def end(self) -> tuple[int, int]:
        """Return the same of what is left when nothing further will come."""
        found = self._split(np.zeros(0, OUTCOME), last=True)
        self._open = np.zeros(0, OUTCOME)
        return found

    def _split(self, outcomes: Outcomes, *, last: bool) -> tuple[int, int]:
        rows = np.concatenate([self._open, outcomes[outcomes["position"] != UNKNOWN]])
        told = np.flatnonzero((rows["state"] == State.ANSWERED) & (rows["reflector_sequence"] >= 0))
        if not len(told):
            self._open = _bounded(rows)
            return (0, 0)
        answers = rows[told]
        shift = _shift(answers)
        self._stateful |= bool((shift != 0).any())
        self._stateful |= bool((answers["quality"] == QUALITIES.index(Quality.A)).any())
        # Relative to the first answer, so that numbers may wrap around.
        number = answers["position"] + _wrapped(shift - shift[0])
        cuts = _cuts(number, last=last)
        if not len(cuts):
            self._open = _bounded(rows)
            return (0, 0)
        places = told[cuts]
        forward = np.diff(answers["position"][cuts]) - np.diff(number[cuts])
        lost, sound = _between(rows, places)
        sound &= (forward >= 0) & (forward <= lost)
        self._open = _bounded(rows[places[-1] :])
        if not self._stateful:
            return (0, 0)
        there = int(forward[sound].sum())
        return there, int(lost[sound].sum()) - there


def _bounded(rows: Outcomes) -> Outcomes:
    """Return a copy of rows to be kept; none of too many, as of a far end that numbers wildly."""
    return rows.copy() if len(rows) <= _KEPT_MAX else rows[:0].copy()


def _shift(answers: Outcomes) -> NDArray[np.int64]:
    """Return the reflector's number less ours, in 32 bits."""
    shift: NDArray[np.int64] = (answers["reflector_sequence"] - answers["position"]) & 0xFFFFFFFF
    return shift


def _wrapped(difference: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a difference of 32-bit numbers as the least in size."""
    return ((difference + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def _cuts(number: NDArray[np.int64], *, last: bool) -> NDArray[np.int64]:
    """Return the answers numbered above all before and below all behind them.

    `last`: the last one, behind which there is nothing yet, may be one.
    """
    before = np.maximum.accumulate(number)
    behind = np.append(np.minimum.accumulate(number[::-1])[::-1][1:], np.iinfo(np.int64).max)
    cuts: NDArray[np.int64] = np.flatnonzero((number == before) & (number < behind))
    if not last and len(cuts) and cuts[-1] == len(number) - 1:
        cuts = cuts[:-1]
    return cuts


def _between(
    rows: Outcomes, places: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return how many packets were lost between places, and whether all of it is known."""
    lost = np.concatenate([[0], np.cumsum(rows["state"] == State.LOST)])
    odd = (rows["duplicates"] > 0) | (rows["state"] == State.UNMEASURED)
    strange = np.concatenate([[0], np.cumsum(odd)])
    begin, end = places[:-1], places[1:]
    span = rows["position"][end] - rows["position"][begin]
    sound = (strange[end + 1] == strange[begin]) & (span == end - begin)
    return lost[end] - lost[begin], sound
