"""Which timestamp class the figures of a window are of: classes never mix."""

import pytest

from analytics.figures import could_be_floor, window_figures
from analytics.sketch import Sketch
from analytics.windows import PathWindow, SeriesKey, SketchKey
from netslo.metrics import JITTER, RTT
from netslo.model import Path, Quality, Window

A, B, C = Quality


def window(samples: dict[Quality, list[float]]) -> PathWindow:
    found = PathWindow(SeriesKey(Path("a", "b", "ef")), Window(0))
    for quality, values in samples.items():
        for metric in (RTT, JITTER):
            sketch = Sketch()
            sketch.add(values)
            found.sketches[SketchKey(metric, quality)] = sketch
    return found


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ({}, None),
        ({A: [], C: []}, None),
        ({A: [1.0], B: [2.0] * 99}, B),
        ({A: [1.0] * 60, B: [2.0] * 40}, A),
        ({A: [1.0] * 5, C: [2.0] * 5}, A),
        ({B: [1.0], C: [2.0]}, B),
        ({C: [2.0]}, C),
    ],
    ids=[
        "nothing answered",
        "empty sketches",
        "one good sample says nothing of the rest",
        "most are good",
        "in doubt the better",
        "in doubt the better of the worse",
        "only the worst",
    ],
)
def test_figures_are_of_the_class_with_most_samples_and_of_no_other(samples, expected) -> None:
    found = window(samples)
    figures = window_figures(found)
    assert found.quality == expected
    assert figures["rtt_quality"] == (expected and expected.value)
    assert figures["quality"] == {q.value: len(samples.get(q, [])) for q in Quality}
    if expected is None:
        assert found.rtt() is found.jitter() is None
    else:
        own = samples[expected]
        assert (found.rtt().count, found.rtt().min, found.rtt().max) == (len(own), own[0], own[0])
        assert figures["rtt"]["count"] == found.jitter().count == len(own)


@pytest.mark.parametrize(
    ("value_s", "floor_s", "expected"),
    [
        (2.9e-6, 1e-6, True),
        (3.0e-6, 1e-6, False),
        (1.0, 1e-6, False),
        (None, 1e-6, None),
        (1.0, None, None),
        (float("nan"), 1e-6, None),
        (1.0, float("nan"), None),
    ],
)
def test_a_figure_below_three_floors_could_be_the_hosts_own(value_s, floor_s, expected) -> None:
    assert could_be_floor(value_s, floor_s) is expected
