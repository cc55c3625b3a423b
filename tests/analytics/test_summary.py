"""Shape Q: a sketch's and the exact one of the same values agree, and nothing unknown is 0."""

import json

import numpy as np
import pytest

from analytics.sketch import Sketch
from analytics.summary import DEFAULT_QUANTILES, distribution, exact_distribution

VALUES = np.random.default_rng(5).lognormal(-4, 0.6, 20_000)


def shape_of(values, *arguments):
    sketch = Sketch()
    sketch.add(values)
    return distribution(sketch, *arguments)


@pytest.mark.parametrize("count", [1, 2, 7, 100, 20_000])
def test_a_sketch_and_its_values_give_the_same_shape_within_the_error(count) -> None:
    sketched, exact = shape_of(VALUES[:count]), exact_distribution(VALUES[:count])
    assert sketched.keys() == exact.keys()
    assert exact["relative_error"] == 0
    assert sketched["relative_error"] == pytest.approx(0.0027, rel=0.01)
    for key in ("count", "min", "max"):
        assert sketched[key] == exact[key]
    assert sketched["sum"] == pytest.approx(exact["sum"])
    for q, figures in exact["quantiles"].items():
        for key, figure in figures.items():
            found = sketched["quantiles"][q][key]
            if figure is None:
                assert found is None
            else:
                error = sketched["relative_error"] * (1 if key == "value" else 2)
                assert found == pytest.approx(figure, rel=error * 1.01)
    for q, figures in exact["quantiles"].items():  # and an interval encloses the exact one
        low, high = (sketched["quantiles"][q][key] for key in ("low", "high"))
        assert low is None or low <= figures["low"]
        assert high is None or high >= figures["high"]


def test_an_exact_quantile_is_numpys() -> None:
    shape = exact_distribution(VALUES)
    for q in DEFAULT_QUANTILES:
        expected = np.quantile(VALUES, q, method="lower")
        assert shape["quantiles"][str(q)]["value"] == expected


@pytest.mark.parametrize(
    "shape",
    [distribution(None), distribution(Sketch()), exact_distribution(np.zeros(0))],
    ids=["no sketch", "an empty sketch", "no values"],
)
def test_of_nothing_only_the_count_is_known(shape) -> None:
    assert shape.pop("count") == 0
    quantiles = shape.pop("quantiles")
    assert list(quantiles) == ["0.5", "0.9", "0.99", "0.999"]
    assert set(shape.values()) == {None}
    assert all(set(figures.values()) == {None} for figures in quantiles.values())
    quantiles["0.5"]["value"] = 1.0
    assert quantiles["0.9"]["value"] is None


def test_quantiles_are_named_as_people_write_them() -> None:
    named = shape_of([1.0], (0, 0.25, 0.9999, 0.999999, 0.1234567890123, 1))["quantiles"]
    assert list(named) == ["0", "0.25", "0.9999", "0.999999", "0.1234567890123", "1"]


def test_the_ends_have_no_interval_and_a_small_sample_no_bound_of_the_tail() -> None:
    quantiles = shape_of(VALUES[:100], (0.0, 0.5, 0.999, 1.0))["quantiles"]
    assert quantiles["0"] == {"value": VALUES[:100].min(), "low": None, "high": None}
    assert quantiles["1"] == {"value": VALUES[:100].max(), "low": None, "high": None}
    assert quantiles["0.5"]["low"] < quantiles["0.5"]["value"] < quantiles["0.5"]["high"]
    assert quantiles["0.999"]["high"] is None


@pytest.mark.parametrize("values", [[np.nan, np.inf], [1e308] * 10, [-0.0], [5e-324]])
def test_every_shape_is_valid_json(values) -> None:
    json.dumps(shape_of(values), allow_nan=False)
