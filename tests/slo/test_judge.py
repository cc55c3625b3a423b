"""A judge of standings: both figures where a window has excluded times, and one look elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction

import pytest

from netslo.model import Path
from slo.budget import Spend
from slo.burn import WINDOWS_S
from slo.exclusion import Covers, Exclusion
from slo.judge import Judge
from slo.ledger import Standing

NOW_S = 1_800_000_000
NORTH, SOUTH = Path("london", "leeds", "ef"), Path("leeds", "london", "ef")
LENGTHS_S = tuple(sorted({*WINDOWS_S, 28 * 86_400}))


@dataclass
class Keeper:
    """Knows two paths, one of which lost 90 packets in a time that is excluded."""

    end_s: int
    asked: list[bool] = field(default_factory=list)

    def standing(self, *, with_exclusions: bool = False) -> Standing:
        self.asked.append(with_exclusions)
        bad = 100 if with_exclusions else 10
        spends = {
            ("loss", NORTH): Spend(10_000, bad, 0, Fraction(100)),
            ("loss", SOUTH): Spend(10_000, 10, 0, Fraction(100)),
        }
        standing = Standing.of_spends(dict.fromkeys(LENGTHS_S, spends), LENGTHS_S)
        off = Exclusion(
            "x", self.end_s - 600, self.end_s, "alice", "CHG-1", 0, Covers(paths=frozenset({NORTH}))
        )
        return replace(
            standing,
            now_s=NOW_S,
            starts_s=tuple(NOW_S - length_s for length_s in LENGTHS_S),
            exclusions=() if with_exclusions else (off,),
        )

    def read(self, now_s: float, lengths_s: object) -> None:
        raise AssertionError("standings are not read range by range")


@pytest.mark.parametrize("ago_s", [0, 27 * 86_400])
def test_both_figures_are_said_of_a_path_with_excluded_times(estate, loss, ago_s) -> None:
    keeper = Keeper(NOW_S - ago_s)
    _, statuses = Judge(keeper, [loss], estate).judge()
    by_path = {status.path: status for status in statuses}
    assert by_path[NORTH].budget_remaining_ratio == pytest.approx(0.9)
    assert by_path[NORTH].remaining_with_excluded == 0
    assert by_path[SOUTH].remaining_with_excluded is None
    assert keeper.asked == [False, True]


def test_what_is_long_over_is_not_judged_again(estate, loss) -> None:
    keeper = Keeper(NOW_S - 29 * 86_400)
    _, statuses = Judge(keeper, [loss], estate).judge()
    assert all(status.remaining_with_excluded is None for status in statuses)
    assert keeper.asked == [False]
