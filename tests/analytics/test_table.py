"""Many sketches by key against a sketch of each key's values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analytics import _kernels
from analytics.pairs import _regrouped_sparsely, regrouped
from analytics.readout import row_sums
from analytics.sketch import Sketch
from analytics.table import SketchTable

QS = [0.5, 0.99, 0.0, 1.0]
ANY = st.floats(width=64)
USUAL = st.floats(1e-6, 1e3)


pytestmark = pytest.mark.usefixtures("kernels")


def sketches_of(keys, values, count, limit=4096) -> list[Sketch]:
    found = [Sketch(bucket_limit=limit) for _ in range(count)]
    for key, value in zip(keys, values, strict=True):
        found[key].add(value)
    return found


def check(table: SketchTable, sketches: list[Sketch]) -> None:
    assert len(table) == len(sketches)
    assert [table.sketch(k) for k in range(len(table))] == sketches
    assert table.count.tolist() == [s.count for s in sketches]
    assert table.nan_count.tolist() == [s.nan_count for s in sketches]
    assert table.zero_count.tolist() == [s.zero_count for s in sketches]
    for mine, theirs in ((table.min, "min"), (table.max, "max")):
        expected = [getattr(s, theirs) for s in sketches]
        assert np.array_equal(mine, np.array(expected, dtype=float), equal_nan=True)
    expected = [s.quantiles(QS) for s in sketches]
    assert np.array_equal(table.quantiles(QS), expected, equal_nan=True)


PAIRS = st.lists(st.tuples(st.integers(0, 4), ANY | USUAL), max_size=30)


@settings(deadline=None)
@given(st.lists(PAIRS, max_size=4), st.sampled_from([4096, 100]))
def test_any_values_in_any_portions_are_counted_as_sketches_count_them(portions, limit) -> None:
    table = SketchTable(5, bucket_limit=limit)
    pairs = [pair for portion in portions for pair in portion]
    for portion in portions:
        table.add([k for k, _ in portion], [v for _, v in portion])
    check(table, sketches_of([k for k, _ in pairs], [v for _, v in pairs], 5, limit))


@pytest.mark.parametrize("scale", range(1, 9))
def test_every_scale_has_room_for_every_double(scale) -> None:
    least, most = 2.0**-1022, np.finfo(np.float64).max
    usual = np.geomspace(least * 4, most / 4, 50)
    edges = [least / 2, least, np.nextafter(least, 1), 2.0**1023, most, most, 0.0]
    table, whole = SketchTable(2, scale), Sketch(scale)
    for values in (usual, np.array(edges), -usual, np.linspace(1, 2, 200)):
        table.add(np.ones(len(values), dtype=np.int32), values)
        whole.add(values)
    assert table.sketch(1) == whole
    assert np.array_equal(table.quantiles(QS)[1], whole.quantiles(QS))
    assert [table.min[1], table.max[1]] == [whole.min, most]


@settings(deadline=None)
@example([], [(0, -1e-308)] * 3, [0] * 5)  # they count as zero, and are below it
@given(PAIRS, PAIRS, st.lists(st.integers(-1, 2), min_size=5, max_size=5))
def test_tables_merge_and_regroup_as_sketches_merge(left, right, groups) -> None:
    tables, all_pairs = [], left + right
    for portion in (left, right):
        tables.append(SketchTable(5))
        tables[-1].add([k for k, _ in portion], [v for _, v in portion])
    tables[0].merge(tables[1])
    sketches = sketches_of([k for k, _ in all_pairs], [v for _, v in all_pairs], 5)
    check(tables[0], sketches)
    whole = [Sketch() for _ in range(3)]
    for group, sketch in zip(groups, sketches, strict=True):
        if group >= 0:
            whole[group].merge(sketch)
    check(tables[0].merged_by(groups, 3), whole)


def test_a_table_added_to_itself_is_twice_as_much() -> None:
    keys, values = [0, 1, 1, 0, 2, 2, 2, 2], [1.0, 2.0, -3.0, 0.0, 1e308, 1e-300, np.nan, np.inf]
    table, once = SketchTable(4), SketchTable(4)
    for _ in range(3):  # runs of several lengths
        table.add(keys, values)
        once.add(keys * 2, values * 2)
        table.add(keys[:2], values[:2])
        once.add(keys[:2] * 2, values[:2] * 2)
    table.merge(table)
    check(table, [once.sketch(key) for key in range(4)])
    assert table.sum.tolist() == once.sum.tolist()


@pytest.mark.parametrize("spread", [0.3, 20.0])
def test_rows_regrouped_as_runs_are_those_regrouped_by_entries(spread) -> None:
    rng = np.random.default_rng(6)
    table, count = SketchTable(50), 7
    keys = rng.integers(0, 48, 4000).astype(np.int32)  # the last two are empty
    table.add(keys, rng.lognormal(-3, spread, len(keys)))
    pairs = table._rows().positive
    for chosen in (rng.integers(-1, count, 50), np.full(50, -1), np.array([-1] * 48 + [0, 5])):
        groups = chosen.astype(np.int32)
        found, expected = regrouped(pairs, groups, count), _regrouped_sparsely(pairs, groups, count)
        assert (found.scale, found.base) == (expected.scale, expected.base)
        for name in ("offsets", "index", "counts"):
            mine, theirs = getattr(found, name), getattr(expected, name)
            assert mine.dtype == theirs.dtype
            assert mine.tolist() == theirs.tolist()
        assert row_sums(found).tolist() == row_sums(expected).tolist()


def test_many_keys_and_many_values() -> None:
    rng = np.random.default_rng(4)
    keys = rng.integers(0, 700, 60_000).astype(np.int32)
    values = rng.lognormal(-3, 1, len(keys))
    values[::1000] *= -1
    values[5::2000] = 0.0
    table = SketchTable(700)
    for part in np.array_split(np.arange(len(keys)), 7):
        table.add(keys[part], values[part])
    sketches = []
    for key in range(700):
        sketches.append(Sketch())
        sketches[-1].add(values[keys == key])
    check(table, sketches)
    low, high = table.cdf([0.05, 0.0])
    assert np.array_equal(low, [[s.cdf(x)[0] for x in (0.05, 0.0)] for s in sketches])
    assert np.array_equal(high, [[s.cdf(x)[1] for x in (0.05, 0.0)] for s in sketches])
    ends = np.array([s.interval(0.9) for s in sketches], dtype=float)
    assert np.array_equal(np.stack(table.intervals(0.9), axis=1), ends, equal_nan=True)


@pytest.mark.parametrize("pairs", [1, 3, 50_000])
def test_the_number_of_threads_changes_nothing(pairs) -> None:
    rng = np.random.default_rng(5)
    keys = rng.integers(0, 3000, pairs).astype(np.int32)
    values = rng.lognormal(-3, 1, len(keys))
    tables = [SketchTable(3000, threads=threads) for threads in (1, 0, 2, 5)]
    for table in tables:
        table.add(keys, values)
    for table in tables[1:]:
        assert table.sum.tolist() == tables[0].sum.tolist()
        assert table.count.tolist() == tables[0].count.tolist()
        assert np.array_equal(table.quantiles(QS), tables[0].quantiles(QS), equal_nan=True)


def test_one_value_far_out_costs_its_own_key_only() -> None:
    table = SketchTable(2)
    table.add([0, 0, 1], [1e-300, 1.0, 1.0])
    assert table.sketch(1).scale == 7
    assert table.sketch(0).scale < 7


def test_a_table_grows() -> None:
    table = SketchTable(0)
    table.add([], [])
    table.grow(2)
    table.add([0, 1], [1.0, 2.0])
    table.grow(4)
    table.add([3, 0], [3.0, 4.0])
    check(table, sketches_of([0, 1, 3, 0], [1.0, 2.0, 3.0, 4.0], 4))


@pytest.mark.parametrize(
    ("keys", "values", "message"),
    [
        ([0, 3], [1.0, 1.0], "key 3 is not from 0 to 1"),
        ([-1], [1.0], "key -1"),
        ([0], [1.0, 2.0], "must be alike"),
        ([[0]], [[1.0]], "must be alike"),
        ([0, 2**32 + 1], [1.0, 1.0], "key 4294967297 is not from 0 to 1"),
        (np.array([2**63 + 1], dtype=np.uint64), [1.0], "key 9223372036854775809"),
        ([-(2**32)], [1.0], "key -4294967296"),
        ([0.0, 1.9], [1.0, 1.0], "whole number, these are float64"),
        ([True], [1.0], "whole number, these are bool"),
    ],
)
def test_bad_pairs_are_refused_whole(keys, values, message) -> None:
    table = SketchTable(2)
    with pytest.raises(ValueError, match=message):
        table.add(keys, values)
    assert table.count.tolist() == [0, 0]


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int64, np.uint64, ">i4"])
def test_whole_numbers_of_any_width_are_keys_and_groups(kind) -> None:
    table = SketchTable(3)
    table.add(np.array([2, 0, 2], dtype=kind), [1.0, 2.0, 3.0])
    assert table.count.tolist() == [1, 0, 2]
    assert table.merged_by(np.array([1, 0, 1], dtype=kind), 2).count.tolist() == [0, 3]


def test_kernels_are_loaded_for_as_many_pairs_as_pay_for_it(monkeypatch) -> None:
    monkeypatch.setattr(_kernels, "_enabled", True)
    monkeypatch.setattr(_kernels, "_loaded", False)
    monkeypatch.setattr(_kernels, "_seen", 0)
    loads = []
    monkeypatch.setattr(_kernels, "load", lambda: loads.append(True) or False)
    table = SketchTable(3)
    pairs = 300_000
    keys, values = np.arange(pairs) % 3, np.ones(pairs)
    table.add(keys, values)
    assert not loads  # a quarter of a second by numpy is less than loading takes
    while table.count.sum() < 3_000_000:
        table.add(keys, values)
    assert loads
    assert table.count.sum() == 3_000_000


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="scale is 0"):
        SketchTable(1, scale=0)
    with pytest.raises(ValueError, match="cannot be"):
        SketchTable(-1)
    with pytest.raises(ValueError, match="key 5"):
        SketchTable(1).sketch(5)
    with pytest.raises(ValueError, match="from -1 to 1"):
        SketchTable(1).merged_by([7], 2)
    with pytest.raises(ValueError, match="group 4294967296 is not from -1 to 1"):
        SketchTable(1).merged_by([2**32], 2)
    with pytest.raises(ValueError, match="whole number"):
        SketchTable(1).merged_by([0.5], 2)
    with pytest.raises(ValueError, match="scale 6"):
        SketchTable(1).merge(SketchTable(1, scale=6))


def test_one_negative_value_leaves_the_quantiles_of_other_keys_as_they_are() -> None:
    rng = np.random.default_rng(12)
    keys = rng.integers(0, 300, 20_000).astype(np.int32)
    values = rng.lognormal(-3, 1, len(keys))
    table = SketchTable(301)
    table.add(keys, values)
    before = table.quantiles(QS)
    table.add([7, 300, 300], [-1.0, -2.0, 0.0])
    after = table.quantiles(QS)
    others = np.setdiff1d(np.arange(300), [7])
    assert after[others].tolist() == before[others].tolist()
    assert after[7].tolist() == table.sketch(7).quantiles(QS).tolist()
    assert after[300].tolist() == table.sketch(300).quantiles(QS).tolist()
