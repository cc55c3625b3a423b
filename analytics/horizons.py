"""How far back a figure looks, and in which steps it moves on.

A horizon is a whole number of panes, aligned to UTC, up to the pane that the present lies in. It
moves on by a pane at a time, so the windows it covers begin between `length_s - pane_s` and
`length_s` ago: `start_s` says where, exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_MINUTE: Final = 60
_HOUR: Final = 3_600
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Horizon:
    """The last `length_s` seconds, in panes of `pane_s`."""

    length_s: int
    pane_s: int

    def __post_init__(self) -> None:
        if self.pane_s <= 0 or self.length_s <= 0 or self.length_s % self.pane_s:
            raise ValueError(
                f"a horizon of {self.length_s} s is no whole number of panes of {self.pane_s} s"
            )

    def start_s(self, now_s: int) -> int:
        """Return where the oldest pane begins; what happened before `now_s` lies in the newest."""
        return -(-now_s // self.pane_s) * self.pane_s - self.length_s


HORIZONS: Final = (
    Horizon(_MINUTE, 10),
    Horizon(5 * _MINUTE, 10),
    Horizon(_HOUR, 5 * _MINUTE),
    Horizon(6 * _HOUR, 15 * _MINUTE),
    Horizon(_DAY, _HOUR),
    Horizon(28 * _DAY, _DAY),
)


def checked(horizons: Sequence[Horizon]) -> tuple[Horizon, ...]:
    """Return horizons of one table, from the shortest to the longest.

    Raises:
        ValueError: there is none; or a longer one's panes are no whole number of panes of a
            shorter one; or, as both move, a longer one could begin after a shorter one.
    """
    if not horizons:
        raise ValueError("a table needs at least one horizon")
    ordered = tuple(sorted(horizons, key=lambda horizon: horizon.length_s))
    for shorter, longer in itertools.pairwise(ordered):
        if longer.pane_s % shorter.pane_s:
            raise ValueError(
                f"panes of {longer.pane_s} s are no whole number of panes of {shorter.pane_s} s"
            )
        least = shorter.length_s + (longer.pane_s if longer.pane_s != shorter.pane_s else 1)
        if longer.length_s < least:
            raise ValueError(
                f"after a horizon of {shorter.length_s} s the next, in panes of "
                f"{longer.pane_s} s, must be at least {least} s long, not {longer.length_s} s"
            )
    return ordered
