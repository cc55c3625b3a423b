"""The numba kernels against the numpy reference: identical counts, whatever the values."""

import os
import subprocess
import sys

import numpy as np
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from some_windows import make_window

from analytics import _kernels
from analytics.blobs import pack, unpack
from analytics.frame import Frame
from analytics.mapping import bucket_index, lower_bound, window_table
from analytics.parted import sorted_out
from analytics.sketch import Sketch
from analytics.streams import Streams

pytest.importorskip("numba", reason="numba comes with netslo[analytics]")
from numba import config, njit
from numba.core.caching import CacheImpl, FunctionCache

from analytics._kernels.bits import prefetch, trailing_zeros
from analytics._kernels.compilation import compiled
from analytics._kernels.sketch import count_coarse

needs_compiler = pytest.mark.skipif(config.DISABLE_JIT, reason="NUMBA_DISABLE_JIT is set")
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


CHUNK = arrays(np.float64, st.integers(1, 300), elements=ANY | st.floats(1e-3, 1.0))


@given(
    st.lists(CHUNK, min_size=1, max_size=3),
    st.sampled_from([-2, 3, 7]),
    st.sampled_from([4096, 90]),
)
@example([np.array([2.0**-1022]), np.array([2.0**-1023])], 3, 4096)  # the latter is subnormal
def test_a_sketch_by_kernel_equals_a_sketch_by_numpy(chunks, scale, limit) -> None:
    by_kernel, by_numpy = Sketch(scale, limit), Sketch(scale, limit)
    for values in chunks:
        by_kernel.sum += by_kernel._add_chunk(values)
        by_numpy.sum += by_numpy._add_block(values)
    if by_numpy.count and max(-by_numpy.min, by_numpy.max) > 1e300:
        assert by_kernel._identity() == by_numpy._identity()  # sums may have overflown on the way
    else:
        assert by_kernel == by_numpy


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5, 1.0])
@pytest.mark.parametrize(
    "odd", [0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, -1e-310, -0.03, -1e9, 1e-9, 2.0**-4]
)
def test_odd_values_among_others_are_counted_as_what_they_are(odd, share) -> None:
    rng = np.random.default_rng(8)
    values = rng.lognormal(-3, 0.5, 30_001)
    values[rng.random(len(values)) < share] = odd
    by_kernel, by_numpy = Sketch(), Sketch()
    by_kernel.sum = by_kernel._add_chunk(values)
    by_numpy.sum = by_numpy._add_block(values)
    assert by_kernel == by_numpy
    by_kernel._add_chunk(-values)  # now both signs have counters
    by_numpy._add_block(-values)
    assert by_kernel._identity() == by_numpy._identity()


@pytest.fixture
def fresh(monkeypatch):
    """A process that has counted nothing yet."""
    monkeypatch.setattr(_kernels, "_enabled", True)
    monkeypatch.setattr(_kernels, "_loaded", False)
    monkeypatch.setattr(_kernels, "_seen", 0)
    return monkeypatch


def test_numba_is_loaded_once_large_arrays_have_been_worth_it(fresh) -> None:
    fresh.setattr(_kernels, "WORTHWHILE", 5 * _kernels.LARGE)
    assert [_kernels.take_on(_kernels.LARGE) for _ in range(6)] == [False] * 4 + [True] * 2


def test_small_arrays_never_load_numba_and_never_wait_for_it(fresh) -> None:
    fresh.setattr(_kernels, "WORTHWHILE", 1)
    assert not any(_kernels.take_on(_kernels.LARGE - 1) for _ in range(100))
    assert not _kernels._loaded


def test_counts_are_the_same_before_and_after_the_change_to_the_kernel(fresh) -> None:
    values = np.random.default_rng(2).normal(0.01, 0.01, 200_000)
    fresh.setattr(_kernels, "WORTHWHILE", 3 * len(values))
    sketch, by_numpy = Sketch(), Sketch()
    for _ in range(4):
        sketch.add(values)
        by_numpy.sum += by_numpy._add_block(values)
    assert _kernels._loaded
    assert sketch == by_numpy


def test_numba_is_loaded_once_so_many_blobs_are_unpacked_that_it_pays(fresh) -> None:
    frame = Frame.of([make_window(lost=3)], Streams())
    blob = pack(frame)
    size = zstandard.frame_content_size(blob)
    fresh.setattr(_kernels, "_seen", 0)
    fresh.setattr(_kernels, "WORTHWHILE", 100 * size)  # numpy counts ten in the time of an octet
    plainly = unpack([blob] * 9, 10)
    assert not _kernels._loaded
    assert pack(unpack([blob] * 9, 10)) == pack(plainly)
    assert _kernels._loaded


def test_a_numba_that_cannot_be_imported_leaves_the_work_to_numpy(fresh) -> None:
    fresh.setitem(sys.modules, "analytics._kernels.sketch", None)
    fresh.delattr(_kernels, "sketch", raising=False)
    assert not _kernels.load()
    fresh.setattr(_kernels, "WORTHWHILE", 1)
    sketch = Sketch()
    sketch.add(np.ones(_kernels.LARGE))
    assert sketch.count == _kernels.LARGE


@needs_compiler
def test_without_a_folder_for_the_cache_kernels_are_compiled_all_the_same(monkeypatch) -> None:
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="cache"):
        njit(cache=True)(double)
    assert compiled(double)(21) == 42


@needs_compiler
@pytest.mark.skipif("NUMBA_BOUNDSCHECK" in os.environ, reason="kernels with checks are not kept")
def test_a_full_disk_costs_the_cache_but_not_the_counts(monkeypatch) -> None:
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FunctionCache, "save_overload", refuse)
    values = np.ones(10)
    values.setflags(write=False)  # a type of its own, for which nothing is compiled yet
    counts = np.zeros(4, dtype=np.uint64)
    kernel = compiled(count_coarse.py_func)
    with pytest.raises(OSError, match="No space"):
        compiled(count_coarse.py_func)(values, 0, -2, counts)
    assert counts.tolist() == [0, 0, 0, 0]
    _kernels._run(kernel, values, 0, -2, counts)
    assert counts.tolist() == [0, 10, 0, 0]


def double(number):
    return 2 * number


def test_the_kernels_own_text_gives_the_same_without_compilation() -> None:
    from analytics._kernels import sketch as kernel
    from analytics.mapping import slice_table

    values = np.random.default_rng(1).lognormal(-4, 1, 200)
    table, offset = slice_table(7), int(bucket_index(values, 7).min())
    compiled, plain = (np.zeros(4000, dtype=np.uint64) for _ in range(2))
    arguments = (values, 7, table.shift, table.first, table.boundary, offset)
    kernel.count_fine(*arguments, compiled)
    getattr(kernel.count_fine, "py_func", kernel.count_fine)(*arguments, plain)
    assert compiled.tolist() == plain.tolist()


@pytest.mark.parametrize("scale", [1, 3, 7, 8])
def test_a_window_s_table_is_right_at_every_boundary(scale) -> None:
    if not _kernels.load():
        pytest.skip("numba is not installed")
    per_binade = 1 << scale
    buckets = min(4096, 8 * per_binade)
    for offset in (-1022 * per_binade, -3 * per_binade, 0, 1024 * per_binade - buckets):
        table = window_table(scale, offset, buckets)
        edges = lower_bound(np.arange(offset, offset + buckets + 1), scale)
        near = np.concatenate([edges.view(np.int64) + k for k in range(-2, 3)])
        inside = near[(near >= table.low) & (near <= table.high)].view(np.float64)
        expected = np.bincount(bucket_index(inside, scale) - offset, minlength=buckets).tolist()
        outside = np.array([table.low - 1, table.high + 1]).view(np.float64)
        for values in (inside, -inside, np.append(inside, outside)):
            counts, total = np.zeros(2 * buckets + 1, dtype=np.uint32), np.zeros(1)
            run = _kernels.count_run(values, table, counts, total)
            ends = values[: len(inside)]
            assert (run.done, run.low, run.high) == (len(values), ends.min(), ends.max())
            assert (run.zeros, run.nans) == (0, 0)
            assert run.apart.tolist() == values[len(inside) :].tolist()
            of_a_sign = {True: counts[:buckets].tolist(), False: counts[buckets + 1 :].tolist()}
            assert of_a_sign[values[0] > 0] == expected
            assert not any(of_a_sign[values[0] < 0])


def awkward(size: int) -> np.ndarray:
    """Return mostly ordinary values, and now and then any bits at all."""
    rng = np.random.default_rng(9)
    values = rng.lognormal(-3, 2, size)
    odd = rng.random(size) < 0.0005
    values[odd] = rng.integers(0, 2**64, odd.sum(), dtype=np.uint64).view(np.float64)
    values[size // 2 : size // 2 + 3000] = 0.0
    values[-5:] = [np.nan, np.inf, -np.inf, -1.5, 5e-324]
    return values


def ordinary(size: int) -> np.ndarray:
    """Return values of either sign whose sum no single one decides."""
    return np.random.default_rng(10).lognormal(-3, 1, size) - 0.01


@pytest.mark.parametrize("make", [awkward, ordinary])
def test_the_number_of_threads_changes_nothing_not_even_the_last_bit(make) -> None:
    if not _kernels.load():
        pytest.skip("numba is not installed")
    values = make(3_500_000)
    found = []
    for threads in (1, 2, 3, 5, 0):
        sketch = Sketch()
        sketch.add(values, threads=threads)
        found.append(sketch)
    assert all(sketch == found[0] and sketch.sum == found[0].sum for sketch in found)
    by_numpy = Sketch()
    for start in range(0, len(values), 8192):
        by_numpy.sum += by_numpy._add_block(values[start : start + 8192])
    assert by_numpy._identity() == found[0]._identity()


def test_sums_that_overflow_stay_finite() -> None:
    if not _kernels.load():
        pytest.skip("numba is not installed")
    for sign in (1, -1):
        sketch = Sketch()
        sketch.add(np.full(2_500_000, sign * 1e308))
        assert sketch.sum == sign * np.finfo(np.float64).max


@needs_compiler
def test_a_kernel_is_compiled_anew_when_a_module_beside_it_changed(tmp_path, monkeypatch) -> None:
    part, whole = tmp_path / "kernel_part.py", tmp_path / "kernel_whole.py"
    head = "from analytics._kernels.compilation import compiled\n"
    whole.write_text(
        f"{head}from kernel_part import part\n@compiled\ndef whole():\n    return part()\n"
    )
    for answer in (1, 22):
        part.write_text(f"{head}@compiled\ndef part():\n    return {answer}\n")
        code = "import kernel_whole; print(kernel_whole.whole())"
        folders = os.pathsep.join([str(tmp_path), *sys.path])
        monkeypatch.setenv("PYTHONPATH", folders)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert int(done.stdout) == answer


@compiled
def _trailing_zeros(word: np.uint64) -> np.uint64:
    return trailing_zeros(word)


def test_trailing_zeros_are_those_of_every_word_of_one_or_all_bits() -> None:
    for bit in range(64):
        for word in (1 << bit, (1 << 64) - (1 << bit)):
            assert _trailing_zeros(np.uint64(word)) == bit


@compiled
def _sum_with_a_hint(values: np.ndarray, place: np.int64) -> np.int64:
    prefetch(values, place)
    return np.int64(values.sum())


def test_a_hint_where_to_read_next_may_be_of_any_place() -> None:
    values = np.arange(10, dtype=np.uint64)
    for place in (0, 9, 10, 10**12, -1, -(10**12)):
        assert _sum_with_a_hint(values, np.int64(place)) == 45


@given(
    arrays(np.float64, st.integers(1, 40), elements=st.floats(-2.0, 2.0) | st.just(np.nan)),
    st.floats(0.0, 1.0),
)
def test_pairs_outside_are_sorted_out_and_none_is_lost(values, low) -> None:
    keys = np.arange(len(values), dtype=np.int32)
    (inner_keys, inner), (odd_keys, odd) = sorted_out(keys, values, low, 1.5)
    ordinary = (values > low) & (values <= 1.5)
    assert inner_keys.tolist() == keys[ordinary].tolist()
    assert odd_keys.tolist() == keys[~ordinary].tolist()
    assert np.array_equal(inner, values[ordinary])
    assert np.array_equal(odd, values[~ordinary], equal_nan=True)
