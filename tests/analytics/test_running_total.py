"""Sums kept in place against adding up everything at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_windows import PATHS, T0, make_window, windows

from analytics import _kernels
from analytics.buckets import Buckets
from analytics.frame import Frame, concatenated
from analytics.running_total import RunningTotal
from analytics.sketch import Sketch
from analytics.store.interface import EVER_S
from analytics.streams import Streams


def filled(buckets: Buckets) -> dict[int, int]:
    return {buckets.offset + int(n): int(buckets.counts[n]) for n in np.flatnonzero(buckets.counts)}


def same(total: RunningTotal, frames: list[Frame], streams: Streams) -> None:
    """Check that a total is what adding up all frames says."""
    whole = concatenated([frame.only_distributions() for frame in frames]).summed(0, EVER_S)
    table = total.settle()
    assert table.stream.tolist() == whole.distributions.stream.tolist()
    for row in range(len(table.stream)):
        found, expected = table.sketch(row), whole.distributions.sketch(row)
        assert found.sum == pytest.approx(expected.sum, rel=1e-12)  # in another order
        assert (found.min, found.max) == (expected.min, expected.max)
        assert found.scale == expected.scale
        assert filled(found.positive) == filled(expected.positive)
        assert filled(found.negative) == filled(expected.negative)
        for special in ("zero_count", "nan_count", "positive_infinity_count"):
            assert getattr(found, special) == getattr(expected, special)
        assert found.negative_infinity_count == expected.negative_infinity_count


@settings(deadline=None)
@given(
    st.lists(st.lists(windows(), min_size=1, max_size=4), min_size=1, max_size=6),
    st.integers(0, 3),
    st.booleans(),
)
def test_sums_do_not_depend_on_what_was_settled_when(contents, begin, often) -> None:
    streams = Streams()
    frames = [Frame.of(each, streams) for each in contents]
    known = concatenated(frames[:begin]).summed(0, EVER_S)
    total = RunningTotal(known)
    for frame in frames[begin:]:
        total.add(frame)
        if often:
            total.settle()
    same(total, frames, streams)


def test_what_lies_within_known_buckets_is_added_in_place() -> None:
    streams, total = Streams(), RunningTotal()
    values = np.linspace(0.001, 0.2, 200)
    frames = []
    for k in range(4):
        frame = Frame.of([make_window(T0 + 10 * k, path, rtts=values) for path in PATHS], streams)
        total.add(frame)
        frames.append(frame)
        if k == 0:
            table = total.settle()
    assert total.settle() is table  # nothing had to wait
    same(total, frames, streams)


def test_counts_of_32_bits_may_grow_beyond(monkeypatch) -> None:
    monkeypatch.setattr(_kernels, "pays", lambda _work: False)  # as without numba
    streams, total = Streams(), RunningTotal()
    window = make_window(rtts=(0.01,))
    whole = Frame.of([window], streams)
    row = whole.distributions
    row.positive.counts[:] = 2**32 - 1
    frames = []
    for _ in range(3):
        total.add(whole)
        total.settle()
        frames.append(whole)
    assert int(total.settle().positive.counts.max()) == 3 * (2**32 - 1)
    assert isinstance(total.settle().sketch(0), Sketch)
