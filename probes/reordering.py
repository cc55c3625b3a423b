"""Reordering by RFC 4737: a packet is reordered when a later one has already come."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

EXTENT_MAX: Final = 1024  # arrivals that are remembered: a larger extent is told as this


class ReorderingDetector:
    """Tells of each arrival how far it came too late.

    Positions are unbounded integers in sending order, so that no wrap of a sequence number
    is ever mistaken for a reordering. Duplicates must not be fed to it (RFC 4737 §3.3).
    """

    __slots__ = ("_arrivals", "_highs", "_order")

    def __init__(self) -> None:
        self._order = 0
        # Arrivals later sent than all before them: the earliest that overtook is one of these.
        self._highs: list[int] = []  # their positions, ascending
        self._arrivals: list[int] = []  # which arrivals they were, ascending

    def observe(self, position: int) -> int:
        """Take in the next arrival; return its reordering extent, 0 when it is in order.

        The extent (RFC 4737 §4.2.1) is how many arrivals ago the first packet came that was
        sent later.
        """
        order, self._order = self._order, self._order + 1
        place = bisect_right(self._highs, position)
        if place < len(self._highs):
            return min(order - self._arrivals[place], EXTENT_MAX)
        self._highs.append(position)
        self._arrivals.append(order)
        if len(self._highs) > 2 * EXTENT_MAX:
            del self._highs[:EXTENT_MAX], self._arrivals[:EXTENT_MAX]
        return 0
