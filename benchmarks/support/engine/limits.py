"""What the machine itself allows: loops that do nothing but the memory traffic of some work."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def stream_sum(values: NDArray[np.float64]) -> float:
    """Add up an array in any order, so that the compiler may use all of SIMD."""
    total = 0.0
    for i in range(values.shape[0]):
        total += values[i]
    return total


@njit(cache=True, nogil=True)
def read_words(words: NDArray[np.uint64]) -> np.uint64:
    """Read an array, eight octets at a time."""
    total = np.uint64(0)
    for i in range(words.shape[0]):
        total += words[i]
    return total


@njit(cache=True, nogil=True)
def scatter(places: NDArray[np.uint32], counts: NDArray[np.uint32]) -> None:
    """Increment counters whose places are known."""
    for i in range(places.shape[0]):
        counts[places[i]] += np.uint32(1)


@njit(cache=True, nogil=True)
def all_pairs(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    shift: NDArray[np.int64],  # where the sum of buckets i and i + d falls: i + shift[d]
    out: NDArray[np.float64],
) -> None:
    """Convolve bucket by bucket; for one difference d the target moves on with i: SIMD."""
    n, m = a.shape[0], b.shape[0]
    for d in range(m):
        length = min(n, m - d)
        target, left, right = out[shift[d] : shift[d] + length], a[:length], b[d : d + length]
        for i in range(length):
            target[i] += left[i] * right[i]
    for d in range(1, n):
        length = min(m, n - d)
        target, left, right = out[shift[d] : shift[d] + length], b[:length], a[d : d + length]
        for i in range(length):
            target[i] += left[i] * right[i]


@njit(cache=True, nogil=True)
def spin(rounds: int) -> int:
    """Compute, and wait for nothing."""
    state = 1
    for _ in range(rounds):
        state = state * 6364136223846793005 + 1442695040888963407
    return state
