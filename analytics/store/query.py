"""Which tier answers for a span of time.

Before `hot_from` there are no 10 s windows any more, before `warm_from` no distributions, and
before `counts_from` nothing. Points of bodies that are not compacted yet come on top of whatever
tier answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from analytics.store.interface import DAY_S, WARM_S
from analytics.store.tiers import DAY, HOT, WARM, Tier
from analytics.store.watermarks import Watermarks


@dataclass(frozen=True, slots=True)
class Piece:
    """The windows of one tier which begin in [start_s, end_s); whole rows but for 10 s ones."""

    tier: Tier
    start_s: int
    end_s: int


def fine_pieces(
    start_s: int, end_s: int, marks: Watermarks, *, only_numbers: bool = False
) -> Iterator[Piece]:
    """Yield what answers for [start_s, end_s) at 10 s, where 10 s windows are still kept."""
    start_s, cut_s = _cut(start_s, end_s, marks, only_numbers=only_numbers)
    yield from _piece(WARM, _up(start_s, WARM_S), _up(cut_s, WARM_S) if start_s < cut_s else 0)
    yield from _piece(HOT, cut_s, end_s)


def pieces(
    start_s: int, end_s: int, marks: Watermarks, *, days: bool, only_numbers: bool = False
) -> Iterator[Piece]:
    """Yield what answers for [start_s, end_s) by the coarsest windows that are exact."""
    start_s, cut_s = _cut(start_s, end_s, marks, only_numbers=only_numbers)
    if start_s < cut_s:
        yield from _coarse(_up(start_s, WARM_S), _up(cut_s, WARM_S), days=days)
    whole_start_s, whole_end_s = _up(cut_s, WARM_S), _down(end_s, WARM_S)
    if whole_start_s >= whole_end_s:
        yield from _piece(HOT, cut_s, end_s)
        return
    yield from _piece(HOT, cut_s, whole_start_s)
    yield from _coarse(whole_start_s, whole_end_s, days=days)
    yield from _piece(HOT, whole_end_s, end_s)


def _cut(start_s: int, end_s: int, marks: Watermarks, *, only_numbers: bool) -> tuple[int, int]:
    """Return where the answer begins, and from where on there are 10 s windows."""
    start_s = max(start_s, marks.numbers_from_s if only_numbers else marks.warm_from_s)
    return start_s, min(max(start_s, marks.hot_from_s), end_s)


def _coarse(start_s: int, end_s: int, *, days: bool) -> Iterator[Piece]:
    first_day_s, last_day_s = _up(start_s, DAY_S), _down(end_s, DAY_S)
    if not days or first_day_s >= last_day_s:
        yield from _piece(WARM, start_s, end_s)
        return
    yield from _piece(WARM, start_s, first_day_s)
    yield from _piece(DAY, first_day_s, last_day_s)
    yield from _piece(WARM, last_day_s, end_s)


def _piece(tier: Tier, start_s: int, end_s: int) -> Iterator[Piece]:
    if start_s < end_s:
        yield Piece(tier, start_s, end_s)


def _up(unix_s: int, step_s: int) -> int:
    return -(-unix_s // step_s) * step_s


def _down(unix_s: int, step_s: int) -> int:
    return unix_s // step_s * step_s
