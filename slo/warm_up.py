"""Having the loops of forecasts and backtests ready before they are needed.

`python -m slo.warm_up` does it at installation: compiled once per machine, kept on disk. So neither
a collector that is to page nor a command that is to answer has to compile first.
"""

from __future__ import annotations

import logging
import sys
from fractions import Fraction

import numpy as np

from analytics import _kernels


def warm_up() -> bool:
    """Load every kernel of objectives, compiling what is not in the cache.

    Returns False where numba is missing.
    """
    if not _kernels.available():
        return False
    _judge_a_little()
    _foresee_a_little()
    return True


def _judge_a_little() -> None:
    """Judge one step of one row, whose target has changed."""
    from slo.backtest.sums import Sums

    counts = np.zeros((1, 1), dtype=np.uint32)
    shares = (0, Fraction(1, 1000)), (1, Fraction(1, 100))
    Sums.of(counts, counts, counts, shares).burning(Fraction(1), 1, 1, 1)


def _foresee_a_little() -> None:
    """Draw the futures of no row."""
    from slo._kernels.exhausting import use_up_by_end, use_up_rolling

    days, one, seeds = np.zeros((0, 1)), np.zeros(0), np.zeros(0, dtype=np.uint64)
    use_up_rolling(days, days, seeds, days)
    use_up_by_end(days, days, one, one, 0.0, 0.0, seeds, days)


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    warm_up()
