"""The windows of counters against plain dictionaries."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analytics.buckets import Buckets, SignedBuckets

COUNTS = st.dictionaries(st.integers(-40, 40), st.integers(1, 2**40), max_size=12)


def buckets_of(counts: dict[int, int], margin: int = 0) -> Buckets:
    """Return a window that holds the counts, with `margin` empty buckets at either end."""
    if not counts:
        return Buckets()
    first, last = min(counts) - margin, max(counts) + margin
    return Buckets(first, np.array([counts.get(i, 0) for i in range(first, last + 1)], np.uint64))


def counts_of(buckets: Buckets) -> dict[int, int]:
    return {buckets.offset + i: n for i, n in enumerate(buckets.counts.tolist()) if n}


def halved(counts: dict[int, int], times: int = 1) -> dict[int, int]:
    result: Counter[int] = Counter()
    for index, number in counts.items():
        result[index >> times] += number
    return dict(result)


@given(COUNTS, st.integers(0, 5))
def test_trimming_takes_the_empty_ends_only(counts, margin) -> None:
    wide = buckets_of(counts, margin)
    assert counts_of(wide.trimmed()) == counts
    assert len(wide.trimmed().counts) == (max(counts) - min(counts) + 1 if counts else 0)
    assert wide.used() == ((min(counts), max(counts)) if counts else None)


@given(COUNTS, st.integers(-50, 50), st.integers(0, 50), st.sampled_from([1, 4, 128]))
def test_a_window_grows_around_its_counts(counts, first, span, align) -> None:
    window = buckets_of(counts)
    window.cover(first, first + span, align)
    assert counts_of(window) == counts
    assert window.offset <= first
    assert first + span < window.end


@given(COUNTS, st.integers(0, 3))
def test_halving_the_scale_adds_neighbours(counts, margin) -> None:
    window = buckets_of(counts, margin)
    window.halve_scale()
    assert counts_of(window) == halved(counts)


@given(COUNTS, st.integers(-45, 45))
def test_single_and_cumulated_counts(counts, index) -> None:
    window = buckets_of(counts)
    assert window.at(index) == counts.get(index, 0)
    assert window.below(index) == sum(n for i, n in counts.items() if i < index)


@given(st.lists(st.tuples(COUNTS, COUNTS, st.integers(3, 8)), max_size=5), st.integers(2, 40))
def test_absorbing_falls_just_as_far_as_the_limit_asks(parts, limit) -> None:
    merged = SignedBuckets(8, limit)
    finest: list[tuple[dict[int, int], dict[int, int]]] = []
    coarsest = min((scale for _, _, scale in parts), default=8)
    for positive, negative, scale in parts:
        merged.absorb(SignedBuckets(scale, 99, buckets_of(positive, 1), buckets_of(negative)))
        finest.append((halved(positive, scale - coarsest), halved(negative, scale - coarsest)))
    sides = [sum((Counter(pair[side]) for pair in finest), Counter()) for side in (0, 1)]
    fall = 0
    while any(side and (max(side) >> fall) - (min(side) >> fall) >= limit for side in sides):
        fall += 1
    assert merged.scale == coarsest - fall
    assert counts_of(merged.positive) == halved(sides[0], fall)
    assert counts_of(merged.negative) == halved(sides[1], fall)
