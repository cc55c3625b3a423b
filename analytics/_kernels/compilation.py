"""How kernels are compiled: every option, once."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from numba import njit, types
from numba.core import event

_log = logging.getLogger(__name__)

_P = ParamSpec("_P")
_R = TypeVar("_R")


class _Notice(event.Listener):
    """Says once why a process does nothing else for seconds: what it needs is not in the cache."""

    told = False

    def on_start(self, event: event.Event) -> None:
        """Say it; numba calls this when it begins to compile, not when it loads."""
        if self.told:
            return
        self.told = True
        stats = getattr((event.data or {}).get("dispatcher"), "stats", None)
        folder = getattr(stats, "cache_path", None)
        _log.warning("compiling kernels, once per machine; %s", kept(folder))

    def on_end(self, event: event.Event) -> None:
        """Say nothing."""


event.register("numba:compile", _Notice())  # type: ignore[no-untyped-call]


def kept(folder: object) -> str:
    """Say where compiled kernels are kept; None: no folder can be written."""
    return f"kept in {folder}" if folder else "kept nowhere: set NUMBA_CACHE_DIR"


def compiled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile a kernel at its first call and keep the result on disk where that is possible."""
    try:
        return _njit(function, cache=True)
    except RuntimeError:  # no folder can be written, neither the package's nor the user's
        return _njit(function, cache=False)


def compiled_for_sums(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile a kernel which may add floating-point numbers in any order, so several at a time."""
    try:
        return _njit(function, cache=True, fastmath={"reassoc", "nsz"})
    except RuntimeError:
        return _njit(function, cache=False, fastmath={"reassoc", "nsz"})


def inlined(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Have a small part of kernels compiled into each of them."""
    part: Callable[_P, _R] = njit(inline="always")(function)
    return part


def called(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile a part once for all kernels that call it: inlining many times costs a first start."""
    part: Callable[_P, _R] = njit(nogil=True, error_model="numpy")(function)
    return part


def _njit(
    function: Callable[_P, _R], *, cache: bool, fastmath: set[str] | bool = False
) -> Callable[_P, _R]:
    cache &= not os.environ.get("NUMBA_BOUNDSCHECK")  # the cache cannot tell them apart
    decorate = njit(cache=cache, nogil=True, error_model="numpy", fastmath=fastmath)
    kernel: Any = decorate(function)
    with suppress(AttributeError):  # no compiler at all, or one that asks otherwise
        kernel.get_call_template = functools.partial(_call_by_type, kernel.get_call_template)
    if cache:
        # numba looks at the function's own file, but has compiled its neighbours' code into it.
        stamp = _stamp(Path(function.__code__.co_filename).parent)
        with suppress(AttributeError):  # a numba that keeps it elsewhere
            kernel._cache._cache_file._source_stamp = stamp  # noqa: SLF001
    return cast("Callable[_P, _R]", kernel)


def _call_by_type(template: Callable[..., Any], args: Any, kws: Any) -> Any:
    """Let 0 and 1 be whole numbers like others: numba would compile a kernel for each anew."""
    unliteral: Callable[[Any], Any] = types.unliteral
    plain = {name: unliteral(kind) for name, kind in kws.items()}
    return template(tuple(unliteral(kind) for kind in args), plain)


@functools.cache
def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes when a module of a folder is changed."""
    states = ((module.name, module.stat()) for module in sorted(folder.glob("*.py")))
    return tuple((name, state.st_mtime_ns, state.st_size) for name, state in states)
