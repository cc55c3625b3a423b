"""How kernels are compiled: every option, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from numba import njit

_P = ParamSpec("_P")
_R = TypeVar("_R")


def compiled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile a kernel at its first call and keep the result on disk where that is possible."""
    try:
        return _njit(function, cache=True)
    except RuntimeError:  # no folder can be written, neither the package's nor the user's
        return _njit(function, cache=False)


def inlined(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Have a small part of kernels compiled into each of them."""
    part: Callable[_P, _R] = njit(inline="always")(function)
    return part


def _njit(function: Callable[_P, _R], *, cache: bool) -> Callable[_P, _R]:
    kernel: Callable[_P, _R] = njit(cache=cache, nogil=True, error_model="numpy")(function)
    return kernel
