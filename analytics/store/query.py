"""Which rows of which tier answer for a span of time.

A 5 min interval is *dirty* for a series from the first 10 s window it gets until it is rolled
up; then its 5 min row is complete. Before `hot_from` there are 5 min rows only, and before
`warm_from` what may be left is on its way out. So each instant is answered by one tier at most,
and nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from analytics.store.interface import WARM_S
from analytics.store.watermarks import Watermarks


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one tier which begin in [start_s, end_s)."""

    tier: str
    start_s: int
    end_s: int
    rolled_up: bool | None = None  # True: only clean intervals, False: only dirty ones, None: all

    def rows_of(self, table: str) -> str:
        """Return SQL from FROM to WHERE over the alias `t`; its parameters are start and end.

        Few intervals are dirty, so their rows are found from that side, not by a scan.
        """
        name = f"{self.tier}_{table} t"
        if self.rolled_up is False:
            return (
                f"FROM dirty d CROSS JOIN {name} ON t.series = d.series"
                f" AND t.start_s >= d.start_s AND t.start_s < d.start_s + {WARM_S}"
                " WHERE d.start_s >= ? AND d.start_s < ?"
            )
        clean = (
            " AND NOT EXISTS (SELECT 1 FROM dirty d"
            " WHERE d.start_s = t.start_s AND d.series = t.series)"
        )
        return f"FROM {name} WHERE t.start_s >= ? AND t.start_s < ?" + (
            clean if self.rolled_up else ""
        )


def pieces(start_s: int, end_s: int, marks: Watermarks) -> Iterator[Piece]:
    """Yield what together answers for [start_s, end_s), by the coarsest rows that are exact."""
    start_s = max(start_s, marks.warm_from_s)
    cut_s = min(max(start_s, marks.hot_from_s), end_s)
    if start_s < cut_s:
        yield Piece("warm", start_s, cut_s)
    whole_start_s = -(-cut_s // WARM_S) * WARM_S
    whole_end_s = end_s // WARM_S * WARM_S
    if whole_start_s >= whole_end_s:
        if cut_s < end_s:
            yield Piece("hot", cut_s, end_s)
        return
    if cut_s < whole_start_s:
        yield Piece("hot", cut_s, whole_start_s)
    yield Piece("warm", whole_start_s, whole_end_s, rolled_up=True)
    yield Piece("hot", whole_start_s, whole_end_s, rolled_up=False)
    if whole_end_s < end_s:
        yield Piece("hot", whole_end_s, end_s)


def fine_pieces(start_s: int, end_s: int, marks: Watermarks) -> Iterator[Piece]:
    """Yield what answers for [start_s, end_s) at 10 s, where 10 s windows are still kept."""
    start_s = max(start_s, marks.warm_from_s)
    cut_s = min(max(start_s, marks.hot_from_s), end_s)
    if start_s < cut_s:
        yield Piece("warm", start_s, cut_s)
    if cut_s < end_s:
        yield Piece("hot", cut_s, end_s)
