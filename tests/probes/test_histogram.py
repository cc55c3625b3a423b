"""Histograms in characters: exact counts, fits the width, readable without colour."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.sketch import Sketch
from netslo.units import MICROSECONDS, MILLISECONDS, time_unit
from probes.histogram import ROWS_MAX, bins_of, histogram_lines

RNG = np.random.default_rng(7)
SHAPES = {
    "lognormal": RNG.lognormal(np.log(0.02), 0.5, 1000),
    "failover": np.concatenate([RNG.normal(0.02, 1e-3, 900), RNG.normal(0.18, 5e-3, 100)]),
    "a long tail": np.concatenate([np.full(10_000, 1e-5), [0.9]]),
    "one packet": np.array([0.02]),
    "all alike": np.full(50, 0.02),
    "with zeros": np.concatenate([np.zeros(3), [1e-6, 2e-6]]),
    "zeros only": np.zeros(5),
}


def sketch_of(values) -> Sketch:
    sketch = Sketch()
    sketch.add(values)
    return sketch


@pytest.mark.parametrize("values", SHAPES.values(), ids=SHAPES.keys())
def test_bins_count_every_value_where_it_is(values) -> None:
    bins = bins_of(sketch_of(values))
    assert sum(b.count for b in bins) == len(values)
    assert len(bins) <= ROWS_MAX + 1
    for each in bins:
        if each.low is None:
            assert each.count == (values <= 0).sum()
        else:
            # Values on an edge may fall to either side of its rounded figure.
            slack = 1e-12
            least = ((values > each.low * (1 + slack)) & (values <= each.high * (1 - slack))).sum()
            most = ((values > each.low * (1 - slack)) & (values <= each.high * (1 + slack))).sum()
            assert least <= each.count <= most


def test_bins_are_equally_wide_on_a_logarithmic_axis_and_leave_no_gap() -> None:
    bins = bins_of(sketch_of(SHAPES["failover"]))
    ratios = [b.high / b.low for b in bins]
    assert max(ratios) / min(ratios) == pytest.approx(1)
    assert [b.high for b in bins[:-1]] == [b.low for b in bins[1:]]


@given(
    st.lists(st.floats(0, 10, allow_subnormal=False), min_size=1, max_size=50),
    st.integers(40, 200),
    st.booleans(),
)
def test_lines_fit_the_width_and_show_every_bin_that_has_a_value(values, width, ascii_only) -> None:
    sketch = sketch_of(values)
    marks = {"p50": float(np.quantile(values, 0.5, method="lower")), "p99.9": max(values)}
    unit = time_unit(marks["p50"])
    lines = histogram_lines(sketch, unit, width + 20, marks, ascii_only=ascii_only)
    bins = bins_of(sketch)
    assert len(lines) == len(bins)
    for line, each in zip(lines, bins, strict=True):
        # Nothing but seconds to twelve digits could make a line longer.
        assert len(line) <= width + 20
        assert ("#" in line or any(c in line for c in "▏▎▍▌▋▊▉█")) == (each.count > 0)
        if ascii_only:
            assert line.isascii()


def test_bars_are_as_long_as_counts_and_percentiles_stand_where_they_fall() -> None:
    sketch = sketch_of([0.001] * 80 + [0.002] * 40 + [0.004])
    lines = histogram_lines(sketch, MILLISECONDS, 200, {"p50": 0.001, "p99.9": 0.004}, rows_max=3)
    bars = [line.count("█") for line in lines]
    assert bars[0] == 50
    assert bars[0] == 2 * bars[1]
    assert bars[2] == 0
    assert lines[2].split()[-2:] == ["▋", "p99.9"]
    assert lines[0].endswith(" p50")
    assert " 80  " in lines[0]


def test_nothing_counted_is_nothing_drawn() -> None:
    assert histogram_lines(Sketch(), MILLISECONDS, 80, {}) == []


@pytest.mark.parametrize(
    ("typical_s", "unit", "written"),
    [
        (1.36e-6, MICROSECONDS, "1.36"),
        (99.9e-6, MICROSECONDS, "99.90"),
        (100e-6, MILLISECONDS, "0.100"),
        (0.02, MILLISECONDS, "20.000"),
        (None, MILLISECONDS, "-"),
        (math.nan, MILLISECONDS, "-"),
    ],
)
def test_short_times_are_written_in_a_unit_that_keeps_their_digits(typical_s, unit, written):
    assert time_unit(typical_s) is unit
    assert unit.format(typical_s) == written
