"""Packed days against what was put in, by kernel and without."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics import _kernels, day_layout
from analytics.blobs import pack
from analytics.day_columns import Days, add_days, pack_days, unpack_days
from analytics.day_layout import STEP_S, STEPS, DamagedDay
from analytics.frame import Frame
from analytics.steps import Steps
from analytics.tables import Numbers

DAY_S = STEP_S * STEPS
T0 = 1_800_057_600  # midnight, UTC
STREAMS = 12
SERIES_OF = np.arange(STREAMS, dtype=np.int32) // 4  # three series of four streams

VALUES = st.sampled_from(
    [0, 1, 2, 254, 255, 256, 65_534, 65_535, 2**32 - 2, 2**32 - 1, 2**32, 2**40, 2**63, 2**64 - 1]
)
SPOTS = st.dictionaries(
    st.tuples(st.integers(0, 2), st.integers(0, STREAMS - 1), st.integers(0, STEPS - 1)),
    VALUES,
    max_size=60,
)


@st.composite
def days_of_traffic(draw):
    """Whole columns as they are: the same nearly always, or what another lacks."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    usual, share = draw(VALUES), draw(st.sampled_from([0, 0.01, 0.3, 0.6]))
    points = {}
    for day in draw(st.sets(st.integers(0, 2), max_size=2)):
        bad = rng.poisson(share, STEPS) + (rng.random(STEPS) < 0.01) * 300
        there = rng.random(STEPS) < draw(st.sampled_from([0.5, 1]))
        for stream, sign in enumerate(draw(st.lists(st.sampled_from([-1, 0, 1]), max_size=4))):
            for step in np.flatnonzero(there).tolist():
                points[day, stream, step] = (usual + sign * int(bad[step])) % 2**64
    return points


POINTS = SPOTS | days_of_traffic()


def numbers_of(rows) -> Numbers:
    stream, start_s, value = zip(*rows, strict=True) if rows else ((), (), ())
    return Numbers(
        np.array(stream, dtype=np.int32),
        np.array(start_s, dtype=np.int64),
        np.array(value, dtype=np.uint64),
    )


def frame_of(rows) -> Frame:
    empty = Frame.empty(STEP_S)
    return Frame(empty.distributions, numbers_of(rows), empty.gauges, STEP_S)


def columns_of_octets(rows, start_s: int) -> bytes:
    """Pack a day as store version 7 had it; the layout is in `analytics.older_days`."""
    streams = sorted({row[0] for row in rows})
    steps = np.zeros((len(streams), STEPS), dtype="<u8")
    for stream, at_s, value in rows:
        steps[streams.index(stream), (at_s - start_s) // STEP_S] = value + 1
    widths = [next(w for w in (1, 2, 4, 8) if int(row.max()) < 256**w) for row in steps]
    planes = steps.view(np.uint8).reshape(len(streams), STEPS, 8).transpose(0, 2, 1)
    octets = np.array([1, len(streams), *streams], dtype="<u4").tobytes() + bytes(widths)
    octets += b"".join(own[:width].tobytes() for own, width in zip(planes, widths, strict=True))
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(octets)


def packed(points, older=None) -> Days:
    """Pack points, by (day, stream, step); some days as older stores have them."""
    starts_s, blobs = [], []
    for day in range(3):
        start_s, layout = T0 + day * DAY_S, (older or {}).get(day, 2)
        rows = [(s, start_s + n * STEP_S, v) for (d, s, n), v in points.items() if d == day]
        of_series = [[r for r in rows if SERIES_OF[r[0]] == n] for n in range(3)]
        starts_s += [start_s] * 3
        if layout == 0:
            blobs += [pack(frame_of(own)) for own in of_series]
        elif layout == 1:
            blobs += [columns_of_octets(own, start_s) for own in of_series]
        else:
            blobs += pack_days(numbers_of(rows), SERIES_OF, start_s, [0, 1, 2])
    return Days(starts_s, blobs)


@pytest.fixture(params=["kernel", "plainly"])
def way(request, monkeypatch):
    if request.param == "kernel" and not _kernels.load():
        pytest.skip("needs numba")
    monkeypatch.setattr(_kernels, "pays", lambda _: request.param == "kernel")


# Version 7 had no room for the greatest number; nothing counts as far in 5 min.
OLDER = st.dictionaries(st.integers(0, 2), st.sampled_from([0, 1]))


@settings(max_examples=60, deadline=None)
@given(POINTS, OLDER)
def test_every_point_comes_back(points, older) -> None:
    points = {at: min(v, 2**64 - 2) if older.get(at[0]) == 1 else v for at, v in points.items()}
    wanted = sorted((s, T0 + d * DAY_S + n * STEP_S, v) for (d, s, n), v in points.items())
    for by_kernel in (False, True):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(_kernels, "pays", lambda _, way=by_kernel: way and _kernels.load())
            frame = unpack_days(packed(points, older))
        rows = (each.tolist() for each in (frame.counters.stream, frame.counters.start_s))
        assert sorted(zip(*rows, frame.counters.value.tolist(), strict=True)) == wanted


def added(days, start_s: int, span: tuple[int, int], places, rows: int, columns: int):
    out = np.ones((rows, columns), dtype=np.uint32)
    steps = Steps(start_s, STEP_S, lambda: places, out)
    steps.add_days(days, *(start_s + n * STEP_S for n in span))
    return out


@settings(max_examples=60, deadline=None)
@given(
    POINTS,
    OLDER,
    st.integers(-400, 1000),
    st.tuples(st.integers(0, 500), st.integers(0, 500)).map(sorted),
    st.permutations([0, 1, 2, 3, -1, -1, -1, -1, 4, -1, -1, -1]),
)
def test_kernel_and_numpy_add_what_a_loop_adds(points, older, begin, span, placed) -> None:
    points = {at: min(v, 2**64 - 2) if older.get(at[0]) == 1 else v for at, v in points.items()}
    days, places = packed(points, older), np.array(placed, dtype=np.int64)
    start_s, columns = T0 + begin * STEP_S, 500
    counted = np.ones((5, columns), dtype=object)
    for (day, stream, step), value in points.items():
        column = day * STEPS + step - begin
        if placed[stream] >= 0 and span[0] <= column < span[1]:
            counted[placed[stream], column] += value
    wanted = (counted % 2**32).astype(np.uint32)  # what is more than a column holds goes around
    found = []
    for by_kernel in (False, True):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(_kernels, "pays", lambda _, way=by_kernel: way and _kernels.load())
            found.append(added(days, start_s, tuple(span), places, 5, columns))
    assert np.array_equal(found[0], wanted)
    assert np.array_equal(found[1], wanted)


@pytest.mark.usefixtures("way")
def test_a_series_may_have_a_thousand_streams() -> None:
    rng, streams = np.random.default_rng(2), 1000
    stream = np.repeat(np.arange(streams, dtype=np.int32), STEPS)
    value = rng.integers(0, 2**20, streams * STEPS).astype(np.uint64)
    start_s = np.tile(T0 + STEP_S * np.arange(STEPS), streams)
    blobs = pack_days(Numbers(stream, start_s, value), np.zeros(streams, dtype=np.int32), T0, [0])
    found = unpack_days(Days([T0], blobs)).counters
    assert np.array_equal(found.stream, stream)
    assert np.array_equal(found.start_s, start_s)
    assert np.array_equal(found.value, value)


@pytest.mark.usefixtures("way")
def test_a_stream_that_nobody_knows_yet_is_left_out() -> None:
    days = packed({(0, 3, 0): 5, (0, 1, 0): 7})
    places = np.zeros(2, dtype=np.int64)
    assert added(days, T0, (0, STEPS), places, 1, STEPS)[0, :2].tolist() == [8, 1]


def with_its_sum(octets: bytes) -> bytes:
    """Return a day as if it had been written like this: with a checksum that is right."""
    return octets + zlib.crc32(octets).to_bytes(4, "little")


@pytest.fixture
def refused(way):
    """Say whether a blob is refused, however it is read."""

    def is_refused(blob: bytes) -> bool:
        places, out = np.zeros(STREAMS, dtype=np.int64), np.zeros((1, STEPS), dtype=np.uint32)
        found = []
        for read in (unpack_days, lambda days: add_days(days, T0, (0, STEPS), places, out)):
            try:
                read(Days([T0], [blob]))
                found.append(False)
            except DamagedDay:
                found.append(True)
        assert len(set(found)) == 1
        return found[0]

    return is_refused


DAY_OF_THREE = {(0, s, n): 300 + (n % (s + 2)) for s in range(3) for n in range(0, STEPS, s + 1)}


def test_damage_is_said(refused) -> None:
    sound = packed(DAY_OF_THREE).octets[0]
    assert not refused(sound)
    for at in range(len(sound)):
        assert refused(sound[:at])
        assert refused(sound[:at] + bytes((sound[at] ^ 4,)) + sound[at + 1 :])
    assert refused(sound + b"\0")
    assert refused(b"nonsense")


def test_what_no_store_writes_is_refused_even_with_a_right_checksum(refused) -> None:
    plain = packed(DAY_OF_THREE).octets[0][:-4]
    assert not refused(with_its_sum(plain))
    for octets in (b"", plain[:11], plain + b"\0", b"\3" + plain[1:]):
        assert refused(with_its_sum(octets))
    for end in range(len(plain)):
        assert refused(with_its_sum(plain[:end]))
    for count_at in (4, 8):  # of columns, of residues
        for count in (0, 2, 4, 2**31, 2**32 - 1):
            octets = plain[:count_at] + count.to_bytes(4, "little") + plain[count_at + 4 :]
            assert refused(with_its_sum(octets))
    assert refused(with_its_sum(plain[:20] + b"\xff" + plain[21:]))  # a residue there is not
    first = 12 + 3 * 12
    for octet, flags in ((65, 0), (255, 0), (plain[first], 4)):
        octets = plain[:first] + bytes((octet, flags)) + plain[first + 2 :]
        assert refused(with_its_sum(octets))


def test_what_no_older_store_wrote_is_refused_too(refused) -> None:
    rows = [(0, T0 + n * STEP_S, 300) for n in range(STEPS)]
    plain = zstandard.ZstdDecompressor().decompress(columns_of_octets(rows, T0))
    assert not refused(columns_of_octets(rows, T0))
    assert not refused(pack(frame_of(rows)))
    for octets in (
        plain[:-1],
        plain + b"\0",
        plain[:8] + b"\xff" * 4 + plain[12:],  # a stream
        plain[:12] + b"\3" + plain[13:],  # a width
        plain[:4] + b"\xff" * 4 + plain[8:],  # a count
        b"\2" + plain[1:],
        b"",
    ):
        assert refused(zstandard.ZstdCompressor(write_checksum=True).compress(octets))
    for start_s in (T0 - STEP_S, T0 + DAY_S):  # not of that day
        assert refused(pack(frame_of([(0, start_s, 300)])))
    assert refused(columns_of_octets(rows, T0)[:-1])


def peak_of(work) -> int:
    """Return how many octets more are in use at most; numpy tells of its arrays."""
    work()  # kernels are loaded, caches filled
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("layout", [0, 1])
def test_older_days_are_added_one_at_a_time(layout) -> None:
    rows = [(s, T0 + n * STEP_S, 300) for s in range(4) for n in range(STEPS)]
    blob = columns_of_octets(rows, T0) if layout else pack(frame_of(rows))
    places, out = np.zeros(STREAMS, dtype=np.int64), np.zeros((1, STEPS), dtype=np.uint32)

    def add(days: int):
        return lambda: add_days(Days([T0] * days, [blob] * days), T0, (0, STEPS), places, out)

    assert peak_of(add(100)) < 2 * peak_of(add(1))


@pytest.mark.usefixtures("way")
def test_no_more_room_is_made_than_a_day_says_that_it_needs() -> None:
    rng = np.random.default_rng(1)
    points = {(0, s, n): int(rng.integers(2**32)) for s in range(4) for n in range(STEPS)}
    days = Days([T0] * 20, packed(points).octets[:1] * 20)
    counters = unpack_days(days).counters
    needed = counters.stream.nbytes + counters.start_s.nbytes + counters.value.nbytes
    assert peak_of(lambda: unpack_days(days)) < 4 * needed


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_kernel_and_numpy_agree_on_any_octets(data) -> None:
    plain = bytearray(packed(data.draw(POINTS)).octets[data.draw(st.integers(0, 8))][:-4])
    for at in data.draw(st.lists(st.integers(0, len(plain) - 1), max_size=4)):
        plain[at] = data.draw(st.integers(0, 255))
    days = Days([T0], [with_its_sum(bytes(plain))])
    places, found = np.arange(STREAMS, dtype=np.int64), []
    for by_kernel in (False, True):
        out = np.zeros((STREAMS, STEPS), dtype=np.uint32)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(_kernels, "pays", lambda _, way=by_kernel: way and _kernels.load())
            try:
                counters = unpack_days(days).counters
                add_days(days, T0, (0, STEPS), places, out)
                parts = counters.stream, counters.start_s, counters.value, out
                found.append([each.tolist() for each in parts])
            except DamagedDay:
                found.append(None)
    assert found[0] == found[1]


def test_what_is_kept_of_a_day_is_small() -> None:
    rng = np.random.default_rng(1)
    bad = rng.poisson(0.3, STEPS)
    columns = [1500 - bad, bad] * 4
    points = {(0, s, n): int(v) for s, own in enumerate(columns) for n, v in enumerate(own)}
    rows = [(s, T0 + n * STEP_S, v) for (_, s, n), v in points.items()]
    (octets,) = pack_days(numbers_of(rows), np.zeros(STREAMS, dtype=np.int32), T0, [0])
    assert len(octets) < len(columns) * day_layout.COLUMN.itemsize + 100
