"""Few probes: chance pages nobody, and a fault is still seen. Seeded; judged by the real guard."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from netslo.estate import Estate
from netslo.model import Path
from slo.backtest.history import History
from slo.backtest.replay import Episode, replay
from slo.budget import Spend
from slo.burn import GUARD, PAIRS, Guard, Severity
from slo.engine.verdicts import PairJudge, Verdict
from slo.ledger import Standing
from slo.objective import Objective
from slo.policy import AlertPolicy

DAY_S, STEP_S = 86_400, 60
WARM, PERIOD = 3 * DAY_S // STEP_S, 28 * DAY_S // STEP_S
START_S = 1_790_000_000 // DAY_S * DAY_S
HALF = 0.0005  # of the budget of 99.9 %


@pytest.fixture
def sparse(estate: Estate) -> Estate:
    return replace(estate, plan=replace(estate.plan, interval_s=float(STEP_S)))


@pytest.fixture
def objective(loss: Objective) -> Objective:
    return replace(loss, target_text="0.999")


def lost(paths: int, steps: int, ratio: float = HALF, seed: int = 7) -> np.ndarray:
    return (np.random.default_rng(seed).random((paths, steps)) < ratio).astype(np.uint32)


def judge(objective: Objective, sparse: Estate, bad: np.ndarray, guard: Guard) -> list[Episode]:
    """Return what is told from the third day on, at one packet a minute."""
    keys = tuple((objective.name, Path(f"a{n}", "b", "ef")) for n in range(len(bad)))
    history = History(keys, START_S, STEP_S, np.ones_like(bad), bad, np.zeros_like(bad))
    guarded = replace(objective, alerts=AlertPolicy(PAIRS, guard))
    span = START_S + WARM * STEP_S, history.end_s
    return list(replay(history, guarded, sparse, [(0, "0.999")], span).episodes)


def pages(episodes: list[Episode]) -> list[Episode]:
    return [episode for episode in episodes if episode.pair.severity is Severity.PAGE]


def test_half_a_budget_lost_by_chance_pages_nobody_in_a_month(objective, sparse) -> None:
    bad = lost(150, WARM + PERIOD)
    unguarded = len(pages(judge(objective, sparse, bad, Guard(1)))) / len(bad)
    assert unguarded > 10  # each path, every other day
    assert len(pages(judge(objective, sparse, bad, Guard(3)))) / len(bad) > 0.1
    told = judge(objective, sparse, bad, GUARD)
    assert len(pages(told)) / len(bad) <= 0.02
    assert len(told) / len(bad) <= 0.04


@pytest.mark.parametrize(
    ("ratio", "minutes"), [(1.0, 3), (0.5, 8), (0.1, 45)], ids=["total loss", "half", "a tenth"]
)
def test_a_fault_is_still_told_of_in_time(objective, sparse, ratio, minutes) -> None:
    bad = lost(100, WARM + DAY_S // STEP_S)
    bad[:, WARM:] = lost(100, DAY_S // STEP_S, ratio, seed=8)
    first: dict[Path, float] = {}
    for episode in pages(judge(objective, sparse, bad, GUARD)):
        first.setdefault(episode.key[1], episode.start_s / STEP_S - START_S / STEP_S - WARM)
    assert len(first) == 100
    assert np.median(list(first.values())) <= minutes


def test_the_engine_asks_for_as_many_bad_events_as_the_backtest(objective, sparse) -> None:
    """Rows of a standing that are as many lost packets in every long window, one more each."""
    path, most = objective.paths(sparse)[0], 40
    lengths = objective.alerts.windows_s
    keys = tuple((objective.name, path) for _ in range(most))
    due = np.array([[length_s // STEP_S] * most for length_s in lengths])
    bad = np.array([[min(n, d) for n, d in enumerate(line)] for line in due.tolist()])
    none = np.zeros_like(due)
    rows = dict.fromkeys(keys, 0)
    standing = Standing(
        START_S, keys, rows, lengths, (START_S,) * len(lengths), due, bad, none, due,
        np.full(most, 1000), none,
    )  # fmt: skip
    judged = PairJudge([objective], sparse).judge(standing)
    assert len(judged.pairs) == len(PAIRS)
    for found in judged.pairs:
        pair = found.pair
        fires = (found.verdicts == Verdict.FIRES).tolist()
        spends = [
            [Spend(int(d), int(b), 0, Fraction(int(d), 1000)) for d, b in zip(*of, strict=True)]
            for of in ((due[at], bad[at]) for at in (lengths.index(pair.long_s),
                                                     lengths.index(pair.short_s)))
        ]  # fmt: skip
        expected = [
            pair.fires(
                objective.window_s,
                long,
                short,
                objective.guard.least(
                    long.budget,
                    pair.threshold(objective.window_s),
                    pair.windows(objective.window_s),
                ),
            )
            for long, short in zip(*spends, strict=True)
        ]
        assert fires == expected
        assert True in expected
        assert False in expected
