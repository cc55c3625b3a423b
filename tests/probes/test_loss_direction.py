"""Losses by direction against a reflector that is played, packet by packet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_outcomes import outcomes_of, split

from probes.loss_direction import DirectionTracker
from probes.outcome import State

START = 2**32 - 6  # numbers wrap around in the middle


@dataclass
class Told:
    forward: int
    reverse: int


def reflected(fates: str, *, start: int = 0, stateful: bool = True):
    """Return packets by fate: `a` answered, `f` lost forward, `r` lost in reverse, `u` not sent."""
    rows = outcomes_of(fates.translate(str.maketrans("fr", "ll")))
    number = start
    for place, fate in enumerate(fates):
        if fate in "ar":
            if fate == "a":
                own = rows["position"][place] if not stateful else number
                rows["reflector_sequence"][place] = own % 2**32
            number += 1
    return rows


def split_up(parts) -> Told:
    tracker = DirectionTracker()
    found = [tracker.observe(part) for part in parts] + [tracker.end()]
    return Told(sum(f for f, _ in found), sum(r for _, r in found))


FATES = st.lists(
    st.tuples(st.sampled_from("aaaffrr"), st.integers(1, 4)), min_size=1, max_size=20
).map(lambda runs: "".join(fate * n for fate, n in runs))


@settings(max_examples=80, deadline=None)
@given(st.data(), FATES, st.sampled_from([1000, START]))
def test_every_loss_between_two_answers_is_told_its_way(data, fates, start) -> None:
    """The reflector's numbers are never ours, so that it is known to have a memory."""
    parts = data.draw(split(reflected(fates, start=start)))
    inner = fates[fates.find("a") : fates.rfind("a") + 1] if "a" in fates else ""
    assert split_up(parts) == Told(inner.count("f"), inner.count("r"))


@settings(deadline=None)
@given(FATES)
def test_a_stateless_reflector_tells_nothing(fates) -> None:
    assert split_up([reflected(fates, stateful=False)]) == Told(0, 0)


def test_a_memory_is_known_from_the_first_loss_forward_on() -> None:
    assert split_up([reflected("arrara")]) == Told(0, 0)  # as a stateless one would number
    assert split_up([reflected("arafa")]) == Told(1, 1)
    rows = reflected("arra")
    rows["quality"] = 0  # a reply's follow-up came
    assert split_up([rows]) == Told(0, 2)


def test_reordering_on_the_way_there_is_no_loss() -> None:
    rows = reflected("aaaaraaa", start=7)
    numbers = rows["reflector_sequence"]
    numbers[[1, 2]] = numbers[[2, 1]]
    assert split_up([rows]) == Told(0, 1)
    assert split_up(np.split(rows, [2])) == Told(0, 1)


@pytest.mark.parametrize("what", ["duplicated", "unmeasured", "began anew"])
def test_where_numbers_could_mean_something_else_nothing_is_told(what) -> None:
    rows = reflected("afaaraarra", start=7)
    match what:
        case "duplicated":
            rows["duplicates"][3] = 1  # next to the loss in reverse at 4
        case "unmeasured":
            rows["state"][4] = State.UNMEASURED  # sent, but the clock stepped
        case "began anew":
            rows["reflector_sequence"][5:] -= rows["reflector_sequence"][5]
    expected = {
        "duplicated": Told(1, 2),
        "unmeasured": Told(1, 2),
        "began anew": Told(0, 2),
    }
    found = split_up([rows])
    if what == "began anew":  # whichever stretches were not spoilt
        assert found.forward <= 1
        assert found.reverse <= 3
    else:
        assert found == expected[what]
