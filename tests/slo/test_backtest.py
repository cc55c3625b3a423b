"""A backtest of a real store, against the raw values that were put in and the live engine."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.sketch import Sketch
from analytics.store.sqlite import SqliteStore
from analytics.tables import distributions_of
from analytics.windows import Batch, PathWindow, SeriesKey, SketchKey, SloCounts
from netslo.metrics import RTT
from netslo.model import Path, Quality, Window
from slo.backtest.backtest import Question, alignment_of, run
from slo.backtest.history import History
from slo.backtest.replay import replay
from slo.backtest.thresholds import count_up_to
from slo.budget import MissingData, Spend
from slo.burn import BurnPair, Guard, Severity
from slo.objective import Indicator, PathSelector
from slo.policy import AlertPolicy
from slo.ranges import Ranges
from slo.slices import TimeSlices
from slo.status import evaluate

STEP_S = 300
START_S = 1_790_000_000 // 86_400 * 86_400 + 20 * 3600  # past midnight: over two days of a store
HOURS = 8
END_S = START_S + HOURS * 3600
PATHS = (Path("london", "leeds", "ef"), Path("leeds", "london", "ef"))
PAIRS = (
    BurnPair(Severity.PAGE, Fraction(2, 100), 3600, 300),
    BurnPair(Severity.TICKET, Fraction(3, 100), 2 * 3600, 600),
)
PACKETS = 20  # per window
LIMIT_S, STRICT_S = 0.1, 0.08


@dataclass(frozen=True)
class Raw:
    """What became of each packet: NaN was lost."""

    windows: dict[tuple[Path, int], np.ndarray]
    unmeasured: dict[tuple[Path, int], int]
    store: SqliteStore

    def history(self, name: str, limit_s: float) -> History:
        """Return the truth at a threshold."""
        shape = len(PATHS), (END_S - START_S) // STEP_S
        events, bad, unmeasured = (np.zeros(shape, dtype=np.uint32) for _ in range(3))
        for (path, start_s), values in self.windows.items():
            at = PATHS.index(path), (start_s - START_S) // STEP_S
            events[at] += len(values)
            bad[at] += int((~(values <= limit_s)).sum())
            unmeasured[at] += self.unmeasured[path, start_s]
        return History(tuple((name, p) for p in PATHS), START_S, STEP_S, events, bad, unmeasured)


@pytest.fixture(scope="module")
def estate(new_estate):
    """Due are 60 packets in 5 min, of which 40 are measured."""
    return new_estate(5.0)


@pytest.fixture(scope="module")
def objective(latency):
    selector = PathSelector(paths=frozenset(PATHS))
    return replace(latency, selector=selector, alerts=AlertPolicy(PAIRS, Guard(2)))


@pytest.fixture(scope="module")
def raw(tmp_path_factory, objective):
    rng = np.random.default_rng(3)
    windows, unmeasured = {}, {}
    for number, path in enumerate(PATHS):
        for start_s in range(START_S, END_S, 150):
            values = rng.lognormal(np.log(0.06), 0.15, PACKETS)
            hour = (start_s - START_S) / 3600
            if 3 < hour < 3.5 + number:
                values[rng.random(PACKETS) < 0.2] = np.nan
            windows[path, start_s] = values
            unmeasured[path, start_s] = int(5 < hour < 5.5) * 40
    kept = [
        PathWindow(
            SeriesKey(path),
            Window(start_s),
            slo={
                name: SloCounts(
                    int((values <= limit_s).sum()),
                    int((~(values <= limit_s)).sum()),
                    unmeasured[path, start_s],
                )
                for name, limit_s in ((objective.name, LIMIT_S), ("strict", STRICT_S))
            },
            sketches={
                SketchKey(RTT, quality): sketch_of(part)
                for quality, part in zip(
                    (Quality.A, Quality.C), np.split(values[np.isfinite(values)], [3]), strict=True
                )
            },
        )
        for (path, start_s), values in windows.items()
    ]
    file = tmp_path_factory.mktemp("backtest") / "store.db"
    with closing(SqliteStore.open(file)) as store:
        store.declare_objectives({objective.name: "0.999", "strict": "0.999"}, START_S)
        store.append(Batch("london", "one", 1, tuple(kept)), END_S)
        store.maintain(END_S)
        yield Raw(windows, unmeasured, store)


def sketch_of(values) -> Sketch:
    sketch = Sketch()
    sketch.add(values)
    return sketch


def ask(raw: Raw, objective, estate, changed=None, **more):
    start_s = START_S + 2 * 3600  # windows reach back to where the history begins
    eras = [(0, "0.999")]
    return run(raw.store, Question(objective, changed, estate, PATHS, start_s, END_S, eras, **more))


def steps_of(outcome) -> set:
    return {
        (episode.key[1], episode.pair, at_s)
        for episode in outcome.episodes
        for at_s in range(episode.start_s, episode.end_s or END_S + STEP_S, STEP_S)
    }


def spent(history: History, row: int, target: str) -> Spend:
    """Add up by hand what counts from two hours on."""
    inside = slice(2 * 3600 // STEP_S, None)
    counts = (int(c[row, inside].sum()) for c in (history.events, history.bad, history.unmeasured))
    return Spend.under(Fraction(target), *counts)


def moments(outcome) -> list[int]:
    """Return when to ask the live engine: at each edge of an alert, and now and then."""
    edges = {at_s for e in outcome.episodes for at_s in (e.start_s, e.end_s) if at_s is not None}
    near = {at_s + shift for at_s in edges for shift in (-STEP_S, 0)}
    near |= set(range(START_S + 2 * 3600 + STEP_S, END_S + STEP_S, 5400))
    return sorted(at_s for at_s in near if START_S + 2 * 3600 < at_s <= END_S)


def assert_as_live(outcome, ranges: Ranges, estate, every: int = 1) -> None:
    at = moments(outcome)[::every]
    said = {
        (status.path, pair, at_s)
        for at_s in at
        for status in evaluate(ranges, [outcome.objective], estate, at_s, windows=())
        for pair in status.firing
    }
    assert said
    assert {step for step in steps_of(outcome) if step[2] in at} == said


@pytest.mark.parametrize("missing", list(MissingData))
def test_the_live_engine_said_the_same(raw, objective, estate, missing) -> None:
    objective = replace(objective, missing_data=missing)
    assert_as_live(ask(raw, objective, estate).now, Ranges(raw.store), estate)


def test_slices_of_time_are_judged_as_the_live_engine_does(raw, objective, estate) -> None:
    pair = BurnPair(Severity.PAGE, Fraction(2, 100), 7200, 1800)
    slices = TimeSlices(900, Fraction(95, 100))
    alerts = AlertPolicy((pair,), Guard(1))
    sliced = replace(objective, slices=slices, alerts=alerts, window_s=7 * 86_400)
    found = ask(raw, sliced, estate).now
    assert_as_live(found, Ranges(raw.store, objectives=[sliced]), estate, every=3)
    assert found.spends[PATHS[0]].events == (HOURS - 2) * 4


def test_other_slices_of_time_are_judged_beside_those_of_today(raw, estate, objective) -> None:
    """Slices of 10 and of 15 min begin together every half an hour."""
    ten, fifteen = (
        replace(objective, slices=TimeSlices(60 * minutes, Fraction(95, 100)))
        for minutes in (10, 15)
    )
    assert alignment_of(ten, fifteen) == 1800
    found = ask(raw, ten, estate, fifteen)
    assert found.now.total.events == len(PATHS) * (HOURS - 2) * 6
    assert found.changed[0].total.events == len(PATHS) * (HOURS - 2) * 4


def test_another_target_is_exact(raw, estate, objective) -> None:
    found = ask(raw, objective, estate, replace(objective, target_text="0.99"))
    (changed,) = found.changed
    truth = raw.history(objective.name, LIMIT_S)
    for row, path in enumerate(PATHS):
        assert found.now.spends[path] == spent(truth, row, "0.999")
        assert changed.spends[path] == spent(truth, row, "0.99")
    assert len(steps_of(changed)) < len(steps_of(found.now))


@pytest.mark.parametrize("limit_s", [0.055, 0.0834, 0.099, 0.1013, 0.14])
def test_bounds_of_a_threshold_that_nobody_counted_hold_the_truth(
    raw, estate, objective, limit_s
) -> None:
    found = ask(raw, objective, estate, replace(objective, limit=limit_s)).changed
    best, worst = found[0], found[-1]  # the same where luck has it
    truth = raw.history(objective.name, limit_s)
    for row, path in enumerate(PATHS):
        bad = spent(truth, row, "0.999").bad
        assert best.spends[path].bad <= bad <= worst.spends[path].bad
        # And they are of use: no more apart than what lies in a bucket of half a per cent.
        near = sum(
            int((abs(v / limit_s - 1) < 0.006).sum())
            for k, v in raw.windows.items()
            if k[0] == path
        )
        assert worst.spends[path].bad - best.spends[path].bad <= near
    alone = replay(
        truth, replace(objective, limit=limit_s), estate, [(0, "0.999")], (START_S, END_S)
    )
    true_steps = {step for step in steps_of(alone) if step[2] > START_S + 2 * 3600}
    assert steps_of(best) <= true_steps <= steps_of(worst)


def test_a_threshold_at_which_another_slo_counted_is_exact(raw, estate, objective) -> None:
    stricter = replace(objective, limit=STRICT_S)
    never = replace(stricter, name="never-counted")
    assert len(ask(raw, objective, estate, stricter, others=[never]).changed) == 2
    other = replace(stricter, name="strict", target_text="0.9")
    (changed,) = ask(raw, objective, estate, stricter, others=[objective, never, other]).changed
    truth = raw.history(objective.name, STRICT_S)
    for row, path in enumerate(PATHS):
        assert changed.spends[path] == spent(truth, row, "0.999")


def test_the_end_of_a_bucket_is_no_matter_of_bounds(raw, estate, objective) -> None:
    """At scale 7 a power of two is the end of a bucket: what lies below it is known exactly."""
    (changed,) = ask(raw, objective, estate, replace(objective, limit=0.0625)).changed
    truth = raw.history(objective.name, 0.0625)
    assert [s.bad for s in changed.spends.values()] == [
        spent(truth, PATHS.index(path), "0.999").bad for path in changed.spends
    ]


def test_what_is_lost_is_bad_at_any_threshold(raw, estate, objective) -> None:
    lost = {
        path: sum(
            int(np.isnan(v).sum())
            for (p, at_s), v in raw.windows.items()
            if p == path and at_s >= START_S + 2 * 3600
        )
        for path in PATHS
    }
    (changed,) = ask(raw, objective, estate, replace(objective, limit=0.9)).changed
    assert {path: spend.bad for path, spend in changed.spends.items()} == lost


def test_an_slo_without_data_has_none(raw, estate, loss) -> None:
    loss = replace(loss, indicator=Indicator.LOSS)
    found = run(raw.store, Question(loss, None, estate, PATHS, START_S, END_S, [(0, "0.99")]))
    assert found.first_s is None
    assert found.now.total == Spend()


@given(
    st.lists(st.floats(-0.01, 0.5).filter(lambda x: x == 0 or abs(x) > 1e-6), max_size=40),
    st.sampled_from([0.05, 0.0625, 0.1, 0.3, 1e-5]),
    st.sampled_from([7, 3]),
)
def test_counts_up_to_a_limit_are_those_of_one_sketch(values, limit_s, scale) -> None:
    sketch = Sketch(scale)
    sketch.add(values)
    table = distributions_of([(0, START_S), (1, START_S)], [sketch, Sketch(scale)])
    certain, possible, known = count_up_to(table, limit_s)
    truth = sum(value <= limit_s for value in values)
    assert certain[0] <= truth <= possible[0]
    assert known.tolist() == [len(values), 0]
    assert (certain[1], possible[1]) == (0, 0)
    if values:
        bounds = [round(share * len(values)) for share in sketch.cdf(limit_s)]
        assert [certain[0], possible[0]] == bounds
