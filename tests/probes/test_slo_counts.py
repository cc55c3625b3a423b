from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.windows import SloCounts
from netslo.model import Direction, Measure, SloThreshold
from probes.outcome import NO_SPAN, OUTCOME, State
from probes.slo_counts import count_events

MS = 1_000_000
ROUND_TRIP = Direction.ROUND_TRIP
DELIVERED = SloThreshold("delivered", None)

PACKETS = st.lists(
    st.tuples(
        st.sampled_from([State.ANSWERED, State.ANSWERED, State.LOST, State.UNMEASURED]),
        st.integers(0, 40).map(lambda n: n * MS),
        st.integers(-20, 40).map(lambda n: n * MS) | st.just(NO_SPAN),
        st.integers(0, 1),  # quality
    ),
    max_size=30,
)


def make(packets):
    rows = np.zeros(len(packets), OUTCOME)
    for row, (state, rtt_ns, forward_ns, quality) in zip(rows, packets, strict=True):
        row["state"], row["quality"] = state, quality
        row["rtt_ns"] = rtt_ns if state is State.ANSWERED else NO_SPAN
        row["forward_ns"] = row["backward_ns"] = forward_ns if state is State.ANSWERED else NO_SPAN
    return rows


def naive(threshold, packets, before, withheld):
    """Count one packet after the other, in Python's integers."""
    counts = SloCounts()
    answered = [p for p in packets if p[0] is State.ANSWERED]
    one_way = threshold.direction is not ROUND_TRIP
    told = [p for p in answered if p[2] != NO_SPAN]
    no_fact = threshold.measure is Measure.DELAY and threshold.direction.value in withheld
    if answered and one_way and (no_fact or not told):
        return SloCounts(0, 0, len(packets))
    rows = [*before, *packets]
    span = [r[1] if threshold.direction is ROUND_TRIP else r[2] for r in rows]
    known = [r[0] is State.ANSWERED and s != NO_SPAN for r, s in zip(rows, span, strict=True)]
    for i in range(len(before), len(rows)):
        state, _, _, quality = rows[i]
        if state is State.LOST:
            counts.bad += 1
            continue
        value = None
        if known[i] and threshold.measure is Measure.DELAY:
            value = span[i]
        elif known[i] and threshold.measure is Measure.PDV:
            mine = [
                span[j] for j in range(len(before), len(rows)) if known[j] and rows[j][3] == quality
            ]
            value = span[i] - min(mine)
        elif known[i] and i and known[i - 1] and rows[i - 1][3] == quality:
            value = abs(span[i] - span[i - 1])
        if value is None:
            counts.unmeasured += 1
        elif value / 1e9 <= threshold.limit_s:
            counts.good += 1
        else:
            counts.bad += 1
    return counts


@given(
    PACKETS,
    PACKETS.map(lambda packets: packets[:1]),
    st.sampled_from(Measure),
    st.sampled_from(Direction),
    st.integers(0, 20).map(lambda n: n / 1000),
    st.sets(st.sampled_from(["forward", "reverse"])),
)
def test_counts_are_those_of_one_packet_after_the_other(
    packets, before, measure, direction, limit_s, withheld
):
    threshold = SloThreshold("x", limit_s, measure, direction)
    found = count_events(
        threshold,
        make(packets),
        make(before) if before else None,
        withheld=withheld,
    )
    assert found == naive(threshold, packets, before, withheld)
    assert found.events + found.unmeasured == len(packets)


def test_any_answer_is_good_where_there_is_no_limit():
    packets = [(State.ANSWERED, 1, NO_SPAN, 0), (State.LOST, 0, 0, 0), (State.UNMEASURED, 0, 0, 0)]
    found = count_events(DELIVERED, make(packets), withheld={"forward"})
    assert found == SloCounts(1, 1, 1)


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (Measure.DELAY, SloCounts(0, 0, 2)),
        (Measure.PDV, SloCounts(1, 1, 0)),  # the offset of the clocks cancels out
        (Measure.IPDV, SloCounts(0, 1, 1)),  # nothing was sent before the first
    ],
)
def test_what_needs_clocks_that_agree_is_unmeasured_without_them(measure, expected):
    packets = [(State.ANSWERED, 1, 5 * MS, 0), (State.ANSWERED, 1, 50 * MS, 0)]
    threshold = SloThreshold("x", 0.010, measure, Direction.FORWARD)
    assert count_events(threshold, make(packets), withheld={"forward"}) == expected


def test_losses_do_not_burn_where_the_delays_beside_them_are_no_facts():
    packets = [(State.ANSWERED, 1, 5 * MS, 0)] * 98 + [(State.LOST, 0, NO_SPAN, 0)] * 2
    threshold = SloThreshold("x", 0.010, Measure.DELAY, Direction.FORWARD)
    assert count_events(threshold, make(packets), withheld={"forward"}) == SloCounts(0, 0, 100)
    assert count_events(threshold, make(packets), withheld={"reverse"}) == SloCounts(98, 2, 0)


def test_a_path_that_is_down_is_bad_whatever_the_clocks_say():
    packets = [(State.LOST, 0, NO_SPAN, 0)] * 5
    threshold = SloThreshold("x", 0.010, Measure.DELAY, Direction.FORWARD)
    assert count_events(threshold, make(packets), withheld={"forward"}) == SloCounts(0, 5, 0)
