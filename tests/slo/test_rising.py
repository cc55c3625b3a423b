"""Totals that only rise."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from netslo.model import Path
from slo.budget import Spend
from slo.rising import Rising

KEY, OTHER = ("loss", Path("london", "leeds", "ef")), ("loss", Path("leeds", "london", "ef"))


@dataclass
class World:
    """A clock, and totals that may be anything."""

    now_s: float = 100.0
    totals: dict = field(default_factory=dict)
    asked: int = 0
    heard: list = field(default_factory=list)

    def work_out(self, now_s: float):
        assert now_s == self.now_s
        self.asked += 1
        return dict(self.totals)

    def rising(self, said=None) -> Rising:
        return Rising(
            self.work_out,
            5.0,
            lambda: self.now_s,
            said,
            lambda sums, said: self.heard.append((dict(sums), dict(said))),
        )


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=9))
def test_each_figure_is_the_highest_that_ever_was(steps) -> None:
    world = World()
    rising = world.rising()
    for number, (events, bad) in enumerate(steps):
        world.now_s += 5
        world.totals = {KEY: Spend(events, bad)}
        so_far = steps[: number + 1]
        highest = Spend(max(e for e, _ in so_far), max(b for _, b in so_far))
        assert rising.read() == {KEY: highest}
        assert world.heard[-1] == ({KEY: Spend(events, bad)}, {KEY: highest})


def test_it_asks_no_more_often_than_said_whatever_the_clock_does() -> None:
    world = World(totals={KEY: Spend(1)})
    rising = world.rising()
    for now_s, asked in ((100.0, 1), (104.9, 1), (105.0, 2), (90.0, 3), (91.0, 3)):
        world.now_s = now_s
        rising.read()
        assert world.asked == asked


def test_what_was_said_before_a_restart_stays_said() -> None:
    world = World(totals={KEY: Spend(1)})
    assert world.rising({KEY: Spend(3), OTHER: Spend(2)}).read() == {
        KEY: Spend(3),
        OTHER: Spend(2),
    }
