"""What a first start says of the kernels that it compiles."""

import os
import pathlib
import subprocess
import sys

import pytest

from analytics import _kernels, warm_up


@pytest.mark.parametrize(
    ("folder", "said"),
    [(pathlib.Path("/var/cache/numba"), "kept in /var/cache/numba"), (None, "kept nowhere: set")],
)
def test_a_slow_start_says_where_kernels_are_kept(monkeypatch, caplog, folder, said) -> None:
    monkeypatch.setattr(warm_up, "_PATIENCE_S", -1.0)
    monkeypatch.setattr(warm_up, "_exercise", lambda: None)
    monkeypatch.setattr(_kernels, "available", lambda: True)
    monkeypatch.setattr(_kernels, "load", lambda: True)
    monkeypatch.setattr(_kernels, "cache_folder", lambda: folder)
    assert warm_up.warm_up()
    assert said in caplog.text


_COUNTING = """
import numpy as np
from analytics import _kernels
from analytics.convolution import convolve
from analytics.sketch import Sketch
from analytics.table import SketchTable
assert _kernels.load()
values = np.random.default_rng(1).lognormal(-3, 1, 20_000)
for odd in (1.0, -1.0, 0.0, np.nan):
    values[::7] *= odd
    sketch, table = Sketch(), SketchTable(1000, threads=2)
    sketch.add(values)
    for size in (20_000, 2_000, 200, 9_000, 20_000):
        table.add(np.arange(size, dtype=np.int32) % 1000, values[:size])
    table.merge(table)
    table.quantiles([0.5]), table.cdf([0.1]), table.intervals(0.5), table.merged_by([0] * 1000, 1)
    if odd == 1:
        convolve(sketch, sketch)
"""


def _run(code: str, folder: pathlib.Path | None = None) -> str:
    """Run a program by kernels; return what it said on stderr."""
    environment = os.environ | {"NETSLO_NUMBA": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    if folder is not None:
        environment["NUMBA_CACHE_DIR"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    return done.stderr


needs_cache = pytest.mark.skipif(
    not _kernels.available() or bool(os.environ.get("NUMBA_BOUNDSCHECK")), reason="nothing is kept"
)


@needs_cache
def test_commands_compile_nothing_after_the_warm_up() -> None:
    _run("from analytics.warm_up import warm_up; warm_up(of_commands=True)")
    assert _run(_COUNTING) == ""


@needs_cache
def test_a_command_that_compiles_says_so_once_and_where_it_is_kept(tmp_path) -> None:
    code = """
import numpy as np
from analytics import _kernels
_kernels.load()
for scale in (0, -1):
    _kernels.count_values(np.ones(3), scale, -3, np.zeros(9, dtype=np.uint64))
"""
    said = _run(code, tmp_path)
    assert said.count("compiling kernels, once per machine") == 1
    assert f"kept in {tmp_path}" in said
    assert _run(code, tmp_path) == ""
