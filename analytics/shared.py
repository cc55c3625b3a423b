"""The same work on several shares, each in a thread of its own: for kernels, which hold no lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_R = TypeVar("_R")


def shared(work: Callable[..., _R], shares: Sequence[tuple[Any, ...]]) -> list[_R]:
    """Call `work` with each share; return what it returned, in order."""
    if len(shares) == 1:
        return [work(*shares[0])]
    with ThreadPoolExecutor(len(shares)) as pool:
        return list(pool.map(work, *zip(*shares, strict=True)))
