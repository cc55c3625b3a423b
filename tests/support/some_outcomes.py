"""Packets of one session and what became of them, as a probe's engine would tell it."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from netslo.model import NS_PER_S
from probes.outcome import NO_SPAN, OUTCOME, UNKNOWN, Outcomes, State

INTERVAL_NS = NS_PER_S // 10
BY_LETTER = {"a": State.ANSWERED, "l": State.LOST, "u": State.UNMEASURED}


def outcomes_of(states: str, **columns) -> Outcomes:
    """Return packets an interval apart: `a` answered, `l` lost, `u` unmeasured (not sent)."""
    rows = np.zeros(len(states), OUTCOME)
    for name in ("ttl", "dscp", "reply_ttl", "reply_dscp", "far_error", "position"):
        rows[name] = UNKNOWN
    rows["order"] = rows["reflector_sequence"] = UNKNOWN
    rows["rtt_ns"] = rows["forward_ns"] = rows["backward_ns"] = NO_SPAN
    rows["due_ns"] = 5 * NS_PER_S + np.arange(len(states)) * INTERVAL_NS
    rows["state"] = [BY_LETTER[letter] for letter in states]
    rows["quality"] = 2
    answered = rows["state"] == State.ANSWERED
    rows["order"][answered] = np.arange(answered.sum())
    sent = rows["state"] != State.UNMEASURED
    rows["position"][sent] = np.arange(sent.sum())
    rows["rtt_ns"][answered] = 10_000_000
    for name, values in columns.items():
        rows[name] = values
    return rows


STATES = st.lists(
    st.tuples(st.sampled_from("aaalllu"), st.integers(1, 6)), min_size=1, max_size=25
).map(lambda runs: "".join(letter * n for letter, n in runs))


@st.composite
def split(draw, rows: Outcomes) -> list[Outcomes]:
    """Cut packets into windows anywhere; some may be empty."""
    places = sorted(draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    return [rows[a:b] for a, b in zip([0, *places], [*places, len(rows)], strict=True)]
