"""How kernels are compiled: every option, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from numba import njit

_P = ParamSpec("_P")
_R = TypeVar("_R")


def compiled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile a kernel at its first call and keep the result on disk where that is possible."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        kernel: Callable[_P, _R] = njit(cache=True, **options)(function)
    except RuntimeError:  # no folder can be written, neither the package's nor the user's
        kernel = njit(**options)(function)
    return kernel
