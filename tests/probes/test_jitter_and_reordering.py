from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from probes.jitter import InterarrivalJitter, packet_delay_variation
from probes.reordering import ReorderingDetector

DELAYS = arrays(np.float64, st.integers(1, 50), elements=st.floats(1e-6, 10))


def rfc3550_appendix_a8(transits: list[float]) -> float | None:
    """The C code of the appendix: s->jitter += (1./16.) * ((double)d - s->jitter)."""
    jitter = None
    for previous, transit in pairwise(transits):
        d = abs(transit - previous)
        jitter = (jitter or 0.0) + (1.0 / 16.0) * (d - (jitter or 0.0))
    return jitter


@given(DELAYS)
def test_interarrival_jitter_is_that_of_the_appendix(delays):
    jitter = InterarrivalJitter()
    for delay in delays:
        jitter.observe(float(delay))
    expected = rfc3550_appendix_a8(delays.tolist())
    if expected is None:
        assert jitter.estimate_s is None
    else:
        assert jitter.estimate_s == pytest.approx(expected, rel=1e-12)


def test_a_constant_delay_has_no_jitter_and_that_is_known_after_two_packets():
    jitter = InterarrivalJitter()
    jitter.observe(0.02)
    assert jitter.estimate_s is None
    jitter.observe(0.02)
    assert jitter.estimate_s == 0.0


@given(DELAYS)
def test_delay_variation_is_above_the_least_delay(delays):
    variation = packet_delay_variation(delays)
    assert variation.shape == delays.shape
    assert variation.min() == 0
    assert np.allclose(variation + delays.min(), delays)


def test_no_delays_have_no_variation():
    assert packet_delay_variation(np.array([])).shape == (0,)


@pytest.mark.parametrize(
    ("arrivals", "reordered"),
    [
        pytest.param([0, 1, 2, 3], [], id="in order, none"),
        pytest.param([0, 2, 1, 3], [1], id="two exchanged, the one that comes late"),
        pytest.param([0, 5, 1, 2, 6], [1, 2], id="one early, all that it overtook"),
        pytest.param([3, 7, 9], [], id="with losses, none"),
    ],
)
def test_reordered_by_rfc_4737(arrivals, reordered):
    detector = ReorderingDetector()
    assert [p for p in arrivals if detector.observe(p)] == reordered


@given(st.permutations(range(12)))
def test_a_packet_is_reordered_when_a_later_one_has_come(arrivals):
    detector = ReorderingDetector()
    naive = [p for i, p in enumerate(arrivals) if any(q > p for q in arrivals[:i])]
    assert [p for p in arrivals if detector.observe(p)] == naive
