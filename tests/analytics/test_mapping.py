"""The mapping against integer arithmetic that cannot round."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.mapping import (
    SCALE_MAX,
    SCALE_MIN,
    bucket_index,
    index_range,
    lower_bound,
    relative_error,
    representative,
)

NORMAL = st.floats(min_value=2.0**-1022, allow_nan=False, allow_infinity=False)


def exact_index(value: float, scale: int) -> int:
    """Return i with base**i < value <= base**(i + 1), by comparing whole powers."""
    mantissa, exponent = math.frexp(value)  # value = mantissa * 2**exponent, 0.5 <= mantissa < 1
    whole, shift = int(mantissa * 2**53), exponent - 53  # value = whole * 2**shift, exactly
    power = 2**scale if scale > 0 else 1
    # log2(value) * power, rounded up: whole**power * 2**(shift * power)
    raised = whole**power
    log_up = raised.bit_length() - (1 if raised & (raised - 1) == 0 else 0)
    ceiling = log_up + shift * power
    return ceiling - 1 if scale > 0 else -((-ceiling) // 2**-scale) - 1


def boundaries(scale: int) -> list[float]:
    """The doubles nearest to each boundary of some binades, and two ulp either side."""
    found = []
    for binade in (-1022, -30, -7, -1, 0, 1, 10, 1023):
        for k in range(2 ** max(scale, 0)):
            value = math.ldexp(2.0 ** (k / 2 ** max(scale, 0)), binade)
            for _ in range(2):
                value = math.nextafter(value, 0)
            for _ in range(5):
                found.append(value)
                value = math.nextafter(value, math.inf)
    return [v for v in found if 2.0**-1022 <= v < math.inf]


@pytest.mark.parametrize("scale", [-10, -4, -1, 0, 1, 2, 3, 6, 7, 8])
def test_every_boundary_and_its_neighbours_fall_in_the_exact_bucket(scale: int) -> None:
    values = np.array(boundaries(scale))
    expected = [exact_index(value, scale) for value in values.tolist()]
    assert bucket_index(values, scale).tolist() == expected


@given(NORMAL, st.integers(SCALE_MIN, SCALE_MAX))
def test_any_normal_double_falls_in_the_exact_bucket(value: float, scale: int) -> None:
    assert bucket_index(np.array([value]), scale)[0] == exact_index(value, scale)


@given(NORMAL, st.integers(SCALE_MIN + 1, SCALE_MAX))
def test_halving_the_scale_halves_the_index(value: float, scale: int) -> None:
    values = np.array([value])
    assert bucket_index(values, scale - 1)[0] == bucket_index(values, scale)[0] >> 1


@given(st.floats(1e-300, 1e300), st.integers(SCALE_MIN, SCALE_MAX))
def test_the_representative_is_within_the_promised_error(value: float, scale: int) -> None:
    middle = representative(bucket_index(np.array([value]), scale), scale)[0]
    assert abs(middle - value) <= relative_error(scale) * value * (1 + 1e-9)


def test_scale_7_promises_028_percent() -> None:
    base = 2 ** (2**-7)
    assert (
        relative_error(7) == pytest.approx((base - 1) / (base + 1)) == pytest.approx(0.0027, 1e-2)
    )


@pytest.mark.parametrize("scale", range(SCALE_MIN, SCALE_MAX + 1))
def test_the_index_range_is_that_of_the_smallest_and_the_largest_double(scale: int) -> None:
    extremes = np.array([2.0**-1022, np.finfo(np.float64).max])
    assert index_range(scale) == tuple(bucket_index(extremes, scale))


def test_a_bucket_ends_where_the_next_begins() -> None:
    assert lower_bound(0, 7) == 1.0
    assert lower_bound(128, 7) == 2.0
