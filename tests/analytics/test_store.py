"""The store against a list of windows in memory."""

import copy
import pathlib
import sqlite3
import threading
from contextlib import closing
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_windows import PATHS, T0, make_batch, make_window, windows

from analytics.frame import Frame
from analytics.store import bodies, compaction, maintenance
from analytics.store.arrivals import arrival_of
from analytics.store.sqlite import SqliteStore
from analytics.streams import Streams
from analytics.windows import PathWindow, Selector, SeriesKey, SloCounts
from netslo.errors import NetsloError
from netslo.model import Path, Window

HOT_S, WARM_S = 1800, 7200
RETENTIONS = {"hot_retention_s": HOT_S, "warm_retention_s": WARM_S, "counts_retention_s": 0}


@pytest.fixture
def file(tmp_path) -> pathlib.Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(file):
    store = SqliteStore.open(file, **RETENTIONS)
    store.declare_objectives({"latency": "0.99", "loss": "0.999"}, T0 - 3600)
    yield store
    store.close()


def merged(contents, start_s, end_s) -> dict[SeriesKey, PathWindow]:
    """The naive oracle: add up a list."""
    whole: dict[SeriesKey, PathWindow] = {}
    for window in contents:
        if start_s <= window.window.start_s < end_s:
            span = PathWindow(window.key, Window(start_s, end_s - start_s))
            whole.setdefault(window.key, span).absorb(window)
    return whole


def same(found: dict[SeriesKey, PathWindow], expected: dict[SeriesKey, PathWindow]) -> bool:
    return found.keys() == expected.keys() and all(
        found[key].packets == expected[key].packets
        and found[key].sketches == expected[key].sketches
        and found[key].slo == expected[key].slo
        for key in found
    )


def test_a_batch_is_kept_and_counted_once(store) -> None:
    batch = make_batch(make_window(lost=1), make_window(T0 + 10))
    assert store.append(batch, T0 + 20).windows == 2
    assert store.append(batch, T0 + 30).duplicate
    (window,) = store.aggregate(Selector(), T0, T0 + 300).values()
    assert (window.packets.answered, window.packets.lost) == (6, 1)
    assert store.packet_totals()[window.key].due == 7


def test_windows_come_back_as_they_were(store) -> None:
    contents = [make_window(T0 + 10 * k, lost=k) for k in range(5)]
    store.append(make_batch(*contents), T0 + 60)
    assert list(store.windows(Selector(), T0 + 10, T0 + 40)) == contents[1:4]


def test_a_selector_selects(store) -> None:
    store.append(make_batch(*(make_window(path=path) for path in PATHS)), T0)
    only = Selector(dst="leeds", traffic_class="be")
    assert [k.path for k in store.aggregate(only, T0, T0 + 10)] == [PATHS[1]]
    assert len(store.series()) == 3


def test_five_minutes_are_the_sum_of_their_windows(store) -> None:
    contents = [make_window(T0 + 10 * k, rtts=[0.01 * (k + 1)]) for k in range(60)]
    store.append(make_batch(*contents), T0 + 600)
    found = list(store.windows(Selector(), T0, T0 + 600, 300))
    assert [w.window for w in found] == [Window(T0, 300), Window(T0 + 300, 300)]
    assert [w.packets.answered for w in found] == [30, 30]


@settings(max_examples=40, deadline=None)  # of up to twelve batches each
@given(st.data())
def test_it_agrees_with_a_list_whatever_the_order_and_the_maintenance(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("store") / "store.sqlite"
    retentions = {"hot_retention_s": HOT_S, "warm_retention_s": 10 * WARM_S}
    with closing(SqliteStore.open(file, **retentions)) as store:
        agree_with_a_list(store, data)


def agree_with_a_list(store, data) -> None:
    store.declare_objectives({"latency": "0.99", "loss": "0.999"}, T0)
    kept, now_s = [], T0 + 1000
    for sequence in range(data.draw(st.integers(1, 6))):
        contents = data.draw(st.lists(windows(), max_size=4))
        batch = make_batch(*contents, sequence=sequence)
        for _ in range(data.draw(st.integers(1, 2))):  # now and then it comes twice
            store.append(batch, now_s)
        kept += copy.deepcopy(contents)
        now_s += data.draw(st.sampled_from([0, 10, 400, 2500]))
        if data.draw(st.booleans()):
            store.maintain(now_s)
    assert same(store.aggregate(Selector(), T0 - 300, T0 + 1200), merged(kept, T0 - 300, T0 + 1200))
    sums: dict[tuple[str, str], SloCounts] = {}
    for window in kept:
        for slo, counts in window.slo.items():
            sums.setdefault((window.key.path.id, slo), SloCounts()).add(counts)
    for totals in (store.slo_counts(Selector(), T0, T0 + 1200), store.slo_totals()):
        assert {(t.path.id, t.slo): t.counts for t in totals} == sums


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_range_over_days_is_exact_whichever_tiers_answer(tmp_path_factory, data) -> None:
    file = tmp_path_factory.mktemp("store") / "store.sqlite"
    tens = st.integers(0, 3 * 8640).map(lambda k: T0 + 10 * k)
    kept = []
    with closing(SqliteStore.open(file, hot_retention_s=30 * 86400)) as store:
        store.declare_objectives({"latency": "0.99", "loss": "0.999"}, T0 - 86400)
        for sequence in range(data.draw(st.integers(1, 4))):
            contents = data.draw(st.lists(windows(tens), max_size=5))
            store.append(make_batch(*contents, sequence=sequence), T0)
            kept += copy.deepcopy(contents)
            if data.draw(st.booleans()):
                store.maintain(data.draw(st.integers(0, 4 * 8640).map(lambda k: T0 + 10 * k)))
        for start_s, end_s in data.draw(st.lists(st.tuples(tens, tens), min_size=1, max_size=3)):
            assert same(store.aggregate(Selector(), start_s, end_s), merged(kept, start_s, end_s))
            expected: dict[tuple[str, str], SloCounts] = {}
            for window in kept:
                if start_s <= window.window.start_s < end_s:
                    for slo, counts in window.slo.items():
                        place = (window.key.path.id, slo)
                        expected.setdefault(place, SloCounts()).add(counts)
            found = store.slo_counts(Selector(), start_s, end_s)
            assert {(t.path.id, t.slo): t.counts for t in found} == expected
        days = list(store.windows(Selector(), T0, T0 + 4 * 86400, 86400))
        assert sum(w.packets.due for w in days) == sum(w.packets.due for w in kept)


def test_a_compaction_that_is_killed_has_not_happened(store, file, monkeypatch) -> None:
    contents = [make_window(T0 + 10 * k, lost=1) for k in range(60)]
    for sequence, window in enumerate(contents):
        store.append(make_batch(window, sequence=sequence), T0 + 600)
    before = store.aggregate(Selector(), T0, T0 + 600), store.slo_totals(), store.packet_totals()

    def killed(*_arguments) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compaction, "add_totals", killed)  # its rows are written by then
    with pytest.raises(KeyboardInterrupt):
        store.maintain(T0 + 1000)
    monkeypatch.undo()
    store.close()
    for _ in range(2):
        with closing(SqliteStore.open(file)) as again:
            found = again.aggregate(Selector(), T0, T0 + 600)
            assert (found, again.slo_totals(), again.packet_totals()) == before
            again.maintain(T0 + 1000)
    with sqlite3.connect(file) as raw:
        assert raw.execute("SELECT count(*) FROM bodies").fetchone() == (0,)


def test_batches_committed_together_are_known_one_by_one(store) -> None:
    arrivals = [
        arrival_of(make_batch(make_window(T0 + 10 * k), sequence=k), store.streams)
        for k in (0, 1, 1, 2)
    ]
    found = store.append_all(arrivals, T0 + 60)
    assert [appended.duplicate for appended in found] == [False, False, True, False]
    assert store.packet_totals()[make_window().key].due == 9


def test_ranges_that_begin_within_an_interval_are_exact_while_it_is_hot(store) -> None:
    contents = [make_window(T0 + 10 * k, lost=1) for k in range(120)]
    store.append(make_batch(*contents), T0 + 1200)
    store.maintain(T0 + 1200)
    for start_s, end_s in [(T0 + 10, T0 + 1190), (T0 + 290, T0 + 310), (T0 + 20, T0 + 30)]:
        found = store.aggregate(Selector(), start_s, end_s)
        assert same(found, merged(contents, start_s, end_s))
        (totals,) = store.slo_counts(Selector(), start_s, end_s)
        assert totals.counts.events == 4 * (end_s - start_s) // 10


def test_a_late_window_lands_in_its_own_time_even_where_10_s_windows_are_gone(store) -> None:
    store.append(make_batch(make_window(T0)), T0 + 20)
    store.maintain(T0 + 2 * HOT_S)
    late = make_batch(make_window(T0 + 10, lost=2), sequence=1)
    assert store.append(late, T0 + 2 * HOT_S).windows == 1
    store.maintain(T0 + 2 * HOT_S + 600)
    (window,) = store.aggregate(Selector(), T0, T0 + 300).values()
    assert (window.packets.answered, window.packets.lost) == (6, 2)


def test_what_is_older_than_every_retention_is_refused_and_said(store) -> None:
    appended = store.append(make_batch(make_window(T0), make_window(T0 + WARM_S)), T0 + WARM_S + 60)
    assert (appended.windows, appended.expired) == (1, 1)
    assert store.packet_totals()[make_window().key].due == 3


def test_totals_outlive_the_windows(store) -> None:
    store.append(make_batch(make_window(T0, lost=1)), T0)
    newest_s = T0 + 2 * WARM_S
    store.append(make_batch(make_window(newest_s, rtts=()), sequence=1), newest_s)
    store.maintain(newest_s)
    assert not store.aggregate(Selector(), T0, T0 + 300)
    (totals,) = store.slo_totals()
    assert totals.counts == SloCounts(good=2, bad=2)


def test_a_clock_that_jumps_ahead_expires_nothing(store) -> None:
    store.append(make_batch(make_window(T0)), T0 + 10)
    store.maintain(T0 + 400)
    store.maintain(T0 + 100 * WARM_S)
    assert store.aggregate(Selector(), T0, T0 + 300)


def test_10_s_windows_stay_until_they_are_rolled_up_however_short_their_retention(file) -> None:
    store = SqliteStore.open(file, **RETENTIONS | {"hot_retention_s": 0})
    store.append(make_batch(make_window(T0 + 10)), T0 + 20)
    for now_s in (T0 + 310, T0 + 900):  # at first too early to roll up
        store.maintain(now_s)
        (window,) = store.aggregate(Selector(), T0, T0 + 300).values()
        assert window.packets.answered == 3
    assert [w.window.length_s for w in store.windows(Selector(), T0, T0 + 300)] == [300]
    store.close()


def test_a_batch_is_known_as_long_as_its_windows_could_be_kept(store) -> None:
    ahead = make_batch(make_window(T0 + 280))  # of a probe whose clock runs fast
    store.append(ahead, T0 - 5)
    for now_s in (T0 + WARM_S + 10, T0 + WARM_S + 270):
        store.maintain(now_s)
        assert store.append(ahead, now_s).windows == 0
    assert store.packet_totals()[make_window().key].due == 3


def test_readers_never_see_half_an_expiry(store, file, monkeypatch) -> None:
    starts = [T0 + 300 * k for k in range(12)]
    for sequence, start_s in enumerate(starts):
        store.append(make_batch(make_window(start_s), sequence=sequence), start_s + 10)
    reader, seen = SqliteStore.open(file, readonly=True), []

    def look_first(*arguments):
        windows = list(reader.windows(Selector(), 0, T0 + 10_000, 300))
        assert all(w.sketches and w.slo for w in windows)
        assert {t.slo: t.counts.events for t in reader.slo_counts(Selector(), 0, T0 + 10_000)} == {
            "latency": 3 * len(windows)
        }
        seen.append(len(windows))
        delete_before(*arguments)

    delete_before = maintenance._delete_before
    monkeypatch.setattr(maintenance, "_delete_before", look_first)
    newest_s = T0 + WARM_S + 1200 - 300
    store.append(make_batch(make_window(newest_s), sequence=99), newest_s + 310)
    store.maintain(newest_s + 350)
    assert seen == [9] * 9  # the same before each table is emptied
    reader.close()


def test_two_instances_of_a_site_add_up_exactly(store) -> None:
    contents = [make_window(rtts=[0.010, 0.5], lost=1), make_window(rtts=[0.011], unmeasured=4)]
    for instance, window in zip(("one", "two"), contents, strict=True):
        store.append(make_batch(window, instance=instance), T0 + 20)
    assert same(store.aggregate(Selector(), T0, T0 + 10), merged(contents, T0, T0 + 10))


def test_a_changed_target_holds_from_the_next_interval_and_history_keeps_the_old_one(store):
    contents = [make_window(T0 + 300 * k) for k in range(4)]
    store.declare_objectives({"latency": "0.999"}, T0 + 310)  # in force from T0 + 600
    store.append(make_batch(*contents), T0 + 1200)
    counts = {t.target: t.counts.events for t in store.slo_counts(Selector(), T0, T0 + 1200)}
    assert counts == {"0.99": 6, "0.999": 6}
    beta = sum((t.budget_events for t in store.slo_totals()), Fraction(0))
    assert beta == 6 * Fraction(1, 100) + 6 * Fraction(1, 1000)


def test_declaring_the_same_target_again_changes_nothing(store, file) -> None:
    for now_s in (T0, T0 + 1000):
        store.declare_objectives({"latency": "0.99"}, now_s)
    store.append(make_batch(make_window(T0 + 2000)), T0 + 2000)
    assert [t.target for t in store.slo_totals()] == ["0.99"]


def test_a_reader_reads_while_the_writer_writes(store, file) -> None:
    reader = SqliteStore.open(file, readonly=True)
    for k in range(3):
        store.append(make_batch(make_window(T0 + 10 * k), sequence=k), T0)
        (window,) = reader.aggregate(Selector(), T0, T0 + 300).values()
        assert window.packets.answered == 3 * (k + 1)
    reader.close()


def test_threads_share_a_store_and_see_whole_batches_only(store) -> None:
    done, wrong = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            for found in (store.aggregate(Selector(), T0, T0 + 3000), store.packet_totals()):
                counts = {getattr(v, "packets", v).answered for v in found.values()}
                if len(counts) > 1:  # every batch adds as much to each path
                    wrong.append(counts)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for k in range(60):
        batch = make_batch(*(make_window(T0 + 10 * k, path) for path in PATHS), sequence=k)
        store.append(batch, T0 + 600)
        if k % 20 == 0:
            store.maintain(T0 + 10 * k)
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert [p.answered for p in store.packet_totals().values()] == [180] * 3


def test_windows_are_read_a_series_at_a_time_while_others_write(store) -> None:
    store.append(make_batch(*(make_window(path=path) for path in PATHS)), T0)
    found = store.windows(Selector(), T0, T0 + 300)
    first = next(found)
    assert store.append(make_batch(make_window(T0 + 10), sequence=1), T0).windows == 1
    places = [(w.key.path, w.window.start_s) for w in (first, *found)]
    assert places == sorted([*((path, T0) for path in PATHS), (PATHS[0], T0 + 10)])


def test_a_resolution_that_is_none_is_refused(store) -> None:
    with pytest.raises(ValueError, match="multiple of 10"):
        store.windows(Selector(), T0, T0 + 10, 7)


def test_paths_may_be_added_while_others_are_read(store) -> None:
    store.append(make_batch(make_window()), T0)
    done, wrong = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            try:
                store.aggregate(Selector(src="london"), T0, T0 + 300)
            except Exception as error:  # noqa: BLE001 - whatever it is
                wrong.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for k in range(150):
        path = Path("london", f"site{k}", "ef")
        store.append(make_batch(make_window(path=path), sequence=k + 1), T0)
    done.set()
    reader.join()
    assert not wrong
    assert len(store.series()) == 151


def test_decoded_bodies_are_kept_up_to_so_many_octets(monkeypatch) -> None:
    streams = Streams()
    frames = [Frame.of([make_window(start_s=T0 + 10 * n)], streams) for n in range(20)]
    monkeypatch.setattr(bodies, "_WHOLE_BYTES_MAX", 5 * frames[0].nbytes)
    monkeypatch.setattr(bodies, "_NUMBERS_BYTES_MAX", 10 * frames[0].only_numbers().nbytes)
    reader = bodies.BodyReader(streams)
    for number, frame in enumerate(frames):
        reader.remember(number, frame)
    gone = [bodies.Body(number, "", "identity", b"gone") for number in range(20)]
    assert list(reader.frames(gone[15:])) == frames[15:]
    assert [frame.points for frame in reader.numbers(gone[10:])] == [
        frame.only_numbers().points for frame in frames[10:]
    ]
    for read, first in ((reader.frames, 14), (reader.numbers, 9)):
        with pytest.raises(NetsloError, match="cannot be read"):
            list(read(gone[first : first + 1]))
