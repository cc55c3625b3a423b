from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.windows import SloCounts
from slo.slices import PARTS, TimeSlices

HALF = TimeSlices(60, Fraction(1, 2), packets_min=10)
SHARES = TimeSlices(60, None, packets_min=10)


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        (20, 0, SloCounts(good=1)),
        (10, 10, SloCounts(good=1)),
        (9, 10, SloCounts(bad=1)),
        (0, 10, SloCounts(bad=1)),
        (9, 0, SloCounts(unmeasured=1)),  # too few to say
        (0, 0, SloCounts(unmeasured=1)),
    ],
)
def test_a_slice_is_good_when_enough_of_its_packets_were(good, bad, expected):
    assert HALF.judge(SloCounts(good, bad, unmeasured=5)) == expected


def test_a_slice_without_packets_is_unmeasured_even_if_none_are_asked_for():
    assert TimeSlices(60, Fraction(1, 2), 0).judge(SloCounts()) == SloCounts(unmeasured=1)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_share_is_right_to_half_a_millionth_and_slices_are_whole(good, bad):
    counts = SHARES.judge(SloCounts(good, bad))
    if good + bad < 10:
        assert counts == SloCounts(unmeasured=PARTS)
        return
    assert counts.good + counts.bad == PARTS
    assert abs(Fraction(counts.bad, PARTS) - Fraction(bad, good + bad)) <= Fraction(1, 2 * PARTS)


@given(st.fractions(0, 1), st.integers(0, 1000), st.integers(0, 1000))
def test_the_share_of_good_packets_is_compared_exactly(ratio, good, bad):
    judged = TimeSlices(300, ratio).judge(SloCounts(good, bad))
    if good + bad:
        assert judged.good == (Fraction(good, good + bad) >= ratio)
        assert judged.good + judged.bad == 1
