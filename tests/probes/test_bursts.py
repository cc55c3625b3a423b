"""Loss periods, distances and transitions against slow readings of RFC 3357."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_outcomes import INTERVAL_NS, STATES, outcomes_of, split

from analytics.windows import BROKE, KEPT, MENDED, STAYED_LOST
from probes.bursts import BurstTracker


def followed(parts) -> tuple[Counter, list[int], list[int], int]:
    """Return what a tracker tells of windows, all together, and what is left at the end."""
    tracker = BurstTracker(INTERVAL_NS)
    transitions, periods, distances = Counter(), [], []
    for part in parts:
        found = tracker.observe(part)
        transitions.update(found.transitions)
        periods += found.periods.tolist()
        distances += found.distances.tolist()
    return +transitions, periods, distances, tracker.end()


def rfc_3357(states: str) -> tuple[Counter, list[int], list[int]]:
    """Return transitions, lengths of loss periods and loss distances, packet by packet."""
    transitions, periods, distances = Counter(), [], []
    names = {"aa": KEPT, "al": BROKE, "ll": STAYED_LOST, "la": MENDED}
    for before, state in itertools.pairwise(states):
        if before + state in names:
            transitions[names[before + state]] += 1
    for stretch in states.split("u"):
        periods += [len(run) for run in stretch.split("a") if run]
        lost = [place for place, state in enumerate(stretch) if state == "l"]
        distances += [b - a for a, b in itertools.pairwise(lost)]
    return transitions, periods, distances


@settings(deadline=None)
@given(st.data(), STATES)
def test_windows_cut_anywhere_add_up_to_the_rfc(data, states) -> None:
    parts = data.draw(split(outcomes_of(states)))
    transitions, periods, distances, left = followed(parts)
    assert (transitions, periods + [left] * bool(left), distances) == rfc_3357(states)


@pytest.mark.parametrize(
    ("states", "periods"),
    [
        ("aaaa", []),
        ("alaa", [1]),
        ("allla", [3]),
        ("lla", [2]),
        ("allulla", [2, 2]),
    ],
)
def test_a_loss_period_ends_with_an_answer_or_with_what_is_not_known(states, periods) -> None:
    assert followed([outcomes_of(states)])[1] == periods


def test_a_period_belongs_to_the_window_in_which_it_ended() -> None:
    rows, tracker = outcomes_of("alllllla"), BurstTracker(INTERVAL_NS)
    assert [tracker.observe(part).periods.tolist() for part in np.split(rows, [3, 5])] == [
        [],
        [],
        [6],
    ]
    assert tracker.end() == 0


def test_a_pause_parts_two_bursts_though_the_packets_were_numbered_in_a_row() -> None:
    rows = outcomes_of("alla")
    rows["due_ns"][2:] += 7 * INTERVAL_NS
    transitions, periods, distances, _ = followed([rows])
    assert periods == [1, 1]
    assert distances == []
    assert transitions == {BROKE: 1, MENDED: 1}


def test_gilbert_of_a_long_run_is_that_of_the_model_that_made_it() -> None:
    p, r, rng = 0.02, 0.3, np.random.default_rng(3)
    lost, states = False, []
    for chance in rng.random(200_000).tolist():
        lost = chance < p if not lost else chance >= r
        states.append("l" if lost else "a")
    transitions, periods, _, left = followed([outcomes_of("".join(states))])
    broke, mended = transitions[BROKE], transitions[MENDED]
    assert broke / (broke + transitions[KEPT]) == pytest.approx(p, rel=0.05)
    assert mended / (mended + transitions[STAYED_LOST]) == pytest.approx(r, rel=0.05)
    assert sum(periods) + left == states.count("l")
    assert np.mean(periods) == pytest.approx(1 / r, rel=0.05)
