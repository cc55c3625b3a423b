"""The numba kernels against the numpy reference: identical counts, whatever the values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analytics import _kernels
from analytics.mapping import bucket_index
from analytics.sketch import Sketch

pytest.importorskip("numba", reason="numba comes with netslo[analytics]")

NORMAL = st.floats(min_value=2.0**-1022, allow_nan=False, allow_infinity=False)
ANY = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)


def boundary_values(scale: int) -> np.ndarray:
    """Every boundary of a few binades, from two ulp below to two above."""
    steps = 2 ** max(scale, 0)
    exponents = np.concatenate([np.arange(steps) / steps + b for b in (-1022, -20, -1, 0, 5, 1023)])
    nearest = np.exp2(exponents).view(np.int64)
    around = (nearest[:, None] + np.arange(-2, 3)).ravel().view(np.float64)
    return around[(around >= 2.0**-1022) & np.isfinite(around)]


def counts_by_kernel(values: np.ndarray, scale: int) -> dict[int, int]:
    index = bucket_index(values, scale)
    offset = int(index.min()) - 3
    counts = np.zeros(int(index.max()) - offset + 4, dtype=np.uint64)
    _kernels.count_values(values, scale, offset, counts)
    used = np.flatnonzero(counts)
    return dict(zip((used + offset).tolist(), counts[used].tolist(), strict=True))


def counts_by_reference(values: np.ndarray, scale: int) -> dict[int, int]:
    index, counts = np.unique(bucket_index(values, scale), return_counts=True)
    return dict(zip(index.tolist(), counts.tolist(), strict=True))


@pytest.mark.parametrize("scale", range(-4, 9))
def test_the_kernel_equals_the_reference_at_every_boundary(scale: int) -> None:
    for start in range(0, len(values := boundary_values(scale)), 50):
        part = values[start : start + 50]
        part = part[np.abs(np.log2(part) - np.log2(part[0])) < 64]  # a window that fits memory
        assert counts_by_kernel(part, scale) == counts_by_reference(part, scale)


@given(arrays(np.float64, st.integers(1, 50), elements=st.floats(1e-9, 1e9)), st.integers(-4, 8))
def test_the_kernel_equals_the_reference_on_any_values(values, scale) -> None:
    assert counts_by_kernel(values, scale) == counts_by_reference(values, scale)


@given(arrays(np.float64, st.integers(1, 300), elements=ANY))
def test_a_sketch_by_kernel_equals_a_sketch_by_numpy(values) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kernels, "worthwhile", lambda _: True)
        by_kernel = Sketch()
        by_kernel.add(values)
        patch.setattr(_kernels, "worthwhile", lambda _: False)
        by_numpy = Sketch()
        by_numpy.add(values)
    assert by_kernel._identity() == by_numpy._identity()


def test_the_kernels_own_text_gives_the_same_without_compilation() -> None:
    from analytics._kernels import sketch as kernel
    from analytics.mapping import slice_table

    values = np.random.default_rng(1).lognormal(-4, 1, 200)
    table, offset = slice_table(7), int(bucket_index(values, 7).min())
    compiled, plain = (np.zeros(4000, dtype=np.uint64) for _ in range(2))
    arguments = (values, 7, table.shift, table.first, table.boundary, offset)
    kernel.count_fine(*arguments, compiled)
    kernel.count_fine.py_func(*arguments, plain)
    assert compiled.tolist() == plain.tolist()
