"""A history judged at once says what judging it step by step says."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.store.eras import era_at
from netslo.model import Path
from slo.backtest.history import History, step_for
from slo.backtest.replay import replay
from slo.budget import MissingData, Spend
from slo.burn import BurnPair, Guard, Severity, firing
from slo.due import Due
from slo.exclusion import Covers, Exclusion
from slo.policy import AlertPolicy

START_S, STEP_S = 1_790_000_100 // 300 * 300, 300
PATHS = (Path("london", "leeds", "ef"), Path("leeds", "london", "ef"))
PAIRS = (
    BurnPair(Severity.PAGE, Fraction(1, 100), 1800, 300),
    BurnPair(Severity.TICKET, Fraction(3, 100), 3600, 600),
)


def history_of(events, bad, unmeasured, name: str) -> History:
    as_counts = (np.array(counts, dtype=np.uint32) for counts in (events, bad, unmeasured))
    return History(tuple((name, path) for path in PATHS), START_S, STEP_S, *as_counts)


def slowly(history: History, objective, estate, eras, exclusions=()):
    """Return for each row and pair the steps at which it fires, the obvious way."""
    found = []
    least = partial(Due(estate).bad_least, objective)
    for row, key in enumerate(history.keys):
        spends = []
        for step in range(history.steps):
            at_s = history.start_s + step * STEP_S
            gone = any(e.excludes(key) and e.start_s <= at_s < e.end_s for e in exclusions)
            counts = (int(c[row, step]) for c in (history.events, history.bad, history.unmeasured))
            target = Fraction(era_at(list(eras), at_s)[1])
            spends.append(Spend() if gone else Spend.under(target, *counts))
        for step in range(history.steps):
            by_length = {}
            end_s = history.start_s + (step + 1) * STEP_S
            known_by_then = {objective.name: [era for era in eras if era[0] < end_s]}
            now = replace(objective, target_text=known_by_then[objective.name][-1][1])
            due = Due(estate, known_by_then)
            for length_s in objective.alerts.windows_s:
                window = spends[max(0, step + 1 - length_s // STEP_S) : step + 1]
                by_length[length_s] = due.known(now, sum(window, Spend()), length_s, end_s)
            policy = objective.alerts
            pairs = firing(objective.window_s, by_length, policy.pairs, least)
            found += [(key, pair, step) for pair in pairs]
    return set(found)


def steps_of(found, history: History):
    steps = set()
    for episode in found.episodes:
        end_s = history.end_s + STEP_S if episode.end_s is None else episode.end_s
        first = (episode.start_s - history.start_s) // STEP_S - 1
        last = (end_s - history.start_s) // STEP_S - 1
        steps |= {(episode.key, episode.pair, step) for step in range(first, last)}
    return steps


STEPS = 40
_ROW = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from([0, 0, 0, 1, 2, 10, 60]), st.integers(0, 40)),
    min_size=STEPS,
    max_size=STEPS,
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.tuples(_ROW, _ROW),
    missing=st.sampled_from(list(MissingData)),
    guard=st.sampled_from([Guard(1), Guard(), Guard(5), Guard(1, 0.95)]),
    targets=st.sampled_from([["0.999"], ["0.99", "0.95"], ["0.9", "0.99"], ["0.999999999999"]]),
    plan_s=st.sampled_from([5.0, 10.0, 60.0]),
    hole=st.none() | st.tuples(st.integers(0, 30), st.integers(1, 9)),
)
def test_it_says_what_judging_step_by_step_says(
    rows, missing, guard, targets, hole, plan_s, latency, new_estate
):
    estate = new_estate(plan_s)
    events, bad, unmeasured = np.array(rows).transpose(2, 0, 1)
    bad = np.minimum(events, bad)
    objective = replace(latency, missing_data=missing, alerts=AlertPolicy(PAIRS, guard))
    history = history_of(events, bad, unmeasured, objective.name)
    eras = [(n * (START_S + 20 * STEP_S), target) for n, target in enumerate(targets)]
    exclusions = []
    if hole is not None:
        start_s = START_S + hole[0] * STEP_S
        covers = Covers(paths=frozenset(PATHS[:1]))
        end_s = start_s + hole[1] * STEP_S
        exclusions = [Exclusion("x", start_s, end_s, "alice", "test", 0, covers)]
    found = replay(history, objective, estate, eras, (START_S, history.end_s), exclusions)
    assert steps_of(found, history) == slowly(history, objective, estate, eras, exclusions)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("missing", list(MissingData))
def test_blocks_say_what_all_rows_at_once_say(
    monkeypatch, latency, new_estate, missing, threads
) -> None:
    """Memory is used again from block to block, of which only some have unmeasured events."""
    rng, shape = np.random.default_rng(5), (41, STEPS)
    events = rng.integers(0, 60, shape, dtype=np.uint32)
    bad = np.minimum(events, (rng.random(shape) < 0.1) * 9).astype(np.uint32)
    unmeasured = rng.integers(0, 9, shape, dtype=np.uint32) * (rng.random((41, 1)) < 0.2)
    objective = replace(latency, missing_data=missing, alerts=AlertPolicy(PAIRS, Guard(1)))
    keys = tuple((objective.name, Path("london", f"site-{n}", "ef")) for n in range(41))
    counts = events, bad, unmeasured.astype(np.uint32)
    history, estate = History(keys, START_S, STEP_S, *counts), new_estate(5.0)
    covers = Covers(paths=frozenset(path for _, path in keys[::5]))
    hole = Exclusion("x", START_S + 3 * STEP_S, START_S + 9 * STEP_S, "alice", "test", 0, covers)
    eras = [(0, "0.999"), (START_S + 20 * STEP_S, "0.99")]
    asked = history, objective, estate, eras, (START_S + 5 * STEP_S, history.end_s), [hole]
    at_once = replay(*asked)
    monkeypatch.setattr("slo.backtest.replay._BLOCK_CELLS", 4 * STEPS)
    told: list[int] = []
    assert replay(*asked, told.append, threads) == at_once
    assert sorted(told) == [1] + [4] * 10
    assert at_once.episodes


def test_a_threshold_with_many_digits_is_decided_exactly(latency, estate) -> None:
    events = np.full((2, STEPS), 4_000_000_000, dtype=np.uint32)
    bad = np.zeros_like(events)
    bad[0, 10:14] = 90_000_000
    pair = BurnPair(Severity.PAGE, Fraction("0.010000000000000001"), 1800, 300)
    objective = replace(latency, alerts=AlertPolicy((pair,)))
    history = history_of(events, bad, bad * 0, objective.name)
    found = replay(history, objective, estate, [(0, "0.999")], (START_S, history.end_s))
    assert steps_of(found, history) == slowly(history, objective, estate, [(0, "0.999")])
    assert found.episodes


def test_an_alert_has_a_beginning_an_end_and_a_price(latency, new_estate) -> None:
    estate = new_estate(STEP_S / 100)
    events = np.full((2, STEPS), 100)
    bad = np.zeros_like(events)
    bad[0, 10] = 50
    bad[1, -1] = 50
    objective = replace(latency, alerts=AlertPolicy(PAIRS[:1]))
    history = history_of(events, bad, bad * 0, objective.name)
    over, still = replay(
        history, objective, estate, [(0, "0.999")], (START_S, history.end_s)
    ).episodes
    assert (over.start_s, over.end_s) == (START_S + 11 * STEP_S, START_S + 12 * STEP_S)
    assert (still.start_s, still.end_s) == (history.end_s, None)
    assert over.bad == 50
    per_period = 100 * objective.window_s / STEP_S / 1000  # budget events
    assert over.budget_used == pytest.approx(50 / per_period)


def test_only_the_span_counts_but_windows_reach_back(latency, new_estate) -> None:
    estate = new_estate(STEP_S / 100)
    events = np.full((2, STEPS), 100)
    bad = np.full((2, STEPS), 50)
    objective = replace(latency, alerts=AlertPolicy(PAIRS))
    history = history_of(events, bad, bad * 0, objective.name)
    from_s = START_S + 20 * STEP_S
    found = replay(history, objective, estate, [(0, "0.999")], (from_s, history.end_s))
    assert {e.start_s for e in found.episodes} == {from_s + STEP_S}
    assert [spend.events for spend in found.spends] == [2000, 2000]
    assert found.spends[0].budget == 2


def test_windows_of_whole_steps_only(latency, estate) -> None:
    assert step_for([300, 3600]) == 300
    assert step_for([60, 3600]) == 10
    pair = BurnPair(Severity.PAGE, Fraction(1, 100), 720, 60)
    history = history_of(*(np.zeros((2, 4)),) * 3, latency.name)
    objective = replace(latency, alerts=AlertPolicy((pair,)))
    with pytest.raises(ValueError, match="whole steps"):
        replay(history, objective, estate, [(0, "0.999")], (START_S, history.end_s))
