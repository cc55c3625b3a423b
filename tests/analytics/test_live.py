"""The last minute, hour, day, ... from memory, against the store itself."""

from __future__ import annotations

import threading
from contextlib import closing

import numpy as np
import pytest
from a_collector import collector
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from some_windows import PATHS, T0, make_batch, make_window, sketch_of, windows

from analytics.collector.early import Early
from analytics.collector.live import Live
from analytics.frame import Frame
from analytics.horizons import HORIZONS
from analytics.store.sqlite import SqliteStore
from analytics.streams import Streams
from analytics.windows import PathWindow, Selector, SketchKey
from netslo.metrics import JITTER, RTT
from netslo.model import Quality

NOW_S = T0 + 30 * 86_400
DAY_S = 86_400
PATIENCE_S = 60.0  # with the thread that reads the past


class Room:
    """A store and what is kept up beside it."""

    def __init__(self, file, now_s: float = NOW_S) -> None:
        self.now_s = now_s
        self.store = SqliteStore.open(file)
        self.live = Live(self.store.streams, lambda: self.now_s)
        self.sequence = 0

    def keep(self, *contents: PathWindow, instance="one") -> None:
        batch = make_batch(*contents, sequence=self.sequence, instance=instance)
        self.sequence += 1
        self.store.append(batch, self.now_s)
        self.live.note(Frame.of(contents, self.store.streams))

    def check(self) -> None:
        """Compare every horizon with what the store says of the same span."""
        for horizon in HORIZONS:
            recent = self.live.read(horizon, PATIENCE_S)
            assert recent is not None
            kept = self.store.aggregate(Selector(), recent.view.start_s, recent.view.end_s)
            kept = {key: window for key, window in kept.items() if window.packets.due}
            assert set(recent) == set(kept)
            for key, window in kept.items():
                packets = recent.packets(key)
                for name in ("answered", "lost", "unmeasured"):
                    assert getattr(packets, name) == getattr(window.packets, name)
                for metric, expected in ((RTT, window.rtt()), (JITTER, window.jitter())):
                    found = recent.sketch(key, metric)
                    assert (found is None) == (expected is None)
                    if found is not None:
                        assert found == expected
                    assert (key in recent.streams(metric)) == (expected is not None)

    def close(self) -> None:
        self.live.stop()
        self.store.close()


AGES_S = st.sampled_from([10, 60, 200, 400, 4_000, 30_000, 90_000, 500_000, 2_300_000])


@settings(max_examples=15, deadline=None, phases=[Phase.generate])
@given(
    before=st.lists(windows(AGES_S.map(lambda age: NOW_S - age)), max_size=12),
    after=st.lists(windows(AGES_S.map(lambda age: NOW_S - age)), max_size=6),
    compacted=st.booleans(),
)
def test_a_restart_and_late_windows_change_nothing(
    tmp_path_factory, before, after, compacted
) -> None:
    file = tmp_path_factory.mktemp("live") / "store.sqlite"
    with closing(SqliteStore.open(file)) as store:
        for number, window in enumerate(before):
            store.append(make_batch(window, sequence=number, instance="zero"), NOW_S)
        if compacted:
            store.maintain(NOW_S)
    with closing(Room(file)) as room:
        room.live.start(room.store.history)
        room.check()
        for window in after:
            room.keep(window)
        room.check()
        room.now_s += 700
        room.check()


def test_what_is_committed_while_the_history_is_read_counts_once(tmp_path) -> None:
    with closing(Room(tmp_path / "store.sqlite")) as room:
        room.keep(make_window(NOW_S - DAY_S * 3))
        room.live._follower._waiting.clear()  # it is in the history
        gate, history = threading.Event(), room.store.history()
        frames = history.frames

        def slow(*span: int, **options):
            gate.wait(60)
            return frames(*span, **options)

        history.frames = slow
        room.live.start(lambda: history)
        assert room.live.read(HORIZONS[0], patience_s=0.01) is None
        room.keep(make_window(NOW_S - DAY_S * 3), make_window(NOW_S - 50))
        room.store.maintain(NOW_S)
        gate.set()
        room.check()


def test_windows_of_a_clock_ahead_of_ours_wait_for_their_time(tmp_path) -> None:
    with closing(Room(tmp_path / "store.sqlite")) as room:
        room.live.start(room.store.history)
        room.keep(make_window(NOW_S + 20), make_window(NOW_S - 10))
        room.check()
        room.now_s += 40
        room.check()
        recent = room.live.read(HORIZONS[0])
        assert [recent.packets(key).due for key in recent] == [6]


def test_a_clock_that_was_ahead_takes_nothing_from_the_figures_for_long(tmp_path, caplog) -> None:
    with closing(Room(tmp_path / "store.sqlite")) as room:
        errands = []
        room.live.start(room.store.history, errands.append)
        room.keep(make_window(NOW_S - 20), make_window(NOW_S - 90_000))
        room.check()
        room.now_s = NOW_S + 3 * DAY_S  # and no probe's is
        room.check()
        room.keep(make_window(NOW_S - 10, rtts=(0.5, 0.6)))
        room.check()
        room.now_s = NOW_S + 10
        assert room.live.read(HORIZONS[0]) is None  # rather than what is wrong
        assert room.live.read(HORIZONS[0]) is None
        assert len(errands) == 1
        room.keep(make_window(NOW_S))  # before the writer comes to it
        errands.pop()()
        room.keep(make_window(NOW_S, lost=1))  # and after
        room.check()
        assert not errands
    assert caplog.text.count("the clock was set") == 1


def test_windows_ahead_are_bounded_and_none_is_missing_once_our_clock_is_right(tmp_path) -> None:
    with closing(Room(tmp_path / "store.sqlite", NOW_S - DAY_S)) as room:
        room.live._follower._early = Early(points_max=20)
        errands = []
        room.live.start(room.store.history, errands.append)
        for back_s in range(300, 0, -10):  # probes know better than our clock
            room.keep(make_window(NOW_S - back_s))
        room.check()
        room.now_s = NOW_S
        room.live.read(HORIZONS[0], PATIENCE_S)
        while errands:
            errands.pop()()
        room.check()
        minute = room.live.read(HORIZONS[0], PATIENCE_S)
        assert sum(minute.packets(key).due for key in minute) == 6 * 3


@pytest.mark.parametrize("points_max", [10**6, 7])
def test_what_waits_for_its_time_is_taken_once(points_max) -> None:
    streams = Streams()
    frame = Frame.of([make_window(NOW_S + 10 * n) for n in range(5)], streams)
    early = Early(points_max)
    early.put(frame)
    assert early.due(NOW_S) == []
    assert not early.lacks(NOW_S)
    found = [early.due(NOW_S + 10 * n) for n in range(1, 7)]
    kept = sum(each.points for frames in found for each in frames)
    assert kept == (frame.points if points_max > frame.points else kept)
    assert kept <= points_max
    assert early.lacks(NOW_S + 50) == (kept < frame.points)


def test_a_store_that_cannot_be_read_gives_no_figures(tmp_path) -> None:
    with closing(Room(tmp_path / "store.sqlite")) as room:
        history = room.store.history()
        history.frames = lambda *_, **__: 1 / 0
        room.live.start(lambda: history)
        assert room.live.read(HORIZONS[0], PATIENCE_S) is None
        assert "division" in room.live.problem
        room.keep(make_window(NOW_S - 10))  # and nothing else is harmed


async def test_the_api_tells_every_horizon(tmp_path) -> None:
    now_s = [float(T0 + 120)]
    async with collector(tmp_path / "store.sqlite", clock=lambda: now_s[0]) as room:
        window = make_window(T0 + 100, rtts=(0.01, 0.02), lost=1)
        window.sketches[SketchKey(JITTER, Quality.C)] = sketch_of([0.001])
        await room.send(make_batch(window, make_window(T0 - 1000, rtts=np.full(8, 0.03))))
        status, answer = await room.get("/api/v1/horizons", path=PATHS[0].id)
        assert status == 200
        by_name = {each["horizon"]: each for each in answer["horizons"]}
        assert list(by_name) == ["1m", "5m", "1h", "6h", "1d", "28d"]
        assert [each["due"] for each in by_name.values()] == [3, 3, 11, 11, 11, 11]
        minute, month = by_name["1m"], by_name["28d"]
        assert (minute["lost"], minute["rtt"]["count"], month["rtt"]["count"]) == (1, 2, 10)
        assert month["rtt"]["quantiles"]["0.5"]["value"] == pytest.approx(0.03, rel=0.003)
        assert minute["jitter"]["pdv"]["max"] == 0.001
        assert minute["end"] - minute["start"] == 60
        metrics = await room.text("/metrics")
        assert 'window="1h"' in metrics
        for wrong in ({}, {"path": "nowhere"}, {"path": PATHS[0].id, "range": "5m"}):
            status, answer = await room.get("/api/v1/horizons", **wrong)
            assert status == 400, answer
