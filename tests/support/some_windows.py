"""Windows and batches, given and random, for tests of any floor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import numpy as np
from hypothesis import strategies as st

from analytics.frame import Frame
from analytics.otlp.instruments import COUNTS, DIRECTED
from analytics.sketch import Sketch
from analytics.windows import (
    DIRECTIONS,
    Batch,
    CountKey,
    PacketCounts,
    PathWindow,
    SeriesKey,
    SketchKey,
    SloCounts,
)
from netslo.metrics import DELAY, DELAY_VARIATION, IPDV, JITTER, LOSS_PERIOD, RTT
from netslo.model import Path, ProbeKind, Quality, Window

T0 = 1_800_000_000  # a Unix time that is a multiple of 300

PATHS = [
    Path("london", "leeds", "ef"),
    Path("london", "leeds", "be"),
    Path("leeds", "dundee", "ef"),
]
COUNT = st.integers(0, 50)
COUNT_KEYS = [
    CountKey(metric, what, direction)
    for metric, (_, values) in COUNTS.items()
    for what in values or ("",)
    for direction in (DIRECTIONS if metric in DIRECTED else ("",))
]
OTHER_COUNTS = st.dictionaries(st.sampled_from(COUNT_KEYS), st.integers(1, 50), max_size=3)
CLOCK_STATES = st.sampled_from([(None, None, None), (0.001, -0.002, 0.003), (0.5, 7.25, 0.0)])


def sketch_of(values) -> Sketch:
    sketch = Sketch()
    sketch.add(np.asarray(values, dtype=np.float64))
    return sketch


def make_window(
    start_s: int = T0, path: Path = PATHS[0], rtts=(0.010, 0.012, 0.020), **counts: int
) -> PathWindow:
    """Return a window in which `rtts` were answered."""
    sketches = {SketchKey(RTT, Quality.C): sketch_of(rtts)} if len(rtts) else {}
    good = sum(rtt <= 0.015 for rtt in rtts)
    bad = len(rtts) - good + counts.get("lost", 0)
    return PathWindow(
        SeriesKey(path),
        Window(start_s),
        PacketCounts(answered=len(rtts), **counts),
        sketches,
        {"latency": SloCounts(good, bad, counts.get("unmeasured", 0))},
        0.001,
    )


@st.composite
def windows(draw, starts=st.integers(0, 90).map(lambda k: T0 + 10 * k)) -> PathWindow:
    """Any window that a probe could send."""
    keys = [
        SketchKey(RTT, Quality.C),
        SketchKey(RTT, Quality.A),
        SketchKey(JITTER, Quality.C),
        SketchKey(DELAY, Quality.B, "forward"),
        SketchKey(IPDV, Quality.A),
        SketchKey(DELAY_VARIATION, Quality.A, "reverse"),
        SketchKey(LOSS_PERIOD),
    ]
    values = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=8)
    return PathWindow(
        SeriesKey(draw(st.sampled_from(PATHS)), draw(st.sampled_from(list(ProbeKind)[:2]))),
        Window(draw(starts)),
        PacketCounts(*(draw(COUNT) for _ in range(5))),
        {key: sketch_of(draw(values)) for key in draw(st.sets(st.sampled_from(keys)))},
        {
            slo: SloCounts(draw(COUNT), draw(COUNT), draw(COUNT))
            for slo in draw(st.sets(st.sampled_from(["latency", "loss"])))
        },
        draw(st.none() | st.floats(0, 10)),
        Counter(draw(OTHER_COUNTS)),
        *draw(CLOCK_STATES),
    )


def make_batch(*contents: PathWindow, sequence: int = 0, instance: str = "one") -> Batch:
    site = contents[0].key.path.src if contents else "london"
    return Batch(site, instance, sequence, contents)


def part_of(frame: Frame, begins: list[int], ends: list[int]) -> Frame:
    """Return the rows from `begins` to `ends` of the three tables of a frame."""
    rows = (np.arange(begin, end) for begin, end in zip(begins, ends, strict=True))
    tables = (table.taken(some) for table, some in zip(frame.tables, rows, strict=True))
    return Frame(*tables, frame.length_s)


def counters_of(store, start_s: int, end_s: int) -> Iterator[tuple[int, int, int]]:
    """Yield the stream, beginning and value of each counter of 5 min, as who reads weeks has it."""
    with closing(store.history()) as history:
        for frame in history.frames(start_s, end_s, 300, distributions=False):
            numbers = frame.counters
            rows = (each.tolist() for each in (numbers.stream, numbers.start_s, numbers.value))
            yield from zip(*rows, strict=True)
