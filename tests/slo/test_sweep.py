"""All paths judged at once, against the same paths judged one by one from exact fractions."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netslo.model import Scope
from slo.budget import MissingData
from slo.burn import PAIRS, WINDOWS_S, Guard, Severity
from slo.exclusion import Covers, Exclusion
from slo.forecast.exhaustion import Dates, Exhaustion
from slo.ledger import Standing
from slo.objective import PathSelector
from slo.policy import AlertPolicy
from slo.status import evaluate
from slo.sweep import Sweep

DAY_S = 86_400
LENGTHS_S = tuple(sorted({*WINDOWS_S, 7 * DAY_S, 28 * DAY_S}))


TARGETS = {"loss": [(0, "0.95"), (1_800_000_000 - 3600, "0.99")]}


class OneByOne:
    """What a standing says, as `evaluate` reads it: a spend of fractions for each path."""

    def __init__(self, standing: Standing | None) -> None:
        self.standing = standing

    def read(self, now_s, lengths_s):
        if self.standing is None:
            return {length_s: {} for length_s in lengths_s}
        rows = self.standing.rows.items()
        return {s: {key: self.standing.spend(s, row) for key, row in rows} for s in lengths_s}

    def span(self, now_s, length_s):
        if self.standing is None:
            return 0, 0
        return self.standing.starts_s[self.standing.place(length_s)], self.standing.now_s

    def targets(self):
        return TARGETS

    @property
    def exclusions(self):
        return () if self.standing is None else self.standing.exclusions


def same(objectives, estate, standing, **more) -> list:
    now_s = 0 if standing is None else standing.now_s
    found = Sweep(objectives, estate, targets=TARGETS, **more).judge(standing)
    assert found == evaluate(OneByOne(standing), objectives, estate, now_s, **more)
    return found


COUNTS = st.one_of(st.just(0), st.integers(0, 5), st.integers(0, 5_000))
LARGE = st.one_of(COUNTS, st.integers(2**40, 2**42))  # x a unit: beyond what doubles hold exactly
OFF = st.builds(
    lambda start, length, site: Exclusion(
        "x",
        1_800_000_000 - 300 * start,
        1_800_000_000 - 300 * start + 300 * length,
        "alice",
        "CHG-1",
        0,
        Covers(sites=frozenset({site})),
    ),
    st.integers(1, 9000),
    st.integers(1, 9000),
    st.sampled_from(["leeds", "london"]),
)
UNITS = st.sampled_from([(1, 10), (1, 1000), (1, 2000), (123, 10**5), (3, 10**6)])


@st.composite
def figures(draw, large):
    """Return events, bad, unmeasured, budget and unmeasured budget of one window, and the unit."""
    good, bad, unmeasured = (draw(LARGE if large else COUNTS) for _ in range(3))
    return good + bad, bad, unmeasured


@st.composite
def standings(draw, keys, large):
    shape = (len(LENGTHS_S), len(keys))
    units = [draw(UNITS) for _ in keys]
    # A few different rows of figures are many enough, and are drawn faster.
    pool = draw(st.lists(figures(large), min_size=1, max_size=8))
    seed = draw(st.integers(0, 2**32 - 1))
    picks = np.random.default_rng(seed).integers(0, len(pool), shape)
    chosen = np.array(pool, dtype=np.int64)[picks]
    weight = np.array([share for share, _ in units], dtype=np.int64)
    return Standing(
        now_s=1_800_000_000,
        keys=keys,
        rows={key: row for row, key in enumerate(keys)},
        lengths_s=LENGTHS_S,
        starts_s=tuple(1_800_000_000 - s for s in LENGTHS_S),
        events=chosen[:, :, 0],
        bad=chosen[:, :, 1],
        unmeasured=chosen[:, :, 2],
        budget=chosen[:, :, 0] * weight,
        unit=np.array([unit for _, unit in units], dtype=np.int64),
        unmeasured_budget=chosen[:, :, 2] * weight,
        exclusions=tuple(draw(st.lists(OFF, max_size=2))),
    )


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_all_at_once_is_the_same_as_one_by_one_to_the_last_bit(data, estate, latency, loss) -> None:
    large = data.draw(st.booleans())
    # Of counts so large, chance is not asked: adding it up would take minutes.
    guards = (Guard(1), Guard(2, parts=7)) if large else (Guard(3, 0.99), Guard(1, 0.5, parts=7))
    objectives = [
        replace(
            each,
            missing_data=data.draw(st.sampled_from(MissingData)),
            coverage_min=data.draw(st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(1, 3)])),
            window_s=data.draw(st.sampled_from([7 * DAY_S, 28 * DAY_S])),
            alerts=AlertPolicy(
                data.draw(st.sampled_from([PAIRS, PAIRS[1:], ()])),
                data.draw(st.sampled_from(guards)),
            ),
        )
        for each in (latency, loss)
    ]
    all_keys = [(o.name, path) for o in objectives for path in o.paths(estate)]
    kept = data.draw(st.sampled_from([len(all_keys), 5, 0]))
    standing = data.draw(standings(tuple(all_keys[:kept]), large))  # the others have no row
    windows = data.draw(st.sampled_from([("5m", "1h", "3d"), ("28d",), ()]))
    same(objectives, estate, standing, windows=windows)


def test_of_what_is_not_known_yet_nothing_is_said(estate, latency, loss) -> None:
    found = same([latency, loss], estate, None)
    assert len(found) == 36
    assert {each.budget_remaining_ratio for each in found} == {None}


def test_a_rate_just_at_its_threshold_is_not_above_it(estate, latency) -> None:
    """In doubles 13.44 x 0.001 x 3,125,000 is not 42,000."""
    one = replace(latency, selector=PathSelector(scopes=frozenset({Scope.NATIONAL})))
    keys = tuple((one.name, path) for path in one.paths(estate))
    events = np.full((len(LENGTHS_S), len(keys)), 3_125_000, dtype=np.int64)
    bad = np.full_like(events, 42_000)
    bad[:, 0] += 1
    none = np.zeros_like(events)
    unit = np.full(len(keys), 1000, dtype=np.int64)
    rows = {key: row for row, key in enumerate(keys)}
    standing = Standing(
        0, keys, rows, LENGTHS_S, (0,) * len(LENGTHS_S), events, bad, none, events, unit, none
    )
    above, *at = same([one], estate, standing)
    assert above.severity is Severity.PAGE
    assert PAIRS[0] in above.firing
    assert all(PAIRS[0] not in each.firing for each in at)
    assert math.isclose(at[0].burn_rate["1h"], 13.44)


def test_rows_are_found_again_when_there_are_others(estate, latency, loss) -> None:
    sweep = Sweep([latency, loss], estate)
    for objectives in ([latency], [loss], [loss, latency]):
        keys = tuple((o.name, path) for o in objectives for path in o.paths(estate))
        events = np.arange(len(LENGTHS_S) * len(keys), dtype=np.int64).reshape(-1, len(keys))
        rows = {key: row for row, key in enumerate(keys)}
        unit = np.full(len(keys), 100, dtype=np.int64)
        standing = Standing(
            0,
            keys,
            rows,
            LENGTHS_S,
            (0,) * len(LENGTHS_S),
            events,
            events // 9,
            events // 3,
            events,
            unit,
            events // 3,
        )
        assert sweep.judge(standing) == evaluate(OneByOne(standing), [latency, loss], estate, 0)


def test_dates_of_exhaustion_are_handed_on(estate, loss) -> None:
    path = loss.paths(estate)[3]
    known = Exhaustion(Dates(1.0, 2.0, None, 0.6, 9), None)
    found = Sweep([loss], estate).judge(None, {("loss", path): known})
    assert [each.exhaustion for each in found if each.exhaustion] == [known]
    assert found[3].path == path


def test_a_window_that_is_no_multiple_of_ten_seconds_is_refused(estate, loss) -> None:
    with pytest.raises(ValueError, match="15s"):
        Sweep([loss], estate, windows=("15s",))
