"""Packed points come back as they were, or not at all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from some_windows import T0, make_window, part_of, windows

from analytics import _kernels
from analytics.blobs import DamagedBlob, pack, pack_parts, unpack
from analytics.frame import Frame, concatenated
from analytics.streams import Streams

FEW = 50  # examples, of many windows each
STARTS = st.integers(0, 10**6).map(lambda k: T0 + 10 * k)


pytestmark = pytest.mark.usefixtures("kernels")


def same(one: Frame, other: Frame) -> bool:
    """Whether two frames have the same points, bit for bit and in the same order."""
    return repr(_all(one)) == repr(_all(other))


def _all(frame: Frame) -> list[object]:
    table = frame.distributions
    sides = [x for s in (table.positive, table.negative) for x in (np.diff(s.offsets), s.counts)]
    firsts = [
        np.where(np.diff(s.offsets) > 0, s.first, 0) for s in (table.positive, table.negative)
    ]
    s = table.statistics
    rows = [table.stream, table.start_s, table.scale, s.sum, s.min, s.max, s.zero_count]
    rows += [s.nan_count, s.positive_infinity_count, s.negative_infinity_count]
    numbers = [x for t in (frame.counters, frame.gauges) for x in (t.stream, t.start_s, t.value)]
    return [array.tolist() for array in (*rows, *sides, *firsts, *numbers)]


@settings(deadline=None, max_examples=FEW)
@given(st.lists(st.lists(windows(STARTS), max_size=4), max_size=4))
def test_many_blobs_come_back_in_order(groups) -> None:
    streams = Streams()
    frames = [Frame.of(contents, streams) for contents in groups]
    assert same(unpack([pack(frame) for frame in frames], 10), concatenated(frames))


@settings(deadline=None, max_examples=FEW)
@given(st.lists(windows(STARTS), max_size=8), st.sampled_from([300, 86400]), st.booleans())
def test_parts_are_packed_as_if_each_were_alone(contents, row_s, together) -> None:
    streams = Streams()
    places, frame, edges = Frame.of(contents, streams).in_parts(streams.series_of(), row_s)
    alone = [
        pack(part_of(frame, begins.tolist(), ends.tolist()))
        for begins, ends in itertools.pairwise(edges)
    ]
    with pytest.MonkeyPatch.context() as patch:
        if not together:
            patch.setattr(zstandard, "backend_features", set())
        assert pack_parts(frame, edges) == alone
    assert len(alone) == len(places)


def test_both_ways_write_the_same_octets(monkeypatch) -> None:
    frame = Frame.of([make_window(rtts=[-1.0, 0.0, 1e300, np.nan, 0.02], lost=3)], Streams())
    octets = pack(frame)
    for loaded in (True, False):
        if not loaded or _kernels.find_spec("numba"):
            monkeypatch.setattr(_kernels, "_loaded", loaded)
            monkeypatch.setattr(_kernels, "_enabled", loaded)
            assert pack(frame) == octets


def test_the_largest_numbers_fit() -> None:
    frame = Frame.of([make_window()], Streams())
    frame.counters.value[:] = 2**64 - 1
    frame.counters.start_s[:] = 2**62
    frame.distributions.statistics.zero_count[:] = 2**64 - 1
    frame.distributions.positive.counts[:] = 2**64 - 1
    frame.distributions.positive.first[:] = -(2**40)
    assert same(unpack([pack(frame)], 10), frame)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_damage_is_named_and_never_read(data) -> None:
    octets = bytearray(pack(Frame.of([make_window(lost=1), make_window(T0 + 10)], Streams())))
    if data.draw(st.booleans()):
        del octets[data.draw(st.integers(0, len(octets) - 1)) :]
    else:
        octets[data.draw(st.integers(0, len(octets) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = unpack([bytes(octets)], 10)
    except DamagedBlob:
        return
    # A bit of zstd's header that says nothing of the content may differ.
    assert same(found, Frame.of([make_window(lost=1), make_window(T0 + 10)], Streams()))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.integers(0, 3))
def test_any_octets_below_the_checksum_are_read_or_refused(octets, blobs) -> None:
    packed = zstandard.ZstdCompressor(write_checksum=True).compress(octets)
    try:
        unpack([packed] * (blobs + 1), 10)
    except DamagedBlob:
        return
