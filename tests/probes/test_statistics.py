"""Windows of one session: cut anywhere, they add up to the whole; each metric by its RFC."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_outcomes import INTERVAL_NS, STATES, outcomes_of, split

from analytics.magnitudes import magnitudes
from analytics.sketch import Sketch
from analytics.whole_numbers import EXACT_MAX, counts_by_number
from analytics.windows import FORWARD, REVERSE, CountKey, PathWindow, SeriesKey, SketchKey
from netslo import metrics
from netslo.model import Path, Quality, Window
from probes.clock import UNKNOWN_CLOCK
from probes.outcome import State
from probes.reordering import EXTENT_MAX, ReorderingDetector
from probes.statistics import WindowStatistics

KEY = SeriesKey(Path("a", "b", "ef"))


def total(parts, dscp: int = 46) -> PathWindow:
    """Return what the windows of a session add up to, and what is left at its end."""
    statistics, whole = WindowStatistics(KEY, INTERVAL_NS, dscp), PathWindow(KEY, Window(0, 10_000))
    for number, part in enumerate(parts):
        whole.absorb(statistics.close(Window(10 * number), part, (), UNKNOWN_CLOCK))
    if (left := statistics.end()) is not None:
        whole.absorb(left)
    assert statistics.end() is None
    return whole


@st.composite
def sessions(draw):
    """Any packets: with delays, marks, orders of arrival and numbers of a reflector."""
    rows = outcomes_of(draw(STATES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    answered = rows["state"] == State.ANSWERED
    n = int(answered.sum())
    rows["rtt_ns"][answered] = rng.integers(1, 10**8, n)
    rows["order"][answered] = rng.permutation(n)
    rows["dscp"][answered] = rng.choice([-1, 46, 0, 10], n)
    rows["ttl"][answered] = rng.choice([-1, 60, 61], n)
    rows["quality"][answered] = rng.choice([0, 2], n)
    rows["duplicates"][answered] = rng.choice([0, 0, 0, 1], n)
    rows["reflector_sequence"][answered] = rng.integers(0, 2**32, n)  # a liar's
    return rows


# What is relative to its window (PDV), and what is a state, does not add up.
RELATIVE = {metrics.JITTER, metrics.DELAY_VARIATION}


@settings(max_examples=50, deadline=None)
@given(st.data(), sessions())
def test_windows_cut_anywhere_merge_to_the_whole(data, rows) -> None:
    parts = data.draw(split(rows))
    cut, whole = total(parts), total([rows])
    assert cut.packets == whole.packets
    assert cut.counts == whole.counts
    names = {key for key in (*cut.sketches, *whole.sketches) if key.metric not in RELATIVE}
    for key in names:
        assert_same_counts(cut.sketches[key], whole.sketches[key])


def assert_same_counts(a: Sketch, b: Sketch) -> None:
    assert (a.count, a.zero_count, a.min, a.max) == (b.count, b.zero_count, b.min, b.max)
    for one, other in ((a.positive, b.positive), (a.negative, b.negative)):
        used = (one.trimmed(), other.trimmed())
        assert used[0].offset == used[1].offset
        assert used[0].counts.tolist() == used[1].counts.tolist()
    assert a.sum == pytest.approx(b.sum, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.data(), sessions())
def test_ipdv_is_that_of_rfc_3393(data, rows) -> None:
    parts = data.draw(split(rows))
    found = total(parts)
    for place, quality in ((0, Quality.A), (2, Quality.C)):
        expected = [
            int(b["rtt_ns"]) - int(a["rtt_ns"])
            for a, b in itertools.pairwise(rows)
            if a["state"] == b["state"] == State.ANSWERED and a["quality"] == b["quality"] == place
        ]
        sketch = found.sketches.get(SketchKey(metrics.IPDV, quality), Sketch())
        assert sketch.count == len(expected)
        if expected:
            assert sketch.min == pytest.approx(min(expected) / 1e9)
            assert sketch.max == pytest.approx(max(expected) / 1e9)
            assert sketch.sum == pytest.approx(sum(expected) / 1e9, abs=1e-9)
            sizes = magnitudes(sketch)
            exact = np.quantile(np.abs(expected) / 1e9, [0.5, 0.99], method="lower")
            assert sizes.quantiles([0.5, 0.99]) == pytest.approx(
                exact, rel=2.1 * sizes.relative_error
            )
            assert np.isnan(sizes.sum)


def test_ipdv_telescopes_to_the_last_delay_less_the_first() -> None:
    rows = outcomes_of("aaaa", rtt_ns=np.array([10, 40, 20, 15]) * 10**6)
    (sketch,) = (s for k, s in total([rows]).sketches.items() if k.metric == metrics.IPDV)
    assert (sketch.count, sketch.sum) == (3, pytest.approx(0.005))
    assert (sketch.positive.total(), sketch.negative.total()) == (1, 2)


def test_remarking_and_path_changes_are_counted() -> None:
    rows = outcomes_of("aaaaaaaa")
    rows["dscp"] = [46, 0, 0, 10, -1, 46, 46, 46]
    rows["ttl"] = [60, 60, 58, 58, -1, 58, 60, 60]
    rows["reply_ttl"] = 55
    for parts in ([rows], np.split(rows, [2, 6])):
        counts = total(parts).counts
        assert counts[CountKey(metrics.REMARKED, "0")] == 2
        assert counts[CountKey(metrics.REMARKED, "10")] == 1
        assert counts[CountKey(metrics.REMARKED, "46")] == 0
        assert counts[CountKey(metrics.TTL_CHANGES, "", FORWARD)] == 2
        assert counts[CountKey(metrics.TTL_CHANGES, "", REVERSE)] == 0


@settings(deadline=None)
@given(st.permutations(range(14)))
def test_the_extent_of_reordering_is_that_of_rfc_4737(arrivals) -> None:
    """e = i - j for the least j < i with s[j] > s[i] (§4.2.1)."""
    detector = ReorderingDetector()
    for i, s_i in enumerate(arrivals):
        overtaking = [j for j in range(i) if arrivals[j] > s_i]
        assert detector.observe(s_i) == (i - min(overtaking) if overtaking else 0)


def test_the_extent_has_an_end_and_so_has_the_memory() -> None:
    detector = ReorderingDetector()
    for position in range(1, 10 * EXTENT_MAX):
        assert detector.observe(position) == 0
    assert detector.observe(0) == EXTENT_MAX
    assert len(detector._highs) <= 2 * EXTENT_MAX


def test_lengths_come_back_from_a_sketch_exactly() -> None:
    expected = {n: 1 + n % 3 for n in range(1, EXACT_MAX + 1)}
    sketch = Sketch()
    for number, count in expected.items():
        sketch.add([float(number)] * count)
    assert counts_by_number(sketch) == expected


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=50))
def test_longer_ones_are_told_within_their_bucket_and_the_longest_exactly(numbers) -> None:
    sketch = Sketch()
    sketch.add(np.array(numbers, dtype=np.float64))
    found = counts_by_number(sketch)
    assert sum(found.values()) == len(numbers)
    assert max(found) == max(numbers)
    told = np.repeat(list(found), list(found.values()))
    assert np.allclose(told, np.sort(numbers), rtol=2 ** (1 / 2**sketch.scale) - 1)
