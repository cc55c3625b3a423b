"""The ledger in memory, against a list of what happened."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.frame import Frame
from analytics.store.eras import era_at
from analytics.store.sqlite import SqliteStore
from analytics.streams import Streams
from analytics.windows import Batch, PathWindow, SeriesKey, SloCounts
from netslo.model import Path, ProbeKind, Window
from slo.backtest.changes import read_target
from slo.budget import Spend
from slo.exclusion import Covers, Exclusion
from slo.ledger import Ledger, Standing, _weights, horizon_of
from slo.number import TARGET_DIGITS_MAX
from slo.period import PERIOD_S_MAX
from slo.slices import LENGTHS_S as LENGTHS_S_OF_SLICES
from slo.slices import PARTS

NOW_S = 1_790_000_000 // 86_400 * 86_400 + 40_000  # within a day
LENGTHS_S = (300, 1800, 3600, 7200, 6 * 3600, 86_400, 3 * 86_400, 28 * 86_400)
PATHS = (Path("london", "leeds", "ef"), Path("leeds", "london", "ef"))
KEYS = tuple((slo, path) for slo in ("loss", "latency") for path in PATHS)
CHANGE_S = NOW_S // 300 * 300 - 90_000
ERAS = {"loss": [(0, "0.999"), (CHANGE_S, "0.99")], "latency": [(0, "0.95")]}


@dataclass(frozen=True)
class Happened:
    start_s: int
    key: tuple[str, Path]
    counts: tuple[int, int, int]
    probe: ProbeKind = ProbeKind.STAMP


def frame_of(events: Sequence[Happened], streams: Streams) -> Frame:
    return Frame.of(
        [
            PathWindow(
                SeriesKey(event.key[1], event.probe),
                Window(event.start_s),
                slo={event.key[0]: SloCounts(*event.counts)},
            )
            for event in events
        ],
        streams,
    )


def expected(
    events: Sequence[Happened],
    key: tuple[str, Path],
    start_s: int,
    end_s: int,
    off: Sequence[Exclusion] = (),
) -> Spend:
    """Add up the obvious way."""
    total = Spend()
    for event in events:
        excluded = any(x.start_s <= event.start_s < x.end_s and x.covers.matches(*key) for x in off)
        if event.key == key and start_s <= event.start_s < end_s and not excluded:
            good, bad, unmeasured = event.counts
            target = Fraction(era_at(ERAS[key[0]], event.start_s)[1])
            total += Spend.under(target, good + bad, bad, unmeasured)
    return total


def check(standing: Standing, events: Sequence[Happened], off: Sequence[Exclusion] = ()) -> None:
    rates = standing.burn_rates()
    for at, (length_s, start_s) in enumerate(
        zip(standing.lengths_s, standing.starts_s, strict=True)
    ):
        assert start_s == horizon_of(length_s).start_s(standing.now_s)
        for row, key in enumerate(standing.keys):
            spend = expected(events, key, start_s, standing.now_s, off)
            assert standing.spend(length_s, row) == spend
            found, exact = rates[at, row], spend.burn_rate
            assert np.isnan(found) if exact is None else found == pytest.approx(float(exact))


AGES = st.one_of(
    st.integers(0, 60), st.integers(0, 3000), st.integers(0, 30_000), st.integers(0, 270_000)
)
HAPPENED = st.builds(
    Happened,
    AGES.map(lambda age: NOW_S // 10 * 10 - 10 * age),
    st.sampled_from(KEYS),
    st.tuples(st.integers(0, 1000), st.integers(0, 9), st.integers(0, 5)),
    st.sampled_from([ProbeKind.STAMP, ProbeKind.ICMP]),
)
OFF = st.builds(
    lambda age, length, path: Exclusion(
        "x",
        NOW_S // 300 * 300 - 300 * age,
        NOW_S // 300 * 300 + 300 * (length - age),
        "alice",
        "CHG-1",
        NOW_S,
        Covers(paths=frozenset({path})),
    ),
    st.integers(0, 9000),
    st.integers(1, 600),
    st.sampled_from(PATHS),
)


@settings(deadline=None, max_examples=60)
@given(
    events=st.lists(HAPPENED, max_size=30),
    off=st.lists(OFF, max_size=3),
    cut=st.integers(0, 30),
    wait_s=st.sampled_from([0, 10, 60, 4000, 90_000]),
)
def test_windows_hold_what_happened_in_them_whenever_it_came(events, off, cut, wait_s) -> None:
    streams = Streams()
    ledger = Ledger(streams, KEYS, ERAS, LENGTHS_S, off, NOW_S)
    then_s = NOW_S + wait_s
    for part, moment_s in ((events[:cut], NOW_S), (events[cut:], then_s)):
        ledger.advance(moment_s)
        whole = frame_of(part, streams).between(0, moment_s)
        ledger.add(ledger.wanted(whole))
    begun = [e for n, e in enumerate(events) if e.start_s < (NOW_S if n < cut else then_s)]
    check(ledger.standing(), begun, off)
    check(ledger.standing(with_exclusions=True), begun)


@settings(deadline=None, max_examples=15)
@given(events=st.lists(HAPPENED, max_size=20), off=st.lists(OFF, max_size=2))
def test_a_restart_from_the_store_knows_the_same(tmp_path_factory, events, off) -> None:
    file = tmp_path_factory.mktemp("ledger") / "store.sqlite"
    with closing(SqliteStore.open(file)) as store:
        for slo, eras in ERAS.items():
            for since_s, target in eras:
                store.declare_objectives({slo: target}, max(0, since_s - 300))
        windows = tuple(
            window
            for event in events
            for window in frame_of([event], store.streams).windows(store.streams)
        )
        for number, window in enumerate(windows):
            store.append(Batch("london", "one", number, (window,)), NOW_S)
        store.maintain(NOW_S)
        ledger = Ledger(store.streams, KEYS, ERAS, LENGTHS_S, off, NOW_S)
        with closing(store.history()) as history:
            for start_s, end_s, window_s in ledger.spans():
                for frame in history.frames(start_s, end_s, window_s):
                    ledger.add(ledger.wanted(frame).between(0, NOW_S))
        check(ledger.standing(), [e for e in events if e.start_s < NOW_S], off)


def test_a_rate_at_its_threshold_is_not_above_it() -> None:
    streams = Streams()
    ledger = Ledger(streams, [KEYS[0]], {"loss": [(0, "0.999")]}, [3600], now_s=NOW_S)
    # 14.4 times a budget of a thousandth, exactly, and then one more.
    events = [Happened(NOW_S - 600, KEYS[0], (10_000 - 144, 144, 0))]
    ledger.add(ledger.wanted(frame_of(events, streams)))
    threshold = Fraction("14.4")
    assert not ledger.standing().exceeds(3600, threshold).any()
    more = [Happened(NOW_S - 300, KEYS[0], (0, 1, 0))]
    ledger.add(ledger.wanted(frame_of(more, streams)))
    assert ledger.standing().exceeds(3600, threshold).all()


def test_nothing_measured_is_no_rate_and_exceeds_nothing() -> None:
    standing = Ledger(Streams(), KEYS, ERAS, LENGTHS_S, now_s=NOW_S).standing()
    assert np.isnan(standing.burn_rates()).all()
    assert not standing.exceeds(300, Fraction(0)).any()


def test_rows_that_are_known_in_another_way_stand_beside() -> None:
    ledger = Ledger(Streams(), [KEYS[0]], {"loss": [(0, "0.999")]}, [300, 3600], now_s=NOW_S)
    key = ("slices", PATHS[1])
    spend = Spend.under(Fraction("0.99"), 60, 3, 1) + Spend.under(Fraction("0.5"), 7, 0)
    beside = Standing.of_spends({300: {}, 3600: {key: spend}}, (300, 3600))
    whole = ledger.standing().beside(beside)
    assert whole.keys == (KEYS[0], key)
    assert whole.spend(3600, whole.rows[key]) == spend
    assert whole.spend(300, whole.rows[key]) == Spend()
    assert whole.exceeds(3600, spend.bad / spend.budget - Fraction(1, 10**12)).tolist() == [
        False,
        True,
    ]
    nothing = Standing.of_spends({300: {}, 3600: {}}, (300, 3600))
    assert ledger.standing().beside(nothing).keys == (KEYS[0],)


@given(
    st.lists(st.integers(1, 10**TARGET_DIGITS_MAX - 1), min_size=1, max_size=4),
    st.sampled_from([PERIOD_S_MAX * 1000, PERIOD_S_MAX // min(LENGTHS_S_OF_SLICES) * PARTS]),
)
def test_no_budget_of_a_period_is_more_than_whole_numbers_hold(numbers, events):
    """Of the quickest probing, and of the shares of slices; whatever targets there were."""
    targets = [f"0.{number:0{TARGET_DIGITS_MAX}d}" for number in numbers]
    assert [Fraction(read_target(target)) for target in targets] == list(map(Fraction, targets))
    eras = {"loss": [(when * 1000, target) for when, target in enumerate(targets)]}
    _, weights, unit = _weights([("loss", PATHS[0])], eras)
    budgets = np.array([[events]], dtype=np.int64) * weights
    for budget, target in zip(budgets[:, 0].tolist(), targets, strict=True):
        assert Fraction(budget, int(unit[0])) == events * (1 - Fraction(target))


def test_a_target_of_more_places_is_refused():
    assert read_target("99.9999 %") == "0.999999"
    assert read_target("0.9990000000000") == "0.999"
    for text in ("0.9990000000000001", "99.9999999%"):
        with pytest.raises(ValueError, match="at most 8 decimal places"):
            read_target(text)
