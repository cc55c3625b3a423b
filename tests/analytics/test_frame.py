"""Frames against the windows they are made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_windows import PATHS, T0, make_window, part_of, windows

from analytics.frame import Frame, concatenated
from analytics.sketch import Sketch
from analytics.streams import Events, Gauge, Packets, Streams
from analytics.windows import STATES, CountKey, PathWindow, SeriesKey, SketchKey
from netslo.metrics import LOSS_PERIOD, REMARKED, RTT
from netslo.model import Quality, Window

FEW = 50  # examples, of up to twelve windows each
DAYS = st.integers(0, 40 * 8640).map(lambda k: T0 + 10 * k)


def merged(contents, length_s: int) -> list[PathWindow]:
    """Return what windows add up to, one after the other, in order of time."""
    found: dict[tuple[SeriesKey, int], PathWindow] = {}
    for window in sorted(contents, key=lambda w: w.window.start_s):
        start_s = window.window.start_s - window.window.start_s % length_s
        place = (window.key, start_s)
        whole = found.setdefault(place, PathWindow(window.key, Window(start_s, length_s)))
        whole.absorb(window)
        for state in STATES:
            if getattr(window, state) is not None:
                setattr(whole, state, getattr(window, state))
    return [found[place] for place in sorted(found)]


@settings(deadline=None, max_examples=FEW)
@given(
    st.lists(windows(st.integers(0, 40).map(lambda k: T0 + 10 * k)), max_size=12),
    st.sampled_from([10, 60, 300, 86400]),
)
def test_frames_add_up_as_windows_do(contents, length_s) -> None:
    streams = Streams()
    frame = Frame.of(contents, streams).merged(length_s)
    assert frame.windows(streams) == merged(contents, length_s)


@settings(deadline=None, max_examples=FEW)
@given(st.lists(windows(), max_size=12), st.integers(0, 12))
def test_it_does_not_matter_how_points_are_grouped_into_frames(contents, cut) -> None:
    streams = Streams()
    parts = [Frame.of(part, streams) for part in (contents[:cut], contents[cut:])]
    whole = concatenated([parts[0].merged(10), parts[1]])
    assert whole.windows(streams) == Frame.of(contents, streams).windows(streams)
    assert whole.total() == Frame.of(contents, streams).total()


@settings(deadline=None, max_examples=FEW)
@given(st.lists(windows(DAYS), max_size=10))
def test_the_sum_of_a_frame_is_one_window_of_each_series(contents) -> None:
    streams = Streams()
    summed = Frame.of(contents, streams).summed(T0, 600).windows(streams)
    expected = merged(contents, 2**40)
    for window in expected:
        window.window = Window(T0, 600)
    assert summed == expected


@settings(deadline=None, max_examples=FEW)
@given(st.lists(windows(DAYS), max_size=10), st.sampled_from([300, 86400]))
def test_parts_lose_nothing_and_mix_nothing(contents, row_s) -> None:
    streams = Streams()
    frame = Frame.of(contents, streams)
    places, ordered, edges = frame.in_parts(streams.series_of(), row_s)
    assert places == frame.places(streams.series_of(), row_s) == sorted(places)
    for (series, start_s), begins, ends in zip(places, edges[:-1], edges[1:], strict=True):
        part = part_of(ordered, begins.tolist(), ends.tolist())
        assert {streams.series()[series]} == {w.key for w in part.windows(streams)}
        assert start_s <= part.span()[0]
        assert part.span()[1] <= start_s + row_s
    assert edges[0].tolist() == [0, 0, 0]
    assert edges[-1].tolist() == [len(table.stream) for table in ordered.tables]
    assert ordered.windows(streams) == frame.windows(streams)


@settings(deadline=None, max_examples=FEW)
@given(st.lists(windows(), max_size=8), st.integers(0, 900), st.integers(0, 900))
def test_a_span_of_time_is_cut_out_exactly(contents, low, high) -> None:
    streams = Streams()
    cut = Frame.of(contents, streams).between(T0 + low, T0 + high)
    inside = [w for w in contents if T0 + low <= w.window.start_s < T0 + high]
    assert cut.windows(streams) == merged(inside, 10)
    assert cut.window_count(streams.series_of()) == len(merged(inside, 10))


def test_streams_are_told_apart() -> None:
    streams = Streams()
    frame = Frame.of([make_window(path=path) for path in PATHS], streams)
    london = frame.of_streams(streams.select(lambda key: key.path.src == "london"))
    assert {w.key.path for w in london.windows(streams)} == set(PATHS[:2])


def test_a_stream_keeps_its_number() -> None:
    streams = Streams()
    key = SeriesKey(PATHS[0])
    abouts = [
        SketchKey(RTT, Quality.A),
        SketchKey(LOSS_PERIOD),
        Packets("lost"),
        Events("x", "bad"),
        CountKey(REMARKED, "46"),
        *Gauge,
    ]
    numbers = [streams.number(key, about) for about in abouts]
    assert numbers == [streams.number(key, about) for about in abouts]
    assert numbers == list(range(len(abouts)))
    assert [streams[n].about for n in numbers] == abouts
    assert streams.series_of().tolist() == [0] * len(abouts)


@pytest.mark.parametrize("scales", [(7, 7), (7, 3), (2, 7)])
def test_scales_that_differ_or_fall_merge_as_sketches_do(scales) -> None:
    streams, contents = Streams(), []
    for k, scale in enumerate(scales):
        sketch = Sketch(scale)
        sketch.add(np.geomspace(1e-300, 1e300, 100) if k else np.array([0.01, 0.02]))
        window = make_window(T0, rtts=())
        window.sketches[SketchKey(RTT, Quality.C)] = sketch
        contents.append(window)
    other = make_window(T0, PATHS[1])
    frame = Frame.of([*contents, other], streams)
    assert frame.windows(streams) == merged([*contents, other], 10)


def test_nothing_is_a_frame_too() -> None:
    streams = Streams()
    empty = Frame.of([], streams)
    assert empty.merged(300).points == concatenated([]).points == 0
    assert empty.span() == (0, 0)
    places, ordered, edges = empty.in_parts(streams.series_of(), 300)
    assert empty.windows(streams) == places == []
    assert (ordered.points, edges.tolist()) == (0, [[0, 0, 0]])
