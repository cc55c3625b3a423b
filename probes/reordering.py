"""Reordering by RFC 4737 §3.3: a packet is reordered when a later one has already come."""

from __future__ import annotations


class ReorderingDetector:
    """Holds NextExp, the position that an arrival in order has at least.

    Positions are unbounded integers in sending order, so that no wrap of a sequence number
    is ever mistaken for a reordering. Duplicates must not be fed to it (RFC 4737 §3.3).
    """

    __slots__ = ("_next_expected",)

    def __init__(self) -> None:
        self._next_expected = 0

    def observe(self, position: int) -> bool:
        """Take in the next arrival; True when it is reordered."""
        if position < self._next_expected:
            return True
        self._next_expected = position + 1
        return False
