"""The emulator's log: every packet that entered, and what became of it. It is the truth."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from netslo.model import NS_PER_S

FORWARD: Final = 0
REVERSE: Final = 1
DROPPED: Final = -1  # in place of a release time

COLUMNS: Final = ("packet", "direction", "arrival_ns", "release_ns")


@dataclass(frozen=True, slots=True)
class Truth:
    """What really happened on one path."""

    rtt_s: NDArray[np.float64]  # (completed,) both ways together, without the far end's dwell
    due: int  # packets that entered
    lost: int  # of these, dropped on either way


class FlowLog:
    """Packets of one path in either direction, in the order of their fate; Unix nanoseconds.

    A packet's id is the STAMP sequence number of the request, which the reply carries too.
    """

    def __init__(self) -> None:
        self._rows = array("q")

    def note(self, packet: int, direction: int, arrival_ns: int, release_ns: int) -> None:
        """Log a packet that left at `release_ns`, or was `DROPPED`."""
        self._rows.extend((packet, direction, arrival_ns, release_ns))

    def rows(self) -> NDArray[np.int64]:
        """Return everything logged, shape (n, 4), see COLUMNS; a copy."""
        return np.array(self._rows, dtype=np.int64).reshape(-1, len(COLUMNS))

    def truth(self) -> Truth:
        """Match the two ways of each packet.

        A packet still under way is neither completed nor lost.
        """
        rows = self.rows()
        forward, reverse = rows[rows[:, 1] == FORWARD], rows[rows[:, 1] == REVERSE]
        there, back = forward[forward[:, 3] != DROPPED], reverse[reverse[:, 3] != DROPPED]
        _, at_there, at_back = np.intersect1d(there[:, 0], back[:, 0], return_indices=True)
        span_ns = (there[at_there, 3] - there[at_there, 2]) + (back[at_back, 3] - back[at_back, 2])
        dropped = sum(int((way[:, 3] == DROPPED).sum()) for way in (forward, reverse))
        return Truth(span_ns / NS_PER_S, len(forward), dropped)
