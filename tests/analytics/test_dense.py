"""Counters of a few keys side by side, against a sketch of each key's values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics import _kernels, dense
from analytics import table as table_module
from analytics.dense import DenseCounters, Extent
from analytics.sketch import Sketch
from analytics.table import SketchTable

pytestmark = pytest.mark.skipif(not _kernels.load(), reason="numba is not installed")

QS = [0.0, 0.5, 0.99, 1.0]


@pytest.fixture(autouse=True)
def always_worth_it(monkeypatch) -> None:
    monkeypatch.setattr(dense, "_WORTH", 1 << 30)


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """How many pairs were counted densely, call by call."""
    found, plainly = [], DenseCounters.count

    def count(self, keys, values, window, threads):
        found.append(len(keys))
        return plainly(self, keys, values, window, threads)

    monkeypatch.setattr(DenseCounters, "count", count)
    return found


def check(table: SketchTable, portions) -> None:
    """Compare a table with sketches of what it was given."""
    keys = np.concatenate([keys for keys, _ in portions])
    values = np.concatenate([values for _, values in portions])
    sketches = []
    for key in range(len(table)):
        sketch = Sketch(table.scale)
        sketch.add(values[keys == key])
        sketches.append(sketch)
    assert [table.sketch(key) for key in range(len(table))] == sketches
    assert table.count.tolist() == [sketch.count for sketch in sketches]
    expected = [sketch.quantiles(QS) for sketch in sketches]
    assert np.array_equal(table.quantiles(QS), expected, equal_nan=True)


def pairs(size: int, keys: int, seed: int = 1):
    rng = np.random.default_rng(seed)
    return rng.integers(0, keys, size, dtype=np.int32), rng.lognormal(-3, 1, size)


@pytest.mark.parametrize("scale", range(1, 9))
def test_a_value_at_either_end_of_a_binade_has_its_counter(scale, counted) -> None:
    edges = np.ldexp(1.0, np.arange(-3, 5))
    values = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges, 9e9)])
    for some in (values, edges[3:4], edges[2:4], values[-1:]):
        table, keys = SketchTable(2, scale), np.zeros(len(some), dtype=np.int32)
        table.add(keys, some)
        check(table, [(keys, some)])
    assert counted == [24, 1, 2, 1]


PORTION = st.lists(st.tuples(st.integers(0, 3), st.floats(1e-4, 1e3)), min_size=1, max_size=20)


@settings(deadline=None)
@given(st.lists(PORTION, min_size=1, max_size=4), st.booleans())
def test_portions_of_any_windows_add_up(portions, asked_between) -> None:
    table, given_so_far = SketchTable(4), []
    for portion in portions:
        keys = np.array([key for key, _ in portion], dtype=np.int32)
        values = np.array([value for _, value in portion])
        table.add(keys, values)
        given_so_far.append((keys, values))
        if asked_between:
            table.quantiles(QS)
    check(table, given_so_far)


def test_all_ways_to_use_a_table_see_what_was_counted_densely(counted) -> None:
    table, portion = SketchTable(3), pairs(500, 3)
    table.add(*portion)
    assert counted == [500]
    whole = table.merged_by([0, 0, 0], 1)
    check(whole, [(np.zeros(500, dtype=np.int32), portion[1])])
    table.add(*portion)
    other = SketchTable(5)
    other.add([4], [1.0])
    other.merge(table)
    check(other, [portion, portion, (np.array([4]), np.array([1.0]))])
    table.add(*portion)
    table.grow(6)
    table.add([5], [2.0])
    check(table, [portion] * 3 + [(np.array([5]), np.array([2.0]))])


def test_the_number_of_threads_changes_nothing_not_even_the_last_bit(monkeypatch, counted) -> None:
    monkeypatch.setattr(dense, "_BLOCK", 1000)
    portion, tables = pairs(10_500, 20), []
    for threads in (1, 2, 3, 16):
        tables.append(SketchTable(20, threads=threads))
        tables[-1].add(*portion)
        assert tables[-1].sum.tolist() == tables[0].sum.tolist()
        assert tables[-1].min.tolist() == tables[0].min.tolist()
        assert tables[-1].max.tolist() == tables[0].max.tolist()
    check(tables[-1], [portion])
    assert counted == [10_500] * 4


def test_counters_are_taken_out_before_one_could_overflow(monkeypatch, counted) -> None:
    monkeypatch.setattr(dense, "_PENDING_MAX", 1000)
    portion = pairs(400, 2)
    table = SketchTable(2)
    for _ in range(5):
        table.add(*portion)
    assert table._dense._pending <= 1000
    check(table, [portion] * 5)
    assert counted == [400] * 5


def test_an_array_is_counted_in_portions_that_overflow_no_counter(monkeypatch, counted) -> None:
    assert dense._PENDING_MAX < 2**32
    assert table_module._TOGETHER <= dense._PENDING_MAX
    monkeypatch.setattr(table_module, "_TOGETHER", 100)
    keys, values = pairs(250, 3)
    table = SketchTable(3)
    table.add(keys, values)
    assert counted == [100, 100, 50]
    check(table, [(keys, values)])
    wrong = np.append(keys, np.int32(3))
    with pytest.raises(ValueError, match="key 3 is not from 0 to 2"):
        table.add(wrong, np.append(values, 1.0))
    check(table, [(keys, values)])


def test_odd_values_among_others_leave_the_others_to_dense_counters(counted) -> None:
    keys, values = pairs(300, 4)
    values[::50] = [0.0, -1.0, np.nan, np.inf, 5e-324, -0.0]
    table = SketchTable(4)
    table.add(keys, values)
    check(table, [(keys, values)])
    assert counted == [294]


def test_values_too_far_apart_and_keys_too_many_are_parted(counted) -> None:
    keys, values = pairs(300, 4)
    for table, some in (
        (SketchTable(4), values * np.geomspace(1e-9, 1e9, 300)),
        (SketchTable(20_000), values),
        (SketchTable(2000), values),
    ):
        table.add(keys, some)
        assert table.count.sum() == 300
    assert counted == []


def test_a_key_of_no_row_is_refused_and_nothing_counted(counted) -> None:
    table = SketchTable(4)
    for key in (-1, 4):
        with pytest.raises(ValueError, match=f"key {key} is not from 0 to 3"):
            table.add(np.array([0, key], dtype=np.int32), np.ones(2))
    assert table.count.sum() == 0
    assert counted == []


def test_small_portions_wait_until_they_are_worth_it(monkeypatch, counted) -> None:
    monkeypatch.setattr(dense, "_WORTH", 1)
    table, portions = SketchTable(2), [pairs(500, 2, seed) for seed in range(9)]
    for portion in portions:
        table.add(*portion)
    assert 0 < len(counted) < 9
    check(table, portions)


@given(st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.floats()), min_size=1))
def test_the_extent_is_that_of_keys_and_of_bits(portion) -> None:
    keys = np.array([key for key, _ in portion], dtype=np.int32)
    values = np.array([value for _, value in portion])
    extent, bits = Extent.of(keys, values), values.view(np.int64)
    assert (extent.least_key, extent.most_key) == (keys.min(), keys.max())
    assert extent.bits.tolist() == [bits.min(), bits.max()]
