"""Counters as narrow as they can be, against integers that know no width."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.accumulator import Accumulator
from analytics.tables import Side

pytestmark = pytest.mark.usefixtures("kernels")

Row = tuple[int, int, list[int]]  # stream, first bucket, counts


def add(accumulator: Accumulator, rows: list[Row], sign: int) -> None:
    offsets = np.cumsum([0, *(len(counts) for _, _, counts in rows)])
    counts = np.array([n for _, _, counts in rows for n in counts], dtype=np.uint64)
    side = Side(np.array([first for _, first, _ in rows], dtype=np.int64), offsets, counts)
    accumulator.add(side, np.array([stream for stream, _, _ in rows], dtype=np.int32), sign)


def check(accumulator: Accumulator, kept: list[Row], streams: int) -> None:
    expected: dict[int, Counter[int]] = defaultdict(Counter)
    for stream, first, counts in kept:
        expected[stream].update({first + k: n for k, n in enumerate(counts)})
    runs = accumulator.runs(7, streams)
    for stream in range(streams):
        begin, end = runs.offsets[stream : stream + 2].tolist()
        found = enumerate(runs.counts[begin:end].tolist(), int(runs.first[stream]))
        assert {index: n for index, n in found if n} == dict(+expected[stream])


EDGES = [0, 1, 255, 2**16 - 2, 2**16 - 1, 2**16, 2**32 - 2, 2**32 - 1, 2**32, 2**45]
ROW = st.tuples(
    st.integers(0, 3),
    st.integers(-300, 300),
    st.lists(st.sampled_from(EDGES) | st.integers(0, 9), max_size=5),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.lists(ROW, max_size=6), st.booleans()), max_size=8))
def test_no_counter_overflows_whatever_comes_and_goes(steps) -> None:
    accumulator, kept = Accumulator(), []
    for rows, one_goes in steps:
        add(accumulator, rows, 1)
        kept.append(rows)
        if one_goes:
            add(accumulator, kept.pop(0), -1)
        check(accumulator, [row for rows in kept for row in rows], 4)


def test_rows_that_came_in_parts_may_leave_as_one() -> None:
    accumulator = Accumulator()
    for _ in range(3):
        add(accumulator, [(0, 5, [2**41, 1])], 1)
    add(accumulator, [(0, 5, [2**42, 2])], -1)
    check(accumulator, [(0, 5, [2**41, 1])], 1)
    add(accumulator, [(0, 5, [2**32, 2**53])], 1)
    check(accumulator, [(0, 5, [2**32 + 2**41, 2**53 + 1])], 1)


def test_a_busy_stream_does_not_make_the_others_wide() -> None:
    quiet, busy = Accumulator(), Accumulator()
    rows = [(stream, 0, [3] * 64) for stream in range(200)]
    for accumulator in (quiet, busy):
        add(accumulator, rows, 1)
    add(busy, [(7, 0, [2**33])], 1)
    assert quiet.nbytes < 200 * (64 * 2 + 48)
    assert busy.nbytes < quiet.nbytes + 64 * 8 * 3
    check(busy, [*rows, (7, 0, [2**33])], 200)
