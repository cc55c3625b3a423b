"""Compiled inner loops: arrays and scalars in and out, unchecked. Callers check, kernels trust.

numba is optional and slow to load (about 0.7 s, and seconds once per machine to compile), so it
is loaded only for a process that counts many large arrays; one that adds a few values now and
then, as a probe does, never pays for it. Without it numpy does the same with the same result.
`NETSLO_NUMBA=0` keeps numba out.
"""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.mapping import WindowTable, slice_table

LARGE: Final = 2_000  # values in an array from which a loaded kernel beats numpy
_PAIR: Final = 24  # values which numpy counts in the time of one pair of key and value
WORTHWHILE: Final = 50_000_000  # values which numpy counts in the time that numba takes to load

_NO_WINDOW: Final = (np.uint64(63), np.uint64(0), np.zeros(1, dtype=np.uint64))
_NO_WINDOW[2].setflags(write=False)  # as that of any window: a type of its own to numba
_NO_BOUNDS: Final = np.array([1, 0])  # which nothing lies between
_NO_EXTREMES: Final = np.array([np.iinfo(np.int64).max, 0] * 2)

_enabled = os.environ.get("NETSLO_NUMBA", "1") != "0" and find_spec("numba") is not None
_loaded = False
_seen = 0  # values of large arrays so far


def take_on(values: int) -> bool:
    """Whether an array of so many values is to be counted by kernel; loads it once that pays."""
    global _seen  # noqa: PLW0603 - one per process, like the import it leads to
    if values < LARGE or not _enabled:
        return False
    _seen += values
    return _loaded or (_seen >= WORTHWHILE and load())


def pays(work: int) -> bool:
    """Whether kernels shall do what numpy would: they are loaded, or so much work pays for it.

    Args:
        work: Buckets or values that numpy would have to touch one row at a time.
    """
    global _seen  # noqa: PLW0603 - one per process, like the import it leads to
    if _loaded or not _enabled:
        return _loaded
    _seen += work
    return _seen >= WORTHWHILE and load()


def pays_for_pairs(pairs: int) -> bool:
    """Whether kernels shall count so many pairs of key and value; see `pays`.

    numpy sorts them, 205 to 294 ns a pair; it counts a value in 10.
    """
    return pays(_PAIR * pairs)


def available() -> bool:
    """Whether there is numba, and nobody keeps it out."""
    return _enabled


def loaded() -> bool:
    """Whether the kernels are at hand, without loading them."""
    return _loaded


def cache_folder() -> pathlib.Path | None:
    """Where compiled kernels are kept; None where no folder can be written."""
    if not _enabled:
        return None
    from analytics._kernels import sketch

    stats = getattr(sketch.count_coarse, "stats", None)  # none with NUMBA_DISABLE_JIT=1
    path = getattr(stats, "cache_path", None)
    return None if path is None else pathlib.Path(path)


def load() -> bool:
    """Load the kernels now, for a process that will use them; False where numba cannot run."""
    global _enabled, _loaded  # noqa: PLW0603 - one per process, like the import they stand for
    if _enabled and not _loaded:
        try:
            from analytics._kernels import sketch as _  # noqa: F401
        except ImportError:  # numba is there, but not for this numpy or this machine
            _enabled = False
        else:
            _loaded = True
    return _loaded


def count_values(
    values: NDArray[np.float64], scale: int, offset: int, counts: NDArray[np.uint64]
) -> None:
    """Count positive normal values into the buckets from `offset` on; all are covered."""
    from analytics._kernels import sketch as kernel

    if scale > 0:
        table = slice_table(scale)
        tables = (scale, table.shift, table.first, table.boundary)
        _run(kernel.count_fine, values, *tables, offset, counts)
    else:
        _run(kernel.count_coarse, values, -scale, offset, counts)


class Run(NamedTuple):
    """What was counted of a run of values, beside the counters."""

    done: int  # values that were looked at
    positive: bool  # whether any such value was counted
    negative: bool
    low: float  # of all that is not apart; +inf and -inf where there is none
    high: float
    zeros: int
    nans: int
    apart: NDArray[np.float64]  # those that are neither, and outside the window


def count_run(
    values: NDArray[np.float64],
    table: WindowTable | None,
    counts: NDArray[np.uint32],
    total: NDArray[np.float64],
    room: int = 1 << 12,
) -> Run:
    """Count values of any kind, until about `room` of them lie outside the window.

    Args:
        values: Any n doubles.
        table: The window; without one all lies outside.
        counts: Of as many buckets as the window has: positive values; anything; negative ones by
            magnitude. Shape (2 buckets + 1,).
        total: Shape (1,); the finite values that were looked at are added, in the window or not.
        room: For values apart.
    """
    from analytics._kernels import sketch as kernel

    extremes, specials = _NO_EXTREMES.copy(), np.zeros(2, dtype=np.int64)
    apart = np.empty(min(len(values), room) + kernel.BLOCK)
    window, bounds = _NO_WINDOW, _NO_BOUNDS
    if table is not None:
        window, bounds = (table.shift, table.first_slice, table.table), table.bounds
    done, odd = kernel.count_run(values, *window, bounds, counts, extremes, total, specials, apart)
    (least, most, negative_least, negative_most) = extremes.view(np.float64).tolist()
    positive, negative, (zeros, nans) = most > 0, negative_most > 0, specials.tolist()
    low, high = (least, most) if positive else (math.inf, -math.inf)
    if negative:
        low, high = -negative_most, max(high, -negative_least)
    if zeros:
        low, high = min(low, 0.0), max(high, 0.0)
    return Run(done, positive, negative, low, high, zeros, nans, apart[:odd])


def _run(kernel: Callable[..., None], *arguments: object) -> None:
    try:
        kernel(*arguments)
    except OSError:  # compiled and kept, but not on a full disk; nothing was counted yet
        kernel(*arguments)
