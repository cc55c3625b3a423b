"""Packed days against what was put in, by kernel and without."""

from __future__ import annotations

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics import _kernels, day_columns
from analytics.blobs import DamagedBlob, pack
from analytics.day_columns import STEP_S, STEPS, Day, add_days, pack_days, unpack_days
from analytics.frame import Frame
from analytics.steps import Steps
from analytics.tables import Numbers

DAY_S = STEP_S * STEPS
T0 = 1_800_057_600  # midnight, UTC
STREAMS = 12
SERIES_OF = np.arange(STREAMS, dtype=np.int32) // 4  # three series of four streams

POINTS = st.dictionaries(
    st.tuples(st.integers(0, 2), st.integers(0, STREAMS - 1), st.integers(0, STEPS - 1)),
    st.sampled_from([0, 1, 254, 255, 256, 65_534, 65_535, 2**32 - 2, 2**32 - 1, 2**40]),
    max_size=60,
)


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


def packed(points, older=()) -> list[Day]:
    """Pack points, by (day, stream, step); some days as an older store has them."""
    found = []
    for day in range(3):
        start_s = T0 + day * DAY_S
        rows = [(s, start_s + n * STEP_S, v) for (d, s, n), v in points.items() if d == day]
        if day in older:
            of_series = ([r for r in rows if SERIES_OF[r[0]] == n] for n in range(3))
            found += [Day(n, start_s, pack(frame_of(own))) for n, own in enumerate(of_series)]
        else:
            found += pack_days(numbers_of(rows), SERIES_OF, start_s, [0, 1, 2])
    return found


@pytest.fixture(params=["kernel", "plainly"])
def way(request, monkeypatch):
    if request.param == "kernel" and not _kernels.load():
        pytest.skip("needs numba")
    monkeypatch.setattr(_kernels, "pays", lambda _: request.param == "kernel")


@settings(max_examples=60)
@given(POINTS, st.sets(st.integers(0, 2)))
def test_every_point_comes_back(points, older) -> None:
    frame = unpack_days(packed(points, older))
    rows = (each.tolist() for each in (frame.counters.stream, frame.counters.start_s))
    places = zip(*rows, frame.counters.value.tolist(), strict=True)
    assert sorted(places) == sorted(
        (s, T0 + d * DAY_S + n * STEP_S, v) for (d, s, n), v in points.items()
    )


def added(days, start_s: int, span: tuple[int, int], places, rows: int, columns: int):
    out = np.ones((rows, columns), dtype=np.uint32)
    steps = Steps(start_s, STEP_S, lambda: places, out)
    steps.add_days(days, *(start_s + n * STEP_S for n in span))
    return out


@settings(max_examples=60, deadline=None)
@given(
    POINTS,
    st.sets(st.integers(0, 2)),
    st.integers(-400, 1000),
    st.tuples(st.integers(0, 500), st.integers(0, 500)).map(sorted),
    st.permutations([0, 1, 2, 3, -1, -1, -1, -1, 4, -1, -1, -1]),
)
def test_kernel_and_numpy_add_what_a_loop_adds(points, older, begin, span, placed) -> None:
    days, places = packed(points, older), np.array(placed, dtype=np.int64)
    start_s, columns = T0 + begin * STEP_S, 500
    counted = np.ones((5, columns), dtype=np.int64)
    for (day, stream, step), value in points.items():
        column = day * STEPS + step - begin
        if placed[stream] >= 0 and span[0] <= column < span[1]:
            counted[placed[stream], column] += value
    wanted = counted.astype(np.uint32)  # what is more than a column holds goes around
    found = []
    for by_kernel in (False, True):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(_kernels, "pays", lambda _, way=by_kernel: way and _kernels.load())
            patched.setattr(day_columns, "_AT_ONCE", 2)
            found.append(added(days, start_s, tuple(span), places, 5, columns))
    assert np.array_equal(found[0], wanted)
    assert np.array_equal(found[1], wanted)


@pytest.mark.usefixtures("way")
def test_a_stream_that_nobody_knows_yet_is_left_out() -> None:
    days = packed({(0, 3, 0): 5, (0, 1, 0): 7})
    places = np.zeros(2, dtype=np.int64)
    assert added(days, T0, (0, STEPS), places, 1, STEPS)[0, :2].tolist() == [8, 1]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("cut", [0, 1, 4, 7, 9, 12, 40, -1])
def test_damage_is_said(cut) -> None:
    plain = zstandard.ZstdDecompressor().decompress(packed({(0, 1, 5): 300})[0].octets)
    damaged = [plain[:cut], b"\2" + plain[1:], plain + b"\0", b"\1\0\0\0\xff\xff\xff\x7f"]
    damaged.append(plain[:12] + b"\3" + plain[13:])  # a width that there is not
    places, out = np.zeros(STREAMS, dtype=np.int64), np.zeros((1, STEPS), dtype=np.uint32)
    for octets in damaged:
        day = Day(0, T0, zstandard.ZstdCompressor().compress(octets))
        with pytest.raises(DamagedBlob):
            add_days([day], T0, (0, STEPS), places, out)
        with pytest.raises(DamagedBlob):
            unpack_days([day])
    with pytest.raises(DamagedBlob):
        add_days([Day(0, T0, b"nonsense")], T0, (0, STEPS), places, out)


def test_a_processor_without_calls_for_many_reads_the_same(monkeypatch) -> None:
    days = packed({(1, s, 7 * s): 1000 + s for s in range(STREAMS)})
    places = np.arange(STREAMS)
    one = added(days, T0, (0, 2 * STEPS), places, STREAMS, 2 * STEPS)
    monkeypatch.setattr(zstandard, "backend_features", set())
    assert np.array_equal(added(days, T0, (0, 2 * STEPS), places, STREAMS, 2 * STEPS), one)
    assert one.sum() == one.size + sum(1000 + s for s in range(STREAMS))
