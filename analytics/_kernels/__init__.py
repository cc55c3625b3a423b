"""Compiled inner loops: arrays and scalars in and out, unchecked. Callers check, kernels trust.

numba is optional and slow to import (about 0.7 s with a warm cache), so it is loaded for the
first array that is worth it. Without it, numpy does the same with the same result.
`NETSLO_NUMBA=0` keeps numba out.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.mapping import slice_table

WORTHWHILE_VALUES: Final = 20_000_000  # what numpy counts in the time numba takes to load
_LOADED_VALUES: Final = 2_000  # once loaded, numba wins from here
_enabled = os.environ.get("NETSLO_NUMBA", "1") != "0" and find_spec("numba") is not None
_loaded = False


def worthwhile(values: int) -> bool:
    """Whether counting so many values is quicker with the kernel than with numpy."""
    return _enabled and values >= (_LOADED_VALUES if _loaded else WORTHWHILE_VALUES)


def load() -> bool:
    """Load the kernels now, for a process that will use them; False without numba."""
    global _loaded  # noqa: PLW0603 - one per process, like the import it stands for
    if _enabled:
        _loaded = True
    return _loaded


def count_values(
    values: NDArray[np.float64], scale: int, offset: int, counts: NDArray[np.uint64]
) -> None:
    """Count positive normal values into the buckets from `offset` on; all are covered."""
    load()
    from analytics._kernels import sketch as kernel

    if scale > 0:
        table = slice_table(scale)
        kernel.count_fine(values, scale, table.shift, table.first, table.boundary, offset, counts)
    else:
        kernel.count_coarse(values, -scale, offset, counts)
