"""After the installation nothing of objectives is compiled any more."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from analytics import _kernels

ROOT = pathlib.Path(__file__).parents[2]

_JUDGING = """
import pathlib
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
import numpy as np
from netslo.config.estate_file import load_estate
from slo.backtest.sums import Sums
from slo.budget import Spend
from slo.forecast.days import DailySpends
from slo.forecast.exhaustion import forecast
from slo.objective import CalendarWindow
from slo.spec import load_specification

folder = pathlib.Path("examples/uk")
estate = load_estate(folder)
quarter = CalendarWindow("1Q", "2026-01-01 00:00:00", "Europe/London")
objectives = [replace(o, calendar=quarter) for o in load_specification(folder, estate).objectives]

class Past:
    store = SimpleNamespace(kept_from=lambda: SimpleNamespace(counts_s=0))
    def count(self, start_s, end_s):
        spent = Spend.under(Fraction("0.999"), (end_s - start_s) // 100, 1)
        return {(o.name, path): spent for o in objectives for path in o.paths(estate)}

found = forecast(DailySpends(Past(), objectives, estate), objectives, 1_800_000_000.5, print)
assert all(each.rolling is not None and each.calendar is not None for each in found.values())
assert len(found) > 100
events = np.full((3, 40), 100, dtype=np.uint32)
for shares in ([(0, Fraction(1, 1000))], [(0, Fraction(1, 1000)), (7, Fraction(3, 1000))]):
    sums = Sums.of(events, events, 0 * events, tuple(shares))
    assert len(sums.burning(Fraction("13.44"), 12, 1, 3)[0])
"""


def _run(code: str, folder: pathlib.Path) -> str:
    """Run a program whose kernels are kept in a folder; return what it said on stderr."""
    given = {"NETSLO_NUMBA": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    given["NUMBA_CACHE_DIR"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | given,
    )
    return done.stderr


@pytest.mark.skipif(
    not _kernels.available() or bool(os.environ.get("NUMBA_BOUNDSCHECK")), reason="nothing is kept"
)
def test_forecasts_and_backtests_compile_nothing_after_the_warm_up(tmp_path) -> None:
    assert "compiling kernels" in _run("from slo.warm_up import warm_up; warm_up()", tmp_path)
    assert _run(_JUDGING, tmp_path) == ""
